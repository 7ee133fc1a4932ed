//! What a command printed, held against what the page says it prints.
//!
//! A line `…` or `...` on the page stands for any number of lines, `…` within a line for anything. Spaces count as one, since
//! columns are as wide as their numbers. Numbers, addresses and hashes count as equal, unless the block is `exact`.

/// Whether numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// They do.
    Exact,
    /// One is as good as another.
    Masked,
}

/// Nothing where the two agree; else what differs, for people.
pub fn difference(expected: &str, printed: &str, numbers: Numbers) -> Option<String> {
    let normal = |text: &str| -> Vec<String> {
        let lines = text.trim_end().lines();
        lines.map(|line| normalised(line, numbers)).collect()
    };
    let (wanted, got) = (normal(expected), normal(printed));
    if lines_match(&wanted, &got) {
        return None;
    }
    let indent = |text: &str| format!("    {}", text.trim_end().replace('\n', "\n    "));
    Some(format!(
        "  the page says:\n{}\n  it printed:\n{}",
        indent(expected),
        indent(printed)
    ))
}

fn is_gap(line: &str) -> bool {
    line == "…" || line == "..."
}

fn lines_match(wanted: &[String], got: &[String]) -> bool {
    match wanted {
        [] => got.is_empty(),
        [gap, rest @ ..] if is_gap(gap) => {
            (0..=got.len()).any(|skipped| lines_match(rest, &got[skipped..]))
        }
        [line, rest @ ..] => {
            matches!(got, [first, others @ ..] if line_matches(line, first) && lines_match(rest, others))
        }
    }
}

fn line_matches(wanted: &str, got: &str) -> bool {
    let mut parts = wanted.split('…');
    let Some(mut rest) = parts.next().and_then(|head| got.strip_prefix(head)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A line with its spaces, and perhaps its numbers, made alike.
fn normalised(line: &str, numbers: Numbers) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let line = words.join(" ");
    match numbers {
        Numbers::Exact => line,
        Numbers::Masked => masked(&line),
    }
}

fn masked(line: &str) -> String {
    let mut result = String::with_capacity(line.len());
    let mut word = String::new();
    for c in line.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
        } else {
            result.push_str(&masked_word(&word));
            word.clear();
            result.push(c);
        }
    }
    result.pop();
    // 1.5, 10.0.0.2, 54,123 are a number each.
    for pair in ["#.#", "#,#"] {
        while result.contains(pair) {
            result = result.replace(pair, "#");
        }
    }
    result
}

fn masked_word(word: &str) -> String {
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if word.strip_prefix("0x").is_some_and(hex) || (word.len() >= 8 && hex(word) && digits > 0) {
        return "#".into();
    }
    // `12ms` is a number with its unit, `r1` is a name.
    match word.find(|c: char| !c.is_ascii_digit()) {
        None if word.is_empty() => String::new(),
        None => "#".into(),
        Some(0) => word.into(),
        Some(at) => format!("#{}", &word[at..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: &str, printed: &str, numbers: Numbers, same: bool) {
        let difference = difference(expected, printed, numbers);
        assert_eq!(
            difference.is_none(),
            same,
            "{expected}\n{printed}\n{difference:?}"
        );
    }

    #[test]
    fn numbers_are_alike_unless_they_count() {
        for (a, b) in [
            ("took 0.12 ms", "took 7 ms"),
            ("0x7f at 10.0.0.2, 54,123", "0xffff9 at 192.168.0.1, 7"),
            ("tag 1f2e3d4c5b6a7988", "tag 00112233445566aa"),
            ("a  12 B", "a 7 B"),
        ] {
            check(a, b, Numbers::Masked, true);
            check(a, b, Numbers::Exact, false);
        }
        check("r1 = r2", "r1 = r3", Numbers::Masked, false);
        check("12ms", "15us", Numbers::Masked, false);
        check("-6", "6", Numbers::Masked, false);
        check("defaced", "decade", Numbers::Masked, false);
    }

    #[test]
    fn dots_stand_for_anything() {
        check("a\n…\nd\n", "a\nb\nc\nd\n", Numbers::Exact, true);
        check("a\n...\nd", "a\nd", Numbers::Exact, true);
        check("a\n…\nd", "a\nb", Numbers::Exact, false);
        check("x … y … z", "x 1 y 2 z", Numbers::Exact, true);
        check("x … y", "x 1 z", Numbers::Exact, false);
        check("…y", "y y", Numbers::Exact, true);
    }

    #[test]
    fn nothing_is_nothing() {
        check("", "", Numbers::Exact, true);
        check("", "error", Numbers::Exact, false);
        check("a", "", Numbers::Exact, false);
        check("…", "anything\nat all", Numbers::Exact, true);
    }
}
