//! What instructions refer to: relocations turned into typed targets.

use std::collections::HashMap;

use xdplb_linker::elf::{Object, Place, RelocationKind, Section, SectionIndex, SymbolKind};
use xdplb_linker::insn::{Insn, InsnIndex};

use super::ObjectError;

/// What an instruction refers to, still with the symbol's name for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// The symbol's name, or its section's.
    pub(super) symbol: String,
    pub(super) target: Target,
}

/// Where a reference leads; the addend stands in the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `offset` bytes into a section of this object.
    Place { section: SectionIndex, offset: u64 },
    /// Outside of this object.
    Undefined,
}

/// The references of a section of code, by instruction.
pub(super) fn references(
    object: &Object<'_>,
    section: &Section<'_>,
    insns: &[Insn],
) -> Result<HashMap<u32, Reference>, ObjectError> {
    let mut references = HashMap::with_capacity(section.relocations.len());
    for relocation in &section.relocations {
        let Some(symbol) = object.symbols.get(relocation.symbol.0) else {
            continue;
        };
        let name = match (symbol.kind, symbol.place) {
            (SymbolKind::Section, Place::Section(index)) => object
                .sections
                .get(index.0)
                .map_or("", |section| section.name),
            _ => symbol.name,
        };
        let fail = |cause: String| Err(ObjectError::at(section.name, relocation.offset, cause));
        if relocation.offset % Insn::SIZE as u64 != 0 {
            return fail(format!(
                "the relocation against `{name}` is inside an instruction"
            ));
        }
        let index = InsnIndex::from_byte_offset(relocation.offset).0;
        let Some(insn) = insns.get(index as usize) else {
            return fail(format!(
                "the relocation against `{name}` is past the last instruction"
            ));
        };
        let fits = match relocation.kind {
            RelocationKind::Imm64 => insn.is_ld_imm64(),
            RelocationKind::Call => insn.is_call(),
            RelocationKind::Abs64 | RelocationKind::Abs32 | RelocationKind::Nodyld32 => false,
        };
        if !fits {
            return fail(format!(
                "relocation type {} against `{name}` does not fit the instruction (opcode {:#04x})",
                relocation.kind.number(),
                insn.opcode
            ));
        }
        let target = match symbol.place {
            Place::Section(section) => Target::Place {
                section,
                offset: symbol.value,
            },
            Place::Undefined | Place::Absolute | Place::Common => Target::Undefined,
        };
        references.insert(
            index,
            Reference {
                symbol: name.to_string(),
                target,
            },
        );
    }
    Ok(references)
}
