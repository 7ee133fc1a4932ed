//! `--explain`: what a load does, by observers of the one load path. Short is a line a step, as it happens, on standard
//! error; full and json are made of the whole story (`crate::story`).

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result};

use super::{clean, remark, say_json};
use crate::load::Step;
use crate::story::{self, Story};

/// How much is told, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Explain {
    /// A line a step.
    Short,
    /// Every byte as JSON: into a file, or on standard output.
    Json(Option<PathBuf>),
}

impl FromStr for Explain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "short" => Ok(Explain::Short),
            None if text == "json" => Ok(Explain::Json(None)),
            Some(("json", file)) if !file.is_empty() => Ok(Explain::Json(Some(file.into()))),
            _ => Err("none of short, json, json:FILE".into()),
        }
    }
}

impl Explain {
    /// Whether the whole story is wanted, with the verifier's log.
    pub(super) fn wants_story(&self) -> bool {
        match self {
            Explain::Short => false,
            Explain::Json(_) => true,
        }
    }

    /// Whether it is told where a command's own data would go.
    pub(super) fn takes_stdout(&self) -> bool {
        match self {
            Explain::Short | Explain::Json(Some(_)) => false,
            Explain::Json(None) => true,
        }
    }

    /// Tells stories, once they have ended.
    pub(super) fn tell(&self, stories: &[Story]) -> Result<()> {
        match self {
            Explain::Short => Ok(()),
            Explain::Json(None) => say_json(&stories),
            Explain::Json(Some(path)) => {
                let mut text = serde_json::to_vec(stories)?;
                text.push(b'\n');
                let write = || std::fs::File::create(path)?.write_all(&text);
                write().with_context(|| path.display().to_string())
            }
        }
    }
}

/// Prints a step to standard error.
pub(super) fn remark_step(step: &Step<'_>) {
    if let Some(line) = story::line(step) {
        remark(format_args!("{}", clean(&line)));
    }
}
