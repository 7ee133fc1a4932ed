//! From a source of the set to its object: clang for C; rustc with our target and our linker for Rust.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use xdplb_linker::link::{self, Input};

use super::{Case, Compiler, folder};

/// Names another clang for the set.
const VARIABLE: &str = "XDPLB_CLANG";
/// The clang of the set: what Debian 12 and 13 both have, and new enough for arenas and for instructions of cpu v4.
const CLANG: &str = "clang-19";

/// The command that compiles C for `compiler`.
pub fn compiler(compiler: Compiler) -> String {
    match compiler {
        Compiler::Clang => std::env::var(VARIABLE).unwrap_or_else(|_| CLANG.to_owned()),
        Compiler::OldClang => "clang".to_owned(),
        Compiler::Rustc => "rustc".to_owned(),
    }
}

/// Builds what is not built yet or older than anything it is made of.
pub fn build(cases: &[Case], folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    // Tests run side by side, in threads and in processes: one of them builds, the others find it done.
    let lock = std::fs::File::create(folder.join("lock"))?;
    lock.lock().context("lock the folder of objects")?;
    let shared = newest(&super::sources().join("include"))?;
    let rust = rust_toolchain();
    // Our linker, which is in this very file, is what Rust objects are made with.
    let linker = modified(&std::env::current_exe()?)?;
    for case in cases {
        let object = case.object(folder);
        let maker = match case.compiler {
            Compiler::Clang | Compiler::OldClang => shared,
            Compiler::Rustc => {
                let beside = [
                    case.source.with_extension(""),
                    case.source.with_file_name("include"),
                ];
                let newest = beside.iter().filter_map(|folder| newest(folder).ok()).max();
                linker.max(newest.unwrap_or(linker))
            }
        };
        let source = modified(&case.source)?.max(maker);
        if modified(&object).is_ok_and(|built| built > source) {
            continue;
        }
        match case.compiler {
            Compiler::Clang | Compiler::OldClang => compile_c(case, &object),
            Compiler::Rustc => rust.as_ref().map_or_else(
                |error| bail!("{error:#}"),
                |rust| rust.compile(case, &object),
            ),
        }
        .with_context(|| format!("build {}", case.source.display()))?;
    }
    Ok(())
}

fn modified(path: &Path) -> Result<SystemTime> {
    let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(metadata.modified()?)
}

/// When the newest file of a folder was changed.
fn newest(folder: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        newest = newest.max(modified(&entry?.path())?);
    }
    Ok(newest)
}

fn compile_c(case: &Case, object: &Path) -> Result<()> {
    let mut command = Command::new(compiler(case.compiler));
    // What a flag of the case's own says wins: the last one counts.
    command.args(["-O2", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror"]);
    command.args(&case.flags).arg("-c").arg(&case.source);
    in_place(object, |aside| run(command.arg("-o").arg(aside)))
}

/// What is written is complete when it bears its name.
fn in_place(object: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let aside = object.with_extension(format!("{}.tmp", std::process::id()));
    write(&aside)?;
    std::fs::rename(&aside, object).with_context(|| object.display().to_string())
}

/// rustc as the loader's build found it, with `core` for BPF.
struct Rust {
    rustc: PathBuf,
    sysroot: PathBuf,
    libraries: PathBuf,
}

/// What the loader's build script left word of.
fn rust_toolchain() -> Result<Rust> {
    let note = folder().join("../bpf/compiler");
    let text = std::fs::read_to_string(&note).with_context(|| note.display().to_string())?;
    let mut lines = text.lines().map(PathBuf::from);
    let (Some(rustc), Some(sysroot), Some(libraries)) = (lines.next(), lines.next(), lines.next())
    else {
        bail!("{}: three lines are wanted", note.display());
    };
    Ok(Rust {
        rustc,
        sysroot,
        libraries,
    })
}

impl Rust {
    /// Compiles a source and the crates in the folder that bears its name, and links them; with the flag `unlinked` it
    /// is left as rustc wrote it.
    fn compile(&self, case: &Case, object: &Path) -> Result<()> {
        let aside = object.with_extension(format!("{}.crates", std::process::id()));
        std::fs::create_dir_all(&aside).with_context(|| aside.display().to_string())?;
        let built = self.compile_in(case, object, &aside);
        std::fs::remove_dir_all(&aside)?;
        built
    }

    fn compile_in(&self, case: &Case, object: &Path, aside: &Path) -> Result<()> {
        let mut files = Vec::new();
        for crate_source in crates(&case.source)? {
            let name = file_stem(&crate_source)?;
            let rlib = aside.join(format!("lib{name}.rlib"));
            let mut command = self.rustc(&crate_source, &rlib, aside);
            command.args(["--crate-type=rlib", "--emit=link"]);
            run(command.args(case.flags.iter().filter(is_rustcs)))?;
            files.push(rlib);
        }
        let main = aside.join("main.o");
        let mut command = self.rustc(&case.source, &main, aside);
        command.args(["--crate-type=bin", "--emit=obj"]);
        run(command.args(case.flags.iter().filter(is_rustcs)))?;
        files.insert(0, main);
        in_place(object, |path| {
            if case.flags.iter().any(|flag| flag == UNLINKED) {
                return Ok(std::fs::rename(&files[0], path)?);
            }
            let bytes: Vec<Vec<u8>> = files.iter().map(std::fs::read).collect::<Result<_, _>>()?;
            let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
            let inputs: Vec<Input<'_>> = names
                .iter()
                .zip(&bytes)
                .map(|(name, bytes)| Input { name, bytes })
                .collect();
            let output = link::link(&inputs, &link::Options::default())?;
            Ok(std::fs::write(path, output.bytes)?)
        })
    }

    fn rustc(&self, source: &Path, output: &Path, crates: &Path) -> Command {
        let mut command = Command::new(&self.rustc);
        command.env("RUSTC_BOOTSTRAP", "1");
        if !self.libraries.as_os_str().is_empty() {
            command.env("LD_LIBRARY_PATH", &self.libraries);
        }
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../prog/target.json");
        command.arg(source).arg("-o").arg(output);
        command.arg("--sysroot").arg(&self.sysroot);
        command.arg("--target").arg(target);
        command.arg("-L").arg(crates);
        command.args(["--edition=2024", "-Zunstable-options", "-Cpanic=abort"]);
        command.args(["-Copt-level=3", "-Ccodegen-units=1", "-Cdebuginfo=2"]);
        command
    }
}

/// The one flag of a Rust case that is not rustc's.
const UNLINKED: &str = "unlinked";

fn is_rustcs(flag: &&String) -> bool {
    *flag != UNLINKED
}

/// The other crates of a program: those in the folder beside the source that bears its name.
fn crates(source: &Path) -> Result<Vec<PathBuf>> {
    let folder = source.with_extension("");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Ok(Vec::new());
    };
    let mut found = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

fn file_stem(path: &Path) -> Result<&str> {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .with_context(|| path.display().to_string())
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| {
        format!("{name}: cannot be started\n  try:  cargo xtask setup, or {VARIABLE}=another clang")
    })?;
    ensure!(
        output.status.success(),
        "{name}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(())
}
