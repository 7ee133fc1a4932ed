//! What is wrong with bytes that should have been a BPF object: where, and why.

use std::fmt;

/// A place in an input and what is wrong there: `.BTF+0x18: the string table has 40 bytes, 96 were announced`.
///
/// Every parser of this crate returns it, so that an error always names section, offset and cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The section the bytes are from; empty where the file itself (its ELF header) is meant.
    pub section: String,
    /// Bytes from the start of the section (or the file).
    pub offset: u64,
    /// What is wrong there.
    pub cause: Cause,
}

impl ParseError {
    /// An error at `offset` of `section`.
    pub fn new(section: impl Into<String>, offset: u64, cause: Cause) -> Self {
        Self {
            section: section.into(),
            offset,
            cause,
        }
    }
}

impl std::error::Error for ParseError {}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section = if self.section.is_empty() {
            "file"
        } else {
            &self.section
        };
        write!(f, "{section}+{:#x}: {}", self.offset, self.cause)
    }
}

/// Why bytes could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The bytes end before the thing that starts here does.
    #[error("{what} needs {need} bytes, {have} are left")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Its size in bytes.
        need: u64,
        /// The bytes that are left.
        have: u64,
    },
    /// A field has a value that the format does not define.
    #[error("{what} is {value:#x}: {why}")]
    Value {
        /// The field.
        what: &'static str,
        /// What it holds.
        value: u64,
        /// What it should have been.
        why: &'static str,
    },
    /// An index points at nothing.
    #[error("{what} {index} does not exist: there are {count}")]
    Dangling {
        /// What kind of index it is.
        what: &'static str,
        /// The index.
        index: u64,
        /// How many there are.
        count: u64,
    },
    /// The thing is larger than anything this crate accepts; it protects against hostile files.
    #[error("{what} takes {size} bytes, more than {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// The ELF reader refused the file.
    #[error("{0}")]
    Elf(String),
}
