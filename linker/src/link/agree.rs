//! Pass 3, second half: objects that share a name mean the same by it.
//!
//! The compiler sees one file at a time and takes a declaration's word for it. Here both sides are known: a call with
//! other parameters than the function's, or a map whose key is larger than its definition says, is an error that names
//! both files, instead of a program that reads what is not there.

use std::collections::{BTreeMap, BTreeSet};

use super::LinkError;
use super::inputs::{Module, Types, is_definition};
use super::resolve::is_agreed;
use super::source::readable;
use super::types_found::EXTERN_SECTIONS;
use crate::btf::{self, Btf, Kind, Likeness, Linkage, TypeId};
use crate::elf::Place;

/// Compares every declaration, and every definition that gave way, with the definition that stays; and what the kernel or
/// the loader defines with what the first module takes it for.
pub(super) fn types(modules: &[Module<'_>]) -> Result<(), LinkError> {
    let definitions = definitions(modules);
    let mut declared: BTreeMap<&str, Definition<'_>> = BTreeMap::new();
    for module in modules {
        let Some(types) = &module.types else {
            continue; // what it means is not known
        };
        for (name, id) in given(types).filter(|(name, _)| !definitions.contains_key(name)) {
            let first = declared.entry(name).or_insert(Definition {
                module: &module.name,
                btf: &types.btf,
                id,
                likeness: Likeness::Use,
            });
            compare(name, module, (&types.btf, id), first)?;
        }
        let lost: BTreeSet<&str> = module.lost_names().collect();
        for (name, id, linkage) in shared(types) {
            let declares = match linkage {
                Linkage::Static => false,
                Linkage::Global => lost.contains(name),
                Linkage::Extern => true,
            };
            let Some(Some(definition)) = definitions.get(name).filter(|_| declares) else {
                continue;
            };
            compare(name, module, (&types.btf, id), definition)?;
        }
    }
    Ok(())
}

fn compare(
    name: &str,
    module: &Module<'_>,
    here: (&Btf, TypeId),
    there: &Definition<'_>,
) -> Result<(), LinkError> {
    let Some(difference) = btf::difference(here, (there.btf, there.id), there.likeness) else {
        return Ok(());
    };
    let path = match difference.path.as_str() {
        "" => String::new(),
        path => format!("{path}: "),
    };
    Err(LinkError::TypesDiffer {
        symbol: readable(name),
        first: there.module.to_owned(),
        second: module.name.clone(),
        difference: format!("{path}{} here, {} there", difference.one, difference.two),
    })
}

/// What a module wants of the kernel or the loader. A variable of type `void` says nothing that others could gainsay.
fn given(types: &Types) -> impl Iterator<Item = (&str, TypeId)> {
    EXTERN_SECTIONS
        .iter()
        .filter_map(|section| types.btf.datasec(section))
        .flat_map(|(_, section)| &section.vars)
        .filter(|var| match types.btf.get(var.ty).map(|ty| &ty.kind) {
            Some(Kind::Var(var)) => types.btf.resolve(var.ty).is_some(),
            _ => true,
        })
        .map(|var| (types.btf.type_name(var.ty), var.ty))
}

/// A license is said once, and so is a kernel version: who says it again must say the same. A NUL behind the text is
/// none of it.
pub(super) fn sections(modules: &[Module<'_>]) -> Result<(), LinkError> {
    let mut said: BTreeMap<&str, (&Module<'_>, &[u8])> = BTreeMap::new();
    for module in modules {
        for section in module
            .object
            .sections
            .iter()
            .filter(|section| section.allocated)
        {
            if !is_agreed(section.name) || section.size == 0 {
                continue;
            }
            let here = match section.name {
                "license" => section.data.split(|byte| *byte == 0).next().unwrap_or(&[]),
                _ => section.data,
            };
            let (first, there) = *said.entry(section.name).or_insert((module, here));
            if here != there {
                return Err(LinkError::Disagree {
                    section: section.name.to_owned(),
                    first: first.name.clone(),
                    second: module.name.clone(),
                    here: in_words(section.name, here),
                    there: in_words(section.name, there),
                });
            }
        }
    }
    Ok(())
}

/// A text in quotes; a version as a number.
fn in_words(section: &str, bytes: &[u8]) -> String {
    match (section, bytes.first_chunk()) {
        ("version", Some(word)) => format!("{:#x}", u32::from_le_bytes(*word)),
        _ => {
            let text = String::from_utf8_lossy(bytes);
            format!("{:?}", text.chars().take(80).collect::<String>())
        }
    }
}

/// What a name that modules share is defined as.
struct Definition<'m> {
    module: &'m str,
    btf: &'m Btf,
    id: TypeId,
    likeness: Likeness,
}

/// The definition of each shared name; `None` where the types do not say which of several of that name it is (types
/// know Rust's `a::new` and `b::new` as `new`).
fn definitions<'m>(modules: &'m [Module<'_>]) -> BTreeMap<&'m str, Option<Definition<'m>>> {
    let mut definitions = BTreeMap::new();
    for module in modules {
        let Some(types) = &module.types else {
            continue;
        };
        let mut likeness: BTreeMap<&str, Likeness> = BTreeMap::new();
        for (id, symbol) in module.object.symbols() {
            if let (Place::Section(at), true) = (symbol.place, is_definition(symbol))
                && !module.lost.contains(&id)
            {
                let is_map = module.object.sections[at.0].name == ".maps";
                let like = if is_map { Likeness::Map } else { Likeness::Use };
                likeness.insert(symbol.name, like);
            }
        }
        for (name, id, linkage) in shared(types) {
            if let (Some(likeness), Linkage::Global) = (likeness.get(name), linkage) {
                let definition = Definition {
                    module: &module.name,
                    btf: &types.btf,
                    id,
                    likeness: *likeness,
                };
                definitions
                    .entry(name)
                    .and_modify(|known| *known = None)
                    .or_insert(Some(definition));
            }
        }
    }
    definitions
}

/// The functions and variables of a module's types.
fn shared(types: &Types) -> impl Iterator<Item = (&str, TypeId, Linkage)> {
    types.btf.iter().filter_map(|(id, ty)| {
        let linkage = match &ty.kind {
            Kind::Func(func) => func.linkage,
            Kind::Var(var) => var.linkage,
            _ => return None,
        };
        Some((types.btf.name(ty.name), id, linkage))
    })
}
