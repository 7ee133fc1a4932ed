//! The object as it stands: programs, maps, data, license, types. Made once from the bytes; sizes and constants may then be
//! changed before a [`super::Plan`] is made of it.

use std::collections::HashMap;
use std::sync::Arc;

use xdplb_linker::btf::Btf;
use xdplb_linker::elf::{Binding, Object, Place, SectionIndex, SymbolKind, Visibility};
use xdplb_linker::insn::{self, Insn};

use super::data::{self, Global};
use super::records::Records;
use super::relocate::Reference;
use super::{MapSpec, ObjectError, ProgramKind, SectionKind, btf, maps, relocate};

/// What an object says.
#[derive(Clone, Debug)]
pub struct Spec {
    /// A short name for the object: the maps of its data sections are called after it (`NAME.rodata`).
    pub name: String,
    /// The text of section `license`; empty when there is none.
    pub license: String,
    /// The number in section `version`, or 0.
    pub kernel_version: u32,
    /// What can be loaded, in the order of the file.
    pub programs: Vec<ProgramSpec>,
    pub(super) maps: Vec<MapSpec>,
    pub(super) btf: Option<Arc<Btf>>,
    pub(super) code: Vec<Code>,
    pub(super) functions: Vec<Function>,
    /// Functions by section (index into `code`) and first instruction.
    pub(super) function_at: HashMap<(usize, u32), usize>,
    pub(super) globals: Vec<Global>,
    pub(super) records: Records,
}

/// A program: a global function in a section that is not `.text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSpec {
    /// The function's name.
    pub name: String,
    /// The section it is in.
    pub section: String,
    /// What the section's name says it is, or what [`Spec::set_kind`] said.
    pub kind: SectionKind,
    pub(super) function: usize,
}

/// The instructions of one executable section.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) name: String,
    pub(super) section: SectionIndex,
    pub(super) insns: Vec<Insn>,
    /// What the instruction at this index refers to.
    pub(super) references: HashMap<u32, Reference>,
}

/// A function, counted in instructions from the start of its section.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) name: String,
    /// Index into `Spec::code`.
    pub(super) code: usize,
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Spec {
    /// Reads an object.
    pub fn parse(bytes: &[u8]) -> Result<Self, ObjectError> {
        let object = Object::parse(bytes)?;
        let btf = btf::read(&object)?;
        let mut maps = maps::read(&object, btf.as_ref())?;
        maps.extend(data::read(&object, btf.as_ref()));
        // From here on no map is added: `globals` and plans refer to maps by index.
        let globals = data::globals(&object, &maps);
        let code = read_code(&object, &relocate::names(&object, bytes.len())?)?;
        let (functions, programs) = read_functions(&object, &code)?;
        let function_at = functions
            .iter()
            .enumerate()
            .map(|(index, f)| ((f.code, f.start), index))
            .collect();
        let records = Records::read(&object, btf.as_ref())?;
        Ok(Spec {
            name: String::new(),
            license: license(&object)?,
            kernel_version: version(&object)?,
            programs,
            maps,
            btf: btf.map(Arc::new),
            code,
            functions,
            function_at,
            globals,
            records,
        })
    }

    /// All maps, those of data sections included, in the order in which they will be created.
    pub fn maps(&self) -> &[MapSpec] {
        &self.maps
    }

    /// The map with this name.
    pub fn map(&self, name: &str) -> Option<&MapSpec> {
        self.maps.iter().find(|map| map.name == name)
    }

    /// The map with this name, to set its size before loading.
    pub fn map_mut(&mut self, name: &str) -> Result<&mut MapSpec, ObjectError> {
        let known = self
            .maps
            .iter()
            .map(|map| map.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        self.maps
            .iter_mut()
            .find(|map| map.name == name)
            .ok_or_else(|| {
                let known = if known.is_empty() {
                    "no maps".to_string()
                } else {
                    known
                };
                ObjectError::request(format!("there is no map `{name}`: the object has {known}"))
            })
    }

    /// The program with this name.
    pub fn program(&self, name: &str) -> Option<&ProgramSpec> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// Says what a program is: one by its name, or all those whose section's name says nothing.
    pub fn set_kind(
        &mut self,
        program: Option<&str>,
        kind: ProgramKind,
    ) -> Result<(), ObjectError> {
        match program {
            Some(name) => {
                let Some(program) = self.programs.iter_mut().find(|p| p.name == name) else {
                    return Err(self.no_program(name));
                };
                program.kind = SectionKind::Known(kind);
            }
            None => {
                for program in &mut self.programs {
                    if program.kind == SectionKind::Unknown {
                        program.kind = SectionKind::Known(kind.clone());
                    }
                }
            }
        }
        Ok(())
    }

    fn no_program(&self, name: &str) -> ObjectError {
        let known: Vec<_> = self.programs.iter().map(|p| p.name.as_str()).collect();
        let known = if known.is_empty() {
            "no programs".to_string()
        } else {
            known.join(", ")
        };
        ObjectError::request(format!(
            "there is no program `{name}`: the object has {known}"
        ))
    }

    /// Says how many entries a map has.
    pub fn set_max_entries(&mut self, map: &str, entries: u32) -> Result<(), ObjectError> {
        self.map_mut(map)?.max_entries = entries;
        Ok(())
    }

    /// The object's types, with the places of variables filled in.
    pub fn btf(&self) -> Option<&Btf> {
        self.btf.as_deref()
    }
}

fn read_code(object: &Object<'_>, names: &[Arc<str>]) -> Result<Vec<Code>, ObjectError> {
    let mut code = Vec::new();
    for (index, section) in object.sections() {
        if !(section.allocated && section.executable) || section.data.is_empty() {
            continue;
        }
        let insns = insn::decode_all(section.name, section.data)?;
        let references = relocate::references(object, section, &insns, names)?;
        code.push(Code {
            name: section.name.to_string(),
            section: index,
            insns,
            references,
        });
    }
    Ok(code)
}

/// The functions of all sections, and the programs among them.
fn read_functions(
    object: &Object<'_>,
    code: &[Code],
) -> Result<(Vec<Function>, Vec<ProgramSpec>), ObjectError> {
    let by_section: HashMap<SectionIndex, usize> = code
        .iter()
        .enumerate()
        .map(|(at, code)| (code.section, at))
        .collect();
    let mut functions = Vec::new();
    let mut programs = Vec::new();
    let mut symbols: Vec<_> = object
        .symbols
        .iter()
        .filter(|symbol| symbol.kind == SymbolKind::Func)
        .filter_map(|symbol| match symbol.place {
            Place::Section(section) => Some((*by_section.get(&section)?, symbol)),
            Place::Undefined | Place::Absolute | Place::Common => None,
        })
        .collect();
    symbols.sort_by_key(|(code, symbol)| (*code, symbol.value));
    for (at, (code_index, symbol)) in symbols.iter().enumerate() {
        let code = &code[*code_index];
        let section_size = (code.insns.len() * Insn::SIZE) as u64;
        let next = symbols
            .get(at + 1)
            .filter(|(next, _)| next == code_index)
            .map_or(section_size, |(_, s)| s.value);
        let size = if symbol.size == 0 {
            next.saturating_sub(symbol.value)
        } else {
            symbol.size
        };
        let fail = |cause: String| Err(ObjectError::at(&code.name, symbol.value, cause));
        if symbol.value % 8 != 0 || size % 8 != 0 || size == 0 {
            return fail(format!(
                "function `{}` takes {size} bytes: not whole instructions",
                symbol.name
            ));
        }
        if symbol.value.saturating_add(size) > section_size {
            return fail(format!("function `{}` ends past its section", symbol.name));
        }
        // Below 4 GiB: the reader bounds sections.
        functions.push(Function {
            name: symbol.name.to_string(),
            code: *code_index,
            start: (symbol.value / 8) as u32,
            len: (size / 8) as u32,
        });
        if is_program(&code.name, symbol.binding, symbol.visibility) {
            programs.push(ProgramSpec {
                name: symbol.name.to_string(),
                section: code.name.clone(),
                kind: ProgramKind::of_section(&code.name),
                function: functions.len() - 1,
            });
        }
    }
    Ok((functions, programs))
}

/// Local functions and those of `.text` are only ever called (libbpf's rule: `prog_is_subprog`).
fn is_program(section: &str, binding: Binding, visibility: Visibility) -> bool {
    let text = section == ".text" || section.starts_with(".text.");
    !text && binding != Binding::Local && visibility == Visibility::Default
}

fn license(object: &Object<'_>) -> Result<String, ObjectError> {
    let Some((_, section)) = object.section_named("license") else {
        return Ok(String::new());
    };
    let end = section
        .data
        .iter()
        .position(|&b| b == 0)
        .unwrap_or(section.data.len());
    // The kernel reads 127 bytes of it (bpf_prog_load).
    match std::str::from_utf8(&section.data[..end.min(127)]) {
        Ok(text) => Ok(text.to_string()),
        Err(error) => Err(ObjectError::at(
            "license",
            error.valid_up_to() as u64,
            "the license is not text",
        )),
    }
}

fn version(object: &Object<'_>) -> Result<u32, ObjectError> {
    let Some((_, section)) = object.section_named("version") else {
        return Ok(0);
    };
    match section.data {
        [a, b, c, d] => Ok(u32::from_le_bytes([*a, *b, *c, *d])),
        other => Err(ObjectError::in_section(
            "version",
            format!("{} bytes instead of a 32-bit number", other.len()),
        )),
    }
}
