//! `cargo xtask book`: the book as a web site, by mdBook.
//!
//! Pages link to each other, to README and ARCHITECTURE at the root, and to sources. So that every link leads somewhere, the
//! repository's text files are gathered below target/book, with the root as the book's. What mdBook made is then looked through
//! for links into nothing.

use crate::tidy::{self, File};
use crate::{run, workspace};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// mdBook's version. It is installed from crates.io, once, under target/; without what serves and watches files it takes
/// some minutes to build.
const VERSION: &str = "0.5.4";

/// Builds it and says where it is.
pub fn book() -> Result<()> {
    let mdbook = installed()?;
    run::step("book");
    let place = workspace::target().join("book");
    let (source, site) = (place.join("source"), place.join("site"));
    for folder in [&source, &site] {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
    }
    gather(&source)?;
    run::ok(
        Command::new(mdbook)
            .arg("build")
            .arg(&source)
            .arg("--dest-dir")
            .arg(&site),
    )?;
    let dead = dead_links(&site)?;
    if !dead.is_empty() {
        bail!("book: links into nothing:\n  {}", dead.join("\n  "));
    }
    println!("{}", site.join("index.html").display());
    Ok(())
}

/// The program, which is built when it is not there.
fn installed() -> Result<PathBuf> {
    let place = workspace::target().join("mdbook");
    let program = place.join("bin/mdbook");
    let version = run::read(Command::new(&program).arg("--version"));
    if version.is_ok_and(|version| version.trim().ends_with(VERSION)) {
        return Ok(program);
    }
    run::step(&format!(
        "mdbook {VERSION}, from crates.io, for target/mdbook; it takes some minutes, once"
    ));
    let build = place.join("build");
    let mut command = workspace::cargo();
    command.args(["install", "--quiet", "--locked", "--force"]);
    command.arg(format!("mdbook@{VERSION}"));
    command.args(["--no-default-features", "--features", "search"]);
    command
        .arg("--root")
        .arg(&place)
        .arg("--target-dir")
        .arg(&build);
    run::ok(&mut command)?;
    fs::remove_dir_all(&build).with_context(|| build.display().to_string())?;
    Ok(program)
}

/// Writes the repository's text files there, with the book's table of contents and settings at the root.
fn gather(source: &Path) -> Result<()> {
    let files = tidy::files(workspace::root())?;
    for file in files.iter().filter(|file| !file.path().starts_with('.')) {
        let (path, text) = staged(file);
        let path = source.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

const SUMMARY: &str = "docs/SUMMARY.md";

/// Where a file goes, and what it then says.
fn staged(file: &File) -> (String, String) {
    let text = file.text();
    match file.path() {
        SUMMARY => ("SUMMARY.md".into(), from_the_root(text)),
        "docs/book.toml" => ("book.toml".into(), text.into()),
        // The table of contents is no page of the book; it stands beside each.
        path => (
            path.into(),
            text.replace("](docs/SUMMARY.md)", "](docs/book/01-packet-and-hook.md)"),
        ),
    }
}

/// The table of contents with links as they are from the root: `book/x.md` is `docs/book/x.md`, `../x.md` is `x.md`.
fn from_the_root(summary: &str) -> String {
    summary.replace("](", "](docs/").replace("](docs/../", "](")
}

/// Links of the site's pages to files that are not there.
fn dead_links(site: &Path) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    let mut open = vec![site.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|kind| kind == "html") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                // For the whole site's use, with links from its root.
                let everywhere = path.ends_with("404.html") || path.ends_with("print.html");
                for link in links(&text).filter(|_| !everywhere) {
                    if !plain(&folder.join(link)).exists() {
                        let page = path.strip_prefix(site).unwrap_or(&path);
                        found.insert(format!("{}: {link}", page.display()));
                    }
                }
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// What a page links to within the site, without anchors.
fn links(html: &str) -> impl Iterator<Item = &str> {
    let values = ["href=\"", "src=\""].into_iter().flat_map(|attribute| {
        let mut parts = html.split(attribute);
        parts.next();
        parts.filter_map(|part| part.split('"').next())
    });
    let inside =
        |link: &&str| !link.contains(':') && !link.starts_with(['#', '/']) && !link.is_empty();
    values
        .filter(inside)
        .filter_map(|link| link.split(['#', '?']).next())
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_contents_is_seen_from_the_root() {
        let summary = "[xdplb](../README.md)\n- [One](book/01.md)\n";
        assert_eq!(
            from_the_root(summary),
            "[xdplb](README.md)\n- [One](docs/book/01.md)\n"
        );
    }

    #[test]
    fn links_within_the_site_are_found() {
        let html = r##"<a href="a.html#x"><img src="../b.svg"><a href="https://x"><a href="#y">"##;
        assert_eq!(links(html).collect::<Vec<_>>(), ["a.html", "../b.svg"]);
        assert_eq!(plain(Path::new("/s/docs/../b.svg")), Path::new("/s/b.svg"));
    }
}
