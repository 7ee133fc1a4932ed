//! PURE: Maglev tables (Eisenbud et al., NSDI 2016, §3.4): which member of a service a new flow goes to.
//!
//! Each member has an order of its own in which it would like the slots: start at `offset`, go on by `skip`, round and
//! round. As the number of slots is prime, every skip leads past every slot. The members take turns, and at each turn a
//! member takes the next slot of its order that is still free:
//!
//! ```text
//! A starts at 3 and skips 4    3 0 4 1 5 2 6      turns   A B C A B C A
//! B starts at 0 and skips 2    0 2 4 6 1 3 5      take    3 0 4 1 2 5 6
//! C starts at 3 and skips 1    3 4 5 6 0 1 2      table   B A B A C C A
//! ```
//!
//! Weights decide how often a member's turn comes: a member of weight w has its turns at the times 0, 1.5/w, 2.5/w, …
//! That rounds every share to the nearest slot and gives nobody less than one. A member's times and its order depend on
//! nothing but itself, so when one goes, the others move only as far as they run into the slots that it left.
//! Whoever builds a table for the same members, sorted, gets the same table: on any machine, in any later version.

mod disruption;
mod hash;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

pub use disruption::{Disruption, disruption};

/// How many slots a table can have at most: the largest size that the paper measures.
pub const MAX_SLOTS: u32 = 655_373;

/// A number of slots. Having one means it is a prime, from 2 to [`MAX_SLOTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slots(u32);

impl Slots {
    /// What a service has unless told otherwise.
    pub const DEFAULT: Self = Self(65_537);

    /// None unless it is a prime in range.
    pub fn new(count: u32) -> Option<Self> {
        (count <= MAX_SLOTS && is_prime(count)).then_some(Self(count))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The sizes that are possible right below and right above a number.
    pub fn around(count: u32) -> (Option<Self>, Option<Self>) {
        let below = (2..count.min(MAX_SLOTS + 1)).rev().find_map(Self::new);
        let above = (count.saturating_add(1)..=MAX_SLOTS).find_map(Self::new);
        (below, above)
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// By trial: the square root of the largest is 809.
fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// What makes a member itself, whatever else is in the table: its address (IPv4 as IPv4-mapped IPv6) and its port, both in
/// network byte order; port 0 stands for the packet's own. Sorts IPv4 before most of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity([u8; 18]);

impl Identity {
    /// A backend's.
    pub fn new(address: IpAddr, port: Option<NonZeroU16>) -> Self {
        let address = match address {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut bytes = [0; 18];
        bytes[..16].copy_from_slice(&address.octets());
        bytes[16..].copy_from_slice(&port.map_or(0, NonZeroU16::get).to_be_bytes());
        Self(bytes)
    }

    /// The bytes, from first to last.
    pub fn bytes(&self) -> &[u8; 18] {
        &self.0
    }
}

/// One who takes part in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member {
    /// Who it is.
    pub identity: Identity,
    /// How many turns it gets, beside the others.
    pub weight: NonZeroU16,
}

/// A member's way through the slots.
struct Order {
    next: u32,
    skip: u32,
}

impl Order {
    fn new(member: &Member, slots: u32) -> Self {
        let (offset, skip) = hash::pair(member.identity.bytes());
        Self {
            next: (offset % u64::from(slots)) as u32,
            skip: (skip % u64::from(slots - 1)) as u32 + 1,
        }
    }

    /// The next slot of its way that is free, which there has to be.
    fn take(&mut self, free: &mut Free) -> usize {
        loop {
            let slot = self.next as usize;
            self.next += self.skip;
            if self.next >= free.slots {
                self.next -= free.slots;
            }
            if free.take(slot) {
                return slot;
            }
        }
    }
}

/// The free slots, a bit each: 8 KB for 65,537, which the nearest cache holds.
struct Free {
    taken: Vec<u64>,
    slots: u32,
    left: u32,
}

impl Free {
    /// Whether it was free until now.
    fn take(&mut self, slot: usize) -> bool {
        let word = &mut self.taken[slot / 64];
        let bit = 1 << (slot % 64);
        // With branches: what counts by `u32::from(free)` instead, rustc 1.95 turns into a loop without end at
        // opt-level 2 and 3 (seen; the library is anybody's to compile).
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.left -= 1;
        true
    }
}

/// The most members that a table tells apart.
pub const MAX_MEMBERS: usize = 1 << 16;

/// Gives each slot a member, by its index; an empty table where there is nobody to give it to.
///
/// The order of the members is part of the input (who comes first at equal times), so it should be one that everybody
/// finds alike: [`Member`]s sort by address and port. Of more than [`MAX_MEMBERS`] the rest gets nothing.
pub fn build(members: &[Member], slots: Slots) -> Vec<u16> {
    let members = &members[..members.len().min(MAX_MEMBERS)];
    if members.is_empty() {
        return Vec::new();
    }
    let mut table = vec![0; slots.0 as usize];
    let mut free = Free {
        taken: vec![0; table.len().div_ceil(64)],
        slots: slots.0,
        left: slots.0,
    };
    let mut orders: Vec<Order> = members.iter().map(|m| Order::new(m, slots.0)).collect();
    let mut turns = Turns::new(members);
    loop {
        for &index in turns.next() {
            let slot = orders[usize::from(index)].take(&mut free);
            table[slot] = index;
            if free.left == 0 {
                return table;
            }
        }
    }
}

/// Whose turn it is. Members of one weight have their turns at the same times, so a round is theirs together.
struct Turns {
    rounds: Vec<(u16, Vec<u16>)>,
    /// When a group's next round begins, how many it has had, and which group.
    due: BinaryHeap<Reverse<(u64, u32, usize)>>,
}

impl Turns {
    fn new(members: &[Member]) -> Self {
        let mut groups: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
        for (index, member) in (0..=u16::MAX).zip(members) {
            groups.entry(member.weight.get()).or_default().push(index);
        }
        let rounds: Vec<_> = groups.into_iter().collect();
        let due = (0..rounds.len()).map(|group| Reverse((0, 0, group)));
        Self {
            due: due.collect(),
            rounds,
        }
    }

    /// The members of the round that comes next.
    fn next(&mut self) -> &[u16] {
        // There is a group, since there is a member.
        let Some(mut due) = self.due.peek_mut() else {
            return &[];
        };
        let Reverse((time, had, group)) = &mut *due;
        let (weight, members) = &self.rounds[*group];
        *had += 1;
        *time = turn(*weight, *had);
        members
    }
}

/// When a member's turn of that number (from 1; turn 0 is at time 0) comes: (n + 1/2) / weight, in units of 2^-32.
fn turn(weight: u16, number: u32) -> u64 {
    ((2 * u64::from(number) + 1) << 31) / u64::from(weight)
}

#[cfg(test)]
mod tests;
