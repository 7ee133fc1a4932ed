//! PURE: an inspection as text that teaches: what each thing is, who reads it, what it will become.

mod code;
mod maps;

use std::fmt::Write;

use super::Part;
use super::columns::{BAD, DIM, HEAD, NAME, columns, cut, mark};
use super::tree;
use crate::inspect::{Inspection, Program, Relocation};

/// The text. `only` names its parts, all where it is empty; of a narrowed inspection parts with nothing in them are left out.
pub(super) fn text(name: &str, inspection: &Inspection, only: &[Part], narrowed: bool) -> String {
    let wanted = |part: Part| only.is_empty() || only.contains(&part);
    let mut parts = Vec::new();
    let mut part = |which: Part, text: Option<String>| {
        if wanted(which)
            && let Some(text) = text
        {
            parts.push(text);
        }
    };
    part(
        Part::Header,
        (!narrowed || only.contains(&Part::Header)).then(|| header(name, inspection)),
    );
    part(Part::Sections, sections(inspection));
    part(Part::Programs, programs(inspection));
    part(Part::Maps, maps::maps(inspection));
    part(Part::Maps, maps::expectations(inspection));
    part(Part::Symbols, symbols(inspection));
    part(Part::Relocations, relocations(inspection));
    part(Part::Relocations, core(inspection));
    part(Part::Types, types(inspection, narrowed));
    part(Part::Code, code::code(inspection));
    part(Part::Bytes, bytes(inspection));
    if parts.is_empty() {
        return format!("{name}: nothing of what was asked for is in it\n");
    }
    parts.join("\n")
}

fn head(title: &str, says: &str) -> String {
    match says {
        "" => mark(HEAD, title) + "\n",
        says => format!("{}  {}\n", mark(HEAD, title), mark(DIM, says)),
    }
}

fn bad(error: &str) -> String {
    // Remedies stand on lines of their own.
    format!("{} {}", mark(BAD, "error:"), error.replace('\n', "\n  "))
}

fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

fn header(name: &str, inspection: &Inspection) -> String {
    let header = &inspection.header;
    let license = match inspection.license.as_str() {
        "" => "none, so helpers for GPL programs are refused".to_string(),
        license => format!("`{license}`"),
    };
    let mut text = head(
        "HEADER",
        "what the file says of itself: a compiler's output, not yet placed in memory",
    );
    let _ = write!(
        text,
        "  {name}: {} bytes, {}, {}, {}\n  machine {}, flags {:#x}; {} at {:#x}, their names in section {}\n  license {license}",
        header.file_size,
        header.class,
        header.byte_order,
        header.form,
        header.machine,
        header.flags,
        count(inspection.sections.len(), "section"),
        header.section_table,
        header.names_section,
    );
    if inspection.kernel_version != 0 {
        let _ = write!(text, "; version {:#x}", inspection.kernel_version);
    }
    text + "\n"
}

fn sections(inspection: &Inspection) -> Option<String> {
    if inspection.sections.is_empty() {
        return None;
    }
    let rows: Vec<[String; 9]> = inspection
        .sections
        .iter()
        .map(|section| {
            [
                section.index.to_string(),
                mark(NAME, &cut(&section.name)),
                section.r#type.clone(),
                section.flags.clone(),
                format!("{:#x}", section.file_offset),
                section.size.to_string(),
                match section.relocations {
                    0 => String::new(),
                    some => some.to_string(),
                },
                section.reader.to_string(),
                section.purpose.clone(),
            ]
        })
        .collect();
    let table = columns(
        [
            "NR",
            "NAME",
            "TYPE",
            "FLAGS",
            "OFFSET",
            "BYTES",
            "RELOCS",
            "READ BY",
            "WHAT IT IS FOR",
        ],
        &[0, 4, 5, 6],
        &rows,
    );
    Some(
        head(
            "SECTIONS",
            "A: part of the program, W: writable, X: instructions",
        ) + &table,
    )
}

fn programs(inspection: &Inspection) -> Option<String> {
    if inspection.programs.is_empty() {
        return None;
    }
    let says = "what can be loaded; the loader appends the functions that a program reaches to it";
    let mut text = head("PROGRAMS", says);
    for program in &inspection.programs {
        text += &program_text(inspection, program);
    }
    Some(text)
}

fn program_text(inspection: &Inspection, program: &Program) -> String {
    let kind = match &program.r#type {
        Some(kind) => kind.clone(),
        None => "of a type that its section's name does not say (verify --type)".into(),
    };
    let mut text = format!(
        "{}: {kind}, in section `{}`, {} in {}",
        mark(NAME, &program.name),
        program.section,
        count(program.instructions as usize, "instruction"),
        count(program.reaches.len(), "function"),
    );
    if let Some(attach) = &program.attach_type {
        text += &format!(", attach type {attach}");
    }
    if let Some(target) = &program.target {
        text += &format!(", at {target}");
    }
    if program.sleepable {
        text += ", may sleep";
    }
    text += "\n";
    if let Some(error) = &program.error {
        text += &format!("  {}\n", bad(error));
    }
    if !program.maps.is_empty() {
        text += &format!("  maps   {}\n", program.maps.join(", "));
    }
    text += &tree::stack(inspection, program);
    text + &tree::tree(inspection, program)
}

fn symbols(inspection: &Inspection) -> Option<String> {
    if inspection.symbols.is_empty() {
        return None;
    }
    let rows: Vec<[String; 7]> = inspection
        .symbols
        .iter()
        .map(|symbol| {
            [
                symbol.index.to_string(),
                symbol.kind.to_string(),
                match symbol.visibility {
                    "hidden" => format!("{}, hidden", symbol.binding),
                    _ => symbol.binding.to_string(),
                },
                symbol
                    .section
                    .as_deref()
                    .map_or_else(|| symbol.place.to_string(), cut),
                format!("{:#x}", symbol.value),
                symbol.size.to_string(),
                mark(NAME, symbol.readable.as_ref().unwrap_or(&symbol.name)),
            ]
        })
        .collect();
    let table = columns(
        ["NR", "KIND", "BINDING", "SECTION", "AT", "BYTES", "NAME"],
        &[0, 4, 5],
        &rows,
    );
    Some(
        head(
            "SYMBOLS",
            "names with places: what relocations and loaders go by",
        ) + &table,
    )
}

fn relocations(inspection: &Inspection) -> Option<String> {
    if inspection.relocations.is_empty() {
        return None;
    }
    let says = "what the compiler could not know, and what each becomes";
    let mut text = head("RELOCATIONS", says);
    let mut section = None;
    for alike in inspection.relocations.chunk_by(are_alike) {
        let [found, more @ ..] = alike else { continue };
        if section != Some(&found.section) {
            section = Some(&found.section);
            let _ = writeln!(text, "section {}", mark(NAME, &found.section));
        }
        let place = match (found.insn, &found.function) {
            (Some(insn), Some(function)) => format!("instruction {insn} in {}", cut(function)),
            (Some(insn), None) => format!("instruction {insn}"),
            (None, _) => format!("byte {:#x}", found.offset),
        };
        let place = match more.len() {
            0 => place,
            more => format!("{place} and {more} more"),
        };
        let what = match &found.text {
            Some(text) => format!(" `{text}`,"),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "  {place}:{what} {} ({}) against `{}`",
            found.r#type,
            found.number,
            cut(&found.symbol)
        );
        if !found.becomes.is_empty() {
            let _ = writeln!(text, "    → {}", found.becomes);
        }
        if let Some(error) = &found.error {
            let _ = writeln!(text, "    {}", bad(error));
        }
    }
    Some(text)
}

/// Outside of code many a place gets the same: one line for all of them.
fn are_alike(one: &Relocation, next: &Relocation) -> bool {
    one.insn.is_none()
        && one.section == next.section
        && one.symbol == next.symbol
        && one.number == next.number
        && one.becomes == next.becomes
}

fn core(inspection: &Inspection) -> Option<String> {
    if inspection.core.is_empty() {
        return None;
    }
    let says = "questions to the running kernel's types (CO-RE); the loader writes the answers into the instructions";
    let mut text = head("QUESTIONS", says);
    for question in &inspection.core {
        let place = match &question.function {
            Some(function) => format!("instruction {} in {}", question.insn, cut(function)),
            None => format!("{}, instruction {}", question.section, question.insn),
        };
        let _ = writeln!(
            text,
            "  {place}: `{}` asks {} of {}\n    → {}",
            question.text, question.question, question.about, question.becomes
        );
    }
    Some(text)
}

fn types(inspection: &Inspection, narrowed: bool) -> Option<String> {
    let types = &inspection.types;
    if narrowed && types.declarations.is_empty() {
        return None;
    }
    if let Some(error) = &types.error {
        return Some(format!(
            "{}  {}\n",
            head("TYPES", "").trim_end(),
            bad(error)
        ));
    }
    let says = format!(
        "{} (BTF), {} bytes of names, files and source lines; here in an order that compiles",
        count(types.count, "type"),
        types.string_bytes
    );
    let mut text = head("TYPES", &says);
    for declaration in &types.declarations {
        text += &declaration.text;
        text.push('\n');
    }
    Some(text)
}

fn bytes(inspection: &Inspection) -> Option<String> {
    if inspection.bytes.is_empty() {
        return None;
    }
    let mut text = head(
        "BYTES",
        "each with what it is; the first column counts from the file's start",
    );
    for part in &inspection.bytes {
        let _ = writeln!(text, "{}", mark(NAME, &part.part));
        for row in &part.rows {
            text += &byte_row(row.offset, &row.bytes, &row.what);
        }
    }
    Some(text)
}

/// Sixteen bytes a line, the meaning beside the first.
fn byte_row(offset: u64, hex: &str, what: &str) -> String {
    let digits: Vec<char> = hex.chars().collect();
    let mut text = String::new();
    for (index, line) in digits.chunks(32).enumerate() {
        let pairs: Vec<String> = line.chunks(2).map(|pair| pair.iter().collect()).collect();
        let what = if index == 0 { what } else { "" };
        let at = offset + index as u64 * 16;
        let line = format!("  {at:06x}  {:<47}  {what}", pairs.join(" "));
        text += line.trim_end();
        text.push('\n');
    }
    text
}
