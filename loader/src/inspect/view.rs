//! The view itself: what `--json` prints, field by field.
//!
//! Names of fields are an interface: scripts read them.

use serde::Serialize;

use super::{Bytes, Declaration, Language};

/// What an object is and what is in it. Lists are in the order of the file; absent things are empty lists or `null`.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// What the file says of itself.
    pub header: Header,
    /// The text of section `license`.
    pub license: String,
    /// The number in section `version`, or 0.
    pub kernel_version: u32,
    /// The sections.
    pub sections: Vec<Section>,
    /// The symbols.
    pub symbols: Vec<Symbol>,
    /// What can be loaded.
    pub programs: Vec<Program>,
    /// All functions, those of programs included.
    pub functions: Vec<Function>,
    /// The maps, those of global data included, in the order in which they are created.
    pub maps: Vec<Map>,
    /// What is expected of the kernel by name.
    pub expectations: Vec<Expectation>,
    /// The relocations: what the compiler left open.
    pub relocations: Vec<Relocation>,
    /// What is left open until the kernel's types are known (CO-RE).
    pub core: Vec<CoreQuestion>,
    /// The instructions of each section of code.
    pub code: Vec<Code>,
    /// The types.
    pub types: Types,
    /// The bytes with what they are; empty unless asked for ([`Inspection::add_bytes`]).
    pub bytes: Vec<Bytes>,
}

/// The ELF header.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// Bytes of the file.
    pub file_size: usize,
    /// `ELF64`.
    pub class: &'static str,
    /// `little-endian`.
    pub byte_order: &'static str,
    /// `relocatable (ET_REL)`.
    pub form: &'static str,
    /// `BPF (EM_BPF)`, or `none (EM_NONE)`.
    pub machine: &'static str,
    /// `e_flags`.
    pub flags: u32,
    /// Bytes from the file's start to the table of sections.
    pub section_table: u64,
    /// Which section holds the sections' names.
    pub names_section: usize,
}

/// A section.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Its number.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// `PROGBITS`, `NOBITS`, `SYMTAB`, …; a number where it has no name here.
    pub r#type: String,
    /// `A` part of the program, `W` writable, `X` instructions.
    pub flags: String,
    /// Bytes from the file's start.
    pub file_offset: u64,
    /// Bytes.
    pub size: u64,
    /// Alignment in bytes.
    pub align: u64,
    /// How many relocations apply to it.
    pub relocations: usize,
    /// What it is for.
    pub purpose: String,
    /// Who reads it: `kernel`, `loader`, `linker`, `nobody`.
    pub reader: &'static str,
}

/// A symbol.
#[derive(Clone, Debug, Serialize)]
pub struct Symbol {
    /// Its number.
    pub index: usize,
    /// Its name as it stands there.
    pub name: String,
    /// As its author wrote it, where that differs (Rust).
    pub readable: Option<String>,
    /// `function`, `variable`, `section`, `file`, `untyped`, `other`.
    pub kind: &'static str,
    /// `local`, `global`, `weak`.
    pub binding: &'static str,
    /// `default`, `hidden`.
    pub visibility: &'static str,
    /// The section it is in; `null` where it is in none.
    pub section: Option<String>,
    /// Where it is if not in a section: `undefined`, `absolute`, `common`; else `section`.
    pub place: &'static str,
    /// Bytes from the start of its section.
    pub value: u64,
    /// Bytes.
    pub size: u64,
}

/// A program.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its section.
    pub section: String,
    /// Its type, as the kernel calls it; `null` where the section's name says none.
    pub r#type: Option<String>,
    /// Where it attaches, for the types whose checks depend on it.
    pub attach_type: Option<String>,
    /// What of the kernel it attaches to, where the section's name says it.
    pub target: Option<String>,
    /// Whether it may sleep.
    pub sleepable: bool,
    /// Which of [`Inspection::functions`] it is.
    pub function: usize,
    /// Instructions (slots) of all its functions together.
    pub instructions: u64,
    /// Its stack and depth, as kernels count them; `null` where calls go in a circle.
    pub stack: Option<Stack>,
    /// Functions that call each other in a circle, which no kernel takes; empty otherwise.
    pub circle: Vec<String>,
    /// Which functions it reaches, itself first: numbers of [`Inspection::functions`].
    pub reaches: Vec<usize>,
    /// The names of the maps that it uses.
    pub maps: Vec<String>,
    /// Why it cannot be loaded from this file, whatever the kernel.
    pub error: Option<String>,
}

/// The costliest chain of calls of a program.
#[derive(Clone, Debug, Serialize)]
pub struct Stack {
    /// Bytes with each frame rounded up to 32, as Linux 5.10 to 6.11 count.
    pub bytes_by_32: u64,
    /// Bytes with each frame rounded up to 16, as Linux 6.12 and newer count where a JIT compiler runs the program.
    pub bytes_by_16: u64,
    /// How many a kernel allows.
    pub limit: u64,
    /// The functions of the chain that takes most (rounded to 32): numbers of [`Inspection::functions`].
    pub deepest: Vec<usize>,
    /// The most functions that are active at once.
    pub frames: u64,
    /// How many a kernel allows.
    pub frames_limit: u64,
}

/// A function.
#[derive(Clone, Debug, Serialize)]
pub struct Function {
    /// Its name as the symbol has it.
    pub name: String,
    /// As its author wrote it, where that differs (Rust).
    pub readable: Option<String>,
    /// Its section.
    pub section: String,
    /// Its first instruction, counted from the start of the section.
    pub start: u32,
    /// Instructions (slots).
    pub len: u32,
    /// Its declaration in C, where the object has its type.
    pub declaration: Option<String>,
    /// Bytes of its own stack, not rounded; `null` where that was not worked out.
    pub stack: Option<u32>,
    /// Whether it makes tail calls.
    pub tail_calls: bool,
    /// The functions it calls, each once, in the order of the calls.
    pub calls: Vec<Call>,
}

/// A function that another one calls or hands out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The first such instruction, counted from the start of the caller's section.
    pub insn: u32,
    /// A number of [`Inspection::functions`].
    pub function: usize,
    /// `call`, `callback` (its address is taken: it counts as called there), `later` (it runs later, on a stack of its own).
    pub kind: &'static str,
}

/// A map.
#[derive(Clone, Debug, Serialize)]
pub struct Map {
    /// Its name.
    pub name: String,
    /// `hash`, `array`, …
    pub r#type: String,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries; 0 where the object leaves it open.
    pub max_entries: u32,
    /// The flags' number.
    pub flags: u32,
    /// The flags' names.
    pub flag_names: Vec<String>,
    /// What the type of map makes of it.
    pub extra: u64,
    /// The NUMA node, where one is asked for.
    pub numa_node: Option<u32>,
    /// `by name`, or `none`.
    pub pinning: &'static str,
    /// Whether it is made read-only before programs load.
    pub frozen: bool,
    /// The section it is defined in; `null` for what no section has (`.kconfig`).
    pub section: Option<String>,
    /// Bytes into that section.
    pub offset: u64,
    /// How its definition was read: `btf`, `legacy`, `data`, `kconfig`.
    pub source: &'static str,
    /// The definition, piece by piece: where each number was read.
    pub read_from: Vec<ReadFrom>,
    /// The key's type.
    pub key: Option<MapType>,
    /// The value's type.
    pub value: Option<MapType>,
    /// For a map of maps: what those look like.
    pub inner: Option<Box<Map>>,
    /// What its slots hold from the start.
    pub slots: Vec<Slot>,
    /// For global data: the variables.
    pub variables: Vec<Variable>,
    /// Who refers to it.
    pub users: Vec<User>,
    /// Why its definition makes no sense.
    pub error: Option<String>,
}

/// Where a number of a map's definition was read.
#[derive(Clone, Debug, Serialize)]
pub struct ReadFrom {
    /// Bytes from the start of the definition.
    pub offset: u64,
    /// The words there, or the member's declaration in C.
    pub text: String,
    /// What it says.
    pub says: String,
}

/// The type of a key or value.
#[derive(Clone, Debug, Serialize)]
pub struct MapType {
    /// Its number.
    pub id: u32,
    /// Its name: `struct backend`.
    pub name: String,
    /// Its declaration with all that it is made of.
    pub declaration: String,
}

/// A slot of a map and what it holds.
#[derive(Clone, Debug, Serialize)]
pub struct Slot {
    /// Which.
    pub slot: u32,
    /// `map` or `program`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// A variable of global data.
#[derive(Clone, Debug, Serialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// As its author wrote it, where that differs (Rust).
    pub readable: Option<String>,
    /// Bytes from the start of the map's value.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Its declaration in C, where the object has its type.
    pub declaration: Option<String>,
    /// Its bytes in the file, as hex, up to 64 of them; empty for zeros that the file does not hold.
    pub bytes: String,
}

/// A function that refers to a map.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    /// The function.
    pub function: String,
    /// The instructions that do, counted from the start of its section.
    pub insns: Vec<u32>,
}

/// What is expected of the kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Expectation {
    /// Its name.
    pub name: String,
    /// `function`, `variable`, `address`, `configuration`.
    pub kind: &'static str,
    /// Whether the program can do without.
    pub weak: bool,
    /// Its declaration in C.
    pub declaration: Option<String>,
}

/// A relocation.
#[derive(Clone, Debug, Serialize)]
pub struct Relocation {
    /// The section it changes.
    pub section: String,
    /// Bytes from that section's start.
    pub offset: u64,
    /// For code: the instruction, counted from the section's start.
    pub insn: Option<u32>,
    /// For code: the function that it is in.
    pub function: Option<String>,
    /// Its type's number.
    pub number: u32,
    /// Its type's name: `R_BPF_64_64`.
    pub r#type: &'static str,
    /// The symbol it names; a section's symbol is called after its section.
    pub symbol: String,
    /// For code: the instruction as it stands in the file.
    pub text: Option<String>,
    /// What it will become, and who makes it so.
    pub becomes: String,
    /// Why it cannot become anything.
    pub error: Option<String>,
}

/// A question to the kernel's types.
#[derive(Clone, Debug, Serialize)]
pub struct CoreQuestion {
    /// The section.
    pub section: String,
    /// The instruction, counted from the section's start.
    pub insn: u32,
    /// The function that it is in.
    pub function: Option<String>,
    /// What is asked about: `struct sk_buff.len (0:1)`.
    pub about: String,
    /// What is asked, in libbpf's word: `byte_off`.
    pub question: &'static str,
    /// The instruction as it stands in the file.
    pub text: String,
    /// What it will become.
    pub becomes: &'static str,
}

/// A section's instructions.
#[derive(Clone, Debug, Serialize)]
pub struct Code {
    /// The section.
    pub section: String,
    /// Why its bytes are no instructions.
    pub error: Option<String>,
    /// Why there are no source lines.
    pub no_lines: Option<String>,
    /// The instructions.
    pub instructions: Vec<Instruction>,
}

/// An instruction.
#[derive(Clone, Debug, Serialize)]
pub struct Instruction {
    /// Its first slot, counted from the section's start.
    pub at: u32,
    /// The function that it is in: a number of [`Inspection::functions`].
    pub function: Option<usize>,
    /// Its bytes, as hex; 8, or 16 for a `ld_imm64`.
    pub bytes: String,
    /// The opcode by its parts: `BPF_LDX | BPF_MEM | BPF_W`.
    pub opcode: String,
    /// As it stands in the file, in the verifier's words.
    pub text: String,
    /// The same with the names of what it refers to.
    pub named: String,
    /// For jumps: where they lead, counted from the section's start.
    pub to: Option<i64>,
    /// The source line that begins here.
    pub source: Option<SourcePlace>,
    /// What it will become, where something is left open.
    pub becomes: Option<String>,
    /// Why it cannot be loaded.
    pub error: Option<String>,
}

/// A place in the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourcePlace {
    /// As the compiler was given it.
    pub file: String,
    /// From 1; 0 where the compiler made the instruction up.
    pub line: u32,
    /// From 1; 0 where it is not known.
    pub column: u32,
    /// The text of the line, where the object has it.
    pub text: String,
}

/// The types of an object.
#[derive(Clone, Debug, Serialize)]
pub struct Types {
    /// How many there are.
    pub count: usize,
    /// Bytes of their names, file names and source lines.
    pub string_bytes: usize,
    /// `c` or `rust`.
    pub language: Language,
    /// The declarations, in an order that compiles.
    pub declarations: Vec<Declaration>,
    /// Why there are none.
    pub error: Option<String>,
}
