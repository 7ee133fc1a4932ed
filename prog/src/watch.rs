//! What a watcher is told of a packet's way. Where nobody watches, that is a constant, and none of it is there.

use crate::abi::{Direction, Event, Seen, stage};
use crate::family::{V4, V6};
use crate::flow::{self, Slot};
use crate::index::Found;
use crate::world::World;

/// What is told, each with a number.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Tell {
    /// It is of no known flow; what it is lies in [`World::seen`]. 0.
    Unknown,
    /// It is a client's, of the flow in that slot.
    Request,
    /// It is a backend's, of the flow in that slot.
    Reply,
    /// It is for the service of that number.
    Service,
    /// The slot of the Maglev table in the upper half led to the backend in the lower.
    Picked,
    /// A flow was opened in that slot.
    Opened,
    /// It leaves for that Ethernet address.
    Sent,
}

impl Tell {
    const LAST: u32 = Self::Sent as u32;

    /// The one of that number: what a function of the program is given is only a number to the verifier. Not read from a table: the
    /// compiler would check one register and index by another.
    #[inline(always)]
    pub fn numbered(number: u32) -> Option<Self> {
        if number > Self::LAST {
            return None;
        }
        // SAFETY: repr(u32), numbered from 0 to LAST without a gap.
        Some(unsafe { core::mem::transmute::<u32, Self>(number) })
    }
}

/// Tells, if anybody watches.
#[inline(always)]
pub fn told<W: World>(world: &W, what: Tell, number: u64) {
    if world.watched() {
        world.tell(what, number);
    }
}

/// Tells what the routing table answered; at once, since a function more would be too much for the stack.
#[inline(always)]
pub fn routed<W: World>(world: &W, answer: u32) {
    if !world.watched() {
        return;
    }
    // SAFETY: null or this CPU's own room, which nobody else uses while a packet is under way.
    if let Some(event) = unsafe { world.event().as_mut() } {
        event.stages |= stage::ROUTED;
        event.route = answer;
    }
}

/// Writes it to the event at hand.
#[inline(always)]
pub fn tell<W: World>(world: &W, what: Tell, number: u64) {
    // SAFETY: null or this CPU's own room, which nobody else uses while a packet is under way.
    let Some(event) = (unsafe { world.event().as_mut() }) else {
        return;
    };
    match what {
        Tell::Unknown => {
            // SAFETY: as above.
            let seen: Option<&Seen> = unsafe { world.seen().as_ref() };
            if let Some(seen) = seen {
                event.stages |= stage::PARSED;
                event.key = seen.key;
            }
        }
        Tell::Request => known(world, event, number as u32, Direction::Request),
        Tell::Reply => known(world, event, number as u32, Direction::Reply),
        Tell::Service => {
            event.stages |= stage::SERVICE;
            event.service = number as u32;
        }
        Tell::Picked => {
            event.stages |= stage::PICKED;
            event.backend = number as u32;
            event.table_slot = (number >> 32) as u32;
        }
        Tell::Opened => {
            event.stages |= stage::OPENED;
            event.slot = number as u32;
            sent_as(world, event, number as u32, Direction::Request);
        }
        Tell::Sent => {
            event.stages |= stage::SENT;
            event.mac = number;
        }
    }
}

#[inline(always)]
fn known<W: World>(world: &W, event: &mut Event, index: u32, direction: Direction) {
    let Some(slot) = Slot::of(world, index) else {
        return;
    };
    event.stages |= stage::PARSED;
    event.slot = index;
    event.state = slot.state();
    event.backend = slot.backend();
    event.service = slot.service();
    match direction {
        Direction::Request => {
            event.stages |= stage::REQUEST;
            event.key = slot.request();
        }
        Direction::Reply => {
            event.stages |= stage::REPLY;
            event.key = slot.reply(world);
        }
    }
    sent_as(world, event, index, direction);
}

/// The flow as it leaves.
#[inline(always)]
fn sent_as<W: World>(world: &W, event: &mut Event, index: u32, direction: Direction) {
    let Some(slot) = Slot::of(world, index) else {
        return;
    };
    let found = Found::now(slot, direction);
    let hop = if slot.kind().is_v6() {
        flow::hop::<V6, W>(world, &found)
    } else {
        flow::hop::<V4, W>(world, &found)
    };
    if let Some(hop) = hop {
        event.sent = if hop.state & crate::state::State::ONE_WAY == 0 {
            hop.key
        } else {
            event.key
        };
    }
}
