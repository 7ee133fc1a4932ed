//! Puts a program together: its function and those it calls, with every reference resolved.
//!
//! A program is one stretch of instructions to the kernel, so the functions it calls are appended to it, each once
//! (libbpf's `bpf_object__reloc_code`):
//!
//! ```text
//!   section xdp        .text                program as loaded
//!   ┌──────────┐       ┌──────────┐         ┌──────────┐
//!   │ main     │       │ helper   │         │ main     │ call +n ──┐
//!   │  call ───┼──────►│  call ───┼──┐      │ helper   │ ◄─────────┘ call +m ──┐
//!   └──────────┘       │ other    │◄─┘      │ other    │ ◄─────────────────────┘
//!                      │ unused   │         └──────────┘
//!                      └──────────┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use xdplb_linker::insn::{self, Insn, InsnIndex};

use super::aim::Aim;
use super::kernel_names::Answers;
use super::records::Placed;
use super::spec::Function;
use super::{ObjectError, Patch, PatchTarget, Spec};

/// `BPF_COMPLEXITY_LIMIT_INSNS`, which bounds a privileged program's length.
const MAX_INSNS: usize = 1_000_000;

/// The instructions of one program while its functions are put together.
pub(super) struct Layout<'a> {
    pub(super) spec: &'a Spec,
    pub(super) answers: &'a Answers,
    pub(super) insns: Vec<Insn>,
    /// The functions in order; the program's own is first.
    pub(super) placed: Vec<Placed>,
    /// Where a function's first instruction is.
    at: HashMap<usize, InsnIndex>,
    pub(super) patches: Vec<Patch>,
    /// The BTF objects of the modules that it refers to.
    pub(super) modules: Vec<u32>,
    /// Where the address of a module's variable is wanted, and of which of `modules`.
    pub(super) module_variables: Vec<(InsnIndex, usize)>,
    /// Calls of what this kernel does not have, which must never be reached, and why.
    pub(super) poisoned: Vec<(InsnIndex, Arc<str>)>,
}

impl<'a> Layout<'a> {
    /// Lays out the program whose own function is `main`.
    pub(super) fn of(
        spec: &'a Spec,
        answers: &'a Answers,
        main: usize,
    ) -> Result<Self, ObjectError> {
        let mut layout = Layout {
            spec,
            answers,
            insns: Vec::new(),
            placed: Vec::new(),
            at: HashMap::new(),
            patches: Vec::new(),
            modules: Vec::new(),
            module_variables: Vec::new(),
            poisoned: Vec::new(),
        };
        layout.build(main)?;
        // A plan keeps the instructions of all programs.
        layout.insns.shrink_to_fit();
        Ok(layout)
    }

    fn build(&mut self, main: usize) -> Result<(), ObjectError> {
        let mut waiting = VecDeque::from([main]);
        self.append(main)?;
        while let Some(index) = waiting.pop_front() {
            let function = &self.spec.functions[index];
            let code = &self.spec.code[function.code];
            let range = function.start as usize..(function.start + function.len) as usize;
            let base = self.at.get(&index).copied().unwrap_or_default().0;
            for step in insn::steps(&code.insns[range]) {
                let in_section = function.start + step.at.0;
                let at = InsnIndex(base + step.at.0);
                let callee = match self.spec.aim(function, in_section, step)? {
                    Aim::Nothing => None,
                    Aim::Function(callee) => Some(callee),
                    Aim::Map { symbol, target } => {
                        self.patch(at, target, &symbol);
                        None
                    }
                    Aim::Kernel(symbol) => {
                        let done = if step.insn.is_call() {
                            self.call_kernel(&symbol, at)
                        } else {
                            self.refer_to_kernel(&symbol, step.insn, at)
                        };
                        done.map_err(|cause| self.error(function, in_section, cause))?;
                        None
                    }
                };
                let Some(callee) = callee else { continue };
                if !self.at.contains_key(&callee) {
                    self.append(callee)?;
                    waiting.push_back(callee);
                }
                let target = self.at.get(&callee).copied().unwrap_or_default();
                // Both kinds of distance are counted from the next instruction (kernel: add_subprog_and_kfunc).
                let distance = i64::from(target.0) - i64::from(at.0) - 1;
                let insn = &mut self.insns[at.0 as usize];
                insn.imm = distance as i32;
                insn.src = if insn.is_call() {
                    insn::BPF_PSEUDO_CALL
                } else {
                    insn::BPF_PSEUDO_FUNC
                };
            }
        }
        Ok(())
    }

    fn append(&mut self, index: usize) -> Result<(), ObjectError> {
        let function = &self.spec.functions[index];
        let code = &self.spec.code[function.code];
        let at = InsnIndex(self.insns.len() as u32);
        if self.insns.len() + function.len as usize > MAX_INSNS {
            return Err(self.error(
                function,
                function.start,
                format!("the program has more than {MAX_INSNS} instructions"),
            ));
        }
        self.insns.extend_from_slice(
            &code.insns[function.start as usize..(function.start + function.len) as usize],
        );
        self.placed.push(Placed {
            function: index,
            at,
        });
        self.at.insert(index, at);
        Ok(())
    }

    /// Makes the ld_imm64 at `at` one that waits for a map's descriptor.
    fn patch(&mut self, at: InsnIndex, target: PatchTarget, symbol: &str) {
        let in_arena = |map: usize| {
            let map = self.spec.maps.get(map);
            map.is_some_and(|map| map.globals.is_some())
        };
        let target = match target {
            PatchTarget::MapValue { map, offset } if in_arena(map) => PatchTarget::MapValue {
                map,
                offset: offset.wrapping_add(self.answers.arena_at),
            },
            other => other,
        };
        let (src, second) = match target {
            PatchTarget::Map(_) => (insn::BPF_PSEUDO_MAP_FD, 0),
            PatchTarget::MapValue { offset, .. } => (insn::BPF_PSEUDO_MAP_VALUE, offset as i32),
        };
        self.patches.push(Patch {
            at,
            target,
            symbol: symbol.to_string(),
        });
        let at = at.0 as usize;
        self.insns[at].src = src;
        self.insns[at].imm = 0;
        self.insns[at + 1].imm = second;
    }

    /// An error about an instruction, counted in its section.
    pub(super) fn error(&self, function: &Function, insn: u32, cause: String) -> ObjectError {
        self.spec.error_at(function, insn, cause)
    }
}
