//! The hash by which a new flow gets its backend: xxHash32 of the flow, as in the seed. It is the same on every balancer, so
//! that each sends the same flow to the same backend.
//!
//! Source: the xxHash specification, "XXH32 algorithm description"
//! (doc/xxhash_spec.md in the xxHash sources), version 0.2.0.

use crate::abi::FlowKey;

const PRIME_1: u32 = 0x9E37_79B1;
const PRIME_2: u32 = 0x85EB_CA77;
const PRIME_3: u32 = 0xC2B2_AE3D;
const PRIME_4: u32 = 0x27D4_EB2F;
const PRIME_5: u32 = 0x1656_67B1;

/// xxHash32 of `N` little-endian words. The length is known when the program is compiled, so its loops are too.
#[inline(always)]
pub fn xxh32<const N: usize>(words: &[u32; N], seed: u32) -> u32 {
    let mut at = 0;
    let mut hash = if N >= 4 {
        let mut lanes = [
            seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
            seed.wrapping_add(PRIME_2),
            seed,
            seed.wrapping_sub(PRIME_1),
        ];
        while at + 4 <= N {
            for lane in &mut lanes {
                *lane = lane
                    .wrapping_add(words[at].wrapping_mul(PRIME_2))
                    .rotate_left(13)
                    .wrapping_mul(PRIME_1);
                at += 1;
            }
        }
        let [a, b, c, d] = lanes;
        a.rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18))
    } else {
        seed.wrapping_add(PRIME_5)
    };
    hash = hash.wrapping_add(N as u32 * 4);
    while at < N {
        hash = hash
            .wrapping_add(words[at].wrapping_mul(PRIME_3))
            .rotate_left(17)
            .wrapping_mul(PRIME_4);
        at += 1;
    }
    hash = (hash ^ hash >> 15).wrapping_mul(PRIME_2);
    hash = (hash ^ hash >> 13).wrapping_mul(PRIME_3);
    hash ^ hash >> 16
}

/// The flow's hash: of both addresses, both ports, protocol and family, as they lie in [`FlowKey`].
#[inline(always)]
pub fn hash(key: &FlowKey) -> u32 {
    let ([a, b], [c, d]) = (key.saddr.0, key.daddr.0);
    let [a, b, c, d] = [a.to_le(), b.to_le(), c.to_le(), d.to_le()];
    let high = |word: u64| (word >> 32) as u32;
    let ports = key.ports.word().to_le();
    let words = [
        a as u32,
        high(a),
        b as u32,
        high(b),
        c as u32,
        high(c),
        d as u32,
        high(d),
        ports,
        key.kind.0,
    ];
    xxh32(&words, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Addr, Be16, Be32, Kind, Ports, protocol};

    /// The generator of the xxHash project's own sanity test (tests/sanity_test.c).
    fn sanity<const N: usize>() -> [u32; N] {
        let mut state: u64 = u64::from(2_654_435_761u32);
        core::array::from_fn(|_| {
            u32::from_le_bytes(core::array::from_fn(|_| {
                let byte = (state >> 56) as u8;
                state = state.wrapping_mul(11_400_714_785_074_694_797);
                byte
            }))
        })
    }

    /// The specification, byte by byte.
    fn reference(input: &[u8], seed: u32) -> u32 {
        let round = |lane: u32, word: &[u8]| {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            lane.wrapping_add(word.wrapping_mul(PRIME_2))
                .rotate_left(13)
                .wrapping_mul(PRIME_1)
        };
        let mut lanes = [
            seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
            seed.wrapping_add(PRIME_2),
            seed,
            seed.wrapping_sub(PRIME_1),
        ];
        let stripes = input.chunks_exact(16);
        let rest = stripes.remainder();
        for stripe in stripes {
            for (lane, word) in lanes.iter_mut().zip(stripe.chunks(4)) {
                *lane = round(*lane, word);
            }
        }
        let mut hash = if input.len() < 16 {
            seed.wrapping_add(PRIME_5)
        } else {
            let turned = lanes.iter().zip([1, 7, 12, 18]);
            turned.fold(0u32, |sum, (lane, by)| {
                sum.wrapping_add(lane.rotate_left(by))
            })
        };
        hash = hash.wrapping_add(input.len() as u32);
        let words = rest.chunks_exact(4);
        let bytes = words.remainder();
        for word in words {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            hash = hash
                .wrapping_add(word.wrapping_mul(PRIME_3))
                .rotate_left(17);
            hash = hash.wrapping_mul(PRIME_4);
        }
        for byte in bytes {
            hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIME_5));
            hash = hash.rotate_left(11).wrapping_mul(PRIME_1);
        }
        hash = (hash ^ hash >> 15).wrapping_mul(PRIME_2);
        hash = (hash ^ hash >> 13).wrapping_mul(PRIME_3);
        hash ^ hash >> 16
    }

    #[test]
    fn the_published_vectors_pass() {
        const SEED: u32 = 0x9E37_79B1;
        assert_eq!(xxh32(&sanity::<0>(), 0), 0x02CC_5D05);
        assert_eq!(xxh32(&sanity::<0>(), SEED), 0x36B7_8AE7);
        let published = b"Nobody inspects the spammish repetition";
        assert_eq!(reference(published, 0), 0xE229_3B2F);
        assert_eq!(reference(b"abc", 0), 0x32D1_53FF);
        // Of whole words, what the specification says.
        let words = sanity::<10>();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(xxh32(&words, SEED), reference(&bytes, SEED));
        assert_eq!(xxh32(&words, 0), reference(&bytes, 0));
    }

    #[test]
    fn flows_spread() {
        let mut counts = [0u32; 7];
        for client in 0..70_000u32 {
            let key = FlowKey {
                saddr: Addr::v4(Be32::new(0x0a00_0000 + client / 100)),
                daddr: Addr::v4(Be32::new(0x0a00_000a)),
                ports: Ports::new(Be16::new(32_768 + (client % 100) as u16), Be16::new(80)),
                kind: Kind::v4(protocol::TCP),
            };
            counts[hash(&key) as usize % 7] += 1;
        }
        assert!(
            counts.iter().all(|n| (9_500..10_500).contains(n)),
            "{counts:?}"
        );
    }
}
