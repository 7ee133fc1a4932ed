//! `xdplb-ld` as a function, so that a build script can be the linker that rustc calls.
//!
//! rustc calls a BPF linker as `LD --export-symbols FILE OBJ… -L DIR --cpu v3 [--cpu-features LIST] -o OUT -O3 --debug`
//! (`BpfLinker` in compiler/rustc_codegen_ssa/src/back/linker.rs). What those flags ask of bpf-linker, which generates
//! code, has happened already when rustc writes ELF: they are accepted and ignored.

//!
//! The command line is a superset of bpf-linker's (src/bin/bpf-linker.rs there), so that it can stand where that stood.

mod read;
mod response;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

use crate::link::{self, Check, Exports, Input, Options, Report};

/// Link BPF objects into one that a loader takes.
///
/// `@FILE` stands for the arguments in FILE.
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

    /// Variables and functions to keep; may be repeated
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    export: Vec<String>,

    /// Only warn of what this check finds; may be repeated
    #[arg(long, value_name = "CHECK", value_parser = check_named)]
    allow: Vec<Check>,

    /// Let programs reach `__bpf_trap` and panics: `--allow panic` by bpf-linker's name
    #[arg(long)]
    allow_bpf_trap: bool,

    /// Say why a function, variable or section is in the output, by which references; may be repeated
    #[arg(long, value_name = "SYMBOL")]
    why_live: Vec<String>,

    /// Print the output's symbols: where they lie, their sizes, where they came from
    #[arg(long)]
    print_map: bool,

    /// Print what the output has no need of: functions, data, types
    #[arg(long)]
    print_gc: bool,

    #[command(flatten)]
    ignored: Ignored,
}

/// What rustc and people pass for bpf-linker, which turns bitcode into code. Our inputs are code already.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Accepted in bpf-linker's place, and ignored: our inputs are code already"
)]
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
    /// Unroll loops
    #[arg(long)]
    unroll_loops: bool,
    /// Inline functions whatever they say
    #[arg(long)]
    ignore_inline_never: bool,
    /// Leave memcpy and the like alone
    #[arg(long)]
    disable_memory_builtins: bool,
    /// Expand memcpy in any order
    #[arg(long)]
    disable_expand_memcpy_in_order: bool,
    /// Whether LLVM's errors are errors
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    fatal_errors: Option<bool>,
    /// A file for the log
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// How much to log
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// What to write; only `obj` can be had here
    #[arg(long, value_name = "KIND", value_parser = emitted)]
    emit: Vec<String>,
    /// A file for LLVM's own form of the program, of which there is none here
    #[arg(long, value_name = "FILE")]
    dump_module: Option<PathBuf>,
}

fn check_named(name: &str) -> Result<Check, String> {
    let found = Check::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, check)| *check).ok_or_else(|| {
        let known: Vec<_> = Check::ALL.iter().map(|(name, _)| *name).collect();
        format!("checks are {}", known.join(", "))
    })
}

fn emitted(kind: &str) -> Result<String, String> {
    if kind == "obj" {
        Ok(kind.to_owned())
    } else {
        Err("xdplb-ld links objects into an object; `rustc --emit asm,llvm-ir` writes the other forms".to_owned())
    }
}

/// Runs the linker with a command line, the program's name first. Reports go to standard output, warnings to
/// standard error.
///
/// `--help`, `--version` and wrong usage come back as a [`clap::Error`] inside the error: [`exit_code`] tells them apart.
pub fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let arguments = Arguments::try_parse_from(response::expand(args)?)?;
    let files = arguments
        .inputs
        .iter()
        .map(|path| Ok((path.display().to_string(), read::input(path)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let inputs: Vec<Input<'_>> = files
        .iter()
        .map(|(name, bytes)| Input { name, bytes })
        .collect();
    let output = link::link(&inputs, &options(&arguments)?)?;
    for warning in &output.warnings {
        eprintln!("warning: {warning}");
    }
    for note in &output.notes {
        eprintln!("note: {note}");
    }
    let path = &arguments.output;
    std::fs::write(path, output.bytes).with_context(|| format!("write {}", path.display()))?;
    for report in &output.reports {
        // A reader that closed the pipe has read enough.
        if std::io::stdout().write_all(report.as_bytes()).is_err() {
            break;
        }
    }
    Ok(())
}

fn options(arguments: &Arguments) -> anyhow::Result<Options> {
    let mut allow: BTreeSet<Check> = arguments.allow.iter().copied().collect();
    if arguments.allow_bpf_trap {
        allow.insert(Check::Panic);
    }
    let why = arguments.why_live.iter().cloned().map(Report::WhyLive);
    let map = arguments.print_map.then_some(Report::Map);
    let dropped = arguments.print_gc.then_some(Report::Dropped);
    Ok(Options {
        exports: exports(arguments)?,
        functions: arguments.export.iter().cloned().collect(),
        allow,
        reports: why.chain(map).chain(dropped).collect(),
    })
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

/// Without a list every global variable is kept.
fn exports(arguments: &Arguments) -> anyhow::Result<Exports> {
    let mut names: BTreeSet<String> = arguments.export.iter().cloned().collect();
    match &arguments.export_symbols {
        Some(path) => {
            let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
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
