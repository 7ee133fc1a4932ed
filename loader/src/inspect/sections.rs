//! What each section is for, and who reads it.

use xdplb_linker::elf::{self, SectionIndex};

use super::{Section, Subject};
use crate::object::{ProgramKind, SectionKind};

/// `sh_type` by name.
const TYPES: [(u32, &str); 16] = [
    (0, "NULL"),
    (1, "PROGBITS"),
    (2, "SYMTAB"),
    (3, "STRTAB"),
    (4, "RELA"),
    (5, "HASH"),
    (7, "NOTE"),
    (8, "NOBITS"),
    (9, "REL"),
    (11, "DYNSYM"),
    (14, "INIT_ARRAY"),
    (15, "FINI_ARRAY"),
    (17, "GROUP"),
    (18, "SYMTAB_SHNDX"),
    (0x6fff_4c03, "LLVM_ADDRSIG"),
    (0x6fff_4c0d, "LLVM_DEPENDENT_LIBRARIES"),
];

/// All sections, in the order of the file.
pub(super) fn all(subject: &Subject<'_>) -> Vec<Section> {
    let sections = subject.object.sections();
    sections
        .map(|(index, section)| {
            let (purpose, reader) = purpose(subject, index, section);
            Section {
                index: index.0,
                name: section.name.to_string(),
                r#type: type_name(section.type_number),
                flags: flags(section),
                file_offset: section.file_offset,
                size: section.size,
                align: section.align,
                relocations: section.relocations.len(),
                purpose,
                reader,
            }
        })
        .collect()
}

fn type_name(number: u32) -> String {
    let known = TYPES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("{number:#x}"), |(_, name)| (*name).to_string())
}

fn flags(section: &elf::Section<'_>) -> String {
    let flags = [
        (section.allocated, 'A'),
        (section.writable, 'W'),
        (section.executable, 'X'),
    ];
    flags
        .into_iter()
        .filter_map(|(is, flag)| is.then_some(flag))
        .collect()
}

/// One sentence, and who reads it in the end.
fn purpose(
    subject: &Subject<'_>,
    index: SectionIndex,
    section: &elf::Section<'_>,
) -> (String, &'static str) {
    let name = section.name;
    let family = |base: &str| name.strip_prefix(base).is_some_and(starts_new_word);
    let fixed = match name {
        "" if index.0 == 0 => Some((
            "nothing: entry 0 of the table, so that 0 can mean \"no section\"",
            "nobody",
        )),
        "license" => Some((
            "the license's text: some helpers are for GPL programs only",
            "kernel",
        )),
        "version" => Some((
            "a kernel version, which kernels before 5.0 wanted of kprobes",
            "kernel",
        )),
        ".maps" => Some((
            "definitions of maps, as variables whose types in .BTF say everything; the bytes are zeros",
            "loader",
        )),
        ".BTF" => Some((
            "the types: of maps, variables and functions, and the text that .BTF.ext points to",
            "kernel",
        )),
        ".BTF.ext" => Some((
            "for single instructions: the function and the source line that begin there, and CO-RE's questions",
            "kernel",
        )),
        ".kconfig" => Some(("values of the kernel's configuration", "loader")),
        ".ksyms" => Some(("functions and variables of the kernel", "loader")),
        ".addr_space.1" => Some((
            "global variables in an arena, which the loader copies into its pages",
            "loader",
        )),
        ".symtab" => Some((
            "the symbols: the names of functions, maps and variables, with their places",
            "loader",
        )),
        ".strtab" => Some(("the text of names", "loader")),
        ".shstrtab" => Some(("the text of the sections' names", "loader")),
        ".llvm_addrsig" => Some((
            "symbols whose address matters, for linkers that fold equal functions",
            "linker",
        )),
        ".comment" | ".llvm.ident" => Some(("which compiler wrote this", "nobody")),
        ".note.GNU-stack" => Some(("a mark for linkers of programs for CPUs", "nobody")),
        ".eh_frame" => Some(("how to unwind the stack, which BPF cannot do", "nobody")),
        _ => None,
    };
    if let Some((text, reader)) = fixed {
        return (text.to_string(), reader);
    }
    if let Some((of, _)) = relocations_of(subject, section) {
        let reader = match subject.object.sections.get(of.0) {
            Some(target) if target.name.starts_with(".debug") => "nobody",
            _ => "loader",
        };
        let text = format!(
            "relocations: what is still to be filled in in section `{}`",
            subject.section_name(of)
        );
        return (text, reader);
    }
    if name == "maps" || name.starts_with("maps/") {
        let text = "definitions of maps as structs of numbers, from before there was BTF";
        return (text.to_string(), "loader");
    }
    if family(".struct_ops") {
        let text = "structs of operations for the kernel, whose members are programs";
        return (text.to_string(), "loader");
    }
    if section.executable {
        return code(subject, name);
    }
    let data = [
        (
            ".rodata",
            "constants: a map that is frozen before programs load, so that the verifier knows its values",
        ),
        (".data", "variables with a value from the start: a map"),
        (
            ".bss",
            "variables that begin as zeros, not in the file: a map",
        ),
    ];
    for (base, text) in data {
        if section.allocated && family(base) {
            return (text.to_string(), "loader");
        }
    }
    if name.starts_with(".debug_") {
        let text = "debug information (DWARF); .BTF has what the kernel wants of it";
        return (text.to_string(), "nobody");
    }
    if section.type_number == 17 {
        let text = "a group: of equal ones in several files a linker keeps one";
        return (text.to_string(), "linker");
    }
    if section.allocated {
        let text = "data under a name that no loader knows: what refers to it cannot be loaded";
        return (text.to_string(), "nobody");
    }
    ("not known here; loaders pass over it".to_string(), "nobody")
}

/// `.rodata`, `.rodata.x`, but not `.rodatax`.
fn starts_new_word(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(['.', '/'])
}

/// For a section of relocations: which section it is about. Its name says it (`.relxdp`, `.rel.text`).
fn relocations_of<'a>(
    subject: &'a Subject<'_>,
    section: &elf::Section<'_>,
) -> Option<(SectionIndex, &'a str)> {
    if !matches!(section.type_number, 4 | 9) {
        return None;
    }
    let rest = section.name.strip_prefix(".rela");
    let rest = rest.or(section.name.strip_prefix(".rel"))?;
    let (index, found) = subject.object.section_named(rest)?;
    Some((index, found.name))
}

fn code(subject: &Subject<'_>, name: &str) -> (String, &'static str) {
    let here = subject.spec.programs.iter().filter(|p| p.section == name);
    let names: Vec<&str> = here.map(|program| program.name.as_str()).collect();
    if names.is_empty() {
        let text = "functions that programs call: the loader appends them to each program that reaches them";
        return (text.to_string(), "loader");
    }
    let plural = if names.len() == 1 { "" } else { "s" };
    let listed = super::narrow::shortened(&names);
    let text = match ProgramKind::of_section(name) {
        SectionKind::Known(kind) => {
            format!("the {} program{plural} {listed}", kind.program_type)
        }
        SectionKind::Unsupported { what, .. } => format!("the {what} program{plural} {listed}"),
        SectionKind::Unknown => {
            format!("the program{plural} {listed}, whose type the section's name does not say")
        }
    };
    (text, "kernel")
}
