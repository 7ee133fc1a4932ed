//! The repository as cargo sees it: its root, the host's triple, and what a cargo command built.

use crate::run;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder with the workspace's Cargo.toml.
pub fn root() -> &'static Path {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
    tools.parent().unwrap_or(tools)
}

/// The folder cargo builds in, which the user may have moved (CARGO_TARGET_DIR): the one above us that
/// cargo tagged as a cache. A build for a named target tags its own folder inside that one too.
pub fn target() -> PathBuf {
    let ourselves = std::env::current_exe().unwrap_or_default();
    let tagged = |folder: &&Path| folder.join("CACHEDIR.TAG").exists();
    let outermost = ourselves
        .ancestors()
        .skip_while(|folder| !tagged(folder))
        .take_while(tagged)
        .last();
    outermost.map_or_else(|| root().join("target"), Path::to_owned)
}

/// Tags the folder cargo builds in, as cargo does when it makes it, but not when somebody made it before: a CI that brings back what
/// it kept of an earlier run. Our own builds find the folder by its tag (loader/build.rs).
pub fn tag_target() -> Result<()> {
    let tag = target().join("CACHEDIR.TAG");
    if tag.exists() {
        return Ok(());
    }
    // bford.info/cachedir: these 43 bytes, and whatever follows.
    let text = "Signature: 8a477f597d28d172789f06886806bc55\n";
    std::fs::write(&tag, text).with_context(|| tag.display().to_string())
}

/// The cargo that runs us, at the root. Cargo tells a program that it runs about the package it
/// belongs to; what is started from here is another package's business, so that is not passed on.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The triple of the machine we build on, as rustc names it.
pub fn host() -> Result<String> {
    let version = run::read(Command::new("rustc").arg("-vV").current_dir(root()))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("`rustc -vV`: no line `host:`")
}

/// An executable that cargo built.
#[derive(Debug, PartialEq, Eq)]
pub struct Executable {
    /// The name of its package.
    pub package: String,
    /// The folder of its package; cargo runs tests there.
    pub folder: PathBuf,
    /// The name of its target: the file under tests/, or the binary's or library's name.
    pub target: String,
    /// `lib`, `bin` or `test`.
    pub kind: String,
    /// The file that cargo compiled first.
    pub source: PathBuf,
    /// The file itself.
    pub file: PathBuf,
}

/// Runs a cargo command that builds, and lists the executables that came out of it, fresh or cached.
pub fn executables(command: &mut Command) -> Result<Vec<Executable>> {
    command.arg("--message-format=json-render-diagnostics");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{}`: cannot be started", run::shown(command)))?;
    if !output.status.success() {
        bail!("`{}`: {}", run::shown(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(executable)
        .collect())
}

/// One line of cargo's messages, if it speaks of an executable.
fn executable(line: &str) -> Option<Executable> {
    let message: Value = serde_json::from_str(line).ok()?;
    let file = message["executable"].as_str()?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    Some(Executable {
        package: package(message["package_id"].as_str()?).to_owned(),
        folder: folder.to_owned(),
        target: message["target"]["name"].as_str()?.to_owned(),
        kind: message["target"]["kind"][0].as_str()?.to_owned(),
        source: message["target"]["src_path"].as_str()?.into(),
        file: file.into(),
    })
}

/// The name in a package id: `path+file:///x/loader#xdplb-loader@0.1.0`, or `…/xtask#0.1.0` where the
/// folder already bears the name (cargo book, "Package ID Specifications").
fn package(id: &str) -> &str {
    let (path, fragment) = id.rsplit_once('#').unwrap_or(("", id));
    match fragment.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or(path),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn a_message_about_a_test_is_read() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///x/loader#xdplb-loader@0.1.0",
            "manifest_path":"/x/loader/Cargo.toml","target":{"kind":["test"],"name":"kernel","src_path":"/x/loader/tests/kernel.rs"},
            "profile":{"test":true},"executable":"/x/target/debug/deps/kernel-1"}"#;
        let expected = Executable {
            package: "xdplb-loader".into(),
            folder: "/x/loader".into(),
            target: "kernel".into(),
            kind: "test".into(),
            source: "/x/loader/tests/kernel.rs".into(),
            file: "/x/target/debug/deps/kernel-1".into(),
        };
        assert_eq!(executable(line), Some(expected));
    }

    #[test]
    fn other_messages_are_not_executables() {
        for line in [
            "",
            "not json",
            r#"{"reason":"build-finished","success":true}"#,
            r#"{"executable":null}"#,
        ] {
            assert_eq!(executable(line), None, "{line}");
        }
    }

    #[test]
    fn a_package_id_gives_the_name() {
        assert_eq!(
            package("path+file:///x/loader#xdplb-loader@0.1.0"),
            "xdplb-loader"
        );
        assert_eq!(package("path+file:///x/xtask#0.1.0"), "xtask");
    }

    #[test]
    fn the_host_has_a_triple() {
        assert!(host().unwrap().contains("linux"));
    }
}
