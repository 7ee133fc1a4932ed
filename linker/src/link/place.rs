//! Pass 6: every live atom gets its place in the output.

use std::collections::BTreeMap;

use super::LinkError;
use super::atoms::{AtomId, Atoms, Home};
use super::live::Live;

/// Most bytes in the file, of one section and of all. The kernel takes programs of 1,000,000 instructions (8 MB).
const MAX_BYTES: u64 = 64 << 20;
/// Largest section of zeros: offsets in BTF are 32 bits.
const MAX_ZEROS: u64 = i32::MAX as u64;

/// The output's sections and who lies where.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) sections: Vec<PlacedSection<'a>>,
    places: BTreeMap<AtomId, Location>,
}

/// One section of the output.
#[derive(Debug)]
pub(super) struct PlacedSection<'a> {
    pub(super) home: Home<'a>,
    pub(super) align: u64,
    pub(super) size: u64,
    /// What lies in it, by ascending offset.
    pub(super) atoms: Vec<AtomId>,
}

/// A place in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    /// The index in [`Layout::sections`].
    pub(super) section: usize,
    /// Bytes from the start of the section.
    pub(super) offset: u64,
}

impl Layout<'_> {
    /// Where a live atom lies; `None` for one that is not live.
    pub(super) fn place(&self, id: AtomId) -> Option<Location> {
        self.places.get(&id).copied()
    }
}

/// Puts the atoms of a section one after the other, in the order of the inputs, each at its alignment.
pub(super) fn layout<'a>(atoms: &Atoms<'a>, live: &Live) -> Result<Layout<'a>, LinkError> {
    let mut sections: Vec<PlacedSection<'a>> = Vec::new();
    let mut by_home: BTreeMap<Home<'a>, usize> = BTreeMap::new();
    for id in atoms.ids().filter(|id| live.contains(*id)) {
        let atom = atoms.get(id);
        let index = *by_home.entry(atom.home).or_insert_with(|| {
            sections.push(PlacedSection {
                home: atom.home,
                align: 1,
                size: 0,
                atoms: Vec::new(),
            });
            sections.len() - 1
        });
        sections[index].atoms.push(id);
    }
    // Stable: programs stay in the order in which they came.
    sections.sort_by_key(|section| rank(section.home));

    let mut places = BTreeMap::new();
    let mut total: u64 = 0;
    for (index, section) in sections.iter_mut().enumerate() {
        let limit = match section.home {
            Home::Zeroed(_) => MAX_ZEROS,
            Home::Program(_) | Home::Text | Home::ReadOnly(_) | Home::Data(_) | Home::Named(_) => {
                MAX_BYTES
            }
        };
        let in_file = has_bytes(section.home)
            || section
                .atoms
                .iter()
                .any(|id| !atoms.get(*id).data.is_empty());
        for id in &section.atoms {
            let atom = atoms.get(*id);
            // Sizes and alignments are bounded by the reader: no sum of two overflows.
            let offset = section.size.next_multiple_of(atom.align);
            // A variable of no bytes takes one: its address must lie inside the map that its section becomes
            // (`array_map_direct_value_addr` in kernel/bpf/arraymap.c).
            section.size = offset + (atom.end - atom.start).max(1);
            section.align = section.align.max(atom.align);
            if section.size > limit {
                return Err(LinkError::TooLarge {
                    section: section.home.name().to_owned(),
                    size: section.size,
                    limit,
                });
            }
            if in_file {
                total += atom.end - atom.start;
            }
            if total > MAX_BYTES {
                return Err(LinkError::TooLarge {
                    section: format!("{} (with all before it)", section.home.name()),
                    size: total,
                    limit: MAX_BYTES,
                });
            }
            let location = Location {
                section: index,
                offset,
            };
            places.insert(*id, location);
        }
    }
    Ok(Layout { sections, places })
}

/// Whether a section of this kind takes its bytes in the file even where all are zeros.
fn has_bytes(home: Home<'_>) -> bool {
    match home {
        Home::Zeroed(_) | Home::Named(_) => false,
        Home::Program(_) | Home::Text | Home::ReadOnly(_) | Home::Data(_) => true,
    }
}

/// Programs first, as one reads them; then what they call, their data, and what only the loader reads.
fn rank(home: Home<'_>) -> u8 {
    match home {
        Home::Program(_) => 0,
        Home::Text => 1,
        Home::ReadOnly(_) => 2,
        Home::Data(_) => 3,
        Home::Zeroed(_) => 4,
        Home::Named(".maps") => 5,
        Home::Named(_) => 6,
    }
}
