//! Builds the XDP program for BPF and embeds it: finds a compiler, builds `core` once, builds
//! `prog` with cargo, links with our own linker.
//!
//! The linker is this very program: cargo hands `-C linker=` to rustc, rustc runs us with the
//! linker's arguments, and [`main`] turns to `xdplb_linker::command`. So nothing has to be
//! installed or built beforehand, and prog is linked by just what `xdplb-ld` runs.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

/// Set when rustc runs us as its linker.
const AS_LINKER: &str = "XDPLB_BUILD_AS_LINKER";
/// A compiler to use, before all others.
const BPF_RUSTC: &str = "XDPLB_BPF_RUSTC";
/// A ready object to embed instead.
const PROG: &str = "XDPLB_PROG";
/// Raise when the way `core` is compiled changes.
const SYSROOT_RECIPE: &str = "2";

fn main() -> ExitCode {
    let done = if env::var_os(AS_LINKER).is_some() {
        xdplb_linker::command::run(env::args_os())
    } else {
        build()
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    for variable in [PROG, BPF_RUSTC] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let root = root()?;
    for input in [
        "build.rs",
        "../prog/src",
        "../prog/Cargo.toml",
        "../prog/target.json",
    ] {
        println!("cargo:rerun-if-changed={input}");
    }
    let embedded = PathBuf::from(variable("OUT_DIR")?).join("prog.o");
    if let Some(object) = env::var_os(PROG) {
        let object = root.join(object);
        println!("cargo:rerun-if-changed={}", object.display());
        fs::copy(&object, &embedded)
            .with_context(|| format!("{PROG}: read {}", object.display()))?;
        return Ok(());
    }
    let cache = target_folder()?;
    let compiler = find_compiler(&cache)?;
    let sysroot = build_core(&compiler, &root.join("prog/target.json"), &cache)?;
    note_compiler(&compiler, &sysroot, &cache)?;
    let object = build_program(&compiler, &sysroot, &root, &cache)?;
    fs::copy(&object, &embedded).with_context(|| format!("copy {}", object.display()))?;
    Ok(())
}

fn variable(name: &str) -> Result<OsString> {
    env::var_os(name).with_context(|| format!("cargo did not set {name}"))
}

/// The workspace's folder.
fn root() -> Result<PathBuf> {
    let loader = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    loader
        .parent()
        .map(Path::to_path_buf)
        .context("the loader lies in no workspace")
}

/// The target folder, wherever cargo was told to put it: the outermost that it tagged as a cache
/// (under `--target` it tags the triple's folder, too).
fn target_folder() -> Result<PathBuf> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let tagged = out
        .ancestors()
        .filter(|folder| folder.join("CACHEDIR.TAG").exists())
        .last();
    Ok(tagged.unwrap_or(&out).to_path_buf())
}

/// A rustc that can compile for BPF: its LLVM has the backend and `core`'s source lies beside it.
struct Compiler {
    rustc: PathBuf,
    /// The folder of `core`'s source, of the compiler's own version.
    core: PathBuf,
    /// Its shared libraries, where they are in no place that the dynamic linker knows.
    libraries: Option<PathBuf>,
    /// What `rustc -vV` prints: its identity.
    version: String,
}

impl Compiler {
    /// None if there is no such rustc, or it has no source of `core`.
    fn probe(rustc: &Path, libraries: Option<PathBuf>) -> Option<Self> {
        let mut compiler = Self {
            rustc: rustc.to_path_buf(),
            core: PathBuf::new(),
            libraries,
            version: String::new(),
        };
        compiler.version = compiler.ask(&["-vV"])?;
        let sysroot = PathBuf::from(compiler.ask(&["--print", "sysroot"])?.trim());
        compiler.core = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
        compiler.core.exists().then_some(compiler)
    }

    fn ask(&self, arguments: &[&str]) -> Option<String> {
        let output = self.command(&self.rustc).args(arguments).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A command in an environment of its own: what cargo set for this build (flags, wrappers such
    /// as clippy's, a host target) is not meant for the program.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let cargos = name.starts_with("CARGO_")
                && !matches!(name.as_str(), "CARGO_HOME" | "CARGO_NET_OFFLINE");
            if cargos || name.starts_with("RUSTC") || name == "RUSTFLAGS" || name == "TARGET" {
                command.env_remove(&name);
            }
        }
        // The JSON target and -Z flags are unstable; this is how the kernel's own build uses them on stable.
        command.env("RUSTC_BOOTSTRAP", "1");
        if let Some(libraries) = &self.libraries {
            let mut path = libraries.clone().into_os_string();
            if let Some(inherited) = env::var_os("LD_LIBRARY_PATH") {
                path.push(":");
                path.push(inherited);
            }
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }
}

/// Looks in the places that README names, in its order. `cargo xtask setup` asks the same question.
fn find_compiler(cache: &Path) -> Result<Compiler> {
    if let Some(rustc) = env::var_os(BPF_RUSTC) {
        let libraries = Path::new(&rustc)
            .ancestors()
            .nth(2)
            .and_then(private_libraries);
        return Compiler::probe(Path::new(&rustc), libraries).with_context(|| {
            format!(
                "{BPF_RUSTC}={}: not a rustc with rust-src beside it",
                rustc.display()
            )
        });
    }
    let private = cache.join("toolchain/usr");
    let places = [
        (PathBuf::from(variable("RUSTC")?), None),
        (PathBuf::from("/usr/bin/rustc"), None),
        (private.join("bin/rustc"), private_libraries(&private)),
    ];
    for (rustc, libraries) in places {
        // A path that does not exist would count as changed, every time.
        if rustc.exists() {
            println!("cargo:rerun-if-changed={}", rustc.display());
        }
        if let Some(compiler) = Compiler::probe(&rustc, libraries) {
            return Ok(compiler);
        }
    }
    bail!(
        "no rustc with rust-src was found, and the XDP program needs one\n  \
         try:  cargo xtask setup\n  \
         try:  rustup component add rust-src"
    )
}

/// Where a privately unpacked compiler keeps its shared libraries: Debian's `lib/<triple>`.
fn private_libraries(usr: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(usr.join("lib")).ok()?;
    folders
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with("-linux-gnu"))
}

/// Compiles `core` and an empty `compiler_builtins` into a sysroot of their own, once for each
/// compiler and target.
///
/// cargo's -Zbuild-std cannot: it also compiles the real compiler_builtins, whose 128-bit helpers
/// BPF refuses. The Linux kernel builds `core` for its own Rust in just this way (rust/Makefile).
fn build_core(compiler: &Compiler, target: &Path, cache: &Path) -> Result<PathBuf> {
    let specification = fs::read(target).with_context(|| format!("read {}", target.display()))?;
    let mut hash = DefaultHasher::new();
    hash.write(&specification);
    hash.write(compiler.version.as_bytes());
    hash.write(SYSROOT_RECIPE.as_bytes());
    let sysroot = cache.join(format!("bpf/sysroot-{:016x}", hash.finish()));
    if sysroot.exists() {
        return Ok(sysroot);
    }
    // Aside, then renamed: an interrupted build leaves nothing that looks finished.
    let aside = cache.join(format!("bpf/sysroot-{}", std::process::id()));
    let _ = fs::remove_dir_all(&aside);
    let libraries = aside.join("lib/rustlib/target/lib");
    fs::create_dir_all(&libraries).with_context(|| format!("make {}", libraries.display()))?;
    let stub = aside.join("compiler_builtins.rs");
    fs::write(
        &stub,
        "#![feature(compiler_builtins)]\n#![compiler_builtins]\n#![no_std]\n",
    )?;

    for (name, source) in [("core", &compiler.core), ("compiler_builtins", &stub)] {
        let mut command = compiler.command(&compiler.rustc);
        command
            .args([
                "--crate-name",
                name,
                "--crate-type",
                "rlib",
                "--edition",
                "2024",
            ])
            .arg(source)
            .arg("--target")
            .arg(target)
            .arg("--sysroot")
            .arg(&aside)
            .arg("--out-dir")
            .arg(&libraries)
            .args([
                "-Zunstable-options",
                "-Cpanic=abort",
                "-Copt-level=3",
                "-Ccodegen-units=1",
            ])
            .arg(remapped(library(compiler), "/rustc/library"))
            .args([
                "-Clinker-plugin-lto",
                "-Cembed-bitcode=yes",
                "--cap-lints",
                "allow",
            ]);
        run(command, &format!("compile `{name}` for BPF"))?;
    }
    if fs::rename(&aside, &sysroot).is_err() {
        // Another build was faster.
        ensure!(
            sysroot.exists(),
            "cannot rename {} to {}",
            aside.display(),
            sysroot.display()
        );
        let _ = fs::remove_dir_all(&aside);
    }
    Ok(sysroot)
}

/// Leaves word of what was found, for whoever compiles another program for BPF (the object set of the tests): a line
/// each for the compiler, its sysroot and, where it needs that, the folder of its shared libraries.
fn note_compiler(compiler: &Compiler, sysroot: &Path, cache: &Path) -> Result<()> {
    let note = cache.join("bpf/compiler");
    let libraries = compiler.libraries.as_deref().unwrap_or(Path::new(""));
    let lines = [compiler.rustc.as_path(), sysroot, libraries].map(Path::display);
    let text = lines.map(|line| format!("{line}\n")).concat();
    fs::write(&note, text).with_context(|| format!("write {}", note.display()))
}

/// Builds prog with cargo; rustc calls this program to link. Returns the linked object.
fn build_program(
    compiler: &Compiler,
    sysroot: &Path,
    root: &Path,
    cache: &Path,
) -> Result<PathBuf> {
    let linker = env::current_exe().context("find this build script")?;
    let folder = cache.join("bpf/prog");
    // cargo does not know that the linker is an input: without its output, it links again.
    let output = folder.join("target/bpf");
    for stale in [output.join("xdplb-prog"), output.join("deps")] {
        let _ = fs::remove_file(&stale);
        let _ = fs::remove_dir_all(&stale);
    }
    let mut link = OsString::from("-Clinker=");
    link.push(linker);
    // No 32-bit registers: the compiler puts those on the stack in four bytes, where a pointer had eight, which the verifier refuses
    // from a loader without CAP_PERFMON (kernel/bpf/verifier.c, `check_stack_write_fixed_off`). It costs a nanosecond or two.
    let cpu = "-Ctarget-cpu=v2".into();
    let flags = [
        "--sysroot".into(),
        sysroot.into(),
        cpu,
        link,
        remapped(root, ""),
    ];
    let mut command = compiler.command(Path::new(&variable("CARGO")?));
    command
        .args([
            "build",
            "--quiet",
            "--profile",
            "bpf",
            "--features",
            "bpf",
            "--bin",
            "xdplb-prog",
            "-Zjson-target-spec",
        ])
        .arg("--manifest-path")
        .arg(root.join("prog/Cargo.toml"))
        .arg("--target")
        .arg(root.join("prog/target.json"))
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTC", &compiler.rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(OsStr::new("\x1f")))
        .env(AS_LINKER, "1");
    run(command, "build prog for BPF")?;
    Ok(output.join("xdplb-prog"))
}

/// A flag for rustc: source lines name their files from `to` on, wherever `from` is on this machine. Equal sources then
/// give equal bytes in every checkout.
fn remapped(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

/// The folder of the source of Rust's library, `core/src/lib.rs` in it.
fn library(compiler: &Compiler) -> &Path {
    let core = compiler.core.as_path();
    core.ancestors().nth(3).unwrap_or(core)
}

fn run(mut command: Command, what: &str) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("{what}: run {:?}", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{what} ({}):\n{}",
        output.status,
        text.trim_end()
    );
    for line in text.lines().filter(|line| line.starts_with("warning: ")) {
        println!("cargo:warning={line}");
    }
    Ok(())
}
