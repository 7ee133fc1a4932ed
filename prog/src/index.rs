//! Where a flow is found: a hash table of our own in array map `index`, each of whose buckets is a cache line.
//!
//! A kernel hash map of both keys would take 170 bytes a flow, and a call for each packet. Here a flow costs two
//! entries of four bytes: the number of its slot, the direction, and seven bits of the key's hash, by which nearly
//! every stranger is told without a look at its record. What the key is, the record says.
//!
//! An entry lies in the bucket that the low half of its hash names, or, when that is full, in the one
//! that the high half names, counted from there; the first then counts it in `overflow`. Who finds no overflow has looked everywhere.
//! Lookups take no lock: an entry is one word. Changes are made under the bucket's lock.

use crate::abi::{Bucket, Direction, Entry, FlowKey};
use crate::family::Family;
use crate::flow::Slot;
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

    /// The bucket where it belongs, of `buckets`, a power of two.
    #[inline(always)]
    const fn home(self, buckets: u32) -> u32 {
        self.0 as u32 & buckets.wrapping_sub(1)
    }
    /// The bucket where it goes when that is full: never the same one, unless there is but one.
    #[inline(always)]
    const fn other(self, buckets: u32) -> u32 {
        let distance = (self.0 >> 25) as u32 | 1;
        (self.0 as u32 ^ distance) & buckets.wrapping_sub(1)
    }
    /// Seven bits, 1 to 127.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        let tag = (self.0 >> 57) as u32;
        if tag == 0 { 1 } else { tag }
    }
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
}

/// The flow whose record, in whatever state, has this key, but for the one in slot `except`.
#[inline(always)]
pub fn seek<F: Family, W: World>(
    world: &W,
    key: &FlowKey,
    hash: Hash,
    except: u32,
) -> Option<Found> {
    let mut index = hash.home(world.buckets());
    let mut round = 0;
    loop {
        let bucket = place(world, index)?;
        if let Some(found) = bucket.seek::<F, W>(world, key, hash, except) {
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

    /// The entry at a place below [`crate::abi::BUCKET`].
    #[inline(always)]
    fn entry(self, at: u32) -> *mut u32 {
        // SAFETY: a live value of `index`, and a place that it has.
        unsafe { (&raw mut (*self.0).entries).cast::<u32>().add(at as usize) }
    }

    #[inline(always)]
    fn seek<F: Family, W: World>(
        self,
        world: &W,
        key: &FlowKey,
        hash: Hash,
        except: u32,
    ) -> Option<Found> {
        let tag = hash.tag();
        let mut at = 0;
        while at < world.limit(Limit::Places) {
            // SAFETY: see `entry`; one word, whole whenever it is read.
            let entry = Entry(unsafe { self.entry(at).read_volatile() });
            if entry.tag() == tag
                && entry.slot() != except
                && let Some(slot) = Slot::of(world, entry.slot())
                && slot.has::<F, W>(world, key, entry.direction())
            {
                return Some(Found {
                    slot,
                    direction: entry.direction(),
                });
            }
            at += 1;
        }
        None
    }

    /// Puts `new` where `old` is; false where it is nowhere: then `overflow` grows by `otherwise`.
    #[inline(always)]
    fn replace<W: World>(self, world: &W, old: Entry, new: Entry, otherwise: u32) -> bool {
        let mut done = false;
        world.lock_bucket(self.0);
        let mut at = 0;
        let places = world.limit(Limit::Places);
        while at < places {
            // SAFETY: see `entry`.
            unsafe {
                if self.entry(at).read_volatile() == old.0 {
                    self.entry(at).write_volatile(new.0);
                    done = true;
                    break;
                }
            }
            at += 1;
        }
        if !done {
            // SAFETY: a live value of `index`, locked.
            unsafe {
                let overflow = &raw mut (*self.0).overflow;
                overflow.write_volatile(overflow.read_volatile().wrapping_add(otherwise));
            }
        }
        world.unlock_bucket(self.0);
        done
    }

    #[inline(always)]
    fn count<W: World>(self, world: &W, change: i32) {
        world.lock_bucket(self.0);
        // SAFETY: a live value of `index`, locked.
        unsafe {
            let overflow = &raw mut (*self.0).overflow;
            overflow.write_volatile(overflow.read_volatile().wrapping_add_signed(change));
        }
        world.unlock_bucket(self.0);
    }
}
