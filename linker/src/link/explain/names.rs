//! From a name that a user typed to the atoms that bear it.

use crate::elf::{Place, SymbolKind};
use crate::link::LinkError;
use crate::link::atoms::AtomId;
use crate::link::inputs::ModuleId;
use crate::link::source::readable;
use crate::link::view::View;

/// Names that are offered for a wrong one.
const MAX_NEAR: usize = 3;

/// Something that bears a name.
pub(super) struct Named {
    pub(super) atom: AtomId,
    /// Bytes from the atom's start.
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) name: String,
}

/// What bears a name: by symbol, else by Rust path, else by the end of a path, else by section.
pub(super) fn find(view: &View<'_, '_>, name: &str) -> Result<Vec<Named>, LinkError> {
    let mut known = Vec::new();
    for (index, module) in view.modules.iter().enumerate() {
        for (_, symbol) in module.object.symbols() {
            let Place::Section(section) = symbol.place else {
                continue;
            };
            let is_named = match symbol.kind {
                SymbolKind::Object | SymbolKind::Func | SymbolKind::Untyped => true,
                SymbolKind::Section | SymbolKind::File | SymbolKind::Other => false,
            };
            let atom = view.atoms.at(ModuleId(index), section, symbol.value);
            if let (true, false, Some(atom)) = (is_named, symbol.name.is_empty(), atom) {
                let offset = symbol.value - view.atom(atom).start;
                known.push((symbol.name, symbol.size, atom, offset));
            }
        }
    }
    let pick = |wanted: &dyn Fn(&str, &str) -> bool| -> Vec<Named> {
        let all = known.iter().map(|known| (known, readable(known.0)));
        all.filter(|((symbol, ..), path)| wanted(symbol, path))
            .map(|((_, size, atom, offset), path)| Named {
                atom: *atom,
                offset: *offset,
                size: *size,
                name: path,
            })
            .collect()
    };
    let end = format!("::{name}");
    let found = [
        pick(&|symbol, _| symbol == name),
        pick(&|_, path| path == name),
        pick(&|_, path| path.ends_with(&end)),
        sections(view, name),
    ];
    if let Some(found) = found.into_iter().find(|found| !found.is_empty()) {
        return Ok(found);
    }
    let paths: Vec<String> = known.iter().map(|known| readable(known.0)).collect();
    Err(LinkError::UnknownSymbol {
        name: name.to_owned(),
        near: near(name, paths),
    })
}

fn sections(view: &View<'_, '_>, name: &str) -> Vec<Named> {
    let atoms = view.atoms.ids().filter(|id| {
        let atom = view.atom(*id);
        view.modules[atom.module.0].object.sections[atom.section.0].name == name
    });
    atoms
        .map(|id| Named {
            atom: id,
            offset: 0,
            size: view.atom(id).end - view.atom(id).start,
            name: view.name(id),
        })
        .collect()
}

/// The names that take the fewest edits, if they are fewer than half of the name's letters.
fn near(name: &str, mut paths: Vec<String>) -> Vec<String> {
    paths.sort();
    paths.dedup();
    let last = |path: &str| path.rsplit("::").next().unwrap_or(path).to_owned();
    let mut ranked: Vec<(usize, String)> = paths
        .into_iter()
        .map(|path| {
            let whole = distance(name, &path);
            (whole.min(distance(&last(name), &last(&path))), path)
        })
        .filter(|(edits, _)| *edits * 2 < last(name).chars().count().max(2))
        .collect();
    ranked.sort();
    ranked.truncate(MAX_NEAR);
    ranked.into_iter().map(|(_, path)| path).collect()
}

/// Letters to insert, remove or replace. Long names are not compared.
fn distance(one: &str, two: &str) -> usize {
    const MAX: usize = 200;
    if one.chars().count() > MAX || two.chars().count() > MAX {
        return usize::MAX / 4;
    }
    strsim::levenshtein(one, two)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered_nearest_first() {
        let paths = ["prog::look", "prog::lock", "prog::publish", "look"].map(str::to_owned);
        assert_eq!(
            near("loook", paths.to_vec()),
            ["look", "prog::look", "prog::lock"]
        );
        assert!(near("x", paths.to_vec()).is_empty());
    }

    #[test]
    fn distances_are_counted_in_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
