//! Maps as they were defined before BTF: sections `maps` (or `maps/NAME`, one map each) hold structs of 32-bit words.
//!
//! The first five words are the same everywhere: type, key size, value size, entries, flags; the oldest samples have only
//! four. What follows differs by author, and nothing in the object names the author:
//!
//! | words | sixth | seventh | eighth, ninth | whose |
//! |---|---|---|---|---|
//! | 4, 5 | | | | samples/bpf, libbpf, redbpf |
//! | 6, 7 | index of the inner map | NUMA node | | samples/bpf (`bpf_load.c`), katran |
//! | 7 | id | pinning | | aya, cilium without `SOCKMAP` |
//! | 9 | id | pinning | id of the inner map, slot in the outer one | iproute2, cilium (`bpf_elf.h`) |
//! | 6 and 256 bytes | pinning | text | text | gobpf |
//!
//! So the size decides, and where two authors share a size what the fields can mean does: a NUMA node only counts with
//! `BPF_F_NUMA_NODE` (else the word is a pinning), an inner map only in a map of maps (else it is an id).

use xdplb_linker::btf::{Btf, Kind, TypeId};
use xdplb_linker::elf::{Object, Place, Section, SectionIndex, SectionKind, Symbol, SymbolKind};

use super::{MapSpec, Pinning, SlotValue};
use super::{ObjectError, ProgramSpec, SectionKind as Says};
use crate::uapi::{MapType, map_flags};

/// The smallest definition: type, key size, value size, entries.
const SHORTEST: u64 = 16;
/// What iproute2 writes for a map that no outer map holds from the start (`NO_PREPOPULATE`).
const NO_SLOT: u32 = u32::MAX;

/// Which section of maps this is.
enum Form<'a> {
    /// `maps`: as many as there are symbols.
    Many,
    /// `maps/NAME`: one.
    One(&'a str),
}

/// What the words after the fifth say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extra {
    /// Index among the maps of its section.
    inner_index: Option<u32>,
    /// iproute2's number for the map; 0 is none.
    id: u32,
    /// iproute2: the id of the map that this one's slots look like.
    inner_id: u32,
    /// iproute2: where this one goes in the outer map.
    slot: Option<u32>,
}

/// Reads the maps of all such sections, in the order of the file.
/// What is wrong with one is its own error.
pub(super) fn read(object: &Object<'_>, btf: Option<&Btf>) -> Vec<MapSpec> {
    let mut maps = Vec::new();
    for (index, section) in object.sections() {
        let form = match section.name {
            "maps" => Form::Many,
            name => match name.strip_prefix("maps/") {
                Some(name) => Form::One(name),
                None => continue,
            },
        };
        if section.kind != SectionKind::Bytes || section.executable || section.size == 0 {
            continue;
        }
        maps.extend(section_maps(object, index, section, &form, btf));
    }
    let extras: Vec<Extra> = maps.iter().map(|(_, extra)| *extra).collect();
    let mut maps: Vec<MapSpec> = maps.into_iter().map(|(map, _)| map).collect();
    join(&mut maps, &extras);
    maps
}

fn section_maps(
    object: &Object<'_>,
    index: SectionIndex,
    section: &Section<'_>,
    form: &Form<'_>,
    btf: Option<&Btf>,
) -> Vec<(MapSpec, Extra)> {
    let mut symbols: Vec<&Symbol<'_>> = object
        .symbols
        .iter()
        .filter(|symbol| symbol.place == Place::Section(index))
        .filter(|symbol| matches!(symbol.kind, SymbolKind::Object | SymbolKind::Untyped))
        .filter(|symbol| !symbol.name.is_empty())
        .collect();
    symbols.sort_by_key(|symbol| symbol.value);
    symbols.dedup_by_key(|symbol| symbol.value);
    let name = |symbol: &Symbol<'_>| match form {
        Form::Many => symbol.name.to_string(),
        Form::One(name) => (*name).to_string(),
    };
    let places: Vec<(String, u64, u64)> = match (form, symbols.as_slice()) {
        // Without a symbol, as in what some Rust loaders wrote, the section is the definition.
        (Form::One(name), [] | [_]) => vec![((*name).to_string(), 0, section.size)],
        (Form::Many, []) => {
            let mut map = MapSpec::new(section.name, (index, 0));
            let cause = "no symbol says where a map is in this section";
            map.broken = Some(ObjectError::in_section(section.name, cause));
            return vec![(map, Extra::default())];
        }
        (Form::Many | Form::One(_), symbols) => symbols
            .iter()
            .enumerate()
            .map(|(at, symbol)| {
                let next = symbols.get(at + 1).map_or(section.size, |next| next.value);
                let room = next.saturating_sub(symbol.value);
                let size = if symbol.size == 0 {
                    room
                } else {
                    symbol.size.min(room)
                };
                (name(symbol), symbol.value, size)
            })
            .collect(),
    };
    places
        .into_iter()
        .map(|(name, at, size)| {
            let bytes = usize::try_from(at)
                .ok()
                .and_then(|at| section.data.get(at..))
                .and_then(|rest| rest.get(..usize::try_from(size).ok()?))
                .unwrap_or_default();
            let mut map = MapSpec::new(&name, (index, at));
            let extra = match definition(&mut map, bytes, section.name, at) {
                Ok(extra) => extra,
                Err(why) => {
                    map.broken = Some(why);
                    Extra::default()
                }
            };
            map.id = extra.id;
            if let Some(btf) = btf {
                annotate(&mut map, btf);
            }
            (map, extra)
        })
        .collect()
}

/// One definition.
fn definition(
    map: &mut MapSpec,
    bytes: &[u8],
    section: &str,
    at: u64,
) -> Result<Extra, ObjectError> {
    if (bytes.len() as u64) < SHORTEST {
        let cause = format!(
            "map `{}`: its definition takes {} bytes, type, sizes and entries take {SHORTEST}",
            map.name,
            bytes.len()
        );
        return Err(ObjectError::at(section, at, cause));
    }
    let (chunks, _) = bytes.as_chunks::<4>();
    let word = |index: usize| chunks.get(index).map(|chunk| u32::from_le_bytes(*chunk));
    let or_zero = |index| word(index).unwrap_or(0);
    map.map_type = MapType(or_zero(0));
    map.key_size = or_zero(1);
    map.value_size = or_zero(2);
    map.max_entries = or_zero(3);
    map.map_flags = or_zero(4);
    if map.map_type == MapType::UNSPEC {
        let cause = format!("map `{}`: its type is 0", map.name);
        return Err(ObjectError::at(section, at, cause));
    }
    let mut extra = Extra::default();
    let mut pinning = 0;
    match chunks.len() {
        ..=5 => {}
        6 | 7 => {
            if map.map_type.is_map_of_maps() {
                extra.inner_index = word(5);
            } else {
                extra.id = or_zero(5);
            }
            if map.map_flags & map_flags::NUMA_NODE != 0 {
                map.numa_node = or_zero(6);
            } else {
                pinning = or_zero(6);
            }
        }
        8..=16 => {
            extra.id = or_zero(5);
            pinning = or_zero(6);
            extra.inner_id = or_zero(7);
            extra.slot = word(8).filter(|&slot| slot != NO_SLOT);
        }
        _ => pinning = or_zero(5),
    }
    // iproute2 and gobpf tell name spaces apart (this object's, all objects'); here there is one directory of pins.
    if (1..=3).contains(&pinning) {
        map.pinning = Pinning::ByName;
    }
    Ok(extra)
}

/// Gives maps of maps their inner map: by index (samples/bpf) or by id (iproute2).
fn join(maps: &mut [MapSpec], extras: &[Extra]) {
    let originals = maps.to_vec();
    for (outer, extra) in maps.iter_mut().zip(extras) {
        if !outer.map_type.is_map_of_maps() {
            continue;
        }
        let same_section = originals.iter().filter(|map| map.place.0 == outer.place.0);
        let inner = match extra.inner_index {
            Some(index) => same_section.clone().nth(index as usize),
            None if extra.inner_id != 0 => originals
                .iter()
                .zip(extras)
                .find(|(_, other)| other.id == extra.inner_id)
                .map(|(map, _)| map),
            None => None,
        };
        let inner = inner.filter(|inner| !inner.map_type.is_map_of_maps());
        if let Some(inner) = inner {
            let mut inner = inner.clone();
            inner.pinning = Pinning::None;
            outer.inner = Some(Box::new(inner));
        }
        if extra.inner_id == 0 {
            continue;
        }
        let slots = originals.iter().zip(extras).filter_map(|(map, other)| {
            let slot = other.slot.filter(|_| other.id == extra.inner_id)?;
            (slot < outer.max_entries).then(|| (slot, SlotValue::Map(map.name.clone())))
        });
        outer.values.extend(slots);
    }
}

/// The types of key and value, from what `BPF_ANNOTATE_KV_PAIR` leaves: `struct ____btf_map_NAME { key; value; }`.
fn annotate(map: &mut MapSpec, btf: &Btf) {
    let name = format!("____btf_map_{}", map.name);
    let Some(id) = btf.find(&name, |kind| matches!(kind, Kind::Struct(_))) else {
        return;
    };
    let Some(Kind::Struct(pair)) = btf.get(id).map(|ty| &ty.kind) else {
        return;
    };
    let typed = |member: &str, size: u32| -> Option<TypeId> {
        let member = pair.members.iter().find(|m| btf.name(m.name) == member)?;
        (btf.size_of(member.ty) == Some(size.into())).then_some(member.ty)
    };
    if let (Some(key), Some(value)) = (typed("key", map.key_size), typed("value", map.value_size)) {
        (map.key_type, map.value_type) = (key, value);
    }
}

/// Puts programs into program arrays as iproute2 does, by the names of their sections: `ID/SLOT`, the id of the array and the
/// slot (`bpf_fill_prog_arrays` in its lib/bpf_legacy.c). Such a section says no type; it is that of the object's others.
pub(super) fn fill_tail_calls(maps: &mut [MapSpec], programs: &mut [ProgramSpec]) {
    let kind = programs.iter().find_map(|program| match &program.kind {
        Says::Known(kind) => Some(kind.clone()),
        Says::Unsupported { .. } | Says::Unknown => None,
    });
    for program in programs {
        let Some((id, slot)) = tail_call(&program.section) else {
            continue;
        };
        let array = maps
            .iter_mut()
            .find(|map| map.id == id && map.map_type == MapType::PROG_ARRAY);
        let Some(array) = array.filter(|array| slot < array.max_entries) else {
            continue;
        };
        let value = SlotValue::Program(program.name.clone());
        array.values.push((slot, value));
        if let (Says::Unknown, Some(kind)) = (&program.kind, &kind) {
            program.kind = Says::Known(kind.clone());
        }
    }
}

/// `ID/SLOT`, decimal or `0x…`.
fn tail_call(section: &str) -> Option<(u32, u32)> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let (id, slot) = section.split_once('/')?;
    Some((number(id).filter(|&id| id != 0)?, number(slot)?))
}
