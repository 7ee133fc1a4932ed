//! Pass 4: what is reached from the roots stays.

use std::collections::{BTreeMap, VecDeque};

use super::atoms::{Atom, AtomId, Atoms, Home};
use super::inputs::Module;
use super::resolve::{References, Target, is_agreed};
use super::{Exports, LinkError, Options};
use crate::elf::{Binding, SymbolKind, Visibility};

/// Which atoms stay, and why.
#[derive(Debug)]
pub(super) struct Live {
    why: Vec<Option<Why>>,
}

/// Why an atom stays.
#[derive(Debug, Clone, Copy)]
enum Why {
    Root,
    /// That one refers to it, at this many bytes from its start.
    For(AtomId, u64),
}

impl Live {
    pub(super) fn contains(&self, id: AtomId) -> bool {
        self.why[id.0].is_some()
    }

    /// The way from a root to a place in an atom, as places: each but the last is where the next one is called.
    pub(super) fn way(&self, id: AtomId, offset: u64) -> Vec<(AtomId, u64)> {
        let mut way = vec![(id, offset)];
        let mut here = id;
        while let Some(Why::For(by, at)) = self.why[here.0] {
            way.push((by, at));
            here = by;
        }
        way.reverse();
        way
    }
}

/// Marks what the roots reach, nearest first, so that a path is a shortest one.
pub(super) fn mark(
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    references: &References,
    options: &Options,
) -> Result<Live, LinkError> {
    let mut why = vec![None; atoms.all.len()];
    let mut queue = VecDeque::new();
    for root in roots(modules, atoms, options)? {
        why[root.0] = Some(Why::Root);
        queue.push_back(root);
    }
    while let Some(id) = queue.pop_front() {
        for reference in &references[id.0] {
            if let Target::Atom { atom, .. } = reference.target
                && why[atom.0].is_none()
            {
                why[atom.0] = Some(Why::For(id, reference.offset));
                queue.push_back(atom);
            }
        }
    }
    Ok(Live { why })
}

/// What stays although nothing in the object refers to it.
fn roots(
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    options: &Options,
) -> Result<Vec<AtomId>, LinkError> {
    let mut roots = Vec::new();
    let mut agreed: BTreeMap<&str, AtomId> = BTreeMap::new();
    // A library, linked ahead of the programs that will call it: what it offers stays.
    let is_library = atoms
        .ids()
        .all(|id| !matches!(atoms.get(id).home, Home::Program(_)));
    for id in atoms.ids() {
        let atom = atoms.get(id);
        let keep = match atom.home {
            Home::Program(_) => true,
            Home::Named(name) if is_agreed(name) => {
                // Who says it again says the same (`agree`).
                *agreed.entry(name).or_insert(id) == id
            }
            Home::Named(_) => true,
            Home::Text => {
                is_library && is_verified_alone(modules, atom, options)
                    || is_wanted(modules, atom, options)
            }
            Home::ReadOnly(_) | Home::Data(_) | Home::Zeroed(_) => {
                is_exported(modules, atom, options)
            }
        };
        if keep {
            roots.push(id);
        }
    }
    Ok(roots)
}

/// Whether someone asked for the function by name.
fn is_wanted(modules: &[Module<'_>], atom: &Atom<'_>, options: &Options) -> bool {
    let object = &modules[atom.module.0].object;
    let mut symbols = atom.symbols.iter().map(|id| &object.symbols[id.0]);
    symbols
        .any(|symbol| symbol.binding != Binding::Local && options.functions.contains(symbol.name))
}

fn is_exported(modules: &[Module<'_>], atom: &Atom<'_>, options: &Options) -> bool {
    let object = &modules[atom.module.0].object;
    atom.symbols
        .iter()
        .map(|id| &object.symbols[id.0])
        .filter(|symbol| symbol.binding != Binding::Local && symbol.kind != SymbolKind::Func)
        .any(|symbol| match &options.exports {
            Exports::All => true,
            Exports::Named(names) => names.contains(symbol.name),
        })
}

/// Whether a function of `.text` stays global and so is verified alone: if it was exported by name or, where nobody
/// says what is exported, as its author said: C's functions are global unless they are `static` or hidden. Rust's are
/// not, though other crates may call them: a name that rustc made was not chosen for anyone to look up.
pub(super) fn is_verified_alone(
    modules: &[Module<'_>],
    atom: &Atom<'_>,
    options: &Options,
) -> bool {
    let object = &modules[atom.module.0].object;
    atom.symbols
        .iter()
        .map(|id| &object.symbols[id.0])
        .filter(|symbol| symbol.binding != Binding::Local)
        .any(|symbol| match &options.exports {
            Exports::All => {
                symbol.visibility == Visibility::Default
                    && rustc_demangle::try_demangle(symbol.name).is_err()
            }
            Exports::Named(names) => names.contains(symbol.name),
        })
}
