//! Damaged objects: whatever the bytes, a link ends in an object or an error. It never panics, hangs or takes much
//! memory; what links is well formed.
//!
//! `XDPLB_MUTATE=FILE:FILE… XDPLB_MUTATIONS=N` tries real objects too, N damages each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use proptest::prelude::*;
use support::{dump, link_all, rich};
use xdplb_linker::btf::{Btf, repair};
use xdplb_linker::btf_ext::BtfExt;
use xdplb_linker::link::{Input, Options, link};

/// A small generator with a fixed seed, so that a failure can be repeated: xorshift64 (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Damages bytes in one of the ways files are damaged, or written by who means harm.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at.max(1)),
            // A header field or a count becomes huge, or tiny.
            3 | 4 => {
                let value =
                    [0, 1, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX][random.below(7)];
                let width = [1, 2, 4, 8][random.below(4)];
                let at = at / width * width;
                for (offset, byte) in value.to_le_bytes()[..width].iter().enumerate() {
                    if let Some(place) = bytes.get_mut(at + offset) {
                        *place = *byte;
                    }
                }
            }
            // Two words change places: sizes, links, offsets.
            _ => {
                let (one, two) = (at / 8 * 8, random.below(bytes.len()) / 8 * 8);
                for offset in 0..8 {
                    if one.max(two) + offset < bytes.len() {
                        bytes.swap(one + offset, two + offset);
                    }
                }
            }
        }
    }
}

/// Links damaged bytes, alone and beside the undamaged ones; says how often that worked.
fn survive(name: &str, good: &[u8], rounds: usize) -> usize {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut linked = 0;
    for round in 0..rounds {
        let mut bad = good.to_vec();
        damage(&mut bad, &mut random);
        let alone = [Input { name, bytes: &bad }];
        let both = [Input { name, bytes: good }, Input { name, bytes: &bad }];
        let result = std::panic::catch_unwind(|| {
            let _ = link(&both, &Options::default());
            link(&alone, &Options::default())
        });
        let Ok(result) = result else {
            let path = std::env::temp_dir().join("xdplb-mutation.o");
            std::fs::write(&path, &bad).unwrap();
            panic!("{name}, round {round}: see {}", path.display());
        };
        if let Ok(output) = result {
            linked += 1;
            dump::agrees_with_goblin(&output.bytes);
        }
    }
    linked
}

#[test]
fn damaged_objects_end_in_an_object_or_an_error() {
    let linked = survive("rich.o", &rich().bytes(), 10_000);
    // Both happen, or the damage says nothing.
    assert!((500..9_500).contains(&linked), "{linked} of 10000 linked");
}

#[test]
fn damaged_output_ends_in_an_object_or_an_error() {
    survive("linked.o", &link_all(&[&rich()]).unwrap(), 10_000);
}

#[test]
fn every_cut_is_an_error_or_an_object() {
    let good = rich().bytes();
    for len in 0..good.len() {
        let inputs = [Input {
            name: "cut.o",
            bytes: &good[..len],
        }];
        assert!(link(&inputs, &Options::default()).is_err(), "{len} bytes");
    }
}

#[test]
fn damaged_archives_end_in_an_object_or_an_error() {
    let object = rich().bytes();
    let mut archive = b"!<arch>\n".to_vec();
    archive.extend(format!("{:<16}{:<32}{:<10}`\n", "rich.o/", 0, object.len()).bytes());
    archive.extend(&object);
    survive("lib.a", &archive, 2_000);
}

#[test]
fn real_objects_survive_damage() {
    let Ok(files) = std::env::var("XDPLB_MUTATE") else {
        return;
    };
    let rounds = std::env::var("XDPLB_MUTATIONS").map_or(1_000, |n| n.parse().unwrap());
    for file in files.split(':') {
        let linked = survive(file, &std::fs::read(file).unwrap(), rounds);
        println!("{file}: {linked} of {rounds} linked");
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_read_as_types(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut section = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0];
        let types = bytes.len() / 2;
        for field in [types, types, bytes.len() - types] {
            section.extend((field as u32).to_le_bytes());
        }
        section.extend(&bytes);
        let _ = Btf::parse(&section);
        let _ = BtfExt::parse(&section);
        let _ = link(&[Input { name: "x", bytes: &bytes }], &Options::default());
    }

    /// What is parsed is encoded as it was, and repairing it gives types that can be parsed again.
    #[test]
    fn types_survive_a_round_trip(seed in 1u64..u64::MAX) {
        let linked = link_all(&[&rich()]).unwrap();
        let at = linked.windows(4).position(|w| w == [0x9f, 0xeb, 1, 0]).unwrap();
        let mut section = linked[at..].to_vec();
        let mut random = Random(seed);
        for _ in 0..4 {
            let at = 24 + random.below(400);
            section[at] = random.next() as u8;
        }
        if let Ok(btf) = Btf::parse(&section) {
            prop_assert_eq!(&Btf::parse(&btf.encode()).unwrap(), &btf);
            let repaired = repair(btf);
            prop_assert_eq!(&Btf::parse(&repaired.encode()).unwrap(), &repaired);
            let again = repair(repaired.clone());
            prop_assert_eq!(&again, &repaired);
        }
    }
}
