//! `cargo xtask build`: the one static file.
//!
//! Plain `cargo build --release` links libc dynamically. A static binary needs `+crt-static`, and that
//! needs `--target`: without it cargo gives the flag to procedural macros too, which are shared
//! libraries and refuse it.

use crate::setup::toolchain;
use crate::{run, workspace};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

const STATIC: &str = "target-feature=+crt-static";

/// Builds it, says where it lies and how large it is, and returns the path.
pub fn build() -> Result<PathBuf> {
    run::step("build");
    let binary = build_static(&[], "xdplb-load")?;
    let bytes = binary
        .metadata()
        .with_context(|| binary.display().to_string())?
        .len();
    println!(
        "{} ({:.2} MB, static)",
        binary.display(),
        bytes as f64 / 1e6
    );
    Ok(binary)
}

/// Builds static files for release, what is `selected` or else the workspace's default members, and returns the path of
/// the one with this name.
pub fn build_static(selected: &[&str], name: &str) -> Result<PathBuf> {
    let host = workspace::host()?;
    let mut command = workspace::cargo();
    command.args(["build", "--release", "--target", &host]);
    command.args(selected);
    let flags = Flags {
        encoded: std::env::var("CARGO_ENCODED_RUSTFLAGS").ok(),
        plain: std::env::var("RUSTFLAGS").ok(),
    };
    flags.make_static(&host, &mut command);
    toolchain::hand_to(&mut command);
    workspace::executables(&mut command)?
        .into_iter()
        .find(|executable| executable.target == name)
        .map(|executable| executable.file)
        .with_context(|| format!("cargo build: it built no `{name}`"))
}

/// The flags the user already gives rustc through the environment.
struct Flags {
    encoded: Option<String>,
    plain: Option<String>,
}

impl Flags {
    /// Adds ours. Cargo reads one source of flags only, the first it finds of: CARGO_ENCODED_RUSTFLAGS,
    /// RUSTFLAGS, its configuration (cargo book, `build.rustflags`); so ours go into the one in use.
    fn make_static(self, host: &str, command: &mut Command) {
        match self {
            Flags {
                encoded: Some(flags),
                ..
            } if !flags.is_empty() => {
                command.env(
                    "CARGO_ENCODED_RUSTFLAGS",
                    format!("{flags}\u{1f}-C{STATIC}"),
                );
            }
            Flags {
                plain: Some(flags), ..
            } if !flags.trim().is_empty() => {
                command.env("RUSTFLAGS", format!("{flags} -C{STATIC}"));
            }
            // `--config` joins arrays, so flags in the user's own configuration for this target stay.
            Flags { .. } => {
                command.args([
                    "--config",
                    &format!("target.{host}.rustflags=[\"-C{STATIC}\"]"),
                ]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::ffi::OsStr;

    fn with(encoded: Option<&str>, plain: Option<&str>) -> Command {
        let mut command = Command::new("cargo");
        let flags = Flags {
            encoded: encoded.map(str::to_owned),
            plain: plain.map(str::to_owned),
        };
        flags.make_static("x86_64-unknown-linux-gnu", &mut command);
        command
    }

    fn variable(command: &Command, name: &str) -> Option<String> {
        let (_, value) = command
            .get_envs()
            .find(|(key, _)| *key == OsStr::new(name))?;
        value.map(|value| value.to_string_lossy().into_owned())
    }

    #[test]
    fn the_users_flags_are_kept() {
        let command = with(None, Some("-C target-cpu=native"));
        assert_eq!(
            variable(&command, "RUSTFLAGS").unwrap(),
            "-C target-cpu=native -Ctarget-feature=+crt-static"
        );
        let command = with(Some("-Cdebuginfo=1"), Some("-C ignored"));
        assert_eq!(
            variable(&command, "CARGO_ENCODED_RUSTFLAGS").unwrap(),
            "-Cdebuginfo=1\u{1f}-Ctarget-feature=+crt-static"
        );
        assert_eq!(variable(&command, "RUSTFLAGS"), None);
    }

    #[test]
    fn without_any_the_configuration_is_extended() {
        for plain in [None, Some(" ")] {
            let command = with(None, plain);
            assert_eq!(
                run::shown(&command),
                "cargo --config target.x86_64-unknown-linux-gnu.rustflags=[\"-Ctarget-feature=+crt-static\"]"
            );
        }
    }
}
