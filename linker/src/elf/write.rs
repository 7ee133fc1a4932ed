//! Writes an object file from the model: header, contents, relocations, symbols, names, section headers.
//!
//! Nothing in it depends on time, paths or hash order: the same [`Image`] gives the same bytes.

use object::Endianness;
use object::elf;
use object::write::elf::{FileHeader, Rel, SectionHeader, SectionIndex, Sym, Writer};

use super::{Binding, RelocationKind, SymbolKind, Visibility};

/// What goes into the file.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// The sections in order. The file's own tables follow them.
    pub sections: Vec<ImageSection>,
    /// The symbols, in any order: ELF wants local ones first, and gets them so.
    pub symbols: Vec<ImageSymbol>,
}

/// One section of the file.
#[derive(Debug, Clone)]
pub struct ImageSection {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub content: Content,
    /// Alignment in bytes, a power of two.
    pub align: u64,
    /// What is filled in later, and with whose address.
    pub relocations: Vec<ImageRelocation>,
}

/// What a section holds; it decides type and flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Instructions.
    Code(Vec<u8>),
    /// Data that programs only read.
    ReadOnly(Vec<u8>),
    /// Data that programs may write.
    Data(Vec<u8>),
    /// So many zeros, which take no room in the file.
    Zeroed(u64),
    /// What is for the loader and not for the program: .BTF and .BTF.ext.
    Metadata(Vec<u8>),
}

impl Content {
    /// The bytes in the file.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Code(bytes)
            | Self::ReadOnly(bytes)
            | Self::Data(bytes)
            | Self::Metadata(bytes) => bytes,
            Self::Zeroed(_) => &[],
        }
    }

    /// Bytes it takes when loaded.
    pub fn size(&self) -> u64 {
        match self {
            Self::Zeroed(size) => *size,
            Self::Code(_) | Self::ReadOnly(_) | Self::Data(_) | Self::Metadata(_) => {
                self.bytes().len() as u64
            }
        }
    }

    fn type_and_flags(&self) -> (elf::SectionType, elf::SectionFlags) {
        let flags = |flags: &[elf::SectionFlags]| {
            flags.iter().fold(elf::SectionFlags(0), |all, flag| {
                elf::SectionFlags(all.0 | flag.0)
            })
        };
        match self {
            Self::Code(_) => (
                elf::SHT_PROGBITS,
                flags(&[elf::SHF_ALLOC, elf::SHF_EXECINSTR]),
            ),
            Self::ReadOnly(_) => (elf::SHT_PROGBITS, flags(&[elf::SHF_ALLOC])),
            Self::Data(_) => (elf::SHT_PROGBITS, flags(&[elf::SHF_ALLOC, elf::SHF_WRITE])),
            Self::Zeroed(_) => (elf::SHT_NOBITS, flags(&[elf::SHF_ALLOC, elf::SHF_WRITE])),
            Self::Metadata(_) => (elf::SHT_PROGBITS, flags(&[])),
        }
    }
}

/// One symbol of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSymbol {
    /// Its name; empty for a section symbol.
    pub name: String,
    /// The index in [`Image::sections`]; `None` when it is defined elsewhere.
    pub section: Option<usize>,
    /// Bytes from the start of the section.
    pub value: u64,
    /// Its size in bytes.
    pub size: u64,
    /// What it stands for.
    pub kind: SymbolKind,
    /// Who can refer to it.
    pub binding: Binding,
    /// Whether it is seen outside.
    pub visibility: Visibility,
}

/// One relocation of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageRelocation {
    /// Bytes from the start of the section.
    pub offset: u64,
    /// What to fill in.
    pub kind: RelocationKind,
    /// The index in [`Image::symbols`].
    pub symbol: usize,
}

/// The file's bytes. Fails only when the file would outgrow what ELF can hold.
pub fn write(image: &Image) -> Result<Vec<u8>, object::write::Error> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Endianness::Little, true, &mut bytes);

    // First all is reserved in the order of the file; then all is written in the same order.
    writer.reserve_file_header();
    writer.reserve_null_section_index();
    let relocation_names: Vec<String> = image
        .sections
        .iter()
        .map(|section| format!(".rel{}", section.name))
        .collect();
    let mut placed = Vec::new();
    for section in &image.sections {
        placed.push(PlacedSection {
            name: writer.add_section_name(section.name.as_bytes()),
            index: writer.reserve_section_index(),
            offset: writer.reserve(section.content.bytes().len() as u64, section.align),
        });
    }
    let mut placed_relocations = Vec::new();
    for (section, name) in image.sections.iter().zip(&relocation_names) {
        if section.relocations.is_empty() {
            placed_relocations.push(None);
            continue;
        }
        placed_relocations.push(Some(PlacedSection {
            name: writer.add_section_name(name.as_bytes()),
            index: writer.reserve_section_index(),
            offset: writer.reserve_relocations(section.relocations.len(), false),
        }));
    }

    let order = symbol_order(&image.symbols);
    writer.reserve_null_symbol_index();
    let mut symbol_numbers = vec![0; image.symbols.len()];
    let mut symbol_names = vec![None; image.symbols.len()];
    for index in &order {
        let symbol = &image.symbols[*index];
        if !symbol.name.is_empty() {
            symbol_names[*index] = Some(writer.add_string(symbol.name.as_bytes()));
        }
        let section = symbol.section.map(|section| placed[section].index);
        symbol_numbers[*index] = writer.reserve_symbol_index(section).0;
    }
    let locals = image
        .symbols
        .iter()
        .filter(|symbol| symbol.binding == Binding::Local)
        .count() as u32
        + 1; // the null symbol
    let symtab = writer.reserve_symtab_section_index();
    writer.reserve_symtab();
    if writer.symtab_shndx_needed() {
        writer.reserve_symtab_shndx_section_index();
        writer.reserve_symtab_shndx();
    }
    writer.reserve_strtab_section_index();
    writer.reserve_strtab()?;
    writer.reserve_shstrtab_section_index();
    writer.reserve_shstrtab()?;
    writer.reserve_section_headers();

    writer.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_REL,
        e_machine: elf::EM_BPF,
        e_entry: 0,
        e_flags: elf::FileFlags(0),
    })?;
    for (section, place) in image.sections.iter().zip(&placed) {
        if !section.content.bytes().is_empty() {
            writer.pad_until(place.offset);
            writer.write(section.content.bytes());
        }
    }
    for (section, place) in image.sections.iter().zip(&placed_relocations) {
        let Some(place) = place else { continue };
        writer.pad_until(place.offset);
        for relocation in &section.relocations {
            writer.write_relocation(
                false,
                &Rel {
                    r_offset: relocation.offset,
                    r_sym: symbol_numbers[relocation.symbol],
                    r_type: elf::RelocationType(relocation.kind.number()),
                    r_addend: 0,
                },
            );
        }
    }
    writer.write_null_symbol();
    for index in &order {
        let symbol = &image.symbols[*index];
        writer.write_symbol(&Sym {
            section: symbol.section.map(|section| placed[section].index.0),
            st_name: writer.string_offset(symbol_names[*index]),
            st_info: symbol_info(symbol),
            st_other: elf::SymbolOther(match symbol.visibility {
                Visibility::Default => elf::STV_DEFAULT.0,
                Visibility::Hidden => elf::STV_HIDDEN.0,
            }),
            st_shndx: elf::SHN_UNDEF,
            st_value: symbol.value,
            st_size: symbol.size,
        });
    }
    writer.write_symtab_shndx();
    writer.write_strtab();
    writer.write_shstrtab();

    writer.write_null_section_header();
    for (section, place) in image.sections.iter().zip(&placed) {
        let (sh_type, sh_flags) = section.content.type_and_flags();
        writer.write_section_header(&SectionHeader {
            sh_name: writer.section_name_offset(Some(place.name)),
            sh_type,
            sh_flags,
            sh_addr: 0,
            sh_offset: place.offset,
            sh_size: section.content.size(),
            sh_link: 0,
            sh_info: 0,
            sh_addralign: section.align,
            sh_entsize: 0,
        });
    }
    for ((section, place), relocations) in
        image.sections.iter().zip(&placed).zip(&placed_relocations)
    {
        if let Some(relocation_place) = relocations {
            writer.write_relocation_section_header(
                relocation_place.name,
                place.index,
                symtab,
                relocation_place.offset,
                section.relocations.len(),
                false,
            );
        }
    }
    writer.write_symtab_section_header(locals);
    writer.write_symtab_shndx_section_header();
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();
    drop(writer);
    Ok(bytes)
}

/// Where a section was put.
struct PlacedSection {
    name: object::write::StringId,
    index: SectionIndex,
    offset: u64,
}

/// Local symbols first, section symbols first among them; otherwise as given.
fn symbol_order(symbols: &[ImageSymbol]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..symbols.len()).collect();
    order.sort_by_key(|index| {
        let symbol = &symbols[*index];
        (
            symbol.binding != Binding::Local,
            symbol.kind != SymbolKind::Section,
        )
    });
    order
}

fn symbol_info(symbol: &ImageSymbol) -> elf::SymbolInfo {
    let kind = match symbol.kind {
        SymbolKind::Untyped | SymbolKind::Other => elf::STT_NOTYPE,
        SymbolKind::Object => elf::STT_OBJECT,
        SymbolKind::Func => elf::STT_FUNC,
        SymbolKind::Section => elf::STT_SECTION,
        SymbolKind::File => elf::STT_FILE,
    };
    let binding = match symbol.binding {
        Binding::Local => elf::STB_LOCAL,
        Binding::Global => elf::STB_GLOBAL,
        Binding::Weak => elf::STB_WEAK,
    };
    elf::SymbolInfo(binding.0 << 4 | kind.0)
}
