//! Connections: one record for both directions, found by either one's key, made and unmade whole.
//!
//! ```text
//!   flows (hash)                          connections (array)
//!   10.0.0.1:40000 → 10.0.0.10:80    ─┐   ┌────────────────────────────────┐
//!                                     ├─→ │ request, reply, MACs, state …  │ slot 7
//!   10.0.0.2:80 → 10.0.0.10:40000    ─┘   └────────────────────────────────┘
//! ```
//!
//! A connection opens in this order: claim a slot, add the reply's key, fill the record, add the
//! request's key, publish. It ends in the reverse: claim, remove both keys, free. A packet that
//! comes in between finds no connection, or a record whose key isn't its own, and is not forwarded.
//!
//! Nothing is swept: an expired connection lies there until its slot or its port is wanted.
//! A search looks at a window of slots behind a moving hand and takes, in this order, a free one,
//! an expired one, the oldest that was never confirmed (what a flood of SYNs leaves behind), the
//! oldest closed one, the longest idle one.

use crate::abi::{Connection, Direction, FlowId, FlowKey, Mac};
use crate::packet::{Segment, flags};
use crate::world::World;

/// What is known of a connection: bits of [`Connection::state`].
pub struct State;

impl State {
    /// No connection.
    pub const FREE: u32 = 0;
    /// The client asked for it.
    pub const OPEN: u32 = 1;
    /// The backend answered.
    pub const ANSWERED: u32 = 2;
    /// The client acknowledged that answer: it is really there.
    pub const CONFIRMED: u32 = 4;
    /// The client said FIN.
    pub const CLIENT_FIN: u32 = 8;
    /// The backend said FIN.
    pub const BACKEND_FIN: u32 = 16;
    /// Either one said RST.
    pub const RESET: u32 = 32;

    /// Whether nothing more is to come but retransmissions.
    #[inline(always)]
    pub const fn closed(state: u32) -> bool {
        const BOTH: u32 = State::CLIENT_FIN | State::BACKEND_FIN;
        state & State::RESET != 0 || state & BOTH == BOTH
    }
}

/// Seconds that an unconfirmed connection lasts: Linux gives up on a SYN after about as long as its
/// first five retransmissions take, 63 s (tcp_syn_retries, Documentation/networking/ip-sysctl.rst).
pub const OPENING_SECONDS: u32 = 63;
/// Seconds that a closed connection lasts: TIME_WAIT (include/net/tcp.h, TCP_TIMEWAIT_LEN).
pub const CLOSED_SECONDS: u32 = 60;
/// Seconds that a silent connection lasts: what TCP's keep-alive needs to find out that its peer is
/// gone, 7,200 s + 9 × 75 s (tcp_keepalive_time, _probes, _intvl), rounded up.
pub const IDLE_SECONDS: u32 = 8_000;
/// Slots that one search looks at.
pub const WINDOW: u32 = 32;
/// Slots that a new connection tries to claim before it gives way to other CPUs.
const CLAIMS: u32 = 4;

/// A slot of `connections`. Having one means that the pointer is a live map value.
///
/// Other CPUs read and write the record at the same time, so fields are read and written one by one.
#[derive(Clone, Copy)]
pub struct Slot {
    /// Its number.
    pub index: u32,
    record: *mut Connection,
}

macro_rules! fields {
    ($($get:ident, $set:ident: $type:ty;)*) => {$(
        #[inline(always)]
        #[doc = concat!("Reads `", stringify!($get), "`.")]
        pub fn $get(&self) -> $type {
            // SAFETY: `record` points to a live Connection; volatile, since other CPUs write it.
            unsafe { (&raw const (*self.record).$get).read_volatile() }
        }
        #[inline(always)]
        #[doc = concat!("Writes `", stringify!($get), "`.")]
        pub fn $set(&self, value: $type) {
            // SAFETY: as above.
            unsafe { (&raw mut (*self.record).$get).write_volatile(value) }
        }
    )*};
}

impl Slot {
    fields! {
        generation, set_generation: u32;
        last_seen, set_last_seen: u32;
        state, set_state: u32;
        request, set_request: FlowKey;
        reply, set_reply: FlowKey;
        backend, set_backend: u32;
        client_mac, set_client_mac: Mac;
        backend_mac, set_backend_mac: Mac;
    }

    /// The record's lock, for [`World::claim`].
    #[inline(always)]
    pub fn lock(&self) -> *mut crate::abi::bpf_spin_lock {
        // SAFETY: only the address is taken.
        unsafe { &raw mut (*self.record).lock }
    }

    #[inline(always)]
    fn key(&self, direction: Direction) -> FlowKey {
        match direction {
            Direction::Request => self.request(),
            Direction::Reply => self.reply(),
        }
    }
}

/// The slot of that number, where the table has it.
#[inline(always)]
pub fn slot<W: World>(world: &W, index: u32) -> Option<Slot> {
    let record = world.connection(index);
    (!record.is_null()).then_some(Slot { index, record })
}

/// The connection that a packet belongs to, and which way it travels.
#[inline(always)]
pub fn find<W: World>(world: &W, key: &FlowKey) -> Option<(Slot, Direction)> {
    let id = world.flow(key)?;
    let slot = slot(world, id.slot())?;
    // Between a slot's old connection and its new one, an entry may lead to a stranger.
    (slot.key(id.direction()) == *key).then_some((slot, id.direction()))
}

/// Where a packet of the connection goes next.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Hop {
    /// The packet's addresses and ports from here on.
    pub key: FlowKey,
    /// The Ethernet address it is sent to.
    pub mac: Mac,
    /// The backend it goes to or comes from.
    pub backend: u32,
}

/// Reads the next hop out of a record, all of it from one connection: None when the slot changed hands meanwhile.
#[inline(always)]
pub fn hop(slot: &Slot, direction: Direction, generation: u32) -> Option<Hop> {
    let hop = match direction {
        Direction::Request => Hop {
            key: slot.reply().reversed(),
            mac: slot.backend_mac(),
            backend: slot.backend(),
        },
        Direction::Reply => Hop {
            key: slot.request().reversed(),
            mac: slot.client_mac(),
            backend: slot.backend(),
        },
    };
    (generation & 1 == 0 && slot.generation() == generation).then_some(hop)
}

/// Notes what a packet of a known connection tells: that it lives, and how far it has come.
///
/// Two CPUs may do so at once and one note be lost; the next packet brings it again, and a lost
/// FIN costs no more than a slot that is reclaimed later.
#[inline(always)]
pub fn note<W: World>(world: &W, slot: &Slot, direction: Direction, segment: &Segment<'_>) {
    let seen = segment.tcp.flags.get();
    let before = slot.state();
    let mut state = before;
    match direction {
        Direction::Request => {
            if segment.opens() && State::closed(state) {
                state = State::OPEN; // the client opens its old port again
            }
            if seen & flags::ACK != 0 && state & State::ANSWERED != 0 {
                state |= State::CONFIRMED;
            }
            if seen & flags::FIN != 0 {
                state |= State::CLIENT_FIN;
            }
            // A client's router may change, as its own address may (VRRP, a failed-over NIC).
            let mac = segment.ethernet.source.get();
            if slot.client_mac() != mac {
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
    if seen & flags::RST != 0 {
        state |= State::RESET;
    }
    // Written only when changed, so that a busy connection's line stays clean in every cache.
    if state != before {
        slot.set_state(state);
    }
    let now = world.now();
    if slot.last_seen() != now {
        slot.set_last_seen(now);
    }
}

/// How much a slot is worth giving up: the larger the better, 0 for one in other hands.
#[inline(always)]
fn worth(slot: &Slot, generation: u32, now: u32, ticks_per_second: u32) -> u64 {
    const CLASS: u64 = 1 << 32;
    let state = slot.state();
    let age = now.wrapping_sub(slot.last_seen());
    if generation & 1 != 0 {
        return 0;
    }
    let (lifetime, class) = if state == State::FREE {
        return FREE;
    } else if State::closed(state) {
        (CLOSED_SECONDS, 2)
    } else if state & State::CONFIRMED == 0 {
        (OPENING_SECONDS, 3)
    } else {
        (IDLE_SECONDS, 1)
    };
    if u64::from(age) > u64::from(lifetime) * u64::from(ticks_per_second) {
        EXPIRED
    } else {
        class * CLASS + u64::from(age)
    }
}
const EXPIRED: u64 = 4 << 32;
const FREE: u64 = 5 << 32;

/// Takes a slot for a new connection and ends the one that was there. The caller must
/// [`publish`] or [`release`] it. None when other CPUs were faster [`CLAIMS`] times.
#[inline(always)]
pub fn claim<W: World>(world: &W) -> Option<Slot> {
    let (slots, ticks_per_second) = (world.slots(), world.ticks_per_second());
    let now = world.now();
    let mut tries = 0;
    while tries < CLAIMS {
        let start = world.hand();
        let mut best_slot = start;
        let mut best = 0;
        let mut index = start;
        let mut seen = 0;
        while seen < WINDOW {
            if index >= slots {
                index = 0;
            }
            if let Some(slot) = slot(world, index) {
                let worth = worth(&slot, slot.generation(), now, ticks_per_second);
                if worth > best {
                    best = worth;
                    best_slot = index;
                }
                if worth >= EXPIRED {
                    break;
                }
            }
            index += 1;
            seen += 1;
        }
        world.set_hand(best_slot.wrapping_add(1));
        if let Some(slot) = slot(world, best_slot) {
            let generation = slot.generation();
            if best != 0 && take(world, &slot, generation) {
                return Some(slot);
            }
        }
        tries += 1;
    }
    None
}

/// Claims the slot and removes both keys of the connection in it.
#[inline(always)]
fn take<W: World>(world: &W, slot: &Slot, generation: u32) -> bool {
    if generation & 1 != 0 || !world.claim(slot, generation) {
        return false;
    }
    if slot.state() != State::FREE {
        remove_own(world, slot, &slot.request());
        remove_own(world, slot, &slot.reply());
        slot.set_state(State::FREE);
    }
    true
}

/// Removes the entry for `key` if it leads to this slot: a note that another CPU wrote late can
/// leave a record whose keys have long been someone else's.
#[inline(always)]
fn remove_own<W: World>(world: &W, slot: &Slot, key: &FlowKey) {
    if world.flow(key).is_some_and(|id| id.slot() == slot.index) {
        world.remove_flow(key);
    }
}

/// Adds the key under which the backend's answers come, unless another connection holds it.
/// An expired holder is ended.
#[inline(always)]
pub fn add_reply<W: World>(world: &W, slot: &Slot, reply: &FlowKey) -> bool {
    let id = FlowId::new(slot.index, Direction::Reply);
    if world.add_flow(reply, id).is_ok() {
        return true;
    }
    let Some((holder, _)) = find(world, reply) else {
        return false;
    };
    let generation = holder.generation();
    if worth(&holder, generation, world.now(), world.ticks_per_second()) != EXPIRED
        || !take(world, &holder, generation)
    {
        return false;
    }
    release(&holder);
    world.add_flow(reply, id).is_ok()
}

/// Gives a claimed slot back, free.
#[inline(always)]
pub fn release(slot: &Slot) {
    slot.set_state(State::FREE);
    slot.set_generation(slot.generation().wrapping_add(1));
}

/// What a new connection is.
pub struct New {
    /// What the client sends.
    pub request: FlowKey,
    /// What the backend answers.
    pub reply: FlowKey,
    /// The backend's index.
    pub backend: u32,
    /// Where the client's frames come from.
    pub client_mac: Mac,
    /// Where the backend's frames go.
    pub backend_mac: Mac,
}

/// Fills a claimed slot, whose reply key is already added, and makes it a connection. False when
/// the client's key is taken: another CPU opened the same connection; the slot is then given back.
#[inline(always)]
pub fn publish<W: World>(world: &W, slot: &Slot, new: &New) -> bool {
    slot.set_request(new.request);
    slot.set_reply(new.reply);
    slot.set_backend(new.backend);
    slot.set_client_mac(new.client_mac);
    slot.set_backend_mac(new.backend_mac);
    slot.set_last_seen(world.now());
    let id = FlowId::new(slot.index, Direction::Request);
    if world.add_flow(&new.request, id).is_err() {
        world.remove_flow(&new.reply);
        release(slot);
        return false;
    }
    slot.set_state(State::OPEN);
    slot.set_generation(slot.generation().wrapping_add(1));
    true
}
