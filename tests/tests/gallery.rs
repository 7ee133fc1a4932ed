//! The gallery of wrong programs on this kernel: each is explained as its source says, and as docs/verifier.md shows it. Needs
//! root.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xdplb_tests::gallery::{self, Wrong};
use xdplb_tests::objects::{self, ours};

/// The errors of all of them, in the order of their names.
fn errors() -> Result<Vec<(Wrong, String)>> {
    let built = gallery::built()?;
    ensure!(built.len() >= 25, "only {} wrong programs", built.len());
    built
        .into_iter()
        .map(|(wrong, object)| {
            let verified = ours::verify(&wrong.case, &object)?;
            let error = wrong.error(&verified).context(wrong.case.name.clone())?;
            Ok((wrong, error))
        })
        .collect()
}

#[test]
fn each_is_explained_as_its_source_says() -> Result<()> {
    let kernel = objects::running_kernel()?;
    let mut surprises = Vec::new();
    for (wrong, error) in errors()? {
        if let Err(surprise) = wrong.check(&error, kernel) {
            surprises.push(format!("{}: {surprise:#}", wrong.case.name));
        }
    }
    objects::without_surprises(&surprises)
}

/// Set to write the page anew from what this kernel says.
const REFRESH: &str = "XDPLB_REFRESH";

/// The page as it stands, and as it would be from what this kernel says; numbers may differ from one load to the next.
#[test]
fn the_page_shows_what_this_kernel_says() -> Result<()> {
    let path = page();
    let kernel = objects::running_kernel()?;
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (head, shown) = text
        .split_once(BEGIN)
        .with_context(|| format!("{}: no `{}`", path.display(), BEGIN.trim()))?;
    let (major, minor) = kernel;
    let errors = errors()?;
    let all = sections(&errors);
    if std::env::var_os(REFRESH).is_some() {
        let page = format!("{head}{BEGIN}Linux {major}.{minor}.\n{all}");
        return Ok(std::fs::write(&path, page)?);
    }
    let (of, shown) = shown.split_once('\n').context("no kernel's version")?;
    if of != format!("Linux {major}.{minor}.") {
        // Another kernel has other words for states; that it is explained alike is the other test's.
        for (wrong, _) in &errors {
            let heading = heading(wrong);
            ensure!(shown.contains(&heading), "the page lacks `{heading}`");
        }
        return Ok(());
    }
    let (shown, now) = (masked(shown), masked(&all));
    for (shown, now) in shown.lines().zip(now.lines()) {
        ensure!(
            shown == now,
            "docs/verifier.md has\n{shown}\nand this kernel says\n{now}\n  try:  {REFRESH}=1, then look at the difference"
        );
    }
    ensure!(
        shown.lines().count() == now.lines().count(),
        "docs/verifier.md is not as long as what this kernel says\n  try:  {REFRESH}=1"
    );
    Ok(())
}

/// What stands above what is written by the test.
const BEGIN: &str = "\n## The gallery\n\n";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verifier.md")
}

fn heading(wrong: &Wrong) -> String {
    let file = wrong.case.source.file_name().unwrap_or_default();
    format!("\n### {}\n", file.display())
}

/// The part of the page that is written by machine.
fn sections(errors: &[(Wrong, String)]) -> String {
    let mut text = String::new();
    // Paths are those of the machine that compiled.
    let folder = format!("{}/", gallery::sources().display());
    for (wrong, error) in errors {
        let language = match wrong.case.source.extension() {
            Some(extension) if extension == "rs" => "rust",
            _ => "c",
        };
        let shown = error.replace(&folder, "");
        let shown = shown.split_once(": ").map_or(&*shown, |(_, rest)| rest);
        let _ = write!(
            text,
            "{}\n{}\n\n```{language}\n{}\n```\n\n```\n{}\n```\n",
            heading(wrong),
            wrong.about(),
            wrong.code(),
            without_addresses(shown)
        );
        for (kernel, words) in &wrong.before {
            let _ = write!(text, "\nBefore Linux {}.{}: {words}\n", kernel.0, kernel.1);
        }
    }
    text
}

/// A kernel's addresses are nobody's business, and other ones each time.
fn without_addresses(text: &str) -> String {
    let mut parts = text.split("0xffff8");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str("0xffff8…");
        shown.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    shown
}

/// The same with one sign for every number.
fn masked(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(c),
        }
    }
    out
}
