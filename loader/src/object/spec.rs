//! The object as it stands: programs, maps, data, license, types. Made once from the bytes; sizes and constants may then be
//! changed before a [`super::Plan`] is made of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use xdplb_linker::btf::Btf;
use xdplb_linker::elf::{Object, Place, SectionIndex};
use xdplb_linker::insn::Insn;

use super::data::{self, Global};
use super::externs::{Externs, define_the_rest};
use super::records::Records;
use super::relocate::References;
use super::{
    MapSpec, ObjectError, Pinning, ProgramKind, SectionKind, arena, btf, functions, identify,
    legacy, maps, relocate, struct_ops,
};

/// The longest name of a section. Rust's mangled names (`.text._RNv…`) reach a thousand bytes.
const MAX_SECTION_NAME: usize = 4096;

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
    /// The names of sections that are neither code nor data, for messages.
    pub(super) other_sections: HashMap<SectionIndex, String>,
    pub(super) externs: Externs,
    /// Variables that are in no section (C's tentative definitions).
    pub(super) commons: HashSet<String>,
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
    /// Why it cannot be loaded, where its place in the file is wrong already.
    pub(super) broken: Option<ObjectError>,
}

/// The instructions of one executable section.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) name: String,
    pub(super) section: SectionIndex,
    pub(super) insns: Vec<Insn>,
    pub(super) references: References,
    /// Why its bytes are no instructions; then there are none.
    pub(super) broken: Option<ObjectError>,
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
        identify::refuse_others(bytes)?;
        let object = Object::parse(bytes)?;
        bound_names(&object, bytes.len())?;
        let (mut btf, no_types) = match btf::read(&object) {
            Ok(btf) => (Some(btf), None),
            Err(error) => (None, Some(error)),
        };
        let externs = Externs::read(&object, btf.as_mut());
        let mut maps = maps::read(&object, btf.as_ref(), no_types.as_ref());
        maps.extend(legacy::read(&object, btf.as_ref()));
        maps.extend(data::read(&object, btf.as_ref()));
        maps.extend(externs.config_map(btf.as_ref()));
        arena::read(&object, &mut maps);
        // From here on no map is added: `globals` and plans refer to maps by index.
        if let Some(btf) = &mut btf {
            define_the_rest(btf);
        }
        let mut globals = data::globals(&object, &maps);
        globals.extend(externs.config_globals(&maps));
        let code = functions::read_code(&object, &relocate::names(&object, bytes.len())?);
        let (functions, mut programs) = functions::read(&object, &code);
        legacy::fill_tail_calls(&mut maps, &mut programs);
        struct_ops::assign(&object, btf.as_ref(), &code, &functions, &mut programs);
        let function_at = functions
            .iter()
            .enumerate()
            .filter(|(_, f)| f.len > 0)
            .map(|(index, f)| ((f.code, f.start), index))
            .collect();
        let records = Records::read(&object, btf.as_ref(), no_types);
        Ok(Spec {
            name: String::new(),
            license: license(&object),
            kernel_version: version(&object),
            programs,
            maps,
            btf: btf.map(Arc::new),
            code,
            functions,
            function_at,
            globals,
            other_sections: object
                .sections()
                .filter(|(_, section)| section.allocated && !section.executable)
                .map(|(index, section)| (index, section.name.to_string()))
                .collect(),
            externs,
            commons: object
                .symbols
                .iter()
                .filter(|symbol| symbol.place == Place::Common)
                .map(|symbol| symbol.name.to_string())
                .collect(),
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

    /// Says what the maps in a map of maps look like, where its definition does not: like another map of the object.
    pub fn set_inner(&mut self, map: &str, like: &str) -> Result<(), ObjectError> {
        let mut inner = self.map_mut(like)?.clone();
        let outer = self.map_mut(map)?;
        let fail = |cause: String| Err(ObjectError::request(cause));
        if !outer.map_type.is_map_of_maps() {
            return fail(format!(
                "map `{map}` is of type {}, which holds no maps",
                outer.map_type
            ));
        }
        if inner.map_type.is_map_of_maps() {
            return fail(format!("`{like}` is a map of maps, which no map can hold"));
        }
        inner.pinning = Pinning::None;
        outer.inner = Some(Box::new(inner));
        Ok(())
    }

    /// The object's types, with the places of variables filled in.
    pub fn btf(&self) -> Option<&Btf> {
        self.btf.as_deref()
    }
}

/// Section names are copied for everything in the section, and in a hostile file many sections can share a long one.
fn bound_names(object: &Object<'_>, file_size: usize) -> Result<(), ObjectError> {
    let total: usize = object.sections.iter().map(|s| s.name.len()).sum();
    let longest = object.sections.iter().map(|s| s.name.len()).max();
    let longest = longest.unwrap_or(0);
    if longest > MAX_SECTION_NAME || total > file_size.saturating_mul(8).saturating_add(1 << 20) {
        return Err(ObjectError::in_section(
            "file",
            format!("the names of its sections take {total} bytes, the longest {longest}"),
        ));
    }
    Ok(())
}

/// The text of the section up to its first zero byte; old objects leave that out. The kernel reads 127 bytes of it
/// (`bpf_prog_load`).
fn license(object: &Object<'_>) -> String {
    let Some((_, section)) = object.section_named("license") else {
        return String::new();
    };
    let text = section.data.split(|&byte| byte == 0).next();
    let text = text.unwrap_or_default();
    String::from_utf8_lossy(&text[..text.len().min(127)]).into_owned()
}

/// The number in the section. Some objects pad it, some leave the section empty; only kprobes on old kernels read it.
fn version(object: &Object<'_>) -> u32 {
    object
        .section_named("version")
        .and_then(|(_, section)| section.data.first_chunk::<4>())
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
