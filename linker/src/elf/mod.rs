//! The object file as a neutral model: sections, symbols, relocations, with the indices of the file.
//!
//! [`Object`] borrows from the file's bytes. Having one proves that the file is a little-endian 64-bit relocatable BPF
//! object whose sections lie within the file without overlapping, whose names are text, and whose relocations name
//! symbols and places that exist.

mod archive;
mod read;
pub mod write;

pub use archive::{Member, MemberKind, is_archive, is_bitcode, is_thin, members};
pub use read::parse;

use crate::error::ParseError;

/// The index of a section in its file. 0 is the null section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionIndex(pub usize);

/// The index of a symbol in its file. 0 is the null symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolIndex(pub usize);

/// One object file.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    /// What the file says of itself before anything else.
    pub header: Header,
    /// All sections, by index; the first is the null section.
    pub sections: Vec<Section<'a>>,
    /// All symbols, by index; the first is the null symbol.
    pub symbols: Vec<Symbol<'a>>,
    /// The sections of which a link keeps one copy (`GRP_COMDAT`): C++'s inline functions, say.
    pub groups: Vec<Group<'a>>,
}

/// The ELF header, as far as it differs between objects; what is the same in all of them [`Object`] proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `e_machine`: 247 (`EM_BPF`), or 0 from the first compilers.
    pub machine: u16,
    /// `e_flags`: 0, or in its lowest byte the version of the instruction set (`EF_BPF_CPUVER`, newer LLVM).
    pub flags: u32,
    /// `e_shoff`: bytes from the file's start to its table of sections.
    pub section_table: u64,
    /// `e_shstrndx`: the section that holds the sections' names.
    pub names: SectionIndex,
}

/// Sections that stay or go together; of all groups with one signature in a link, one stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    /// The name that tells groups apart.
    pub signature: &'a str,
    /// Its sections.
    pub sections: Vec<SectionIndex>,
}

/// One section.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'a str,
    /// What its bytes are.
    pub kind: SectionKind,
    /// The number of its type in the file (`sh_type`): [`SectionKind`] has only what matters here.
    pub type_number: u32,
    /// Bytes from the file's start to its own.
    pub file_offset: u64,
    /// Whether it is part of the program (`SHF_ALLOC`).
    pub allocated: bool,
    /// Whether it holds instructions (`SHF_EXECINSTR`).
    pub executable: bool,
    /// Whether a program may write to it (`SHF_WRITE`).
    pub writable: bool,
    /// Alignment in bytes, a power of two.
    pub align: u64,
    /// Size in bytes; also for [`SectionKind::Zeroed`], which has none in the file.
    pub size: u64,
    /// Its bytes; empty for [`SectionKind::Zeroed`].
    pub data: &'a [u8],
    /// The relocations that apply to it, by ascending offset.
    pub relocations: Vec<Relocation>,
}

/// What the bytes of a section are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// `SHT_PROGBITS`: as they are.
    Bytes,
    /// `SHT_NOBITS`: zeros, not in the file.
    Zeroed,
    /// The file's own tables (symbols, strings, relocations, groups) and what this crate has no use for.
    Other,
}

/// One symbol.
#[derive(Debug, Clone, Copy)]
pub struct Symbol<'a> {
    /// Its name; section symbols usually have none.
    pub name: &'a str,
    /// Where it is.
    pub place: Place,
    /// Bytes from the start of its section.
    pub value: u64,
    /// Its size in bytes, 0 when the compiler did not say.
    pub size: u64,
    /// What it stands for.
    pub kind: SymbolKind,
    /// Who can refer to it.
    pub binding: Binding,
    /// Whether it stays inside the object it is linked into.
    pub visibility: Visibility,
}

/// Where a symbol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In another file, or in the kernel.
    Undefined,
    /// Nowhere: its value is a number (the file's name symbol, for one).
    Absolute,
    /// In no section yet: a C tentative definition, for the linker to give space to.
    Common,
    /// In this section.
    Section(SectionIndex),
}

/// What a symbol stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolKind {
    /// The compiler did not say: labels, and what is undefined.
    Untyped,
    /// A variable.
    Object,
    /// A function.
    Func,
    /// A section itself.
    Section,
    /// The name of the source file.
    File,
    /// Anything else; BPF has no use for it.
    Other,
}

/// Who can refer to a symbol by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// Only its own file.
    Local,
    /// Every file; defined once.
    Global,
    /// Every file; gives way to a global definition, and may stay undefined.
    Weak,
}

/// Whether a symbol is seen outside the linked object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// It is.
    Default,
    /// It is not. libbpf takes a hidden function for a static one.
    Hidden,
}

/// One relocation: an address to fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// Bytes from the start of the section it applies to.
    pub offset: u64,
    /// What to fill in, and how.
    pub kind: RelocationKind,
    /// Whose address. The addend is in the place itself (`SHT_REL`).
    pub symbol: SymbolIndex,
}

/// The relocation types of BPF (LLVM's `ELFRelocs/BPF.def`, Documentation/bpf/llvm_reloc.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelocationKind {
    /// 1, `R_BPF_64_64`: the 64-bit immediate of a `ld_imm64`.
    Imm64,
    /// 2, `R_BPF_64_ABS64`: eight bytes of data.
    Abs64,
    /// 3, `R_BPF_64_ABS32`: four bytes of data.
    Abs32,
    /// 4, `R_BPF_64_NODYLD32`: four bytes of .BTF or .BTF.ext, which a dynamic loader leaves alone.
    Nodyld32,
    /// 10, `R_BPF_64_32`: the distance of a call, in instructions.
    Call,
}

impl RelocationKind {
    /// The number in the file.
    pub fn number(self) -> u32 {
        match self {
            Self::Imm64 => 1,
            Self::Abs64 => 2,
            Self::Abs32 => 3,
            Self::Nodyld32 => 4,
            Self::Call => 10,
        }
    }

    /// The type with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Imm64),
            2 => Some(Self::Abs64),
            3 => Some(Self::Abs32),
            4 => Some(Self::Nodyld32),
            10 => Some(Self::Call),
            _ => None,
        }
    }

    /// Bytes that it reads and writes, from its offset on.
    pub fn width(self) -> u64 {
        match self {
            Self::Imm64 => 16,
            Self::Abs64 | Self::Call => 8,
            Self::Abs32 | Self::Nodyld32 => 4,
        }
    }
}

impl<'a> Object<'a> {
    /// Reads an object file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        read::parse(bytes)
    }

    /// The sections with their indices.
    pub fn sections(&self) -> impl Iterator<Item = (SectionIndex, &Section<'a>)> {
        self.sections
            .iter()
            .enumerate()
            .map(|(index, section)| (SectionIndex(index), section))
    }

    /// The symbols with their indices.
    pub fn symbols(&self) -> impl Iterator<Item = (SymbolIndex, &Symbol<'a>)> {
        self.symbols
            .iter()
            .enumerate()
            .map(|(index, symbol)| (SymbolIndex(index), symbol))
    }

    /// The first section with this name.
    pub fn section_named(&self, name: &str) -> Option<(SectionIndex, &Section<'a>)> {
        self.sections().find(|(_, section)| section.name == name)
    }
}
