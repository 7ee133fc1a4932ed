//! `cargo xtask tidy`: what the compiler does not check. Which crate and which folder may know which
//! other, and the form of the files.

mod form;
mod layers;

use crate::{run, workspace};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository, its path as seen from the root.
pub struct File {
    path: String,
    text: String,
}

impl File {
    /// Its path as seen from the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it says.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    path: String,
    /// Counted from 1; none where the finding is about the whole file.
    line: Option<usize>,
    what: String,
    weight: Weight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Worth a thought.
    Note,
    /// Must be mended.
    Error,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Looks at every text file; notes are printed, errors end it.
pub fn tidy() -> Result<()> {
    run::step("tidy");
    let files = files(workspace::root())?;
    let (errors, notes): (Vec<_>, Vec<_>) = findings(&files)
        .into_iter()
        .partition(|finding| finding.weight == Weight::Error);
    for note in notes {
        println!("note: {note}");
    }
    if !errors.is_empty() {
        let lines: Vec<String> = errors
            .iter()
            .map(|finding| format!("\n  {finding}"))
            .collect();
        bail!("tidy: {} to mend{}", errors.len(), lines.concat());
    }
    println!("{} files are in order", files.len());
    Ok(())
}

fn findings(files: &[File]) -> Vec<Finding> {
    files
        .iter()
        .flat_map(|file| form::check(file).into_iter().chain(layers::check(file)))
        .collect()
}

const KINDS: [&str; 10] = [
    "rs", "toml", "md", "sh", "py", "json", "c", "h", "yml", "svg",
];

/// The text files below `root`, apart from what is built and what git keeps for itself.
pub fn files(root: &Path) -> Result<Vec<File>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                // A folder with a `.git` of its own is another checkout, not part of this one.
                let skip = matches!(entry.file_name().to_str(), Some("target" | ".git"))
                    || path.join(".git").exists();
                if !skip {
                    open.push(path);
                }
            } else if kind.is_file() && is_text(&path) {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                found.push(File {
                    path: relative(root, &path),
                    text,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn is_text(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|kind| KINDS.contains(&kind))
}

fn relative(root: &Path, path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root).unwrap_or(path).into();
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// The findings about a file of this path and text, one a line.
    pub fn found(check: fn(&File) -> Vec<Finding>, path: &str, text: &str) -> String {
        let file = File {
            path: path.into(),
            text: text.into(),
        };
        check(&file)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_repository_is_read() {
        let files = files(workspace::root()).unwrap();
        assert!(files.iter().any(|file| file.path == "tools/src/tidy.rs"));
        assert!(files.iter().all(|file| !file.path.starts_with("target/")));
    }
}
