//! What is wrong with an object: where, and why.

use std::fmt;

use xdplb_linker::ParseError;
use xdplb_linker::insn::InsnIndex;

/// An error in an object's bytes, or in what was asked of it: ``.text+0x48 (insn 9 in `pick`): why``.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectError {
    /// The section it is in; empty when it is about the file or about a request.
    pub section: String,
    /// Bytes from the start of the section.
    pub offset: Option<u64>,
    /// The instruction within a function, where it is about code.
    pub insn: Option<(InsnIndex, String)>,
    /// What is wrong.
    pub cause: String,
}

impl ObjectError {
    /// About a section as a whole.
    pub(super) fn in_section(section: &str, cause: impl Into<String>) -> Self {
        ObjectError {
            section: section.into(),
            offset: None,
            insn: None,
            cause: cause.into(),
        }
    }

    /// About a place in a section.
    pub(super) fn at(section: &str, offset: u64, cause: impl Into<String>) -> Self {
        ObjectError {
            section: section.into(),
            offset: Some(offset),
            insn: None,
            cause: cause.into(),
        }
    }

    /// About what a caller asked for.
    pub(super) fn request(cause: impl Into<String>) -> Self {
        ObjectError {
            section: String::new(),
            offset: None,
            insn: None,
            cause: cause.into(),
        }
    }
}

impl From<ParseError> for ObjectError {
    fn from(error: ParseError) -> Self {
        let section = if error.section.is_empty() {
            "file".to_string()
        } else {
            error.section
        };
        ObjectError {
            section,
            offset: Some(error.offset),
            insn: None,
            cause: error.cause.to_string(),
        }
    }
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.section.is_empty() {
            f.write_str(&self.section)?;
            if let Some(offset) = self.offset {
                write!(f, "+{offset:#x}")?;
            }
            if let Some((insn, function)) = &self.insn {
                write!(f, " (insn {} in `{function}`)", insn.0)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.cause)
    }
}

impl std::error::Error for ObjectError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_begin_with_the_place() {
        let mut error = ObjectError::at(
            ".text",
            0x48,
            "unknown relocation type 11 against `BACKENDS`",
        );
        assert_eq!(
            error.to_string(),
            ".text+0x48: unknown relocation type 11 against `BACKENDS`"
        );
        error.insn = Some((InsnIndex(9), "pick".into()));
        assert_eq!(
            error.to_string(),
            ".text+0x48 (insn 9 in `pick`): unknown relocation type 11 against `BACKENDS`"
        );
        assert_eq!(
            ObjectError::in_section("license", "no zero byte ends it").to_string(),
            "license: no zero byte ends it"
        );
        assert_eq!(
            ObjectError::request("there is no map `x`").to_string(),
            "there is no map `x`"
        );
    }
}
