//! The bytes themselves, each with what it is: headers field by field, tables record by record, code instruction by
//! instruction, data variable by variable; what is not known here as rows of sixteen.

use serde::Serialize;
use xdplb_linker::btf::{Btf, Kind};
use xdplb_linker::btf_ext::{BtfExt, Group, Record};
use xdplb_linker::elf::{Object, Section};
use xdplb_linker::insn::{opcode_names, steps};
use xdplb_linker::link::readable;

use super::code::hex;
use super::{Inspection, Map};

/// Bytes of a row that has no meaning of its own.
const ROW: usize = 16;
/// Bytes of an ELF header, of an entry of the section table, of a symbol, of a relocation.
const HEADER: usize = 64;
const SECTION: usize = 64;
const SYMBOL: usize = 24;
const RELOCATION: usize = 16;
/// Bytes of the header of `.BTF`, and of the head of a type.
const BTF_HEADER: usize = 24;
const BTF_TYPE: usize = 12;

/// A part of the file.
#[derive(Clone, Debug, Serialize)]
pub struct Bytes {
    /// A section's name, `ELF header` or `section table`.
    pub part: String,
    /// Its rows, in order.
    pub rows: Vec<Field>,
}

/// Bytes with one meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Bytes from the file's start.
    pub offset: u64,
    /// As hexadecimal digits.
    pub bytes: String,
    /// What they are.
    pub what: String,
}

impl Inspection {
    /// Adds the bytes of what is (still) in it; `file` is what it was made of.
    pub fn add_bytes(&mut self, file: &[u8]) {
        let Ok(object) = Object::parse(file) else {
            return;
        };
        let whole = self.sections.len() == object.sections.len();
        if whole {
            self.bytes
                .push(part("ELF header", 0, file.get(..HEADER), header_fields()));
            self.bytes
                .push(section_table(&object, file, self.header.section_table));
        }
        for (index, section) in object.sections() {
            let kept = self.sections.iter().any(|kept| kept.index == index.0);
            if !kept || section.data.is_empty() {
                continue;
            }
            let fields = fields(&object, section, &self.maps);
            let rows = rows(section.file_offset, section.data, fields);
            self.bytes.push(Bytes {
                part: section.name.to_string(),
                rows,
            });
        }
    }
}

/// How many bytes, and what they are.
type Meaning = (usize, String);

fn part(name: &str, at: u64, data: Option<&[u8]>, fields: Vec<Meaning>) -> Bytes {
    Bytes {
        part: name.into(),
        rows: rows(at, data.unwrap_or_default(), fields),
    }
}

/// Cuts bytes into rows; what no field covers comes in sixteens with its letters.
fn rows(start: u64, data: &[u8], fields: Vec<Meaning>) -> Vec<Field> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut put = |at: usize, bytes: &[u8], what: String| {
        found.push(Field {
            offset: start + at as u64,
            bytes: hex(bytes),
            what,
        });
    };
    for (len, what) in fields {
        let Some(bytes) = data.get(at..).and_then(|rest| rest.get(..len)) else {
            break;
        };
        if len > 0 {
            put(at, bytes, what);
        }
        at += len;
    }
    for bytes in data.get(at..).unwrap_or_default().chunks(ROW) {
        put(at, bytes, letters(bytes));
        at += bytes.len();
    }
    found
}

/// `"abc.."`, as hex dumps have it.
fn letters(bytes: &[u8]) -> String {
    let letters = bytes.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    });
    format!("|{}|", letters.collect::<String>())
}

fn header_fields() -> Vec<Meaning> {
    [
        (4, "magic: 7f ELF"),
        (1, "class: 2 is 64 bits"),
        (1, "byte order: 1 is little-endian"),
        (1, "version of ELF: 1"),
        (1, "OS ABI: 0, no one's"),
        (8, "zeros"),
        (2, "e_type: 1 is relocatable"),
        (2, "e_machine: f7 00, 247, is BPF"),
        (4, "e_version: 1"),
        (8, "e_entry: none"),
        (8, "e_phoff: no program headers, since nothing is mapped"),
        (8, "e_shoff: where the section table is"),
        (4, "e_flags"),
        (2, "e_ehsize: this header takes 64 bytes"),
        (2, "e_phentsize"),
        (2, "e_phnum"),
        (
            2,
            "e_shentsize: an entry of the section table takes 64 bytes",
        ),
        (2, "e_shnum: how many entries"),
        (2, "e_shstrndx: which section has the sections' names"),
    ]
    .map(|(len, what)| (len, what.to_string()))
    .to_vec()
}

fn section_table(object: &Object<'_>, file: &[u8], at: u64) -> Bytes {
    let mut fields = Vec::new();
    for (index, section) in object.sections() {
        let name = section.name;
        fields.extend([
            (
                4,
                format!(
                    "section {} `{name}`: sh_name, a place among the names",
                    index.0
                ),
            ),
            (4, format!("  sh_type: {}", section.type_number)),
            (
                8,
                "  sh_flags: 1 write, 2 part of the program, 4 instructions".into(),
            ),
            (8, "  sh_addr: none".into()),
            (8, format!("  sh_offset: {:#x}", section.file_offset)),
            (8, format!("  sh_size: {} bytes", section.size)),
            (4, "  sh_link: a table that belongs to it".into()),
            (
                4,
                "  sh_info: for relocations, the section they are about".into(),
            ),
            (8, format!("  sh_addralign: {}", section.align)),
            (8, "  sh_entsize: bytes of an entry, in tables".into()),
        ]);
    }
    let len = object.sections.len() * SECTION;
    let data = usize::try_from(at)
        .ok()
        .and_then(|at| file.get(at..))
        .and_then(|rest| rest.get(..len));
    part("section table", at, data, fields)
}

/// What the bytes of a section are, from its start, as far as that is known.
fn fields(object: &Object<'_>, section: &Section<'_>, maps: &[Map]) -> Vec<Meaning> {
    match (section.name, section.type_number) {
        _ if section.executable => code(section),
        (_, 2) => symbols(object),
        (name, 9) => relocations(object, name),
        (_, 3) => strings(section.data),
        (".BTF", _) => types(section.data),
        (".BTF.ext", _) => records(section.data),
        ("license", _) => vec![(
            section.data.len(),
            "the license and the zero that ends it".into(),
        )],
        (name, _) => definitions(name, maps),
    }
}

fn code(section: &Section<'_>) -> Vec<Meaning> {
    let (chunks, _) = section.data.as_chunks();
    let insns: Vec<_> = chunks
        .iter()
        .map(|chunk| xdplb_linker::insn::Insn::decode(*chunk))
        .collect();
    steps(&insns)
        .map(|step| {
            let insn = step.insn;
            let (len, more) = match step.second {
                Some(second) => (16, format!("; then imm {}", second.imm)),
                None => (8, String::new()),
            };
            let what = format!(
                "{}: {}, dst r{}, src r{}, off {}, imm {}{more}",
                step.at.0,
                opcode_names(insn.opcode),
                insn.dst,
                insn.src,
                insn.off,
                insn.imm
            );
            (len, what)
        })
        .collect()
}

fn symbols(object: &Object<'_>) -> Vec<Meaning> {
    object
        .symbols()
        .map(|(index, symbol)| {
            let what = format!(
                "symbol {} `{}`: name, kind and binding, visibility, section, value {:#x}, size {}",
                index.0,
                readable(symbol.name),
                symbol.value,
                symbol.size
            );
            (SYMBOL, what)
        })
        .collect()
}

fn relocations(object: &Object<'_>, name: &str) -> Vec<Meaning> {
    let about = name.strip_prefix(".rel").unwrap_or_default();
    let Some((_, section)) = object.section_named(about) else {
        return Vec::new();
    };
    // The reader sorts them by their places; in the file they usually are.
    let relocations = section.relocations.iter();
    relocations
        .map(|relocation| {
            let what = format!(
                "place {:#x} in `{about}`; type {}, symbol {}",
                relocation.offset,
                relocation.kind.number(),
                relocation.symbol.0
            );
            (RELOCATION, what)
        })
        .collect()
}

fn strings(data: &[u8]) -> Vec<Meaning> {
    let parts = data.split_inclusive(|byte| *byte == 0);
    parts
        .map(|text| {
            let shown = text.strip_suffix(&[0]).unwrap_or(text);
            (text.len(), format!("{:?}", String::from_utf8_lossy(shown)))
        })
        .collect()
}

/// The types, where their places follow from what they are: a header of the usual length, one type behind the other.
fn types(data: &[u8]) -> Vec<Meaning> {
    let Ok(btf) = Btf::parse(data) else {
        return Vec::new();
    };
    let word = |at: usize| {
        let bytes = data.get(at..).and_then(|rest| rest.first_chunk::<4>());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
    };
    let lens: Vec<usize> = btf.iter().map(|(_, ty)| type_len(&ty.kind)).collect();
    let types: usize = lens.iter().sum();
    if (word(4), word(8), word(12), word(16)) != (BTF_HEADER, 0, types, types) {
        return Vec::new();
    }
    let mut fields: Vec<Meaning> = [
        (2, "magic: 9f eb".to_string()),
        (1, "version: 1".into()),
        (1, "flags: 0".into()),
        (4, format!("bytes of this header: {BTF_HEADER}")),
        (4, "where the types begin, behind the header: 0".into()),
        (4, format!("bytes of the types: {types}")),
        (4, "where the strings begin, behind the header".into()),
        (4, format!("bytes of the strings: {}", word(20))),
    ]
    .to_vec();
    for ((id, ty), len) in btf.iter().zip(lens) {
        let kind = super::declarations::kind_word(&ty.kind);
        let name = btf.name(ty.name);
        fields.push((len, format!("type {}: {kind} `{name}`", id.0)));
    }
    let start = BTF_HEADER + types;
    fields.extend(strings(data.get(start..).unwrap_or_default()));
    fields
}

fn type_len(kind: &Kind) -> usize {
    BTF_TYPE
        + match kind {
            Kind::Int(_) | Kind::Var(_) | Kind::DeclTag(_) => 4,
            Kind::Array(_) => 12,
            Kind::Struct(c) | Kind::Union(c) => 12 * c.members.len(),
            Kind::Enum(e) => 8 * e.values.len(),
            Kind::Enum64(e) => 12 * e.values.len(),
            Kind::FuncProto(proto) => 8 * proto.params.len(),
            Kind::Datasec(section) => 12 * section.vars.len(),
            Kind::Ptr(_)
            | Kind::Fwd(_)
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func(_)
            | Kind::Float { .. }
            | Kind::TypeTag(_) => 0,
        }
}

/// The records of `.BTF.ext`, where the section is laid out as this crate's own writer would.
fn records(data: &[u8]) -> Vec<Meaning> {
    let Ok(ext) = BtfExt::parse(data) else {
        return Vec::new();
    };
    if ext.encode() != data {
        return Vec::new();
    }
    let mut fields: Vec<Meaning> = [
        (4, "magic: 9f eb; version 1; flags 0"),
        (4, "bytes of this header"),
        (8, "functions: where behind the header, and how many bytes"),
        (8, "source lines: likewise"),
        (8, "CO-RE's questions: likewise"),
    ]
    .map(|(len, what)| (len, what.to_string()))
    .to_vec();
    groups(&ext.func_info, &mut fields, |record| {
        format!(
            "function: at byte {:#x}, type {}",
            record.insn_off, record.type_id.0
        )
    });
    groups(&ext.line_info, &mut fields, |record| {
        format!(
            "line: at byte {:#x}, file and text among the strings, line {} column {}",
            record.insn_off,
            record.line_number(),
            record.column()
        )
    });
    groups(&ext.core_relos, &mut fields, |record| {
        format!(
            "question {} at byte {:#x}: type {}, its path among the strings",
            record.kind, record.insn_off, record.type_id.0
        )
    });
    fields
}

fn groups<R: Record>(groups: &[Group<R>], fields: &mut Vec<Meaning>, what: impl Fn(&R) -> String) {
    if groups.iter().all(|group| group.records.is_empty()) {
        return;
    }
    fields.push((4, format!("bytes of a record: {}", R::SIZE)));
    for group in groups.iter().filter(|group| !group.records.is_empty()) {
        let count = group.records.len();
        fields.push((
            8,
            format!("the section's name among the strings, and {count} records"),
        ));
        let records = group.records.iter();
        fields.extend(records.map(|record| (R::SIZE as usize, what(record))));
    }
}

/// The definitions of maps and the variables of data, in order, with what lies between them.
fn definitions(section: &str, maps: &[Map]) -> Vec<Meaning> {
    let mut found: Vec<(u64, u64, String)> = Vec::new();
    for map in maps
        .iter()
        .filter(|map| map.section.as_deref() == Some(section))
    {
        for (index, read) in map.read_from.iter().enumerate() {
            let next = map.read_from.get(index + 1).map(|next| next.offset);
            let size = match map.source {
                "legacy" => 4,
                _ => next
                    .unwrap_or(read.offset + 8)
                    .saturating_sub(read.offset)
                    .min(8),
            };
            let what = match map.source {
                "legacy" => format!("`{}`: {}", map.name, read.says),
                _ => format!("`{}`: {}", map.name, read.text),
            };
            found.push((map.offset + read.offset, size, what));
        }
        for variable in &map.variables {
            let name = variable.readable.as_ref().unwrap_or(&variable.name);
            found.push((variable.offset, variable.size, format!("`{name}`")));
        }
    }
    found.sort();
    let mut fields = Vec::new();
    let mut here = 0;
    for (at, size, what) in found {
        if at < here {
            continue;
        }
        if at > here {
            fields.push(((at - here) as usize, "between".to_string()));
        }
        fields.push((size as usize, what));
        here = at.saturating_add(size);
    }
    fields
}
