//! Pass 2: sections are cut into atoms, the smallest things that stay or go as a whole: a function, or a section of
//! data. (rustc and `clang -fdata-sections` give each variable a section; others give one to all of them.)
//!
//! **Which section of the output.** `.data.COUNT` that a compiler made for the variable `COUNT` goes to `.data`;
//! `.data.counters` that an author wrote (`SEC(".data.counters")`) keeps its name, since the loader makes a map of its
//! own of it. A compiler's name is told by its form: `.data.` and the name of the only symbol in the section, or of no
//! symbol (`.rodata..Lanon.7`), or of a pool of constants (`.rodata.cst16`, `.rodata.str1.1`).

use super::inputs::{Module, ModuleId};
use crate::elf::{Place, Section, SectionIndex, SectionKind, SymbolIndex, SymbolKind};

/// The number of an atom in the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AtomId(pub(super) usize);

/// What stays or goes as a whole.
#[derive(Debug)]
pub(super) struct Atom<'a> {
    pub(super) module: ModuleId,
    pub(super) section: SectionIndex,
    /// Its bytes, counted from the start of its section.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Its bytes in the file; empty for zeros.
    pub(super) data: &'a [u8],
    pub(super) align: u64,
    /// Where it goes in the output.
    pub(super) home: Home<'a>,
    /// The symbols that lie in it, by ascending value, but for those that gave way to another module's.
    pub(super) symbols: Vec<SymbolIndex>,
}

/// The section of the output that an atom goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Home<'a> {
    /// A section of programs, under its own name: `xdp`, `xdp.frags/devmap`.
    Program(&'a str),
    /// `.text`: functions that programs call.
    Text,
    /// `.rodata`, or `.rodata.x` that someone named so.
    ReadOnly(&'a str),
    /// `.data`, or `.data.x`.
    Data(&'a str),
    /// `.bss`, or `.bss.x`.
    Zeroed(&'a str),
    /// A section that means something to the loader: `.maps`, `license`, `version`, or one unknown here.
    Named(&'a str),
}

impl<'a> Home<'a> {
    /// The section's name in the output.
    pub(super) fn name(self) -> &'a str {
        match self {
            Self::Program(name)
            | Self::Named(name)
            | Self::ReadOnly(name)
            | Self::Data(name)
            | Self::Zeroed(name) => name,
            Self::Text => ".text",
        }
    }

    /// Whether its bytes are instructions.
    pub(super) fn is_code(self) -> bool {
        match self {
            Self::Program(_) | Self::Text => true,
            Self::ReadOnly(_) | Self::Data(_) | Self::Zeroed(_) | Self::Named(_) => false,
        }
    }
}

/// All atoms, and which of them a place of an input belongs to.
#[derive(Debug)]
pub(super) struct Atoms<'a> {
    pub(super) all: Vec<Atom<'a>>,
    /// By module and section: the first atom of the section and how many there are. They ascend without gaps.
    by_section: Vec<Vec<(usize, usize)>>,
}

impl<'a> Atoms<'a> {
    pub(super) fn get(&self, id: AtomId) -> &Atom<'a> {
        &self.all[id.0]
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = AtomId> + use<'a> {
        (0..self.all.len()).map(AtomId)
    }

    /// The atom that holds byte `offset` of a section; for the byte past the end, the last one. `None` where a
    /// section does not reach the output, or the offset lies outside it.
    pub(super) fn at(
        &self,
        module: ModuleId,
        section: SectionIndex,
        offset: u64,
    ) -> Option<AtomId> {
        let (first, count) = *self.by_section.get(module.0)?.get(section.0)?;
        let atoms = self.all.get(first..first + count)?;
        let after = atoms.partition_point(|atom| atom.start <= offset);
        let index = after.checked_sub(1)?;
        (offset <= atoms[index].end).then_some(AtomId(first + index))
    }
}

/// Cuts every section that may reach the output.
pub(super) fn split<'a>(modules: &[Module<'a>]) -> Atoms<'a> {
    let mut all = Vec::new();
    let mut by_section = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        let module_id = ModuleId(index);
        let symbols = symbols_by_section(module);
        let mut places = Vec::with_capacity(module.object.sections.len());
        for (section_id, section) in module.object.sections() {
            let first = all.len();
            let symbols = &symbols[section_id.0];
            if let Some(home) = home(module, section, symbols) {
                let cuts = cuts(module, section, home, symbols);
                for (start, end) in cuts {
                    all.push(Atom {
                        module: module_id,
                        section: section_id,
                        start,
                        end,
                        data: bytes(section, start, end),
                        align: align(section.align, start, home),
                        home,
                        symbols: Vec::new(),
                    });
                }
                for symbol in symbols.iter().filter(|id| !module.lost.contains(id)) {
                    let value = module.object.symbols[symbol.0].value;
                    let after = all[first..].partition_point(|atom| atom.start <= value);
                    if let Some(atom) = all[first..].get_mut(after.saturating_sub(1)) {
                        atom.symbols.push(*symbol);
                    }
                }
            }
            places.push((first, all.len() - first));
        }
        by_section.push(places);
    }
    Atoms { all, by_section }
}

/// Where a section's bytes go; `None` for what does not reach the output: debug information, the file's own tables,
/// unwind tables (which BPF has no use for), and types (which are made anew).
fn home<'a>(
    module: &Module<'a>,
    section: &Section<'a>,
    symbols: &[SymbolIndex],
) -> Option<Home<'a>> {
    let name = section.name;
    if !section.allocated || section.kind == SectionKind::Other {
        return None;
    }
    if is_part_of(name, ".BTF")
        || is_part_of(name, ".eh_frame")
        || is_part_of(name, ".gcc_except_table")
    {
        return None;
    }
    if section.executable {
        return (section.size > 0).then_some(if is_part_of(name, ".text") {
            Home::Text
        } else {
            Home::Program(name)
        });
    }
    // `.data.rel.ro` holds constants that a dynamic linker would fill in once.
    if is_part_of(name, ".data.rel.ro") {
        return Some(Home::ReadOnly(".rodata"));
    }
    let own_or = |base| {
        let made = is_compilers_name(module, name, base, symbols);
        if made { base } else { name }
    };
    let zeroed = section.kind == SectionKind::Zeroed;
    if is_part_of(name, ".rodata") {
        Some(Home::ReadOnly(if zeroed {
            ".rodata"
        } else {
            own_or(".rodata")
        }))
    } else if is_part_of(name, ".data") {
        // What holds zeros only, and was given no name, is as well off in `.bss`.
        Some(match own_or(".data") {
            ".data" if zeroed => Home::Zeroed(".bss"),
            own if zeroed => Home::Zeroed(own),
            own => Home::Data(own),
        })
    } else if is_part_of(name, ".bss") {
        Some(match own_or(".bss") {
            ".bss" if !zeroed => Home::Data(".data"),
            own if !zeroed => Home::Data(own),
            own => Home::Zeroed(own),
        })
    } else if section.size == 0 && symbols.is_empty() {
        None
    } else {
        Some(Home::Named(name))
    }
}

/// Whether a compiler called the section so, for a variable or a pool of constants, or it has no name of its own.
fn is_compilers_name(module: &Module<'_>, name: &str, base: &str, symbols: &[SymbolIndex]) -> bool {
    let Some(own) = name.strip_prefix(base).and_then(|r| r.strip_prefix('.')) else {
        return true;
    };
    let pool = |prefix: &str| {
        own.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let mut names = symbols
        .iter()
        .map(|id| module.object.symbols[id.0].name)
        .peekable();
    own.starts_with(".L")
        || pool("cst")
        || pool("str")
        || names.peek().is_some() && names.all(|name| name == own)
}

/// `.text` and `.text.anything` are part of `.text`; `.textual` is not.
fn is_part_of(name: &str, base: &str) -> bool {
    name.strip_prefix(base)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The named symbols of each section by ascending value. Labels that the assembler made (`.L…`, `LBB…`: local and
/// without a type) are no names.
fn symbols_by_section(module: &Module<'_>) -> Vec<Vec<SymbolIndex>> {
    let mut by_section = vec![Vec::new(); module.object.sections.len()];
    for (id, symbol) in module.object.symbols() {
        let named = match symbol.kind {
            SymbolKind::Object | SymbolKind::Func => true,
            SymbolKind::Untyped => symbol.binding != crate::elf::Binding::Local,
            SymbolKind::Section | SymbolKind::File | SymbolKind::Other => false,
        };
        match symbol.place {
            Place::Section(section) if named && !symbol.name.is_empty() => {
                by_section[section.0].push(id);
            }
            Place::Section(_) | Place::Undefined | Place::Absolute | Place::Common => {}
        }
    }
    for symbols in &mut by_section {
        symbols.sort_by_key(|id| module.object.symbols[id.0].value);
    }
    by_section
}

/// Where the atoms of a section start and end. Code is cut at functions; data is not cut.
fn cuts(
    module: &Module<'_>,
    section: &Section<'_>,
    home: Home<'_>,
    symbols: &[SymbolIndex],
) -> Vec<(u64, u64)> {
    let mut starts = vec![0];
    if home.is_code() {
        starts.extend(
            symbols
                .iter()
                .map(|id| &module.object.symbols[id.0])
                .filter(|symbol| symbol.kind == SymbolKind::Func && symbol.value < section.size)
                .map(|symbol| symbol.value),
        );
        starts.dedup();
    }
    let ends = starts.iter().skip(1).copied().chain([section.size]);
    starts.iter().copied().zip(ends).collect()
}

fn bytes<'a>(section: &Section<'a>, start: u64, end: u64) -> &'a [u8] {
    // Zeros have no bytes in the file; everything else has all of them.
    section
        .data
        .get(start as usize..end as usize)
        .unwrap_or(&[])
}

/// What a place that was so far into an aligned section can count on; instructions always take their eight bytes.
fn align(section: u64, start: u64, home: Home<'_>) -> u64 {
    let own = if start == 0 {
        section
    } else {
        section.min(1 << start.trailing_zeros())
    };
    if home.is_code() { own.max(8) } else { own }
}
