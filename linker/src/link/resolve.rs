//! Pass 3: every relocation finds what it refers to.

use std::collections::BTreeMap;

use super::atoms::{Atom, AtomId, Atoms};
use super::inputs::{Module, ModuleId, is_definition};
use super::source::{readable, site};
use super::{LinkError, Problem};
use crate::elf::{
    Binding, Place, Relocation, RelocationKind, SectionIndex, Symbol, SymbolIndex, SymbolKind,
};
use crate::insn::{BPF_PSEUDO_CALL, Insn, steps};

/// A place in an atom that refers to something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    /// Bytes from the start of the atom.
    pub(super) offset: u64,
    pub(super) kind: RelocationKind,
    pub(super) target: Target,
}

/// What is referred to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// So many bytes into an atom. One past the end is a place too.
    Atom { atom: AtomId, offset: i64 },
    /// A symbol that no input defines.
    External {
        module: ModuleId,
        symbol: SymbolIndex,
    },
}

/// The references of each atom, by ascending offset.
pub(super) type References = Vec<Vec<Reference>>;

/// The symbols that modules can refer to each other's by.
type Globals<'a> = BTreeMap<&'a str, (ModuleId, SymbolIndex)>;

/// Finds the target of every relocation of every atom, and of every call that the assembler settled by itself.
pub(super) fn references(
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
) -> Result<References, LinkError> {
    let globals = globals(modules);
    let mut references: References = vec![Vec::new(); atoms.all.len()];
    for (index, module) in modules.iter().enumerate() {
        let module_id = ModuleId(index);
        for (section_id, section) in module.object.sections() {
            for relocation in &section.relocations {
                let Some(id) = atoms.at(module_id, section_id, relocation.offset) else {
                    continue; // .BTF and what else does not reach the output
                };
                let atom = atoms.get(id);
                let reference = resolve(modules, atoms, &globals, atom, relocation)?;
                references[id.0].push(reference);
            }
        }
    }
    for id in atoms.ids() {
        if atoms.get(id).home.is_code() {
            settled_calls(atoms, id, &mut references[id.0]);
        }
    }
    Ok(references)
}

/// The definition of each global name: the one that did not give way.
fn globals<'a>(modules: &[Module<'a>]) -> Globals<'a> {
    let mut globals = Globals::new();
    for (index, module) in modules.iter().enumerate() {
        for (id, symbol) in module.object.symbols() {
            if is_definition(symbol) && !module.lost.contains(&id) {
                globals.insert(symbol.name, (ModuleId(index), id));
            }
        }
    }
    globals
}

/// Sections that an object has once, and on which inputs must agree.
pub(super) fn is_agreed(section: &str) -> bool {
    matches!(section, "license" | "version")
}

fn resolve(
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    globals: &Globals<'_>,
    atom: &Atom<'_>,
    relocation: &Relocation,
) -> Result<Reference, LinkError> {
    let module = &modules[atom.module.0];
    let symbol = &module.object.symbols[relocation.symbol.0];
    let offset = relocation.offset - atom.start;
    let fail = |problem| {
        Err(LinkError::At {
            site: Box::new(site(modules, atom, offset)),
            problem,
        })
    };
    let Some(addend) = addend(atom, offset, relocation.kind) else {
        let name = readable(symbol.name);
        return fail(Problem::WrongInsn(relocation.kind.number(), name));
    };
    let (owner, definition) = match globals.get(symbol.name) {
        Some(found) if symbol.binding != Binding::Local => *found,
        _ => (atom.module, relocation.symbol),
    };
    let defined = &modules[owner.0].object.symbols[definition.0];
    let target = match defined.place {
        Place::Section(section) => match locate(atoms, owner, section, defined, addend) {
            Some(target) => target,
            None => {
                let name = modules[owner.0].object.sections[section.0].name;
                return fail(Problem::PastEnd(name.to_owned(), addend));
            }
        },
        Place::Undefined | Place::Absolute | Place::Common => Target::External {
            module: owner,
            symbol: definition,
        },
    };
    Ok(Reference {
        offset,
        kind: relocation.kind,
        target,
    })
}

/// A section symbol with an addend means the place it leads to; a named symbol means what it names, even where the
/// addend leads past it.
fn locate(
    atoms: &Atoms<'_>,
    module: ModuleId,
    section: SectionIndex,
    symbol: &Symbol<'_>,
    addend: i64,
) -> Option<Target> {
    let at = symbol.value.checked_add_signed(addend)?;
    let anchor = if symbol.kind == SymbolKind::Section {
        at
    } else {
        symbol.value
    };
    let id = atoms.at(module, section, anchor)?;
    let atom = atoms.get(id);
    let offset = i64::try_from(at).ok()? - atom.start as i64;
    Some(Target::Atom { atom: id, offset })
}

/// What the place holds already, in bytes to add to the symbol's address. `None` when the place cannot hold a
/// relocation of this kind.
fn addend(atom: &Atom<'_>, offset: u64, kind: RelocationKind) -> Option<i64> {
    let tail = atom.data.get(offset as usize..)?;
    let insn = || tail.first_chunk().map(|bytes| Insn::decode(*bytes));
    match kind {
        RelocationKind::Imm64 => {
            let insn = insn()?;
            let aligned = offset.is_multiple_of(Insn::SIZE as u64) && atom.home.is_code();
            let second = Insn::decode(*tail.get(Insn::SIZE..)?.first_chunk()?);
            (insn.is_ld_imm64() && aligned)
                .then(|| i64::from(second.imm) << 32 | i64::from(insn.imm as u32))
        }
        RelocationKind::Call => {
            let insn = insn()?;
            let aligned = offset.is_multiple_of(Insn::SIZE as u64) && atom.home.is_code();
            (insn.is_call() && aligned).then(|| (i64::from(insn.imm) + 1) * Insn::SIZE as i64)
        }
        RelocationKind::Abs64 => tail.first_chunk().map(|bytes| i64::from_le_bytes(*bytes)),
        RelocationKind::Abs32 | RelocationKind::Nodyld32 => tail
            .first_chunk()
            .map(|bytes| i64::from(i32::from_le_bytes(*bytes))),
    }
}

/// Calls inside one section that the assembler settled without a relocation: when functions move, these must too.
fn settled_calls(atoms: &Atoms<'_>, id: AtomId, references: &mut Vec<Reference>) {
    let atom = atoms.get(id);
    let (chunks, _) = atom.data.as_chunks();
    let insns: Vec<Insn> = chunks.iter().map(|chunk| Insn::decode(*chunk)).collect();
    let known: std::collections::BTreeSet<u64> = references
        .iter()
        .map(|reference| reference.offset)
        .collect();
    for step in steps(&insns) {
        let offset = step.at.byte_offset();
        let address = step.insn.is_pseudo_func();
        let call = step.insn.is_call() && step.insn.src == BPF_PSEUDO_CALL;
        if !(call || address) || known.contains(&offset) {
            continue;
        }
        let here = (atom.start + offset) as i64;
        let there = here + (i64::from(step.insn.imm) + 1) * Insn::SIZE as i64;
        let target = u64::try_from(there)
            .ok()
            .and_then(|there| atoms.at(atom.module, atom.section, there));
        // A call that leads nowhere stays without a reference; `check` finds it.
        if let Some(target) = target {
            references.push(Reference {
                offset,
                kind: if call {
                    RelocationKind::Call
                } else {
                    RelocationKind::Imm64
                },
                target: Target::Atom {
                    atom: target,
                    offset: there - atoms.get(target).start as i64,
                },
            });
        }
    }
    references.sort_by_key(|reference| reference.offset);
}

/// What a target is called.
pub(super) fn target_name(modules: &[Module<'_>], atoms: &Atoms<'_>, target: Target) -> String {
    match target {
        Target::Atom { atom, offset } => {
            super::source::place_name(modules, atoms, atom, u64::try_from(offset).unwrap_or(0))
        }
        Target::External { module, symbol } => {
            readable(modules[module.0].object.symbols[symbol.0].name)
        }
    }
}
