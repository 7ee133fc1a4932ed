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

use core::hint::black_box;

use crate::abi::{Be16, Connection, Direction, FlowId, FlowKey, MacWords};
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

    /// The client's checksums come deferred, and the next sender still owes them (generic mode).
    pub const CLIENT_DEFERS: u32 = 64;
    /// The backend's do.
    pub const BACKEND_DEFERS: u32 = 128;

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
/// Other CPUs read and write the record at the same time, so fields are read and written one by
/// one, in whole words.
#[derive(Clone, Copy)]
pub struct Slot {
    /// Its number.
    pub index: u32,
    record: *mut Connection,
}

macro_rules! fields {
    ($($get:ident, $set:ident: $type:ty as [$word:ty; $count:literal];)*) => {$(
        #[inline(always)]
        #[doc = concat!("Reads `", stringify!($get), "`.")]
        pub fn $get(&self) -> $type {
            let mut words = [0; $count];
            // SAFETY: `record` points to a live Connection, in which the field is made of such
            // words; volatile, since other CPUs write it.
            unsafe {
                let field = (&raw const (*self.record).$get).cast::<$word>();
                let mut at = 0;
                while at < $count {
                    words[at] = field.add(at).read_volatile();
                    at += 1;
                }
                core::mem::transmute::<[$word; $count], $type>(words)
            }
        }
        #[inline(always)]
        #[doc = concat!("Writes `", stringify!($get), "`.")]
        pub fn $set(&self, value: $type) {
            // SAFETY: as above.
            unsafe {
                let words = core::mem::transmute::<$type, [$word; $count]>(value);
                let field = (&raw mut (*self.record).$get).cast::<$word>();
                let mut at = 0;
                while at < $count {
                    field.add(at).write_volatile(words[at]);
                    at += 1;
                }
            }
        }
    )*};
}

impl Slot {
    fields! {
        generation, set_generation: u32 as [u32; 1];
        last_seen, set_last_seen: u32 as [u32; 1];
        state, set_state: u32 as [u32; 1];
        request, set_request: FlowKey as [u64; 2];
        reply, set_reply: FlowKey as [u64; 2];
        backend, set_backend: u32 as [u32; 1];
        client_mac, set_client_mac: MacWords as [u16; 3];
        backend_mac, set_backend_mac: MacWords as [u16; 3];
    }

    /// The record's lock, for [`World::claim`].
    #[inline(always)]
    pub fn lock(&self) -> *mut crate::abi::bpf_spin_lock {
        // SAFETY: only the address is taken.
        unsafe { &raw mut (*self.record).lock }
    }
}

/// The slot of that number, where the table has it.
#[inline(always)]
pub fn slot<W: World>(world: &W, index: u32) -> Option<Slot> {
    let record = world.connection(index);
    (!record.is_null()).then_some(Slot { index, record })
}

/// The connection that a packet belongs to.
#[derive(Clone, Copy)]
pub struct Found {
    /// Its slot.
    pub slot: Slot,
    /// Which way the packet travels.
    pub direction: Direction,
    /// The slot's generation, from before the keys were read.
    generation: u32,
    /// The key of the other direction.
    other: FlowKey,
}

/// Looks a packet's connection up.
#[inline(always)]
pub fn find<W: World>(world: &W, key: &FlowKey) -> Option<Found> {
    let id = world.flow(key)?;
    let slot = slot(world, id.slot())?;
    let generation = slot.generation();
    // Both are read and one chosen: a choice of the field would make a pointer that the verifier
    // cannot follow without CAP_PERFMON (kernel/bpf/verifier.c, REASON_PATHS).
    let (request, reply) = (slot.request(), slot.reply());
    let direction = id.direction();
    let (own, other) = match direction {
        Direction::Request => (request, reply),
        Direction::Reply => (reply, request),
    };
    // Between a slot's old connection and its new one, an entry may lead to a stranger.
    if own == *key {
        Some(Found {
            slot,
            direction,
            generation,
            other,
        })
    } else {
        None
    }
}

/// Where a packet of the connection goes next.
pub struct Hop {
    /// The packet's addresses and ports from here on.
    pub key: FlowKey,
    /// The Ethernet address it is sent to.
    pub mac: MacWords,
    /// The backend it goes to or comes from.
    pub backend: u32,
    /// The connection.
    pub slot: Slot,
    /// Which way the packet travels.
    pub direction: Direction,
}

impl Hop {
    #[inline(always)]
    fn deferral(&self) -> u32 {
        match self.direction {
            Direction::Request => State::CLIENT_DEFERS,
            Direction::Reply => State::BACKEND_DEFERS,
        }
    }

    /// Whether this side of the connection has sent a deferred checksum before.
    #[inline(always)]
    pub fn defers(&self) -> bool {
        self.slot.state() & self.deferral() != 0
    }

    /// Notes that it does.
    #[inline(always)]
    pub fn note_deferral(&self) {
        self.slot.set_state(self.slot.state() | self.deferral());
    }
}

/// Reads the next hop out of a record, all of it from one connection: None when the slot changed hands meanwhile.
#[inline(always)]
pub fn hop(found: &Found) -> Option<Hop> {
    let Found {
        slot,
        direction,
        generation,
        other,
    } = found;
    let (client_mac, backend_mac) = (slot.client_mac(), slot.backend_mac());
    let mac = match direction {
        Direction::Request => backend_mac,
        Direction::Reply => client_mac,
    };
    let hop = Hop {
        key: other.reversed(),
        mac,
        backend: slot.backend(),
        slot: *slot,
        direction: *direction,
    };
    if generation & 1 == 0 && slot.generation() == *generation {
        Some(hop)
    } else {
        None
    }
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
                // The client opens its old port again.
                state = State::OPEN | state & (State::CLIENT_DEFERS | State::BACKEND_DEFERS);
            }
            if seen & flags::ACK != 0 && state & State::ANSWERED != 0 {
                state |= State::CONFIRMED;
            }
            if seen & flags::FIN != 0 {
                state |= State::CLIENT_FIN;
            }
            // A client's router may change, as its own address may (VRRP, a failed-over NIC).
            let mac = segment.ethernet.source.get().words();
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

/// How readily a connection in a certain state is given up, and how long it lasts.
#[derive(Clone, Copy)]
struct Rank {
    /// The larger, the sooner: established 1, closed 2, unconfirmed 3, free 4. What is expired counts 4 more.
    class: u32,
    seconds: u32,
}

/// By the lower six bits of [`State`]. A table rather than a chain of branches: the verifier would follow every branch
/// in every round of the search, and remember a different range of numbers for each.
static RANKS: [Rank; 64] = {
    let mut ranks = [Rank {
        class: 1,
        seconds: IDLE_SECONDS,
    }; 64];
    let mut state = 0;
    while state < 64 {
        if state == State::FREE {
            ranks[state as usize] = Rank {
                class: 4,
                seconds: 0,
            };
        } else if State::closed(state) {
            ranks[state as usize] = Rank {
                class: 2,
                seconds: CLOSED_SECONDS,
            };
        } else if state & State::CONFIRMED == 0 {
            ranks[state as usize] = Rank {
                class: 3,
                seconds: OPENING_SECONDS,
            };
        }
        state += 1;
    }
    ranks
};

/// How much a slot is worth giving up: its class from bit 40 on, its age in the 32 bits from 8 on.
///
/// In arithmetic, not in branches: the verifier walks through every combination of branches that
/// the rounds of a search can take, but to it all numbers out of this function are alike.
#[inline(always)]
fn worth(slot: &Slot, now: u32, ticks_per_second: u32) -> u64 {
    let Rank { class, seconds } = RANKS[slot.state() as usize % RANKS.len()];
    let age = u64::from(now.wrapping_sub(slot.last_seen()));
    let lifetime = u64::from(seconds) * u64::from(ticks_per_second);
    let expired = lifetime.wrapping_sub(age) >> 63; // 1 if age > lifetime
    (u64::from(class) + expired * 4) << 40 | age << 8
}
/// At least this much is worth a slot that is free or whose connection is expired.
const EXPIRED: u64 = 4 << 40;

/// The greater of two numbers below 2⁶³, without a branch: [`black_box`] keeps the compiler from
/// turning the arithmetic back into one.
#[inline(always)]
fn greater(a: u64, b: u64) -> u64 {
    let b_is_greater = black_box(a.wrapping_sub(b) >> 63);
    a.wrapping_add(b.wrapping_sub(a).wrapping_mul(b_is_greater))
}

/// The best slot of the window at `start`: its worth, and in the low 8 bits its place there.
#[inline(always)]
pub fn search<W: World>(world: &W, start: u32) -> u64 {
    let (now, ticks_per_second) = (world.now(), world.ticks_per_second());
    let mut best = 0;
    let mut place = 0;
    while place < WINDOW {
        let Some(slot) = slot(world, start.wrapping_add(place)) else {
            break;
        };
        best = greater(best, worth(&slot, now, ticks_per_second) | u64::from(place));
        if best >= EXPIRED {
            break;
        }
        place += 1;
    }
    best
}

/// Takes a slot for a new connection and ends the one that was there. The caller must
/// [`publish`] or [`release`] it. None when other CPUs were faster [`CLAIMS`] times.
#[inline(always)]
pub fn claim<W: World>(world: &W) -> Option<Slot> {
    let mut tries = 0;
    while tries < CLAIMS {
        let start = world.hand();
        let best = world.search(start);
        let index = start.wrapping_add(best as u32 & 0xff);
        let next = if best >= EXPIRED {
            index.wrapping_add(1)
        } else {
            start.wrapping_add(WINDOW)
        };
        world.set_hand(wrap(next, world.slots()));
        let slot = slot(world, index)?;
        if take(world, &slot, slot.generation()) {
            return Some(slot);
        }
        tries += 1;
    }
    None
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

/// Ends the connection that holds the key, if it is expired.
#[inline(always)]
pub fn end_expired<W: World>(world: &W, key: &FlowKey) {
    let Some(Found {
        slot: holder,
        generation,
        ..
    }) = find(world, key)
    else {
        return;
    };
    if worth(&holder, world.now(), world.ticks_per_second()) >= EXPIRED
        && take(world, &holder, generation)
    {
        release(&holder);
    }
}

/// Source ports tried towards a backend before a new connection is refused: the client's own and
/// then others by chance. With every second port held, one connection in 65,000 fails; with nine in
/// ten, one in five. Each try is more for the verifier to walk through when the program is loaded.
pub const PORTS_TRIED: u32 = 16;

/// Finds a source port towards the backend that neither another client nor the host itself uses,
/// and adds the key under which the backend's answers come: the client's own port where it is
/// free, others in an order that `seed` decides. `reply` comes with the client's own port.
#[inline(always)]
pub fn take_port<W: World>(world: &W, mut reply: FlowKey, id: FlowId, seed: u32) -> Option<Be16> {
    let mut state = seed;
    let mut tried = 0;
    while tried < PORTS_TRIED {
        // Port 0 is no port to answer to (RFC 6335 §6), though a client's packet may come from it.
        let usable = reply.dport.get() != 0 && !world.has_socket(&reply);
        if usable && world.add_flow(&reply, id).is_ok() {
            return Some(reply.dport);
        }
        // Numerical Recipes' generator; its high bits, moved above the well-known ports.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        reply.dport = Be16::new(1_024 + ((u64::from(state) * (65_536 - 1_024)) >> 32) as u16);
        tried += 1;
    }
    None
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
    pub client_mac: MacWords,
    /// Where the backend's frames go.
    pub backend_mac: MacWords,
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
