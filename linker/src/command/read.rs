//! Reads the files of the command line. Debug information is most of what a compiler writes (five bytes of six in an
//! object of clang's) and nothing of it reaches the output: of a large object it is not read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use object::LittleEndian as LE;
use object::elf::{FileHeader64, SHF_ALLOC, SHT_NOBITS, SHT_REL, SectionHeader64};
use object::read::elf::{FileHeader, SectionHeader};

/// Files smaller than this are read in one go.
const SMALL: u64 = 16 * 1024;
/// Gaps smaller than this are read with what lies around them: a call costs more.
const GAP: u64 = 4096;
/// Bytes of an ELF header.
const HEADER: u64 = 64;

/// A whole file; of an object, zeros stand where its debug information is.
pub(super) fn input(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || {
        let file = File::open(path)?;
        let status = file.metadata()?;
        if status.is_file()
            && status.len() >= SMALL
            && let Some(bytes) = without_debug(&file, status.len())?
        {
            return Ok(bytes);
        }
        std::fs::read(path)
    };
    read().with_context(|| format!("read {}", path.display()))
}

/// `None` for what is not an object as compilers write them: whatever is wrong with it is told by those who parse it.
fn without_debug(file: &File, len: u64) -> io::Result<Option<Vec<u8>>> {
    let Ok(size) = usize::try_from(len) else {
        return Ok(None);
    };
    // Pages that nothing is read into stay the kernel's.
    let mut bytes = vec![0; size];
    let fill = |bytes: &mut [u8], part: Range<u64>| -> io::Result<()> {
        file.read_exact_at(
            &mut bytes[part.start as usize..part.end as usize],
            part.start,
        )
    };
    fill(&mut bytes, 0..HEADER)?;
    let Some(table) = section_table(&bytes) else {
        return Ok(None);
    };
    fill(&mut bytes, table.clone())?;
    let Some(names) = section_names(&bytes) else {
        return Ok(None);
    };
    fill(&mut bytes, names)?;
    let Some(mut parts) = wanted(&bytes) else {
        return Ok(None);
    };
    parts.extend([0..HEADER, table]);
    parts.sort_unstable_by_key(|part| part.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(parts.len());
    for part in parts {
        match joined.last_mut() {
            Some(last) if part.start <= last.end + GAP => last.end = last.end.max(part.end),
            _ => joined.push(part),
        }
    }
    for part in joined {
        fill(&mut bytes, part)?;
    }
    Ok(Some(bytes))
}

fn header(bytes: &[u8]) -> Option<&FileHeader64<LE>> {
    let header = FileHeader64::<LE>::parse(bytes).ok()?;
    (header.is_little_endian() && header.is_class_64()).then_some(header)
}

/// Where the section headers lie.
fn section_table(bytes: &[u8]) -> Option<Range<u64>> {
    let header = header(bytes)?;
    // Files of very many sections keep the number elsewhere, and 0 here.
    let count = header.e_shnum(LE);
    let sizes =
        count > 0 && usize::from(header.e_shentsize(LE)) == size_of::<SectionHeader64<LE>>();
    let len = u64::from(count) * u64::from(header.e_shentsize(LE));
    sizes.then(|| within(bytes, header.e_shoff(LE), len))?
}

/// Where the names of the sections lie.
fn section_names(bytes: &[u8]) -> Option<Range<u64>> {
    let header = header(bytes)?;
    let headers = header.section_headers(LE, bytes).ok()?;
    let names = headers.get(usize::from(header.e_shstrndx(LE).0))?;
    place(bytes, names)
}

/// Where the sections lie that a link has use for: all but debug information and its relocations.
fn wanted(bytes: &[u8]) -> Option<Vec<Range<u64>>> {
    let table = header(bytes)?.sections(LE, bytes).ok()?;
    let is_debug = |section: &SectionHeader64<LE>| {
        let name = table.section_name(LE, section).unwrap_or(&[]);
        name.starts_with(b".debug") && !section.sh_flags(LE).contains(SHF_ALLOC)
    };
    let mut parts = Vec::with_capacity(table.len());
    for section in table.iter() {
        let applies_to = || table.iter().nth(section.sh_info(LE) as usize);
        let relocates_debug = section.sh_type(LE) == SHT_REL && applies_to().is_some_and(is_debug);
        if section.sh_type(LE) != SHT_NOBITS && !is_debug(section) && !relocates_debug {
            parts.push(place(bytes, section)?);
        }
    }
    Some(parts)
}

fn place(bytes: &[u8], section: &SectionHeader64<LE>) -> Option<Range<u64>> {
    within(bytes, section.sh_offset(LE), section.sh_size(LE))
}

fn within(bytes: &[u8], start: u64, len: u64) -> Option<Range<u64>> {
    let end = start.checked_add(len)?;
    (end <= bytes.len() as u64).then_some(start..end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::elf::write::{Content, Image, ImageSection, write};

    /// An object with code, 100 KB of debug information, and types behind it.
    fn object() -> Vec<u8> {
        let section = |name: &str, content| ImageSection {
            name: name.to_owned(),
            content,
            align: 8,
            relocations: Vec::new(),
        };
        let image = Image {
            sections: vec![
                section("xdp", Content::Code(vec![0x95, 0, 0, 0, 0, 0, 0, 0])),
                section(".debug_info", Content::Metadata(vec![7; 100_000])),
                section(".BTF", Content::Metadata(vec![9; 100])),
                section(".debug_str", Content::ReadOnly(vec![8; 10_000])),
            ],
            symbols: Vec::new(),
        };
        write(&image).unwrap()
    }

    fn read_back(name: &str, bytes: &[u8]) -> Vec<u8> {
        let file = format!("xdplb-read-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, bytes).unwrap();
        let read = input(&path);
        std::fs::remove_file(&path).unwrap();
        read.unwrap()
    }

    #[test]
    fn all_but_debug_information_is_read() {
        let bytes = object();
        let read = read_back("sparse", &bytes);
        assert_eq!(read.len(), bytes.len());
        let (read, whole) = (
            crate::elf::Object::parse(&read).unwrap(),
            crate::elf::Object::parse(&bytes).unwrap(),
        );
        for (one, two) in read.sections.iter().zip(&whole.sections) {
            assert_eq!((one.name, one.size), (two.name, two.size));
            assert_eq!(
                one.data == two.data,
                one.name != ".debug_info",
                "{}",
                one.name
            );
        }
    }

    #[test]
    fn what_is_no_object_or_a_broken_one_is_read_as_it_is() {
        let mut cut = object();
        cut.truncate(60_000);
        let mut outside = object();
        let table = u64::from_le_bytes(*outside[0x28..].first_chunk().unwrap()) as usize;
        // The size of the first section.
        outside[table + 64 + 0x20..][..8].fill(0x7f);
        for (name, bytes) in [
            ("cut", cut),
            ("outside", outside),
            ("text", vec![b'a'; 50_000]),
        ] {
            assert_eq!(read_back(name, &bytes), bytes, "{name}");
        }
    }
}
