//! IP in IP: the packet goes into another one, to a backend anywhere (RFC 2003, RFC 2473).
//!
//! The outer source address is not ours but one of a range, by the flow, so that routers and network cards on the way spread
//! flows that otherwise look alike (Katran does so). The same flow has the same address on every balancer.

use crate::abi::{Addr, Be32, FlowKey, Kind, MacWords, Seen, protocol};
use crate::counters::Reason;
use crate::family::{Family, Fresh, V4, V6};
use crate::packet::{Ethernet, Frame, checksum_at, l3_bounded, l4_bounded};
use crate::watch::{Tell, told};
use crate::world::World;
use crate::{pick, rewrite, route, too_big};

/// The longest IP packet.
const LONGEST: u32 = u16::MAX as u32;

/// Puts the packet in [`World::seen`] into another one, to that backend. The error is an exit: the frame is untouched, or answered.
///
/// The packet may also be an ICMP error about one of the flow, whose key then has ICMP's number as its kind.
#[inline(always)]
pub fn send<W: World>(world: &W, backend: u32) -> Result<(), Reason> {
    // SAFETY: null or this CPU's own room, which nobody else uses while a packet is under way.
    let seen = unsafe { world.seen().as_ref() }.ok_or(Reason::Contended)?;
    let addr = world.backend(backend).ok_or(Reason::NoRoute)?.addr;
    match (seen.key.kind.is_v6(), addr.is_v4()) {
        (false, true) => place::<V4, V4, W>(world, seen, backend, addr),
        (false, false) => place::<V4, V6, W>(world, seen, backend, addr),
        (true, false) => place::<V6, V6, W>(world, seen, backend, addr),
        // The configuration allows no such backend.
        (true, true) => Err(Reason::NoRoute),
    }
}

/// At places that the verifier allows: any, or the usual frame's. Not both where any will do: what is written once is verified once.
#[inline(always)]
fn place<In: Family, Out: Family, W: World>(
    world: &W,
    seen: &Seen,
    backend: u32,
    addr: Addr,
) -> Result<(), Reason> {
    const L3: usize = size_of::<Ethernet>();
    let (l3, l4) = (seen.l3 as usize, seen.l4 as usize);
    if world.points_anywhere() {
        let (l3, l4) = (l3_bounded(l3), l4_bounded(l4));
        return wrap::<In, Out, W>(world, seen, backend, addr, l3, l4);
    }
    if l3 != L3 || l4 != L3 + In::HEADER {
        return Err(Reason::Unusual);
    }
    wrap::<In, Out, W>(world, seen, backend, addr, L3, L3 + In::HEADER)
}

#[inline(always)]
fn wrap<In: Family, Out: Family, W: World>(
    world: &W,
    seen: &Seen,
    backend: u32,
    addr: Addr,
    l3: usize,
    l4: usize,
) -> Result<(), Reason> {
    let frame = world.frame();
    let inner: &In::Ip = frame.at(l3).ok_or(Reason::Truncated)?;
    let total = In::total(inner);
    let longest = if world.mtu() < LONGEST {
        world.mtu()
    } else {
        LONGEST
    };
    if (total + Out::HEADER) as u32 > longest {
        // Never an error about an error (RFC 1122 §3.2.2, RFC 4443 §2.4).
        if checksum_at(seen.key.kind.protocol()).is_none() {
            return Err(Reason::OtherIcmp);
        }
        let mtu = longest.saturating_sub(Out::HEADER as u32);
        return Err(too_big::answer::<In, W>(world, seen, l3, total, mtu));
    }
    let mac = route::to_backend(world, backend);
    if mac == 0 {
        return Err(Reason::NoRoute);
    }
    complete::<In, W>(world, &frame, seen, l4)?;
    let fresh = Fresh {
        source: source::<Out, W>(world, &seen.key),
        destination: addr,
        protocol: if In::V6 {
            protocol::IPV6
        } else {
            protocol::IPIP
        },
        // All eight bits: the inner ECN field is what the tunnel's end expects (RFC 6040 §4.1, normal mode).
        class: In::class(inner),
        payload: total as u16,
        // A packet that may be fragmented brings an identification with it, one that may not needs none.
        fragmenting: In::fragmenting(inner),
    };
    if !world.grow_head(Out::HEADER as i32) {
        return Err(Reason::NoHeadroom);
    }

    // What the verifier wants to be asked again is there.
    let frame = world.frame();
    let (to, from) = (MacWords::unpack(mac), world.balancer_mac());
    rewrite::bring_front(&frame, l3, Out::HEADER, Out::ETHERTYPE, to, from)
        .ok_or(Reason::NoHeadroom)?;
    let outer: &Out::Ip = frame.at(l3).ok_or(Reason::NoHeadroom)?;
    Out::write(outer, &fresh);
    told(world, Tell::Sent, mac);
    Ok(())
}

/// A checksum that was left to hardware would be of the wrong packet from here on. What fails after this drops the packet.
#[inline(always)]
fn complete<In: Family, W: World>(
    world: &W,
    frame: &Frame<'_>,
    seen: &Seen,
    l4: usize,
) -> Result<(), Reason> {
    let number = seen.key.kind.protocol();
    if let Some(field) = frame.checksum(number, l4) {
        let (length, old) = (seen.length as u16, field.value.get());
        let whole = rewrite::completed::<In, W>(world, frame, &seen.key, l4, length, old)?;
        if whole != old {
            field.value.set(whole);
        }
    } else if checksum_at(number).is_some() {
        return Err(Reason::Truncated);
    }
    Ok(())
}

/// The outer source of a flow: an address of the configured range.
#[inline(always)]
fn source<Out: Family, W: World>(world: &W, key: &FlowKey) -> Addr {
    // Without the kind: an error about the flow takes the flow's own way.
    let hash = pick::hash(&FlowKey {
        kind: Kind(0),
        ..*key
    });
    if Out::V6 {
        let [a, b, c, d] = hash.to_be_bytes();
        let host = u64::from_ne_bytes([0, 0, 0, 0, a, b, c, d]);
        Addr([world.tunnel_v6(), host])
    } else {
        let [network, mask] = world.tunnel_v4();
        Addr::v4(Be32::from_word(network & mask | hash & !mask))
    }
}
