//! The frame and its headers. Having a header proves that its bytes lie in the frame.
//!
//! Headers are made of byte arrays inside [`Cell`]s: they need no alignment, several can be held
//! at once, and all of it is the frame itself, so a `set` is a store into the packet.

use core::cell::Cell;
use core::marker::PhantomData;

use crate::abi::{Be16, Be32, FlowKey, MacWords, Ports, protocol};
use crate::counters::Reason;
use crate::family::Family;
use crate::opaque::opaque;

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
        self.header(self.start.wrapping_add(offset))
    }

    /// [`at`](Self::at) on one of several ways, each with a constant of its own. The compiler would make one way of them, and
    /// add whichever constant was chosen: without CAP_PERFMON the verifier allows no such sum (kernel/bpf/verifier.c, `sanitize_ptr_alu`).
    #[inline(always)]
    fn at_constant<T: Header>(&self, offset: usize) -> Option<&'a T> {
        let start = opaque(self.start.wrapping_add(offset));
        // SAFETY: it points into a frame or behind it. Who does not know this asks for it instead of for the frame's end, and a
        // pointer that is compared with a number the verifier does not take either.
        unsafe { core::hint::assert_unchecked(!start.is_null()) };
        self.header(start)
    }

    /// Replaces the checksum at `offset`, on one of several ways ([`at_constant`](Self::at_constant)); what it was and what it is.
    /// Where the frame ends before it, nothing.
    #[inline(always)]
    pub fn update_checksum(&self, offset: usize, new: impl Fn(Be16) -> Be16) -> (Be16, Be16) {
        let Some(field) = self.at_constant::<Checksum>(offset) else {
            return (Be16([0; 2]), Be16([0; 2]));
        };
        let before = field.value.get();
        let after = new(before);
        field.value.set(after);
        (before, after)
    }

    /// The checksum of the TCP segment or UDP datagram that begins at `l4`; None also where it is neither.
    #[inline(always)]
    pub fn checksum(&self, number: u8, l4: usize) -> Option<&'a Checksum> {
        match number {
            protocol::TCP => self.at_constant(l4 + 16),
            protocol::UDP => self.at_constant(l4 + 6),
            _ => None,
        }
    }

    #[inline(always)]
    fn header<T: Header>(&self, start: *mut u8) -> Option<&'a T> {
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

    /// What follows an 802.1Q or 802.1ad ethertype.
    Vlan, 4 {
        /// Priority, drop eligibility, and in the low twelve bits the network's number.
        tag: Be16,
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

    /// IPv6 without extension headers (RFC 8200 §3).
    Ipv6, 40 {
        /// Version (6), traffic class, flow label.
        version_class_label: Be32,
        /// What follows this header, in bytes.
        payload_length: Be16,
        /// What follows.
        next_header: u8,
        /// Hops left.
        hop_limit: u8,
        /// Source address.
        source: [u8; 16],
        /// Destination address.
        destination: [u8; 16],
    }

    /// The first four bytes of an IPv6 extension header (RFC 8200 §4.2), as a routing header has them (§4.4).
    Extension, 4 {
        /// What follows it.
        next_header: u8,
        /// Its length in 8-byte units, not counting the first.
        length: u8,
        /// Of a routing header: how it is to be read.
        kind: u8,
        /// Of a routing header: how many nodes the packet has yet to visit.
        segments_left: u8,
    }

    /// A checksum, wherever it stands.
    Checksum, 2 {
        /// It.
        value: Be16,
    }

    /// The ports, which TCP and UDP begin with.
    PortsHeader, 4 {
        /// Source port.
        source: Be16,
        /// Destination port.
        destination: Be16,
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

    /// UDP (RFC 768).
    Udp, 8 {
        /// Source port.
        source: Be16,
        /// Destination port.
        destination: Be16,
        /// Header and data, in bytes.
        length: Be16,
        /// Of pseudo-header, header and data; 0 over IPv4: none.
        checksum: Be16,
    }

    /// ICMP for either family (RFC 792, RFC 4443 §2.1).
    Icmp, 8 {
        /// What it says.
        kind: u8,
        /// And more exactly.
        code: u8,
        /// Of the message, for ICMPv6 of a pseudo-header, too.
        checksum: Be16,
        /// By kind: identifier and sequence number, or an MTU.
        rest: Be32,
    }
}

impl PortsHeader {
    /// Both ports, by one number: the compiler would take them apart and put them together again.
    #[inline(always)]
    pub fn both(&self) -> Ports {
        let word = Ports::new(self.source.get(), self.destination.get()).word();
        Ports::from_word(opaque(u64::from(word)) as u32)
    }
}

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

/// Where a transport's header has its checksum; None where it is neither TCP nor UDP.
#[inline(always)]
pub const fn checksum_at(number: u8) -> Option<usize> {
    match number {
        protocol::TCP => Some(16),
        protocol::UDP => Some(6),
        _ => None,
    }
}

/// The offset of an IP header, bounded for the verifier: with two VLAN tags it is 22.
#[inline(always)]
pub const fn l3_bounded(l3: usize) -> usize {
    l3 & 0x1f
}
/// The offset of a transport's header, bounded for the verifier: four extension headers take at most 8,240 bytes.
#[inline(always)]
pub const fn l4_bounded(l4: usize) -> usize {
    l4 & 0x3fff
}

/// TCP or UDP. What forwards packets is compiled for each by itself: which of the two a packet is, is asked once, and where
/// its checksum lies is then a constant.
pub trait Transport: Copy {
    /// Its header.
    type Header: Header;
    /// Its protocol number.
    const NUMBER: u8;
    /// Whether it is UDP.
    const UDP: bool;

    /// The checksum's field.
    fn checksum(header: &Self::Header) -> &Cell<Be16>;
    /// TCP's flags; none for UDP.
    fn flags(header: &Self::Header) -> u8;
    /// How many of the `length` bytes that IP gives it are its own; None where its header says nonsense.
    fn own(header: &Self::Header, length: u16) -> Option<u16>;
}

/// TCP.
#[derive(Clone, Copy)]
pub struct OverTcp;
/// UDP.
#[derive(Clone, Copy)]
pub struct OverUdp;

impl Transport for OverTcp {
    type Header = Tcp;
    const NUMBER: u8 = protocol::TCP;
    const UDP: bool = false;

    #[inline(always)]
    fn checksum(tcp: &Tcp) -> &Cell<Be16> {
        &tcp.checksum
    }
    #[inline(always)]
    fn flags(tcp: &Tcp) -> u8 {
        tcp.flags.get()
    }
    #[inline(always)]
    fn own(tcp: &Tcp, length: u16) -> Option<u16> {
        let header = u16::from(tcp.data_offset.get() >> 4) * 4;
        (header >= size_of::<Tcp>() as u16 && header <= length).then_some(length)
    }
}

impl Transport for OverUdp {
    type Header = Udp;
    const NUMBER: u8 = protocol::UDP;
    const UDP: bool = true;

    #[inline(always)]
    fn checksum(udp: &Udp) -> &Cell<Be16> {
        &udp.checksum
    }
    #[inline(always)]
    fn flags(_: &Udp) -> u8 {
        0
    }
    #[inline(always)]
    fn own(udp: &Udp, length: u16) -> Option<u16> {
        // It may be shorter than IP says; it is what the checksum is of (RFC 768).
        let own = udp.length.get().get();
        (own >= size_of::<Udp>() as u16 && own <= length).then_some(own)
    }
}

/// A TCP segment or UDP datagram whose headers are whole and whose data the frame holds to the last byte.
pub struct Packet<'a, F: Family, T: Transport> {
    /// Its Ethernet header.
    pub ethernet: &'a Ethernet,
    /// Its IP header.
    pub ip: &'a F::Ip,
    /// Its ports.
    pub ports: &'a PortsHeader,
    /// Its transport header.
    pub header: &'a T::Header,
    /// Where the IP header begins in the frame.
    pub l3: usize,
    /// Where the transport's header begins.
    pub l4: usize,
    /// Bytes of transport header and data, by the IP header (a short frame is padded).
    pub length: u16,
    /// The flow as this packet shows it.
    pub key: FlowKey,
}

/// Reads a packet whose IP header at `l3` leads to TCP or UDP at `l4`. `bytes` is the frame's length.
#[inline(always)]
pub fn parse<'a, F: Family, T: Transport>(
    frame: &Frame<'a>,
    l3: usize,
    l4: usize,
    bytes: u64,
) -> Result<Packet<'a, F, T>, Reason> {
    let ethernet: &Ethernet = frame.at(0).ok_or(Reason::Truncated)?;
    let ip: &F::Ip = frame.at(l3).ok_or(Reason::Truncated)?;
    let headers = l4 - l3;
    let total = F::total(ip);
    if total < headers + size_of::<T::Header>() {
        return Err(Reason::Malformed);
    }
    if (l3 + total) as u64 > bytes {
        return Err(Reason::Truncated);
    }
    let header: &T::Header = frame.at(l4).ok_or(Reason::Truncated)?;
    let length = T::own(header, (total - headers) as u16).ok_or(Reason::Malformed)?;
    let ports: &PortsHeader = frame.at(l4).ok_or(Reason::Truncated)?;
    let key = FlowKey {
        saddr: F::source(ip),
        daddr: F::destination(ip),
        ports: ports.both(),
        kind: F::kind(T::NUMBER),
    };
    if key.ports.source == Be16([0; 2]) || key.ports.destination == Be16([0; 2]) {
        return Err(Reason::PortZero);
    }
    Ok(Packet {
        ethernet,
        ip,
        ports,
        header,
        l3,
        l4,
        length,
        key,
    })
}

/// SYN without ACK: it asks for a new connection.
#[inline(always)]
pub fn opens(flags: u8) -> bool {
    flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN
}
