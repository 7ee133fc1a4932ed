//! Object files that are not what they should be: an error each, never a panic, nothing left in the kernel.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xdplb_loader::PROGRAM;
use xdplb_tests::balancer;
use xdplb_tests::files::Folder;
use xdplb_tests::refusal::{FAILED, refused};
use xdplb_tests::run::{self, Output};
use xdplb_tests::topology::{Plan, Topology};

/// Runs `xdplb-load run --object FILE` as it would load it.
fn load(topology: &Topology, file: &Path, options: &[&str]) -> Result<Output> {
    let mut command = Command::new(balancer::binary()?);
    command.arg("run").args(options).arg("--object").arg(file);
    command.args(topology.arguments());
    topology.lb.enter(&mut command)?;
    run::output(command, balancer::LIMIT)
}

/// The file is named, the reason given, and the program did not fall over.
fn is_an_error(output: &Output, file: &Path) -> Result<()> {
    ensure!(
        output.code == Some(FAILED),
        "exit code {:?}\n{}",
        output.code,
        output.stderr
    );
    ensure!(!output.stderr.contains("panicked"), "{}", output.stderr);
    let begin = format!("error: {}: ", file.display());
    ensure!(output.stderr.starts_with(&begin), "{}", output.stderr);
    Ok(())
}

#[test]
fn cut_at_every_64th_byte() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let folder = Folder::new()?;
    let file = folder.path().join("cut.o");
    for length in (0..PROGRAM.len()).step_by(64).chain([PROGRAM.len() - 1]) {
        std::fs::write(&file, &PROGRAM[..length])?;
        let output = load(&topology, &file, &[])?;
        is_an_error(&output, &file).with_context(|| format!("cut after {length} bytes"))?;
    }
    topology.check_nothing_left()?;
    // Whole, it loads: the cuts were the reason.
    std::fs::write(&file, PROGRAM)?;
    let output = load(&topology, &file, &["--dry-run"])?;
    ensure!(output.code == Some(0), "{output:?}");
    topology.check_nothing_left()
}

#[test]
fn a_byte_changed_every_64_bytes() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let folder = Folder::new()?;
    let file = folder.path().join("changed.o");
    for at in (0..PROGRAM.len()).step_by(64) {
        let mut bytes = PROGRAM.to_vec();
        // Another place of each 64, another value: whatever is there changes.
        let place = (at + at / 64 % 64).min(PROGRAM.len() - 1);
        bytes[place] ^= 1 << (at / 64 % 8);
        std::fs::write(&file, &bytes)?;
        // Parsed and planned, not loaded: some of them are fine as far as one can see.
        let output = load(&topology, &file, &["--dry-run"])?;
        if output.code != Some(0) {
            is_an_error(&output, &file).with_context(|| format!("byte {place} changed"))?;
        }
    }
    topology.check_nothing_left()
}

#[test]
fn files_that_are_no_objects() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let folder = Folder::new()?;
    let seed = topology.arguments();
    let script = "#!/bin/sh\n# As long as a header, and no object all the same: the first four bytes say so.\n";
    for (name, bytes, text) in [
        ("empty.o", "", "ELF header needs 64 bytes, 0 are left"),
        ("text.o", script, "this is not an ELF file"),
    ] {
        let file = folder.file(name, bytes)?;
        let mut arguments = vec!["run", "--object", &file];
        arguments.extend(seed.iter().map(String::as_str));
        refused(
            &topology,
            &arguments,
            FAILED,
            &[&format!("error: {file}: "), text],
        )?;
    }
    let binary = balancer::binary()?.display().to_string();
    for (file, text) in [
        (
            &*binary,
            "a shared library or program for x86-64, not one for BPF",
        ),
        ("/nonexistent/prog.o", "(ENOENT)"),
    ] {
        let mut arguments = vec!["run", "--object", file];
        arguments.extend(seed.iter().map(String::as_str));
        refused(
            &topology,
            &arguments,
            FAILED,
            &[&format!("error: {file}: "), text],
        )?;
    }
    Ok(())
}
