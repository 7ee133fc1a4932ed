//! What the pages of this repository promise each other and the source: links lead somewhere, chapters are listed, terms are explained
//! and used, and every place in the source that a page names is there. On the host.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use xdplb_tests::book::{Kind, Page, links, pages, root};

fn page<'a>(pages: &'a [Page], path: &str) -> &'a Page {
    let found = pages.iter().find(|page| page.path == Path::new(path));
    found.unwrap_or_else(|| panic!("{path} is no page"))
}

fn check(found: &[String]) {
    assert!(found.is_empty(), "{}:\n{}", found.len(), found.join("\n"));
}

#[test]
fn links_lead_somewhere_and_pictures_have_words() {
    check(&links::broken(&root(), &pages().unwrap()));
}

#[test]
fn every_page_is_in_the_summary_once() {
    let pages = pages().unwrap();
    let summary = page(&pages, "docs/SUMMARY.md");
    let mut listed: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for link in &summary.links {
        *listed.entry(links::target(summary, &link.to)).or_default() += 1;
    }
    let mut found = Vec::new();
    for page in &pages {
        let times = listed.remove(&page.path).unwrap_or(0);
        let wanted = usize::from(page.path != summary.path);
        if times != wanted {
            found.push(format!(
                "{}: {times} times in the summary",
                page.path.display()
            ));
        }
    }
    found.extend(
        listed
            .keys()
            .map(|path| format!("{}: is no page", path.display())),
    );
    check(&found);
}

/// A chapter leads to the next one, so that the book can be read without its table of contents.
#[test]
fn each_chapter_leads_to_the_next() {
    let pages = pages().unwrap();
    let summary = page(&pages, "docs/SUMMARY.md");
    let chapters = summary
        .links
        .iter()
        .map(|link| links::target(summary, &link.to));
    let numbered = |path: &PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        path.starts_with("docs/book") && name.starts_with(|c: char| c.is_ascii_digit())
    };
    let chapters: Vec<PathBuf> = chapters.filter(numbered).collect();
    assert!(chapters.len() > 10, "{chapters:?}");
    for pair in chapters.windows(2) {
        let from = pages.iter().find(|page| page.path == pair[0]).unwrap();
        let mut to = from.links.iter().map(|link| links::target(from, &link.to));
        assert!(
            to.any(|to| to == pair[1]),
            "{:?} does not lead to {:?}",
            pair[0],
            pair[1]
        );
    }
}

/// The terms of the glossary: the first column of its tables, in bold, and their Chinese in the second.
fn terms(glossary: &Page) -> Vec<(String, String)> {
    let rows = glossary
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("| **"));
    rows.map(|row| {
        let (term, rest) = row.split_once("** |").expect("a term ends with `** |`");
        let chinese = rest.split('|').next().unwrap_or_default().trim();
        (term.to_owned(), chinese.to_owned())
    })
    .collect()
}

#[test]
fn terms_of_the_glossary_are_used_and_sorted() {
    let pages = pages().unwrap();
    let terms = terms(page(&pages, "docs/glossary.md"));
    assert!(terms.len() > 20);
    let text = |under: &str| -> String {
        let texts = pages.iter().filter(|page| page.path.starts_with(under));
        let texts = texts.map(|page| page.text.to_lowercase());
        texts.collect::<Vec<_>>().concat()
    };
    let english = text("docs/book") + &text("docs/tours");
    let chinese = text("docs/zh") + &page(&pages, "README.zh.md").text;
    let mut found = Vec::new();
    for (term, translation) in &terms {
        let name = term.split(" (").next().unwrap_or(term).to_lowercase();
        if !english.contains(&name) {
            found.push(format!("`{term}`: no chapter uses it"));
        }
        if translation.is_empty() {
            found.push(format!("`{term}`: no Chinese"));
        }
    }
    let used = terms
        .iter()
        .filter(|(_, translation)| chinese.contains(&translation.to_lowercase()));
    assert!(
        used.count() * 2 > terms.len(),
        "the Chinese pages use other words than the glossary"
    );
    let names: Vec<String> = terms.iter().map(|(term, _)| term.to_lowercase()).collect();
    found.extend(
        names
            .windows(2)
            .filter(|pair| pair[0] > pair[1])
            .map(|pair| format!("{pair:?}: not sorted")),
    );
    check(&found);
}

/// Every source file, by its path from the root.
fn sources() -> BTreeMap<String, String> {
    let root = root();
    let mut found = BTreeMap::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && name != ".git" {
                    open.push(entry.path());
                }
            } else if entry.path().extension().is_some_and(|kind| kind == "rs") {
                let path = entry
                    .path()
                    .strip_prefix(&root)
                    .unwrap()
                    .display()
                    .to_string();
                found.insert(path, std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    found
}

/// Whether a source defines such a name: as an item, in a macro's list (`name = 1`, `name: TYPE`), or passed on by `pub use`.
fn defines(text: &str, name: &str) -> bool {
    let keywords = [
        "fn",
        "struct",
        "enum",
        "const",
        "static",
        "trait",
        "mod",
        "type",
        "macro_rules!",
    ];
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    text.lines().map(str::trim).any(|line| {
        let item = keywords.iter().any(|keyword| {
            let mut places = line.match_indices(keyword);
            places.any(|(at, _)| {
                let rest = line[at + keyword.len()..].trim_start();
                rest.strip_prefix(name).is_some_and(ends)
            })
        });
        let listed = line
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(" = ") || rest.starts_with(": "));
        item || listed
    })
}

/// The source files that a page means by a path, which may be shortened at its front: `object/plan.rs`.
fn meant<'a>(sources: &'a BTreeMap<String, String>, path: &str) -> Vec<&'a String> {
    let tail = format!("/{path}");
    let found = sources
        .iter()
        .filter(|(file, _)| *file == path || file.ends_with(&tail));
    found.map(|(_, text)| text).collect()
}

/// `file.rs: name` in backticks is a promise on every page; so is any path that ends with `.rs`.
#[test]
fn places_in_the_source_that_pages_name_are_there() {
    let sources = sources();
    let mut found = Vec::new();
    let mut checked = 0;
    for page in pages().unwrap() {
        let own: BTreeSet<&str> = page
            .blocks
            .iter()
            .filter_map(|block| match &block.kind {
                Kind::File(path) => Some(path.as_str()),
                _ => None,
            })
            .collect();
        for named in &page.names {
            let (path, name) = match named.word.split_once(".rs: ") {
                Some((path, name)) => (format!("{path}.rs"), Some(name)),
                None => (named.word.clone(), None),
            };
            let is_path =
                path.ends_with(".rs") && path.contains('/') && !path.contains([' ', '*', 'N']);
            if !is_path && name.is_none()
                || path.starts_with("target/")
                || own.contains(path.as_str())
            {
                continue;
            }
            checked += 1;
            let texts = meant(&sources, &path);
            if texts.is_empty() {
                found.push(format!("{}: `{path}` is no file", page.place(named.line)));
            }
            if let Some(name) = name
                && !texts.is_empty()
                && !texts.iter().any(|text| defines(text, name))
            {
                found.push(format!(
                    "{}: `{name}` is not defined in {path}",
                    page.place(named.line)
                ));
            }
        }
    }
    assert!(checked > 60, "only {checked} places");
    check(&found);
}

/// Two pages in two languages run the same commands, in the same order.
#[test]
fn a_translated_page_has_the_commands_of_the_original() {
    let pages = pages().unwrap();
    let pairs = [
        ("README.md", "README.zh.md"),
        (
            "docs/book/01-packet-and-hook.md",
            "docs/zh/01-packet-and-hook.md",
        ),
        ("docs/book/walk-through.md", "docs/zh/walk-through.md"),
    ];
    for (original, translated) in pairs {
        let commands = |path: &str| -> Vec<String> {
            let blocks = page(&pages, path).blocks.iter();
            let texts = blocks.map(|block| match block.language.as_str() {
                "" => commands(&block.text),
                _ => without_comments(&block.text),
            });
            texts.filter(|text| !text.is_empty()).collect()
        };
        let (wanted, got) = (commands(original), commands(translated));
        assert!(!wanted.is_empty(), "{original}: no commands");
        for (a, b) in wanted.iter().zip(&got) {
            assert_eq!(a, b, "{translated} differs from {original}");
        }
        assert_eq!(
            wanted.len(),
            got.len(),
            "{translated} has not the blocks of {original}"
        );
    }
}

/// The lines of a block of no language that are commands: the rest are figures and drawings.
fn commands(text: &str) -> String {
    const WORDS: [&str; 5] = [
        "cargo ",
        "sudo ",
        "./xdplb-load ",
        "xdplb-load ",
        "xdplb-ld ",
    ];
    let text = without_comments(text);
    let lines = text
        .lines()
        .filter(|line| WORDS.iter().any(|word| line.starts_with(word)));
    lines.collect::<Vec<_>>().join("\n")
}

/// What stands behind two spaces explains, and may be in another language, as may lines that are comments.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines = lines.map(|line| line.split_once("  ").map_or(line, |(code, _)| code));
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}
