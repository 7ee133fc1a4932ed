//! Command lines that must fail: with the right exit code, a text that helps, and nothing left behind.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::balancer::{self, LIMIT};
use crate::run::{self, Output};
use crate::topology::Topology;

/// It failed.
pub const FAILED: i32 = 1;
/// The command line made no sense.
pub const USAGE: i32 = 2;

/// Runs `xdplb-load` with these arguments in `lb`, expects this exit code, and each text on standard error.
pub fn refused(topology: &Topology, arguments: &[&str], code: i32, texts: &[&str]) -> Result<()> {
    let command = balancer::command(&topology.lb, arguments)?;
    let said = refused_command(topology, command, code, texts)?;
    let first = said.lines().next().unwrap_or_default();
    // Lower case, no full stop; usage errors are clap's, which go on for some lines.
    ensure!(first.starts_with("error: "), "{arguments:?}: {said}");
    ensure!(!first.ends_with('.'), "{arguments:?}: {said}");
    Ok(())
}

/// The same for a command that was prepared; what it wrote to standard error.
pub fn refused_command(
    topology: &Topology,
    command: Command,
    code: i32,
    texts: &[&str],
) -> Result<String> {
    let shown = format!("{command:?}");
    let output = run::output(command, LIMIT)?;
    check(&output, code, texts).with_context(|| shown.clone())?;
    topology.check_nothing_left().with_context(|| shown)?;
    Ok(output.stderr)
}

fn check(output: &Output, code: i32, texts: &[&str]) -> Result<()> {
    ensure!(
        output.code == Some(code),
        "exit code {:?}, not {code}\n{}",
        output.code,
        output.stderr
    );
    ensure!(!output.stderr.contains("panicked"), "{}", output.stderr);
    ensure!(
        output.stdout.is_empty(),
        "an error belongs on stderr: {}",
        output.stdout
    );
    for text in texts {
        ensure!(
            output.stderr.contains(text),
            "no `{text}` in:\n{}",
            output.stderr
        );
    }
    Ok(())
}
