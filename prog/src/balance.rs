//! The balancer: parse, classify, pick, rewrite, transmit.

use crate::abi::{Direction, MacWords, Seen, backend};
use crate::counters::{Reason, Verdict};
use crate::family::Family;
use crate::flow::{self, Hop, Slot};
use crate::index::{Found, Hash};
use crate::open::Answer;
use crate::packet::{Frame, Packet, Transport, opens, parse};
use crate::place::{L3, parse_ip};
pub use crate::place::{Place, locate};
use crate::state::State;
pub use crate::step::{Given, Step};
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
        // Read once more rather than kept: older kernels count the stack in steps of 32 bytes, and main's is under everyone's.
        let place = parse_ip(world, &world.frame())?;
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
            let opened = Found::now(slot, Direction::Request);
            let hop = flow::hop::<F, W>(world, &opened).ok_or(Reason::Contended)?;
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
