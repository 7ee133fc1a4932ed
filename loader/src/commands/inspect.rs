//! `inspect`: an object explained, as text or JSON. Needs no privilege and changes nothing.

mod columns;
mod text;
mod tree;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::{UsageError, files, pager, say_json};
use crate::inspect::{Inspection, Language, Narrow};

#[derive(Debug, Args)]
#[command(override_usage = "xdplb-load inspect [OPTIONS] OBJECT
       xdplb-load inspect [OPTIONS] --built-in")]
#[command(after_help = "Examples:
  xdplb-load inspect prog.o
  xdplb-load inspect --built-in --only sections,programs
  xdplb-load inspect prog.o --map backends
  xdplb-load inspect prog.o --section .BTF --lang rust
  xdplb-load inspect prog.o --section maps --bytes")]
pub(super) struct InspectArgs {
    /// The object, whoever compiled it
    #[arg(required_unless_present = "built_in", value_name = "OBJECT")]
    object: Option<PathBuf>,
    /// The balancer's own program, which is in this file
    #[arg(long, conflicts_with = "object")]
    built_in: bool,
    /// Only one section, with all that is in it
    #[arg(long, value_name = "NAME")]
    section: Option<String>,
    /// Only one program, with the functions it calls and the maps it uses; or one function
    #[arg(long, value_name = "NAME")]
    program: Option<String>,
    /// Only one map, with the types of its keys and values and who uses it
    #[arg(long, value_name = "NAME")]
    map: Option<String>,
    /// Only these parts of the text
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Part>,
    /// The language of declarations
    #[arg(long, value_enum, default_value = "c", value_name = "LANGUAGE")]
    lang: Lang,
    /// The bytes too, each with what it is
    #[arg(long)]
    bytes: bool,
    /// As JSON
    #[arg(long, conflicts_with = "only")]
    json: bool,
}

/// A part of the text, in the order in which they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// The ELF header
    Header,
    /// The sections and what each is for
    Sections,
    /// The programs with their call graphs and stacks
    Programs,
    /// The maps and what is expected of the kernel
    Maps,
    /// The symbols
    Symbols,
    /// The relocations and CO-RE's questions, with what each will become
    Relocations,
    /// The types as declarations
    Types,
    /// The instructions with their source lines
    Code,
    /// The bytes
    Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Lang {
    C,
    Rust,
}

/// Runs the command.
pub(super) fn inspect(args: &InspectArgs) -> Result<()> {
    let (name, bytes) = match &args.object {
        Some(path) => (path.display().to_string(), files::read(path)?),
        None => ("the built-in program".to_string(), crate::PROGRAM.to_vec()),
    };
    let language = match args.lang {
        Lang::C => Language::C,
        Lang::Rust => Language::Rust,
    };
    let inspection =
        Inspection::of(&bytes, language).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    let narrow = Narrow {
        section: args.section.clone(),
        program: args.program.clone(),
        map: args.map.clone(),
    };
    let narrowed = narrow != Narrow::default();
    let mut inspection = inspection
        .narrow(&narrow)
        .map_err(|error| UsageError(format!("{name}: {error}")))?;
    if args.bytes || args.only.contains(&Part::Bytes) {
        inspection.add_bytes(&bytes);
    }
    if args.json {
        return say_json(&inspection);
    }
    let text = text::text(&name, &inspection, &args.only, narrowed);
    pager::show(&columns::painted(
        &text,
        pager::has_colours(&std::io::stdout()),
    ));
    Ok(())
}
