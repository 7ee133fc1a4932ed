//! The table of `cargo xtask compare`, run as root: `xdplb-compare [COMPARE-AYA]` prints who loads how much of each object of
//! the set. XDPLB_LOAD names our command, as in the tests.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Result;
use xdplb_tests::objects::libbpf::{self, Opinion};
use xdplb_tests::objects::{self, ours};
use xdplb_tests::run;

const LIMIT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match compare(std::env::args_os().nth(1).map(PathBuf::from).as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How many programs of an object one loader loads, of those that this machine takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Score {
    Loads {
        loaded: usize,
        of: usize,
    },
    /// There is nothing to load, and it says so.
    Refuses,
}

impl Score {
    fn new(loaded: usize, of: usize) -> Self {
        match of {
            0 => Score::Refuses,
            of => Score::Loads { loaded, of },
        }
    }

    fn is_full(self) -> bool {
        matches!(self, Score::Loads { loaded, of } if loaded == of)
    }

    fn cell(self) -> String {
        match self {
            Score::Refuses => "·".to_owned(),
            Score::Loads { loaded: 0, .. } => "no".to_owned(),
            Score::Loads { loaded, of } if loaded == of => "yes".to_owned(),
            Score::Loads { loaded, of } => format!("{loaded} of {of}"),
        }
    }
}

fn compare(aya: Option<&Path>) -> Result<()> {
    let kernel = objects::running_kernel()?;
    let system = nix::sys::utsname::uname()?;
    println!("Linux {}, {}\n", system.release().display(), versions()?);
    println!("| object | xdplb | libbpf | aya | covers |\n|---|---|---|---|---|");
    let mut full = [0; 3];
    let mut loadable = 0;
    for (case, object) in objects::built()? {
        if !case.fits(kernel) {
            continue;
        }
        let ours = ours::verify(&case, &object)?;
        // What the machine rules out, it rules out for everybody.
        let ruled_out = case
            .machine
            .iter()
            .filter(|name| ours.errors().iter().any(|(who, _)| who == *name));
        let ruled_out = ruled_out.count();
        let theirs = match libbpf::load(&object)? {
            Opinion::Loads(programs) => programs.len(),
            Opinion::Refuses(_) => 0,
        };
        let mut loaded = vec![ours.loaded().len(), theirs];
        if let Some(aya) = aya {
            loaded.push(by_aya(aya, &object)?);
        }
        // What is expected to fail and someone loads can be loaded after all. Else only what should load counts: aya takes
        // static functions for programs, and calls an object without a license GPL.
        let of = match case.expect.programs.len().saturating_sub(ruled_out) {
            0 => loaded.iter().copied().max().unwrap_or(0),
            of => of,
        };
        let scores: Vec<Score> = loaded
            .iter()
            .map(|loaded| Score::new(*loaded.min(&of), of))
            .collect();
        loadable += usize::from(scores.first() != Some(&Score::Refuses));
        for (count, score) in full.iter_mut().zip(&scores) {
            *count += usize::from(score.is_full());
        }
        let mut cells: Vec<String> = scores.into_iter().map(Score::cell).collect();
        cells.resize(3, String::new());
        println!(
            "| {} | {} | {} |",
            case.name,
            cells.join(" | "),
            case.covers
        );
    }
    let [ours, libbpf, by_aya] = full.map(|count| format!("{count} of {loadable}"));
    let by_aya = if aya.is_some() { by_aya } else { String::new() };
    println!("| **all of it** | {ours} | {libbpf} | {by_aya} | |");
    Ok(())
}

/// What is compared with, in its own words.
fn versions() -> Result<String> {
    let mut command = Command::new("bpftool");
    command.arg("version");
    let said = run::output(command, LIMIT)?.stdout;
    Ok(said.lines().take(2).collect::<Vec<_>>().join(", "))
}

/// The lines `ok NAME` of our little program around aya.
fn by_aya(helper: &Path, object: &Path) -> Result<usize> {
    let mut command = Command::new(helper);
    command.arg(object);
    let said = run::output(command, LIMIT)?;
    Ok(said
        .stdout
        .lines()
        .filter(|line| line.starts_with("ok "))
        .count())
}
