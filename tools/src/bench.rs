//! `cargo xtask bench`: the figures of the README, measured in one run.
//!
//! Builds the static binary, the measuring program of the package `tests`, and the C twin that a packet's cost is held
//! against; then measures as root. All traffic stays in namespaces that the measuring program makes and takes down.

use crate::privilege::Privilege;
use crate::{build, run, workspace};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds, measures, prints.
pub fn bench(part: Option<&str>) -> Result<()> {
    let twin = compile_twin()?;
    let binary = build::build()?;
    let measure = build_measure()?;
    crate::compare::object_set()?;
    run::step("bench");
    let mut command = Privilege::of_this_process().command(
        "env",
        "network namespaces and BPF programs, to measure them",
    )?;
    command.arg(format!("XDPLB_LOAD={}", binary.display()));
    run::ok(command.arg(measure).arg(twin).args(part))
}

/// The C twin as an object for the kernel.
fn compile_twin() -> Result<PathBuf> {
    run::step("clang twin.bpf.c");
    let clang = run::program("clang").context(
        "clang: not found in PATH; it compiles the C program to compare with\n  try: cargo xtask setup",
    )?;
    let folder = workspace::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let object = folder.join("twin.o");
    run::ok(&mut clang_command(
        &clang,
        &workspace::root().join("tests/c/twin.bpf.c"),
        &object,
    ))?;
    Ok(object)
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
    fn the_twin_is_compiled_for_the_programs_instruction_set() {
        let target = fs::read_to_string(workspace::root().join("prog/target.json")).unwrap();
        let target: serde_json::Value = serde_json::from_str(&target).unwrap();
        let cpu = format!("-mcpu={}", target["cpu"].as_str().unwrap());
        let command = clang_command(Path::new("clang"), Path::new("a.c"), Path::new("a.o"));
        assert!(command.get_args().any(|word| word == &*cpu));
        assert!(workspace::root().join("tests/c/twin.bpf.c").is_file());
    }
}
