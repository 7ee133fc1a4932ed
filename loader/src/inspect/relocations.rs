//! Relocations: every place that the compiler left open, and what it will become.

use std::collections::HashMap;

use xdplb_linker::elf::{self, Place, RelocationKind, Symbol, SymbolKind};

use super::code::{Known, Owners};
use super::{Code, CoreQuestion, Instruction, Relocation, Subject, becomes};

/// All relocations, section by section.
pub(super) fn all(subject: &Subject<'_>, functions: &[Known], code: &[Code]) -> Vec<Relocation> {
    let mut found = Vec::new();
    let indices: HashMap<elf::SectionIndex, usize> = subject
        .spec
        .code_outlines()
        .enumerate()
        .map(|(at, outline)| (outline.section, at))
        .collect();
    for (index, section) in subject.object.sections() {
        let of_code = indices.get(&index).copied();
        let insns: HashMap<u32, &Instruction> = of_code
            .and_then(|at| code.get(at))
            .into_iter()
            .flat_map(|code| &code.instructions)
            .map(|insn| (insn.at, insn))
            .collect();
        let owners = of_code.map(|at| Owners::of(functions, at));
        for relocation in &section.relocations {
            let Some(symbol) = subject.object.symbols.get(relocation.symbol.0) else {
                continue;
            };
            let mut view = Relocation {
                section: section.name.to_string(),
                offset: relocation.offset,
                insn: None,
                function: None,
                number: relocation.kind.number(),
                r#type: type_name(relocation.kind),
                symbol: symbol_name(subject, symbol),
                text: None,
                becomes: String::new(),
                error: None,
            };
            if let Some(owners) = &owners {
                let at = u32::try_from(relocation.offset / 8).unwrap_or(u32::MAX);
                let owner = owners.of_insn(at);
                view.insn = Some(at);
                view.function = owner.map(|f| becomes::function_name(subject, f).to_string());
                match insns.get(&at) {
                    Some(insn) => {
                        view.text = Some(insn.text.clone());
                        view.error = insn.error.clone();
                        view.becomes = insn.becomes.clone().unwrap_or_default();
                        if owner.is_none() {
                            view.becomes = "nothing: no function is there".into();
                        }
                    }
                    None => view.becomes = "nothing: no instruction begins there".into(),
                }
            } else {
                view.becomes = data(section, relocation.kind, &view.symbol, symbol);
            }
            found.push(view);
        }
    }
    found
}

/// What a relocation outside of code becomes.
fn data(
    section: &elf::Section<'_>,
    kind: RelocationKind,
    name: &str,
    symbol: &Symbol<'_>,
) -> String {
    let value = symbol.value;
    match (section.name, kind) {
        (".BTF", _) => {
            format!("{value}: the place of `{name}` in its section, which the loader fills in")
        }
        (".BTF.ext", _) => {
            format!("{value} more: where `{name}` begins, so that the record names an instruction")
        }
        (".maps", _) => match symbol.kind {
            SymbolKind::Func => {
                format!("program `{name}` in this slot, once map and program exist")
            }
            _ => format!("map `{name}` in this slot, once both exist"),
        },
        (section, _) if section.starts_with(".struct_ops") => {
            format!("program `{name}` as this member of the struct")
        }
        (section, _) if section.starts_with(".debug") => {
            "nothing: debug information is not loaded".to_string()
        }
        (_, RelocationKind::Abs64 | RelocationKind::Abs32) => {
            format!("nothing: no loader fills in the address of `{name}` in data")
        }
        _ => "nothing: loaders pass over it".to_string(),
    }
}

fn type_name(kind: RelocationKind) -> &'static str {
    match kind {
        RelocationKind::Imm64 => "R_BPF_64_64",
        RelocationKind::Abs64 => "R_BPF_64_ABS64",
        RelocationKind::Abs32 => "R_BPF_64_ABS32",
        RelocationKind::Nodyld32 => "R_BPF_64_NODYLD32",
        RelocationKind::Call => "R_BPF_64_32",
    }
}

fn symbol_name(subject: &Subject<'_>, symbol: &Symbol<'_>) -> String {
    match (symbol.kind, symbol.place) {
        (SymbolKind::Section, Place::Section(section)) => {
            super::clipped(subject.section_name(section))
        }
        _ => super::clipped(&xdplb_linker::link::readable(symbol.name)),
    }
}

/// All questions to the kernel's types.
pub(super) fn core(subject: &Subject<'_>, functions: &[Known], code: &[Code]) -> Vec<CoreQuestion> {
    let mut found = Vec::new();
    for (index, code) in code.iter().enumerate() {
        let questions = subject.spec.questions(&code.section);
        if questions.is_empty() {
            continue;
        }
        let owners = Owners::of(functions, index);
        let texts: HashMap<u32, &str> = code
            .instructions
            .iter()
            .map(|insn| (insn.at, insn.text.as_str()))
            .collect();
        for (insn, about, question) in questions {
            let owner = owners.of_insn(insn);
            found.push(CoreQuestion {
                section: code.section.clone(),
                insn,
                function: owner.map(|f| becomes::function_name(subject, f).to_string()),
                about,
                question,
                text: texts.get(&insn).copied().unwrap_or_default().to_string(),
                becomes: becomes::core(question),
            });
        }
    }
    found
}
