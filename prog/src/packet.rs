//! The frame and its headers. Having a header proves that its bytes lie in the frame.
//!
//! Headers are made of byte arrays inside [`Cell`]s: they need no alignment, several can be held
//! at once, and all of it is the frame itself, so a `set` is a store into the packet.

use core::cell::Cell;
use core::marker::PhantomData;

use crate::abi::{Be16, Be32, FlowKey, MacWords, Ports, protocol};
use crate::counters::Reason;
use crate::family::Family;

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

/// Where things lie in a frame. Constants for the usual one, so that the compiler folds them.
#[derive(Clone, Copy)]
pub struct Layout {
    /// Where the IP header begins: 14, more with VLAN tags.
    pub l3: usize,
    /// Where the transport's header begins.
    pub l4: usize,
    /// The transport's protocol number.
    pub protocol: u8,
}

/// A TCP segment or UDP datagram whose headers are whole and whose data the frame holds to the last byte.
pub struct Packet<'a, F: Family> {
    /// Its Ethernet header.
    pub ethernet: &'a Ethernet,
    /// Its IP header.
    pub ip: &'a F::Ip,
    /// Its ports.
    pub ports: &'a PortsHeader,
    /// TCP's flags; none for UDP.
    pub flags: u8,
    /// The transport's checksum. A pointer of its own, for the verifier: which of the two headers it lies in is
    /// decided once, where the header's bounds are.
    pub checksum: &'a Cell<Be16>,
    /// Where it all lies.
    pub layout: Layout,
    /// Bytes of transport header and data, by the IP header (a short frame is padded).
    pub length: u16,
    /// The flow as this packet shows it.
    pub key: FlowKey,
}

/// Reads a packet whose IP header leads to TCP or UDP. `bytes` is the frame's length.
#[inline(always)]
pub fn parse<'a, F: Family>(
    frame: &Frame<'a>,
    layout: Layout,
    bytes: u64,
) -> Result<Packet<'a, F>, Reason> {
    let ethernet: &Ethernet = frame.at(0).ok_or(Reason::Truncated)?;
    let ip: &F::Ip = frame.at(layout.l3).ok_or(Reason::Truncated)?;
    let headers = layout.l4 - layout.l3;
    let total = F::total(ip);
    let tcp = layout.protocol == protocol::TCP;
    let least = if tcp {
        size_of::<Tcp>()
    } else {
        size_of::<Udp>()
    };
    if total < headers + least {
        return Err(Reason::Malformed);
    }
    if (layout.l3 + total) as u64 > bytes {
        return Err(Reason::Truncated);
    }
    let mut length = (total - headers) as u16;
    let (flags, checksum) = if tcp {
        let tcp: &Tcp = frame.at(layout.l4).ok_or(Reason::Truncated)?;
        let header = u16::from(tcp.data_offset.get() >> 4) * 4;
        if header < size_of::<Tcp>() as u16 || header > length {
            return Err(Reason::Malformed);
        }
        (tcp.flags.get(), &tcp.checksum)
    } else {
        let udp: &Udp = frame.at(layout.l4).ok_or(Reason::Truncated)?;
        // It may be shorter than IP says; it is what the checksum is of (RFC 768).
        let datagram = udp.length.get().get();
        if datagram < size_of::<Udp>() as u16 || datagram > length {
            return Err(Reason::Malformed);
        }
        length = datagram;
        (0, &udp.checksum)
    };
    let ports: &PortsHeader = frame.at(layout.l4).ok_or(Reason::Truncated)?;
    let key = FlowKey {
        saddr: F::source(ip),
        daddr: F::destination(ip),
        ports: Ports::new(ports.source.get(), ports.destination.get()),
        kind: F::kind(layout.protocol),
    };
    if key.ports.source == Be16([0; 2]) || key.ports.destination == Be16([0; 2]) {
        return Err(Reason::PortZero);
    }
    Ok(Packet {
        ethernet,
        ip,
        ports,
        flags,
        checksum,
        layout,
        length,
        key,
    })
}

impl<F: Family> Packet<'_, F> {
    /// Whether it is UDP.
    #[inline(always)]
    pub fn is_udp(&self) -> bool {
        self.key.kind.protocol() == protocol::UDP
    }
}

/// SYN without ACK: it asks for a new connection.
#[inline(always)]
pub fn opens(flags: u8) -> bool {
    flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN
}
