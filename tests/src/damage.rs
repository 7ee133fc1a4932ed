//! Damage to object files, as disks, networks and people who mean harm do it. Every damage has a number, and the same number
//! does the same to the same file.

use std::ops::Range;

use goblin::elf::Elf;

/// A file and where in it damage tells.
#[derive(Debug)]
pub struct Patient<'a> {
    good: &'a [u8],
    /// Where the section headers are.
    headers: Range<usize>,
    /// The symbols, the relocations, the types and what is defined by data: small parts that say much.
    telling: Vec<Range<usize>>,
    salt: u64,
}

/// The size of a section header in an ELF file of 64 bits.
const HEADER: usize = 64;
/// Offsets in one: name, type, flags, offset, size, link, info, entry size (elf(5), `Elf64_Shdr`), with their widths.
const FIELDS: [(usize, usize); 8] = [
    (0, 4),
    (4, 4),
    (8, 8),
    (24, 8),
    (32, 8),
    (40, 4),
    (44, 4),
    (56, 8),
];
/// Numbers at the edges of what a field can hold.
const EDGES: [u64; 10] = [
    0,
    1,
    7,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

impl<'a> Patient<'a> {
    /// A file that is not (yet) damaged.
    pub fn new(name: &str, good: &'a [u8]) -> Self {
        let elf = Elf::parse(good).ok();
        let count = elf.as_ref().map_or(0, |elf| elf.section_headers.len());
        let start = elf.as_ref().map_or(0, |elf| elf.header.e_shoff as usize);
        let mut telling = Vec::new();
        for section in elf.iter().flat_map(|elf| &elf.section_headers) {
            let name = elf
                .as_ref()
                .and_then(|elf| elf.shdr_strtab.get_at(section.sh_name));
            let name = name.unwrap_or_default();
            let debug = name.contains(".debug");
            if let Some(range) = section.file_range()
                && !range.is_empty()
                && !debug
            {
                telling.push(range);
            }
        }
        Self {
            good,
            headers: start..(start + count * HEADER).min(good.len()),
            telling,
            salt: name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                // FNV-1a: any hash would do, as long as it stays the same.
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            }),
        }
    }

    /// The file with damage number `number`: one to four injuries.
    pub fn damaged(&self, number: u64) -> Vec<u8> {
        let mut bytes = self.good.to_vec();
        let mut random = Random::new(self.salt ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for _ in 0..=random.below(4) {
            if !bytes.is_empty() {
                self.injure(&mut bytes, &mut random);
            }
        }
        bytes
    }

    fn injure(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        match random.below(12) {
            0 => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            1 => bytes.truncate(random.below(bytes.len())),
            // What one section says of itself, another says now: sizes, links, offsets, kinds.
            2 | 3 => {
                let (at, width) = FIELDS[random.below(FIELDS.len())];
                if let (Some(one), Some(two)) = (self.header(random), self.header(random)) {
                    swap(bytes, one + at, two + at, width);
                }
            }
            4 => {
                let (at, width) = FIELDS[random.below(FIELDS.len())];
                if let Some(header) = self.header(random) {
                    let edge = EDGES[random.below(EDGES.len())];
                    put(bytes, header + at, width, edge);
                }
            }
            // A count or an offset of the file's own header.
            5 => put(bytes, random.below(HEADER), 2, random.next()),
            6 | 7 => {
                if let Some(at) = self.telling_place(random) {
                    let width = 1 << random.below(4);
                    let edge = EDGES[random.below(EDGES.len())];
                    put(bytes, at / width * width, width, edge);
                }
            }
            8 | 9 => {
                let at = self.telling_place(random);
                if let Some(byte) = at.and_then(|at| bytes.get_mut(at)) {
                    *byte = byte.wrapping_add([1, 0xff, 4, 8, 0x80][random.below(5)]);
                }
            }
            10 => {
                if let (Some(one), Some(two)) =
                    (self.telling_place(random), self.telling_place(random))
                {
                    swap(bytes, one / 4 * 4, two / 4 * 4, 4);
                }
            }
            // A piece is overwritten with another: whole records of one kind where others were.
            _ => {
                if let (Some(from), Some(to)) =
                    (self.telling_place(random), self.telling_place(random))
                {
                    let length = 4 << random.below(5);
                    if from + length <= bytes.len() && to + length <= bytes.len() {
                        bytes.copy_within(from..from + length, to);
                    }
                }
            }
        }
    }

    fn header(&self, random: &mut Random) -> Option<usize> {
        let count = self.headers.len() / HEADER;
        (count > 0).then(|| self.headers.start + random.below(count) * HEADER)
    }

    fn telling_place(&self, random: &mut Random) -> Option<usize> {
        let range = self.telling.get(random.below(self.telling.len()))?;
        Some(range.start + random.below(range.len()))
    }
}

/// Little-endian `value` in `width` bytes, where the file still has them.
fn put(bytes: &mut [u8], at: usize, width: usize, value: u64) {
    let end = at.saturating_add(width);
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

fn swap(bytes: &mut [u8], one: usize, two: usize, width: usize) {
    for offset in 0..width {
        if one.max(two) + offset < bytes.len() {
            bytes.swap(one + offset, two + offset);
        }
    }
}

/// Numbers by chance, the same in every run: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators").
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_number_always_does_the_same_and_each_another() {
        let good = xdplb_loader::PROGRAM;
        let patient = Patient::new("prog", good);
        assert!(patient.headers.len() > 5 * HEADER && patient.telling.len() > 5);
        let mut different = std::collections::BTreeSet::new();
        for number in 0..50 {
            let bad = patient.damaged(number);
            assert_eq!(bad, patient.damaged(number));
            different.insert(bad);
        }
        assert!(different.len() > 40, "{}", different.len());
        assert_ne!(patient.damaged(1), Patient::new("other", good).damaged(1));
    }

    #[test]
    fn what_is_no_object_can_be_damaged_too() {
        for good in [&b""[..], b"x", b"\x7fELF"] {
            for number in 0..100 {
                Patient::new("small", good).damaged(number);
            }
        }
    }
}
