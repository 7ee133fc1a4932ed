//! `--explain`: what a load does, by observers of the one load path. Short is a line a step, as it happens, on standard
//! error; the others are made of the whole story (`crate::story`) once the load has ended.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result};

use super::{clean, pager, remark, say_json};
use crate::load::{Observer, Step, VerifierLogs};
use crate::page;
use crate::story::{self, Colour, Recorder, Story};

/// How much is told, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Explain {
    /// A line a step.
    Short,
    /// Every command, message and instruction, as text.
    Full,
    /// Every byte as JSON: into a file, or on standard output.
    Json(Option<PathBuf>),
    /// All of it as one page.
    Html(PathBuf),
}

/// What a value of the option may be.
pub(super) const LEVELS: &str = "short|full|json[:FILE]|html:FILE";

impl FromStr for Explain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "short" => Ok(Explain::Short),
            None if text == "full" => Ok(Explain::Full),
            None if text == "json" => Ok(Explain::Json(None)),
            Some(("json", file)) if !file.is_empty() => Ok(Explain::Json(Some(file.into()))),
            Some(("html", file)) if !file.is_empty() => Ok(Explain::Html(file.into())),
            _ => Err("none of short, full, json, json:FILE, html:FILE".into()),
        }
    }
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Explain::Short => f.write_str("short"),
            Explain::Full => f.write_str("full"),
            Explain::Json(None) => f.write_str("json"),
            Explain::Json(Some(file)) => write!(f, "json:{}", file.display()),
            Explain::Html(file) => write!(f, "html:{}", file.display()),
        }
    }
}

impl Explain {
    /// Whether the whole story is wanted, with the verifier's log.
    pub(super) fn wants_story(&self) -> bool {
        match self {
            Explain::Short => false,
            Explain::Full | Explain::Json(_) | Explain::Html(_) => true,
        }
    }

    /// Whether standard output stays a command's own. What is told there says more than the command's data would.
    pub(super) fn leaves_stdout(&self) -> bool {
        match self {
            Explain::Short | Explain::Json(Some(_)) | Explain::Html(_) => true,
            Explain::Full | Explain::Json(None) => false,
        }
    }

    /// Tells stories that have ended: text on standard output, through a pager where that is a terminal.
    pub(super) fn tell(&self, stories: &[Story]) -> Result<()> {
        match self {
            Explain::Short => Ok(()),
            Explain::Full => {
                pager::show(&all(stories, colour(&io::stdout())));
                Ok(())
            }
            Explain::Json(None) => say_json(&stories),
            Explain::Json(Some(path)) => {
                let mut text = serde_json::to_vec(stories)?;
                text.push(b'\n');
                std::fs::write(path, text).with_context(|| path.display().to_string())
            }
            Explain::Html(path) => {
                page::write(stories, path).with_context(|| path.display().to_string())
            }
        }
    }

    /// The same for a command that goes on, and whose standard output is its own: text on standard error.
    pub(super) fn tell_aside(&self, stories: &[Story]) -> Result<()> {
        if *self != Explain::Full {
            return self.tell(stories);
        }
        remark(format_args!(
            "{}",
            all(stories, colour(&io::stderr())).trim_end()
        ));
        Ok(())
    }
}

fn all(stories: &[Story], colour: Colour) -> String {
    let texts = stories.iter().map(|story| story::text(story, colour));
    texts.collect::<Vec<_>>().join("\n")
}

fn colour(to: &impl IsTerminal) -> Colour {
    match pager::has_colours(to) {
        true => Colour::On,
        false => Colour::Off,
    }
}

/// Watches a load as the option says.
pub(super) struct Watch {
    short: bool,
    rehearsal: bool,
    recorder: Option<Recorder>,
}

impl Watch {
    /// Of a load that happens; `path` is the object's.
    pub(super) fn of_load(explain: Option<&Explain>, path: &str) -> Self {
        let wants_story = explain.is_some_and(Explain::wants_story);
        Watch {
            short: explain == Some(&Explain::Short),
            rehearsal: false,
            recorder: wants_story.then(|| Recorder::new(path)),
        }
    }

    /// Of a dry run, which always has a story.
    pub(super) fn of_rehearsal(explain: Option<&Explain>, path: &str) -> Self {
        Watch {
            short: explain == Some(&Explain::Short),
            rehearsal: true,
            recorder: Some(Recorder::of_rehearsal(path)),
        }
    }

    /// The same without instructions, unless the option shows them.
    pub(super) fn of_commands(explain: Option<&Explain>, path: &str) -> Self {
        let watch = Self::of_rehearsal(explain, path);
        if explain.is_some_and(Explain::wants_story) {
            return watch;
        }
        Watch {
            recorder: watch.recorder.map(Recorder::without_code),
            ..watch
        }
    }

    /// Whether it prints lines while it watches.
    pub(super) fn is_short(&self) -> bool {
        self.short
    }

    /// The logs that it wants to see.
    pub(super) fn logs(&self) -> VerifierLogs {
        match self.recorder {
            Some(_) => VerifierLogs::Always,
            None => VerifierLogs::OfRejected,
        }
    }

    /// The recorder, where there is a story.
    pub(super) fn recorder(&mut self) -> Option<&mut Recorder> {
        self.recorder.as_mut()
    }

    /// The story, once the load has ended with these errors.
    pub(super) fn end(self, errors: Vec<String>) -> Option<Story> {
        self.recorder.map(|recorder| recorder.finish(errors))
    }
}

impl Observer for Watch {
    fn step(&mut self, step: &Step<'_>) {
        if self.short && !(self.rehearsal && story::is_done(step)) {
            for line in story::lines(step) {
                remark(format_args!("{}", clean(&line)));
            }
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.step(step);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn levels_are_read_and_written() {
        for text in ["short", "full", "json", "json:story.json", "html:page.html"] {
            assert_eq!(text.parse::<Explain>().unwrap().to_string(), text);
        }
        for text in ["", "long", "json:", "html", "html:", "short:x"] {
            assert_eq!(
                text.parse::<Explain>(),
                Err("none of short, full, json, json:FILE, html:FILE".into()),
                "{text}"
            );
        }
    }
}
