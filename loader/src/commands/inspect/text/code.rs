//! PURE: instructions below the lines of their source.

use std::fmt::Write;

use super::super::columns::{DIM, NAME, mark};
use super::{bad, count, head};
use crate::inspect::{Code, Inspection, Instruction, SourcePlace};

/// All instructions.
pub(super) fn code(inspection: &Inspection) -> Option<String> {
    let shown = inspection.code.iter();
    let shown: Vec<&Code> = shown
        .filter(|code| !code.instructions.is_empty() || code.error.is_some())
        .collect();
    if shown.is_empty() {
        return None;
    }
    let mut text = head(
        "INSTRUCTIONS",
        "as the verifier's log writes them; `pc+5` is the fifth after the next one",
    );
    for code in shown {
        let _ = writeln!(text, "section {}", mark(NAME, &code.section));
        if let Some(error) = &code.error {
            let _ = writeln!(text, "  {}", bad(error));
        }
        if let Some(why) = &code.no_lines {
            let _ = writeln!(text, "  {}", mark(DIM, &format!("no source lines: {why}")));
        }
        let mut function = None;
        let mut source = None;
        for insn in &code.instructions {
            if insn.function != function || insn.at == 0 {
                function = insn.function;
                source = None;
                function_line(inspection, function, &mut text);
            }
            if let Some(place) = &insn.source
                && source != Some((&place.file, place.line))
            {
                source = Some((&place.file, place.line));
                text += &source_line(place);
            }
            text += &instruction(insn);
        }
    }
    Some(text)
}

fn function_line(inspection: &Inspection, function: Option<usize>, text: &mut String) {
    let Some(function) = function.and_then(|index| inspection.functions.get(index)) else {
        text.push_str("\nno function:\n");
        return;
    };
    let name = function.readable.as_ref().unwrap_or(&function.name);
    let stack = match function.stack {
        Some(0) => "no stack".to_string(),
        Some(bytes) => format!("{bytes} bytes of stack"),
        None => "stack not worked out".into(),
    };
    let declared = match &function.declaration {
        Some(declaration) => format!("{declaration}, "),
        None => String::new(),
    };
    let _ = writeln!(
        text,
        "\n{}: {}",
        mark(NAME, name),
        mark(
            DIM,
            &format!(
                "{declared}{}, {stack}",
                count(function.len as usize, "instruction")
            )
        )
    );
}

fn source_line(place: &SourcePlace) -> String {
    let line = match place.line {
        0 => "made up by the compiler".to_string(),
        line => format!("{}:{line}", place.file),
    };
    let text = match place.text.as_str() {
        "" => line,
        text => format!("{line}: {text}"),
    };
    mark(DIM, &format!("     ; {text}")) + "\n"
}

fn instruction(insn: &Instruction) -> String {
    let mut remark = String::new();
    if let Some(to) = insn.to {
        remark = format!("→ {to}");
    }
    if let Some(becomes) = &insn.becomes {
        // The relocations tell the rest.
        remark = becomes.split(": ").next().unwrap_or(becomes).to_string();
    }
    let mut line = format!("{:>6}  {}", insn.at, insn.named);
    if !remark.is_empty() {
        let width = line.chars().count();
        line += &" ".repeat(44usize.saturating_sub(width).max(2));
        line += &mark(DIM, &remark);
    }
    line.push('\n');
    if let Some(error) = &insn.error {
        line += &format!("        {}\n", bad(error));
    }
    line
}
