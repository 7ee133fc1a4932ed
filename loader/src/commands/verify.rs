//! `verify`: loads every map and program of objects into the running kernel, says how each went, and unloads.
//!
//! Options are settled for all objects before the first one is loaded: an option that fits none is a mistake of the command
//! line. A failure of one map, program or object leaves the others their turn.

mod failure;
mod options;
mod outcome;
mod rehearsal;
mod table;

pub(super) use rehearsal::release;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::explain::{Explain, LEVELS, Watch};
use super::{UsageError, clean, files, remark, say, say_json};
use crate::kernel::{BpfFs, Release};
use crate::load::{self, LoadError, LoadOptions, Observer, Step, VerifierLogs};
use crate::object::{Plan, ProgramSpec, Spec};
use crate::story::Story;
use failure::{Failure, Kind};
use options::{Entries, Inner, Settings, TypeOf, Value};
use outcome::{Outcome, Types};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The objects to load
    #[arg(required = true, value_name = "OBJECT")]
    objects: Vec<PathBuf>,
    /// The type of programs whose section's name says none, or of one program: xdp, tc, kprobe, …
    #[arg(long = "type", value_name = "[PROGRAM=]TYPE")]
    types: Vec<TypeOf>,
    /// How many entries a map has
    #[arg(long, value_name = "MAP=N")]
    max_entries: Vec<Entries>,
    /// Like which other map of the object the maps in a map of maps are, where its definition does not say
    #[arg(long, value_name = "MAP=OTHER")]
    inner: Vec<Inner>,
    /// The value of a variable or kernel option before loading: a number, true, an enum's name, a string, 0x… bytes
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<Value>,
    /// Where maps that ask for it are pinned: fitting ones that are there are used, new ones are removed again
    #[arg(long, value_name = "DIR")]
    pin: Option<PathBuf>,
    /// Tell the load: short, a line a step, on standard error; full, every command, message and instruction; json, the same as data
    #[arg(long, value_name = LEVELS, num_args = 0..=1, require_equals = true, default_missing_value = "short")]
    explain: Option<Explain>,
    /// When the verifier rejects a program, show its whole log
    #[arg(long)]
    verifier_log: bool,
    /// As JSON: a list, an item an object
    #[arg(long)]
    json: bool,
    /// Tell everything up to the first system call, and do none of it; needs no privilege
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: for this release of Linux in place of the one that runs (5.10, 6.1, …)
    #[arg(long, value_name = "RELEASE", requires = "dry_run")]
    kernel: Option<Release>,
}

const ONE_OUTPUT: &str = "--json and --explain both want standard output\n  try:  --explain=json:FILE, or one of the two";

/// Runs the command; the exit code says whether everything was loaded.
pub(super) fn verify(args: &VerifyArgs) -> Result<ExitCode> {
    let settings = Settings {
        types: &args.types,
        max_entries: &args.max_entries,
        inner: &args.inner,
        values: &args.set,
    };
    if args.json && !args.explain.as_ref().is_none_or(Explain::leaves_stdout) {
        return Err(UsageError(ONE_OUTPUT.into()).into());
    }
    check_settings(args, settings)?;
    if args.dry_run {
        return rehearsal::rehearse(args, settings);
    }
    let pins = match &args.pin {
        Some(directory) => Some(PinDirectory::open(directory)?),
        None => None,
    };
    // From here on something happens in the kernel.
    let mut outcomes = Vec::new();
    let mut stories = Vec::new();
    let mut code = ExitCode::SUCCESS;
    let mut said_once = false;
    for (number, path) in args.objects.iter().enumerate() {
        let (outcome, story) = one(args, settings, path, pins.as_ref());
        stories.extend(story);
        if !outcome.ok {
            code = ExitCode::FAILURE;
        }
        if !args.json && args.explain.as_ref().is_none_or(Explain::leaves_stdout) {
            print_tables(args, number, &outcome);
        }
        if !(said_once && outcome.is_everyones()) {
            remark_failures(args, &outcome);
        }
        said_once |= outcome.is_everyones();
        if args.json {
            outcomes.push(outcome);
        } else if said_once {
            break;
        }
    }
    if args.json {
        say_json(&outcomes)?;
    }
    if let Some(explain) = &args.explain {
        explain.tell(&stories)?;
    }
    Ok(code)
}

/// Each option must fit one object at least, and its value wherever it fits. Objects that cannot be read have their turn
/// later.
fn check_settings(args: &VerifyArgs, settings: Settings<'_>) -> Result<(), UsageError> {
    if settings.is_empty() {
        return Ok(());
    }
    let mut fits = options::Fits::none(settings);
    let mut unread = 0;
    for path in &args.objects {
        match read(path) {
            Ok(mut spec) => fits.add(settings.apply(&mut spec, &path.display().to_string())?),
            Err(_) => unread += 1,
        }
    }
    match unread == args.objects.len() {
        // Their own errors say more than that options fit nothing.
        true => Ok(()),
        false => fits.check(settings, args.objects.len()),
    }
}

/// The object's file, named as libbpf names it: what the kernel calls the maps of its data sections begins so.
fn read(path: &Path) -> Result<Spec, Failure> {
    let bytes =
        files::read(path).map_err(|error| Failure::new(Kind::File, format!("{error:#}")))?;
    let mut spec = Spec::parse(&bytes)
        .map_err(|error| Failure::new(Kind::Object, format!("{}: {error}", path.display())))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    spec.name = name.split('.').next().unwrap_or_default().to_string();
    Ok(spec)
}

/// Loads one object and unloads it; also tells the story, if it is wanted.
fn one(
    args: &VerifyArgs,
    settings: Settings<'_>,
    path: &Path,
    pins: Option<&PinDirectory>,
) -> (Outcome, Option<Story>) {
    let shown = path.display().to_string();
    let mut watch = Watch::of_load(args.explain.as_ref(), &shown);
    if watch.is_short() && args.objects.len() > 1 {
        remark(format_args!("{}:", clean(&shown)));
    }
    let mut spec = match read(path) {
        Ok(spec) => spec,
        Err(failure) => return (Outcome::unread(shown, failure), None),
    };
    if let Err(error) = settings.apply(&mut spec, &shown) {
        let failure = Failure::new(Kind::Object, error.to_string());
        return (Outcome::unread(shown, failure), None);
    }
    let mut seen = Seen::default();
    let log = watch.logs();
    let done = {
        let mut observer = |step: &Step<'_>| {
            seen.note(step);
            watch.step(step);
        };
        attempt(spec, pins, log, &mut observer)
    };
    let (plan, programs, report) = match done {
        Attempt(plan, programs, Ok(report)) => (plan, programs, report),
        Attempt(plan, _, Err(error)) => {
            let failure = Failure::of_load(&error, &shown);
            let outcome = Outcome::refused(shown, &plan, failure);
            return told(outcome, watch);
        }
    };
    let outcome = Outcome::new(shown, &programs, &plan, &report, &seen);
    drop(report);
    if watch.is_short() {
        remark(format_args!("unloaded"));
    }
    told(outcome, watch)
}

/// The outcome, and the story that ends with it.
fn told(outcome: Outcome, watch: Watch) -> (Outcome, Option<Story>) {
    let errors = outcome.failures().map(|failure| failure.error.into());
    let story = watch.end(errors.collect());
    (outcome, story)
}

/// What was planned, the programs in the object's order, and what became of the plan.
struct Attempt(Plan, Vec<ProgramSpec>, Result<load::Report, LoadError>);

fn attempt(
    spec: Spec,
    pins: Option<&PinDirectory>,
    log: VerifierLogs,
    observer: &mut dyn Observer,
) -> Attempt {
    let plan = load::prepare_each(&spec, observer);
    // From here on the object is not needed: its memory serves the load.
    let programs = programs_of(spec);
    let options = LoadOptions {
        pins: pins.map(|pins| pins.fs.clone()),
        log,
        ..LoadOptions::default()
    };
    let report = load::load_each(&plan, options, observer);
    Attempt(plan, programs, report)
}

fn programs_of(spec: Spec) -> Vec<ProgramSpec> {
    spec.programs
}

/// What the steps of a load say beside its report.
#[derive(Debug, Default)]
struct Seen {
    types: Types,
    reused: Vec<String>,
    /// What the object asks of the machine and did not get.
    unread: Vec<String>,
}

impl Seen {
    fn note(&mut self, step: &Step<'_>) {
        match step {
            Step::MapReused { map, .. } => self.reused.push(map.spec.name.clone()),
            Step::BtfLoaded { .. } if self.types == Types::None => self.types = Types::Loaded,
            Step::BtfSimplified { kinds } => {
                self.types =
                    Types::Simplified(kinds.iter().map(|kind| (*kind).to_string()).collect());
            }
            Step::BtfLeftOut { reason } => self.types = Types::LeftOut((*reason).to_string()),
            Step::MachineUnread { what, reason } => self.unread.push(format!("{what}: {reason}")),
            // What else happened shows in the report.
            _ => {}
        }
    }
}

/// The tables of an object; with several, each below its path and set off from the one before.
fn print_tables(args: &VerifyArgs, number: usize, outcome: &Outcome) {
    let text = table::text(outcome, args.objects.len() > 1);
    match (number, text.as_str()) {
        (_, "") => {}
        (0, text) => say(format_args!("{text}")),
        (_, text) => say(format_args!("\n{text}")),
    }
}

fn remark_failures(args: &VerifyArgs, outcome: &Outcome) {
    for failure in outcome.failures() {
        if args.verifier_log
            && let Some(log) = failure.log
        {
            remark(format_args!("{}", clean(log.trim_end())));
        }
        remark(format_args!("error: {}", clean(failure.error)));
    }
    if !outcome.ok {
        for unread in &outcome.unread {
            remark(format_args!("note: not read: {}", clean(unread)));
        }
    }
    if let (false, Types::LeftOut(reason)) = (outcome.ok, &outcome.types) {
        remark(format_args!(
            "note: {}: its types were left out, which may be why: {}",
            clean(&outcome.path),
            clean(reason)
        ));
    }
}

/// The directory of `--pin`: one that was made for this run goes with it.
struct PinDirectory {
    fs: BpfFs,
    made: Option<PathBuf>,
}

impl PinDirectory {
    fn open(path: &Path) -> Result<Self> {
        let made = (!path.exists()).then(|| path.to_path_buf());
        Ok(PinDirectory {
            fs: BpfFs::create(path)?,
            made,
        })
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            // It is empty, or somebody else has put something there, which then stays.
            let _ = std::fs::remove_dir(path);
        }
    }
}
