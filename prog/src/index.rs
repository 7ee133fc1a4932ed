//! Where a flow is found: a hash table of our own in array map `index`, each of whose buckets is a cache line.
//!
//! A kernel hash map of both keys would take 170 bytes a flow, and a call for each packet. Here a flow costs two
//! entries of four bytes: the number of its slot, the direction, and seven bits of the key's hash, by which nearly
//! every stranger is told without a look at its record. What the key is, the record says.
//!
//! An entry lies in the bucket that the low half of its hash names, or, when that is full, in the one
//! that the high half names, counted from there; the first then counts it in `overflow`. Who finds no overflow has looked everywhere.
//! Lookups take no lock: an entry is one word. Changes are made under the bucket's lock.

use crate::abi::{Addr, BUCKET, Bucket, Direction, Entry, FlowKey, Sought};
use crate::family::{Family, V4, V6, balancer};
use crate::flow::Slot;
use crate::opaque::opaque;
use crate::world::{Limit, World};

/// A hash of a flow's key, or of the key of its other direction.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Hash(pub u64);

impl Hash {
    /// Of a key. The seed is chosen anew when the tables are: nobody can fill one bucket by design.
    ///
    /// Multiplications and shifts after MurmurHash3's finaliser (Appleby, 2011): each input bit reaches each output bit.
    #[inline(always)]
    pub fn of<F: Family>(key: &FlowKey, seed: u64) -> Self {
        let ports = u64::from(key.ports.word()) | u64::from(key.kind.0) << 32;
        let mut hash = seed;
        if F::V6 {
            let [a, b] = key.saddr.0;
            let [c, d] = key.daddr.0;
            hash = mix(hash ^ a).wrapping_add(b);
            hash = mix(hash).wrapping_add(c);
            hash = mix(hash) ^ d;
        } else {
            let (a, b) = (key.saddr.last().word(), key.daddr.last().word());
            hash ^= u64::from(a) | u64::from(b) << 32;
        }
        hash = mix(hash) ^ ports;
        Self(mix(hash))
    }

    /// Of a key of either family.
    #[inline(always)]
    pub fn of_any(key: &FlowKey, seed: u64) -> Self {
        if key.kind.is_v6() {
            Self::of::<V6>(key, seed)
        } else {
            Self::of::<V4>(key, seed)
        }
    }

    /// The bucket where it belongs, of so many: a share of the hash's low half.
    #[inline(always)]
    const fn home(self, buckets: u32) -> u32 {
        share(self.0 as u32, buckets)
    }
    /// The bucket where it goes when that is full: never the same one, unless there is but one.
    #[inline(always)]
    const fn other(self, buckets: u32) -> u32 {
        let distance = 1 + share((self.0 >> 25) as u32, buckets.wrapping_sub(1));
        let index = self.home(buckets).wrapping_add(distance);
        if index >= buckets {
            index.wrapping_sub(buckets)
        } else {
            index
        }
    }
    /// The place in its bucket where it is put if that is free: nearly always, so that it is found at the first glance.
    #[inline(always)]
    fn seat(self) -> u32 {
        opaque(((self.0 >> 40 & 0xffff) * BUCKET as u64) >> 16) as u32
    }
    /// Seven bits, 1 to 127.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        let tag = (self.0 >> 57) as u32;
        if tag == 0 { 1 } else { tag }
    }
}

/// A number below `of`, which need not be a power of two (Lemire, "Fast random integer generation in an interval", §3).
#[inline(always)]
const fn share(word: u32, of: u32) -> u32 {
    ((word as u64 * of as u64) >> 32) as u32
}

#[inline(always)]
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^ word >> 32
}

/// A flow that an entry led to, and by which of its keys.
#[derive(Clone, Copy)]
pub struct Found {
    /// Its slot.
    pub slot: Slot,
    /// Which way the packet travels.
    pub direction: Direction,
    /// The record's generation before it was looked at.
    pub generation: u32,
}

impl Found {
    /// The flow that is in that slot now.
    #[inline(always)]
    pub fn now(slot: Slot, direction: Direction) -> Self {
        Self {
            slot,
            direction,
            generation: slot.generation(),
        }
    }

    /// The bits of a generation that are told on.
    pub const GENERATION: u32 = u32::MAX >> 1;

    /// As one number, which is all that a function of the program returns.
    #[inline(always)]
    fn encode(found: Option<Self>) -> u64 {
        match found {
            Some(found) => {
                let entry = Entry::new(found.slot.index, found.direction, 0);
                1 << 63 | u64::from(found.generation & Self::GENERATION) << 32 | u64::from(entry.0)
            }
            None => 0,
        }
    }
    /// The opposite.
    #[inline(always)]
    fn decode<W: World>(world: &W, number: u64) -> Option<Self> {
        if number == 0 {
            return None;
        }
        let entry = Entry(number as u32);
        Some(Self {
            slot: Slot::of(world, entry.slot())?,
            direction: entry.direction(),
            generation: (number >> 32) as u32 & Self::GENERATION,
        })
    }
}

/// The flow that lies where one of that hash usually does: most probably the one that [`seek`] would find.
#[inline(always)]
pub fn glance<W: World>(world: &W, hash: Hash) -> Option<Found> {
    let bucket = place(world, hash.home(world.buckets()))?;
    let entry = bucket.get(hash.seat());
    if entry.tag() != hash.tag() {
        return None;
    }
    Some(Found::now(
        Slot::of(world, entry.slot())?,
        entry.direction(),
    ))
}

/// The flow whose record, in whatever state, has this key, but for the one in slot `except`.
#[inline(always)]
pub fn seek<W: World>(world: &W, key: &FlowKey, hash: Hash, except: u32) -> Option<Found> {
    let room = world.sought();
    if room.is_null() {
        return None;
    }
    let sought = Sought {
        key: *key,
        hash: hash.0,
        except: u64::from(except),
    };
    // SAFETY: this CPU's own room, which nobody else uses while a packet is under way.
    unsafe { room.write(sought) };
    Found::decode(world, world.look())
}

/// [`seek`] for what is in [`World::sought`].
#[inline(always)]
pub fn look<W: World>(world: &W) -> u64 {
    // SAFETY: as above.
    let sought = unsafe { world.sought().as_ref() };
    Found::encode(sought.and_then(|sought| everywhere(world, sought)))
}

#[inline(always)]
fn everywhere<W: World>(world: &W, sought: &Sought) -> Option<Found> {
    let hash = Hash(sought.hash);
    let balancer = balancer(world, sought.key.kind);
    let mut index = hash.home(world.buckets());
    let mut round = 0;
    loop {
        let bucket = place(world, index)?;
        if let Some(found) = bucket.seek(world, sought, balancer) {
            return Some(found);
        }
        round += 1;
        if round >= world.limit(Limit::Homes) || bucket.overflow() == 0 {
            return None;
        }
        index = hash.other(world.buckets());
    }
}

/// No slot to leave out.
pub const NONE: u32 = u32::MAX;

/// Adds an entry if nothing is there that could have the same key: then nobody has it, and of two that add the same key at
/// once the bucket's lock lets one be the first. False where there is no telling, or no room.
#[inline(always)]
pub fn add_alone<W: World>(world: &W, hash: Hash, slot: u32, direction: Direction) -> bool {
    let entry = Entry::new(slot, direction, hash.tag());
    let Some(home) = place(world, hash.home(world.buckets())) else {
        return false;
    };
    let mut done = false;
    world.lock_bucket(home.0);
    if home.alike(hash.tag()).is_none() && home.overflow() == 0 {
        let seat = hash.seat();
        done = if home.get(seat) == Entry::EMPTY {
            home.set(seat, entry);
            true
        } else {
            home.put(home.same(Entry::EMPTY), entry)
        };
    }
    world.unlock_bucket(home.0);
    done
}

/// Adds an entry. None if neither bucket has room.
#[inline(always)]
pub fn add<W: World>(world: &W, hash: Hash, slot: u32, direction: Direction) -> Option<()> {
    let entry = Entry::new(slot, direction, hash.tag());
    let home = place(world, hash.home(world.buckets()))?;
    if home.replace(world, Entry::EMPTY, entry, 1) {
        return Some(());
    }
    // It counts as overflown already.
    let other = place(world, hash.other(world.buckets()))?;
    if other.replace(world, Entry::EMPTY, entry, 0) {
        return Some(());
    }
    home.count(world, -1);
    None
}

/// Removes an entry, if it is there.
#[inline(always)]
pub fn remove<W: World>(world: &W, hash: Hash, slot: u32, direction: Direction) {
    let entry = Entry::new(slot, direction, hash.tag());
    let Some(home) = place(world, hash.home(world.buckets())) else {
        return;
    };
    if home.replace(world, entry, Entry::EMPTY, 0) {
        return;
    }
    let Some(other) = place(world, hash.other(world.buckets())) else {
        return;
    };
    if other.replace(world, entry, Entry::EMPTY, 0) {
        home.count(world, -1);
    }
}

/// A bucket that is there.
#[derive(Clone, Copy)]
struct Place(*mut Bucket);

#[inline(always)]
fn place<W: World>(world: &W, index: u32) -> Option<Place> {
    let bucket = world.bucket(index);
    (!bucket.is_null()).then_some(Place(bucket))
}

impl Place {
    #[inline(always)]
    fn overflow(self) -> u32 {
        // SAFETY: a live value of `index`; other CPUs write it.
        unsafe { (&raw const (*self.0).overflow).read_volatile() }
    }

    #[inline(always)]
    fn set_overflow(self, count: u32) {
        // SAFETY: a live value of `index`, locked.
        unsafe { (&raw mut (*self.0).overflow).write_volatile(count) };
    }

    /// The entry at a place below [`BUCKET`].
    #[inline(always)]
    fn entry(self, at: u32) -> *mut u32 {
        // First to the entries and then to the one: a pointer that could be one to the lock the verifier does not allow.
        // SAFETY: a live value of `index`, and a place that it has.
        unsafe { opaque((&raw mut (*self.0).entries).cast::<u32>()).add(at as usize) }
    }

    /// What is there.
    #[inline(always)]
    fn get(self, at: u32) -> Entry {
        // SAFETY: see `entry`; one word, whole whenever it is read.
        Entry(unsafe { self.entry(at).read_volatile() })
    }

    /// Puts it there. Locked.
    #[inline(always)]
    fn set(self, at: u32, entry: Entry) {
        // SAFETY: see `entry`.
        unsafe { self.entry(at).write_volatile(entry.0) };
    }

    /// Where the entries with that tag are.
    #[inline(always)]
    fn alike(self, tag: u32) -> Places {
        self.places(Entry::new(0, Direction::Request, tag), Entry::TAG)
    }

    /// Where exactly this entry is.
    #[inline(always)]
    fn same(self, entry: Entry) -> Places {
        self.places(entry, u32::MAX)
    }

    /// Where the entries are that equal this one in the bits of `mask`: two at a time, without a branch, for the processor, which
    /// would guess it wrong, and the verifier, which would follow both ways at each place.
    #[inline(always)]
    fn places(self, entry: Entry, mask: u32) -> Places {
        const HIGH: u64 = 0x8000_0000_8000_0000;
        let twice = |word: u32| u64::from(word) << 32 | u64::from(word);
        let (wanted, mask) = (twice(entry.0), twice(mask));
        let mut found = 0;
        let mut pair = 0;
        while pair < BUCKET / 2 {
            // SAFETY: see `entry`; two entries, each whole whenever it is read.
            let two = unsafe {
                let pairs = (&raw const (*self.0).entries).cast::<u64>();
                pairs.add(pair).read_volatile()
            };
            let differs = (two ^ wanted) & mask;
            // The highest bit of each half: whether anything in it differs (Warren, "Hacker's Delight", 6-1).
            let high = (differs & !HIGH).wrapping_add(!HIGH) | differs;
            found |= (!high & HIGH) >> pair;
            pair += 1;
        }
        Places((found >> 25 | found >> 50) as u32 & 0x3fff)
    }

    #[inline(always)]
    fn seek<W: World>(self, world: &W, sought: &Sought, balancer: Addr) -> Option<Found> {
        let mut left = self.alike(Hash(sought.hash).tag());
        let mut round = 0;
        while round < world.limit(Limit::Places) {
            let at = left.first()?;
            left = left.without_first();
            let entry = self.get(at);
            let (slot, direction) = (Slot::of(world, entry.slot())?, entry.direction());
            let found = Found::now(slot, direction);
            // 1 for the one that does not count.
            let except = (u64::from(entry.slot()) ^ sought.except).wrapping_sub(1) >> 63;
            if slot.differs(&sought.key, direction, balancer) | except == 0 {
                return Some(found);
            }
            round += 1;
        }
        None
    }

    /// Puts an entry at the first of these places; false where there is none. Locked.
    #[inline(always)]
    fn put(self, places: Places, entry: Entry) -> bool {
        let Some(at) = places.first() else {
            return false;
        };
        self.set(at, entry);
        true
    }

    /// Puts `new` where `old` is; false where it is nowhere: then `overflow` grows by `otherwise`.
    #[inline(always)]
    fn replace<W: World>(self, world: &W, old: Entry, new: Entry, otherwise: u32) -> bool {
        world.lock_bucket(self.0);
        let done = self.put(self.same(old), new);
        if !done {
            self.set_overflow(self.overflow().wrapping_add(otherwise));
        }
        world.unlock_bucket(self.0);
        done
    }

    #[inline(always)]
    fn count<W: World>(self, world: &W, change: i32) {
        world.lock_bucket(self.0);
        self.set_overflow(self.overflow().wrapping_add_signed(change));
        world.unlock_bucket(self.0);
    }
}

/// Some of a bucket's places, a bit each: bit 6 is place 0, bit 5 place 2, …, bit 13 place 1, bit 12 place 3, …
#[derive(Clone, Copy)]
struct Places(u32);

impl Places {
    /// A number in whose highest four of sixteen bits each of the sixteen shifts leaves another value (a de Bruijn sequence).
    const SHIFTS: u32 = 0x09af;
    /// By that value, four bits each: the place, in sixteenths of a bucket, so that no number leads beyond the last one, which
    /// the verifier sees without a branch.
    const BY_SHIFT: u64 = {
        let mut places = 0;
        let mut bit = 0;
        while bit < BUCKET as u64 {
            let place = if bit < 7 { 12 - 2 * bit } else { 27 - 2 * bit };
            places |= (place * 16).div_ceil(BUCKET as u64) << (4 * Self::shift(1 << bit));
            bit += 1;
        }
        places
    };

    #[inline(always)]
    const fn shift(bit: u32) -> u32 {
        bit.wrapping_mul(Self::SHIFTS) >> 12 & 0xf
    }

    #[inline(always)]
    const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// One of them.
    #[inline(always)]
    fn first(self) -> Option<u32> {
        if self.is_none() {
            return None;
        }
        let bit = self.0 & self.0.wrapping_neg();
        let sixteenths = Self::BY_SHIFT >> (4 * Self::shift(bit)) & 0xf;
        Some(opaque((sixteenths * BUCKET as u64) >> 4) as u32)
    }

    /// The others.
    #[inline(always)]
    const fn without_first(self) -> Self {
        Self(self.0 & self.0.wrapping_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_wherever_they_lie() {
        let mut bucket = Bucket::default();
        let entries: [Entry; BUCKET] =
            core::array::from_fn(|at| Entry::new(at as u32, Direction::Reply, 1 + at as u32 * 9));
        for (at, entry) in entries.iter().enumerate() {
            bucket.entries[at] = entry.0;
        }
        let place = Place(&raw mut bucket);
        for (at, entry) in entries.iter().enumerate() {
            for found in [place.same(*entry), place.alike(entry.tag())] {
                assert_eq!(found.first(), Some(at as u32));
                assert!(found.without_first().is_none());
            }
        }
        assert!(place.same(Entry::EMPTY).is_none() && place.alike(127).is_none());
    }

    #[test]
    fn several_are_told_one_by_one() {
        let mut bucket = Bucket::default();
        bucket.entries[3] = 7;
        let place = Place(&raw mut bucket);
        let (mut left, mut seen) = (place.same(Entry::EMPTY), [0; BUCKET]);
        while let Some(at) = left.first() {
            seen[at as usize] += 1;
            left = left.without_first();
        }
        let expected: [u32; BUCKET] = core::array::from_fn(|at| u32::from(at != 3));
        assert_eq!(seen, expected);
    }
}
