//! PURE: an error in a text that the user wrote: where it is, what it is, and the line with a mark beneath.
//!
//! ```text
//! lb.toml:7:12: `protocol` must be tcp or udp, not `tpc`
//!   7 | protocol = "tpc"
//!     |            ^^^^^
//! ```

use std::fmt;
use std::ops::Range;

/// How much of a long line is shown, in characters, and how much of it in front of the mark.
const WIDTH: usize = 120;
const BEFORE: usize = 60;
/// How much of a word an error repeats, in characters.
const LONGEST: usize = 64;

/// What is wrong with a configuration, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}{excerpt}")]
pub struct ConfigError {
    place: String,
    what: String,
    excerpt: Excerpt,
}

impl ConfigError {
    /// An error of a place that has no lines: a whole file, a command line.
    pub fn of(place: &str, what: String) -> Self {
        Self {
            place: place.into(),
            what,
            excerpt: Excerpt(None),
        }
    }
}

/// How a place in a file is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `FILE:LINE`, where a line is one thing.
    Line,
    /// `FILE:LINE:COLUMN`.
    Column,
}

/// A file's text and what errors call it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'t> {
    /// The file's name.
    pub name: &'t str,
    /// All of it.
    pub text: &'t str,
    /// How its places are named.
    pub place: Place,
}

impl Source<'_> {
    /// An error about these bytes of the text. Lines and columns count from 1, columns in characters.
    pub fn error(&self, span: Range<usize>, what: String) -> ConfigError {
        let start = boundary(self.text, span.start);
        let (before, after) = self.text.split_at(start);
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let end = start + after.find('\n').unwrap_or(after.len());
        let line = self.text[begin..end].trim_end_matches('\r');
        let number = self.line(start);
        let column = before[begin..].chars().count();
        let marked = &self.text[start..boundary(self.text, span.end).clamp(start, end)];
        let mark = Mark {
            number,
            column,
            width: marked.trim_end_matches('\r').chars().count().max(1),
        };
        ConfigError {
            place: match self.place {
                Place::Line => format!("{}:{number}", self.name),
                Place::Column => format!("{}:{number}:{}", self.name, column + 1),
            },
            what,
            excerpt: Excerpt(Some(mark.on(line))),
        }
    }

    /// The number of the line that a byte is in.
    pub fn line(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }
}

/// The last boundary between characters that is not behind this byte.
fn boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

/// What is marked of a line: from a column (from 0), so many characters.
struct Mark {
    number: usize,
    column: usize,
    width: usize,
}

impl Mark {
    /// The line and the mark; of a long line what is around the mark.
    fn on(self, line: &str) -> Shown {
        // A terminal would run control characters, and a tab would shift the mark.
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let whole = line.chars().nth(WIDTH).is_none();
        let skipped = if whole {
            0
        } else {
            self.column.saturating_sub(BEFORE)
        };
        let mut text: String = line.chars().skip(skipped).take(WIDTH).map(plain).collect();
        let mut column = self.column - skipped;
        let width = self.width.min(WIDTH.saturating_sub(column)).max(1);
        if skipped > 0 {
            text.insert_str(0, "… ");
            column += 2;
        }
        if line.chars().nth(skipped + WIDTH).is_some() {
            text.push_str(" …");
        }
        Shown {
            number: self.number,
            text,
            column,
            width,
        }
    }
}

/// The line and a mark under the words in question, or nothing.
#[derive(Debug, PartialEq, Eq)]
struct Excerpt(Option<Shown>);

#[derive(Debug, PartialEq, Eq)]
struct Shown {
    number: usize,
    text: String,
    column: usize,
    width: usize,
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shown) = &self.0 else {
            return Ok(());
        };
        let gutter = shown.number.to_string();
        let indent = " ".repeat(gutter.len());
        let space = " ".repeat(shown.column);
        let carets = "^".repeat(shown.width);
        let text = &shown.text;
        write!(f, "\n  {gutter} | {text}\n  {indent} | {space}{carets}")
    }
}

/// A user's word as an error repeats it: without control characters, and not at any length.
pub fn brief(word: &str) -> String {
    match word.char_indices().nth(LONGEST) {
        None => word.escape_debug().to_string(),
        Some((end, _)) => format!("{}…", word[..end].escape_debug()),
    }
}

/// The one of these names that is most like a word, if any is: few letters changed, or one within the other.
pub fn nearest(word: &str, names: &[&'static str]) -> Option<&'static str> {
    let word: String = word
        .chars()
        .take(LONGEST)
        .collect::<String>()
        .to_lowercase();
    let within = |name: &str| word.len() >= 3 && (word.contains(name) || name.contains(&*word));
    let distances = names.iter().map(|&name| {
        let distance = strsim::damerau_levenshtein(&word, name);
        let like = distance <= (name.len() / 3).max(1) || within(name);
        (like, distance, name)
    });
    distances
        .filter(|(like, ..)| *like)
        .min_by_key(|(_, distance, _)| *distance)
        .map(|(.., name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, span: Range<usize>, expected: &str) {
        let source = Source {
            name: "f",
            text,
            place: Place::Column,
        };
        assert_eq!(source.error(span, "no".into()).to_string(), expected);
    }

    #[test]
    fn the_mark_is_under_what_it_means() {
        check("a\nbc\td\r\nf", 3..6, "f:2:2: no\n  2 | bc d\n    |  ^^^");
        check("größe = 1", 0..7, "f:1:1: no\n  1 | größe = 1\n    | ^^^^^");
        check("a\n", 2..2, "f:2:1: no\n  2 | \n    | ^");
        // A span over several lines is marked on its first.
        check("ab\ncd", 1..5, "f:1:2: no\n  1 | ab\n    |  ^");
        check("ab", 99..199, "f:1:3: no\n  1 | ab\n    |   ^");
    }

    #[test]
    fn long_lines_are_cut_around_the_mark() {
        let text = format!("{}X{}", "a".repeat(1000), "b".repeat(1000));
        let (a, b) = ("a".repeat(60), "b".repeat(59));
        let space = " ".repeat(62);
        check(
            &text,
            1000..1001,
            &format!("f:1:1001: no\n  1 | … {a}X{b} …\n    | {space}^"),
        );
    }

    #[test]
    fn words_are_repeated_up_to_a_length() {
        assert_eq!(brief("größe\u{1b}"), "größe\\u{1b}");
        assert_eq!(brief(&"ß".repeat(64)), "ß".repeat(64));
        assert_eq!(brief(&"ß".repeat(65)), "ß".repeat(64) + "…");
    }

    #[test]
    fn names_that_are_like_it() {
        let names = ["address", "port", "backend", "mode"];
        for (word, expected) in [
            ("adress", Some("address")),
            ("Port", Some("port")),
            ("backends", Some("backend")),
            ("addr", Some("address")),
            ("mdoe", Some("mode")),
            ("x", None),
            ("", None),
            ("scheduler", None),
        ] {
            assert_eq!(nearest(word, &names), expected, "{word}");
        }
    }

    proptest! {
        #[test]
        fn any_place_of_any_text_can_be_shown(text in "(a|ß|\n|\r|\t|🦀){0,300}", start in 0usize..1300, width in 0usize..1300) {
            let source = Source { name: "f", text: &text, place: Place::Line };
            prop_assert!(!source.error(start..start + width, String::new()).to_string().is_empty());
        }
    }
}
