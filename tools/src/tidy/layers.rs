//! Imports run one way: linker and prog know nobody, the loader knows those two, tests and tools stand
//! outside; and inside the loader `object`, `kernel` and `netlink` never know of each other.

use super::{File, Finding, Weight};

/// Which of our crates a folder's code and manifest may name. All of them are listed: a new crate has
/// to say here where it stands.
const CRATES: [(&str, &[&str]); 5] = [
    ("linker", &["linker"]),
    ("prog", &["prog"]),
    ("loader", &["loader", "linker", "prog"]),
    ("tests", &["tests", "loader", "linker", "prog"]),
    ("tools", &[]),
];

/// The modules of the loader that stay apart; file descriptors pass between them as plain numbers.
const APART: [&str; 3] = ["object", "kernel", "netlink"];

/// Every finding about one file.
pub fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (folder, inside) = file.path.split_once('/').unwrap_or(("", &file.path));
    let Some((_, allowed)) = CRATES.iter().find(|(name, _)| *name == folder) else {
        return findings;
    };
    let lines: Vec<(usize, String)> = match inside.rsplit_once('.') {
        // This checker names what it looks for.
        Some((_, "rs")) if !inside.starts_with("src/tidy") => code(&file.text),
        Some((_, "toml")) => manifest(&file.text),
        _ => return findings,
    };
    let mut error = |line: usize, what: String| {
        findings.push(Finding {
            path: file.path.clone(),
            line: Some(line),
            what,
            weight: Weight::Error,
        });
    };
    for (line, text) in &lines {
        for (other, _) in CRATES.iter().filter(|(other, _)| !allowed.contains(other)) {
            if mentions(text, &format!("xdplb_{other}")) {
                error(*line, format!("{folder} must not know {other}"));
            }
        }
    }
    if let Some(module) = APART
        .into_iter()
        .find(|module| folder == "loader" && is_in(inside, module))
    {
        for (line, other) in imports(&lines) {
            if other != module && APART.contains(&other.as_str()) {
                error(line, format!("{module} must not import {other}"));
            }
        }
    }
    findings
}

fn is_in(path: &str, module: &str) -> bool {
    path.starts_with(&format!("src/{module}/")) || path == format!("src/{module}.rs")
}

/// Rust without its comments, as doc comments may well speak of another layer. A `//` inside a string
/// ends the line here too, which can only hide the rest of that line.
fn code(text: &str) -> Vec<(usize, String)> {
    let without = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    (1..).zip(text.lines().map(without)).collect()
}

/// The names in a manifest as Rust spells them, and only where they are depended on.
fn manifest(text: &str) -> Vec<(usize, String)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        }
        if inside {
            lines.push((number, line.replace('-', "_")));
        }
    }
    lines
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `word` stands in `text` as a whole word.
fn mentions(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word)
    })
}

/// The modules named right behind `crate::` or `super::`, each of a group in braces too, with their lines.
fn imports(lines: &[(usize, String)]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    for root in ["crate::", "super::"] {
        for (at, _) in text.match_indices(root) {
            let first = lines.first().map_or(1, |(number, _)| *number);
            let line = first + text[..at].matches('\n').count();
            let rest = &text[at + root.len()..];
            let names = if rest.starts_with('{') {
                group(rest)
            } else {
                vec![word(rest)]
            };
            found.extend(names.into_iter().map(|name| (line, name)));
        }
    }
    found.sort();
    found
}

/// The first name of each item of `{a, b::{c, d}, e}`: a, b, e.
fn group(text: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && (c == '{' || c == ',') {
            names.push(word(text[at + 1..].trim_start()));
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| is_word(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::found;
    use super::*;

    #[test]
    fn leaves_know_nobody() {
        assert_eq!(
            found(check, "linker/src/lib.rs", "//! x\nuse xdplb_prog::abi;\n"),
            "linker/src/lib.rs:2: linker must not know prog"
        );
        assert_eq!(
            found(
                check,
                "linker/src/main.rs",
                "use xdplb_linker::link; // not xdplb_prog\n"
            ),
            ""
        );
        assert_eq!(
            found(
                check,
                "prog/Cargo.toml",
                "[dependencies]\nxdplb-linker.workspace = true # x\n"
            ),
            "prog/Cargo.toml:2: prog must not know linker"
        );
        assert_eq!(
            found(
                check,
                "linker/Cargo.toml",
                "[package]\nname = \"xdplb-linker\"\n[[bin]]\nname = \"xdplb-prog\"\n"
            ),
            ""
        );
    }

    #[test]
    fn the_loader_knows_the_leaves_and_nobody_the_tools() {
        assert_eq!(
            found(
                check,
                "loader/build.rs",
                "use xdplb_linker::link;\nuse xdplb_prog::abi;\n"
            ),
            ""
        );
        assert_eq!(
            found(check, "loader/src/lib.rs", "use xdplb_tests::Netns;\n"),
            "loader/src/lib.rs:1: loader must not know tests"
        );
        assert_eq!(
            found(check, "tools/src/main.rs", "use xdplb_loader::run;\n"),
            "tools/src/main.rs:1: tools must not know loader"
        );
    }

    #[test]
    fn the_loaders_layers_stay_apart() {
        assert_eq!(
            found(
                check,
                "loader/src/object/plan.rs",
                "//! [`crate::kernel`] carries it out.\nuse crate::kernel::Map;\n"
            ),
            "loader/src/object/plan.rs:2: object must not import kernel"
        );
        assert_eq!(
            found(
                check,
                "loader/src/netlink.rs",
                "use crate::{\n    uapi,\n    object::{Spec, kernel},\n};\n"
            ),
            "loader/src/netlink.rs:1: netlink must not import object"
        );
        assert_eq!(
            found(
                check,
                "loader/src/kernel/map.rs",
                "fn f() { super::super::netlink::attach() }\n"
            ),
            "loader/src/kernel/map.rs:1: kernel must not import netlink"
        );
        assert_eq!(
            found(
                check,
                "loader/src/kernel/map.rs",
                "use crate::{kernel::sys, uapi};\nuse super::sys;\n"
            ),
            ""
        );
        assert_eq!(
            found(
                check,
                "loader/src/balancer/mod.rs",
                "use crate::{kernel, netlink, object};\n"
            ),
            ""
        );
    }

    #[test]
    fn words_are_whole() {
        assert!(mentions("use xdplb_prog::abi", "xdplb_prog"));
        assert!(!mentions("xdplb_program", "xdplb_prog"));
    }
}
