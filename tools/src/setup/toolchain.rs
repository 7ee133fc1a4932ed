//! Which rustc builds the BPF program, in the order in which loader/build.rs looks for one.
//!
//! Any rustc has the BPF backend, but none ships `core` for BPF: it must bring the source of its own
//! `core` (rust-src), which is then compiled once. Another version's source does not build.

use crate::{run, workspace};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment variable that names one.
pub const VARIABLE: &str = "XDPLB_BPF_RUSTC";

/// The oldest that can: the workspace's `rust-version`.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A rustc that can build the program.
#[derive(Debug, PartialEq, Eq)]
pub struct Rustc {
    /// The compiler.
    pub path: PathBuf,
    /// How we came to it, for people.
    pub origin: &'static str,
}

/// Where Debian's packages are unpacked: under target/, as they conflict with rustup's when installed.
pub fn private() -> PathBuf {
    workspace::target().join("toolchain")
}

/// The first that will do. One that the user named and that will not do is an error, as another would surprise.
pub fn find() -> Result<Option<Rustc>> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        let path = PathBuf::from(named);
        if let Err(why) = check(&path) {
            bail!("{VARIABLE}={}: {why}", path.display());
        }
        return Ok(Some(Rustc {
            path,
            origin: VARIABLE,
        }));
    }
    let places = [
        (
            PathBuf::from("rustc"),
            "the active toolchain, with rust-src",
        ),
        (
            PathBuf::from("/usr/bin/rustc"),
            "the system's, with rust-src",
        ),
        (
            private().join("usr/bin/rustc"),
            "Debian's, unpacked by `cargo xtask setup`",
        ),
    ];
    Ok(places
        .into_iter()
        .find(|(path, _)| check(path).is_ok())
        .map(|(path, origin)| Rustc { path, origin }))
}

/// Why the one unpacked under target/ will not do.
pub fn trouble_with_private() -> Option<String> {
    check(&private().join("usr/bin/rustc")).err()
}

/// Says which one a build will take, and hands it on; without one the build's own error says what to run.
pub fn hand_to(build: &mut Command) {
    if let Ok(Some(rustc)) = find() {
        println!(
            "the BPF program's rustc: {} ({})",
            rustc.path.display(),
            rustc.origin
        );
        // A build for a named target has its own folder below target/ and would look for ours in there.
        if rustc.path.starts_with(private()) {
            build.env(VARIABLE, rustc.path);
        }
    }
}

/// Whether it runs, knows BPF, and has the source of its `core`; else why not.
fn check(rustc: &Path) -> Result<(), String> {
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(rustc);
        command.args(arguments).current_dir(workspace::root());
        if let Some(libraries) = libraries_beside(rustc) {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        run::read(&mut command).map_err(|error| error.to_string())
    };
    let version = ask(&["--version"])?;
    if !version
        .split(' ')
        .nth(1)
        .is_some_and(|version| at_least(version, OLDEST))
    {
        return Err(format!(
            "`--version` says `{}`, and the program needs rustc {OLDEST}",
            version.trim()
        ));
    }
    let targets = ask(&["--print", "target-list"])?;
    if !targets.lines().any(|target| target == "bpfel-unknown-none") {
        return Err("it does not know the target bpfel-unknown-none".into());
    }
    let source = Path::new(ask(&["--print", "sysroot"])?.trim())
        .join("lib/rustlib/src/rust/library/core/src/lib.rs");
    if !source.exists() {
        return Err(format!(
            "it has no source of `core` (rust-src): {} is missing",
            source.display()
        ));
    }
    Ok(())
}

/// Compares versions such as 1.96.0 or 1.97.0-nightly by their first two numbers.
fn at_least(version: &str, oldest: &str) -> bool {
    let numbers = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    matches!((numbers(version), numbers(oldest)), (Some(version), Some(oldest)) if version >= oldest)
}

/// The shared libraries unpacked beside an unpacked program, `usr/lib/x86_64-linux-gnu` on x86-64. A
/// system's own program finds its libraries by itself.
pub fn libraries_beside(program: &Path) -> Option<PathBuf> {
    let usr = program.parent()?.parent()?;
    if usr == Path::new("/usr") {
        return None;
    }
    let folders = usr.join("lib").read_dir().ok()?;
    folders
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with("-linux-gnu"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_is_not_a_compiler_is_told_apart() {
        let why = check(Path::new("/xdplb/no/such/rustc")).unwrap_err();
        assert!(why.contains("cannot be started"), "{why}");
        let why = check(Path::new("/bin/true")).unwrap_err();
        assert!(
            why.starts_with("`--version` says `true (GNU coreutils)"),
            "{why}"
        );
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(at_least("1.96.0", "1.90"));
        assert!(at_least("1.100.0-nightly", "1.90"));
        assert!(!at_least("1.85.0", "1.90"));
        assert!(!at_least("(GNU", "1.90"));
    }

    #[test]
    fn the_system_finds_its_own_libraries() {
        assert_eq!(libraries_beside(Path::new("/usr/bin/rustc")), None);
        assert_eq!(libraries_beside(Path::new("rustc")), None);
    }
}
