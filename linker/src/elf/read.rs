//! Reads an object file into the model. The `object` crate knows ELF's layout; what is checked here is what a linker
//! relies on, and what bounds its work by the size of the file.

use object::LittleEndian as LE;
use object::elf::{self, FileHeader64};
use object::read::elf::{
    FileHeader, Rel, SectionHeader, SectionTable, Sym, SymbolTable as ElfSymbols,
};

use super::{
    Binding, Group, Header, Object, Place, Relocation, RelocationKind, Section, SectionIndex,
    SectionKind, Symbol, SymbolIndex, SymbolKind, Visibility,
};
use crate::error::{Cause, ParseError};

/// Longest section or symbol name. Rust's mangled names reach a few thousand bytes.
const MAX_NAME: usize = 16 * 1024;
/// Largest alignment: the largest page of any machine that runs BPF. Maps give no more.
const MAX_ALIGN: u64 = 64 * 1024;
/// Largest section: sizes and offsets in BTF are 32 bits, and so are the kernel's.
const MAX_SECTION: u64 = i32::MAX as u64;

type Sections<'a> = SectionTable<'a, FileHeader64<LE>>;

/// Reads the whole file.
pub fn parse(bytes: &[u8]) -> Result<Object<'_>, ParseError> {
    check_identity(bytes)?;
    let header = FileHeader64::<LE>::parse(bytes).map_err(whole_file)?;
    let table = header.sections(LE, bytes).map_err(whole_file)?;
    check_names(&table, bytes)?;
    let mut sections = read_sections(&table, bytes)?;
    let elf_symbols = table
        .symbols(LE, bytes, elf::SHT_SYMTAB)
        .map_err(whole_file)?;
    let symbols = read_symbols(&elf_symbols, &sections)?;
    read_relocations(
        &table,
        bytes,
        elf_symbols.section(),
        &symbols,
        &mut sections,
    )?;
    let groups = read_groups(&table, bytes, &symbols, &sections)?;
    Ok(Object {
        header: Header {
            machine: header.e_machine(LE).0,
            flags: header.e_flags(LE).0,
            section_table: header.e_shoff(LE),
            names: SectionIndex(header.shstrndx(LE, bytes).map_err(whole_file)? as usize),
        },
        sections,
        symbols,
        groups,
    })
}

fn whole_file(error: object::read::Error) -> ParseError {
    ParseError::new("", 0, Cause::Elf(error.to_string()))
}

fn in_section(name: &str) -> impl Fn(object::read::Error) -> ParseError + '_ {
    move |error| ParseError::new(name, 0, Cause::Elf(error.to_string()))
}

/// The first bytes say what kind of file it is; each wrong answer gets its own words.
fn check_identity(bytes: &[u8]) -> Result<(), ParseError> {
    let wrong = |offset: u64, what, value: u64, why| {
        Err(ParseError::new(
            "",
            offset,
            Cause::Value { what, value, why },
        ))
    };
    let Some(start) = bytes.get(..64) else {
        return Err(ParseError::new(
            "",
            0,
            Cause::Truncated {
                what: "ELF header",
                need: 64,
                have: bytes.len() as u64,
            },
        ));
    };
    let half = |at: usize| u64::from(start[at]) | u64::from(start[at + 1]) << 8;
    if start[..4] != elf::ELFMAG {
        let magic = half(0) | half(2) << 16;
        return wrong(0, "magic", magic, "this is not an ELF file");
    }
    if start[4] != 2 {
        return wrong(
            4,
            "class",
            u64::from(start[4]),
            "only 64-bit objects (2) hold BPF",
        );
    }
    if start[5] != 1 {
        let data = u64::from(start[5]);
        return wrong(
            5,
            "byte order",
            data,
            "only little-endian objects (1) are linked",
        );
    }
    if half(16) != 1 {
        return wrong(
            16,
            "file type",
            half(16),
            "a relocatable object (1) is expected",
        );
    }
    // Compilers before the machine had a number wrote none (EM_NONE), and libbpf takes that too.
    if half(18) != 247 && half(18) != 0 {
        return wrong(18, "machine", half(18), "BPF is 247");
    }
    Ok(())
}

/// No string table holds a string longer than a name can be. Names are looked up by offset and may overlap, so this
/// keeps the work in proportion to the file.
fn check_names(table: &Sections<'_>, bytes: &[u8]) -> Result<(), ParseError> {
    for (index, header) in table.enumerate() {
        if header.sh_type(LE) != elf::SHT_STRTAB {
            continue;
        }
        let section = format!("section {}", index.0);
        let data = header.data(LE, bytes).map_err(in_section(&section))?;
        let longest = data.split(|byte| *byte == 0).map(<[u8]>::len).max();
        if let Some(size) = longest.filter(|size| *size > MAX_NAME) {
            return Err(ParseError::new(
                section,
                0,
                Cause::TooLarge {
                    what: "name",
                    size: size as u64,
                    limit: MAX_NAME as u64,
                },
            ));
        }
    }
    Ok(())
}

fn read_sections<'a>(
    table: &Sections<'a>,
    bytes: &'a [u8],
) -> Result<Vec<Section<'a>>, ParseError> {
    let mut sections = Vec::with_capacity(table.len());
    let mut total: u64 = 0;
    for (index, header) in table.enumerate() {
        let name = text(table.section_name(LE, header), || {
            format!("section {}", index.0)
        })?;
        let kind = match header.sh_type(LE) {
            elf::SHT_PROGBITS => SectionKind::Bytes,
            elf::SHT_NOBITS => SectionKind::Zeroed,
            _ => SectionKind::Other,
        };
        let data = match kind {
            SectionKind::Zeroed => &[][..],
            SectionKind::Bytes | SectionKind::Other => {
                header.data(LE, bytes).map_err(in_section(name))?
            }
        };
        // Sections of an object do not overlap. A file that claims so could make a link read its bytes again and
        // again: this keeps the work in proportion to the file.
        total = total.saturating_add(data.len() as u64);
        let size = header.sh_size(LE);
        for (what, size, limit) in [
            ("all sections together", total, bytes.len() as u64),
            ("section", size, MAX_SECTION),
        ] {
            if size > limit && kind_counts(header.sh_type(LE)) {
                return Err(ParseError::new(
                    name,
                    0,
                    Cause::TooLarge { what, size, limit },
                ));
            }
        }
        let flags = header.sh_flags(LE);
        let align = header.sh_addralign(LE).max(1);
        if !align.is_power_of_two() || align > MAX_ALIGN {
            return Err(ParseError::new(
                name,
                0,
                Cause::Value {
                    what: "alignment",
                    value: align,
                    why: "a power of two up to 65536 is expected",
                },
            ));
        }
        sections.push(Section {
            name,
            kind,
            type_number: header.sh_type(LE).0,
            file_offset: header.sh_offset(LE),
            allocated: flags.contains(elf::SHF_ALLOC),
            executable: flags.contains(elf::SHF_EXECINSTR),
            writable: flags.contains(elf::SHF_WRITE),
            align,
            size,
            data,
            relocations: Vec::new(),
        });
    }
    Ok(sections)
}

/// The null section's fields hold other things (the number of sections, when there are very many).
fn kind_counts(kind: elf::SectionType) -> bool {
    kind != elf::SHT_NULL
}

fn text(name: object::read::Result<&[u8]>, whose: impl Fn() -> String) -> Result<&str, ParseError> {
    let bad = |why: &str| ParseError::new(whose(), 0, Cause::Elf(why.to_owned()));
    let bytes = name.map_err(|error| bad(&error.to_string()))?;
    std::str::from_utf8(bytes).map_err(|_| bad("the name is not UTF-8"))
}

fn read_symbols<'a>(
    table: &ElfSymbols<'a, FileHeader64<LE>>,
    sections: &[Section<'a>],
) -> Result<Vec<Symbol<'a>>, ParseError> {
    let mut symbols = Vec::with_capacity(table.len());
    for (index, symbol) in table.enumerate() {
        let whose = || format!("symbol {}", index.0);
        let name = text(symbol.name(LE, table.strings()), whose)?;
        let place = match symbol.st_shndx(LE) {
            elf::SHN_UNDEF => Place::Undefined,
            elf::SHN_ABS => Place::Absolute,
            elf::SHN_COMMON => Place::Common,
            _ => {
                let section = table
                    .symbol_section(LE, symbol, index)
                    .map_err(|error| ParseError::new(whose(), 0, Cause::Elf(error.to_string())))?;
                match section {
                    Some(section) => Place::Section(SectionIndex(section.0)),
                    None => Place::Undefined,
                }
            }
        };
        if let Place::Section(section) = place {
            let size = sections.get(section.0).map(|section| section.size);
            if size.is_none_or(|size| symbol.st_value(LE) > size) {
                return Err(ParseError::new(
                    whose(),
                    0,
                    match size {
                        None => Cause::Dangling {
                            what: "section",
                            index: section.0 as u64,
                            count: sections.len() as u64,
                        },
                        Some(_) => Cause::Value {
                            what: "value",
                            value: symbol.st_value(LE),
                            why: "the symbol lies past the end of its section",
                        },
                    },
                ));
            }
        }
        symbols.push(Symbol {
            name,
            place,
            value: symbol.st_value(LE),
            size: symbol.st_size(LE),
            kind: match symbol.st_type() {
                elf::STT_NOTYPE => SymbolKind::Untyped,
                elf::STT_OBJECT => SymbolKind::Object,
                elf::STT_FUNC => SymbolKind::Func,
                elf::STT_SECTION => SymbolKind::Section,
                elf::STT_FILE => SymbolKind::File,
                _ => SymbolKind::Other,
            },
            binding: match symbol.st_bind() {
                elf::STB_LOCAL => Binding::Local,
                elf::STB_WEAK => Binding::Weak,
                _ => Binding::Global,
            },
            visibility: match symbol.st_visibility() {
                elf::STV_HIDDEN | elf::STV_INTERNAL => Visibility::Hidden,
                _ => Visibility::Default,
            },
        });
    }
    Ok(symbols)
}

/// The COMDAT groups. Others say only that their sections go together, which they do anyway.
fn read_groups<'a>(
    table: &Sections<'a>,
    bytes: &'a [u8],
    symbols: &[Symbol<'a>],
    sections: &[Section<'a>],
) -> Result<Vec<Group<'a>>, ParseError> {
    let mut groups = Vec::new();
    for (index, header) in table.enumerate() {
        let name = sections.get(index.0).map_or("", |section| section.name);
        let Some((flags, members)) = header.group(LE, bytes).map_err(in_section(name))? else {
            continue;
        };
        if !flags.contains(elf::GRP_COMDAT) {
            continue;
        }
        let dangling = |what, index: u32, count: usize| {
            let (index, count) = (u64::from(index), count as u64);
            Err(ParseError::new(
                name,
                0,
                Cause::Dangling { what, index, count },
            ))
        };
        let signature = header.sh_info(LE);
        let Some(symbol) = symbols.get(signature as usize) else {
            return dangling("symbol of a group", signature, symbols.len());
        };
        let mut group = Group {
            signature: symbol.name,
            sections: Vec::with_capacity(members.len()),
        };
        for member in members {
            let member = member.get(LE);
            if member as usize >= sections.len() {
                return dangling("section of a group", member, sections.len());
            }
            group.sections.push(SectionIndex(member as usize));
        }
        // A section symbol has no name: its section's is meant.
        if let (true, Place::Section(section)) = (symbol.name.is_empty(), symbol.place) {
            group.signature = sections[section.0].name;
        }
        groups.push(group);
    }
    Ok(groups)
}

fn read_relocations<'a>(
    table: &Sections<'a>,
    bytes: &'a [u8],
    symbol_table: object::SectionIndex,
    symbols: &[Symbol<'a>],
    sections: &mut [Section<'a>],
) -> Result<(), ParseError> {
    for header in table.iter() {
        let target = header.sh_info(LE) as usize;
        let Some(section) = sections.get_mut(target) else {
            if matches!(header.sh_type(LE), elf::SHT_REL | elf::SHT_RELA) {
                return Err(ParseError::new(
                    "",
                    0,
                    Cause::Dangling {
                        what: "section that relocations apply to",
                        index: target as u64,
                        count: sections.len() as u64,
                    },
                ));
            }
            continue;
        };
        let name = section.name;
        // Relocations of debug information are of kinds and number that the link has no use for.
        if !(section.allocated || name.starts_with(".BTF")) {
            continue;
        }
        if header.sh_type(LE) == elf::SHT_RELA {
            return Err(ParseError::new(
                name,
                0,
                Cause::Elf("relocations with addends (SHT_RELA) are not used by BPF".into()),
            ));
        }
        let Some((entries, link)) = header.rel(LE, bytes).map_err(in_section(name))? else {
            continue;
        };
        if link != symbol_table {
            return Err(ParseError::new(
                name,
                0,
                Cause::Value {
                    what: "symbol table of the relocations",
                    value: link.0 as u64,
                    why: "it is not the file's symbol table",
                },
            ));
        }
        section.relocations.reserve(entries.len());
        for entry in entries {
            let relocation = read_relocation(entry, section, symbols)?;
            section.relocations.push(relocation);
        }
        section
            .relocations
            .sort_by_key(|relocation| relocation.offset);
    }
    Ok(())
}

fn read_relocation(
    entry: &elf::Rel64<LE>,
    section: &Section<'_>,
    symbols: &[Symbol<'_>],
) -> Result<Relocation, ParseError> {
    let offset = entry.r_offset(LE);
    let at = |cause| Err(ParseError::new(section.name, offset, cause));
    let symbol = entry.r_sym(LE) as usize;
    let number = entry.r_type(LE).0;
    if symbol >= symbols.len() {
        return at(Cause::Dangling {
            what: "symbol of a relocation",
            index: symbol as u64,
            count: symbols.len() as u64,
        });
    }
    let Some(kind) = RelocationKind::from_number(number) else {
        return at(Cause::Value {
            what: "relocation type",
            value: u64::from(number),
            why: "BPF has 1, 2, 3, 4 and 10",
        });
    };
    let have = section.size.saturating_sub(offset);
    if have < kind.width() {
        return at(Cause::Truncated {
            what: "place of a relocation",
            need: kind.width(),
            have,
        });
    }
    Ok(Relocation {
        offset,
        kind,
        symbol: SymbolIndex(symbol),
    })
}
