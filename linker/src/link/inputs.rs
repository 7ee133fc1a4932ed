//! Pass 1: files become modules. Objects all take part; a member of an archive does when it defines what is missing.

use std::collections::BTreeSet;

use super::{Input, LinkError};
use crate::btf::Btf;
use crate::btf_ext::BtfExt;
use crate::elf::{self, Binding, Object, Place, Section, Symbol, SymbolIndex, SymbolKind};
use crate::{Cause, ParseError};

/// One object that takes part in the link.
#[derive(Debug)]
pub(super) struct Module<'a> {
    /// What errors call it: `prog.o` or `libcore.rlib(core.o)`.
    pub(super) name: String,
    /// Its sections, symbols and relocations.
    pub(super) object: Object<'a>,
    /// Its types, where it has some.
    pub(super) types: Option<Types>,
    /// Its definitions that gave way to those of other modules: weak ones, and common ones.
    pub(super) lost: BTreeSet<SymbolIndex>,
}

impl Module<'_> {
    /// The names of the definitions that gave way.
    pub(super) fn lost_names(&self) -> impl Iterator<Item = &str> {
        self.lost.iter().map(|id| self.object.symbols[id.0].name)
    }
}

/// The types of a module. Offsets in them are bytes from the start of the module's own sections.
#[derive(Debug)]
pub(super) struct Types {
    pub(super) btf: Btf,
    pub(super) ext: BtfExt,
}

/// The number of a module in the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ModuleId(pub(super) usize);

/// Reads every input. Archives come last: their members are chosen by what the objects want.
pub(super) fn read<'a>(inputs: &[Input<'a>]) -> Result<Vec<Module<'a>>, LinkError> {
    let mut modules = Vec::new();
    let mut candidates = Vec::new();
    for input in inputs {
        if elf::is_archive(input.bytes) {
            for member in elf::members(input.bytes).map_err(|error| in_input(input.name, error))? {
                let name = format!("{}({})", input.name, member.name);
                candidates.push(module(name, member.bytes)?);
            }
        } else {
            modules.push(module(input.name.to_owned(), input.bytes)?);
        }
    }
    pull(&mut modules, candidates);
    if modules.is_empty() {
        return Err(LinkError::Empty);
    }
    Ok(modules)
}

fn in_input(input: &str, error: ParseError) -> LinkError {
    LinkError::Input {
        input: input.to_owned(),
        error,
    }
}

fn module(name: String, bytes: &[u8]) -> Result<Module<'_>, LinkError> {
    let read = || -> Result<_, ParseError> {
        let object = Object::parse(bytes)?;
        let types = types(&object)?;
        Ok((object, types))
    };
    match read() {
        Ok((object, types)) => Ok(Module {
            name,
            object,
            types,
            lost: BTreeSet::new(),
        }),
        Err(error) => Err(in_input(&name, error)),
    }
}

/// Takes in candidates until none of them defines a symbol that is still missing, or all did. Without any object to
/// begin with, an archive is linked whole.
fn pull<'a>(modules: &mut Vec<Module<'a>>, mut candidates: Vec<Module<'a>>) {
    if modules.is_empty() {
        modules.append(&mut candidates);
    }
    loop {
        let mut missing = missing(modules);
        let before = modules.len();
        let mut left = Vec::new();
        for candidate in candidates {
            let symbols = &candidate.object.symbols;
            if symbols
                .iter()
                .any(|symbol| is_definition(symbol) && missing.contains(symbol.name))
            {
                for symbol in symbols.iter().filter(|symbol| is_definition(symbol)) {
                    missing.remove(symbol.name);
                }
                modules.push(candidate);
            } else {
                left.push(candidate);
            }
        }
        if modules.len() == before {
            return;
        }
        // The newcomers may want something themselves.
        candidates = left;
    }
}

/// The names that some module wants and none defines. They borrow from the files, so that the list of modules may grow.
fn missing<'a>(modules: &[Module<'a>]) -> BTreeSet<&'a str> {
    let symbols = || modules.iter().flat_map(|module| &module.object.symbols);
    let mut missing: BTreeSet<&str> = symbols()
        .filter(|symbol| symbol.place == Place::Undefined && symbol.binding == Binding::Global)
        .map(|symbol| symbol.name)
        .collect();
    for symbol in symbols().filter(|symbol| is_definition(symbol)) {
        missing.remove(symbol.name);
    }
    missing
}

/// Whether other modules can refer to what this symbol defines.
pub(super) fn is_definition(symbol: &Symbol<'_>) -> bool {
    matches!(symbol.place, Place::Section(_) | Place::Common)
        && symbol.binding != Binding::Local
        && !symbol.name.is_empty()
}

/// .BTF and .BTF.ext with their relocations applied: a compiler leaves offsets 0 there and says by relocation which
/// symbol's offset it means.
fn types(object: &Object<'_>) -> Result<Option<Types>, ParseError> {
    let Some((_, section)) = object.section_named(".BTF") else {
        return Ok(None);
    };
    let btf = Btf::parse(&relocated(object, section)?)?;
    let ext = match object.section_named(".BTF.ext") {
        Some((_, section)) => BtfExt::parse(&relocated(object, section)?)?,
        None => BtfExt::default(),
    };
    check(&btf, &ext)?;
    Ok(Some(Types { btf, ext }))
}

fn relocated(object: &Object<'_>, section: &Section<'_>) -> Result<Vec<u8>, ParseError> {
    let mut bytes = section.data.to_vec();
    for relocation in &section.relocations {
        let symbol = &object.symbols[relocation.symbol.0];
        let at = relocation.offset as usize;
        // The reader checked that the place lies in the section; a section without bytes in the file has none.
        let Some(word) = bytes
            .get_mut(at..)
            .and_then(|tail| tail.first_chunk_mut::<4>())
        else {
            return Err(ParseError::new(
                section.name,
                relocation.offset,
                Cause::Truncated {
                    what: "place of a relocation",
                    need: 4,
                    have: 0,
                },
            ));
        };
        if matches!(
            symbol.kind,
            SymbolKind::Section | SymbolKind::Object | SymbolKind::Func | SymbolKind::Untyped
        ) {
            let value = u32::from_le_bytes(*word).wrapping_add(symbol.value as u32);
            *word = value.to_le_bytes();
        }
    }
    Ok(bytes)
}

/// .BTF.ext refers to types and strings of .BTF: all of them must exist.
fn check(btf: &Btf, ext: &BtfExt) -> Result<(), ParseError> {
    let dangling = |what, index: u32, count: usize| {
        Err(ParseError::new(
            ".BTF.ext",
            0,
            Cause::Dangling {
                what,
                index: u64::from(index),
                count: count as u64,
            },
        ))
    };
    let ids = ext
        .func_info
        .iter()
        .flat_map(|group| group.records.iter().map(|record| record.type_id))
        .chain(
            ext.core_relos
                .iter()
                .flat_map(|group| group.records.iter().map(|record| record.type_id)),
        );
    for id in ids {
        if id.0 as usize > btf.len() {
            return dangling("type id", id.0, btf.len());
        }
    }
    Ok(())
}
