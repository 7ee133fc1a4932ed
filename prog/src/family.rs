//! IPv4 and IPv6: what differs between them, and nothing else. What forwards packets is written once, for any [`Family`].

use crate::abi::{Addr, Be16, FlowKey, Kind, protocol};
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
    /// The balancer's own address.
    fn balancer<W: World>(world: &W) -> Addr;
}

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
        let change = addresses::<Self>(from, to).word16(
            u16::from_ne_bytes([ttl, protocol]),
            u16::from_ne_bytes([left, protocol]),
        );
        ip.ttl.set(left);
        ip.checksum.set(change.apply(ip.checksum.get()));
        ip.source.set(to.saddr.last());
        ip.destination.set(to.daddr.last());
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
    fn balancer<W: World>(world: &W) -> Addr {
        world.balancer_v6()
    }
}

/// What new addresses do to a checksum that covers them.
#[inline(always)]
pub fn addresses<F: Family>(from: &FlowKey, to: &FlowKey) -> Change {
    F::change(
        F::change(Change::NONE, from.saddr, to.saddr),
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
