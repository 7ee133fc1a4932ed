//! `cargo xtask compare`: who loads what of the object set: our loader, libbpf by bpftool, and aya by a little program around
//! it that is built here, in a workspace of its own. The table that docs/objects.md shows.

use crate::privilege::Privilege;
use crate::{build, run, workspace};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Builds what is to be compared, then compares.
pub fn compare() -> Result<()> {
    let binary = build::build()?;
    let table = object_set()?;
    let aya = match build_aya() {
        Ok(helper) => Some(helper),
        Err(error) => {
            println!("aya cannot be built here, its column stays empty: {error:#}");
            None
        }
    };
    run::step("compare");
    let why = "BPF programs, to load them by three loaders";
    let mut command = Privilege::of_this_process().command("env", why)?;
    command.arg(format!("XDPLB_LOAD={}", binary.display()));
    run::ok(command.arg(table).args(aya))
}

/// Builds the object set, as the user's; returns the program that compares.
pub fn object_set() -> Result<PathBuf> {
    run::step("object set");
    let programs = workspace::executables(workspace::cargo().args([
        "build",
        "--quiet",
        "-p",
        "xdplb-tests",
        "--bins",
    ]))?;
    let find = |name: &str| {
        let found = programs.iter().find(|program| program.target == name);
        found
            .map(|program| program.file.clone())
            .with_context(|| format!("cargo build: it built no `{name}`"))
    };
    run::read(&mut Command::new(find("xdplb-objects")?))?;
    find("xdplb-compare")
}

/// The program around aya.
fn build_aya() -> Result<PathBuf> {
    run::step("cargo build (tools/compare-aya)");
    let folder = workspace::target().join("compare-aya");
    let mut command = workspace::cargo();
    command
        .args(["build", "--quiet", "--locked", "--target-dir"])
        .arg(&folder);
    command.current_dir(workspace::root().join("tools/compare-aya"));
    run::ok(&mut command)?;
    Ok(folder.join("debug/compare-aya"))
}
