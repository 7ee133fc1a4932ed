//! What instructions refer to: relocations turned into typed targets.

use std::sync::Arc;

use xdplb_linker::elf::{
    Binding, Object, Place, Relocation, RelocationKind, Section, SectionIndex, Symbol, SymbolKind,
};
use xdplb_linker::insn::{Insn, InsnIndex};

use super::ObjectError;

/// What an instruction refers to, still with the symbol's name for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// The symbol's name, or its section's.
    pub(super) symbol: Arc<str>,
    pub(super) referent: Referent,
}

/// Where a reference leads; the addend stands in the instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Referent {
    /// `offset` bytes into a section of this object.
    Place { section: SectionIndex, offset: u64 },
    /// Outside of this object.
    Undefined {
        /// Whether the program can do without.
        weak: bool,
    },
    /// The relocation makes no sense: why.
    Broken(String),
}

/// The references of a section of code, by instruction, ascending: most instructions have none.
#[derive(Clone, Debug, Default)]
pub(super) struct References(Vec<(u32, Reference)>);

impl References {
    /// What the instruction at this index refers to.
    pub(super) fn get(&self, insn: u32) -> Option<&Reference> {
        let at = self.0.binary_search_by_key(&insn, |(at, _)| *at).ok()?;
        Some(&self.0.get(at)?.1)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Reference> {
        self.0.iter().map(|(_, reference)| reference)
    }
}

/// The symbols' names, each stored once; a section's symbol is called after its section.
pub(super) fn names(object: &Object<'_>, file_size: usize) -> Result<Vec<Arc<str>>, ObjectError> {
    // Names lie in the file, but many symbols of a hostile one can share a long one.
    let total: usize = object.symbols.iter().map(|symbol| symbol.name.len()).sum();
    if total > file_size.saturating_mul(8).saturating_add(1 << 20) {
        return Err(ObjectError::in_section(
            "file",
            format!("its symbols' names take {total} bytes together"),
        ));
    }
    let name = |symbol: &Symbol<'_>| match (symbol.kind, symbol.place) {
        (SymbolKind::Section, Place::Section(index)) => object
            .sections
            .get(index.0)
            .map_or("", |section| section.name)
            .into(),
        _ => symbol.name.into(),
    };
    Ok(object.symbols.iter().map(name).collect())
}

/// The references of a section of code, by instruction. One that makes no sense is kept: it costs only who runs into it.
pub(super) fn references(
    object: &Object<'_>,
    section: &Section<'_>,
    insns: &[Insn],
    names: &[Arc<str>],
) -> References {
    let mut references: Vec<(u32, Reference)> = Vec::with_capacity(section.relocations.len());
    for relocation in &section.relocations {
        let Some(symbol) = object.symbols.get(relocation.symbol.0) else {
            continue;
        };
        let Some(name) = names.get(relocation.symbol.0) else {
            continue;
        };
        let index = InsnIndex::from_byte_offset(relocation.offset).0;
        let referent = match misfit(relocation, insns.get(index as usize), name) {
            Some(cause) => Referent::Broken(cause),
            None => match symbol.place {
                Place::Section(section) => Referent::Place {
                    section,
                    offset: symbol.value,
                },
                Place::Undefined | Place::Absolute | Place::Common => Referent::Undefined {
                    weak: symbol.binding == Binding::Weak,
                },
            },
        };
        let reference = Reference {
            symbol: name.clone(),
            referent,
        };
        // The reader sorts relocations by their places; of several against one instruction the last counts.
        match references.last_mut() {
            Some((last, same)) if *last == index => *same = reference,
            _ => references.push((index, reference)),
        }
    }
    References(references)
}

/// Why a relocation cannot be of this instruction.
fn misfit(relocation: &Relocation, insn: Option<&Insn>, name: &str) -> Option<String> {
    if !relocation.offset.is_multiple_of(Insn::SIZE as u64) {
        return Some(format!(
            "the relocation against `{name}` is inside an instruction"
        ));
    }
    let Some(insn) = insn else {
        return Some(format!(
            "the relocation against `{name}` is past the last instruction"
        ));
    };
    let fits = match relocation.kind {
        RelocationKind::Imm64 => insn.is_ld_imm64(),
        RelocationKind::Call => insn.is_call(),
        RelocationKind::Abs64 | RelocationKind::Abs32 | RelocationKind::Nodyld32 => false,
    };
    (!fits).then(|| {
        format!(
            "relocation type {} against `{name}` does not fit the instruction (opcode {:#04x})",
            relocation.kind.number(),
            insn.opcode
        )
    })
}
