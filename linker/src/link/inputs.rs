//! Pass 1: files become modules. Objects all take part; a member of an archive does when it defines what is missing.
//!
//! Members are pulled until nothing more is found, each for the first name that is missing and that it defines (the first
//! archive's, where several do). Those that were pulled follow the objects by name and contents, so that the order of
//! archives on the command line makes no difference to the bytes. LLVM bitcode is no object: what it would have given
//! is remembered, for the error.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::bitcode::Bitcode;
use super::types_found::EXTERN_SECTIONS;
use super::{Input, LinkError};
use crate::btf::Btf;
use crate::btf_ext::BtfExt;
use crate::elf::{
    self, Binding, MemberKind, Object, Place, Section, Symbol, SymbolIndex, SymbolKind,
};
use crate::{Cause, ParseError};

/// What the files held.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    /// The objects that take part.
    pub(super) modules: Vec<Module<'a>>,
    /// The members of archives that could not, whatever they define.
    pub(super) bitcode: Vec<Bitcode<'a>>,
}

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
#[derive(Debug, Clone)]
pub(super) struct Types {
    pub(super) btf: Btf,
    pub(super) ext: BtfExt,
}

/// The number of a module in the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ModuleId(pub(super) usize);

/// Reads every input. Archives come last: their members are chosen by what the objects want.
pub(super) fn read<'a>(inputs: &[Input<'a>]) -> Result<Inputs<'a>, LinkError> {
    let mut modules = Vec::new();
    let mut candidates = Vec::new();
    let mut bitcode = Vec::new();
    for input in inputs {
        if !elf::is_archive(input.bytes) {
            if elf::is_bitcode(input.bytes) {
                return Err(LinkError::Bitcode {
                    input: input.name.to_owned(),
                });
            }
            let object = object(input.name, input.bytes)?;
            modules.push(module(input.name.to_owned(), object)?);
            continue;
        }
        if elf::is_thin(input.bytes) {
            return Err(LinkError::Thin {
                input: input.name.to_owned(),
            });
        }
        for member in elf::members(input.bytes).map_err(|error| in_input(input.name, error))? {
            let name = format!("{}({})", input.name, member.name);
            match member.kind {
                MemberKind::Object => candidates.push(Candidate {
                    object: object(&name, member.bytes)?,
                    name,
                    key: (member.name, member.bytes),
                }),
                MemberKind::Bitcode => bitcode.push(Bitcode {
                    archive: input.name.to_owned(),
                    name,
                    bytes: member.bytes,
                    symbols: member.symbols,
                }),
                MemberKind::Other => {}
            }
        }
    }
    pull(&mut modules, candidates)?;
    if modules.is_empty() {
        return Err(LinkError::Empty);
    }
    Ok(Inputs { modules, bitcode })
}

fn in_input(input: &str, error: ParseError) -> LinkError {
    LinkError::Input {
        input: input.to_owned(),
        error,
    }
}

fn object<'a>(name: &str, bytes: &'a [u8]) -> Result<Object<'a>, LinkError> {
    Object::parse(bytes).map_err(|error| in_input(name, error))
}

fn module<'a>(name: String, mut object: Object<'a>) -> Result<Module<'a>, LinkError> {
    let types = types(&object);
    // Applied, they are not looked at again; .BTF.ext has one for each source line, more than all code has.
    let applied = object.sections.iter_mut();
    for section in applied.filter(|section| section.name.starts_with(".BTF")) {
        section.relocations = Vec::new();
    }
    match types {
        Ok(types) => Ok(Module {
            name,
            object,
            types,
            lost: BTreeSet::new(),
        }),
        Err(error) => Err(in_input(&name, error)),
    }
}

/// A member of an archive that may take part.
struct Candidate<'a> {
    name: String,
    object: Object<'a>,
    /// What its place among those that were pulled depends on.
    key: (String, &'a [u8]),
}

/// Adds the candidates that define what is missing, until nothing is missing that one of them defines.
fn pull<'a>(
    modules: &mut Vec<Module<'a>>,
    candidates: Vec<Candidate<'a>>,
) -> Result<(), LinkError> {
    let mut definers: HashMap<&'a str, usize> = HashMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        for symbol in candidate
            .object
            .symbols
            .iter()
            .filter(|symbol| is_definition(symbol))
        {
            definers.entry(symbol.name).or_insert(index);
        }
    }
    let mut candidates: Vec<Option<Candidate<'a>>> = candidates.into_iter().map(Some).collect();
    let mut defined: HashSet<&'a str> = HashSet::new();
    let mut wanted: VecDeque<&'a str> = VecDeque::new();
    for module in modules.iter() {
        defined.extend(definitions(module));
        wanted.extend(wants(module));
    }
    let mut pulled: BTreeMap<(String, &'a [u8], usize), Module<'a>> = BTreeMap::new();
    while let Some(name) = wanted.pop_front() {
        let Some(index) = definers.get(name).filter(|_| !defined.contains(name)) else {
            continue;
        };
        if let Some(Candidate { name, object, key }) = candidates[*index].take() {
            let module = module(name, object)?;
            defined.extend(definitions(&module));
            wanted.extend(wants(&module));
            // The index tells members apart that are the same twice.
            pulled.insert((key.0, key.1, *index), module);
        }
    }
    modules.extend(pulled.into_values());
    Ok(())
}

fn definitions<'a>(module: &Module<'a>) -> impl Iterator<Item = &'a str> {
    let symbols = module.object.symbols.iter();
    symbols
        .filter(|symbol| is_definition(symbol))
        .map(|symbol| symbol.name)
}

/// The names that a module wants of others. What the kernel or the loader gives is not missing.
fn wants<'a>(module: &Module<'a>) -> impl Iterator<Item = &'a str> {
    let given: BTreeSet<&str> = match &module.types {
        Some(types) => EXTERN_SECTIONS
            .iter()
            .filter_map(|section| types.btf.datasec(section))
            .flat_map(|(_, section)| &section.vars)
            .map(|var| types.btf.type_name(var.ty))
            .collect(),
        None => BTreeSet::new(),
    };
    module
        .object
        .symbols
        .iter()
        .filter(move |symbol| {
            symbol.place == Place::Undefined
                && symbol.binding == Binding::Global
                && !given.contains(symbol.name)
        })
        .map(|symbol| symbol.name)
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
