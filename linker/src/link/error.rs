//! Why a link failed: where, what, and the evidence. What the checks refuse is in [`super::refusal`].

use std::fmt;

use super::refusal::{Refusal, joined};
use super::source::SourceLine;
use crate::ParseError;
use crate::insn::InsnIndex;

/// Why a link failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// An input could not be understood.
    #[error("{input}: {error}")]
    Input {
        /// The file.
        input: String,
        /// What is wrong with it.
        error: ParseError,
    },
    /// An input is LLVM bitcode.
    #[error(
        "{input}: this is LLVM bitcode, not an object\n  try:  {}",
        super::bitcode::ADVICE
    )]
    Bitcode {
        /// The file.
        input: String,
    },
    /// An archive does not hold its members.
    #[error(
        "{input}: a thin archive only names its members\n  try:  name the members instead of {input}, or make it without T"
    )]
    Thin {
        /// The file.
        input: String,
    },
    /// No input held an object.
    #[error("nothing to link: no input holds a BPF object")]
    Empty,
    /// Something is wrong at one place of an input.
    #[error("{site}: {problem}{}{}", .site.source_line(), .site.reached())]
    At {
        /// The place.
        site: Box<Site>,
        /// What is wrong there.
        problem: super::Problem,
    },
    /// What the kernel would refuse later: everything that was found, in the order of the inputs.
    #[error("{}", joined(.0))]
    Refused(Vec<Refusal>),
    /// A report was asked for about a symbol that no input has.
    #[error("`{name}` is in no input{}", try_names(.near))]
    UnknownSymbol {
        /// The name as it was given.
        name: String,
        /// Names that look like it.
        near: Vec<String>,
    },
    /// Two inputs define the same symbol.
    #[error("{second}: `{symbol}` is already defined in {first}")]
    Duplicate {
        /// The symbol.
        symbol: String,
        /// The input that defined it first.
        first: String,
        /// The one that defined it again.
        second: String,
    },
    /// Two inputs differ where they must agree.
    #[error("{second}: section `{section}` is {here}, and in {first} it is {there}")]
    Disagree {
        /// The section.
        section: String,
        /// The input that had it first.
        first: String,
        /// The one that differs.
        second: String,
        /// What the second says.
        here: String,
        /// What the first says.
        there: String,
    },
    /// Two inputs mean different types by one name.
    #[error("{second}: `{symbol}` has another type than in {first}\n  {difference}")]
    TypesDiffer {
        /// The symbol.
        symbol: String,
        /// The input that defines it.
        first: String,
        /// The one that declares it, or defined it too.
        second: String,
        /// Where they differ, what is here, and what is there.
        difference: String,
    },
    /// A section of the output would be larger than a BPF map or program can be.
    #[error("section `{section}` would take {size} bytes: more than {limit}")]
    TooLarge {
        /// The section.
        section: String,
        /// What it would take.
        size: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// The output could not be written as ELF.
    #[error("write the output: {0}")]
    Write(object::write::Error),
}

/// A place in an input, in the words of who has to look there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// The file.
    pub input: String,
    /// The section of the file.
    pub section: String,
    /// Bytes from the section's start.
    pub offset: u64,
    /// The function, with its place counted in instructions.
    pub function: Option<(String, InsnIndex)>,
    /// The source line, where line_info knows it.
    pub source: Option<SourceLine>,
    /// How it is reached: who calls this function, who calls that one, up to a program.
    pub callers: Vec<Caller>,
}

/// A call on the way to a [`Site`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The function that calls (or takes the address of) the one before it.
    pub function: String,
    /// Where in it, counted in instructions; bytes for a variable.
    pub insn: InsnIndex,
    /// The source line of the call.
    pub source: Option<SourceLine>,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "`{}`, {source}", self.function),
            None => write!(f, "`{}`, insn {}", self.function, self.insn.0),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}+{:#x}", self.input, self.section, self.offset)?;
        if let Some((function, insn)) = &self.function {
            write!(f, " (insn {} in `{function}`)", insn.0)?;
        }
        Ok(())
    }
}

impl Site {
    /// The line below the message: the source.
    pub(super) fn source_line(&self) -> String {
        self.source
            .as_ref()
            .map(|source| format!("\n  {source}"))
            .unwrap_or_default()
    }

    /// The lines that say how it is reached, innermost call first.
    pub(super) fn reached(&self) -> String {
        let lines = self.callers.iter();
        lines
            .map(|caller| format!("\n  called by {caller}"))
            .collect()
    }
}

fn try_names(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("\n  try:  {}", names.join(", "))
}
