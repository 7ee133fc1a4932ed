//! IPv4 and IPv6: what differs between them, and nothing else. What forwards packets is written once, for any [`Family`].

use crate::abi::{Addr, Be16, Be32, FlowKey, Kind, protocol};
use crate::checksum::{Change, Sum};
use crate::packet::{Header, Ipv4, Ipv6};
use crate::world::World;

/// An IP version.
pub trait Family: Copy {
    /// Its header.
    type Ip: Header;
    /// Its ethertype.
    const ETHERTYPE: Be16;
    /// Its header's length, without options or extensions.
    const HEADER: usize;
    /// Whether it is IPv6.
    const V6: bool;
    /// The number of its ICMP.
    const ICMP: u8;
    /// ICMP's echo request.
    const ECHO: u8;
    /// And the answer to it.
    const ECHO_REPLY: u8;
    /// ICMP's type and code for a packet that is too long for the way ahead (RFC 792, RFC 4443 §3.2).
    const TOO_BIG: (u8, u8);
    /// Bytes of a packet that an ICMP error about it quotes, so that it is no longer than 576 bytes (RFC 1812 §4.3.2.3)
    /// or the smallest MTU (RFC 4443 §3.2).
    const QUOTED: usize;

    /// A flow's kind.
    fn kind(protocol: u8) -> Kind;
    /// Source address.
    fn source(ip: &Self::Ip) -> Addr;
    /// Destination address.
    fn destination(ip: &Self::Ip) -> Addr;
    /// Header and data, in bytes.
    fn total(ip: &Self::Ip) -> usize;
    /// What follows the header.
    fn protocol(ip: &Self::Ip) -> u8;
    /// Hops left.
    fn hops(ip: &Self::Ip) -> u8;
    /// Whether two addresses of this family are the same.
    fn same(a: Addr, b: Addr) -> bool;
    /// What a change of address does to a checksum.
    fn change(change: Change, old: Addr, new: Addr) -> Change;
    /// The sum of an address.
    fn sum(sum: Sum, addr: Addr) -> Sum;
    /// Writes the addresses of `to` where those of `from` were, takes `hops` off, and keeps the header's own checksum right.
    fn rewrite(ip: &Self::Ip, from: &FlowKey, to: &FlowKey, hops: u8);
    /// Writes a whole header.
    fn write(ip: &Self::Ip, fresh: &Fresh);
    /// Its header's own checksum; 0 where it has none.
    fn own_checksum(ip: &Self::Ip) -> Be16;
    /// Traffic class: DSCP and ECN.
    fn class(ip: &Self::Ip) -> u8;
    /// Identification, and whether it must not be fragmented ([`DONT_FRAGMENT`]).
    fn fragmenting(ip: &Self::Ip) -> (Be16, Be16);
    /// The protocol whose header follows at once: no options, no extensions, not a later fragment.
    fn leads_to(ip: &Self::Ip) -> Option<u8>;
    /// Whether an ICMP message of that type reports an error with a packet that it quotes.
    fn is_error(kind: u8) -> bool;
    /// The balancer's own address.
    fn balancer<W: World>(world: &W) -> Addr;
}

/// An IP header to be written, without options or extensions.
pub struct Fresh {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// What follows.
    pub protocol: u8,
    /// Traffic class: DSCP and ECN.
    pub class: u8,
    /// Bytes that follow.
    pub payload: u16,
    /// What [`Family::fragmenting`] reads; IPv4 only.
    pub fragmenting: (Be16, Be16),
}

/// "Don't fragment", as it lies in an IPv4 header.
pub const DONT_FRAGMENT: Be16 = Be16::new(0x4000);
/// Of a packet that stays whole: its identification says nothing (RFC 6864 §4.1).
pub const ATOMIC: (Be16, Be16) = (Be16([0; 2]), DONT_FRAGMENT);
/// Hops that a packet of our own may take (RFC 1700, IP parameters).
pub const HOPS: u8 = 64;

/// IPv4.
#[derive(Clone, Copy)]
pub struct V4;
/// IPv6.
#[derive(Clone, Copy)]
pub struct V6;

impl Family for V4 {
    type Ip = Ipv4;
    const ETHERTYPE: Be16 = Be16::new(0x0800);
    const HEADER: usize = size_of::<Ipv4>();
    const V6: bool = false;
    const ICMP: u8 = protocol::ICMP;
    const ECHO: u8 = 8;
    const ECHO_REPLY: u8 = 0;
    const TOO_BIG: (u8, u8) = (3, 4);
    const QUOTED: usize = 576 - 20 - 8;

    #[inline(always)]
    fn kind(protocol: u8) -> Kind {
        Kind::v4(protocol)
    }
    #[inline(always)]
    fn source(ip: &Ipv4) -> Addr {
        Addr::v4(ip.source.get())
    }
    #[inline(always)]
    fn destination(ip: &Ipv4) -> Addr {
        Addr::v4(ip.destination.get())
    }
    #[inline(always)]
    fn total(ip: &Ipv4) -> usize {
        usize::from(ip.total_length.get().get())
    }
    #[inline(always)]
    fn protocol(ip: &Ipv4) -> u8 {
        ip.protocol.get()
    }
    #[inline(always)]
    fn hops(ip: &Ipv4) -> u8 {
        ip.ttl.get()
    }
    #[inline(always)]
    fn same(a: Addr, b: Addr) -> bool {
        a.0[1] == b.0[1]
    }
    #[inline(always)]
    fn change(change: Change, old: Addr, new: Addr) -> Change {
        change.word32(old.last().word(), new.last().word())
    }
    #[inline(always)]
    fn sum(sum: Sum, addr: Addr) -> Sum {
        sum.add32(addr.last().word())
    }
    #[inline(always)]
    fn rewrite(ip: &Ipv4, from: &FlowKey, to: &FlowKey, hops: u8) {
        // TTL shares its 16-bit word with the protocol.
        let (ttl, protocol) = (ip.ttl.get(), ip.protocol.get());
        let left = ttl.wrapping_sub(hops);
        let change = addresses::<Self>(Change::NONE, from, to).word16(
            u16::from_ne_bytes([ttl, protocol]),
            u16::from_ne_bytes([left, protocol]),
        );
        ip.ttl.set(left);
        ip.checksum.set(change.apply(ip.checksum.get()));
        ip.source.set(to.saddr.last());
        ip.destination.set(to.daddr.last());
    }
    #[inline(always)]
    fn write(ip: &Ipv4, fresh: &Fresh) {
        let length = Be16::new(Self::HEADER as u16 + fresh.payload);
        let (identification, fragment) = fresh.fragmenting;
        let (source, destination) = (fresh.source.last(), fresh.destination.last());
        let sum = Sum::ZERO
            .add16(u16::from_ne_bytes([0x45, fresh.class]))
            .add16(length.word())
            .add16(identification.word())
            .add16(fragment.word())
            .add16(u16::from_ne_bytes([HOPS, fresh.protocol]))
            .add32(source.word())
            .add32(destination.word());
        ip.version_ihl.set(0x45);
        ip.tos.set(fresh.class);
        ip.total_length.set(length);
        ip.identification.set(identification);
        ip.fragment.set(fragment);
        ip.ttl.set(HOPS);
        ip.protocol.set(fresh.protocol);
        ip.checksum.set(Be16::from_word(!sum.fold()));
        ip.source.set(source);
        ip.destination.set(destination);
    }
    #[inline(always)]
    fn own_checksum(ip: &Ipv4) -> Be16 {
        ip.checksum.get()
    }
    #[inline(always)]
    fn class(ip: &Ipv4) -> u8 {
        ip.tos.get()
    }
    #[inline(always)]
    fn fragmenting(ip: &Ipv4) -> (Be16, Be16) {
        let fragment = ip.fragment.get().word() & DONT_FRAGMENT.word();
        (ip.identification.get(), Be16::from_word(fragment))
    }
    #[inline(always)]
    fn leads_to(ip: &Ipv4) -> Option<u8> {
        const OFFSET: u16 = 0x1fff;
        let is_first = ip.fragment.get().get() & OFFSET == 0;
        (ip.version_ihl.get() == 0x45 && is_first).then_some(ip.protocol.get())
    }
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // Unreachable, source quench, time exceeded, parameter problem (RFC 792).
        matches!(kind, 3 | 4 | 11 | 12)
    }
    #[inline(always)]
    fn balancer<W: World>(world: &W) -> Addr {
        Addr::v4(world.balancer_v4())
    }
}

impl Family for V6 {
    type Ip = Ipv6;
    const ETHERTYPE: Be16 = Be16::new(0x86dd);
    const HEADER: usize = size_of::<Ipv6>();
    const V6: bool = true;
    const ICMP: u8 = protocol::ICMPV6;
    const ECHO: u8 = 128;
    const ECHO_REPLY: u8 = 129;
    const TOO_BIG: (u8, u8) = (2, 0);
    const QUOTED: usize = 1280 - 40 - 8;

    #[inline(always)]
    fn kind(protocol: u8) -> Kind {
        Kind::v6(protocol)
    }
    #[inline(always)]
    fn source(ip: &Ipv6) -> Addr {
        Addr::from_bytes(ip.source.get())
    }
    #[inline(always)]
    fn destination(ip: &Ipv6) -> Addr {
        Addr::from_bytes(ip.destination.get())
    }
    #[inline(always)]
    fn total(ip: &Ipv6) -> usize {
        size_of::<Ipv6>() + usize::from(ip.payload_length.get().get())
    }
    #[inline(always)]
    fn protocol(ip: &Ipv6) -> u8 {
        ip.next_header.get()
    }
    #[inline(always)]
    fn hops(ip: &Ipv6) -> u8 {
        ip.hop_limit.get()
    }
    #[inline(always)]
    fn same(a: Addr, b: Addr) -> bool {
        a == b
    }
    #[inline(always)]
    fn change(change: Change, old: Addr, new: Addr) -> Change {
        let ([a, b], [c, d]) = (old.0, new.0);
        change.word64(a, c).word64(b, d)
    }
    #[inline(always)]
    fn sum(sum: Sum, addr: Addr) -> Sum {
        sum.add64(addr.0[0]).add64(addr.0[1])
    }
    #[inline(always)]
    fn rewrite(ip: &Ipv6, _: &FlowKey, to: &FlowKey, hops: u8) {
        ip.hop_limit.set(ip.hop_limit.get().wrapping_sub(hops));
        ip.source.set(to.saddr.bytes());
        ip.destination.set(to.daddr.bytes());
    }
    #[inline(always)]
    fn write(ip: &Ipv6, fresh: &Fresh) {
        let class = 6 << 28 | u32::from(fresh.class) << 20;
        ip.version_class_label.set(Be32::new(class));
        ip.payload_length.set(Be16::new(fresh.payload));
        ip.next_header.set(fresh.protocol);
        ip.hop_limit.set(HOPS);
        ip.source.set(fresh.source.bytes());
        ip.destination.set(fresh.destination.bytes());
    }
    #[inline(always)]
    fn own_checksum(_: &Ipv6) -> Be16 {
        Be16([0; 2])
    }
    #[inline(always)]
    fn class(ip: &Ipv6) -> u8 {
        (ip.version_class_label.get().get() >> 20) as u8
    }
    #[inline(always)]
    fn fragmenting(_: &Ipv6) -> (Be16, Be16) {
        ATOMIC
    }
    #[inline(always)]
    fn leads_to(ip: &Ipv6) -> Option<u8> {
        let version = ip.version_class_label.get().0[0] >> 4;
        (version == 6).then_some(ip.next_header.get())
    }
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // Unreachable, too big, time exceeded, parameter problem (RFC 4443 §2.1).
        matches!(kind, 1..=4)
    }
    #[inline(always)]
    fn balancer<W: World>(world: &W) -> Addr {
        world.balancer_v6()
    }
}

/// The balancer's own address in the family of a flow.
#[inline(always)]
pub fn balancer<W: World>(world: &W, kind: Kind) -> Addr {
    if kind.is_v6() {
        V6::balancer(world)
    } else {
        V4::balancer(world)
    }
}

/// What new addresses do to a checksum that covers them.
#[inline(always)]
pub fn addresses<F: Family>(change: Change, from: &FlowKey, to: &FlowKey) -> Change {
    F::change(
        F::change(change, from.saddr, to.saddr),
        from.daddr,
        to.daddr,
    )
}

/// The folded sum of a pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1): what a deferred checksum field holds.
/// `length` is that of the transport's header and data.
#[inline(always)]
pub fn pseudo_header<F: Family>(key: &FlowKey, length: u16) -> Be16 {
    let sum = F::sum(F::sum(Sum::ZERO, key.saddr), key.daddr);
    let sum = sum
        .add16(Be16::new(u16::from(key.kind.protocol())).word())
        .add16(Be16::new(length).word());
    Be16::from_word(sum.fold())
}
