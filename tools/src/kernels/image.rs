//! The initial file system of a machine: an archive in cpio's `newc` format, which the kernel unpacks into memory
//! (Documentation/driver-api/early-userspace/buffer-format.rst). Not compressed: an emulated CPU is slower at that
//! than at reading four megabytes.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// What kind of file, with its permissions, as in `st_mode`.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A file that can be executed.
    Program,
    /// Any other file.
    Data,
}

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Image {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DATA: u32 = 0o100_644;

impl Image {
    /// Adds a folder; what it is in must be there before it.
    pub fn folder(&mut self, name: &str) {
        self.entry(name, DIRECTORY, &[]);
    }

    /// Adds a file with these bytes.
    pub fn file(&mut self, name: &str, kind: Kind, bytes: &[u8]) {
        let mode = match kind {
            Kind::Program => PROGRAM,
            Kind::Data => DATA,
        };
        self.entry(name, mode, bytes);
    }

    /// Adds a copy of a file.
    pub fn copy(&mut self, name: &str, kind: Kind, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| from.display().to_string())?;
        self.file(name, kind, &bytes);
        Ok(())
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    /// A header of thirteen hexadecimal numbers, the name with a zero, the bytes; name and bytes end at multiples of four.
    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) {
        self.entries += 1;
        let (size, name_size) = (bytes.len() as u32, name.len() as u32 + 1);
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        let header: String = fields.iter().map(|field| format!("{field:08x}")).collect();
        self.bytes
            .extend_from_slice(format!("070701{header}{name}\0").as_bytes());
        self.pad();
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_archive_is_what_cpio_reads() {
        let mut image = Image::default();
        image.folder("objects");
        image.file("objects/a.o", Kind::Data, b"12345");
        let bytes = image.finish();
        // 110 bytes of header, the name with its zero, up to a multiple of four.
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.starts_with("07070100000001000041ed"));
        let second = &text[120..];
        assert!(second.starts_with("07070100000002000081a4"), "{second}");
        assert_eq!(&second[54..62], "00000005");
        assert_eq!(&second[110..122], "objects/a.o\0");
        assert_eq!(&second[124..132], "12345\0\0\0");
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
