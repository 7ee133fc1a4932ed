//! The balancer: parse, classify, pick, rewrite, transmit.

use crate::abi::{Be16, Direction, FlowKey, MacWords, Seen, protocol};
use crate::counters::{Reason, Verdict};
use crate::family::{Family, V4, V6};
use crate::flow::{self, Hop, Slot};
use crate::index::{Found, Hash};
use crate::open::Answer;
use crate::packet::{Ethernet, Extension, Frame, Ipv4, Ipv6, Layout, Packet, Vlan, parse};
use crate::state::State;
use crate::watch::Watch;
use crate::world::{Line, World};
use crate::{rewrite, route, service};

/// Decides over one frame, counts it, and says what the driver shall do.
#[inline(always)]
pub fn balance<W: World>(world: &W, frame: &Frame<'_>) -> Verdict {
    let bytes = world.length(frame);
    if world.watched() {
        world.watch(frame, bytes);
    }
    let reason = match forward(world, frame, bytes) {
        Ok(reason) | Err(reason) => reason,
    };
    world.count(reason, bytes);
    if world.watched() {
        world.publish(reason);
    }
    reason.verdict()
}

/// The usual packet, IPv4 without anything unusual, takes the short way; `Err` is an exit with the frame untouched.
#[inline(always)]
fn forward<W: World>(world: &W, frame: &Frame<'_>, bytes: u64) -> Result<Reason, Reason> {
    trace(world, || Line::Received);
    let ethernet: &Ethernet = frame.at(0).ok_or(Reason::Truncated)?;
    let ethertype = ethernet.ethertype.get();
    if ethertype != V4::ETHERTYPE && ethertype != V6::ETHERTYPE && !is_vlan(ethertype) {
        return Err(Reason::NotIp);
    }
    // As the host's own stack does (net/ethernet/eth.c, eth_type_trans: PACKET_OTHERHOST).
    if ethernet.destination.get().words() != world.balancer_mac() {
        return Err(Reason::OtherMac);
    }
    if ethertype == V6::ETHERTYPE {
        return world.ipv6();
    }
    if ethertype == V4::ETHERTYPE {
        let ip: &Ipv4 = frame.at(size_of::<Ethernet>()).ok_or(Reason::Truncated)?;
        let protocol = ip.protocol.get();
        if ip.version_ihl.get() == PLAIN && is_whole(ip) && is_transport(protocol) {
            return packet::<V4, W>(world, frame, ip, plain::<V4>(protocol), bytes);
        }
    }
    world.unusual()
}

/// The same for IPv6.
#[inline(always)]
pub fn ipv6<W: World>(world: &W) -> Result<Reason, Reason> {
    let frame = world.frame();
    let ip: &Ipv6 = frame.at(size_of::<Ethernet>()).ok_or(Reason::Truncated)?;
    let protocol = ip.next_header.get();
    if version(ip) == 6 && is_transport(protocol) {
        let bytes = world.length(&frame);
        return packet::<V6, W>(world, &frame, ip, plain::<V6>(protocol), bytes);
    }
    world.unusual()
}

/// Version 4, five words of header: no options.
const PLAIN: u8 = 0x45;
/// More fragments, or an offset other than zero; the bit in front of them says "don't".
const FRAGMENT_MASK: u16 = 0x3fff;

#[inline(always)]
fn is_vlan(ethertype: Be16) -> bool {
    // 802.1Q and 802.1ad (include/uapi/linux/if_ether.h).
    ethertype == Be16::new(0x8100) || ethertype == Be16::new(0x88a8)
}
#[inline(always)]
fn is_transport(number: u8) -> bool {
    number == protocol::TCP || number == protocol::UDP
}
#[inline(always)]
fn is_whole(ip: &Ipv4) -> bool {
    ip.fragment.get().get() & FRAGMENT_MASK == 0
}
#[inline(always)]
fn version(ip: &Ipv6) -> u8 {
    ip.version_class_label.get().0[0] >> 4
}
#[inline(always)]
const fn plain<F: Family>(protocol: u8) -> Layout {
    let l3 = size_of::<Ethernet>();
    Layout {
        l3,
        l4: l3 + F::HEADER,
        protocol,
    }
}

/// VLAN tags, IP options, extension headers, fragments, other protocols: finds out where things lie.
#[inline(always)]
pub fn unusual<W: World>(world: &W) -> Result<Reason, Reason> {
    let frame = world.frame();
    let bytes = world.length(&frame);
    let ethernet: &Ethernet = frame.at(0).ok_or(Reason::Truncated)?;
    let mut ethertype = ethernet.ethertype.get();
    let mut l3 = size_of::<Ethernet>();
    // One tag, or two (802.1ad "QinQ").
    let mut tags = 0;
    while tags < 2 && is_vlan(ethertype) {
        let vlan: &Vlan = frame.at(l3).ok_or(Reason::Truncated)?;
        ethertype = vlan.ethertype.get();
        l3 += size_of::<Vlan>();
        tags += 1;
    }
    if ethertype == V4::ETHERTYPE {
        let ip: &Ipv4 = frame.at(l3).ok_or(Reason::Truncated)?;
        let version_ihl = ip.version_ihl.get();
        let header = usize::from(version_ihl & 0x0f) * 4;
        if version_ihl >> 4 != 4 || header < size_of::<Ipv4>() {
            return Err(Reason::Malformed);
        }
        if !is_whole(ip) {
            return Err(Reason::Fragment);
        }
        dispatch::<V4, W>(world, &frame, ip, l3, header, ip.protocol.get(), bytes)
    } else if ethertype == V6::ETHERTYPE {
        let ip: &Ipv6 = frame.at(l3).ok_or(Reason::Truncated)?;
        if version(ip) != 6 {
            return Err(Reason::Malformed);
        }
        let (header, protocol) = extensions(world, &frame, ip, l3)?;
        dispatch::<V6, W>(world, &frame, ip, l3, header, protocol, bytes)
    } else {
        Err(Reason::NotIp)
    }
}

/// Extension headers that are stepped over (RFC 8200 §4): hop-by-hop options, routing, destination options.
const SKIPPED: [u8; 3] = [0, 43, 60];
const FRAGMENT_HEADER: u8 = 44;
/// More than that many are not followed: RFC 8200 §4.1 wants each at most once, destination options twice.
const EXTENSIONS: u32 = 4;

/// Steps over extension headers: the length of all headers, and what follows them.
#[inline(always)]
fn extensions<W: World>(
    world: &W,
    frame: &Frame<'_>,
    ip: &Ipv6,
    l3: usize,
) -> Result<(usize, u8), Reason> {
    let mut header = size_of::<Ipv6>();
    let mut next = ip.next_header.get();
    let mut seen = 0;
    while seen < EXTENSIONS {
        if next == FRAGMENT_HEADER {
            return Err(Reason::Fragment);
        }
        if next != SKIPPED[0] && next != SKIPPED[1] && next != SKIPPED[2] {
            return Ok((header, next));
        }
        if !world.points_anywhere() {
            return Err(Reason::Unusual);
        }
        let extension: &Extension = frame.at(l3 + header).ok_or(Reason::Truncated)?;
        next = extension.next_header.get();
        header += 8 + usize::from(extension.length.get()) * 8;
        seen += 1;
    }
    Err(Reason::OtherProtocol)
}

/// Where the headers of an unusual packet lie is known: TCP and UDP go on, ICMP has its own way.
#[inline(always)]
fn dispatch<F: Family, W: World>(
    world: &W,
    frame: &Frame<'_>,
    ip: &F::Ip,
    l3: usize,
    header: usize,
    protocol: u8,
    bytes: u64,
) -> Result<Reason, Reason> {
    if protocol == F::ICMP {
        return world.icmp(l3, l3 + header, F::V6);
    }
    if !is_transport(protocol) {
        return Err(Reason::OtherProtocol);
    }
    if !world.points_anywhere() {
        return Err(Reason::Unusual);
    }
    let layout = Layout {
        l3,
        l4: l3 + header,
        protocol,
    };
    packet::<F, W>(world, frame, ip, layout, bytes)
}

/// The path of a TCP segment or UDP datagram.
#[inline(always)]
fn packet<F: Family, W: World>(
    world: &W,
    frame: &Frame<'_>,
    ip: &F::Ip,
    layout: Layout,
    bytes: u64,
) -> Result<Reason, Reason> {
    // parse
    let packet = parse::<F>(frame, ip, layout, bytes)?;
    let hash = Hash::of::<F>(&packet.key, world.seed());
    Watch(world).parsed(&packet.key);
    trace(world, || {
        Line::Headers(
            &packet.key,
            packet.ethernet.source.get().words(),
            packet.ethernet.destination.get().words(),
        )
    });

    // classify
    if let Some(hop) = known::<F, W>(world, &packet.key, hash) {
        let reason = match hop.direction {
            Direction::Request => Reason::Forwarded,
            Direction::Reply => Reason::Replied,
        };
        Watch(world).known(&hop);
        if hop.direction == Direction::Reply || service::up(world, hop.backend).is_some() {
            return send(world, frame, &packet, &hop, hash, reason, bytes);
        }
        // The backend went down. A NAT'ed TCP connection cannot go on; anything else begins anew elsewhere.
        if hop.state & (State::ONE_WAY | State::UDP) == 0 {
            keep(world, &packet, hash, bytes);
            flow::close(world, &hop.slot);
            return reset(world, Reason::BackendDown, Reason::NoBackend);
        }
        flow::close(world, &hop.slot);
    }

    // pick
    keep(world, &packet, hash, bytes);
    match Answer::decode(world.open()) {
        Answer::Slot(slot) => {
            let found = Found {
                slot: Slot::of(world, slot).ok_or(Reason::Contended)?,
                direction: Direction::Request,
            };
            let hop = flow::hop::<F, W>(world, &found).ok_or(Reason::Contended)?;
            send(world, frame, &packet, &hop, hash, Reason::Opened, bytes)
        }
        Answer::Direct(backend) => direct(world, frame, &packet, backend, Reason::Stateless, bytes),
        Answer::Tunnel(backend) => {
            world.tunnel(backend)?;
            world.count_backend(backend, Reason::Stateless, bytes);
            Ok(Reason::Stateless)
        }
        Answer::Exit(reason) => Err(reason),
        Answer::Reset(reason, instead) => reset(world, reason, instead),
    }
}

/// The next hop of a packet of a known flow.
#[inline(always)]
fn known<F: Family, W: World>(world: &W, key: &FlowKey, hash: Hash) -> Option<Hop> {
    flow::hop::<F, W>(world, &flow::find::<F, W>(world, key, hash)?)
}

/// Puts the packet where functions of their own find it.
#[inline(always)]
pub fn keep<F: Family, W: World>(world: &W, packet: &Packet<'_, F>, hash: Hash, bytes: u64) {
    let seen = world.seen();
    if seen.is_null() {
        return;
    }
    let value = Seen {
        key: packet.key,
        hash: hash.0,
        source_mac: packet.ethernet.source.get().words().packed(),
        l3: packet.layout.l3 as u32,
        l4: packet.layout.l4 as u32,
        length: u32::from(packet.length),
        flags: u32::from(packet.transport.flags()),
        hops: u32::from(F::hops(packet.ip)),
        bytes: bytes as u32,
    };
    // SAFETY: this CPU's own room, which nobody else uses while a packet is under way.
    unsafe { seen.write(value) };
}

/// Answers with an RST; where that cannot be built, the packet is dropped for the other reason.
#[inline(always)]
fn reset<W: World>(world: &W, reason: Reason, instead: Reason) -> Result<Reason, Reason> {
    if world.reset() { Ok(reason) } else { Err(instead) }
}

/// Rewrites and transmits a packet of a flow.
#[inline(always)]
fn send<F: Family, W: World>(
    world: &W,
    frame: &Frame<'_>,
    packet: &Packet<'_, F>,
    hop: &Hop,
    hash: Hash,
    reason: Reason,
    bytes: u64,
) -> Result<Reason, Reason> {
    let one_way = hop.state & State::ONE_WAY;
    if one_way == 0 && F::hops(packet.ip) <= 1 {
        return Err(Reason::TtlExpired);
    }
    let (flags, source) = (packet.transport.flags(), packet.ethernet.source.get());
    if reason != Reason::Opened {
        flow::note(world, hop, flags, source.words());
    }
    if one_way == State::TUNNEL {
        if reason != Reason::Opened {
            keep(world, packet, hash, bytes);
        }
        world.tunnel(hop.backend)?;
        world.count_backend(hop.backend, reason, bytes);
        return Ok(reason);
    }
    if one_way == State::DIRECT {
        return direct(world, frame, packet, hop.backend, reason, bytes);
    }
    let mac = match hop.direction {
        Direction::Request => route::to_backend(world, hop.backend),
        Direction::Reply => route::to_client(world, hop),
    };
    if mac == 0 {
        return Err(Reason::NoRoute);
    }
    let (to, from) = (MacWords::unpack(mac), world.balancer_mac());
    trace(world, || match hop.direction {
        Direction::Request => Line::FromClient,
        Direction::Reply => Line::FromBackend,
    });
    rewrite::nat(world, frame, packet, hop)?;
    rewrite::macs(packet.ethernet, to, from);
    Watch(world).sent(&hop.key, mac);
    trace(world, || Line::Redirecting(&hop.key, to, from));
    world.count_backend(hop.backend, reason, bytes);
    Ok(reason)
}

/// Direct return: on with new Ethernet addresses, and nothing else.
#[inline(always)]
fn direct<F: Family, W: World>(
    world: &W,
    frame: &Frame<'_>,
    packet: &Packet<'_, F>,
    backend: u32,
    reason: Reason,
    bytes: u64,
) -> Result<Reason, Reason> {
    let mac = route::to_backend(world, backend);
    if mac == 0 {
        return Err(Reason::NoRoute);
    }
    rewrite::complete(world, frame, packet)?;
    rewrite::macs(
        packet.ethernet,
        MacWords::unpack(mac),
        world.balancer_mac(),
    );
    Watch(world).sent(&packet.key, mac);
    world.count_backend(backend, reason, bytes);
    Ok(reason)
}

/// A line of the trace. Off, it is not even built, and the verifier removes the code.
#[inline(always)]
fn trace<'a, W: World>(world: &W, line: impl FnOnce() -> Line<'a>) {
    if world.traced() {
        world.trace(line());
    }
}
