//! The balancer: parse, classify, pick, rewrite, transmit.

use crate::abi::{Be16, Direction, FlowKey};
use crate::counters::{Reason, Verdict};
use crate::flow::{self, Hop, New};
use crate::packet::{Frame, Ip, Segment, parse_ip, parse_tcp};
use crate::pick;
use crate::rewrite::rewrite;
use crate::world::{Line, World};

/// Source ports tried towards a backend before a new connection is refused: the client's own and
/// then others by chance. With nine ports in ten held, one connection in 30 fails.
pub const PORTS_TRIED: u32 = 32;

/// Decides over one frame, counts it, and says what the driver shall do.
#[inline(always)]
pub fn balance<W: World>(world: &W, frame: &Frame<'_>) -> Verdict {
    let bytes = frame.len() as u64;
    let reason = match forward(world, frame, bytes) {
        Ok(reason) | Err(reason) => reason,
    };
    world.count(reason, bytes);
    reason.verdict()
}

/// The path of a packet. `Err` is an exit with the frame untouched.
#[inline(always)]
fn forward<W: World>(world: &W, frame: &Frame<'_>, bytes: u64) -> Result<Reason, Reason> {
    let trace = Trace {
        world,
        on: world.traced(),
    };
    trace.line(|| Line::Received);

    // parse
    let ip = parse_ip(frame)?;
    addressed_to_us(world, &ip)?;
    let segment = parse_tcp(frame, &ip)?;
    trace.line(|| {
        Line::Headers(
            &segment.key,
            ip.ethernet.source.get(),
            ip.ethernet.destination.get(),
        )
    });
    if ip.ipv4.ttl.get() <= 1 {
        return Err(Reason::TtlExpired);
    }

    // classify, pick
    let (hop, reason) = match known(world, &segment) {
        Some(known) => known,
        None => (open(world, &segment)?, Reason::Opened),
    };
    trace.line(|| {
        if reason == Reason::Replied {
            Line::FromBackend
        } else {
            Line::FromClient
        }
    });

    // rewrite
    let mac = world.balancer_mac();
    rewrite(world, frame, &segment, &hop, mac)?;
    trace.line(|| Line::Redirecting(&hop.key, hop.mac, mac));

    // transmit
    world.count_backend(hop.backend, reason, bytes);
    Ok(reason)
}

/// The trace, a constant: off, no line is even built, and the verifier removes the code.
struct Trace<'w, W> {
    world: &'w W,
    on: bool,
}

impl<W: World> Trace<'_, W> {
    #[inline(always)]
    fn line<'a>(&self, line: impl FnOnce() -> Line<'a>) {
        if self.on {
            self.world.trace(line());
        }
    }
}

/// Most of what an interface sees is not for the balancer: leave early, having read little.
#[inline(always)]
fn addressed_to_us<W: World>(world: &W, ip: &Ip<'_>) -> Result<(), Reason> {
    let destination = ip.ipv4.destination.get();
    if destination != world.service_addr() && destination != world.balancer_addr() {
        return Err(Reason::OtherDestination);
    }
    // As the host's own stack does (net/ethernet/eth.c, eth_type_trans: PACKET_OTHERHOST).
    if ip.ethernet.destination.get() != world.balancer_mac() {
        return Err(Reason::OtherMac);
    }
    Ok(())
}

/// The next hop of a packet of a known connection.
#[inline(always)]
fn known<W: World>(world: &W, segment: &Segment<'_>) -> Option<(Hop, Reason)> {
    let (slot, direction) = flow::find(world, &segment.key)?;
    let generation = slot.generation();
    let hop = flow::hop(&slot, direction, generation)?;
    flow::note(world, &slot, direction, segment);
    let reason = match direction {
        Direction::Request => Reason::Forwarded,
        Direction::Reply => Reason::Replied,
    };
    Some((hop, reason))
}

/// Opens a connection for a client's SYN: a backend, a source port, a slot.
#[inline(always)]
fn open<W: World>(world: &W, segment: &Segment<'_>) -> Result<Hop, Reason> {
    let request = segment.key;
    let balancer = world.balancer_addr();
    // A packet from the balancer's own address would be answered to itself.
    if !segment.opens() || request.saddr == balancer {
        return Err(Reason::NoConnection);
    }
    let port = world.service_port();
    if request.daddr != world.service_addr() || (port != Be16::new(0) && request.dport != port) {
        return Err(Reason::OtherDestination);
    }

    let hash = pick::hash(&request);
    let index = pick::pick(hash, world.backends());
    let backend = world.backend(index).ok_or(Reason::NoBackend)?;
    let slot = flow::claim(world).ok_or(Reason::Contended)?;

    let answer = FlowKey::tcp(backend.ip, request.dport, balancer, request.sport);
    let Some(reply) = free_port(world, &slot, answer, hash) else {
        flow::release(&slot);
        return Err(Reason::NoPort);
    };
    let new = New {
        request,
        reply,
        backend: index,
        client_mac: segment.ethernet.source.get(),
        backend_mac: backend.mac,
    };
    if !flow::publish(world, &slot, &new) {
        return Err(Reason::Contended);
    }
    Ok(Hop {
        key: reply.reversed(),
        mac: backend.mac,
        backend: index,
    })
}

/// Finds a source port towards the backend that neither another client nor the host itself uses:
/// the client's own where it is free, others in an order that the flow's hash decides.
#[inline(always)]
fn free_port<W: World>(
    world: &W,
    slot: &flow::Slot,
    mut reply: FlowKey,
    hash: u32,
) -> Option<FlowKey> {
    let mut state = hash;
    let mut tried = 0;
    while tried < PORTS_TRIED {
        if !world.has_socket(&reply) && flow::add_reply(world, slot, &reply) {
            return Some(reply);
        }
        // Numerical Recipes' generator; its high bits, moved above the well-known ports.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let port = 1_024 + ((u64::from(state) * (65_536 - 1_024)) >> 32) as u16;
        reply.dport = Be16::new(port);
        tried += 1;
    }
    None
}
