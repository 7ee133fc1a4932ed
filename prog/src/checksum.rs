//! Internet checksums, updated rather than recomputed.
//!
//! - RFC 1071: the sum is the same in either byte order, so words are added as they lie.
//! - RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`, whose cost does not depend on the packet's length.
//! - A sender that leaves the checksum to its NIC (CHECKSUM_PARTIAL, include/linux/skbuff.h) stores
//!   the folded sum of the pseudo-header, not complemented. On a virtual link no NIC ever completes
//!   it, and an incremental update of it would be wrong.

use crate::abi::{Be16, Ports};

/// Adds 32-bit and 16-bit words in ones' complement, with the carries kept for [`fold`](Sum::fold).
///
/// 2³² words fit: far more than a packet has.
#[derive(Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Nothing added yet.
    pub const ZERO: Self = Self(0);

    /// Continues from a 32-bit partial sum, as `bpf_csum_diff` returns it.
    #[inline(always)]
    pub const fn from_partial(partial: u32) -> Self {
        Self(partial as u64)
    }

    /// Adds a 16-bit word as it lies in memory.
    #[inline(always)]
    pub const fn add16(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds a 32-bit word as it lies in memory: both its halves at once (RFC 1071 §2C).
    #[inline(always)]
    pub const fn add32(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds eight bytes as they lie in memory: all four words at once.
    #[inline(always)]
    pub const fn add64(self, word: u64) -> Self {
        self.add32(word as u32).add32((word >> 32) as u32)
    }

    /// Sixteen bits with every carry added back.
    #[inline(always)]
    pub const fn fold(self) -> u16 {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff); // at most 33 bits
        let sum = (sum >> 16) + (sum & 0xffff); // at most 18 bits
        let sum = (sum >> 16) + (sum & 0xffff); // at most 17 bits
        ((sum >> 16) + (sum & 0xffff)) as u16
    }
}

/// What a rewrite changes in a checksum: `~m + m'` for each word of it.
#[derive(Clone, Copy, Default)]
pub struct Change(Sum);

impl Change {
    /// Nothing changed yet.
    pub const NONE: Self = Self(Sum::ZERO);

    /// A 16-bit word went from `old` to `new`.
    #[inline(always)]
    pub const fn word16(self, old: u16, new: u16) -> Self {
        Self(self.0.add16(!old).add16(new))
    }

    /// A 32-bit word, at an even offset, went from `old` to `new`.
    #[inline(always)]
    pub const fn word32(self, old: u32, new: u32) -> Self {
        Self(self.0.add32(!old).add32(new))
    }

    /// Eight bytes, at an even offset, went from `old` to `new`.
    #[inline(always)]
    pub const fn word64(self, old: u64, new: u64) -> Self {
        Self(self.0.add64(!old).add64(new))
    }

    /// The ports of a packet changed: what the transport's header sees.
    #[inline(always)]
    pub const fn ports(self, old: Ports, new: Ports) -> Self {
        self.word32(old.word(), new.word())
    }

    /// The checksum after the change (RFC 1624, equation 3).
    #[inline(always)]
    pub const fn apply(self, check: Be16) -> Be16 {
        Be16::from_word(!self.0.add16(!check.word()).fold())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// The definition: 16-bit words, one at a time, carries added back, complemented.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn rfc_1624_section_4_example() {
        // HC = 0xDD2F, m = 0x5555, m' = 0x3285: the answer is 0x0000, not 0xFFFF.
        let change = Change::NONE.word16(Be16::new(0x5555).word(), Be16::new(0x3285).word());
        assert_eq!(change.apply(Be16::new(0xdd2f)).get(), 0x0000);
    }

    proptest! {
        #[test]
        fn an_update_equals_the_sum_of_the_new_bytes(
            mut bytes in prop::collection::vec(any::<u8>(), 8..200),
            new in any::<[u8; 4]>(),
            at in 0usize..100,
        ) {
            // A zero sum cannot be told from 0xffff; headers never sum to it (RFC 1624 §3).
            bytes[0] |= 1;
            let at = 2 + at % ((bytes.len() - 6) / 2 + 1) * 2;
            prop_assume!(at + 4 <= bytes.len());
            let check = Be16::new(reference(&bytes));
            let old: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
            bytes[at..at + 4].copy_from_slice(&new);
            let change = Change::NONE.word32(u32::from_ne_bytes(old), u32::from_ne_bytes(new));
            prop_assert_eq!(change.apply(check).get(), reference(&bytes));
        }
    }
}
