//! Names and source lines for people: which function, which line of the program a place belongs to.

use std::fmt;

use super::Site;
use super::atoms::{Atom, AtomId, Atoms};
use super::inputs::Module;
use crate::btf_ext::LineInfo;
use crate::elf::SymbolKind;
use crate::insn::InsnIndex;

/// A line of source code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLine {
    /// The file as the compiler named it.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// Its text; empty when the compiler did not keep it.
    pub text: String,
    /// Where the line is one of Rust's library, inlined: the nearest line before it that is not, as file and number.
    pub after: Option<(String, u32)>,
}

impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        match self.text.trim() {
            "" => {}
            text => write!(f, ": {text}")?,
        }
        match &self.after {
            Some((file, line)) => write!(f, " (inlined after {file}:{line})"),
            None => Ok(()),
        }
    }
}

/// A symbol's name as its author wrote it: Rust's mangled names become paths.
pub fn readable(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

/// What to call an atom: its function or variable, else its section.
pub(super) fn atom_name(modules: &[Module<'_>], atom: &Atom<'_>) -> String {
    let object = &modules[atom.module.0].object;
    let named = atom
        .symbols
        .iter()
        .map(|id| &object.symbols[id.0])
        .find(|symbol| symbol.value == atom.start)
        .map(|symbol| readable(symbol.name));
    named.unwrap_or_else(|| object.sections[atom.section.0].name.to_owned())
}

/// A place `offset` bytes into an atom, in words.
pub(super) fn site(modules: &[Module<'_>], atom: &Atom<'_>, offset: u64) -> Site {
    let module = &modules[atom.module.0];
    let at = atom.start + offset;
    let function = atom.home.is_code().then(|| {
        (
            atom_name(modules, atom),
            InsnIndex::from_byte_offset(offset),
        )
    });
    Site {
        input: module.name.clone(),
        section: module.object.sections[atom.section.0].name.to_owned(),
        offset: at,
        function,
        source: line(module, atom, at),
        callers: Vec::new(),
    }
}

/// The name of whatever covers a place `offset` bytes into an atom: a variable inside a section, say.
pub(super) fn place_name(
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    id: AtomId,
    offset: u64,
) -> String {
    let atom = atoms.get(id);
    let object = &modules[atom.module.0].object;
    let at = atom.start + offset;
    atom.symbols
        .iter()
        .map(|id| &object.symbols[id.0])
        .filter(|symbol| symbol.kind != SymbolKind::Section)
        .find(|symbol| symbol.value <= at && at < symbol.value + symbol.size.max(1))
        .map_or_else(|| atom_name(modules, atom), |symbol| readable(symbol.name))
}

/// The last source line that starts at or before a place of an atom's section, and within the atom.
fn line(module: &Module<'_>, atom: &Atom<'_>, at: u64) -> Option<SourceLine> {
    let types = module.types.as_ref()?;
    let section = module.object.sections[atom.section.0].name;
    let name = |record: &LineInfo| types.btf.name(record.file_name);
    let before = || {
        let groups = types.ext.line_info.iter();
        groups
            .filter(|group| types.btf.name(group.section) == section)
            .flat_map(|group| &group.records)
            .filter(|record| (atom.start..=at).contains(&u64::from(record.insn_off)))
    };
    let record = before().max_by_key(|record| record.insn_off)?;
    let after = is_library_file(name(record)).then(|| {
        let authors = before().filter(|record| !is_library_file(name(record)));
        let last = authors.max_by_key(|record| record.insn_off)?;
        Some((name(last).to_owned(), last.line_number()))
    });
    Some(SourceLine {
        file: name(record).to_owned(),
        line: record.line_number(),
        text: types.btf.name(record.line).to_owned(),
        after: after.flatten(),
    })
}

/// Whether a file is one of Rust's library: rustc remaps its folder to `/rustc/HASH/library` where the source is not
/// installed.
pub fn is_library_file(file: &str) -> bool {
    file.contains("/library/core/src/") || file.starts_with("/rustc/")
}
