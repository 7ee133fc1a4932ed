//! Pass 7: sections, symbols and relocations of the output, without its types.
//!
//! Whatever refers to something gets a relocation that names it, also where a distance could be settled now: the
//! loader moves functions next to the programs that call them, and replaces data by maps.

use std::collections::{BTreeMap, BTreeSet};

use super::atoms::{Atom, AtomId, Atoms, Home};
use super::inputs::Module;
use super::live::is_verified_alone;
use super::place::{Layout, Location, PlacedSection};
use super::resolve::{Reference, References, Target};
use super::{LinkError, Options};
use crate::elf::write::{Content, Image, ImageRelocation, ImageSection, ImageSymbol};
use crate::elf::{Binding, RelocationKind, SectionKind, SymbolKind, Visibility};
use crate::insn::{BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC, Insn};

/// Builds the image.
pub(super) fn image(
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    references: &References,
    layout: &Layout<'_>,
    options: &Options,
) -> Result<Image, LinkError> {
    let mut symbols = Symbols::collect(modules, atoms, layout, options);
    let mut sections = Vec::with_capacity(layout.sections.len());
    for placed in &layout.sections {
        let mut bytes = contents(atoms, layout, placed);
        let mut relocations = Vec::new();
        for id in &placed.atoms {
            let Some(location) = layout.place(*id) else {
                continue;
            };
            for reference in &references[id.0] {
                let at = location.offset + reference.offset;
                let to_function = is_code(atoms, reference);
                let (symbol, addend) = symbols.refer(modules, layout, reference, to_function);
                patch(&mut bytes, at, reference, addend, to_function);
                relocations.push(ImageRelocation {
                    offset: at,
                    kind: reference.kind,
                    symbol,
                });
            }
        }
        sections.push(ImageSection {
            name: placed.home.name().to_owned(),
            content: content(modules, atoms, placed, bytes),
            align: placed.align,
            relocations,
        });
    }
    Ok(Image {
        sections,
        symbols: symbols.all,
    })
}

/// The bytes of a section: its atoms at their places, zeros between. Empty for `.bss`.
fn contents(atoms: &Atoms<'_>, layout: &Layout<'_>, placed: &PlacedSection<'_>) -> Vec<u8> {
    let any = placed
        .atoms
        .iter()
        .any(|id| !atoms.get(*id).data.is_empty());
    if !any {
        return Vec::new();
    }
    // The layout has bounded the size of sections with bytes.
    let mut bytes = vec![0; placed.size as usize];
    for id in &placed.atoms {
        let data = atoms.get(*id).data;
        if let Some(location) = layout.place(*id) {
            let start = location.offset as usize;
            if let Some(target) = bytes.get_mut(start..start + data.len()) {
                target.copy_from_slice(data);
            }
        }
    }
    bytes
}

fn content(
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    placed: &PlacedSection<'_>,
    bytes: Vec<u8>,
) -> Content {
    let input_sections = || {
        placed.atoms.iter().map(|id| {
            let atom = atoms.get(*id);
            &modules[atom.module.0].object.sections[atom.section.0]
        })
    };
    match placed.home {
        Home::Program(_) | Home::Text => Content::Code(bytes),
        Home::ReadOnly(_) => Content::ReadOnly(zeroed_if_empty(bytes, placed.size)),
        Home::Data(_) => Content::Data(zeroed_if_empty(bytes, placed.size)),
        Home::Zeroed(_) => Content::Zeroed(placed.size),
        Home::Named(_) if input_sections().all(|s| s.kind == SectionKind::Zeroed) => {
            Content::Zeroed(placed.size)
        }
        Home::Named(_) if input_sections().any(|section| section.writable) => {
            Content::Data(zeroed_if_empty(bytes, placed.size))
        }
        Home::Named(_) => Content::ReadOnly(zeroed_if_empty(bytes, placed.size)),
    }
}

/// A section of zeros only still needs its bytes where its kind has bytes: a `.rodata`, which the loader freezes.
fn zeroed_if_empty(bytes: Vec<u8>, size: u64) -> Vec<u8> {
    if bytes.is_empty() {
        vec![0; size as usize]
    } else {
        bytes
    }
}

fn is_code(atoms: &Atoms<'_>, reference: &Reference) -> bool {
    match reference.target {
        Target::Atom { atom, .. } => atoms.get(atom).home.is_code(),
        Target::External { .. } => false,
    }
}

/// Writes the addend where the relocation will find it, in the form that libbpf and LLVM use.
fn patch(bytes: &mut [u8], at: u64, reference: &Reference, addend: i64, to_function: bool) {
    let Some(place) = bytes.get_mut(at as usize..) else {
        return;
    };
    match reference.kind {
        RelocationKind::Imm64 => {
            let (slots, _) = place.as_chunks_mut::<{ Insn::SIZE }>();
            if let [first, second, ..] = slots {
                let mut insn = Insn::decode(*first);
                insn.imm = addend as i32;
                if to_function {
                    insn.src = BPF_PSEUDO_FUNC;
                }
                *first = insn.encode();
                let mut high = Insn::decode(*second);
                high.imm = (addend >> 32) as i32;
                *second = high.encode();
            }
        }
        RelocationKind::Call => {
            if let Some(slot) = place.first_chunk_mut::<{ Insn::SIZE }>() {
                let mut insn = Insn::decode(*slot);
                // -1 is the function's own first instruction: the distance counts from the next one.
                insn.imm = (addend / Insn::SIZE as i64) as i32 - 1;
                if to_function {
                    insn.src = BPF_PSEUDO_CALL;
                }
                *slot = insn.encode();
            }
        }
        RelocationKind::Abs64 => {
            if let Some(slot) = place.first_chunk_mut::<8>() {
                *slot = addend.to_le_bytes();
            }
        }
        RelocationKind::Abs32 | RelocationKind::Nodyld32 => {
            if let Some(slot) = place.first_chunk_mut::<4>() {
                *slot = (addend as i32).to_le_bytes();
            }
        }
    }
}

/// The output's symbols, and which of them stands for a place.
struct Symbols {
    all: Vec<ImageSymbol>,
    /// Named symbols by place.
    by_place: BTreeMap<Location, usize>,
    /// Section symbols, made when something needs one.
    of_section: BTreeMap<usize, usize>,
    /// Symbols that nobody here defines.
    external: BTreeMap<String, usize>,
}

impl Symbols {
    /// Every named symbol of what is live. In `.text` all are local but those that are verified alone: nobody outside
    /// calls a function of a BPF object.
    fn collect(
        modules: &[Module<'_>],
        atoms: &Atoms<'_>,
        layout: &Layout<'_>,
        options: &Options,
    ) -> Self {
        let mut symbols = Self {
            all: Vec::new(),
            by_place: BTreeMap::new(),
            of_section: BTreeMap::new(),
            external: BTreeMap::new(),
        };
        let mut taken = BTreeSet::new();
        for id in layout.sections.iter().flat_map(|section| &section.atoms) {
            let atom = atoms.get(*id);
            let Some(location) = layout.place(*id) else {
                continue;
            };
            for symbol in symbols_of(modules, atom) {
                let value = location.offset + (symbol.value - atom.start);
                let is_hidden =
                    atom.home == Home::Text && !is_verified_alone(modules, atom, options);
                let is_local = is_hidden || symbol.binding == Binding::Local;
                // A weak definition that gave way keeps its bytes where others need them, but not its name.
                let binding = if is_local || !taken.insert(symbol.name) {
                    Binding::Local
                } else {
                    symbol.binding
                };
                let index = symbols.all.len();
                symbols.all.push(ImageSymbol {
                    name: symbol.name.to_owned(),
                    section: Some(location.section),
                    value,
                    size: symbol.size,
                    kind: symbol.kind,
                    binding,
                    visibility: match binding {
                        Binding::Local => Visibility::Default,
                        Binding::Global | Binding::Weak => symbol.visibility,
                    },
                });
                let place = Location {
                    section: location.section,
                    offset: value,
                };
                symbols.by_place.entry(place).or_insert(index);
            }
        }
        symbols
    }

    /// The symbol to name for a target, and what to add to it: a symbol that covers the place, else the section.
    fn refer(
        &mut self,
        modules: &[Module<'_>],
        layout: &Layout<'_>,
        reference: &Reference,
        to_function: bool,
    ) -> (usize, i64) {
        let kind = reference.kind;
        match reference.target {
            Target::External { module, symbol } => {
                let symbol = &modules[module.0].object.symbols[symbol.0];
                (self.external(symbol.name, symbol.binding), 0)
            }
            Target::Atom { atom, offset } => {
                // What a live atom refers to is live, so it has a place.
                let base = layout.place(atom).unwrap_or(Location {
                    section: 0,
                    offset: 0,
                });
                let offset = base.offset.saturating_add_signed(offset);
                let place = Location {
                    section: base.section,
                    offset,
                };
                // libbpf takes the address of a local function by its section (`sym_is_subprog`).
                let by_section = to_function && kind == RelocationKind::Imm64;
                if let Some((at, index)) = self.by_place.range(..=place).next_back()
                    && at.section == place.section
                    && !by_section
                {
                    let inside = offset - at.offset;
                    if inside == 0 || inside < self.all[*index].size {
                        return (*index, inside as i64);
                    }
                }
                (self.section(base.section), offset as i64)
            }
        }
    }

    fn section(&mut self, section: usize) -> usize {
        let all = &mut self.all;
        *self.of_section.entry(section).or_insert_with(|| {
            all.push(ImageSymbol {
                name: String::new(),
                section: Some(section),
                value: 0,
                size: 0,
                kind: SymbolKind::Section,
                binding: Binding::Local,
                visibility: Visibility::Default,
            });
            all.len() - 1
        })
    }

    /// A symbol that nobody here defines. It may stay undefined only if everyone who wants it says so.
    fn external(&mut self, name: &str, binding: Binding) -> usize {
        let all = &mut self.all;
        let index = *self.external.entry(name.to_owned()).or_insert_with(|| {
            all.push(ImageSymbol {
                name: name.to_owned(),
                section: None,
                value: 0,
                size: 0,
                kind: SymbolKind::Untyped,
                binding,
                visibility: Visibility::Default,
            });
            all.len() - 1
        });
        if binding == Binding::Global {
            all[index].binding = binding;
        }
        index
    }
}

fn symbols_of<'m, 'a>(
    modules: &'m [Module<'a>],
    atom: &'m Atom<'_>,
) -> impl Iterator<Item = &'m crate::elf::Symbol<'a>> {
    let object = &modules[atom.module.0].object;
    atom.symbols.iter().map(|id| &object.symbols[id.0])
}

/// The atoms of a layout that are code, with where they lie.
pub(super) fn placed_code<'l>(
    atoms: &'l Atoms<'_>,
    layout: &'l Layout<'_>,
) -> impl Iterator<Item = (AtomId, Location)> + 'l {
    layout
        .sections
        .iter()
        .filter(|section| section.home.is_code())
        .flat_map(|section| &section.atoms)
        .filter_map(|id| layout.place(*id).map(|location| (*id, location)))
        .filter(|(id, _)| atoms.get(*id).end > atoms.get(*id).start)
}
