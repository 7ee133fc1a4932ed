//! The string table of a .BTF section: names point into it by offset.

use std::ffi::CStr;

use crate::error::{Cause, ParseError};
use crate::hash::{Keyed, Numbers};

/// The offset of a string in [`Strings`]. 0 is the empty string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StrId(pub u32);

impl StrId {
    /// The empty string.
    pub const EMPTY: Self = Self(0);
}

/// NUL-terminated strings, one after the other, the first of them empty.
#[derive(Debug, Clone)]
pub struct Strings {
    text: String,
    /// Offsets of strings added by [`Strings::intern`], so that each is stored once.
    known: Numbers,
    key: Keyed,
}

/// Longest text that is looked at. It bounds the work that overlapping strings of a hostile file could make.
pub const MAX_TEXT: usize = 4096;

fn clipped(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl PartialEq for Strings {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Strings {}

impl Default for Strings {
    fn default() -> Self {
        Self {
            text: "\0".into(),
            known: Numbers::default(),
            key: Keyed::default(),
        }
    }
}

impl Strings {
    /// Takes over the bytes of a string table, which starts `base` bytes into the section.
    ///
    /// Source lines may be in any encoding: a byte that is not ASCII in a table that is not UTF-8 becomes `?`, so
    /// that offsets stay.
    pub(super) fn parse(base: u64, bytes: &[u8]) -> Result<Self, ParseError> {
        let bad = |offset: usize, what, value| {
            Err(ParseError::new(
                ".BTF",
                base + offset as u64,
                Cause::Value {
                    what,
                    value,
                    why: "the string table begins and ends with a zero byte",
                },
            ))
        };
        match (bytes.first(), bytes.last()) {
            (Some(0), Some(0)) => {}
            (None, _) | (_, None) => return bad(0, "length of the string table", 0),
            (Some(0), Some(last)) => {
                return bad(
                    bytes.len() - 1,
                    "last byte of the strings",
                    u64::from(*last),
                );
            }
            (Some(first), _) => return bad(0, "first byte of the strings", u64::from(*first)),
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes
                .iter()
                .map(|byte| {
                    if byte.is_ascii() {
                        char::from(*byte)
                    } else {
                        '?'
                    }
                })
                .collect(),
        };
        Ok(Self {
            text,
            known: Numbers::default(),
            key: Keyed::default(),
        })
    }

    /// The string that starts there, without its NUL; empty for an offset that starts none. Of a very long one (the
    /// text of a line of generated code, say) the first [`MAX_TEXT`] bytes.
    pub fn get(&self, id: StrId) -> &str {
        let tail = clipped(self.text.get(id.0 as usize..).unwrap_or(""));
        match CStr::from_bytes_until_nul(tail.as_bytes()) {
            Ok(text) => &tail[..text.count_bytes()],
            Err(_) => tail,
        }
    }

    /// The offset of `text`, which is added when it is not there yet. A NUL and what follows it is cut off, and so is
    /// what goes beyond [`MAX_TEXT`].
    pub fn intern(&mut self, text: &str) -> StrId {
        self.add(clipped(text.split('\0').next().unwrap_or("")))
    }

    /// The offset here of a string of another table.
    pub fn copy(&mut self, from: &Self, id: StrId) -> StrId {
        self.add(from.get(id))
    }

    /// The offset of a text without NUL that is not too long.
    fn add(&mut self, new: &str) -> StrId {
        if new.is_empty() {
            return StrId::EMPTY;
        }
        let (text, key) = (&mut self.text, self.key);
        let is_it = |at: u32| {
            let tail = &text.as_bytes()[at as usize..];
            tail.starts_with(new.as_bytes()) && tail.get(new.len()) == Some(&0)
        };
        if let Some(known) = self.known.find(key.bytes(new.as_bytes()), is_it) {
            return StrId(known);
        }
        let id = text.len() as u32;
        text.push_str(new);
        text.push('\0');
        let text = &*text;
        self.known.insert(id, |at| {
            let tail = &text.as_bytes()[at as usize..];
            let end = CStr::from_bytes_until_nul(tail).map_or(tail.len(), CStr::count_bytes);
            key.bytes(&tail[..end])
        });
        StrId(id)
    }

    /// Bytes of the table.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// A string table always holds the empty string.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The table as it stands in the file.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_name_may_be_the_tail_of_another() {
        let strings = Strings::parse(0, b"\0task_struct\0").unwrap();
        assert_eq!(strings.get(StrId(1)), "task_struct");
        assert_eq!(strings.get(StrId(6)), "struct");
        assert_eq!(strings.get(StrId(99)), "");
    }

    #[test]
    fn source_text_in_any_encoding_keeps_its_length() {
        let strings = Strings::parse(0, b"\0// caf\xe9\0next\0").unwrap();
        assert_eq!(strings.get(StrId(1)), "// caf?");
        assert_eq!(strings.get(StrId(9)), "next");
    }

    #[test]
    fn each_text_is_stored_once_and_long_ones_are_cut() {
        let mut strings = Strings::default();
        let long = "é".repeat(MAX_TEXT);
        let id = strings.intern(&long);
        assert_eq!(strings.get(id).len(), MAX_TEXT);
        assert_eq!(strings.intern(&long), id);
        assert_eq!(strings.intern(""), StrId::EMPTY);
    }

    #[test]
    fn a_table_begins_and_ends_with_nul() {
        for bytes in [&b""[..], b"\0a", b"a\0"] {
            assert!(Strings::parse(8, bytes).is_err());
        }
    }
}
