//! PURE: aligned columns, and marks for colours that a terminal gets and a file does not.

use super::super::clean;
use super::super::columns::aligned;

/// Marks in the text, of Unicode's private area: what they stand for is settled where it is printed.
pub(super) const HEAD: char = '\u{e000}';
pub(super) const NAME: char = '\u{e001}';
pub(super) const DIM: char = '\u{e002}';
pub(super) const BAD: char = '\u{e003}';
pub(super) const END: char = '\u{e00f}';

/// A name longer than this is cut in columns.
const WIDEST: usize = 48;

/// Text in a colour.
pub(super) fn mark(mark: char, text: &str) -> String {
    format!("{mark}{text}{END}")
}

/// Puts colours in the place of marks, or nothing. All else that could steer a terminal is made harmless.
pub(super) fn painted(text: &str, colours: bool) -> String {
    let mut painted = String::with_capacity(text.len());
    for c in clean(text).chars() {
        let style = match c {
            HEAD => anstyle::Style::new().bold().underline(),
            NAME => anstyle::AnsiColor::Cyan.on_default().bold(),
            DIM => anstyle::Style::new().dimmed(),
            BAD => anstyle::AnsiColor::Red.on_default().bold(),
            END => {
                if colours {
                    painted += &anstyle::Reset.render().to_string();
                }
                continue;
            }
            c => {
                painted.push(c);
                continue;
            }
        };
        if colours {
            painted += &style.render().to_string();
        }
    }
    painted
}

/// How wide text is: its letters, without marks.
fn width(text: &str) -> usize {
    text.chars()
        .filter(|c| !('\u{e000}'..='\u{e00f}').contains(c))
        .count()
}

/// A name for a column.
pub(super) fn cut(name: &str) -> String {
    if name.chars().count() <= WIDEST {
        return name.to_string();
    }
    let start: String = name.chars().take(WIDEST - 1).collect();
    format!("{start}…")
}

/// Rows below a head, two spaces in, two between columns. `right` says which columns hold numbers.
pub(super) fn columns<const N: usize>(
    head: [&str; N],
    right: &[usize],
    rows: &[[String; N]],
) -> String {
    let mut lines = vec![head.map(str::to_string)];
    lines.extend_from_slice(rows);
    let lines = aligned(&lines, |column| right.contains(&column), width);
    let line = |(number, line): (usize, &String)| match number {
        0 => mark(DIM, &format!("  {line}")) + "\n",
        _ => format!("  {line}\n"),
    };
    lines.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_with_and_without_colours() {
        let rows = [
            [mark(NAME, "a"), "1".into(), "x".into()],
            ["long".into(), "100".into(), String::new()],
        ];
        let text = columns(["NAME", "N", "WHAT"], &[1], &rows);
        assert_eq!(
            painted(&text, false),
            "  NAME    N  WHAT\n  a       1  x\n  long  100\n"
        );
        assert!(painted(&text, true).contains("\u{1b}["));
    }

    #[test]
    fn an_object_cannot_steer_the_terminal() {
        assert_eq!(painted("a\u{1b}[2J\u{e003}b", false), "a\\u{1b}[2Jb");
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(cut(&"a".repeat(60)).chars().count(), WIDEST);
        assert_eq!(cut("größe"), "größe");
    }
}
