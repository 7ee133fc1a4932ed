//! `cargo xtask bpf CRATE`: builds any crate for BPF, with our target's description and our linker.
//!
//! What a BPF build needs beyond `cargo build` is a rustc with `core`'s source, `core` compiled for the target, and a
//! linker. The loader's build script finds the first and makes the second for our own program, and leaves word of
//! both; so this builds the loader first, and then the crate with what that found.

use crate::setup::toolchain;
use crate::{run, workspace};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the crate, and prints the path of its object, the last line of standard output.
pub fn bpf(folder: &Path) -> Result<()> {
    let manifest = manifest(folder)?;
    let mut command = workspace::cargo();
    command.args([
        "build",
        "--quiet",
        "--package",
        "xdplb-linker",
        "--package",
        "xdplb-loader",
    ]);
    toolchain::hand_to(&mut command);
    let linker = workspace::executables(&mut command)?
        .into_iter()
        .find(|executable| executable.target == "xdplb-ld")
        .context("cargo build: it built no `xdplb-ld`")?
        .file;
    let compiler = Compiler::found()?;
    let objects = workspace::executables(&mut build(&compiler, &linker, &manifest)?)?;
    ensure!(
        !objects.is_empty(),
        "{}: it has no binary, and a program's object is one\n  try:  src/main.rs with #![no_std] and #![no_main]",
        manifest.display()
    );
    for object in objects {
        println!("{}", object.file.display());
    }
    Ok(())
}

/// A crate by its folder or by its manifest.
fn manifest(folder: &Path) -> Result<PathBuf> {
    let manifest = if folder.is_dir() {
        folder.join("Cargo.toml")
    } else {
        folder.to_path_buf()
    };
    manifest
        .canonicalize()
        .with_context(|| manifest.display().to_string())
}

/// What loader/build.rs left word of.
struct Compiler {
    rustc: PathBuf,
    sysroot: PathBuf,
    /// Where its shared libraries are, if the dynamic linker would not find them.
    libraries: Option<PathBuf>,
}

impl Compiler {
    fn found() -> Result<Self> {
        let note = workspace::target().join("bpf/compiler");
        let text = std::fs::read_to_string(&note).with_context(|| note.display().to_string())?;
        let lines: Vec<&str> = text.lines().collect();
        let [rustc, sysroot, libraries] = lines[..] else {
            bail!("{}: it should have three lines", note.display());
        };
        Ok(Self {
            rustc: rustc.into(),
            sysroot: sysroot.into(),
            libraries: (!libraries.is_empty()).then(|| libraries.into()),
        })
    }
}

fn build(compiler: &Compiler, linker: &Path, manifest: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo set for us, and flags meant for this machine, are not meant for the crate.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        let cargos =
            told.starts_with("CARGO_") && !matches!(&*told, "CARGO_HOME" | "CARGO_NET_OFFLINE");
        if cargos || told.starts_with("RUSTC") || told == "RUSTFLAGS" {
            command.env_remove(&name);
        }
    }
    let mut link = OsString::from("-Clinker=");
    link.push(linker);
    // cargo does not know that the linker is an input: another one makes other flags, and so another build.
    let built = linker.metadata()?.modified()?;
    let age = built
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let version = format!("--cfg=xdplb_ld=\"{}\"", age.as_millis());
    // rustc keeps to itself what a linker says that succeeds: its warnings would be lost.
    let show = OsString::from("-Wlinker-messages");
    // Its source lines name files from its own folder on: equal sources give equal bytes, wherever they are.
    let mut remap = OsString::from("--remap-path-prefix=");
    remap.push(manifest.parent().unwrap_or(manifest));
    remap.push("=");
    let flags = [
        "--sysroot".into(),
        compiler.sysroot.clone().into(),
        link,
        version.into(),
        show,
        remap,
    ];
    command
        .args([
            "build",
            "--release",
            "-Zjson-target-spec",
            "--manifest-path",
        ])
        .arg(manifest)
        .arg("--target")
        .arg(workspace::root().join("prog/target.json"))
        .arg("--target-dir")
        .arg(workspace::target().join("bpf/crates"))
        .current_dir(manifest.parent().unwrap_or(manifest))
        .env("RUSTC", &compiler.rustc)
        // The target's description and -Z flags are unstable; this is how the kernel's own build has them on stable.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(OsStr::new("\x1f")));
    if let Some(libraries) = &compiler.libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    eprintln!("{}", run::shown(&command));
    Ok(command)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_crate_is_named_by_its_folder_or_its_manifest() {
        let sample = workspace::root().join("docs/sample");
        let by_folder = manifest(&sample).unwrap();
        assert_eq!(by_folder, manifest(&sample.join("Cargo.toml")).unwrap());
        let error = manifest(Path::new("/none")).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "/none: No such file or directory (os error 2)"
        );
    }
}
