//! Slots of `connections`: found for a new flow, taken from an old one, given back.

use core::hint::black_box;

use crate::abi::Direction;
use crate::index::{self, Hash};
use crate::slot::Slot;
use crate::state::{DISPENSABLE, EXPIRED, State, worth};
use crate::world::World;

/// Slots that one search looks at.
pub const WINDOW: u32 = 32;

/// The greater of two numbers below 2⁶³, without a branch: [`black_box`] keeps the compiler from
/// turning the arithmetic back into one.
#[inline(always)]
fn greater(a: u64, b: u64) -> u64 {
    let b_is_greater = black_box(a.wrapping_sub(b) >> 63);
    a.wrapping_add(b.wrapping_sub(a).wrapping_mul(b_is_greater))
}

/// A flow as it was looked at: ended only if nothing has happened to it since.
#[derive(Clone, Copy)]
pub struct Judged {
    generation: u32,
    state: u32,
    /// How much it is worth giving up ([`worth`]).
    pub worth: u64,
}

impl Judged {
    /// What is to be said of the flow in that slot now.
    #[inline(always)]
    pub fn of<W: World>(world: &W, slot: &Slot) -> Self {
        let (generation, state) = (slot.generation(), slot.state());
        // In this order: a packet that comes between the two would make the flow look older than the clock.
        let seen = slot.last_seen();
        let idle = world.now().wrapping_sub(seen);
        Self {
            generation,
            state,
            worth: worth(state, idle, world.ticks_per_second()),
        }
    }

    /// Ends it, if it still is as it was judged: a client may open a closed connection anew at the same time.
    #[inline(always)]
    pub fn end<W: World>(&self, world: &W, slot: &Slot) -> bool {
        world.end(slot.index, self.generation, self.state)
    }
}

#[inline(always)]
fn worth_of(slot: &Slot, now: u32, ticks_per_second: u32) -> u64 {
    let idle = now.wrapping_sub(slot.last_seen());
    worth(slot.state(), idle, ticks_per_second)
}

/// The best slot of the window at `start`: its worth, and in the low 8 bits its place there.
#[inline(always)]
pub fn search<W: World>(world: &W, start: u32) -> u64 {
    let (now, ticks_per_second) = (world.now(), world.ticks_per_second());
    let mut best = 0;
    let mut place = 0;
    while place < WINDOW {
        let Some(slot) = Slot::of(world, start.wrapping_add(place)) else {
            break;
        };
        best = greater(
            best,
            worth_of(&slot, now, ticks_per_second) | u64::from(place),
        );
        if best >= EXPIRED {
            break;
        }
        place += 1;
    }
    best
}

/// Why there is no slot.
pub enum NoSlot {
    /// All flows of the windows are established.
    Full,
    /// Other CPUs were faster each time.
    Contended,
}

impl NoSlot {
    const FULL: u64 = u64::MAX;
    const CONTENDED: u64 = u64::MAX - 1;

    /// A slot or the reason why there is none as one number, which is all that a function of the program returns.
    #[inline(always)]
    pub fn encode(slot: Result<Slot, Self>) -> u64 {
        match slot {
            Ok(slot) => slot.index.into(),
            Err(Self::Full) => Self::FULL,
            Err(Self::Contended) => Self::CONTENDED,
        }
    }
    /// The opposite.
    #[inline(always)]
    pub fn decode<W: World>(world: &W, number: u64) -> Result<Slot, Self> {
        match number {
            Self::FULL => Err(Self::Full),
            Self::CONTENDED => Err(Self::Contended),
            slot => Slot::of(world, slot as u32).ok_or(Self::Contended),
        }
    }
}

/// Takes a slot for a new flow and ends the one that was there, at the fourth attempt if other CPUs are faster at the first three. The
/// caller must [`publish`] or [`release`] it.
///
/// No loop: without CAP_PERFMON the verifier also follows one beyond its bound.
#[inline(always)]
pub fn claim<W: World>(world: &W) -> Result<Slot, NoSlot> {
    attempt(world)
        .or_else(|_| attempt(world))
        .or_else(|_| attempt(world))
        .or_else(|_| attempt(world))
}

#[inline(always)]
fn attempt<W: World>(world: &W) -> Result<Slot, NoSlot> {
    let slots = world.slots();
    let start = world.hand();
    let best = world.search(start);
    let index = start.wrapping_add(best as u32 & 0xff);
    let full = best < DISPENSABLE;
    let next = if best >= EXPIRED {
        index.wrapping_add(1)
    } else if full {
        far(start, slots)
    } else {
        start.wrapping_add(WINDOW)
    };
    world.set_hand(wrap(next, slots));
    if full {
        return Err(NoSlot::Full);
    }
    let slot = Slot::of(world, index).ok_or(NoSlot::Contended)?;
    let judged = Judged::of(world, &slot);
    if judged.worth >= DISPENSABLE && judged.end(world, &slot) {
        Ok(slot)
    } else {
        Err(NoSlot::Contended)
    }
}

/// Another part of the table. Slots are taken in a row, so established flows lie in long rows, too; steps of the golden
/// ratio find what lies between them, if it is one part in n of the table, in about n.
#[inline(always)]
fn far(start: u32, slots: u32) -> u32 {
    const RATIO: u64 = 0x9e37_79b9;
    let next = start.wrapping_add(((u64::from(slots) * RATIO) >> 32) as u32);
    if next >= slots {
        next.wrapping_sub(slots)
    } else {
        next
    }
}

/// Where the next window begins: so that it fits into the table, if the table is that long.
///
/// The hand is wrapped as it is stored, not in the search: there a slot's number that might be a
/// constant 0 would make the verifier follow every round once for each place it could have wrapped.
#[inline(always)]
fn wrap(next: u32, slots: u32) -> u32 {
    if next >= slots {
        0
    } else {
        next.min(slots.saturating_sub(WINDOW))
    }
}

/// Claims the slot, if its generation and state are still these, and removes both keys of the flow in it.
#[inline(always)]
pub fn end<W: World>(world: &W, index: u32, generation: u32, state: u32) -> bool {
    let Some(slot) = Slot::of(world, index) else {
        return false;
    };
    if generation & 1 != 0 || !world.claim(&slot, generation, state) {
        return false;
    }
    if state != State::FREE {
        remove(world, &slot);
        slot.set_state(State::FREE);
    }
    true
}

#[inline(always)]
fn remove<W: World>(world: &W, slot: &Slot) {
    let hash = Hash::of_any(&slot.request(), world.seed());
    index::remove(world, hash, slot.index, Direction::Request);
    if slot.state() & State::ONE_WAY == 0 {
        let hash = Hash::of_any(&slot.reply(world), world.seed());
        index::remove(world, hash, slot.index, Direction::Reply);
    }
}

/// Ends a flow and frees its slot.
#[inline(always)]
pub fn close<W: World>(world: &W, slot: &Slot) {
    if !world.dry() && Judged::of(world, slot).end(world, slot) {
        release(slot);
    }
}

/// Gives a claimed slot back, free.
#[inline(always)]
pub fn release(slot: &Slot) {
    slot.set_state(State::FREE);
    slot.set_generation(slot.generation().wrapping_add(1));
}
