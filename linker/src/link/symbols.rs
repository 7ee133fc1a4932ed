//! Pass 1, second half: of several definitions of one name, one stays.
//!
//! | two definitions            | what stays |
//! |----------------------------|------------|
//! | in COMDAT groups of one signature | the first group; the sections of the others are dropped |
//! | strong, strong             | an error that names both files (but for `license` and `version`, which all may say) |
//! | strong, weak               | the strong one |
//! | weak, weak                 | the first |
//! | common (`int x;` with `-fcommon`), defined | the definition, unless it is weak |
//! | common, common             | one, of the larger size and the larger alignment, in `.bss` |
//!
//! The rules are ELF's (gABI, "Symbol Table") and those of `linker_append_elf_sym` in libbpf's src/linker.c. As there, a
//! name that is hidden in one file is hidden in all: a hidden function is a static one to the verifier.

use std::collections::{BTreeMap, BTreeSet};

use super::LinkError;
use super::inputs::{Module, is_definition};
use super::resolve::is_agreed;
use super::source::readable;
use crate::elf::{
    Binding, Place, Section, SectionIndex, SectionKind, SymbolIndex, SymbolKind, Visibility,
};
use crate::{Cause, ParseError};

/// Largest common variable, and its largest alignment: the reader's limits for sections.
const MAX_COMMON: u64 = i32::MAX as u64;
const MAX_ALIGN: u64 = 64 * 1024;

/// Settles which definition each name has. Those that gave way are in [`Module::lost`] afterwards.
pub(super) fn settle(modules: &mut [Module<'_>]) -> Result<(), LinkError> {
    keep_one_of_each_group(modules);
    let winners = choose(modules)?;
    // From here on each name has one definition that is not lost.
    give_room_to_commons(modules, &winners)?;
    hide(modules, &winners);
    Ok(())
}

/// Where a definition is: module and symbol.
type Definition = (usize, SymbolIndex);

/// The definitions of one name.
struct Winner {
    at: Definition,
    rank: Rank,
    /// The largest size and alignment of the common definitions.
    common: Option<(u64, u64)>,
}

/// How strong a definition is; the stronger wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Weak,
    Common,
    Strong,
}

fn keep_one_of_each_group(modules: &mut [Module<'_>]) {
    let mut kept: BTreeSet<String> = BTreeSet::new();
    for module in modules {
        let mut dropped: BTreeSet<SectionIndex> = BTreeSet::new();
        for group in &module.object.groups {
            if !kept.insert(group.signature.to_owned()) {
                dropped.extend(&group.sections);
            }
        }
        if dropped.is_empty() {
            continue;
        }
        for section in &dropped {
            let section = &mut module.object.sections[section.0];
            section.allocated = false;
            section.relocations.clear();
        }
        for symbol in &mut module.object.symbols {
            let is_dropped = matches!(symbol.place, Place::Section(at) if dropped.contains(&at));
            if is_dropped && symbol.binding != Binding::Local {
                // Who names it means the copy that stays.
                symbol.place = Place::Undefined;
                symbol.value = 0;
            }
        }
    }
}

fn choose<'a>(modules: &mut [Module<'a>]) -> Result<BTreeMap<&'a str, Winner>, LinkError> {
    let mut winners: BTreeMap<&'a str, Winner> = BTreeMap::new();
    let mut lost: Vec<Definition> = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        for (id, symbol) in module.object.symbols() {
            if !is_definition(symbol) {
                continue;
            }
            let rank = match (symbol.place, symbol.binding) {
                (_, Binding::Weak) => Rank::Weak,
                (Place::Common, _) => Rank::Common,
                (Place::Section(_) | Place::Undefined | Place::Absolute, _) => Rank::Strong,
            };
            let room = (rank == Rank::Common).then_some((symbol.size, symbol.value.max(1)));
            let at = (index, id);
            let Some(winner) = winners.get_mut(symbol.name) else {
                let common = room;
                winners.insert(symbol.name, Winner { at, rank, common });
                continue;
            };
            if rank == Rank::Strong && winner.rank == Rank::Strong && !is_shared(module, id) {
                return Err(LinkError::Duplicate {
                    symbol: readable(symbol.name),
                    first: modules[winner.at.0].name.clone(),
                    second: module.name.clone(),
                });
            }
            winner.common = match (winner.common, room) {
                (Some(one), Some(two)) => Some((one.0.max(two.0), one.1.max(two.1))),
                (one, two) => one.or(two),
            };
            if rank > winner.rank {
                lost.push(winner.at);
                winner.at = at;
                winner.rank = rank;
            } else {
                lost.push(at);
            }
        }
    }
    for (module, symbol) in lost {
        modules[module].lost.insert(symbol);
    }
    Ok(winners)
}

/// Every C file says `license`; that they agree is checked where the section is kept once.
fn is_shared(module: &Module<'_>, symbol: SymbolIndex) -> bool {
    match module.object.symbols[symbol.0].place {
        Place::Section(section) => is_agreed(module.object.sections[section.0].name),
        Place::Undefined | Place::Absolute | Place::Common => false,
    }
}

/// A common variable that stays gets a section of zeros of its own; those that gave way become references to it.
fn give_room_to_commons(
    modules: &mut [Module<'_>],
    winners: &BTreeMap<&str, Winner>,
) -> Result<(), LinkError> {
    for winner in winners.values() {
        let (Rank::Common, Some((size, align))) = (winner.rank, winner.common) else {
            continue;
        };
        let module = &mut modules[winner.at.0];
        let symbol = &module.object.symbols[winner.at.1.0];
        let refuse = |cause| {
            Err(LinkError::Input {
                input: module.name.clone(),
                error: ParseError::new(format!("symbol {}", symbol.name), 0, cause),
            })
        };
        if size > MAX_COMMON {
            let (what, limit) = ("common variable", MAX_COMMON);
            return refuse(Cause::TooLarge { what, size, limit });
        }
        if !align.is_power_of_two() || align > MAX_ALIGN {
            return refuse(Cause::Value {
                what: "alignment",
                value: align,
                why: "a power of two up to 65536 is expected",
            });
        }
        let section = SectionIndex(module.object.sections.len());
        module.object.sections.push(Section {
            name: ".bss",
            kind: SectionKind::Zeroed,
            type_number: object::elf::SHT_NOBITS.0,
            file_offset: 0,
            allocated: true,
            executable: false,
            writable: true,
            align,
            size,
            data: &[],
            relocations: Vec::new(),
        });
        let symbol = &mut module.object.symbols[winner.at.1.0];
        symbol.place = Place::Section(section);
        symbol.value = 0;
        symbol.size = size;
        symbol.kind = SymbolKind::Object;
    }
    for module in modules {
        for symbol in &mut module.object.symbols {
            if symbol.place == Place::Common {
                symbol.place = Place::Undefined;
                symbol.value = 0;
            }
        }
    }
    Ok(())
}

/// A name that some file hides is hidden.
fn hide(modules: &mut [Module<'_>], winners: &BTreeMap<&str, Winner>) {
    let hidden: BTreeSet<&str> = modules
        .iter()
        .flat_map(|module| &module.object.symbols)
        .filter(|symbol| symbol.visibility == Visibility::Hidden)
        .filter(|symbol| symbol.binding != Binding::Local)
        .map(|symbol| symbol.name)
        .collect();
    for name in hidden {
        if let Some(Winner { at, .. }) = winners.get(name) {
            modules[at.0].object.symbols[at.1.0].visibility = Visibility::Hidden;
        }
    }
}
