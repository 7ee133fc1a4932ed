//! Global data: each `.rodata`, `.data` and `.bss` section becomes an array map with one value, the section's bytes, so that
//! user space can set constants before the program is verified and read variables while it runs.

use std::collections::HashMap;

use xdplb_linker::btf::{Btf, Kind, TypeId};
use xdplb_linker::elf::{Object, Place, Section, SectionIndex, SectionKind, SymbolKind};

use super::externs::KCONFIG;
use super::{Freeze, MapSpec};
use super::{ObjectError, Spec};
use crate::uapi::{MapType, map_flags};

/// A named variable in a data section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Global {
    pub(super) name: String,
    /// Index into the spec's maps.
    pub(super) map: usize,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Whether the section is data that programs refer to, and of which kind.
fn family(section: &Section<'_>) -> Option<&'static str> {
    let of = |base: &str| {
        section
            .name
            .strip_prefix(base)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if !section.allocated || section.executable || section.size == 0 {
        return None;
    }
    [".rodata", ".data", ".bss"]
        .into_iter()
        .find(|base| of(base))
}

/// The maps of all data sections, in the order of the file.
pub(super) fn read(object: &Object<'_>, btf: Option<&Btf>) -> Vec<MapSpec> {
    let datasecs: HashMap<&str, TypeId> = btf
        .into_iter()
        .flat_map(|btf| btf.iter().map(move |(id, ty)| (btf, id, ty)))
        .filter(|(_, _, ty)| matches!(ty.kind, Kind::Datasec(_)))
        .map(|(btf, id, ty)| (btf.name(ty.name), id))
        .collect();
    let mut maps = Vec::new();
    for (index, section) in object.sections() {
        let Some(family) = family(section) else {
            continue;
        };
        let mut map = MapSpec::new(section.name, (index, 0));
        map.map_type = MapType::ARRAY;
        map.key_size = 4;
        map.value_size = section.size as u32;
        map.max_entries = 1;
        map.value_type = datasecs.get(section.name).copied().unwrap_or(TypeId::VOID);
        if section.kind == SectionKind::Bytes {
            map.contents = Some(section.data.to_vec());
        }
        if family == ".rodata" {
            map.map_flags = map_flags::RDONLY_PROG;
            map.freeze = Freeze::BeforePrograms;
        }
        maps.push(map);
    }
    maps
}

/// The variables in the data sections' maps.
pub(super) fn globals(object: &Object<'_>, maps: &[MapSpec]) -> Vec<Global> {
    let by_section: HashMap<SectionIndex, usize> = maps
        .iter()
        .enumerate()
        .filter(|(_, map)| map.name.starts_with('.'))
        .map(|(at, map)| (map.place.0, at))
        .collect();
    let variables = object
        .symbols
        .iter()
        .filter(|s| s.kind == SymbolKind::Object && !s.name.is_empty());
    variables
        .filter_map(|symbol| {
            let Place::Section(section) = symbol.place else {
                return None;
            };
            let &map = by_section.get(&section)?;
            Some(Global {
                name: symbol.name.to_string(),
                map,
                offset: symbol.value,
                size: symbol.size,
            })
        })
        .collect()
}

impl Spec {
    /// The names of the variables that [`Spec::set_global`] takes.
    pub fn global_names(&self) -> impl Iterator<Item = &str> {
        self.globals.iter().map(|global| global.name.as_str())
    }

    /// The bytes of a variable as they will be loaded.
    pub fn global(&self, name: &str) -> Result<Vec<u8>, ObjectError> {
        let (global, range) = self.find_global(name)?;
        Ok(match &self.maps[global.map].contents {
            Some(bytes) => bytes.get(range).unwrap_or_default().to_vec(),
            None => vec![0; range.len()],
        })
    }

    /// Sets a variable before the object is loaded; in `.rodata` it is a constant to the verifier, which then removes the
    /// branches that it decides. An option of the kernel's configuration is set in place of the machine's value. `bytes` has
    /// the size and byte order of the variable.
    pub fn set_global(&mut self, name: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        let (global, range) = self.find_global(name)?;
        if range.len() != bytes.len() {
            return Err(ObjectError::at(
                &self.maps[global.map].name,
                global.offset,
                format!(
                    "`{name}` takes {} bytes, {} were given",
                    range.len(),
                    bytes.len()
                ),
            ));
        }
        let map = global.map;
        if self.maps[map].name == KCONFIG {
            self.externs.give(name);
        }
        let size = self.maps[map].value_size as usize;
        let contents = self.maps[map].contents.get_or_insert_with(|| vec![0; size]);
        if let Some(place) = contents.get_mut(range) {
            place.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// A variable's type, where the object has types.
    pub(super) fn global_type(&self, name: &str) -> Option<TypeId> {
        let global = self.globals.iter().find(|global| global.name == name)?;
        self.btf_type(global)
    }

    /// Finds a variable whose symbol and BTF agree about its size and whose bytes are in its section.
    fn find_global(&self, name: &str) -> Result<(&Global, std::ops::Range<usize>), ObjectError> {
        let Some(global) = self.globals.iter().find(|global| global.name == name) else {
            let known: Vec<_> = self.global_names().collect();
            let known = if known.is_empty() {
                "no variables".into()
            } else {
                known.join(", ")
            };
            return Err(ObjectError::request(format!(
                "there is no variable `{name}`: the object has {known}"
            )));
        };
        let section = &self.maps[global.map];
        let fail = |cause: String| Err(ObjectError::at(&section.name, global.offset, cause));
        let end = global.offset.saturating_add(global.size);
        if end > section.value_size.into() {
            return fail(format!(
                "`{name}` takes {} bytes, past the end of its section",
                global.size
            ));
        }
        if let Some(size) = self.btf_size(global)
            && size != global.size
        {
            return fail(format!(
                "`{name}` takes {} bytes by its symbol, {size} by its type in .BTF",
                global.size
            ));
        }
        Ok((global, global.offset as usize..end as usize))
    }

    fn btf_size(&self, global: &Global) -> Option<u64> {
        self.btf()?.size_of(self.btf_type(global)?)
    }

    fn btf_type(&self, global: &Global) -> Option<TypeId> {
        let btf = self.btf()?;
        let (_, datasec) = btf.datasec(&self.maps.get(global.map)?.name)?;
        let named = |id: TypeId| btf.type_name(id) == global.name;
        let var = datasec.vars.iter().find(|var| named(var.ty))?;
        match btf.get(var.ty).map(|ty| &ty.kind) {
            Some(Kind::Var(var)) => Some(var.ty),
            _ => None,
        }
    }
}
