//! `verify --dry-run`: the load path with the door to the kernel shut, for this kernel or another release.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, anyhow};

use super::super::explain::{Explain, Watch};
use super::super::{clean, remark, say, say_json};
use super::{VerifyArgs, read};
use crate::commands::verify::options::Settings;
use crate::kernel::Release;
use crate::load;
use crate::story::Story;

/// Tells what would be done with each object; the exit code says whether each can be planned.
pub(super) fn rehearse(args: &VerifyArgs, settings: Settings<'_>) -> Result<ExitCode> {
    let release = release(args.kernel)?;
    let mut stories = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for path in &args.objects {
        let shown = path.display().to_string();
        match one(args, settings, path, release) {
            Ok(story) => {
                for error in &story.outcome.errors {
                    remark(format_args!("error: {}", clean(error)));
                }
                if !story.outcome.ok {
                    code = ExitCode::FAILURE;
                }
                stories.push(story);
            }
            Err(error) => {
                code = ExitCode::FAILURE;
                let text = format!("{error:#}");
                let prefix = if text.starts_with(&shown) {
                    String::new()
                } else {
                    format!("{shown}: ")
                };
                remark(format_args!("error: {}", clean(&format!("{prefix}{text}"))));
            }
        }
    }
    match (&args.explain, args.json) {
        (_, true) => say_json(&stories)?,
        (Some(Explain::Short), false) => stories.iter().for_each(say_foretold),
        (Some(explain), false) => explain.tell(&stories)?,
        (None, false) => Explain::Full.tell(&stories)?,
    }
    Ok(code)
}

/// The release that is asked about, or the running one.
pub(in crate::commands) fn release(asked: Option<Release>) -> Result<Release> {
    let running = || {
        Release::running().ok_or_else(|| {
            anyhow!("the running kernel's release cannot be told\n  try:  --kernel RELEASE")
        })
    };
    asked.map_or_else(running, Ok)
}

fn one(args: &VerifyArgs, settings: Settings<'_>, path: &Path, release: Release) -> Result<Story> {
    let shown = path.display().to_string();
    let mut spec = read(path).map_err(|failure| anyhow!("{}", failure.error))?;
    settings.apply(&mut spec, &shown)?;
    let mut watch = Watch::of_rehearsal(args.explain.as_ref(), &shown);
    if watch.is_short() && args.objects.len() > 1 {
        remark(format_args!("{}:", clean(&shown)));
    }
    let plan = load::prepare_each(&spec, &mut watch);
    let mut errors: Vec<String> = plan
        .failed_maps()
        .map(|(map, error)| format!("map `{}`: {error}", map.spec.name))
        .chain(
            plan.failed
                .iter()
                .map(|(program, error)| format!("program `{}`: {error}", program.name)),
        )
        .collect();
    match load::rehearse(&plan, release, &mut watch) {
        Ok(report) => {
            let programs = report
                .programs
                .iter()
                .filter_map(|program| program.as_ref().err());
            errors.extend(programs.map(ToString::to_string));
        }
        Err(error) => errors.push(error.to_string()),
    }
    if let Some(recorder) = watch.recorder() {
        recorder.foretell(release, &load::needs(&spec, &plan));
    }
    watch
        .end(errors)
        .ok_or_else(|| anyhow!("{shown}: a dry run without a story"))
}

/// What the kernel that was asked about has not, and what is done differently there.
fn say_foretold(story: &Story) {
    let lines = story.foretold_lines();
    say(format_args!("{}", clean(&lines.join("\n"))));
}
