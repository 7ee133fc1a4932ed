//! Pass 5: refuses what the kernel would refuse later, while the source line is at hand.

use super::atoms::{AtomId, Atoms};
use super::inputs::Module;
use super::live::Live;
use super::resolve::{self, Reference, References, Target, target_name};
use super::types::is_declared_extern;
use super::{LinkError, Problem};
use crate::elf::{Binding, RelocationKind};
use crate::insn::{BPF_PSEUDO_CALL, Insn, steps};

/// What LLVM calls where the program must not arrive (`unreachable`), since LLVM 21.
const TRAP: &str = "__bpf_trap";

/// Checks every live atom.
pub(super) fn code(
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    references: &References,
    live: &Live,
) -> Result<(), LinkError> {
    for id in atoms.ids().filter(|id| live.contains(*id)) {
        let site = Checked {
            modules,
            atoms,
            live,
            id,
        };
        for reference in &references[id.0] {
            site.reference(reference)?;
        }
        if atoms.get(id).home.is_code() {
            site.instructions(&references[id.0])?;
        }
    }
    Ok(())
}

/// The atom that is being checked, with what its errors need.
struct Checked<'c, 'a> {
    modules: &'c [Module<'a>],
    atoms: &'c Atoms<'a>,
    live: &'c Live,
    id: AtomId,
}

impl Checked<'_, '_> {
    fn fail(&self, offset: u64, problem: Problem) -> Result<(), LinkError> {
        let path = self.live.path(self.modules, self.atoms, self.id);
        let atom = self.atoms.get(self.id);
        Err(resolve::at(self.modules, atom, offset, path, problem))
    }

    fn reference(&self, reference: &Reference) -> Result<(), LinkError> {
        let atom = self.atoms.get(self.id);
        let name = || target_name(self.modules, self.atoms, reference.target);
        match reference.target {
            Target::External { module, symbol } => {
                let module = &self.modules[module.0];
                let symbol = &module.object.symbols[symbol.0];
                if symbol.name == TRAP {
                    self.fail(reference.offset, Problem::Panic)
                } else if symbol.binding == Binding::Weak || is_declared_extern(module, symbol.name)
                {
                    Ok(())
                } else {
                    self.fail(reference.offset, Problem::Undefined(name()))
                }
            }
            Target::Atom { atom: id, offset } => {
                let target = self.atoms.get(id);
                let is_function = target.home.is_code();
                if is_function && offset != 0
                    || reference.kind == RelocationKind::Call && !is_function
                {
                    return self.fail(reference.offset, Problem::NotAFunction(name(), offset));
                }
                if !(0..=(target.end - target.start) as i64).contains(&offset) {
                    return self.fail(reference.offset, Problem::PastEnd(name(), offset));
                }
                match atom.home {
                    super::atoms::Home::ReadOnly
                    | super::atoms::Home::Data
                    | super::atoms::Home::Zeroed => {
                        self.fail(reference.offset, Problem::PointerInData(name()))
                    }
                    super::atoms::Home::Program(_)
                    | super::atoms::Home::Text
                    | super::atoms::Home::Named(_) => Ok(()),
                }
            }
        }
    }

    fn instructions(&self, references: &[Reference]) -> Result<(), LinkError> {
        let atom = self.atoms.get(self.id);
        let (chunks, rest) = atom.data.as_chunks();
        let insns: Vec<Insn> = chunks.iter().map(|chunk| Insn::decode(*chunk)).collect();
        let end = insns.len() as i64;
        if !rest.is_empty() || atom.data.len() as u64 != atom.end - atom.start {
            return self.fail(atom.data.len() as u64, Problem::CutCode);
        }
        for step in steps(&insns) {
            let offset = step.at.byte_offset();
            if step.insn.is_ld_imm64() && step.second.is_none() {
                return self.fail(offset, Problem::CutCode);
            }
            if step.insn.is_self_jump() {
                return self.fail(offset, Problem::Panic);
            }
            if let Some(distance) = step.insn.jump_distance() {
                let target = i64::from(step.at.0) + 1 + i64::from(distance);
                if !(0..end).contains(&target) {
                    return self.fail(offset, Problem::JumpOut(target * Insn::SIZE as i64));
                }
            }
            let settled = references
                .binary_search_by_key(&offset, |reference| reference.offset)
                .is_ok();
            if step.insn.is_call() && step.insn.src == BPF_PSEUDO_CALL && !settled {
                return self.fail(offset, Problem::Nowhere);
            }
        }
        Ok(())
    }
}
