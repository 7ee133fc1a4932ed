//! The gallery: small wrong programs under `tests/gallery`, each with the explanation that we give for it. One list serves the
//! test on this kernel, those on others, and the page docs/verifier.md.
//!
//! A source's first lines say what is wrong, in `//!` lines, and then what is said about it:
//!
//! ```text
//! // says: R0 may be NULL here: …         our sentence (`in words:`), with its numbers
//! // try: compare it with NULL …          the cure, where there is one
//! // before 5.17: no helper with the …    what the error has instead on kernels older than that; the lowest that fits counts
//! ```
//!
//! The line that the verifier objects to ends in `// rejected`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::objects::ours::Verified;
use crate::objects::{self, Case};

/// A wrong program.
#[derive(Debug, Clone)]
pub struct Wrong {
    /// The source, and how it is built.
    pub case: Case,
    /// The source's text.
    pub text: String,
    /// The line that is rejected; none where the kernel names none.
    pub line: Option<usize>,
    /// Our sentence.
    pub says: String,
    /// The cure.
    pub cure: Option<String>,
    /// What older kernels say instead: kernels before this one, and a part of the error.
    pub before: Vec<((u32, u32), String)>,
}

/// The folder of the sources.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("gallery")
}

/// Every wrong program of a folder, by name.
pub fn all_in(folder: &Path) -> Result<Vec<Wrong>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if matches!(path.extension().and_then(|e| e.to_str()), Some("c" | "rs")) {
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            found.push(wrong(&path, text).with_context(|| path.display().to_string())?);
        }
    }
    found.sort_by(|a, b| a.case.name.cmp(&b.case.name));
    Ok(found)
}

/// Every wrong program with the path of its object, built where it is not there yet.
pub fn built() -> Result<Vec<(Wrong, PathBuf)>> {
    let folder = objects::folder().with_file_name("gallery");
    let all = all_in(&sources())?;
    let cases: Vec<Case> = all.iter().map(|wrong| wrong.case.clone()).collect();
    objects::build(&cases, &folder)?;
    Ok(all
        .into_iter()
        .map(|wrong| {
            let object = wrong.case.object(&folder);
            (wrong, object)
        })
        .collect())
}

fn wrong(path: &Path, text: String) -> Result<Wrong> {
    let mut says = None;
    let mut cure = None;
    let mut before = Vec::new();
    let mut others = Vec::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("// says: ") {
            says = Some(words.to_owned());
        } else if let Some(words) = line.strip_prefix("// try: ") {
            cure = Some(words.to_owned());
        } else if let Some(rest) = line.strip_prefix("// before ") {
            let (kernel, words) = rest.split_once(": ").context("before KERNEL: TEXT")?;
            before.push((version(kernel)?, words.to_owned()));
        } else {
            others.push(line);
        }
    }
    before.sort();
    let mut cases = objects::cases(path, &others.join("\n"))?;
    let (Some(case), true) = (cases.pop(), cases.is_empty()) else {
        bail!("one build is all that a wrong program has");
    };
    let marked = text.lines().position(|line| line.ends_with("// rejected"));
    Ok(Wrong {
        case,
        line: marked.map(|at| at + 1),
        says: says.context("no `says:`")?,
        cure,
        before,
        text,
    })
}

fn version(text: &str) -> Result<(u32, u32)> {
    let (major, minor) = text.split_once('.').context("MAJOR.MINOR")?;
    Ok((major.parse()?, minor.parse()?))
}

impl Wrong {
    /// What is wrong, in one sentence.
    pub fn about(&self) -> &str {
        &self.case.covers
    }

    /// What a kernel of this version is known to say instead of the explanation.
    pub fn instead(&self, kernel: (u32, u32)) -> Option<&str> {
        let mut before = self.before.iter();
        let (_, words) = before.find(|(than, _)| kernel < *than)?;
        Some(words)
    }

    /// The error that `verify` gave for the program; it must be the only one.
    pub fn error(&self, verified: &Verified) -> Result<String> {
        let errors = verified.errors();
        let [(_, error)] = &errors[..] else {
            bail!("one error is expected: {errors:?}");
        };
        ensure!(verified.code == Some(1), "exit code {:?}", verified.code);
        Ok(error.clone())
    }

    /// Holds an error against what the source says for this kernel. What became of it, for a table.
    pub fn check(&self, error: &str, kernel: (u32, u32)) -> Result<&str> {
        if let Some(words) = self.instead(kernel) {
            ensure!(error.contains(words), "without `{words}`: {error}");
            return Ok(words);
        }
        let says = self.said(error, "in words: ");
        ensure!(
            says == Some(&self.says),
            "says `{}`, expected `{}`: {error}",
            says.unwrap_or("nothing"),
            self.says
        );
        let cure = self.said(error, "try:  ");
        ensure!(
            cure == self.cure.as_deref(),
            "try `{}`, expected `{}`: {error}",
            cure.unwrap_or("nothing"),
            self.cure.as_deref().unwrap_or("nothing")
        );
        if let Some(line) = self.line {
            let file = self.case.source.file_name().unwrap_or_default();
            let place = format!("/{}:{line}", file.display());
            let first = error.lines().nth(1).unwrap_or_default();
            let found = first.split_once(&place).map(|(_, rest)| rest);
            let whole = found.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
            ensure!(whole, "not at {place}: {error}");
        }
        Ok("explained")
    }

    fn said<'a>(&self, error: &'a str, key: &str) -> Option<&'a str> {
        error
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(key))
    }

    /// The program without its header, as the page shows it.
    pub fn code(&self) -> String {
        let mut lines: Vec<&str> = self.text.lines().collect();
        lines.retain(|line| {
            let header = line.starts_with("//! ")
                || [
                    "// says: ",
                    "// try: ",
                    "// before ",
                    "// builds: ",
                    "// options: ",
                ]
                .iter()
                .any(|key| line.starts_with(key));
            !header
        });
        lines.join("\n").trim().to_owned()
    }
}
