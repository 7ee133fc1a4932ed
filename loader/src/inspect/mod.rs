//! PURE: a BPF object, explained: bytes → [`Inspection`], which is what `xdplb-load inspect` prints and what its `--json` is.
//!
//! It looks at what the load path itself looks at (`object`, and the linker's reader of ELF, instructions and BTF); what it
//! adds are words. So what it says of a map, a relocation or a stack is what a load does, or why one fails.
//!
//! **Invariants.** Any bytes give a value or an [`ObjectError`] that names section, offset and cause. Work and memory are
//! bounded by the size of the input. Nothing is read but the bytes.

mod becomes;
mod bytes;
mod calls;
mod code;
mod declarations;
mod maps;
mod narrow;
mod relocations;
mod sections;
#[cfg(test)]
mod tests;
mod view;

use std::cell::Cell;
use std::collections::HashMap;

use xdplb_linker::btf::{Btf, Kind, TypeId};
use xdplb_linker::elf::{self, Binding, Place, SymbolKind, Visibility};
use xdplb_linker::link::readable;

use crate::object::{ObjectError, Spec, file_types};

pub use bytes::{Bytes, Field};
pub use declarations::{Declaration, Language, declare_all};
pub use narrow::{Narrow, NoSuch};
pub use view::{
    Call, Code, CoreQuestion, Expectation, Function, Header, Inspection, Instruction, Map, MapType,
    Program, ReadFrom, Relocation, Section, Slot, SourcePlace, Stack, Symbol, Types, User,
    Variable,
};

/// What is looked at, read once.
struct Subject<'a> {
    object: elf::Object<'a>,
    spec: Spec,
    /// The types as the file has them.
    types: Result<Btf, ObjectError>,
    /// The functions' names for people.
    names: Vec<String>,
    /// The variables of each map of global data: name, offset, size.
    variables: HashMap<String, Vec<(String, u64, u64)>>,
    /// The types of each section's variables, by the names of both.
    declared: HashMap<String, HashMap<String, TypeId>>,
    /// The sizes that symbols give to places of sections.
    sizes: HashMap<(elf::SectionIndex, u64), u64>,
    /// Bytes of declarations that may still be made beside those of all types: many maps can have one huge type.
    text_left: Cell<usize>,
}

/// Bytes of declarations beside those of all types.
const MAX_TEXT: usize = 8 << 20;
/// Letters of a name in a sentence: a hostile file can name a long one again and again.
const MAX_NAME: usize = 256;

impl Inspection {
    /// Explains an object. Declarations are in `language`.
    pub fn of(bytes: &[u8], language: Language) -> Result<Self, ObjectError> {
        // First, since it knows what else a file can be.
        let spec = Spec::parse(bytes)?;
        let object = elf::Object::parse(bytes)?;
        let types = file_types(&object);
        let names = spec.function_outlines();
        let names = names
            .map(|function| clipped(&readable(function.name)))
            .collect();
        let data = spec.maps().iter().filter(|map| map.name.starts_with('.'));
        let variables = data
            .map(|map| (map.name.clone(), owned(spec.variables_of(&map.name))))
            .collect();
        let declared = types.as_ref().map(declared).unwrap_or_default();
        let sizes = sizes(&object);
        let subject = Subject {
            object,
            spec,
            types,
            names,
            variables,
            declared,
            sizes,
            text_left: Cell::new(MAX_TEXT),
        };
        let functions = code::functions(&subject);
        let code = code::sections(&subject, &functions);
        Ok(Inspection {
            header: header(&subject, bytes.len()),
            license: subject.spec.license.clone(),
            kernel_version: subject.spec.kernel_version,
            sections: sections::all(&subject),
            symbols: symbols(&subject),
            programs: calls::programs(&subject, &functions),
            maps: maps::all(&subject, &functions, language),
            expectations: maps::expectations(&subject),
            relocations: relocations::all(&subject, &functions, &code),
            core: relocations::core(&subject, &functions, &code),
            types: types_of(&subject, language),
            bytes: Vec::new(),
            functions: functions.into_iter().map(|known| known.view).collect(),
            code,
        })
    }
}

/// The variables of all sections with their types.
fn declared(btf: &Btf) -> HashMap<String, HashMap<String, TypeId>> {
    let mut found: HashMap<String, HashMap<String, TypeId>> = HashMap::new();
    for (_, ty) in btf.iter() {
        let Kind::Datasec(section) = &ty.kind else {
            continue;
        };
        let of = found.entry(btf.name(ty.name).to_string()).or_default();
        for var in &section.vars {
            if let Some(Kind::Var(found)) = btf.get(var.ty).map(|ty| &ty.kind) {
                of.insert(btf.type_name(var.ty).to_string(), found.ty);
            }
        }
    }
    found
}

fn sizes(object: &elf::Object<'_>) -> HashMap<(elf::SectionIndex, u64), u64> {
    let mut sizes = HashMap::new();
    for symbol in &object.symbols {
        if let Place::Section(section) = symbol.place {
            let size: &mut u64 = sizes.entry((section, symbol.value)).or_default();
            *size = symbol.size.max(*size);
        }
    }
    sizes
}

/// A name's beginning, where it is too long for a sentence.
fn clipped(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME) {
        None => name.to_string(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

fn owned(variables: Vec<(&str, u64, u64)>) -> Vec<(String, u64, u64)> {
    let variables = variables.into_iter();
    variables
        .map(|(name, offset, size)| (name.to_string(), offset, size))
        .collect()
}

fn header(subject: &Subject<'_>, file_size: usize) -> Header {
    let header = subject.object.header;
    Header {
        file_size,
        class: "ELF64",
        byte_order: "little-endian",
        form: "relocatable (ET_REL)",
        machine: match header.machine {
            0 => "none (EM_NONE), from before BPF had a number",
            _ => "BPF (EM_BPF, 247)",
        },
        flags: header.flags,
        section_table: header.section_table,
        names_section: header.names.0,
    }
}

fn symbols(subject: &Subject<'_>) -> Vec<Symbol> {
    let symbols = subject.object.symbols().skip(1);
    symbols
        .map(|(index, symbol)| {
            let section = match symbol.place {
                Place::Section(section) => Some(subject.section_name(section)),
                Place::Undefined | Place::Absolute | Place::Common => None,
            };
            Symbol {
                index: index.0,
                name: symbol.name.to_string(),
                readable: readable_name(symbol.name),
                kind: match symbol.kind {
                    SymbolKind::Untyped => "untyped",
                    SymbolKind::Object => "variable",
                    SymbolKind::Func => "function",
                    SymbolKind::Section => "section",
                    SymbolKind::File => "file",
                    SymbolKind::Other => "other",
                },
                binding: match symbol.binding {
                    Binding::Local => "local",
                    Binding::Global => "global",
                    Binding::Weak => "weak",
                },
                visibility: match symbol.visibility {
                    Visibility::Default => "default",
                    Visibility::Hidden => "hidden",
                },
                section: section.map(str::to_string),
                place: match symbol.place {
                    Place::Section(_) => "section",
                    Place::Undefined => "undefined",
                    Place::Absolute => "absolute",
                    Place::Common => "common",
                },
                value: symbol.value,
                size: symbol.size,
            }
        })
        .collect()
}

fn types_of(subject: &Subject<'_>, language: Language) -> Types {
    match &subject.types {
        Ok(btf) => Types {
            count: btf.len(),
            string_bytes: btf.strings.len(),
            language,
            declarations: declare_all(btf, language),
            error: None,
        },
        Err(error) => Types {
            count: 0,
            string_bytes: 0,
            language,
            declarations: Vec::new(),
            error: Some(error.to_string()),
        },
    }
}

impl Subject<'_> {
    fn section_name(&self, index: elf::SectionIndex) -> &str {
        let section = self.object.sections.get(index.0);
        section.map_or("", |section| section.name)
    }

    fn btf(&self) -> Option<&Btf> {
        self.types.as_ref().ok()
    }

    /// A declaration, as long as there is room for more of them.
    fn declaration(&self, make: impl FnOnce(&Btf) -> Option<String>) -> Option<String> {
        let left = self.text_left.get();
        if left == 0 {
            return None;
        }
        let text = make(self.btf()?)?;
        self.text_left.set(left.saturating_sub(text.len()));
        Some(text)
    }
}

/// A Rust name as its author wrote it, where that differs.
fn readable_name(name: &str) -> Option<String> {
    let readable = readable(name);
    (readable != name).then_some(readable)
}
