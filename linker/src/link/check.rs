//! Pass 5: refuses what the kernel would refuse later, while the source line is at hand.

use super::atoms::{AtomId, Atoms};
use super::inputs::Module;
use super::live::Live;
use super::resolve::{self, Reference, References, Target, target_name};
use super::source::atom_name;
use super::types::is_declared_extern;
use super::{LinkError, Problem};
use crate::elf::RelocationKind;
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

/// Rust's own functions, which no author of a program can change.
fn is_library(function: &str) -> bool {
    [
        "core::", "<core::", "alloc::", "<alloc::", "std::", "<std::",
    ]
    .iter()
    .any(|library| function.starts_with(library))
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
        let way = self.live.way(self.id, offset);
        Err(self.error(&way, problem))
    }

    /// A panic is reported where the author can do something about it: at the last call on the way to it that is not
    /// in Rust's own library.
    fn panic(&self, offset: u64) -> Result<(), LinkError> {
        let mut way = self.live.way(self.id, offset);
        let mut function = None;
        while let Some((last, _)) = way.last()
            && way.len() > 1
            && is_library(&self.name(*last))
        {
            function = Some(self.name(*last));
            way.pop();
        }
        Err(self.error(&way, Problem::Panic(function)))
    }

    fn name(&self, id: AtomId) -> String {
        atom_name(self.modules, self.atoms.get(id))
    }

    fn error(&self, way: &[(AtomId, u64)], problem: Problem) -> LinkError {
        let (id, offset) = way.last().copied().unwrap_or((self.id, 0));
        let path = way.iter().map(|(id, _)| self.name(*id)).collect();
        resolve::at(self.modules, self.atoms.get(id), offset, path, problem)
    }

    fn reference(&self, reference: &Reference) -> Result<(), LinkError> {
        let atom = self.atoms.get(self.id);
        let name = || target_name(self.modules, self.atoms, reference.target);
        match reference.target {
            Target::External { module, symbol } => {
                let module = &self.modules[module.0];
                let symbol = &module.object.symbols[symbol.0];
                if symbol.name == TRAP {
                    self.panic(reference.offset)
                } else if is_declared_extern(module, symbol.name) {
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
                    super::atoms::Home::ReadOnly(_)
                    | super::atoms::Home::Data(_)
                    | super::atoms::Home::Zeroed(_) => {
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
                return self.panic(offset);
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
