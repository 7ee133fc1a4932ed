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

/// xxHash32 of `input`. The length is known when the program is compiled, so its loops are too.
#[inline(always)]
pub fn xxh32<const N: usize>(input: &[u8; N], seed: u32) -> u32 {
    let mut at = 0;
    let mut hash = if N >= 16 {
        let mut lanes = [
            seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
            seed.wrapping_add(PRIME_2),
            seed,
            seed.wrapping_sub(PRIME_1),
        ];
        while at + 16 <= N {
            for lane in &mut lanes {
                *lane = lane
                    .wrapping_add(word(input, at).wrapping_mul(PRIME_2))
                    .rotate_left(13)
                    .wrapping_mul(PRIME_1);
                at += 4;
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
    hash = hash.wrapping_add(N as u32);
    while at + 4 <= N {
        hash = hash
            .wrapping_add(word(input, at).wrapping_mul(PRIME_3))
            .rotate_left(17)
            .wrapping_mul(PRIME_4);
        at += 4;
    }
    while at < N {
        hash = hash
            .wrapping_add(u32::from(input[at]).wrapping_mul(PRIME_5))
            .rotate_left(11)
            .wrapping_mul(PRIME_1);
        at += 1;
    }
    hash = (hash ^ hash >> 15).wrapping_mul(PRIME_2);
    hash = (hash ^ hash >> 13).wrapping_mul(PRIME_3);
    hash ^ hash >> 16
}

#[inline(always)]
fn word<const N: usize>(input: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([input[at], input[at + 1], input[at + 2], input[at + 3]])
}

/// The flow's hash: both addresses, both ports, family and protocol.
#[inline(always)]
pub fn hash(key: &FlowKey) -> u32 {
    let ([a, b], [c, d]) = (key.saddr.0, key.daddr.0);
    let ports = u64::from(key.ports.word()) | u64::from(key.kind.0) << 32;
    let mut bytes = [0; 40];
    let mut at = 0;
    for word in [a, b, c, d, ports] {
        for byte in word.to_le_bytes() {
            bytes[at] = byte;
            at += 1;
        }
    }
    xxh32(&bytes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Addr, Be16, Be32, Kind, Ports, protocol};

    /// The generator of the xxHash project's own sanity test (tests/sanity_test.c).
    fn sanity<const N: usize>() -> [u8; N] {
        let mut state: u64 = u64::from(2_654_435_761u32);
        core::array::from_fn(|_| {
            let byte = (state >> 56) as u8;
            state = state.wrapping_mul(11_400_714_785_074_694_797);
            byte
        })
    }

    #[test]
    fn the_published_vectors_pass() {
        const SEED: u32 = 0x9E37_79B1;
        assert_eq!(xxh32(&sanity::<0>(), 0), 0x02CC_5D05);
        assert_eq!(xxh32(&sanity::<0>(), SEED), 0x36B7_8AE7);
        assert_eq!(xxh32(&sanity::<1>(), 0), 0xCF65_B03E);
        assert_eq!(xxh32(&sanity::<1>(), SEED), 0xB454_5AA4);
        assert_eq!(xxh32(&sanity::<14>(), 0), 0x1208_E7E2);
        assert_eq!(xxh32(&sanity::<14>(), SEED), 0x6AF1_D1FE);
        assert_eq!(xxh32(&sanity::<222>(), 0), 0x5BD1_1DBD);
        assert_eq!(xxh32(&sanity::<222>(), SEED), 0x5880_3C5F);
        assert_eq!(xxh32(b"abc", 0), 0x32D1_53FF);
        assert_eq!(
            xxh32(b"Nobody inspects the spammish repetition", 0),
            0xE229_3B2F
        );
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
