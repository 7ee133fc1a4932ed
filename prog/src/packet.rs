//! The frame and its headers. Having a header proves that its bytes lie in the frame.
//!
//! Headers are made of byte arrays inside [`Cell`]s: they need no alignment, several can be held
//! at once, and all of it is the frame itself, so a `set` is a store into the packet.

use core::cell::Cell;
use core::marker::PhantomData;

use crate::abi::{Be16, Be32, FlowKey, MacWords};
use crate::counters::Reason;
use crate::world::World;

/// A frame between the driver's `data` and `data_end`.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    start: *mut u8,
    end: *mut u8,
    bytes: PhantomData<&'a Cell<u8>>,
}

/// A type that any bytes are a value of, with alignment 1.
///
/// # Safety
/// Only `repr(C)` structs of `Cell`s of bytes and byte arrays, or such arrays themselves.
pub unsafe trait Header {}

impl<'a> Frame<'a> {
    /// The frame of a running XDP program.
    ///
    /// # Safety
    /// `start` and `end` are the context's `data` and `data_end`, or bound memory that nothing else
    /// uses during `'a`.
    #[inline(always)]
    pub const unsafe fn new(start: *mut u8, end: *mut u8) -> Self {
        Self {
            start,
            end,
            bytes: PhantomData,
        }
    }

    /// A frame in memory, for tests on the host.
    #[cfg(not(feature = "bpf"))]
    pub fn from_slice(bytes: &'a mut [u8]) -> Self {
        let range = bytes.as_mut_ptr_range();
        // SAFETY: the exclusive borrow of `bytes` lasts for 'a.
        unsafe { Self::new(range.start, range.end) }
    }

    /// How many bytes the frame has: a difference of pointers, which the verifier allows only to a
    /// loader with CAP_PERFMON (kernel/bpf/verifier.c, `adjust_reg_min_max_vals`).
    #[inline(always)]
    pub fn difference(&self) -> u64 {
        self.end as u64 - self.start as u64
    }

    /// The header at `offset`, if the frame reaches to its end.
    ///
    /// The comparison is of pointers, against `data_end`, because that is the form in which the
    /// verifier learns how far a packet reaches (kernel/bpf/verifier.c, `try_match_pkt_pointers`).
    #[inline(always)]
    pub fn at<T: Header>(&self, offset: usize) -> Option<&'a T> {
        let start = self.start.wrapping_add(offset);
        let end = start.wrapping_add(size_of::<T>());
        if end as usize > self.end as usize {
            return None;
        }
        // SAFETY: start..end lies in the frame by the check above (offsets are below 2^16, so no
        // pointer wraps), T takes any bytes and has alignment 1, and all access goes through Cells.
        Some(unsafe { &*start.cast::<T>() })
    }
}

macro_rules! headers {
    ($($(#[doc = $doc:literal])+ $name:ident, $size:literal { $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)* })*) => {$(
        $(#[doc = $doc])+
        #[repr(C)]
        pub struct $name { $($(#[doc = $field_doc])+ pub $field: Cell<$type>,)* }
        const _: () = assert!(size_of::<$name>() == $size && align_of::<$name>() == 1);
        // SAFETY: Cells of bytes, byte arrays and transparent wrappers of byte arrays only.
        unsafe impl Header for $name {}
    )*};
}

/// An Ethernet address in a header: two bytes and two and two.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct MacBytes([[u8; 2]; 3]);

impl MacBytes {
    /// The address in registers.
    #[inline(always)]
    pub const fn words(self) -> MacWords {
        let [a, b, c] = self.0;
        MacWords([
            u16::from_ne_bytes(a),
            u16::from_ne_bytes(b),
            u16::from_ne_bytes(c),
        ])
    }
}

impl From<MacWords> for MacBytes {
    #[inline(always)]
    fn from(mac: MacWords) -> Self {
        Self(mac.0.map(u16::to_ne_bytes))
    }
}

headers! {
    /// Ethernet II.
    Ethernet, 14 {
        /// The receiver's address.
        destination: MacBytes,
        /// The sender's address.
        source: MacBytes,
        /// What follows.
        ethertype: Be16,
    }

    /// IPv4 without its options (RFC 791 §3.1).
    Ipv4, 20 {
        /// Version (4) in the high half, header length in 32-bit words in the low half.
        version_ihl: u8,
        /// Type of service, ECN.
        tos: u8,
        /// Header and data, in bytes.
        total_length: Be16,
        /// Groups the fragments of a datagram.
        identification: Be16,
        /// Flags (0x2000: more fragments follow) and the fragment's offset in 8-byte units.
        fragment: Be16,
        /// Hops left.
        ttl: u8,
        /// What follows.
        protocol: u8,
        /// Of the header alone.
        checksum: Be16,
        /// Source address.
        source: Be32,
        /// Destination address.
        destination: Be32,
    }

    /// TCP without its options (RFC 9293 §3.1).
    Tcp, 20 {
        /// Source port.
        source: Be16,
        /// Destination port.
        destination: Be16,
        /// Sequence number.
        sequence: Be32,
        /// Acknowledgement number.
        acknowledgement: Be32,
        /// Header length in 32-bit words in the high half.
        data_offset: u8,
        /// FIN, SYN, RST, ACK, ….
        flags: u8,
        /// Receive window.
        window: Be16,
        /// Of pseudo-header, header and data.
        checksum: Be16,
        /// Urgent pointer.
        urgent: Be16,
    }
}

/// Where TCP begins in a frame without IP options.
pub const PLAIN_TCP: usize = size_of::<Ethernet>() + size_of::<Ipv4>();

/// Room for a TCP header beside the frame, for surroundings that cannot point at it in there.
/// Aligned, since it lies on the stack.
#[repr(C, align(8))]
pub struct Spare(pub Cell<[u64; 3]>);

impl Spare {
    /// Empty room.
    pub const fn new() -> Self {
        Self(Cell::new([0; 3]))
    }

    /// The header in it.
    #[inline(always)]
    pub fn tcp(&self) -> &Tcp {
        const { assert!(size_of::<Tcp>() <= size_of::<Self>()) };
        // SAFETY: large enough, aligned well enough, and a Tcp takes any bytes.
        unsafe { &*core::ptr::from_ref(&self.0).cast() }
    }
}

impl Default for Spare {
    fn default() -> Self {
        Self::new()
    }
}

const ETHERTYPE_IPV4: Be16 = Be16::new(0x0800);
const PROTOCOL_TCP: u8 = 6;
/// More fragments, or an offset other than zero; the bit in front of them says "don't".
const FRAGMENT_MASK: u16 = 0x3fff;

/// The TCP flags the balancer looks at.
pub mod flags {
    /// The sender has no more to say.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Ends it at once.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// An IPv4 frame whose IP header is whole.
pub struct Ip<'a> {
    /// Its Ethernet header.
    pub ethernet: &'a Ethernet,
    /// Its IP header.
    pub ipv4: &'a Ipv4,
}

/// A TCP segment whose headers are whole and whose data the frame holds to the last byte.
pub struct Segment<'a> {
    /// Its Ethernet header.
    pub ethernet: &'a Ethernet,
    /// Its IP header.
    pub ipv4: &'a Ipv4,
    /// Its TCP header.
    pub tcp: &'a Tcp,
    /// Where the TCP header begins in the frame: 34, more with IP options.
    pub tcp_offset: usize,
    /// Bytes of TCP header and data, by the IP header (a short frame is padded).
    pub tcp_length: u16,
    /// The connection as this packet shows it.
    pub key: FlowKey,
}

/// Reads Ethernet and IPv4.
#[inline(always)]
pub fn parse_ip<'a>(frame: &Frame<'a>) -> Result<Ip<'a>, Reason> {
    let ethernet: &Ethernet = frame.at(0).ok_or(Reason::Truncated)?;
    if ethernet.ethertype.get() != ETHERTYPE_IPV4 {
        return Err(Reason::NotIpv4);
    }
    let ipv4: &Ipv4 = frame.at(size_of::<Ethernet>()).ok_or(Reason::Truncated)?;
    Ok(Ip { ethernet, ipv4 })
}

/// Reads on to TCP. To be called once it is known that the packet is addressed to us.
///
/// `length` is the frame's. Behind IP options the TCP header lies where no constant says, and where
/// the world cannot point; it is then copied to `spare`.
#[inline(always)]
pub fn parse_tcp<'a, W: World>(
    world: &W,
    frame: &Frame<'a>,
    ip: &Ip<'a>,
    length: u64,
    spare: &'a Spare,
) -> Result<Segment<'a>, Reason> {
    let Ip { ethernet, ipv4 } = *ip;
    let version_ihl = ipv4.version_ihl.get();
    let header = usize::from(version_ihl & 0x0f) * 4;
    if version_ihl >> 4 != 4 || header < size_of::<Ipv4>() {
        return Err(Reason::Malformed);
    }
    if ipv4.protocol.get() != PROTOCOL_TCP {
        return Err(Reason::NotTcp);
    }
    if ipv4.fragment.get().get() & FRAGMENT_MASK != 0 {
        return Err(Reason::Fragment);
    }
    let total = usize::from(ipv4.total_length.get().get());
    if total < header + size_of::<Tcp>() {
        return Err(Reason::Malformed);
    }
    if (size_of::<Ethernet>() + total) as u64 > length {
        return Err(Reason::Truncated);
    }
    let tcp_offset = size_of::<Ethernet>() + header;
    let tcp = if tcp_offset == PLAIN_TCP {
        frame.at(PLAIN_TCP).ok_or(Reason::Truncated)?
    } else if world.points_anywhere() {
        frame.at(tcp_offset).ok_or(Reason::Truncated)?
    } else if world.copy_tcp(tcp_offset, spare) {
        spare.tcp()
    } else {
        return Err(Reason::Truncated);
    };
    let tcp_length = total - header;
    let tcp_header = usize::from(tcp.data_offset.get() >> 4) * 4;
    if tcp_header < size_of::<Tcp>() || tcp_header > tcp_length {
        return Err(Reason::Malformed);
    }
    let key = FlowKey::tcp(
        ipv4.source.get(),
        tcp.source.get(),
        ipv4.destination.get(),
        tcp.destination.get(),
    );
    Ok(Segment {
        ethernet,
        ipv4,
        tcp,
        tcp_offset,
        tcp_length: tcp_length as u16,
        key,
    })
}

impl Segment<'_> {
    /// SYN without ACK: it asks for a new connection.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        self.tcp.flags.get() & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN
    }
}
