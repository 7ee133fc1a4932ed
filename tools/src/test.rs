//! `cargo xtask test`: every check there is, quick ones first, stopping at the first that fails.
//!
//! Nothing is printed after the last test, so the log ends with the test runner's own closing line.

use crate::privilege::Privilege;
use crate::setup::{self, Need};
use crate::workspace::Executable;
use crate::{build, run, tidy, workspace};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Runs them all.
pub fn test() -> Result<()> {
    stage("setup", || setup::setup(Need::Test))?;
    stage("privilege", privilege)?;
    stage("formatting", || cargo(&["fmt", "--all", "--check"]))?;
    stage("clippy", || {
        cargo(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    stage("tidy", tidy::tidy)?;

    let tests = stage("test binaries", build_tests)?;
    let (kernel, host): (Vec<_>, Vec<_>) = tests.into_iter().partition(needs_kernel);
    stage("host tests", || {
        run::step("host tests");
        host.iter().try_for_each(run_plainly)?;
        cargo(&["test", "--quiet", "--workspace", "--doc"])
    })?;

    let binary = stage("static binary", build::build)?;
    stage("kernel and namespace tests", || {
        run::step("kernel and namespace tests");
        kernel
            .iter()
            .try_for_each(|test| run_as_root(test, &binary))
    })
}

/// A failure says which stage it stopped at.
fn stage<T>(name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    action().with_context(|| format!("test: stopped at {name}"))
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run::step(&format!("cargo {}", arguments.join(" ")));
    run::ok(workspace::cargo().args(arguments))
}

/// Asked before anything slow begins. A test that silently skips what it cannot do would pass for one that did it.
fn privilege() -> Result<()> {
    run::step("privilege");
    let ourselves = std::env::current_exe().context("our own path")?;
    let mut command = Privilege::of_this_process()
        .command(ourselves, "may kernel and namespace tests run here?")?;
    run::ok(command.arg("check-privilege"))
}

/// All of them in one go; as a plain user's, so that no file under target/ belongs to root.
fn build_tests() -> Result<Vec<Executable>> {
    run::step("cargo test --workspace --no-run");
    let mut tests = workspace::executables(workspace::cargo().args([
        "test",
        "--quiet",
        "--workspace",
        "--no-run",
    ]))?;
    // `--no-run` also lists the binaries that integration tests run; those hold no tests themselves.
    tests.retain(|test| is_test(&test.file));
    tests.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(tests)
}

/// Cargo puts tests, and only tests, into `deps/` with a hash behind the name.
fn is_test(file: &Path) -> bool {
    file.parent().is_some_and(|folder| folder.ends_with("deps"))
}

/// Tests of real bytecode and real packets: those of the package `tests`, and those named for the kernel
/// or for the topology. The model runs the program's own code on the host.
fn needs_kernel(test: &Executable) -> bool {
    let target = test.target.as_str();
    let end_to_end = test.package == "xdplb-tests" && target != "model";
    test.kind == "test" && (end_to_end || ["kernel", "topology"].contains(&target))
}

fn run_plainly(test: &Executable) -> Result<()> {
    println!("-- {} {}", test.package, test.target);
    let mut command = Command::new(&test.file);
    run::ok(
        command
            .arg("--quiet")
            .env("CARGO_MANIFEST_DIR", &test.folder)
            .current_dir(&test.folder),
    )
}

fn run_as_root(test: &Executable, binary: &Path) -> Result<()> {
    println!("-- {} {}", test.package, test.target);
    let what = format!("{} {}", test.package, test.target);
    let mut command = Privilege::of_this_process().command("env", &what)?;
    command.arg(format!("XDPLB_LOAD={}", binary.display()));
    command.arg(format!("CARGO_MANIFEST_DIR={}", test.folder.display()));
    for name in ["CI", "RUST_BACKTRACE"] {
        if let Ok(value) = std::env::var(name) {
            command.arg(format!("{name}={value}"));
        }
    }
    run::ok(command.arg(&test.file).current_dir(&test.folder))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use anyhow::anyhow;

    fn executable(package: &str, target: &str, kind: &str) -> Executable {
        Executable {
            package: package.into(),
            folder: "/x".into(),
            target: target.into(),
            kind: kind.into(),
            file: "/x/target/debug/deps/x-1".into(),
        }
    }

    #[test]
    fn tests_of_the_kernel_are_told_from_tests_of_the_host() {
        assert!(needs_kernel(&executable("xdplb-tests", "tcp", "test")));
        assert!(needs_kernel(&executable("xdplb-loader", "kernel", "test")));
        assert!(needs_kernel(&executable("xtask", "topology", "test")));
        assert!(!needs_kernel(&executable("xdplb-tests", "harness", "lib")));
        assert!(!needs_kernel(&executable("xdplb-loader", "parse", "test")));
        assert!(!needs_kernel(&executable("xdplb-tests", "model", "test")));
    }

    #[test]
    fn programs_that_tests_run_are_not_tests() {
        assert!(is_test(Path::new("/x/target/debug/deps/kernel-1a2b")));
        assert!(!is_test(Path::new("/x/target/debug/xdplb-load")));
    }

    #[test]
    fn a_failure_names_its_stage() {
        let error = stage("clippy", || {
            Err::<(), _>(anyhow!("`cargo clippy`: exit status: 101"))
        })
        .unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "test: stopped at clippy: `cargo clippy`: exit status: 101"
        );
    }
}
