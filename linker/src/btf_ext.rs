//! .BTF.ext: what belongs to single instructions: which function starts here, which source line this is, and which
//! field offset the loader must look up (CO-RE).
//!
//! Records are grouped by the section their instructions are in. Offsets are bytes from that section's start; the
//! kernel wants instruction counts instead, which is the loader's business (`bpf_func_info.insn_off`).

use crate::btf::{StrId, TypeId};
use crate::bytes::Cursor;
use crate::error::{Cause, ParseError};

const SECTION: &str = ".BTF.ext";
/// Bytes of the header with its CO-RE part.
const HEADER_LEN: u32 = 32;

/// The whole section. Names are offsets into the strings of the [`crate::btf::Btf`] of the same object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BtfExt {
    /// Where functions start.
    pub func_info: Vec<Group<FuncInfo>>,
    /// Where source lines start.
    pub line_info: Vec<Group<LineInfo>>,
    /// What to relocate against the running kernel's types.
    pub core_relos: Vec<Group<CoreRelo>>,
}

/// The records of one section of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<R> {
    /// The name of the ELF section.
    pub section: StrId,
    /// Its records, in the order of the file.
    pub records: Vec<R>,
}

/// A function starts at this instruction (`struct bpf_func_info`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FuncInfo {
    /// Bytes from the section's start.
    pub insn_off: u32,
    /// The function, a `BTF_KIND_FUNC`.
    pub type_id: TypeId,
}

/// A source line starts at this instruction (`struct bpf_line_info`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineInfo {
    /// Bytes from the section's start.
    pub insn_off: u32,
    /// The file's name.
    pub file_name: StrId,
    /// The text of the line.
    pub line: StrId,
    /// Line number in the upper 22 bits, column in the lower 10.
    pub line_col: u32,
}

impl LineInfo {
    /// The line's number, counted from 1; 0 where the compiler made the instruction up.
    pub fn line_number(&self) -> u32 {
        self.line_col >> 10
    }

    /// The column, counted from 1; 0 when unknown.
    pub fn column(&self) -> u32 {
        self.line_col & 0x3ff
    }
}

/// A field, type or enum value to look up in the running kernel (`struct bpf_core_relo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreRelo {
    /// Bytes from the section's start.
    pub insn_off: u32,
    /// The type it starts from.
    pub type_id: TypeId,
    /// The path through it, as `0:1:2`.
    pub access: StrId,
    /// `enum bpf_core_relo_kind`: offset, size, exists, and so on.
    pub kind: u32,
}

/// A record of .BTF.ext: how it stands in the file.
pub trait Record: Sized {
    /// Bytes it takes in the form this crate knows. Longer ones are read by their beginning.
    const SIZE: u32;
    /// What it is called in errors.
    const WHAT: &'static str;
    /// From the words it starts with.
    fn from_words(words: &[u32]) -> Self;
    /// The words it is written as.
    fn to_words(&self) -> impl AsRef<[u32]>;
    /// Bytes from the start of its section of code.
    fn insn_off(&self) -> u32;
    /// The same record for another place.
    #[must_use]
    fn at(self, insn_off: u32) -> Self;
}

impl Record for FuncInfo {
    const SIZE: u32 = 8;
    const WHAT: &'static str = "func_info record";
    fn from_words(words: &[u32]) -> Self {
        Self {
            insn_off: words[0],
            type_id: TypeId(words[1]),
        }
    }
    fn to_words(&self) -> impl AsRef<[u32]> {
        [self.insn_off, self.type_id.0]
    }
    fn insn_off(&self) -> u32 {
        self.insn_off
    }
    fn at(self, insn_off: u32) -> Self {
        Self { insn_off, ..self }
    }
}

impl Record for LineInfo {
    const SIZE: u32 = 16;
    const WHAT: &'static str = "line_info record";
    fn from_words(words: &[u32]) -> Self {
        Self {
            insn_off: words[0],
            file_name: StrId(words[1]),
            line: StrId(words[2]),
            line_col: words[3],
        }
    }
    fn to_words(&self) -> impl AsRef<[u32]> {
        [self.insn_off, self.file_name.0, self.line.0, self.line_col]
    }
    fn insn_off(&self) -> u32 {
        self.insn_off
    }
    fn at(self, insn_off: u32) -> Self {
        Self { insn_off, ..self }
    }
}

impl Record for CoreRelo {
    const SIZE: u32 = 16;
    const WHAT: &'static str = "core_relo record";
    fn from_words(words: &[u32]) -> Self {
        Self {
            insn_off: words[0],
            type_id: TypeId(words[1]),
            access: StrId(words[2]),
            kind: words[3],
        }
    }
    fn to_words(&self) -> impl AsRef<[u32]> {
        [self.insn_off, self.type_id.0, self.access.0, self.kind]
    }
    fn insn_off(&self) -> u32 {
        self.insn_off
    }
    fn at(self, insn_off: u32) -> Self {
        Self { insn_off, ..self }
    }
}

impl BtfExt {
    /// Reads a .BTF.ext section.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut header = Cursor::new(SECTION, 0, bytes);
        crate::btf::check_magic(&mut header)?;
        let header_len = header.u32("btf.ext header length")?;
        let [func_off, func_len, line_off, line_len] = [
            header.u32("offset of func_info")?,
            header.u32("length of func_info")?,
            header.u32("offset of line_info")?,
            header.u32("length of line_info")?,
        ];
        let (core_off, core_len) = if header_len >= HEADER_LEN {
            (
                header.u32("offset of core_relo")?,
                header.u32("length of core_relo")?,
            )
        } else {
            (0, 0)
        };
        let part = |offset: u32, len: u32| Part {
            bytes,
            start: u64::from(header_len) + u64::from(offset),
            len,
        };
        Ok(Self {
            func_info: part(func_off, func_len).groups()?,
            line_info: part(line_off, line_len).groups()?,
            core_relos: part(core_off, core_len).groups()?,
        })
    }

    /// The bytes of the section.
    pub fn encode(&self) -> Vec<u8> {
        let parts = [
            encode_groups(&self.func_info),
            encode_groups(&self.line_info),
            encode_groups(&self.core_relos),
        ];
        let mut out = Vec::new();
        out.extend(crate::btf::MAGIC.to_le_bytes());
        out.extend([crate::btf::VERSION, 0]);
        out.extend(HEADER_LEN.to_le_bytes());
        let mut offset = 0u32;
        for part in &parts {
            out.extend(offset.to_le_bytes());
            out.extend((part.len() as u32).to_le_bytes());
            offset += part.len() as u32;
        }
        parts.iter().for_each(|part| out.extend(part));
        out
    }
}

/// One of the three parts of the section.
struct Part<'a> {
    bytes: &'a [u8],
    start: u64,
    len: u32,
}

impl Part<'_> {
    fn groups<R: Record>(&self) -> Result<Vec<Group<R>>, ParseError> {
        if self.len == 0 {
            return Ok(Vec::new());
        }
        let mut all = Cursor::new(SECTION, 0, self.bytes);
        all.take(R::WHAT, usize::try_from(self.start).unwrap_or(usize::MAX))?;
        let bytes = all.take(R::WHAT, self.len as usize)?;
        let mut cursor = Cursor::new(SECTION, self.start, bytes);
        let size = cursor.u32("size of a record")?;
        if size < R::SIZE || size % 4 != 0 {
            return Err(cursor.error(Cause::Value {
                what: "size of a record",
                value: u64::from(size),
                why: "too small, or not a multiple of four",
            }));
        }
        let mut groups = Vec::new();
        while !cursor.is_empty() {
            let section = StrId(cursor.u32("section name of records")?);
            let count = cursor.u32("number of records")? as usize;
            let mut records = Vec::with_capacity(count.min(cursor.left() / size as usize));
            for _ in 0..count {
                let mut record = Cursor::new("", 0, cursor.take(R::WHAT, size as usize)?);
                let mut words = [0; 4];
                for word in words.iter_mut().take(R::SIZE as usize / 4) {
                    *word = record.u32(R::WHAT)?;
                }
                records.push(R::from_words(&words));
            }
            groups.push(Group { section, records });
        }
        Ok(groups)
    }
}

fn encode_groups<R: Record>(groups: &[Group<R>]) -> Vec<u8> {
    let mut out = Vec::new();
    if groups.iter().all(|group| group.records.is_empty()) {
        return out;
    }
    out.extend(R::SIZE.to_le_bytes());
    for group in groups.iter().filter(|group| !group.records.is_empty()) {
        out.extend(group.section.0.to_le_bytes());
        out.extend((group.records.len() as u32).to_le_bytes());
        encode_records(&group.records, &mut out);
    }
    out
}

/// Appends the bytes of records, without a group's head: so the kernel takes those of a program, too.
pub fn encode_records<R: Record>(records: &[R], out: &mut Vec<u8>) {
    out.reserve(records.len() * R::SIZE as usize);
    for record in records {
        for word in record.to_words().as_ref() {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn sample() -> BtfExt {
        BtfExt {
            func_info: vec![Group {
                section: StrId(1),
                records: vec![FuncInfo {
                    insn_off: 0,
                    type_id: TypeId(3),
                }],
            }],
            line_info: vec![Group {
                section: StrId(1),
                records: vec![LineInfo {
                    insn_off: 8,
                    file_name: StrId(5),
                    line: StrId(9),
                    line_col: 41 << 10 | 7,
                }],
            }],
            core_relos: Vec::new(),
        }
    }

    #[test]
    fn encode_then_parse_is_the_identity() {
        let ext = sample();
        let again = BtfExt::parse(&ext.encode()).unwrap();
        assert_eq!(again, ext);
        let line = again.line_info[0].records[0];
        assert_eq!((line.line_number(), line.column()), (41, 7));
    }

    #[test]
    fn a_cut_section_names_the_place() {
        let bytes = sample().encode();
        let error = BtfExt::parse(&bytes[..bytes.len() - 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            ".BTF.ext+0x34: line_info record needs 28 bytes, 24 are left"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(
            flips in proptest::collection::vec((0usize..80, any::<u8>()), 0..6)
        ) {
            let mut bytes = sample().encode();
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            let _ = BtfExt::parse(&bytes);
        }
    }
}
