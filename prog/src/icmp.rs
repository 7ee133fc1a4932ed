//! ICMP: echo requests to a service's address are answered, errors about packets of a flow are translated to its other side.
//!
//! An error quotes the packet that it is about. Turned round, the quoted packet looks as one of the receiver's answers would, so
//! that the flow's own index leads from an error to the flow:
//!
//! ```text
//!   quoted                        turned round                  found as   the error goes to
//!   balancer:port → backend       backend → balancer:port       a reply    the client
//!   service → client              client → service              a request  the backend
//! ```

use crate::abi::{Be16, Direction, FlowKey, MacWords, Ports, Seen, ServiceKey, mode, protocol};
use crate::balance::{Given, Step};
use crate::checksum::Change;
use crate::counters::Reason;
use crate::family::{Family, HOPS, addresses};
use crate::flow::{self, Hop, Slot};
use crate::index::Found;
use crate::packet::{
    Checksum, Ethernet, Frame, Icmp, PortsHeader, checksum_at, l3_bounded, l4_bounded,
};
use crate::watch::{Tell, told};
use crate::world::World;
use crate::{rewrite, route};

/// The path of an ICMP message, whose IP header at `l3` is known to be whole and to lead to it at `l4`: a [`Step`].
/// `given` is a [`Given`]: nothing, or the backend of an error that is about no recorded flow.
#[inline(always)]
pub fn icmp<F: Family, W: World>(world: &W, l3: usize, l4: usize, given: u64) -> u64 {
    const L3: usize = size_of::<Ethernet>();
    let given = Given::decode(given);
    // At places that the verifier allows: any, or the usual frame's.
    let step = if world.points_anywhere() {
        message::<F, W>(world, l3_bounded(l3), l4_bounded(l4), given)
    } else {
        message::<F, W>(world, L3, L3 + F::HEADER, given)
    };
    match step {
        Ok(step) => step,
        Err(reason) => Step::Done(reason),
    }
    .encode()
}

/// A message whose headers are whole.
struct Message<'a, F: Family> {
    frame: Frame<'a>,
    ethernet: &'a Ethernet,
    ip: &'a F::Ip,
    icmp: &'a Icmp,
    /// Where the IP header begins.
    l3: usize,
    /// Where the ICMP header begins.
    l4: usize,
    /// Where the IP packet ends, by its header.
    end: usize,
}

impl<'a, F: Family> Message<'a, F> {
    #[inline(always)]
    fn read<W: World>(world: &'a W, l3: usize, l4: usize) -> Result<Self, Reason> {
        let frame = world.frame();
        let ethernet: &Ethernet = frame.at(0).ok_or(Reason::Truncated)?;
        let ip: &F::Ip = frame.at(l3).ok_or(Reason::Truncated)?;
        let icmp: &Icmp = frame.at(l4).ok_or(Reason::Truncated)?;
        let end = l3 + F::total(ip);
        if end < l4 + size_of::<Icmp>() {
            return Err(Reason::Malformed);
        }
        if end as u64 > world.length(&frame) {
            return Err(Reason::Truncated);
        }
        Ok(Self {
            frame,
            ethernet,
            ip,
            icmp,
            l3,
            l4,
            end,
        })
    }
}

#[inline(always)]
fn message<F: Family, W: World>(
    world: &W,
    l3: usize,
    l4: usize,
    given: Given,
) -> Result<Step, Reason> {
    let message = Message::<F>::read(world, l3, l4)?;
    let kind = message.icmp.kind.get();
    match given {
        Given::Backend(backend) => pass_on(world, &message, backend),
        Given::Known(slot, direction) => {
            let slot = Slot::of(world, slot).ok_or(Reason::OtherIcmp)?;
            let found = Found::now(slot, direction);
            let hop = flow::hop::<F, W>(world, &found).ok_or(Reason::OtherIcmp)?;
            translate(world, &message, &hop)
        }
        Given::Nothing | Given::Slot(_) if kind == F::ECHO => echo(world, &message),
        Given::Nothing | Given::Slot(_) if F::is_error(kind) => error(world, &message),
        Given::Nothing | Given::Slot(_) => Err(Reason::OtherIcmp),
    }
}

/// Answers an echo request, if it is to an address that has a service.
#[inline(always)]
fn echo<F: Family, W: World>(world: &W, message: &Message<'_, F>) -> Result<Step, Reason> {
    let Message { ip, icmp, .. } = message;
    let from = ends(F::source(ip), F::destination(ip));
    let key = ServiceKey::new(from.daddr, Be16([0; 2]), 0);
    let code = icmp.code.get();
    if code != 0
        || world
            .service(&key)
            .is_none_or(|found| found.mode != mode::ADDRESS)
    {
        return Err(Reason::OtherIcmp);
    }
    let to = from.reversed();
    // Addresses that change places change no sum: neither the pseudo-header's nor IPv4's own.
    let change = Change::NONE.word16(
        u16::from_ne_bytes([F::ECHO, code]),
        u16::from_ne_bytes([F::ECHO_REPLY, code]),
    );
    icmp.checksum.set(change.apply(icmp.checksum.get()));
    icmp.kind.set(F::ECHO_REPLY);
    F::rewrite(ip, &from, &to, F::hops(ip).wrapping_sub(HOPS));
    let asker = message.ethernet.source.get().words();
    rewrite::macs(message.ethernet, asker, world.balancer_mac());
    Ok(Step::Done(Reason::EchoReplied))
}

/// A key of which only the addresses count.
#[inline(always)]
fn ends(saddr: crate::abi::Addr, daddr: crate::abi::Addr) -> FlowKey {
    FlowKey {
        saddr,
        daddr,
        ..FlowKey::default()
    }
}

/// What an error quotes: the beginning of a TCP segment or UDP datagram.
struct Quoted<'a, F: Family> {
    ip: &'a F::Ip,
    ports: &'a PortsHeader,
    /// Where the transport's header begins.
    transport: usize,
    /// Whether the quotation goes as far as the transport's checksum.
    has_checksum: bool,
    /// The flow as the quoted packet shows it.
    key: FlowKey,
}

#[inline(always)]
fn quoted<'a, F: Family>(message: &Message<'a, F>) -> Option<Quoted<'a, F>> {
    /// Bytes of the transport that every error must quote (RFC 792; RFC 1812 §4.3.2.3).
    const LEAST: usize = 8;
    let at = message.l4 + size_of::<Icmp>();
    let transport = at + F::HEADER;
    if message.end < transport + LEAST {
        return None;
    }
    let ip: &F::Ip = message.frame.at(at)?;
    let protocol = F::leads_to(ip)?;
    let place = checksum_at(protocol)?;
    let ports: &PortsHeader = message.frame.at(transport)?;
    let key = FlowKey {
        saddr: F::source(ip),
        daddr: F::destination(ip),
        ports: Ports::new(ports.source.get(), ports.destination.get()),
        kind: F::kind(protocol),
    };
    Some(Quoted {
        ip,
        ports,
        transport,
        has_checksum: message.end >= transport + place + size_of::<Checksum>(),
        key,
    })
}

/// Keeps an error for whoever finds out whom it concerns.
#[inline(always)]
fn error<F: Family, W: World>(world: &W, message: &Message<'_, F>) -> Result<Step, Reason> {
    let quoted = quoted(message).ok_or(Reason::OtherIcmp)?;
    // It must have come to whoever sent what it quotes.
    if !F::same(F::destination(message.ip), quoted.key.saddr) {
        return Err(Reason::OtherIcmp);
    }
    keep(world, message, &quoted.key.reversed());
    Ok(Step::New)
}

/// To a backend that holds the service's address itself.
#[inline(always)]
fn pass_on<F: Family, W: World>(
    world: &W,
    message: &Message<'_, F>,
    backend: u32,
) -> Result<Step, Reason> {
    let mac = route::to_backend(world, backend);
    if mac == 0 {
        return Err(Reason::NoRoute);
    }
    let to = MacWords::unpack(mac);
    rewrite::macs(message.ethernet, to, world.balancer_mac());
    told(world, Tell::Sent, mac);
    Ok(Step::Done(Reason::ErrorToBackend))
}

/// Puts the message where functions of their own find it, with the flow's key, by which a tunnel takes the flow's way.
#[inline(always)]
fn keep<F: Family, W: World>(world: &W, message: &Message<'_, F>, answer: &FlowKey) {
    let room = world.seen();
    if room.is_null() {
        return;
    }
    let seen = Seen {
        key: *answer,
        hash: 0,
        source_mac: message.ethernet.source.get().words().packed(),
        l3: message.l3 as u32,
        l4: message.l4 as u32,
        length: (message.end - message.l4) as u32,
        flags: 0,
        hops: u32::from(F::hops(message.ip)),
        bytes: world.length(&message.frame) as u32,
    };
    // SAFETY: this CPU's own room, which nobody else uses while a packet is under way.
    unsafe { room.write(seen) };
}

/// Gives the error the addresses by which the other side knows the flow, outside and in what it quotes.
#[inline(always)]
fn translate<F: Family, W: World>(
    world: &W,
    message: &Message<'_, F>,
    hop: &Hop,
) -> Result<Step, Reason> {
    let Message { ip, icmp, .. } = message;
    let quoted = &quoted(message).ok_or(Reason::OtherIcmp)?;
    if F::hops(ip) <= 1 {
        return Err(Reason::TtlExpired);
    }
    let from = ends(F::source(ip), F::destination(ip));
    let (mac, source, reason) = match hop.direction {
        Direction::Request => (
            route::to_backend(world, hop.backend),
            hop.key.saddr,
            Reason::ErrorToBackend,
        ),
        // The client knows nothing of the backend, but may well hear of a router on the way.
        Direction::Reply if F::same(from.saddr, quoted.key.daddr) => (
            route::to_client(world, hop),
            hop.key.saddr,
            Reason::ErrorToClient,
        ),
        Direction::Reply => (
            route::to_client(world, hop),
            from.saddr,
            Reason::ErrorToClient,
        ),
    };
    if mac == 0 {
        return Err(Reason::NoRoute);
    }

    // From here on nothing fails.
    let to = ends(source, hop.key.daddr);
    let change = requote(&message.frame, quoted, &hop.key.reversed());
    // ICMPv6 is the only one whose checksum covers a pseudo-header (RFC 4443 §2.3).
    let change = if F::V6 {
        addresses::<F>(change, &from, &to)
    } else {
        change
    };
    icmp.checksum.set(change.apply(icmp.checksum.get()));
    F::rewrite(ip, &from, &to, 1);
    let to = MacWords::unpack(mac);
    rewrite::macs(message.ethernet, to, world.balancer_mac());
    told(world, Tell::Sent, mac);
    Ok(Step::Done(reason))
}

/// Makes the quoted packet the one that the receiver sent; what that changes in a checksum over it.
#[inline(always)]
fn requote<F: Family>(frame: &Frame<'_>, quoted: &Quoted<'_, F>, new: &FlowKey) -> Change {
    let old = &quoted.key;
    let change = addresses::<F>(Change::NONE, old, new).ports(old.ports, new.ports);
    let header = F::own_checksum(quoted.ip);
    F::rewrite(quoted.ip, old, new, 0);
    quoted.ports.source.set(new.ports.source);
    quoted.ports.destination.set(new.ports.destination);
    let outside = change.word16(header.word(), F::own_checksum(quoted.ip).word());
    if !quoted.has_checksum {
        return outside;
    }
    let udp = old.kind.protocol() == protocol::UDP;
    let none = Be16([0; 2]);
    let updated = |before| match udp && before == none {
        true => before,
        false => rewrite::shown(udp, change.apply(before)),
    };
    let (before, after) = if udp {
        frame.update_checksum(quoted.transport + 6, updated)
    } else {
        frame.update_checksum(quoted.transport + 16, updated)
    };
    outside.word16(before.word(), after.word())
}
