//! PURE: two independent hashes of an identity: xxHash's way of taking words in, SplitMix64's way of mixing them (Steele et
//! al., OOPSLA 2014, with Stafford's constants). Words are read as little-endian, so every machine finds the same.

/// The start of each hash: the fractional parts of the square roots of 2 and 3.
const SEEDS: [u64; 2] = [0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b];

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Both hashes of some bytes.
pub(super) fn pair(bytes: &[u8]) -> (u64, u64) {
    let [one, other] = SEEDS.map(|seed| hash(bytes, seed));
    (one, other)
}

fn hash(bytes: &[u8], seed: u64) -> u64 {
    let start = mix(seed ^ (bytes.len() as u64).wrapping_mul(GOLDEN));
    let end = bytes.chunks(8).fold(start, |state, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix((state ^ u64::from_le_bytes(word)).wrapping_add(GOLDEN))
    });
    mix(end ^ seed)
}

/// Every bit of the input reaches every bit of the output, and no two inputs share one.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // The first outputs of SplitMix64 with seed 0 are mix(GOLDEN), mix(2 * GOLDEN).
        assert_eq!(mix(GOLDEN), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(GOLDEN.wrapping_mul(2)), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn a_bit_of_the_input_turns_half_of_the_output() {
        let mut bytes = [0u8; 18];
        let (one, other) = pair(&bytes);
        let mut turned = 0;
        for bit in 0..18 * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (a, b) = pair(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
            for count in [(a ^ one).count_ones(), (b ^ other).count_ones()] {
                assert!((10..=54).contains(&count), "{count} of bit {bit}");
                turned += count;
            }
        }
        let mean = f64::from(turned) / f64::from(18 * 8 * 2);
        assert!((31.0..33.0).contains(&mean), "{mean}");
    }
}
