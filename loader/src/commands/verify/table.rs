//! PURE: an outcome as two tables, one of maps and one of programs, in aligned columns.

use super::super::clean;
use super::super::columns::{aligned, letters};
use super::outcome::{MapOutcome, Outcome, ProgramOutcome};

/// A name longer than this is cut: a hostile file's must not fill the screen.
const WIDEST: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}
use Align::{Left, Right};

/// The object's tables; below its path where several objects are shown.
pub(super) fn text(outcome: &Outcome, headed: bool) -> String {
    let mut parts = Vec::new();
    if headed {
        parts.push(format!("{}:", clean(&outcome.path)));
    }
    if !outcome.maps.is_empty() {
        let head = ["MAP", "TYPE", "KEY", "VALUE", "ENTRIES", ""];
        let rows = outcome.maps.iter().map(map_row).collect();
        parts.push(table(head, [Left, Left, Right, Right, Right, Left], rows));
    }
    if !outcome.programs.is_empty() {
        if !outcome.maps.is_empty() {
            parts.push(String::new());
        }
        let head = [
            "PROGRAM", "SECTION", "TYPE", "INSNS", "XLATED", "JITED", "VERIFIED", "TIME", "",
        ];
        let align = [Left, Left, Left, Right, Right, Right, Right, Right, Left];
        let rows = outcome.programs.iter().map(program_row).collect();
        parts.push(table(head, align, rows));
    }
    parts.join("\n")
}

fn map_row(map: &MapOutcome) -> [String; 6] {
    let remark = match (map.ok, map.reused) {
        (false, _) => "failed",
        (true, true) => "reused",
        (true, false) => "",
    };
    [
        name(&map.name),
        map.r#type.clone(),
        number(map.key_size.into()),
        number(map.value_size.into()),
        number(map.max_entries.into()),
        remark.into(),
    ]
}

fn program_row(program: &ProgramOutcome) -> [String; 9] {
    let bytes =
        |bytes: Option<u32>| bytes.map_or_else(nothing, |n| format!("{} B", number(n.into())));
    [
        name(&program.name),
        name(&program.section),
        program.r#type.clone().unwrap_or_else(nothing),
        program
            .instructions
            .map_or_else(nothing, |n| number(n as u64)),
        bytes(program.xlated_bytes),
        bytes(program.jited_bytes),
        program
            .verified_instructions
            .map_or_else(nothing, |n| number(n.into())),
        program
            .time_ns
            .map_or_else(nothing, |ns| format!("{:.2} ms", ns as f64 / 1e6)),
        if program.ok { "" } else { "failed" }.into(),
    ]
}

fn nothing() -> String {
    "-".into()
}

fn name(text: &str) -> String {
    let clean = clean(text).replace(['\n', '\t'], " ");
    match clean.char_indices().nth(WIDEST) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

/// `1234567` → `1,234,567`.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn table<const N: usize>(head: [&str; N], align: [Align; N], rows: Vec<[String; N]>) -> String {
    let mut lines = vec![head.map(str::to_string)];
    lines.extend(rows);
    aligned(&lines, |column| align[column] == Right, letters).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![
            ["hits".into(), "4".into(), String::new()],
            ["größe".into(), "65,536".into(), "failed".into()],
        ];
        assert_eq!(
            table(["MAP", "ENTRIES", ""], [Left, Right, Left], rows),
            "MAP    ENTRIES\n\
             hits         4\n\
             größe   65,536  failed"
        );
    }

    #[test]
    fn numbers_have_groups_and_names_an_end() {
        let numbers = [0, 999, 1000, 65_536, 1_234_567].map(number);
        assert_eq!(numbers, ["0", "999", "1,000", "65,536", "1,234,567"]);
        assert_eq!(name("a\u{1b}b\nc"), "a\\u{1b}b c");
        assert_eq!(name(&"x".repeat(1000)).chars().count(), WIDEST + 1);
    }
}
