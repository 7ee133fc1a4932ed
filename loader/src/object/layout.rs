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

use xdplb_linker::elf::SectionIndex;
use xdplb_linker::insn::{self, Insn, InsnIndex};

use super::arena::GLOBALS;
use super::kernel_names::Answers;
use super::records::Placed;
use super::relocate::{Reference, Referent};
use super::spec::Function;
use super::{MapSpec, ObjectError, Patch, PatchTarget, Spec};

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
                let reference = code.references.get(in_section);
                if let Some(Reference {
                    referent: Referent::Broken(cause),
                    ..
                }) = reference
                {
                    return Err(self.error(function, in_section, cause.clone()));
                }
                let callee = if step.insn.is_call() {
                    self.callee(function, in_section, step.insn, at, reference)?
                } else if step.insn.is_ld_imm64() {
                    if step.second.is_none() {
                        return Err(self.error(
                            function,
                            in_section,
                            "the function ends within an instruction".into(),
                        ));
                    }
                    self.address(function, in_section, step.insn, at, reference)?
                } else {
                    None
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

    /// The function that a call goes to; `None` for helpers.
    fn callee(
        &mut self,
        function: &Function,
        insn: u32,
        call: Insn,
        at: InsnIndex,
        reference: Option<&Reference>,
    ) -> Result<Option<usize>, ObjectError> {
        let relative = i64::from(call.imm) + 1;
        match reference {
            None if !call.is_pseudo_call() => Ok(None),
            None => self
                .function_at(function, insn, function.code, i64::from(insn) + relative)
                .map(Some),
            Some(Reference {
                symbol,
                referent: Referent::Undefined { .. } | Referent::Broken(_),
            }) => {
                self.call_kernel(symbol, at)
                    .map_err(|cause| self.error(function, insn, cause))?;
                Ok(None)
            }
            Some(Reference {
                symbol,
                referent: Referent::Place { section, offset },
            }) => {
                match self.code_index(*section) {
                    // The addend counts instructions: -1 with a function's symbol, the place with a section's.
                    Some(code) => self
                        .function_at(function, insn, code, (*offset / 8) as i64 + relative)
                        .map(Some),
                    None => Err(self.error(
                        function,
                        insn,
                        format!("calls `{symbol}`, which is not code"),
                    )),
                }
            }
        }
    }

    /// What a ld_imm64 refers to: a map or data (a patch), a function (returned), or nothing.
    fn address(
        &mut self,
        function: &Function,
        insn: u32,
        load: Insn,
        at: InsnIndex,
        reference: Option<&Reference>,
    ) -> Result<Option<usize>, ObjectError> {
        let (symbol, section, offset) = match reference {
            None if load.src == insn::BPF_PSEUDO_FUNC => {
                let target = i64::from(insn) + i64::from(load.imm) + 1;
                return self
                    .function_at(function, insn, function.code, target)
                    .map(Some);
            }
            None => return Ok(None),
            Some(Reference {
                symbol,
                referent: Referent::Undefined { .. } | Referent::Broken(_),
            }) => {
                self.refer_to_kernel(symbol, load, at)
                    .map_err(|cause| self.error(function, insn, cause))?;
                return Ok(None);
            }
            Some(Reference {
                symbol,
                referent: Referent::Place { section, offset },
            }) => {
                // The addend counts bytes; it is not negative in what compilers write.
                (
                    symbol,
                    *section,
                    offset.saturating_add(u64::from(load.imm as u32)),
                )
            }
        };
        if let Some(code) = self.code_index(section) {
            return self
                .function_at(function, insn, code, (offset / 8) as i64)
                .map(Some);
        }
        let Some((map, target)) = self.spec.map_at(section, offset) else {
            let cause = match self.spec.other_sections.get(&section).map(String::as_str) {
                Some(GLOBALS) => format!(
                    "refers to `{symbol}`, a global in an arena ({GLOBALS}), and the object has no arena"
                ),
                Some(name) => format!(
                    "refers to `{symbol}` in section `{name}`, which is neither a map, data nor a function"
                ),
                None => {
                    format!("refers to `{symbol}`, which is neither a map, data nor a function")
                }
            };
            return Err(self.error(function, insn, cause));
        };
        let size = map
            .globals
            .as_ref()
            .map_or(map.value_size.into(), |globals| globals.size);
        if let PatchTarget::MapValue { offset, .. } = target
            && u64::from(offset) > size
        {
            let cause = format!(
                "refers to {offset} bytes into `{}`, which has {size}",
                map.name
            );
            return Err(self.error(function, insn, cause));
        }
        let target = match target {
            PatchTarget::MapValue { map: at, offset } if map.globals.is_some() => {
                PatchTarget::MapValue {
                    map: at,
                    offset: offset.wrapping_add(self.answers.arena_at),
                }
            }
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
        Ok(None)
    }

    fn code_index(&self, section: SectionIndex) -> Option<usize> {
        self.spec
            .code
            .iter()
            .position(|code| code.section == section)
    }

    fn function_at(
        &self,
        from: &Function,
        insn: u32,
        code: usize,
        target: i64,
    ) -> Result<usize, ObjectError> {
        let found = u32::try_from(target)
            .ok()
            .and_then(|start| self.spec.function_at.get(&(code, start)));
        found.copied().ok_or_else(|| {
            let section = &self.spec.code[code].name;
            self.error(
                from,
                insn,
                format!("no function begins at instruction {target} of {section}"),
            )
        })
    }

    /// An error about an instruction, counted in its section.
    pub(super) fn error(&self, function: &Function, insn: u32, cause: String) -> ObjectError {
        let section = self.spec.code[function.code].name.clone();
        let place = Some((
            InsnIndex(insn - function.start.min(insn)),
            function.name.clone(),
        ));
        ObjectError {
            section,
            offset: Some(u64::from(insn) * 8),
            insn: place,
            cause,
        }
    }
}

impl Spec {
    /// The map that a place in a section belongs to, and how an instruction refers to it.
    fn map_at(&self, section: SectionIndex, offset: u64) -> Option<(&MapSpec, PatchTarget)> {
        let in_arena = |map: &MapSpec| map.globals.as_ref().is_some_and(|g| g.section == section);
        let (index, map) = self.maps.iter().enumerate().find(|(_, map)| {
            in_arena(map)
                || map.place.0 == section && (map.name.starts_with('.') || map.place.1 == offset)
        })?;
        let target = if map.name.starts_with('.') || in_arena(map) {
            PatchTarget::MapValue {
                map: index,
                offset: u32::try_from(offset).ok()?,
            }
        } else {
            PatchTarget::Map(index)
        };
        Some((map, target))
    }
}
