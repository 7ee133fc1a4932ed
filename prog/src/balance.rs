//! The balancer: parse, classify, pick, rewrite, transmit.

use crate::abi::{Be16, Direction, FlowId, FlowKey};
use crate::counters::{Reason, Verdict};
use crate::flow::{self, Hop, New};
use crate::packet::{Frame, Ip, Segment, Spare, parse_ip, parse_tcp};
use crate::pick;
use crate::rewrite::rewrite;
use crate::world::{Line, World};

/// Decides over one frame, counts it, and says what the driver shall do.
#[inline(always)]
pub fn balance<W: World>(world: &W, frame: &Frame<'_>) -> Verdict {
    let bytes = world.length(frame);
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
    let spare = Spare::new();
    let segment = parse_tcp(world, frame, &ip, bytes, &spare)?;
    trace.line(|| {
        Line::Headers(
            &segment.key,
            ip.ethernet.source.get().words(),
            ip.ethernet.destination.get().words(),
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
    if ip.ethernet.destination.get().words() != world.balancer_mac() {
        return Err(Reason::OtherMac);
    }
    Ok(())
}

/// The next hop of a packet of a known connection.
#[inline(always)]
fn known<W: World>(world: &W, segment: &Segment<'_>) -> Option<(Hop, Reason)> {
    let found = flow::find(world, &segment.key)?;
    let hop = flow::hop(&found)?;
    flow::note(world, &found.slot, found.direction, segment);
    let reason = match found.direction {
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
    let mac = backend.words();
    let slot = flow::claim(world).ok_or(Reason::Contended)?;

    let mut reply = FlowKey::tcp(backend.ip, request.dport, balancer, request.sport);
    flow::end_expired(world, &reply);
    let id = FlowId::new(slot.index, Direction::Reply);
    let Some(port) = world.take_port(reply, id, hash) else {
        flow::release(&slot);
        return Err(Reason::NoPort);
    };
    reply.dport = port;
    let new = New {
        request,
        reply,
        backend: index,
        client_mac: segment.ethernet.source.get().words(),
        backend_mac: mac,
    };
    if !flow::publish(world, &slot, &new) {
        return Err(Reason::Contended);
    }
    Ok(Hop {
        key: reply.reversed(),
        mac,
        backend: index,
        slot,
        direction: Direction::Request,
    })
}
