//! The form of a file: it says what it is for, is about one idea, and holds nothing left over from its making.

use super::{File, Finding, Weight};

/// About as long as one idea takes, and the most that is let pass (lines of Rust).
const LINES: usize = 400;
const LINES_AT_MOST: usize = 600;

/// Left behind while working. Written in halves, or this file would be found itself.
const LEFTOVERS: [(&str, &str); 3] = [("TO", "DO"), ("FIX", "ME"), ("dbg", "!")];

/// Every finding about one file.
pub fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut error = |line, what: String| {
        findings.push(Finding {
            path: file.path.clone(),
            line,
            what,
            weight: Weight::Error,
        });
    };
    let rust = file.path.ends_with(".rs");
    let code = !file.path.ends_with(".md");
    for (line, text) in (1..).zip(file.text.lines()) {
        if text.trim_end() != text {
            error(Some(line), "white space at the end of the line".into());
        }
        if rust && text.contains('\t') {
            error(Some(line), "a tab".into());
        }
        for (head, tail) in LEFTOVERS {
            let leftover = format!("{head}{tail}");
            if code && text.contains(&leftover) {
                error(Some(line), format!("`{leftover}` left over"));
            }
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        error(None, "no newline at its end".into());
    }
    if rust && !file.text.starts_with("//!") {
        error(
            Some(1),
            "does not begin with `//!` and what it is for".into(),
        );
    }
    if file.path.ends_with("Cargo.toml") {
        for line in unexplained(&file.text) {
            error(
                Some(line),
                "a dependency without a comment that says why".into(),
            );
        }
    }
    if rust {
        findings.extend(length(file));
    }
    findings
}

fn length(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    let (weight, most) = match lines {
        0..=LINES => return None,
        lines if lines <= LINES_AT_MOST => (Weight::Note, LINES),
        _ => (Weight::Error, LINES_AT_MOST),
    };
    let what = format!("{lines} lines; one idea takes about {LINES}, and {most} are passed");
    Some(Finding {
        path: file.path.clone(),
        line: None,
        what,
        weight,
    })
}

/// The lines of a manifest that name a dependency without a reason. Our own crates need none in the
/// root, where they are only listed.
fn unexplained(manifest: &str) -> Vec<usize> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(manifest.lines()) {
        let text = line.trim();
        if text.starts_with('[') {
            inside = text.trim_end_matches(']').ends_with("dependencies");
        } else if inside
            && !text.is_empty()
            && !text.starts_with('#')
            && !text.contains(" # ")
            && !text.contains("{ path =")
        {
            lines.push(number);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::tests::found;
    use super::*;

    #[test]
    fn a_file_in_order_passes() {
        assert_eq!(
            found(
                check,
                "loader/src/x.rs",
                "//! What it is for.\n\nfn f() {}\n"
            ),
            ""
        );
        assert_eq!(found(check, "README.md", "Text.\n"), "");
    }

    #[test]
    fn what_is_out_of_order_is_named_with_its_line() {
        let (head, tail) = LEFTOVERS[0];
        let text = format!("fn f() {{}} \n\tlet x;\n// {head}{tail}: later");
        assert_eq!(
            found(check, "loader/src/x.rs", &text),
            format!(
                "loader/src/x.rs:1: white space at the end of the line\n\
                 loader/src/x.rs:2: a tab\n\
                 loader/src/x.rs:3: `{head}{tail}` left over\n\
                 loader/src/x.rs: no newline at its end\n\
                 loader/src/x.rs:1: does not begin with `//!` and what it is for"
            )
        );
    }

    #[test]
    fn long_files_are_noted_and_longer_ones_refused() {
        let of = |lines: usize| File {
            path: "x.rs".into(),
            text: "//! x\n".repeat(lines),
        };
        assert_eq!(length(&of(400)), None);
        assert_eq!(
            length(&of(401)).map(|finding| finding.weight),
            Some(Weight::Note)
        );
        let longer = length(&of(601)).map(|finding| (finding.weight, finding.what));
        let what = "601 lines; one idea takes about 400, and 600 are passed".to_owned();
        assert_eq!(longer, Some((Weight::Error, what)));
    }

    #[test]
    fn every_dependency_has_its_reason() {
        let manifest = "[package]\nname = \"x\"\n\n[workspace.dependencies]\nours = { path = \"ours\" }\n\
                        anyhow = \"1\" # errors\nclap = { version = \"4\", features = [\"derive\"] }\n\n[lints]\nworkspace = true\n";
        assert_eq!(unexplained(manifest), [7]);
        assert_eq!(
            found(
                check,
                "x/Cargo.toml",
                "[dev-dependencies]\ngoblin.workspace = true\n"
            ),
            "x/Cargo.toml:2: a dependency without a comment that says why"
        );
    }
}
