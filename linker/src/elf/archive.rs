//! Archives (`ar`, and Rust's rlib, which is one): the object files inside.

use object::read::archive::{ArchiveFile, ArchiveMember};

use crate::error::{Cause, ParseError};

/// One file of an archive.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// Its name in the archive.
    pub name: String,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Whether the bytes begin like an archive. Thin archives name files instead of holding them and are not accepted.
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(&object::archive::MAGIC)
}

/// The ELF files of an archive, in its order. Others are skipped: an rlib holds rustc's `lib.rmeta` too.
pub fn members(bytes: &[u8]) -> Result<Vec<Member<'_>>, ParseError> {
    let broken = |error: object::read::Error| ParseError::new("", 0, Cause::Elf(error.to_string()));
    let archive = ArchiveFile::parse(bytes).map_err(broken)?;
    let mut members = Vec::new();
    for member in archive.members() {
        let member: ArchiveMember<'_> = member.map_err(broken)?;
        let data = member.data(bytes).map_err(broken)?;
        if data.starts_with(&object::elf::ELFMAG) {
            members.push(Member {
                name: String::from_utf8_lossy(member.name()).into_owned(),
                bytes: data,
            });
        }
    }
    Ok(members)
}
