//! What an instruction refers to, as the object alone says it: another function, a map, a place in a map's value, something
//! of the kernel. Both who lays programs out and who only looks ask here.

use std::sync::Arc;

use xdplb_linker::elf::SectionIndex;
use xdplb_linker::insn::{BPF_PSEUDO_FUNC, Insn, InsnIndex, Step};

use super::arena::GLOBALS;
use super::relocate::{Reference, Referent};
use super::spec::Function;
use super::{MapSpec, ObjectError, PatchTarget, Spec};

/// Where an instruction aims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// At nothing beyond its own fields; calls of helpers, too.
    Nothing,
    /// At a function of the object: an index into its functions.
    Function(usize),
    /// At a map, or into the only value of one. Of a variable in an arena: its place among them.
    Map {
        symbol: Arc<str>,
        target: PatchTarget,
    },
    /// At what the object does not define.
    Kernel(Arc<str>),
}

impl Spec {
    /// The aim of one instruction of a function; `insn` counts instructions of its section.
    pub(super) fn aim(
        &self,
        function: &Function,
        insn: u32,
        step: Step,
    ) -> Result<Aim, ObjectError> {
        let code = &self.code[function.code];
        let reference = code.references.get(insn);
        if let Some(Reference {
            referent: Referent::Broken(cause),
            ..
        }) = reference
        {
            return Err(self.error_at(function, insn, cause.clone()));
        }
        if step.insn.is_call() {
            return self.callee(function, insn, step.insn, reference);
        }
        if step.insn.is_ld_imm64() {
            if step.second.is_none() {
                let cause = "the function ends within an instruction".into();
                return Err(self.error_at(function, insn, cause));
            }
            return self.address(function, insn, step.insn, reference);
        }
        Ok(Aim::Nothing)
    }

    /// What a call goes to.
    fn callee(
        &self,
        function: &Function,
        insn: u32,
        call: Insn,
        reference: Option<&Reference>,
    ) -> Result<Aim, ObjectError> {
        let relative = i64::from(call.imm) + 1;
        match reference {
            None if !call.is_pseudo_call() => Ok(Aim::Nothing),
            None => {
                let target = i64::from(insn) + relative;
                self.function_starting(function, insn, function.code, target)
            }
            Some(Reference {
                symbol,
                referent: Referent::Undefined { .. } | Referent::Broken(_),
            }) => Ok(Aim::Kernel(symbol.clone())),
            Some(Reference {
                symbol,
                referent: Referent::Place { section, offset },
            }) => match self.code_index(*section) {
                // The addend counts instructions: -1 with a function's symbol, the place with a section's.
                Some(code) => {
                    let target = (*offset / 8) as i64 + relative;
                    self.function_starting(function, insn, code, target)
                }
                None => {
                    let cause = format!("calls `{symbol}`, which is not code");
                    Err(self.error_at(function, insn, cause))
                }
            },
        }
    }

    /// What a ld_imm64 loads: a map or data, a function, or nothing but a number.
    fn address(
        &self,
        function: &Function,
        insn: u32,
        load: Insn,
        reference: Option<&Reference>,
    ) -> Result<Aim, ObjectError> {
        let (symbol, section, offset) = match reference {
            None if load.src == BPF_PSEUDO_FUNC => {
                let target = i64::from(insn) + i64::from(load.imm) + 1;
                return self.function_starting(function, insn, function.code, target);
            }
            None => return Ok(Aim::Nothing),
            Some(Reference {
                symbol,
                referent: Referent::Undefined { .. } | Referent::Broken(_),
            }) => return Ok(Aim::Kernel(symbol.clone())),
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
            return self.function_starting(function, insn, code, (offset / 8) as i64);
        }
        let Some((map, target)) = self.map_at(section, offset) else {
            let cause = match self.other_sections.get(&section).map(String::as_str) {
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
            return Err(self.error_at(function, insn, cause));
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
            return Err(self.error_at(function, insn, cause));
        }
        Ok(Aim::Map {
            symbol: symbol.clone(),
            target,
        })
    }

    fn code_index(&self, section: SectionIndex) -> Option<usize> {
        self.code.iter().position(|code| code.section == section)
    }

    fn function_starting(
        &self,
        from: &Function,
        insn: u32,
        code: usize,
        target: i64,
    ) -> Result<Aim, ObjectError> {
        let found = u32::try_from(target)
            .ok()
            .and_then(|start| self.function_at.get(&(code, start)));
        found.copied().map(Aim::Function).ok_or_else(|| {
            let section = &self.code[code].name;
            let cause = format!("no function begins at instruction {target} of {section}");
            self.error_at(from, insn, cause)
        })
    }

    /// An error about an instruction, counted in its section.
    pub(super) fn error_at(&self, function: &Function, insn: u32, cause: String) -> ObjectError {
        let section = self.code[function.code].name.clone();
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
