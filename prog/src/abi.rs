//! What the program and its loader share: the layout of every map key and value.
//!
//! Addresses and ports stand in network byte order, as they do in a packet, so a key is
//! copied from a header without a swap. Everything else is in the host's order.
//! The layouts are asserted where they are declared: a map that outlives its loader is
//! read by the next one.

/// A 16-bit number in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Be16(pub [u8; 2]);

/// A 32-bit number in network byte order: an IPv4 address, mostly.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Be32(pub [u8; 4]);

impl Be16 {
    /// From the host's order.
    #[inline(always)]
    pub const fn new(value: u16) -> Self {
        Self(value.to_be_bytes())
    }
    /// In the host's order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
    /// The bytes as they lie, read as a native word: what a checksum adds up (RFC 1071 §2B).
    #[inline(always)]
    pub const fn word(self) -> u16 {
        u16::from_ne_bytes(self.0)
    }
    /// The opposite of [`word`](Self::word).
    #[inline(always)]
    pub const fn from_word(word: u16) -> Self {
        Self(word.to_ne_bytes())
    }
}

impl Be32 {
    /// From the host's order.
    #[inline(always)]
    pub const fn new(value: u32) -> Self {
        Self(value.to_be_bytes())
    }
    /// In the host's order.
    #[inline(always)]
    pub const fn get(self) -> u32 {
        u32::from_be_bytes(self.0)
    }
    /// The bytes as they lie, read as a native word.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        u32::from_ne_bytes(self.0)
    }
    /// The opposite of [`word`](Self::word).
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word.to_ne_bytes())
    }
}

macro_rules! debug_as_number {
    ($($name:ident)*) => {$(
        #[cfg(not(feature = "bpf"))]
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{:#x}", self.get())
            }
        }
    )*};
}
debug_as_number!(Be16 Be32);

/// An Ethernet address.
pub type Mac = [u8; 6];

/// An Ethernet address on its way through registers: three 16-bit words as they lie.
///
/// The verifier wants every access to the stack aligned to its size, and the compiler splits six
/// loose bytes in ways that are not; words of two bytes it keeps whole.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug, Hash))]
pub struct MacWords(pub [u16; 3]);

impl MacWords {
    /// The address as bytes.
    #[inline(always)]
    pub const fn bytes(self) -> Mac {
        let [[a, b], [c, d], [e, f]] = [
            self.0[0].to_ne_bytes(),
            self.0[1].to_ne_bytes(),
            self.0[2].to_ne_bytes(),
        ];
        [a, b, c, d, e, f]
    }
}

impl From<Mac> for MacWords {
    #[inline(always)]
    fn from([a, b, c, d, e, f]: Mac) -> Self {
        Self([[a, b], [c, d], [e, f]].map(u16::from_ne_bytes))
    }
}

/// The largest number of backends: the length of `backends` and `backend_counters` at most.
pub const MAX_BACKENDS: u32 = 65_536;

/// One backend: the value of map `backends`. 12 bytes; the first ten are the seed's `struct backend_config`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Backend {
    /// Its IPv4 address.
    pub ip: Be32,
    /// Where frames for it go: its own address, or its gateway's.
    pub mac: Mac,
    /// Zero.
    pub reserved: u16,
}
const _: () = assert!(size_of::<Backend>() == 12);

impl Backend {
    /// Its Ethernet address in registers.
    #[inline(always)]
    pub fn words(&self) -> MacWords {
        let mac = (&raw const self.mac).cast::<u16>();
        // SAFETY: three words of this very value, whose alignment is two and whose `mac` lies at 4.
        MacWords(unsafe { [mac.read(), mac.add(1).read(), mac.add(2).read()] })
    }
}
const _: () = assert!(align_of::<Backend>() == 2 && core::mem::offset_of!(Backend, mac) == 4);

/// A connection as one of its packets shows it: the key of map `flows`. 16 bytes.
///
/// Each connection has two of them, one for each direction.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct FlowKey {
    /// Source address.
    pub saddr: Be32,
    /// Destination address.
    pub daddr: Be32,
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// The IP protocol's number: 6, TCP. A whole word, so that no byte of the key is left over:
    /// the kernel hashes and compares all 16.
    pub protocol: u32,
}
const _: () = assert!(size_of::<FlowKey>() == 16 && align_of::<FlowKey>() == 8);

impl FlowKey {
    /// The key of a TCP packet.
    #[inline(always)]
    pub const fn tcp(saddr: Be32, sport: Be16, daddr: Be32, dport: Be16) -> Self {
        Self {
            saddr,
            daddr,
            sport,
            dport,
            protocol: 6,
        }
    }

    /// The same connection seen from its other end: what an answer to this packet shows.
    #[inline(always)]
    pub const fn reversed(self) -> Self {
        Self {
            saddr: self.daddr,
            daddr: self.saddr,
            sport: self.dport,
            dport: self.sport,
            ..self
        }
    }

    /// The sixteen bytes as the kernel hashes them.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8; 16] {
        // SAFETY: FlowKey is repr(C), 16 bytes, and has no padding (asserted above).
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}

/// Which of a connection's two directions a packet travels.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub enum Direction {
    /// From the client to the service.
    Request,
    /// From the backend to the balancer.
    Reply,
}

/// The value of map `flows`: a slot of `connections` and the direction of the key that led there.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct FlowId(pub u32);

impl FlowId {
    /// The entry of `direction` for `slot`. Slots are below 2³¹.
    #[inline(always)]
    pub const fn new(slot: u32, direction: Direction) -> Self {
        Self(slot << 1 | direction as u32)
    }
    /// The index into `connections`.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 >> 1
    }
    /// Which way the key that led here points.
    #[inline(always)]
    pub const fn direction(self) -> Direction {
        if self.0 & 1 == 0 {
            Direction::Request
        } else {
            Direction::Reply
        }
    }
}

/// The kernel's lock for a map value; it finds the field by this type's name (kernel/bpf/btf.c, `btf_get_field_type`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(non_camel_case_types)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct bpf_spin_lock {
    /// The kernel's own.
    pub val: u32,
}

/// One connection, both directions of it: the value of map `connections`. 64 bytes, a cache line.
///
/// Both keys live in the one record, and only [`crate::flow`] makes and unmakes it, so there is
/// no half of a connection to lose.
#[repr(C)]
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Connection {
    /// Held while a slot changes hands, never while a packet is forwarded.
    pub lock: bpf_spin_lock,
    /// Odd while the record is being rewritten, another even number afterwards.
    pub generation: u32,
    /// When its last packet came, in [ticks](crate::world::World::now).
    pub last_seen: u32,
    /// Bits of [`crate::flow::State`]; 0 is a free slot.
    pub state: u32,
    /// What the client sends: client → service.
    pub request: FlowKey,
    /// What the backend answers: backend → balancer.
    pub reply: FlowKey,
    /// The backend's index, for its counters.
    pub backend: u32,
    /// Where the client's frames came from: the client itself or its router.
    pub client_mac: Mac,
    /// Where the backend's frames go.
    pub backend_mac: Mac,
}
const _: () = assert!(size_of::<Connection>() == 64);

/// Packets and bytes: the value of map `counters`, one for each [`crate::counters::Reason`] and CPU.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Count {
    /// Frames.
    pub packets: u64,
    /// Their bytes, from the Ethernet header to the end of the frame.
    pub bytes: u64,
}

/// What one backend got and gave: the value of map `backend_counters`, one for each CPU.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct BackendCount {
    /// Connections opened to it.
    pub connections: u64,
    /// Frames sent to it.
    pub sent: Count,
    /// Frames it answered with.
    pub received: Count,
}
const _: () = assert!(size_of::<BackendCount>() == 40);

/// Room for a piece of a frame, twice the 512 bytes that are looked at once: the value of map `scratch`.
pub type Scratch = [u64; 128];

/// How the program treats a TCP checksum that was left to hardware (facts in [`crate::checksum`]).
pub mod deferred {
    /// Compute it: an XDP frame carries no note that it is still owed (native mode).
    pub const COMPLETE: u32 = 0;
    /// Keep it owed, for the new addresses: the socket buffer still says so (generic mode).
    pub const KEEP: u32 = 1;
}
