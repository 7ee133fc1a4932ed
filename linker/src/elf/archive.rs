//! Archives (`ar`, and Rust's rlib, which is one): the files inside, and what each of them is.

use std::collections::{BTreeMap, BTreeSet};

use object::read::archive::ArchiveFile;

use crate::error::{Cause, ParseError};

/// Longest member name that is kept; names may overlap in a hostile file.
const MAX_NAME: usize = 1024;

/// One file of an archive.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// Its name in the archive.
    pub name: String,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// What it is.
    pub kind: MemberKind,
    /// The symbols that the archive's index says it defines; `None` where the archive has no index.
    pub symbols: Option<BTreeSet<&'a str>>,
}

/// What a file of an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// An ELF file.
    Object,
    /// LLVM's own form of code, which no machine runs: what rustc writes for a target with `obj-is-bitcode`, and clang
    /// with `-flto` or `-emit-llvm`.
    Bitcode,
    /// Anything else: rustc's `lib.rmeta`, a text.
    Other,
}

/// Whether the bytes begin like an archive, thin ones included.
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(&object::archive::MAGIC) || is_thin(bytes)
}

/// Whether the bytes begin like a thin archive, which names files instead of holding them.
pub fn is_thin(bytes: &[u8]) -> bool {
    bytes.starts_with(&object::archive::THIN_MAGIC)
}

/// Whether the bytes begin like LLVM bitcode, in its wrapper or without.
pub fn is_bitcode(bytes: &[u8]) -> bool {
    bytes.starts_with(b"BC\xc0\xde") || bytes.starts_with(&[0xde, 0xc0, 0x17, 0x0b])
}

/// The files of an archive, in its order. A thin archive is an error: its files are elsewhere.
pub fn members(bytes: &[u8]) -> Result<Vec<Member<'_>>, ParseError> {
    let broken = |offset: u64| {
        move |error: object::read::Error| {
            ParseError::new("", offset, Cause::Elf(format!("archive: {error}")))
        }
    };
    if is_thin(bytes) {
        let cause = Cause::Value {
            what: "kind of archive",
            value: u64::from(bytes[2]),
            why: "a thin archive names its members and does not hold them",
        };
        return Err(ParseError::new("", 0, cause));
    }
    let archive = ArchiveFile::parse(bytes).map_err(broken(0))?;
    let mut members = Vec::new();
    // The index counts members by where their headers are; what is known of a member is where its bytes are.
    let mut by_place: BTreeMap<u64, usize> = BTreeMap::new();
    let mut end = object::archive::MAGIC.len() as u64;
    for member in archive.members() {
        let member = member.map_err(broken(end))?;
        let data = member.data(bytes).map_err(broken(end))?;
        let (start, size) = member.file_range();
        end = start.saturating_add(size).next_multiple_of(2);
        let name = member.name();
        let name = name.get(..MAX_NAME).unwrap_or(name);
        by_place.insert(start, members.len());
        members.push(Member {
            name: String::from_utf8_lossy(name).into_owned(),
            bytes: data,
            kind: kind(name, data),
            symbols: None,
        });
    }
    let Some(index) = archive.symbols().map_err(broken(0))? else {
        return Ok(members);
    };
    members
        .iter_mut()
        .for_each(|member| member.symbols = Some(BTreeSet::new()));
    let mut headers: BTreeMap<u64, Option<usize>> = BTreeMap::new();
    for symbol in index {
        let symbol = symbol.map_err(broken(0))?;
        // An index may be out of date: what leads nowhere says nothing.
        let member = headers.entry(symbol.offset().0).or_insert_with(|| {
            let member = archive.member(symbol.offset()).ok()?;
            by_place.get(&member.file_range().0).copied()
        });
        let (Some(member), Ok(name)) = (*member, std::str::from_utf8(symbol.name())) else {
            continue;
        };
        if let Some(symbols) = &mut members[member].symbols {
            symbols.insert(name);
        }
    }
    Ok(members)
}

fn kind(name: &[u8], data: &[u8]) -> MemberKind {
    // rustc wraps a crate's metadata in an ELF file for the targets that it knows one for.
    if name == b"lib.rmeta" || name == b"rust.metadata.bin" {
        MemberKind::Other
    } else if data.starts_with(&object::elf::ELFMAG) {
        MemberKind::Object
    } else if is_bitcode(data) {
        MemberKind::Bitcode
    } else {
        MemberKind::Other
    }
}
