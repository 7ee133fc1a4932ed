//! `cargo xtask test`: every check there is, quick ones first, stopping at the first that fails.
//!
//! Nothing is printed after the last test, so the log ends with the test runner's own closing line.

use crate::privilege::Privilege;
use crate::setup::{self, Need};
use crate::workspace::Executable;
use crate::{build, compare, kernels, run, tidy, workspace};
use anyhow::{Context, Result};
use std::fs;
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
    let (kernel, host): (Vec<_>, Vec<_>) = tests.into_iter().partition(needs_root);
    stage("host tests", || {
        run::step("host tests");
        host.iter().try_for_each(run_plainly)?;
        cargo(&["test", "--quiet", "--workspace", "--doc"])
    })?;

    stage("object set", || compare::object_set().map(drop))?;
    stage("corruption", corruption)?;

    let binary = stage("static binary", build::build)?;
    stage("differential", || differential(&binary))?;
    stage("kernels", || kernels::kernels(&[]))?;
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
    tests.retain(|test| is_test(&test.file) && !SLOW.contains(&&*test.target));
    tests.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(tests)
}

/// Tests that are built for speed with every check on.
fn checked() -> Command {
    let mut command = workspace::cargo();
    command.args([
        "test",
        "--quiet",
        "--profile",
        "checked",
        "-p",
        "xdplb-tests",
    ]);
    command
}

/// Ten thousand damages to every object of the set, by a test that is built for speed with every check on.
fn corruption() -> Result<()> {
    run::step("corruption");
    let mut command = checked();
    command.args(["--test", CORRUPTION, "--", "--nocapture"]);
    run::ok(command.env("XDPLB_DAMAGES", "10000"))
}

/// A million packets through the program in the kernel and through the model, by a test that is built likewise.
fn differential(binary: &Path) -> Result<()> {
    run::step("differential");
    let mut command = checked();
    let tests = workspace::executables(command.args(["--test", DIFFERENTIAL, "--no-run"]))?;
    let mut tests = tests.iter().filter(|test| test.target == DIFFERENTIAL);
    tests.try_for_each(|test| run_as_root(test, binary))
}

/// The tests that are a stage each, built for speed with every check on.
const SLOW: [&str; 2] = [CORRUPTION, DIFFERENTIAL];
const CORRUPTION: &str = "corruption";
const DIFFERENTIAL: &str = "differential";

/// Cargo puts tests, and only tests, into `deps/` with a hash behind the name.
fn is_test(file: &Path) -> bool {
    file.parent().is_some_and(|folder| folder.ends_with("deps"))
}

/// Tests of real bytecode and real packets: those of the package `tests`, of which only the model's run
/// on the host, and every file under a tests/ folder whose first words say that it needs root.
fn needs_root(test: &Executable) -> bool {
    let on_host = ["model", "properties", "pages"].contains(&&*test.target);
    let end_to_end = test.package == "xdplb-tests" && !on_host;
    let says_so = || fs::read_to_string(&test.source).is_ok_and(|text| says_needs_root(&text));
    test.kind == "test" && (end_to_end || says_so())
}

/// Whether the `//!` at the beginning of a file holds the words `needs root`.
fn says_needs_root(source: &str) -> bool {
    let head: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .collect();
    head.concat().to_lowercase().contains("needs root")
}

fn run_plainly(test: &Executable) -> Result<()> {
    let name = announce(test);
    let mut command = Command::new(&test.file);
    command
        .arg("--quiet")
        .env("CARGO_MANIFEST_DIR", &test.folder);
    run::ok_as(&name, command.current_dir(&test.folder))
}

fn announce(test: &Executable) -> String {
    let name = format!("{} {}", test.package, test.target);
    println!("-- {name}");
    name
}

/// Where tests pin and trace. What the machine does not have mounted is mounted for them alone, in a
/// mount namespace that ends with them, so the machine stays as it was.
const WITH_FILE_SYSTEMS: &str = r#"
[ "$(stat -f -c %T /sys/fs/bpf)" = bpf_fs ] || mount -t bpf bpf /sys/fs/bpf
[ "$(stat -f -c %T /sys/kernel/tracing)" = tracefs ] || mount -t tracefs tracefs /sys/kernel/tracing
exec "$@"
"#;

fn run_as_root(test: &Executable, binary: &Path) -> Result<()> {
    let name = announce(test);
    let mut command = Privilege::of_this_process().command("unshare", &name)?;
    command.args(["--mount", "sh", "-euc", WITH_FILE_SYSTEMS, "sh", "env"]);
    command.arg(format!("XDPLB_LOAD={}", binary.display()));
    command.arg(format!("CARGO_MANIFEST_DIR={}", test.folder.display()));
    for variable in ["CI", "RUST_BACKTRACE", "XDPLB_PACKETS"] {
        if let Ok(value) = std::env::var(variable) {
            command.arg(format!("{variable}={value}"));
        }
    }
    run::ok_as(&name, command.arg(&test.file).current_dir(&test.folder))
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
            source: "/x/tests/x.rs".into(),
            file: "/x/target/debug/deps/x-1".into(),
        }
    }

    #[test]
    fn tests_that_need_root_are_told_from_tests_of_the_host() {
        assert!(needs_root(&executable("xdplb-tests", "tcp", "test")));
        assert!(!needs_root(&executable("xdplb-tests", "harness", "lib")));
        assert!(!needs_root(&executable("xdplb-tests", "model", "test")));
        assert!(!needs_root(&executable(
            "xdplb-tests",
            "properties",
            "test"
        )));
        assert!(!needs_root(&executable("xdplb-loader", "parse", "test")));
        assert!(says_needs_root(
            "//! Maps of the\n//! running kernel. Needs root\n//! and `ip`.\nuse std;\n"
        ));
        assert!(!says_needs_root("//! Pure.\n\n// needs root\n"));
    }

    #[test]
    fn this_packages_own_test_of_namespaces_says_so() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/topology.rs");
        assert!(says_needs_root(&fs::read_to_string(source).unwrap()));
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
