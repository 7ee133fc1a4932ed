//! `cargo xtask bench`: the figures of the README, measured in one run.
//!
//! Builds the static binary, the measuring program of the package `tests`, and what it is held against: the C twin of a packet's
//! cost and the limit of what goes through namespaces; then measures as root. All traffic stays in namespaces that the measuring program makes and takes down.

use crate::privilege::Privilege;
use crate::setup::{self, Need, peers};
use crate::{build, interrupt, run, workspace};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What is compiled from tests/c.
const OBJECTS: [&str; 2] = ["twin", "limit"];

/// How long it may take down what it made when it is interrupted: the rest of a turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// Builds, measures, prints.
pub fn bench(part: Option<&str>) -> Result<()> {
    setup::setup(Need::Bench)?;
    let peers = peers::find().context("what is compared with is not here")?;
    let objects = compile_objects()?;
    let binary = build::build()?;
    let measure = build_measure()?;
    crate::compare::object_set()?;
    run::step("bench");
    let mut command = Privilege::of_this_process().command(
        "env",
        "network namespaces and BPF programs, to measure them",
    )?;
    command.arg(format!("XDPLB_LOAD={}", binary.display()));
    command.arg(format!("XDPLB_PEERS={}", peers.display()));
    command.arg(measure).arg(objects).args(part);
    measured(&mut command)
}

/// Runs it to its end. Interrupted, it is told so and waited for: it has namespaces, processes and files to take down.
fn measured(command: &mut Command) -> Result<()> {
    interrupt::watch()?;
    let name = run::shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("`{name}`: cannot be started"))?;
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            interrupt::check()?;
            ensure!(status.success(), "`{name}`: {status}");
            return Ok(());
        }
        match asked {
            None if interrupt::check().is_err() => {
                // It may have ended just now; sudo hands the signal on.
                let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > PATIENCE => {
                child.kill()?;
                child.wait()?;
                bail!("`{name}`: interrupted, and killed");
            }
            _ => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The C programs as objects for the kernel; the folder where they are.
fn compile_objects() -> Result<PathBuf> {
    run::step("clang tests/c");
    let clang = run::program("clang").context(
        "clang: not found in PATH; it compiles the C programs to compare with\n  try: cargo xtask setup",
    )?;
    let folder = workspace::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for name in OBJECTS {
        run::ok(&mut clang_command(
            &clang,
            &workspace::root().join(format!("tests/c/{name}.bpf.c")),
            &folder.join(format!("{name}.o")),
        ))?;
    }
    Ok(folder)
}

/// The instruction set is the one that prog/target.json names.
fn clang_command(clang: &Path, source: &Path, object: &Path) -> Command {
    let mut command = Command::new(clang);
    command.args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-c"]);
    command.arg(source).arg("-o").arg(object);
    command
}

/// As the user's, so that no file under target/ belongs to root.
fn build_measure() -> Result<PathBuf> {
    run::step("cargo build --release -p xdplb-tests --bin xdplb-bench");
    let built = workspace::executables(workspace::cargo().args([
        "build",
        "--release",
        "-p",
        "xdplb-tests",
        "--bin",
        "xdplb-bench",
    ]))?;
    let measure = built
        .into_iter()
        .find(|executable| executable.target == "xdplb-bench")
        .context("cargo build: it built no `xdplb-bench`")?;
    Ok(measure.file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn objects_are_for_the_programs_instruction_set() {
        let target = fs::read_to_string(workspace::root().join("prog/target.json")).unwrap();
        let target: serde_json::Value = serde_json::from_str(&target).unwrap();
        let cpu = format!("-mcpu={}", target["cpu"].as_str().unwrap());
        let command = clang_command(Path::new("clang"), Path::new("a.c"), Path::new("a.o"));
        assert!(command.get_args().any(|word| word == &*cpu));
        for name in OBJECTS {
            let source = workspace::root().join(format!("tests/c/{name}.bpf.c"));
            assert!(source.is_file(), "{}", source.display());
        }
    }
}
