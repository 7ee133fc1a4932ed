//! Compiles an example's BPF program as the examples start: rustc with our target and our linker, which is this very
//! executable. In a project of one's own a build script does this, or `xdplb-ld` is named as cargo's linker.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use anyhow::{Context, Result, bail};

/// Set when rustc runs us as its linker.
const AS_LINKER: &str = "XDPLB_EXAMPLE_AS_LINKER";

/// The bytes of the object that `loader/examples/NAME/bpf.rs` becomes. The first call in an example's `main`: when rustc
/// runs the example as its linker, it ends here.
pub fn compile(name: &str) -> Result<Vec<u8>> {
    if std::env::var_os(AS_LINKER).is_some() {
        if let Err(error) = xdplb_linker::command::run(std::env::args_os()) {
            eprintln!("error: {error:#}");
            exit(1);
        }
        exit(0);
    }
    let loader = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Which compiler has a BPF backend was found when this crate was built (build.rs), and noted.
    let target = target_folder().context("run it by cargo: no target folder around it")?;
    let note = std::fs::read_to_string(target.join("bpf/compiler"))?;
    let [rustc, sysroot, libraries] = note.lines().collect::<Vec<_>>()[..] else {
        bail!("target/bpf/compiler has not three lines");
    };
    let object = std::env::temp_dir().join(format!("xdplb-{name}-{}.o", std::process::id()));
    let mut linker = std::ffi::OsString::from("-Clinker=");
    linker.push(std::env::current_exe()?);
    let mut command = Command::new(rustc);
    command
        .args([
            "--crate-type=bin",
            "--edition=2024",
            "--sysroot",
            sysroot,
            "--target",
        ])
        .arg(loader.join("../prog/target.json"))
        .args([
            "-Zunstable-options",
            "-Copt-level=3",
            "-Cdebuginfo=2",
            "-Cpanic=abort",
        ])
        .args(["-Clto=fat", "-Ccodegen-units=1"])
        .arg(linker)
        .arg("-o")
        .arg(&object)
        .arg(loader.join("examples").join(name).join("bpf.rs"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env(AS_LINKER, "1");
    if !libraries.is_empty() {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    let status = command.status()?;
    let bytes = std::fs::read(&object);
    let _ = std::fs::remove_file(&object);
    if !status.success() {
        bail!("rustc: {status}");
    }
    Ok(bytes?)
}

/// The outermost folder around this executable that cargo tagged as a cache.
fn target_folder() -> Option<PathBuf> {
    let executable = std::env::current_exe().ok()?;
    let mut folders = executable.ancestors();
    folders
        .by_ref()
        .filter(|folder| folder.join("CACHEDIR.TAG").exists())
        .last()
        .map(Path::to_path_buf)
}
