//! PURE: maps, and what is expected of the kernel.

use std::fmt::Write;

use super::super::columns::{DIM, NAME, columns, cut, mark};
use super::{bad, head};
use crate::inspect::{Inspection, Map};

/// All maps.
pub(super) fn maps(inspection: &Inspection) -> Option<String> {
    if inspection.maps.is_empty() {
        return None;
    }
    let mut text = head("MAPS", "memory that programs and user space share");
    for map in &inspection.maps {
        map_text(map, 0, &mut text);
    }
    Some(text)
}

fn map_text(map: &Map, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let mut line = |line: String| {
        for one in line.lines() {
            let _ = writeln!(text, "{indent}{one}");
        }
    };
    let entries = match map.max_entries {
        0 => "entries left open".to_string(),
        1 => "1 entry".to_string(),
        n => format!("{n} entries"),
    };
    line(format!(
        "{}: {}, key {} bytes, value {} bytes, {entries}",
        mark(NAME, &map.name),
        map.r#type,
        map.key_size,
        map.value_size
    ));
    if let Some(error) = &map.error {
        line(format!("  {}", bad(error)));
    }
    if map.flags != 0 {
        line(format!(
            "  flags  {:#x}: {}",
            map.flags,
            map.flag_names.join(", ")
        ));
    }
    if let Some(node) = map.numa_node {
        line(format!("  NUMA node {node}"));
    }
    if map.extra != 0 {
        line(format!("  extra  {}", map.extra));
    }
    if map.pinning != "none" {
        line("  pinned under its name, so that another program finds it".into());
    }
    if map.frozen {
        line("  frozen once it is filled: the verifier knows its values".into());
    }
    if let Some(section) = &map.section {
        let from = match map.source {
            "btf" => "members of its type in .BTF, whose types are the values",
            "legacy" => "the words there",
            _ => "the section itself: its bytes are the map's only value",
        };
        line(format!("  read from {section} + {:#x}: {from}", map.offset));
    } else if map.source == "kconfig" {
        line("  made by the loader for what is expected of the kernel's configuration".into());
    }
    let widest = map.read_from.iter().map(|read| read.text.chars().count());
    let widest = widest.max().unwrap_or(0).min(40);
    for read in &map.read_from {
        let text = read.text.replace('\n', " ");
        line(format!(
            "    +{:<3} {text:<widest$}  {}",
            read.offset, read.says
        ));
    }
    for (what, ty) in [("key", &map.key), ("value", &map.value)] {
        let Some(ty) = ty else { continue };
        line(format!(
            "  {what}  {} (type {})",
            mark(NAME, &ty.name),
            ty.id
        ));
        for declared in ty.declaration.lines() {
            line(format!("    {declared}"));
        }
    }
    for slot in &map.slots {
        line(format!(
            "  slot {}: {} `{}`",
            slot.slot, slot.kind, slot.name
        ));
    }
    for variable in &map.variables {
        let name = variable.readable.as_ref().unwrap_or(&variable.name);
        let declared = match &variable.declaration {
            Some(declaration) if variable.readable.is_none() => declaration.replace('\n', " "),
            _ => name.clone(),
        };
        let bytes = match variable.bytes.as_str() {
            "" => "zeros".to_string(),
            hex => spaced(hex),
        };
        line(format!(
            "    +{:<5} {:>5} bytes  {declared}\n{:22}{}",
            variable.offset,
            variable.size,
            "",
            mark(DIM, &bytes)
        ));
    }
    if let Some(inner) = &map.inner {
        line("  the maps in it:".into());
        map_text(inner, depth + 2, text);
    }
    let indent = "  ".repeat(depth);
    for user in &map.users {
        let shown: Vec<String> = user.insns.iter().take(8).map(u32::to_string).collect();
        let more = match user.insns.len().saturating_sub(8) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = writeln!(
            text,
            "{indent}  used by {} at {}{more}",
            cut(&user.function),
            shown.join(", ")
        );
    }
}

/// Hexadecimal digits in groups of four bytes, so many that they fit a line.
fn spaced(hex: &str) -> String {
    let digits: Vec<char> = hex.chars().collect();
    let groups: Vec<String> = digits
        .chunks(8)
        .take(8)
        .map(|group| group.iter().collect())
        .collect();
    let more = if digits.len() > 64 { " …" } else { "" };
    groups.join(" ") + more
}

/// What is expected of the kernel by name.
pub(super) fn expectations(inspection: &Inspection) -> Option<String> {
    if inspection.expectations.is_empty() {
        return None;
    }
    let says = "of the kernel, by name: its functions, variables and configuration";
    let mut text = head("EXPECTED", says);
    let rows: Vec<[String; 4]> = inspection
        .expectations
        .iter()
        .map(|one| {
            [
                mark(NAME, &cut(&one.name)),
                one.kind.to_string(),
                if one.weak {
                    "can do without"
                } else {
                    "must be there"
                }
                .to_string(),
                one.declaration
                    .as_deref()
                    .unwrap_or_default()
                    .replace('\n', " "),
            ]
        })
        .collect();
    text += &columns(["NAME", "WHAT", "", "DECLARATION"], &[], &rows);
    Some(text)
}
