//! Why a link failed: where, what, and the evidence.

use std::fmt;

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
    /// No input held an object.
    #[error("nothing to link: no input holds a BPF object")]
    Empty,
    /// Something is wrong at one place of an input.
    #[error("{site}: {problem}{}", .site.evidence())]
    At {
        /// The place.
        site: Box<Site>,
        /// What is wrong there.
        problem: Problem,
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
    #[error("{second}: section `{section}` differs from that of {first}")]
    Disagree {
        /// The section.
        section: String,
        /// The input that had it first.
        first: String,
        /// The one that differs.
        second: String,
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

/// What is wrong at a [`Site`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No input defines what is wanted here.
    #[error("`{0}` is not defined by any input")]
    Undefined(String),
    /// A panic can be reached, through this function of Rust's library if it was not inlined. It compiled to a jump
    /// to itself, which the kernel refuses.
    #[error("this can panic{}, and BPF has no way to", .0.as_ref().map(|f| format!(" (`{f}`)")).unwrap_or_default())]
    Panic(Option<String>),
    /// A jump leaves its function.
    #[error("jump to {0:+#x} leaves the function")]
    JumpOut(i64),
    /// A call or a function's address leads to the middle of something.
    #[error("it refers to byte {1:#x} of `{0}`, where no function starts")]
    NotAFunction(String, i64),
    /// The last instruction is cut off, or the function is not a whole number of instructions.
    #[error("the code ends in the middle of an instruction")]
    CutCode,
    /// The relocation does not fit the instruction it applies to.
    #[error("relocation {0} against `{1}` does not fit this instruction")]
    WrongInsn(u32, String),
    /// A relocation leads past the end of what it refers to.
    #[error("relocation leads to byte {1:#x} of `{0}`, past its end")]
    PastEnd(String, i64),
    /// A variable holds an address, which no loader can fill in.
    #[error(
        "it holds the address of `{0}`: BPF has no pointers in global data that a loader could fill in"
    )]
    PointerInData(String),
    /// C's tentative definitions have no place.
    #[error("`{0}` is a tentative definition: compile with -fno-common")]
    Common(String),
    /// A call without a relocation, whose distance leads out of its section.
    #[error("this call leads to no function")]
    Nowhere,
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
    /// The functions on the way from a program to this one, the program first.
    pub path: Vec<String>,
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
    /// The lines below the message: the source, and how it is reached.
    fn evidence(&self) -> String {
        let mut lines = String::new();
        if let Some(source) = &self.source {
            lines += &format!("\n  {}:{}", source.file, source.line);
            if !source.text.trim().is_empty() {
                lines += &format!(": {}", source.text.trim());
            }
        }
        if self.path.len() > 1 {
            let path: Vec<_> = self.path.iter().map(|name| format!("`{name}`")).collect();
            lines += &format!("\n  reached by {}", path.join(" -> "));
        }
        lines
    }
}
