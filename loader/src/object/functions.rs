//! Sections of code: their instructions, the functions in them, and which of those are programs.
//!
//! What is wrong with one function or one section costs only the programs that consist of it; it is kept with them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use xdplb_linker::elf::{
    Binding, Object, Place, SectionIndex, SectionKind as Bytes, Symbol, SymbolKind,
};
use xdplb_linker::insn::{self, Insn};

use super::relocate::{self, Referent};
use super::spec::{Code, Function};
use super::{ObjectError, ProgramKind, ProgramSpec, SectionKind};

/// The sections of code with what their instructions refer to.
pub(super) fn read_code(object: &Object<'_>, names: &[Arc<str>]) -> Vec<Code> {
    let sections = object.sections().filter(|(_, section)| {
        section.allocated
            && section.executable
            && section.kind == Bytes::Bytes
            && !section.data.is_empty()
    });
    sections
        .map(|(index, section)| {
            let (insns, broken) = match insn::decode_all(section.name, section.data) {
                Ok(insns) => (insns, None),
                Err(error) => (Vec::new(), Some(error.into())),
            };
            Code {
                name: section.name.to_string(),
                section: index,
                references: relocate::references(object, section, &insns, names),
                insns,
                broken,
            }
        })
        .collect()
}

/// The functions of all sections, and the programs among them.
pub(super) fn read(object: &Object<'_>, code: &[Code]) -> (Vec<Function>, Vec<ProgramSpec>) {
    let mut symbols: HashMap<SectionIndex, Vec<&Symbol<'_>>> = HashMap::new();
    for symbol in &object.symbols {
        if let Place::Section(section) = symbol.place {
            symbols.entry(section).or_default().push(symbol);
        }
    }
    let referred = referred(code);
    let mut functions = Vec::new();
    let mut programs = Vec::new();
    for (index, code) in code.iter().enumerate() {
        let symbols = symbols.remove(&code.section).unwrap_or_default();
        let found = of_section(code, symbols);
        let kind = ProgramKind::of_section(&code.name);
        // A program that its author made `static` is one all the same, where a section of a type holds nothing else.
        let lonely = !is_text(&code.name)
            && kind != SectionKind::Unknown
            && found.iter().all(|found| found.binding == Binding::Local);
        for found in found {
            let program = is_program(&code.name, found.binding)
                || lonely && !referred.contains(&(code.section, found.start));
            let mut function = Function {
                name: found.name.to_string(),
                code: index,
                start: 0,
                len: 0,
            };
            let broken = match found.extent(code) {
                Ok((start, len)) => {
                    (function.start, function.len) = (start, len);
                    None
                }
                Err(error) => Some(error),
            };
            if program {
                programs.push(ProgramSpec {
                    name: function.name.clone(),
                    section: code.name.clone(),
                    kind: kind.clone(),
                    function: functions.len(),
                    broken: broken.clone(),
                });
            }
            if program || broken.is_none() {
                functions.push(function);
            }
        }
    }
    if programs.is_empty()
        && let Some(only) = only_function(code, &functions)
    {
        programs.push(only);
    }
    (functions, programs)
}

/// A function as its section's symbols tell of it, in bytes.
struct Found<'a> {
    name: &'a str,
    start: u64,
    size: u64,
    binding: Binding,
}

impl Found<'_> {
    /// First instruction and number of instructions.
    fn extent(&self, code: &Code) -> Result<(u32, u32), ObjectError> {
        if let Some(error) = &code.broken {
            return Err(error.clone());
        }
        let fail = |cause: String| Err(ObjectError::at(&code.name, self.start, cause));
        if !self.start.is_multiple_of(8) || !self.size.is_multiple_of(8) || self.size == 0 {
            return fail(format!(
                "function `{}` takes {} bytes: not whole instructions",
                self.name, self.size
            ));
        }
        let section_size = (code.insns.len() * Insn::SIZE) as u64;
        if self.start.saturating_add(self.size) > section_size {
            return fail(format!("function `{}` ends past its section", self.name));
        }
        // Below 4 GiB: the reader bounds sections.
        Ok(((self.start / 8) as u32, (self.size / 8) as u32))
    }
}

/// The functions of one section, in order. LLVM before 7 gave functions no type, so where no symbol has one those that name
/// no label are functions; where there is no symbol at all, the section is one function.
fn of_section<'a>(code: &'a Code, symbols: Vec<&Symbol<'a>>) -> Vec<Found<'a>> {
    let typed = symbols.iter().any(|symbol| symbol.kind == SymbolKind::Func);
    let mut symbols: Vec<&Symbol<'_>> = symbols
        .into_iter()
        .filter(|symbol| match symbol.kind {
            SymbolKind::Func => true,
            SymbolKind::Untyped => !typed && !is_label(symbol),
            SymbolKind::Object | SymbolKind::Section | SymbolKind::File | SymbolKind::Other => {
                false
            }
        })
        .collect();
    symbols.sort_by_key(|symbol| symbol.value);
    let section_size = (code.insns.len() * Insn::SIZE) as u64;
    if symbols.is_empty() {
        return vec![Found {
            name: &code.name,
            start: 0,
            size: section_size,
            binding: Binding::Global,
        }];
    }
    symbols
        .iter()
        .enumerate()
        .map(|(at, symbol)| {
            let later = symbols[at + 1..].iter().find(|s| s.value > symbol.value);
            let next = later.map_or(section_size, |s| s.value);
            Found {
                name: symbol.name,
                start: symbol.value,
                size: if symbol.size == 0 {
                    next.saturating_sub(symbol.value)
                } else {
                    symbol.size
                },
                binding: symbol.binding,
            }
        })
        .collect()
}

/// `LBB0_3`, `.Ltmp1`: places within a function.
fn is_label(symbol: &Symbol<'_>) -> bool {
    symbol.binding == Binding::Local
        && (symbol.name.is_empty()
            || symbol.name.starts_with(".L")
            || symbol.name.starts_with("LBB")
            || symbol.name.starts_with("Ltmp"))
}

fn is_text(section: &str) -> bool {
    section == ".text" || section.starts_with(".text.")
}

/// Local functions and those of `.text` are only ever called (libbpf's rule: `prog_is_subprog`).
fn is_program(section: &str, binding: Binding) -> bool {
    !is_text(section) && binding != Binding::Local
}

/// The places that calls and addresses name by a symbol.
fn referred(code: &[Code]) -> HashSet<(SectionIndex, u64)> {
    code.iter()
        .flat_map(|code| code.references.iter())
        .filter_map(|reference| match &reference.referent {
            Referent::Place { section, offset } => Some((*section, *offset)),
            Referent::Undefined { .. } | Referent::Broken(_) => None,
        })
        .collect()
}

/// The only function of an object that names no section for it (libbpf's rule, too): what it is must be said.
fn only_function(code: &[Code], functions: &[Function]) -> Option<ProgramSpec> {
    let [only] = functions else {
        return None;
    };
    Some(ProgramSpec {
        name: only.name.clone(),
        section: code.get(only.code)?.name.clone(),
        kind: SectionKind::Unknown,
        function: 0,
        broken: None,
    })
}
