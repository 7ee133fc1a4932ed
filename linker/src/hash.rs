//! Hashes for tables whose keys come out of files: quick, and with a key of this process, so that no file can be made
//! whose names all fall into one place. No order of such a table ever reaches the output.

use std::hash::{BuildHasher, RandomState};

/// Odd, half of its bits set (the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A key, and what is hashed with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyed(u64);

impl Default for Keyed {
    fn default() -> Self {
        Self(RandomState::new().hash_one(SPREAD))
    }
}

impl Keyed {
    /// The hash of bytes.
    pub(crate) fn bytes(self, bytes: &[u8]) -> u64 {
        let (words, tail) = bytes.as_chunks::<8>();
        let whole = words.iter().fold(self.0, |hash, word| {
            fold(hash ^ u64::from_le_bytes(*word), SPREAD)
        });
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        let last = fold(whole ^ u64::from_le_bytes(last), SPREAD ^ self.0);
        fold(last ^ bytes.len() as u64, SPREAD)
    }

    /// The hash of words.
    pub(crate) fn words(self, words: &[u32]) -> u64 {
        let all = words.iter().fold(self.0, |hash, word| {
            fold(hash ^ u64::from(*word), SPREAD ^ self.0)
        });
        fold(all ^ words.len() as u64, SPREAD)
    }
}

/// Both halves of the product, one upon the other: each bit of it depends on all below it.
fn fold(one: u64, two: u64) -> u64 {
    let product = u128::from(one) * u128::from(two);
    product as u64 ^ (product >> 64) as u64
}

/// Numbers by their hashes: whoever asks knows what a number stands for, so that nothing is stored twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    /// A power of two of them, half of them free at least; 0 is free.
    slots: Vec<u32>,
    used: usize,
}

impl Numbers {
    /// The number with this hash that `is_it` accepts.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        // Half of the slots are free, so this ends.
        while self.slots[at] != 0 {
            if is_it(self.slots[at]) {
                return Some(self.slots[at]);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Adds a number that is not there yet and not 0.
    pub(crate) fn insert(&mut self, number: u32, hash_of: impl Fn(u32) -> u64) {
        if self.slots.len() < 2 * (self.used + 1) {
            let larger = vec![0; (self.slots.len() * 2).max(64)];
            let all = std::mem::replace(&mut self.slots, larger);
            for known in all.into_iter().filter(|known| *known != 0) {
                self.put(known, hash_of(known));
            }
        }
        self.put(number, hash_of(number));
        self.used += 1;
    }

    fn put(&mut self, number: u32, hash: u64) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_what_it_stands_for() {
        let key = Keyed::default();
        let text = |number: u32| format!("name {number}");
        let hash = |number: u32| key.bytes(text(number).as_bytes());
        let mut numbers = Numbers::default();
        assert_eq!(numbers.find(hash(1), |_| true), None);
        for number in 1..1000 {
            numbers.insert(number, hash);
        }
        for number in 1..1000 {
            let found = numbers.find(hash(number), |known| text(known) == text(number));
            assert_eq!(found, Some(number));
        }
        assert_eq!(
            numbers.find(hash(1000), |known| text(known) == text(1000)),
            None
        );
    }

    #[test]
    fn lengths_and_zeros_tell_texts_apart() {
        let key = Keyed::default();
        assert_ne!(key.bytes(b"a"), key.bytes(b"a\0"));
        assert_ne!(key.bytes(b"12345678"), key.bytes(b"12345678\0"));
        assert_ne!(key.words(&[1]), key.words(&[1, 0]));
        assert_eq!(key.bytes(b"12345678"), key.bytes(b"12345678"));
    }
}
