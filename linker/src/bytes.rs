//! A cursor over the bytes of one section. It never reads past the end: it says what was missing.

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{Cause, ParseError};

/// Reads little-endian fields one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    section: &'a str,
    bytes: &'a [u8],
    position: usize,
    base: u64,
}

impl<'a> Cursor<'a> {
    /// A cursor over `bytes`, which start `base` bytes into `section`.
    pub(crate) fn new(section: &'a str, base: u64, bytes: &'a [u8]) -> Self {
        Self {
            section,
            bytes,
            position: 0,
            base,
        }
    }

    /// Where the next byte comes from, counted from the section's start.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.position as u64
    }

    /// True when nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.position >= self.bytes.len()
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// An error at the current place.
    pub(crate) fn error(&self, cause: Cause) -> ParseError {
        ParseError::new(self.section, self.offset(), cause)
    }

    /// The next `need` bytes.
    pub(crate) fn take(&mut self, what: &'static str, need: usize) -> Result<&'a [u8], ParseError> {
        let end = self.position.checked_add(need);
        match end.and_then(|end| self.bytes.get(self.position..end)) {
            Some(bytes) => {
                self.position += need;
                Ok(bytes)
            }
            None => Err(self.error(Cause::Truncated {
                what,
                need: need as u64,
                have: self.left() as u64,
            })),
        }
    }

    /// The next byte.
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, ParseError> {
        Ok(self.take(what, 1)?[0])
    }

    /// The next two bytes as a number.
    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, ParseError> {
        Ok(LittleEndian::read_u16(self.take(what, 2)?))
    }

    /// The next four bytes as a number.
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, ParseError> {
        Ok(LittleEndian::read_u32(self.take(what, 4)?))
    }
}
