//! Flows: one record for both directions, found by either one's key, made and unmade whole.
//!
//! ```text
//!   index (buckets)                       connections (array)
//!   10.0.0.1:40000 → 10.0.0.10:80    ─┐   ┌────────────────────────────────┐
//!                                     ├─→ │ client, service, backend, ports,│ slot 7
//!   10.0.0.2:80 → 10.0.0.9:1024      ─┘   │ MAC, state …                   │
//!                                         └────────────────────────────────┘
//! ```
//!
//! A flow opens in this order: claim a slot, fill the record, add the reply's entry with a free port, add the
//! request's entry, publish. It ends in the reverse: claim, remove both entries, free. A packet that
//! comes in between finds no flow, or a record that is being rewritten, and is not forwarded.
//!
//! Nothing is swept: an expired flow lies there until its slot or its port is wanted.
//! A search looks at a window of slots behind a moving hand and takes, in this order, a free one,
//! an expired one, the oldest that has been closed or unconfirmed for a second, the oldest that is unconfirmed (what a flood of new
//! flows leaves behind); where there is none, at another window. An established flow is never given up for a new one, nor is one
//! that just opened or closed.

use crate::abi::{Addr, Be16, Direction, FlowKey, MacWords, Ports, Seen};
use crate::claim::Judged;
pub use crate::claim::{NoSlot, WINDOW, claim, close, end, release, search};
use crate::family::Family;
use crate::index::{self, Found, Hash};
use crate::packet::{flags, opens};
pub use crate::slot::Slot;
use crate::state::{DISPENSABLE, EXPIRED, RESTED, State};
use crate::world::World;

/// The next hop of a packet of a known flow.
#[inline(always)]
pub fn find<F: Family, W: World>(world: &W, key: &FlowKey, hash: Hash) -> Option<Hop> {
    let usual = index::glance(world, hash).and_then(|found| hop::<F, W>(world, &found));
    match usual.filter(|hop| hop.is_of::<F>(key)) {
        Some(hop) => Some(hop),
        None => hop::<F, W>(world, &index::seek(world, key, hash, index::NONE)?),
    }
}

/// What a packet of a known flow becomes.
pub struct Hop {
    /// Its flow as the sender sees it.
    pub came: FlowKey,
    /// Its flow as the receiver shall see it. NAT only.
    pub key: FlowKey,
    /// The backend.
    pub backend: u32,
    /// Where the client's frames go ([`MacWords::packed`]).
    pub client_mac: u64,
    /// The state before this packet.
    pub state: u32,
    /// The record's generation: another one, and it is of another flow.
    generation: u32,
    /// Its record.
    pub slot: Slot,
    /// Which way it travels.
    pub direction: Direction,
}

impl Hop {
    /// Whether its packets look like that.
    #[inline(always)]
    fn is_of<F: Family>(&self, key: &FlowKey) -> bool {
        let came = &self.came;
        came.ports.word() == key.ports.word()
            && came.kind == key.kind
            && F::same(came.saddr, key.saddr)
            && F::same(came.daddr, key.daddr)
    }

    /// Whether its packets go into others.
    #[inline(always)]
    pub fn is_tunnelled(&self) -> bool {
        self.state & State::ONE_WAY == State::TUNNEL
    }
    /// Whether who sent this packet leaves its checksums to others.
    #[inline(always)]
    pub fn defers(&self) -> bool {
        self.state & self.deferral() != 0
    }
    /// Notes that it does.
    #[inline(always)]
    pub fn note_deferral(&self) {
        self.slot.set_state(self.slot.state() | self.deferral());
    }
    #[inline(always)]
    fn deferral(&self) -> u32 {
        match self.direction {
            Direction::Request => State::CLIENT_DEFERS,
            Direction::Reply => State::BACKEND_DEFERS,
        }
    }
}

/// Reads a record; None while it changes hands, or when it has since it was found.
#[inline(always)]
pub fn hop<F: Family, W: World>(world: &W, found: &Found) -> Option<Hop> {
    let Found {
        slot, direction, ..
    } = *found;
    let generation = slot.generation();
    let (request, reply) = (slot.request_ports(), slot.reply_ports());
    let (client, vip, target) = (slot.client(), slot.vip(), slot.target());
    let (balancer, kind) = (F::balancer(world), slot.kind());
    let key = |saddr, daddr, ports| FlowKey {
        saddr,
        daddr,
        ports,
        kind,
    };
    let (request, reply) = (key(client, vip, request), key(target, balancer, reply));
    let (came, leaves) = match direction {
        Direction::Request => (request, reply.reversed()),
        Direction::Reply => (reply, request.reversed()),
    };
    let hop = Hop {
        came,
        key: leaves,
        backend: slot.backend(),
        client_mac: slot.client_mac(),
        state: slot.state(),
        generation,
        slot,
        direction,
    };
    let same = (generation ^ found.generation) & Found::GENERATION == 0;
    (same && generation & 1 == 0 && slot.generation() == generation).then_some(hop)
}

/// Notes what a packet of a known flow tells: that it lives, and how far it has come.
///
/// Two CPUs may do so at once and one note be lost; the next packet brings it again, and a lost
/// FIN costs no more than a slot that is reclaimed later.
#[inline(always)]
pub fn note<W: World>(world: &W, hop: &Hop, seen: u8, source_mac: MacWords) {
    if world.dry() {
        return;
    }
    let slot = &hop.slot;
    let before = hop.state;
    let mut state = before;
    match hop.direction {
        Direction::Request => {
            if opens(seen) && State::closed(state) {
                // The client opens its old port again.
                const KEPT: u32 =
                    State::CLIENT_DEFERS | State::BACKEND_DEFERS | State::ONE_WAY | State::ROUTED;
                state = State::OPEN | state & KEPT;
            } else if state & State::ONE_WAY != 0 {
                // The backend's half is not seen. What follows the SYN answers it.
                if !opens(seen) {
                    state |= State::ANSWERED | State::CONFIRMED;
                }
                if seen & flags::FIN != 0 {
                    state |= State::CLIENT_FIN | State::BACKEND_FIN;
                }
            } else if state & State::ANSWERED != 0
                && (seen & flags::ACK != 0 || state & State::UDP != 0)
            {
                state |= State::CONFIRMED;
            }
            if seen & flags::FIN != 0 {
                state |= State::CLIENT_FIN;
            }
            // A client's router may change, as its own address may (VRRP, a failed-over NIC).
            let mac = source_mac.packed();
            if state & State::ROUTED == 0
                && hop.client_mac != mac
                && slot.generation() == hop.generation
            {
                slot.set_client_mac(mac);
            }
        }
        Direction::Reply => {
            state |= State::ANSWERED;
            if seen & flags::FIN != 0 {
                state |= State::BACKEND_FIN;
            }
        }
    }
    // Who goes on after an RST did not mean this flow by it: an answer to what belonged to the one before, or a forgery.
    let reset = match hop.direction {
        Direction::Request => State::CLIENT_RESET,
        Direction::Reply => State::BACKEND_RESET,
    };
    state = if seen & flags::RST != 0 {
        state | reset
    } else {
        state & !reset
    };
    // The time first: a closed flow that opens again is at no moment an old one that never opened.
    let now = world.now();
    if slot.last_seen() != now {
        slot.set_last_seen(now);
    }
    // Written only when changed, so that a busy connection's line stays clean in every cache; and not into the record of a flow
    // that has taken this one's place meanwhile.
    if state != before && slot.generation() == hop.generation {
        slot.set_state(state);
    }
}

/// Finds a source port of `low` to `high` towards the backend in a claimed slot's record that no other flow uses, writes it
/// there and adds the reply's entry. `seed` says where the search begins. None if all that were tried are in use.
///
/// As with slots: first what nobody holds any more, then what has been closed or unconfirmed for some time, then what is
/// unconfirmed. A flood of new flows takes ports from itself, and none from established ones.
#[inline(always)]
pub fn take_port<W: World>(
    world: &W,
    slot: &Slot,
    (low, high): (u16, u16),
    seed: u32,
) -> Option<Be16> {
    let range = u32::from(high) << 16 | u32::from(low);
    let tries = |least: u64, first: u32| world.try_ports(slot.index, range, seed, least, first);
    // Few suffice unless ports are scarce. In a range of 32 every port is tried; in a longer one with nine of ten ports held, one
    // flow in thirty fails.
    tries(EXPIRED, 0)
        .or_else(|| tries(RESTED, 0))
        .or_else(|| tries(RESTED, 8))
        .or_else(|| tries(DISPENSABLE, 0))
        .or_else(|| tries(DISPENSABLE, 8))
        .or_else(|| tries(DISPENSABLE, 16))
        .or_else(|| tries(DISPENSABLE, 24))
}

/// The same for eight ports from the try of number `first` on, if their holders are [worth](worth) giving up at least `least`.
/// `range` has the highest port in its upper half and the lowest in its lower.
///
/// No loop: without CAP_PERFMON the verifier also follows one beyond its bound.
#[inline(always)]
pub fn try_ports<W: World>(
    world: &W,
    index: u32,
    range: u32,
    seed: u32,
    least: u64,
    first: u32,
) -> Option<Be16> {
    let slot = Slot::of(world, index)?;
    let (low, high) = (range & 0xffff, range >> 16);
    let count = high.wrapping_sub(low).wrapping_add(1) & 0x1_ffff;
    let start = ((u64::from(seed) * u64::from(count)) >> 32) as u32;
    let backend = slot.reply_ports().source;
    let attempt = |number: u32| {
        if number >= count {
            return None;
        }
        let place = start.wrapping_add(number).checked_rem(count)?;
        let port = Be16::new(low.wrapping_add(place) as u16);
        slot.set_reply_ports(Ports::new(backend, port));
        world.reserve(index, least).then_some(port)
    };
    let first = first & 0xff;
    attempt(first)
        .or_else(|| attempt(first + 1))
        .or_else(|| attempt(first + 2))
        .or_else(|| attempt(first + 3))
        .or_else(|| attempt(first + 4))
        .or_else(|| attempt(first + 5))
        .or_else(|| attempt(first + 6))
        .or_else(|| attempt(first + 7))
}

/// Adds the reply's entry of a claimed slot, unless another flow has that key. One that is [worth](worth) giving up at least
/// `least` is ended.
#[inline(always)]
pub fn reserve<W: World>(world: &W, index: u32, least: u64) -> bool {
    let Some(slot) = Slot::of(world, index) else {
        return false;
    };
    let key = slot.reply(world);
    let hash = Hash::of_any(&key, world.seed());
    if index::add_alone(world, hash, index, Direction::Reply) {
        return true;
    }
    // Before and after: what is there already is usually the reason, and two that add the same key at once both see
    // the other afterwards, if not one of them.
    if let Some(holder) = index::seek(world, &key, hash, index) {
        let judged = Judged::of(world, &holder.slot);
        if judged.worth < least || !judged.end(world, &holder.slot) {
            return false;
        }
        release(&holder.slot);
    }
    if index::add(world, hash, index, Direction::Reply).is_none() {
        return false;
    }
    if index::seek(world, &key, hash, index).is_some() {
        index::remove(world, hash, index, Direction::Reply);
        return false;
    }
    true
}

/// What a new flow is.
pub struct New {
    /// The service's number.
    pub service: u32,
    /// The backend's index.
    pub backend: u32,
    /// Its address; none for one that answers directly.
    pub target: Addr,
    /// Its port.
    pub target_port: Be16,
    /// [`State`] to begin with.
    pub state: u32,
}

/// Fills a claimed slot but for the balancer's port.
#[inline(always)]
pub fn fill<W: World>(world: &W, slot: &Slot, seen: &Seen, new: &New) {
    slot.set_client(seen.key.saddr);
    slot.set_vip(seen.key.daddr);
    slot.set_request_ports(seen.key.ports);
    slot.set_kind(seen.key.kind);
    slot.set_target(new.target);
    slot.set_reply_ports(Ports::new(new.target_port, Be16([0; 2])));
    slot.set_backend(new.backend);
    slot.set_service(new.service);
    slot.set_client_mac(seen.source_mac);
    let now = world.now();
    slot.set_last_seen(now);
    // The way to the client is asked for with its first answer.
    slot.set_routed_at(now.wrapping_sub(world.ticks_per_second()));
}

/// Adds the request's entry of a filled slot and makes it a flow of that state: the packet's in [`World::seen`]. False when
/// the client's key is taken: another CPU opened the same flow; the slot is then given back.
#[inline(always)]
pub fn publish<W: World>(world: &W, index: u32, state: u32) -> bool {
    let Some(slot) = Slot::of(world, index) else {
        return false;
    };
    // SAFETY: null or this CPU's own room, which nobody else uses while a packet is under way.
    let seen = unsafe { world.seen().as_ref() };
    let added = seen.is_some_and(|seen| {
        index::add_alone(world, Hash(seen.hash), index, Direction::Request)
            || contend(world, &slot, seen)
    });
    if added {
        slot.set_state(state);
        slot.set_generation(slot.generation().wrapping_add(1));
        return true;
    }
    if state & State::ONE_WAY == 0 {
        let hash = Hash::of_any(&slot.reply(world), world.seed());
        index::remove(world, hash, index, Direction::Reply);
    }
    release(&slot);
    false
}

/// Adds the request's entry where others are that could have its key; false where one has.
#[inline(always)]
fn contend<W: World>(world: &W, slot: &Slot, seen: &Seen) -> bool {
    let hash = Hash(seen.hash);
    if index::add(world, hash, slot.index, Direction::Request).is_none() {
        return false;
    }
    if index::seek(world, &seen.key, hash, slot.index).is_some() {
        index::remove(world, hash, slot.index, Direction::Request);
        return false;
    }
    true
}
