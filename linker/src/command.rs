//! `xdplb-ld` as a function, so that a build script can be the linker that rustc calls.
//!
//! rustc calls a BPF linker as `LD --export-symbols FILE OBJ… -L DIR --cpu v3 [--cpu-features LIST] -o OUT -O3 --debug`
//! (`BpfLinker` in compiler/rustc_codegen_ssa/src/back/linker.rs). What those flags ask of bpf-linker, which generates
//! code, has happened already when rustc writes ELF: they are accepted and ignored.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;

use crate::link::{self, Exports, Input, Options};

/// Link BPF objects into one that a loader takes.
#[derive(Debug, Parser)]
#[command(name = "xdplb-ld", version, about)]
struct Arguments {
    /// Objects and archives (rlibs too)
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,

    /// Where the linked object goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// A file with the names of variables to keep although no program refers to them, one a line
    #[arg(long, value_name = "FILE")]
    export_symbols: Option<PathBuf>,

    /// A variable to keep; may be repeated
    #[arg(long, value_name = "NAME")]
    export: Vec<String>,

    #[command(flatten)]
    ignored: Ignored,
}

/// What rustc passes for bpf-linker, which turns bitcode into code. Our inputs are code already.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Accepted for rustc's sake, and ignored")]
struct Ignored {
    /// Library search path
    #[arg(short = 'L', value_name = "DIR")]
    library_path: Vec<PathBuf>,
    /// Instruction set version
    #[arg(long, value_name = "CPU")]
    cpu: Option<String>,
    /// Instruction set features
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    cpu_features: Option<String>,
    /// Target triple
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Optimisation level
    #[arg(short = 'O', value_name = "LEVEL")]
    optimize: Vec<String>,
    /// Keep debug information
    #[arg(long)]
    debug: bool,
    /// Emit BTF
    #[arg(long)]
    btf: bool,
    /// Arguments for LLVM
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    llvm_args: Vec<String>,
}

/// Runs the linker with a command line, the program's name first.
///
/// `--help`, `--version` and wrong usage come back as a [`clap::Error`] inside the error: [`exit_code`] tells them apart.
pub fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let arguments = Arguments::try_parse_from(args)?;
    let files = arguments
        .inputs
        .iter()
        .map(|path| Ok((path.display().to_string(), read(path)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let inputs: Vec<Input<'_>> = files
        .iter()
        .map(|(name, bytes)| Input { name, bytes })
        .collect();
    let options = Options {
        exports: exports(&arguments)?,
        ..Options::default()
    };
    let output = link::link(&inputs, &options)?;
    for note in &output.notes {
        eprintln!("note: {note}");
    }
    let path = &arguments.output;
    std::fs::write(path, output.bytes).with_context(|| format!("write {}", path.display()))
}

/// Prints what [`run`] returned, and says what the process should exit with: 0 done, 1 failed, 2 wrong usage.
pub fn exit_code(result: anyhow::Result<()>) -> u8 {
    let Err(error) = result else { return 0 };
    match error.downcast_ref::<clap::Error>() {
        Some(usage) => {
            // Nothing is left to do when even the message cannot be printed.
            let _ = usage.print();
            u8::try_from(usage.exit_code()).unwrap_or(2)
        }
        None => {
            eprintln!("error: {error:#}");
            1
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// Without a list every global variable is kept.
fn exports(arguments: &Arguments) -> anyhow::Result<Exports> {
    let mut names: BTreeSet<String> = arguments.export.iter().cloned().collect();
    match &arguments.export_symbols {
        Some(path) => {
            let text = read(path)?;
            let text = String::from_utf8_lossy(&text);
            names.extend(
                text.lines()
                    .map(str::trim)
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned),
            );
        }
        None if names.is_empty() => return Ok(Exports::All),
        None => {}
    }
    Ok(Exports::Named(names))
}
