//! What the program and its loader share: the layout of every map key and value.
//!
//! Addresses and ports stand in network byte order, as they do in a packet, so a key is
//! copied from a header without a swap. Everything else is in the host's order.
//! The layouts are asserted where they are declared: a map that outlives its loader is
//! read by the next one.
//!
//! ```text
//!   services (hash)          tables (array)        members (array)      backends (array)
//!   10.0.0.10:80/tcp ──────▶ slot of the flow's ──▶ number among the ──▶ address, port, MAC, state
//!     mode, ports, where     hash                   service's own
//!     table and members are
//!
//!   index (array of buckets)                connections (array)
//!   hash of a packet's key ──────────────▶ client, service, backend, MACs, state
//! ```

/// A 16-bit number in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Be16(pub [u8; 2]);

/// A 32-bit number in network byte order: an IPv4 address, mostly.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Be32(pub [u8; 4]);

macro_rules! big_endian {
    ($($name:ident: $number:ty;)*) => {$(
        impl $name {
            /// From the host's order.
            #[inline(always)]
            pub const fn new(value: $number) -> Self {
                Self(value.to_be_bytes())
            }
            /// In the host's order.
            #[inline(always)]
            pub const fn get(self) -> $number {
                <$number>::from_be_bytes(self.0)
            }
            /// The bytes as they lie, read as a native word: what a checksum adds up (RFC 1071 §2B).
            #[inline(always)]
            pub const fn word(self) -> $number {
                <$number>::from_ne_bytes(self.0)
            }
            /// The opposite of [`word`](Self::word).
            #[inline(always)]
            pub const fn from_word(word: $number) -> Self {
                Self(word.to_ne_bytes())
            }
        }

        #[cfg(not(feature = "bpf"))]
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{:#x}", self.get())
            }
        }
    )*};
}
big_endian! {
    Be16: u16;
    Be32: u32;
}

/// An IP address of either family: sixteen bytes as they lie in an IPv6 header, as two words.
/// An IPv4 address is `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(not(feature = "bpf"), derive(PartialOrd, Ord))]
pub struct Addr(pub [u64; 2]);
const _: () = assert!(size_of::<Addr>() == 16);

impl Addr {
    /// No address.
    pub const NONE: Self = Self([0; 2]);

    /// An IPv4 address.
    #[inline(always)]
    pub const fn v4(addr: Be32) -> Self {
        let [a, b, c, d] = addr.0;
        Self([0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])])
    }
    /// An IPv6 address, or an IPv4 address in that form.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ])
    }
    /// All sixteen bytes.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.0[0].to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.0[1].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
    /// The last four bytes: the IPv4 address, where it is one.
    #[inline(always)]
    pub const fn last(self) -> Be32 {
        let [_, _, _, _, a, b, c, d] = self.0[1].to_ne_bytes();
        Be32([a, b, c, d])
    }
    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        let [a, b, c, d, _, _, _, _] = self.0[1].to_ne_bytes();
        self.0[0] == 0 && matches!([a, b, c, d], [0, 0, 0xff, 0xff])
    }
}

#[cfg(not(feature = "bpf"))]
impl core::fmt::Debug for Addr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        std::net::Ipv6Addr::from(self.bytes()).to_canonical().fmt(f)
    }
}

#[cfg(not(feature = "bpf"))]
impl From<std::net::IpAddr> for Addr {
    fn from(ip: std::net::IpAddr) -> Self {
        match ip {
            std::net::IpAddr::V4(ip) => Self::v4(Be32(ip.octets())),
            std::net::IpAddr::V6(ip) => Self::from_bytes(ip.octets()),
        }
    }
}

#[cfg(not(feature = "bpf"))]
impl From<Addr> for std::net::IpAddr {
    fn from(addr: Addr) -> Self {
        std::net::Ipv6Addr::from(addr.bytes()).to_canonical()
    }
}

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
    /// The address in the first six bytes of a word, so that it is stored at once.
    #[inline(always)]
    pub const fn packed(self) -> u64 {
        self.0[0] as u64 | (self.0[1] as u64) << 16 | (self.0[2] as u64) << 32
    }
    /// The opposite of [`packed`](Self::packed).
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        Self([word as u16, (word >> 16) as u16, (word >> 32) as u16])
    }
}

impl From<Mac> for MacWords {
    #[inline(always)]
    fn from([a, b, c, d, e, f]: Mac) -> Self {
        Self([[a, b], [c, d], [e, f]].map(u16::from_ne_bytes))
    }
}

/// IP protocol numbers.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// Family and transport protocol of a flow: the protocol's number, plus 256 for IPv6.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Kind(pub u32);

impl Kind {
    /// What a family adds.
    pub const V6: u32 = 0x100;

    /// IPv4.
    #[inline(always)]
    pub const fn v4(protocol: u8) -> Self {
        Self(protocol as u32)
    }
    /// IPv6.
    #[inline(always)]
    pub const fn v6(protocol: u8) -> Self {
        Self(protocol as u32 | Self::V6)
    }
    /// The protocol's number.
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        self.0 as u8
    }
    /// Whether it is IPv6.
    #[inline(always)]
    pub const fn is_v6(self) -> bool {
        self.0 & Self::V6 != 0
    }
}

/// Source and destination port, as they lie in a packet.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Ports {
    /// Where it comes from.
    pub source: Be16,
    /// Where it goes to.
    pub destination: Be16,
}

impl Ports {
    /// Of a packet.
    #[inline(always)]
    pub const fn new(source: Be16, destination: Be16) -> Self {
        Self {
            source,
            destination,
        }
    }
    /// Both as they lie.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        let ([a, b], [c, d]) = (self.source.0, self.destination.0);
        u32::from_ne_bytes([a, b, c, d])
    }
    /// The opposite of [`word`](Self::word).
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        let [a, b, c, d] = word.to_ne_bytes();
        Self::new(Be16([a, b]), Be16([c, d]))
    }
}

/// A flow as one of its packets shows it. 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct FlowKey {
    /// Source address.
    pub saddr: Addr,
    /// Destination address.
    pub daddr: Addr,
    /// Both ports.
    pub ports: Ports,
    /// Family and protocol.
    pub kind: Kind,
}
const _: () = assert!(size_of::<FlowKey>() == 40 && align_of::<FlowKey>() == 8);

impl FlowKey {
    /// The same flow seen from its other end: what an answer to this packet shows.
    #[inline(always)]
    pub const fn reversed(self) -> Self {
        Self {
            saddr: self.daddr,
            daddr: self.saddr,
            ports: Ports::new(self.ports.destination, self.ports.source),
            kind: self.kind,
        }
    }
}

/// Which of a flow's two directions a packet travels.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub enum Direction {
    /// From the client to the service.
    Request,
    /// From the backend to the balancer.
    Reply,
}

/// What an entry of `index` leads to: a slot of `connections` and the direction of the key that
/// led there, plus seven bits of the key's hash, never all zero: 0 is an empty entry.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Entry(pub u32);

impl Entry {
    /// Nothing.
    pub const EMPTY: Self = Self(0);
    const SLOT_BITS: u32 = 24;
    /// The bits of [`tag`](Self::tag).
    pub const TAG: u32 = 0x7f << 25;

    /// The entry of `direction` for `slot`, below [`MAX_CONNECTIONS`].
    #[inline(always)]
    pub const fn new(slot: u32, direction: Direction, tag: u32) -> Self {
        Self(tag << 25 | (direction as u32) << Self::SLOT_BITS | slot)
    }
    /// The index into `connections`.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 & ((1 << Self::SLOT_BITS) - 1)
    }
    /// Which way the key that led here points.
    #[inline(always)]
    pub const fn direction(self) -> Direction {
        if self.0 >> Self::SLOT_BITS & 1 == 0 {
            Direction::Request
        } else {
            Direction::Reply
        }
    }
    /// Seven bits of the hash, 1 to 127.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        self.0 >> 25
    }
}

/// The largest size of `connections`: what an [`Entry`] can name.
pub const MAX_CONNECTIONS: u32 = 1 << Entry::SLOT_BITS;

/// The kernel's lock for a map value; it finds the field by this type's name (kernel/bpf/btf.c, `btf_get_field_type`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(non_camel_case_types)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct bpf_spin_lock {
    /// The kernel's own.
    pub val: u32,
}

/// Entries of one [`Bucket`].
pub const BUCKET: usize = 14;

/// The value of map `index`, a cache line: entries of the keys whose hash leads here.
///
/// The lock lies last: a loop's pointer goes one entry beyond the entries, and without CAP_PERFMON the verifier
/// wants it to lie in the value still, and not on the lock (kernel/bpf/verifier.c, `sanitize_check_bounds`). Entries are read
/// two at a time, hence the alignment.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Bucket {
    /// [`Entry`]s, in no order.
    pub entries: [u32; BUCKET],
    /// How many entries that belong here found no room and lie in their other bucket.
    pub overflow: u32,
    /// Held while an entry is added or removed, never while one is looked up.
    pub lock: bpf_spin_lock,
}
const _: () = assert!(size_of::<Bucket>() == 64);

/// One flow, both directions of it: the value of map `connections`. 96 bytes.
///
/// Both keys live in the one record, and only [`crate::flow`] makes and unmakes it, so there is
/// no half of a flow to lose. Flows that answer directly (DSR, IP in IP) have no reply key: their
/// `target`, `target_port` and `port` are zero.
#[repr(C)]
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Connection {
    /// Held while a slot changes hands, never while a packet is forwarded.
    pub lock: bpf_spin_lock,
    /// Odd while the record is being rewritten, another even number afterwards.
    pub generation: u32,
    /// The client's address.
    pub client: Addr,
    /// The service's.
    pub vip: Addr,
    /// The backend's.
    pub target: Addr,
    /// Client's and service's port, as a request has them.
    pub request_ports: Ports,
    /// Backend's and balancer's port, as a reply has them.
    pub reply_ports: Ports,
    /// Family and protocol.
    pub kind: Kind,
    /// When its last packet came, in [ticks](crate::world::World::now).
    pub last_seen: u32,
    /// Bits of [`crate::flow::State`]; 0 is a free slot.
    pub state: u32,
    /// The backend's index in `backends`.
    pub backend: u32,
    /// The service's number.
    pub service: u32,
    /// When the way to the client was last asked of the routing table, in ticks.
    pub routed_at: u32,
    /// In the first six bytes where the client's frames go ([`MacWords::packed`]).
    pub client_mac: u64,
}
const _: () = assert!(size_of::<Connection>() == 96);

/// How a service's packets reach its backends.
pub mod mode {
    /// No service, but an address that has one: echo requests to it are answered.
    pub const ADDRESS: u32 = 0;
    /// Full NAT: source and destination are rewritten, answers come back through the balancer.
    pub const NAT: u32 = 1;
    /// Direct return: only the Ethernet addresses change; the backends hold the service's address.
    pub const DSR: u32 = 2;
    /// Direct return over IP: the packet is put into another one, IP in IP.
    pub const IPIP: u32 = 3;
}

/// The key of map `services`. 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct ServiceKey {
    /// Its address.
    pub addr: Addr,
    /// Its port; 0 stands for every port.
    pub port: Be16,
    /// Zero.
    pub reserved: u16,
    /// Its protocol's number; 0 with port 0 for the address itself ([`mode::ADDRESS`]).
    pub protocol: u32,
}
const _: () = assert!(size_of::<ServiceKey>() == 24);

impl ServiceKey {
    /// Of an address, a port (0: every) and a protocol.
    #[inline(always)]
    pub const fn new(addr: Addr, port: Be16, protocol: u8) -> Self {
        Self {
            addr,
            port,
            reserved: 0,
            protocol: protocol as u32,
        }
    }
}

/// The value of map `services`. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Service {
    /// Its number: the index into `service_counters`.
    pub id: u32,
    /// One of [`mode`].
    pub mode: u32,
    /// Its Maglev table: the first block of `tables`.
    pub table: u32,
    /// The table's slots; 0 where no backend takes new flows.
    pub slots: u32,
    /// Its backends: the first of them in `members`.
    pub members: u32,
    /// How many there are.
    pub count: u32,
    /// The lowest source port towards its backends, in the host's order. NAT only.
    pub port_low: u16,
    /// The highest.
    pub port_high: u16,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Service>() == 32);

/// Slots of Maglev tables in one value of map `tables`.
pub const BLOCK: u32 = 32;

/// The value of map `tables`: slots, each the number of a backend among the service's members.
pub type Block = [u16; BLOCK as usize];

/// Most slots of a service's table, and most backends of a service.
pub const MAX_SLOTS: u32 = 655_373;
/// Most backends of one service.
pub const MAX_MEMBERS: u32 = u16::MAX as u32;

/// One backend of one service: the value of map `backends`. 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Backend {
    /// Its IP address.
    pub addr: Addr,
    /// In the first six bytes where its frames go ([`MacWords::packed`]): its own Ethernet address or its
    /// router's; 0 where none is known.
    pub mac: u64,
    /// When the way to it was last asked of the routing table, in ticks.
    pub routed_at: u32,
    /// Bits of [`backend`].
    pub flags: u32,
    /// Its service's number.
    pub service: u32,
    /// Its port; 0 stands for the packet's own.
    pub port: Be16,
    /// Its weight, for who reads the configuration back; the program has it in the table.
    pub weight: u16,
}
const _: () = assert!(size_of::<Backend>() == 40);

/// Bits of [`Backend::flags`].
pub mod backend {
    /// It takes flows. Whether new ones, too, is the table's to say.
    pub const UP: u32 = 1;
    /// Its Ethernet address is the configuration's: the routing table is not asked.
    pub const FIXED_MAC: u32 = 2;
    /// It takes no new flows. For who reads the configuration back.
    pub const DRAINING: u32 = 4;
    /// Its state was set live, over what the file says. For who reads the configuration back.
    pub const LIVE: u32 = 8;
    /// It is no longer in the configuration, but flows name it. For who reads the configuration back.
    pub const GONE: u32 = 16;
}

/// Packets and bytes: the value of map `counters`, one for each [`crate::counters::Reason`] and CPU.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Count {
    /// Frames.
    pub packets: u64,
    /// Their bytes, from the Ethernet header to the end of the frame as it came in.
    pub bytes: u64,
}

/// What one backend got and gave: the value of map `backend_counters`, one for each CPU.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct BackendCount {
    /// Flows opened to it.
    pub connections: u64,
    /// Frames sent to it.
    pub sent: Count,
    /// Frames it answered with.
    pub received: Count,
}
const _: () = assert!(size_of::<BackendCount>() == 40);

/// What became of a service's new flows: the value of map `service_counters`, one for each CPU.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct ServiceCount {
    /// Flows that got a backend.
    pub opened: u64,
    /// Packets that would have opened one, and could not.
    pub refused: u64,
}

/// What a function of the program hands to the next: the value of map `scratch`, one for each CPU.
#[repr(C)]
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Scratch {
    /// The packet at hand.
    pub seen: Seen,
    /// A flow that is looked for.
    pub sought: Sought,
    /// What is known of it so far, for who watches.
    pub record: Record,
    /// Room for a piece of a frame, twice the 512 bytes that are looked at once.
    pub piece: [u64; 128],
}

/// A packet as its headers show it. 80 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Seen {
    /// Its flow.
    pub key: FlowKey,
    /// [`crate::flow::hash`] of it.
    pub hash: u64,
    /// Where the frame came from ([`MacWords::packed`]).
    pub source_mac: u64,
    /// Where the IP header begins in the frame.
    pub l3: u32,
    /// Where the transport's header begins.
    pub l4: u32,
    /// Bytes of transport header and data, by the IP header.
    pub length: u32,
    /// TCP's flags; 0 for UDP.
    pub flags: u32,
    /// Hops left: TTL or hop limit.
    pub hops: u32,
    /// Bytes of the frame.
    pub bytes: u32,
}
const _: () = assert!(size_of::<Seen>() == 80);

/// A flow that is looked for by [`crate::index::look`]. 56 bytes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Sought {
    /// Its key.
    pub key: FlowKey,
    /// [`crate::index::Hash`] of it.
    pub hash: u64,
    /// A slot that does not count.
    pub except: u64,
}
const _: () = assert!(size_of::<Sought>() == 56);

/// What became of a packet, and how: what `trace` and `ask` get. 144 bytes; in a record of map `events`
/// two times [`SNAP`] bytes of the frame follow, as it came and as it left.
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug, PartialEq, Eq))]
pub struct Event {
    /// When, in nanoseconds since the system's start (CLOCK_MONOTONIC).
    pub time: u64,
    /// The number of its [`crate::counters::Reason`].
    pub reason: u32,
    /// Bits of [`stage`]: which of the other fields say something.
    pub stages: u32,
    /// The flow as it came.
    pub key: FlowKey,
    /// The flow as it left.
    pub sent: FlowKey,
    /// The service's number.
    pub service: u32,
    /// The backend's index.
    pub backend: u32,
    /// The flow's slot in `connections`.
    pub slot: u32,
    /// The slot of the Maglev table.
    pub table_slot: u32,
    /// The flow's state before this packet.
    pub state: u32,
    /// What the routing table answered (`BPF_FIB_LKUP_RET_*`), where it was asked.
    pub route: u32,
    /// Where the frame went ([`MacWords::packed`]).
    pub mac: u64,
    /// Bytes of the frame as it came.
    pub length: u32,
    /// How many of them follow.
    pub captured: u32,
    /// Bytes of the frame as it left.
    pub sent_length: u32,
    /// How many of them follow.
    pub sent_captured: u32,
}
const _: () = assert!(size_of::<Event>() == 144);

/// Bytes of a frame in an event.
pub const SNAP: u32 = 256;

/// A record of map `events`.
#[repr(C)]
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Record {
    /// What became of the packet.
    pub event: Event,
    /// [`Event::captured`] bytes of the frame as it came.
    pub before: [u8; SNAP as usize],
    /// [`Event::sent_captured`] bytes of the frame as it left.
    pub after: [u8; SNAP as usize],
}
const _: () = assert!(size_of::<Record>() == 144 + 2 * 256);

/// What a watcher gets ([`crate::world::Settings::watch`]).
pub mod watch {
    /// Nothing.
    pub const OFF: u32 = 0;
    /// What became of each packet.
    pub const EVENTS: u32 = 1;
    /// The frames' first bytes, too (Linux 5.18).
    pub const FRAMES: u32 = 2;
}

/// Bits of [`Event::stages`].
pub mod stage {
    /// It is TCP or UDP, and `key` is its flow.
    pub const PARSED: u32 = 1;
    /// It is of a known flow: `slot`, `state`, `backend`, and it came from the client.
    pub const REQUEST: u32 = 2;
    /// Likewise, from the backend.
    pub const REPLY: u32 = 4;
    /// It is for `service`.
    pub const SERVICE: u32 = 8;
    /// `table_slot` led to `backend`.
    pub const PICKED: u32 = 16;
    /// A flow was opened for it in `slot`.
    pub const OPENED: u32 = 32;
    /// `route` was asked for.
    pub const ROUTED: u32 = 64;
    /// It left with `mac`, as `sent`.
    pub const SENT: u32 = 128;
}

/// How the program treats a transport checksum that was left to hardware (facts in [`crate::checksum`]).
pub mod deferred {
    /// Compute it: an XDP frame carries no note that it is still owed (native mode).
    pub const COMPLETE: u32 = 0;
    /// Keep it owed, for the new addresses: the socket buffer still says so (generic mode).
    pub const KEEP: u32 = 1;
}
