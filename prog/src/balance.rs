//! The balancer: parse, classify, pick, rewrite, transmit.

use crate::abi::{Be16, Direction, MacWords, Seen, backend, protocol};
use crate::counters::{Reason, Verdict};
use crate::family::{Family, V4, V6};
use crate::flow::{self, Hop, Slot};
use crate::index::{Found, Hash};
use crate::open::Answer;
use crate::packet::{
    Ethernet, Extension, Frame, Ipv4, Ipv6, Packet, Transport, Vlan, opens, parse,
};
use crate::state::State;
use crate::watch::{Tell, told};
use crate::world::{Line, World};
use crate::{rewrite, route, service};

/// Decides over one frame, counts it, and says what the driver shall do.
#[inline(always)]
pub fn balance<W: World>(world: &W, frame: &Frame<'_>) -> Verdict {
    let bytes = world.length(frame);
    if world.watched() {
        world.watch(frame, bytes);
    }
    trace(world, Line::Received, 0, false);
    let reason = match forward(world, frame, bytes) {
        Ok(reason) | Err(reason) => reason,
    };
    world.count(reason, bytes);
    if world.watched() {
        world.publish(reason);
    }
    reason.verdict()
}

/// The way of a packet. `Err` is an exit with the frame untouched.
#[inline(always)]
fn forward<W: World>(world: &W, frame: &Frame<'_>, bytes: u64) -> Result<Reason, Reason> {
    // parse
    let place = parse_ip(world, frame)?;
    // classify, rewrite
    let mut step = Step::decode(go(world, place, Given::Nothing));
    if step == Step::New {
        // pick
        let answer = if place.is_icmp() {
            world.concerned()
        } else {
            world.open()
        };
        step = match Answer::decode(answer) {
            Answer::Slot(slot) => Step::decode(go(world, place, Given::Slot(slot))),
            Answer::Known(slot, direction) => {
                Step::decode(go(world, place, Given::Known(slot, direction)))
            }
            Answer::Direct(backend) => Step::decode(go(world, place, Given::Backend(backend))),
            Answer::Tunnel(backend) if place.is_icmp() => {
                Step::Tunnel(backend, Reason::ErrorToBackend)
            }
            Answer::Tunnel(backend) => Step::Tunnel(backend, Reason::Stateless),
            Answer::Exit(Reason::Opened) if world.dry() => Step::Done(would_open(world)),
            Answer::Exit(reason) => Step::Done(reason),
            Answer::Reset(reason, instead) => Step::Reset(reason, instead),
        };
    }
    // transmit
    match step {
        Step::Done(reason) => Ok(reason),
        Step::Tunnel(backend, reason) => {
            world.tunnel(backend)?;
            if reason != Reason::ErrorToBackend {
                world.count_backend(backend, reason, bytes);
            }
            Ok(reason)
        }
        Step::Reset(reason, instead) => Ok(if world.reset() { reason } else { instead }),
        // Who is asked with a slot or a backend does not ask for one.
        Step::New => Err(Reason::Contended),
    }
}

/// Whoever asks what would happen is told the way to the backend that was picked; no flow is opened.
#[inline(always)]
fn would_open<W: World>(world: &W) -> Reason {
    // SAFETY: null or this CPU's own room, which nobody else uses while a packet is under way.
    let Some(event) = (unsafe { world.event().as_ref() }) else {
        return Reason::Contended;
    };
    let mac = route::to_backend(world, event.backend);
    if mac == 0 {
        return Reason::NoRoute;
    }
    told(world, Tell::Sent, mac);
    Reason::Opened
}

#[inline(always)]
fn go<W: World>(world: &W, place: Place, given: Given) -> u64 {
    if place.is_icmp() {
        world.icmp(place, given.encode())
    } else {
        world.transport(place, given.encode())
    }
}

/// What the path of a packet leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub enum Step {
    /// The end.
    Done(Reason),
    /// It is of no known flow; what is known of it is in [`World::seen`].
    New,
    /// To this backend by tunnel, and then the end; the packet is in [`World::seen`].
    Tunnel(u32, Reason),
    /// An RST to its sender, or, where none can be built, the second end; the packet is in [`World::seen`].
    Reset(Reason, Reason),
}

impl Step {
    /// As one number, which is all that a function of the program returns: the kind from bit 48 on.
    #[inline(always)]
    pub const fn encode(self) -> u64 {
        match self {
            Self::Done(reason) => reason as u64,
            Self::New => 1 << 48,
            Self::Tunnel(backend, reason) => 2 << 48 | (reason as u64) << 32 | backend as u64,
            Self::Reset(reason, instead) => 3 << 48 | (reason as u64) << 32 | instead as u64,
        }
    }
    /// The opposite.
    #[inline(always)]
    pub fn decode(number: u64) -> Self {
        let reason = |number: u32| Reason::numbered(number).unwrap_or(Reason::Contended);
        let (low, high) = (number as u32, (number >> 32) as u32 & 0xffff);
        match number >> 48 {
            0 => Self::Done(reason(low)),
            1 => Self::New,
            2 => Self::Tunnel(low, reason(high)),
            _ => Self::Reset(reason(high), reason(low)),
        }
    }
}

/// What is known of a packet's flow beforehand.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub enum Given {
    /// Nothing: it is looked up.
    Nothing,
    /// It has just been opened in that slot.
    Slot(u32),
    /// It has no record and goes to that backend directly.
    Backend(u32),
    /// An ICMP error about the flow in that slot, whose packets that way are as its answer to the quoted one would be.
    Known(u32, Direction),
}

impl Given {
    /// As one number.
    #[inline(always)]
    pub const fn encode(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Slot(slot) => 1 << 32 | slot as u64,
            Self::Backend(backend) => 2 << 32 | backend as u64,
            Self::Known(slot, Direction::Request) => 3 << 32 | slot as u64,
            Self::Known(slot, Direction::Reply) => 4 << 32 | slot as u64,
        }
    }
    /// The opposite.
    #[inline(always)]
    pub const fn decode(number: u64) -> Self {
        let low = number as u32;
        match number >> 32 {
            0 => Self::Nothing,
            1 => Self::Slot(low),
            2 => Self::Backend(low),
            3 => Self::Known(low, Direction::Request),
            _ => Self::Known(low, Direction::Reply),
        }
    }
}

/// Reads Ethernet and IP, as far as needed to know where TCP, UDP or ICMP is.
#[inline(always)]
fn parse_ip<W: World>(world: &W, frame: &Frame<'_>) -> Result<Place, Reason> {
    let ethernet: &Ethernet = frame.at(0).ok_or(Reason::Truncated)?;
    let ethertype = ethernet.ethertype.get();
    if ethertype != V4::ETHERTYPE && ethertype != V6::ETHERTYPE && !is_vlan(ethertype) {
        return Err(Reason::NotIp);
    }
    // As the host's own stack does (net/ethernet/eth.c, eth_type_trans: PACKET_OTHERHOST).
    if ethernet.destination.get().words() != world.balancer_mac() {
        return Err(Reason::OtherMac);
    }
    // The usual packet takes the short way.
    if ethertype == V4::ETHERTYPE {
        let ip: &Ipv4 = frame.at(L3).ok_or(Reason::Truncated)?;
        let protocol = ip.protocol.get();
        if ip.version_ihl.get() == PLAIN && is_whole(ip) && is_transport(protocol) {
            return Ok(Place::plain::<V4>(protocol));
        }
    } else if ethertype == V6::ETHERTYPE {
        let ip: &Ipv6 = frame.at(L3).ok_or(Reason::Truncated)?;
        let protocol = ip.next_header.get();
        if version(ip) == 6 && is_transport(protocol) {
            return Ok(Place::plain::<V6>(protocol));
        }
    }
    let place = Place::decode(world.locate())?;
    if !place.is_icmp() && !is_transport(place.protocol) {
        return Err(Reason::OtherProtocol);
    }
    if !place.is_plain() && !world.points_anywhere() {
        return Err(Reason::Unusual);
    }
    Ok(place)
}

/// Where the IP header begins without VLAN tags.
const L3: usize = size_of::<Ethernet>();

/// A TCP segment or UDP datagram without VLAN tags, IP options, extension headers: everything lies where constants say.
/// A [`Step`]; `given` is a [`Given`].
#[inline(always)]
pub fn plain<F: Family, T: Transport, W: World>(world: &W, given: u64) -> u64 {
    at::<F, T, W>(world, L3, L3 + F::HEADER, given)
}

/// One whose headers lie there. A [`Step`]; `given` is a [`Given`].
#[inline(always)]
pub fn at<F: Family, T: Transport, W: World>(world: &W, l3: usize, l4: usize, given: u64) -> u64 {
    let step = match packet::<F, T, W>(world, l3, l4, Given::decode(given)) {
        Ok(step) => step,
        Err(reason) => Step::Done(reason),
    };
    step.encode()
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
/// Where the headers of an unusual packet lie.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Place {
    /// Where the IP header begins.
    pub l3: usize,
    /// What follows the IP header and its extensions.
    pub l4: usize,
    /// The number of that.
    pub protocol: u8,
    /// Whether it is IPv6.
    pub v6: bool,
}

impl Place {
    #[inline(always)]
    fn plain<F: Family>(protocol: u8) -> Self {
        Self {
            l3: L3,
            l4: L3 + F::HEADER,
            protocol,
            v6: F::V6,
        }
    }
    /// Whether everything lies where constants say.
    #[inline(always)]
    pub fn is_plain(self) -> bool {
        self.l3 == L3 && self.l4 == L3 + if self.v6 { V6::HEADER } else { V4::HEADER }
    }
    #[inline(always)]
    fn is_icmp(self) -> bool {
        self.protocol == if self.v6 { V6::ICMP } else { V4::ICMP }
    }
    /// As one number, which is all that a function of the program returns; or the reason why there is none.
    #[inline(always)]
    pub fn encode(result: Result<Self, Reason>) -> u64 {
        match result {
            Ok(place) => {
                let l3 = place.l3 as u64 | (place.l4 as u64) << 16;
                l3 | u64::from(place.protocol) << 32 | u64::from(place.v6) << 40 | 1 << 63
            }
            Err(reason) => reason as u64,
        }
    }
    /// The opposite.
    #[inline(always)]
    pub fn decode(number: u64) -> Result<Self, Reason> {
        if number >> 63 == 0 {
            return Err(Reason::numbered(number as u32).unwrap_or(Reason::Malformed));
        }
        Ok(Self {
            l3: number as usize & 0xffff,
            l4: (number >> 16) as usize & 0xffff,
            protocol: (number >> 32) as u8,
            v6: number >> 40 & 1 != 0,
        })
    }
}

/// VLAN tags, IP options, extension headers, fragments, other protocols: finds out where things lie.
#[inline(always)]
pub fn locate<W: World>(world: &W) -> Result<Place, Reason> {
    let frame = world.frame();
    let ethernet: &Ethernet = frame.at(0).ok_or(Reason::Truncated)?;
    let mut ethertype = ethernet.ethertype.get();
    if !world.points_anywhere() {
        // Without tags a constant says where IP is.
        return network(world, &frame, ethertype, L3);
    }
    let mut l3 = L3;
    // One tag, or two (802.1ad "QinQ").
    let mut tags = 0;
    while tags < 2 && is_vlan(ethertype) {
        let vlan: &Vlan = frame.at(l3).ok_or(Reason::Truncated)?;
        ethertype = vlan.ethertype.get();
        l3 += size_of::<Vlan>();
        tags += 1;
    }
    network(world, &frame, ethertype, l3)
}

/// What the IP header at `l3` leads to.
#[inline(always)]
fn network<W: World>(
    world: &W,
    frame: &Frame<'_>,
    ethertype: Be16,
    l3: usize,
) -> Result<Place, Reason> {
    let (header, protocol, v6) = if ethertype == V4::ETHERTYPE {
        let ip: &Ipv4 = frame.at(l3).ok_or(Reason::Truncated)?;
        let version_ihl = ip.version_ihl.get();
        let header = usize::from(version_ihl & 0x0f) * 4;
        if version_ihl >> 4 != 4 || header < size_of::<Ipv4>() {
            return Err(Reason::Malformed);
        }
        if !is_whole(ip) {
            return Err(Reason::Fragment);
        }
        (header, ip.protocol.get(), false)
    } else if ethertype == V6::ETHERTYPE {
        let ip: &Ipv6 = frame.at(l3).ok_or(Reason::Truncated)?;
        if version(ip) != 6 {
            return Err(Reason::Malformed);
        }
        let (header, protocol) = extensions(world, frame, ip, l3)?;
        (header, protocol, true)
    } else if is_vlan(ethertype) {
        return Err(Reason::Unusual);
    } else {
        return Err(Reason::NotIp);
    };
    Ok(Place {
        l3,
        l4: l3 + header,
        protocol,
        v6,
    })
}

/// Extension headers that are stepped over (RFC 8200 §4): hop-by-hop options, routing, destination options.
const SKIPPED: [u8; 3] = [0, ROUTING_HEADER, 60];
const ROUTING_HEADER: u8 = 43;
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
        // Its destination is not its last: whoever routes such packets may have it.
        if next == ROUTING_HEADER && extension.segments_left.get() != 0 {
            return Err(Reason::OtherProtocol);
        }
        next = extension.next_header.get();
        header += 8 + usize::from(extension.length.get()) * 8;
        seen += 1;
    }
    Err(Reason::OtherProtocol)
}

/// The path of a TCP segment or UDP datagram.
#[inline(always)]
fn packet<F: Family, T: Transport, W: World>(
    world: &W,
    l3: usize,
    l4: usize,
    given: Given,
) -> Result<Step, Reason> {
    let frame = world.frame();
    let bytes = world.length(&frame);
    let packet = parse::<F, T>(&frame, l3, l4, bytes)?;
    let (hop, mac, reason) = match given {
        Given::Backend(backend) => {
            let mac = route::to_backend(world, backend);
            return direct(
                world,
                &frame,
                &packet,
                (backend, mac),
                Reason::Stateless,
                bytes,
            );
        }
        Given::Slot(slot) => {
            let slot = Slot::of(world, slot).ok_or(Reason::Contended)?;
            let found = Found {
                slot,
                direction: Direction::Request,
            };
            let hop = flow::hop::<F, W>(world, &found).ok_or(Reason::Contended)?;
            let mac = route::to_backend(world, hop.backend);
            (hop, mac, Reason::Opened)
        }
        Given::Known(..) => return Err(Reason::Contended),
        Given::Nothing => {
            trace(world, Line::Headers, l3, F::V6);
            let hash = Hash::of::<F>(&packet.key, world.seed());
            let Some(hop) = flow::find::<F, W>(world, &packet.key, hash) else {
                keep(world, &packet, hash, bytes);
                told(world, Tell::Unknown, 0);
                return Ok(Step::New);
            };
            let (reason, tell) = match hop.direction {
                Direction::Request => (Reason::Forwarded, Tell::Request),
                Direction::Reply => (Reason::Replied, Tell::Reply),
            };
            told(world, tell, u64::from(hop.slot.index));
            let asks_anew = opens(T::flags(packet.header));
            let next = next(world, &hop, asks_anew);
            if next.is_none() || hop.is_tunnelled() {
                keep(world, &packet, hash, bytes);
            }
            let Some(mac) = next else {
                return Ok(interrupted(world, &hop, asks_anew));
            };
            (hop, mac, reason)
        }
    };
    send(world, &frame, &packet, &hop, mac, reason, bytes)
}

/// The Ethernet address to which a packet of a known flow goes, 0 where none is known or a tunnel's is wanted; None if the flow's
/// backend is not there for it. A drained one is there for all but a connection that opens anew with the addresses and ports of a closed one.
#[inline(always)]
fn next<W: World>(world: &W, hop: &Hop, asks_anew: bool) -> Option<u64> {
    if hop.direction == Direction::Reply {
        return Some(route::to_client(world, hop));
    }
    let backend = service::up(world, hop.backend)?;
    if asks_anew && State::closed(hop.state) && backend.flags & backend::DRAINING != 0 {
        return None;
    }
    if hop.is_tunnelled() {
        return Some(0);
    }
    Some(route::to_this_backend(world, hop.backend, backend))
}

/// A client's packet whose flow cannot go on to its backend: a NAT'ed TCP connection that is under way ends, anything else
/// begins anew elsewhere.
#[inline(always)]
fn interrupted<W: World>(world: &W, hop: &Hop, asks_anew: bool) -> Step {
    if !world.dry() {
        flow::close(world, &hop.slot);
    }
    if asks_anew || hop.state & (State::ONE_WAY | State::UDP) != 0 {
        Step::New
    } else {
        Step::Reset(Reason::BackendDown, Reason::NoBackend)
    }
}

/// Puts the packet where functions of their own find it.
#[inline(always)]
pub fn keep<F: Family, T: Transport, W: World>(
    world: &W,
    packet: &Packet<'_, F, T>,
    hash: Hash,
    bytes: u64,
) {
    let seen = world.seen();
    if seen.is_null() {
        return;
    }
    let value = Seen {
        key: packet.key,
        hash: hash.0,
        source_mac: packet.ethernet.source.get().words().packed(),
        l3: packet.l3 as u32,
        l4: packet.l4 as u32,
        length: u32::from(packet.length),
        flags: u32::from(T::flags(packet.header)),
        hops: u32::from(F::hops(packet.ip)),
        bytes: bytes as u32,
    };
    // SAFETY: this CPU's own room, which nobody else uses while a packet is under way.
    unsafe { seen.write(value) };
}

/// Rewrites and transmits a packet of a flow.
#[inline(always)]
fn send<F: Family, T: Transport, W: World>(
    world: &W,
    frame: &Frame<'_>,
    packet: &Packet<'_, F, T>,
    hop: &Hop,
    mac: u64,
    reason: Reason,
    bytes: u64,
) -> Result<Step, Reason> {
    let one_way = hop.state & State::ONE_WAY;
    if one_way == 0 && F::hops(packet.ip) <= 1 {
        return Err(Reason::TtlExpired);
    }
    let (flags, source) = (T::flags(packet.header), packet.ethernet.source.get());
    if reason != Reason::Opened && !world.dry() {
        flow::note(world, hop, flags, source.words());
    }
    if one_way == State::TUNNEL {
        return Ok(Step::Tunnel(hop.backend, reason));
    }
    if one_way == State::DIRECT {
        return direct(world, frame, packet, (hop.backend, mac), reason, bytes);
    }
    if mac == 0 {
        return Err(Reason::NoRoute);
    }
    let (to, from) = (MacWords::unpack(mac), world.balancer_mac());
    let line = match hop.direction {
        Direction::Request => Line::FromClient,
        Direction::Reply => Line::FromBackend,
    };
    trace(world, line, packet.l3, F::V6);
    rewrite::nat(world, frame, packet, hop)?;
    rewrite::macs(packet.ethernet, to, from);
    told(world, Tell::Sent, mac);
    trace(world, Line::Redirecting, packet.l3, F::V6);
    world.count_backend(hop.backend, reason, bytes);
    Ok(Step::Done(reason))
}

/// Direct return: on with new Ethernet addresses, and nothing else.
#[inline(always)]
fn direct<F: Family, T: Transport, W: World>(
    world: &W,
    frame: &Frame<'_>,
    packet: &Packet<'_, F, T>,
    (backend, mac): (u32, u64),
    reason: Reason,
    bytes: u64,
) -> Result<Step, Reason> {
    if mac == 0 {
        return Err(Reason::NoRoute);
    }
    rewrite::complete(world, frame, packet)?;
    rewrite::macs(packet.ethernet, MacWords::unpack(mac), world.balancer_mac());
    told(world, Tell::Sent, mac);
    world.count_backend(backend, reason, bytes);
    Ok(Step::Done(reason))
}

/// A step of the trace. Off, the verifier removes the call.
#[inline(always)]
fn trace<W: World>(world: &W, line: Line, l3: usize, v6: bool) {
    if world.traced() {
        world.trace(line, l3, v6);
    }
}
