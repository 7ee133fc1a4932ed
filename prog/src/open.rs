//! A new flow: a service, a backend, a slot, a source port.

use crate::abi::{Addr, Be16, Direction, Seen, Service, mode};
use crate::counters::Reason;
use crate::family::{Family, V4, V6, balancer};
use crate::flow::{self, New, NoSlot};
use crate::index::{self, Hash};
use crate::packet::opens;
use crate::state::State;
use crate::watch::{Tell, told};
use crate::world::World;
use crate::{pick, service};

/// What becomes of a packet of no known flow.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub enum Answer {
    /// It opened the flow in that slot.
    Slot(u32),
    /// To that backend, directly, without a record.
    Direct(u32),
    /// Likewise, by tunnel.
    Tunnel(u32),
    /// It is about the flow in that slot, whose packets that way are as its answer would be.
    Known(u32, Direction),
    /// It leaves untouched, or not at all.
    Exit(Reason),
    /// It is answered with an RST; where that fails, it is dropped for the second reason.
    Reset(Reason, Reason),
}

impl Answer {
    /// As one number, which is all that a function of the program returns: the kind from bit 32 on.
    #[inline(always)]
    pub const fn encode(self) -> u64 {
        match self {
            Self::Slot(slot) => slot as u64,
            Self::Direct(backend) => 1 << 32 | backend as u64,
            Self::Tunnel(backend) => 2 << 32 | backend as u64,
            Self::Exit(reason) => 3 << 32 | reason as u64,
            Self::Reset(reason, instead) => 4 << 32 | (instead as u64) << 16 | reason as u64,
            Self::Known(slot, Direction::Request) => 5 << 32 | slot as u64,
            Self::Known(slot, Direction::Reply) => 6 << 32 | slot as u64,
        }
    }
    /// The opposite.
    #[inline(always)]
    pub fn decode(number: u64) -> Self {
        let low = number as u32;
        let reason = |number: u32| Reason::numbered(number).unwrap_or(Reason::Contended);
        match number >> 32 {
            0 => Self::Slot(low),
            1 => Self::Direct(low),
            2 => Self::Tunnel(low),
            3 => Self::Exit(reason(low)),
            4 => Self::Reset(reason(low & 0xffff), reason(low >> 16)),
            5 => Self::Known(low, Direction::Request),
            _ => Self::Known(low, Direction::Reply),
        }
    }
}

/// Opens a flow for the packet in [`World::seen`].
#[inline(always)]
pub fn open<W: World>(world: &W) -> u64 {
    // SAFETY: null or this CPU's own room, which nobody else uses while a packet is under way.
    let Some(seen) = (unsafe { world.seen().as_ref() }) else {
        return Answer::Exit(Reason::Contended).encode();
    };
    match find(world, seen) {
        Ok(answer) | Err(answer) => answer.encode(),
    }
}

#[inline(always)]
fn find<W: World>(world: &W, seen: &Seen) -> Result<Answer, Answer> {
    let nat_wants = Answer::Exit(Reason::NoConnection);
    let udp = seen.key.kind.protocol() == crate::abi::protocol::UDP;
    let Some(service) = service::of(world, &seen.key) else {
        return Err(Answer::Exit(if opens(seen.flags as u8) || udp {
            Reason::OtherDestination
        } else {
            Reason::NoConnection
        }));
    };
    told(world, Tell::Service, u64::from(service.id));
    // A packet from the balancer's own address would be answered to itself.
    if seen.key.saddr == balancer(world, seen.key.kind) {
        return Err(nat_wants);
    }
    if service.mode == mode::NAT {
        if !udp && !opens(seen.flags as u8) {
            return Err(nat_wants);
        }
        if seen.hops <= 1 {
            return Err(Answer::Exit(Reason::TtlExpired));
        }
    }
    let opened = place(world, seen, service, udp);
    world.count_service(
        service.id,
        matches!(
            opened,
            Ok(Answer::Slot(_) | Answer::Direct(_) | Answer::Tunnel(_))
        ),
    );
    opened
}

/// Whom an ICMP error concerns that is about a packet of the flow in [`World::seen`]: an [`Answer`]. The flow's record says so; of
/// one that is answered directly another balancer may have it, or none, and then the Maglev table does.
#[inline(always)]
pub fn concerned<W: World>(world: &W) -> u64 {
    // SAFETY: null or this CPU's own room, which nobody else uses while a packet is under way.
    let seen = unsafe { world.seen().as_mut() };
    let answer = seen.and_then(|seen| recorded(world, seen).or_else(|| direct(world, seen)));
    answer.unwrap_or(Answer::Exit(Reason::OtherIcmp)).encode()
}

#[inline(always)]
fn recorded<W: World>(world: &W, seen: &mut Seen) -> Option<Answer> {
    let hash = Hash::of_any(&seen.key, world.seed());
    let found = index::seek(world, &seen.key, hash, index::NONE)?;
    let slot = found.slot;
    let (generation, state, backend) = (slot.generation(), slot.state(), slot.backend());
    if generation & 1 != 0 || slot.generation() != generation {
        return None;
    }
    let tell = match found.direction {
        Direction::Request => Tell::Request,
        Direction::Reply => Tell::Reply,
    };
    told(world, tell, u64::from(slot.index));
    Some(match state & State::ONE_WAY {
        0 => Answer::Known(slot.index, found.direction),
        State::DIRECT => Answer::Direct(backend),
        _ => tunnel(seen, backend),
    })
}

#[inline(always)]
fn direct<W: World>(world: &W, seen: &mut Seen) -> Option<Answer> {
    let service = service::of(world, &seen.key)?;
    let mode = service.mode;
    if mode != mode::DSR && mode != mode::IPIP {
        return None;
    }
    let backend = service::pick(world, service, pick::hash(&seen.key))?;
    Some(if mode == mode::DSR {
        Answer::Direct(backend)
    } else {
        tunnel(seen, backend)
    })
}

/// By tunnel: what was kept is ICMP.
#[inline(always)]
fn tunnel(seen: &mut Seen, backend: u32) -> Answer {
    seen.key.kind = if seen.key.kind.is_v6() {
        V6::kind(V6::ICMP)
    } else {
        V4::kind(V4::ICMP)
    };
    Answer::Tunnel(backend)
}

/// Refuses a new flow: TCP by an RST to an opening packet, the rest by silence.
#[inline(always)]
fn refuse(udp: bool, reset: Reason, drop: Reason) -> Answer {
    if udp {
        Answer::Exit(drop)
    } else {
        Answer::Reset(reset, drop)
    }
}

/// A backend, a slot, a port.
#[inline(always)]
fn place<W: World>(world: &W, seen: &Seen, service: &Service, udp: bool) -> Result<Answer, Answer> {
    let nothing = refuse(udp, Reason::NoBackendReset, Reason::NoBackend);
    let hash = pick::hash(&seen.key);
    let index = service::pick(world, service, hash).ok_or(nothing)?;
    let backend = service::up(world, index).ok_or(nothing)?;
    let (target, target_port) = (backend.addr, backend.port);

    let protocol = if udp { State::UDP } else { 0 };
    let (state, stateless) = match service.mode {
        mode::NAT => (State::OPEN | protocol, None),
        mode::DSR => (
            State::OPEN | State::DIRECT | protocol,
            Some(Answer::Direct(index)),
        ),
        _ => (
            State::OPEN | State::TUNNEL | protocol,
            Some(Answer::Tunnel(index)),
        ),
    };
    if world.dry() {
        // Whoever asks is told what would be, and nobody's slot or port is taken for it.
        return Ok(stateless.unwrap_or(Answer::Exit(Reason::Opened)));
    }
    let slot = match NoSlot::decode(world, world.claim_slot()) {
        Ok(slot) => slot,
        // Direct return can do without: the table leads the flow's every packet to the same backend while it stays as it is.
        Err(NoSlot::Full) => {
            let full = refuse(udp, Reason::TableFullReset, Reason::TableFull);
            return stateless.ok_or(full);
        }
        Err(NoSlot::Contended) => {
            return stateless.ok_or(Answer::Exit(Reason::Contended));
        }
    };
    let nat = stateless.is_none();
    let port = if target_port == Be16([0; 2]) {
        seen.key.ports.destination
    } else {
        target_port
    };
    let new = New {
        service: service.id,
        backend: index,
        target: if nat { target } else { Addr::NONE },
        target_port: if nat { port } else { Be16([0; 2]) },
        state,
    };
    flow::fill(world, &slot, seen, &new);
    if nat {
        let range = (service.port_low, service.port_high);
        let taken = flow::take_port(world, &slot, range, hash);
        if taken.is_none() {
            flow::release(&slot);
            return Err(refuse(udp, Reason::NoPortReset, Reason::NoPort));
        }
    }
    if !world.publish_flow(slot.index, state) {
        return Err(Answer::Exit(Reason::Contended));
    }
    told(world, Tell::Opened, u64::from(slot.index));
    Ok(Answer::Slot(slot.index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_pass_through_a_number() {
        for answer in [
            Answer::Slot(0),
            Answer::Slot(0xff_ffff),
            Answer::Direct(7),
            Answer::Tunnel(u32::MAX),
            Answer::Known(3, Direction::Request),
            Answer::Known(0xff_ffff, Direction::Reply),
            Answer::Exit(Reason::Forwarded),
            Answer::Exit(Reason::NoHeadroom),
            Answer::Reset(Reason::TableFullReset, Reason::TableFull),
        ] {
            assert_eq!(Answer::decode(answer.encode()), answer);
        }
    }
}
