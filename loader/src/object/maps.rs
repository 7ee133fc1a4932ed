//! Maps as `.maps` defines them: each variable's type is a struct whose members say everything by their types.
//!
//! C writes `__uint(type, BPF_MAP_TYPE_HASH)`, which is `int (*type)[1]`: a pointer to an array, whose length is the number;
//! and `__type(key, u32)`, which is `u32 *key`. Rust writes the same with `*const [i32; 1]` and `*const u32`. The rules are
//! libbpf's (`parse_btf_map_def` in src/libbpf.c).

use xdplb_linker::btf::{Btf, Composite, Kind, Linkage, Member, TypeId};
use xdplb_linker::elf::{Object, Place, RelocationKind, Section, SectionIndex, SymbolKind};

use super::{MapSpec, ObjectError, Pinning, SlotValue};
use crate::uapi::MapType;

/// Longest name of a map; the kernel keeps 15 bytes.
const MAX_NAME: usize = 1024;

/// `CILIUM_PIN_REPLACE`, which cilium's loader reads beside libbpf's value: the pin is made anew at each load.
const PIN_REPLACE: u32 = 1 << 4;
const PIN_REPLACE_BY_NAME: u32 = PIN_REPLACE | 1;

/// Reads every map of `.maps`, in the order of the section. What is wrong with one is its own error.
pub(super) fn read(
    object: &Object<'_>,
    btf: Option<&Btf>,
    no_types: Option<&ObjectError>,
) -> Vec<MapSpec> {
    let Some((index, section)) = object.section_named(".maps") else {
        return Vec::new();
    };
    let untold = |cause: &str| all_broken(object, index, cause);
    let Some(btf) = btf else {
        return match no_types {
            Some(why) if !why.section.is_empty() => {
                untold(&format!("what the maps are stands in .BTF, and {why}"))
            }
            Some(_) | None => {
                untold("the object has no .BTF, which says what the maps are\n  try:  clang -g")
            }
        };
    };
    let Some((_, datasec)) = btf.datasec(".maps") else {
        return untold(".BTF does not describe this section");
    };
    let mut maps = Vec::with_capacity(datasec.vars.len());
    for var in &datasec.vars {
        let at = u64::from(var.offset);
        let name = btf.type_name(var.ty);
        let mut map = MapSpec::new(shortened(name), (index, at));
        let reader = Reader {
            object,
            btf,
            section,
            map: name,
            at,
        };
        map.broken = reader.variable(&mut map, var.ty).err();
        maps.push(map);
    }
    maps.sort_by_key(|map| map.place.1);
    maps
}

/// The maps by their symbols, where nothing says what they are.
fn all_broken(object: &Object<'_>, section: SectionIndex, cause: &str) -> Vec<MapSpec> {
    let symbols = object.symbols.iter().filter(|symbol| {
        symbol.place == Place::Section(section) && symbol.kind == SymbolKind::Object
    });
    let mut maps: Vec<_> = symbols
        .map(|symbol| {
            let mut map = MapSpec::new(shortened(symbol.name), (section, symbol.value));
            let cause = format!("map `{}`: {cause}", map.name);
            map.broken = Some(ObjectError::at(".maps", symbol.value, cause));
            map
        })
        .collect();
    maps.sort_by_key(|map| map.place.1);
    maps
}

/// The beginning of a name that no map can have.
fn shortened(name: &str) -> &str {
    name.get(..MAX_NAME.min(name.len())).unwrap_or_default()
}

/// A definition of its own, or the template inside a map of maps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Outer,
    Inner,
}

struct Reader<'a, 'o> {
    object: &'a Object<'o>,
    btf: &'a Btf,
    section: &'a Section<'o>,
    map: &'a str,
    at: u64,
}

impl Reader<'_, '_> {
    fn error(&self, cause: impl std::fmt::Display) -> ObjectError {
        ObjectError::at(".maps", self.at, format!("map `{}`: {cause}", self.map))
    }

    /// The map that a variable of the section defines.
    fn variable(&self, map: &mut MapSpec, var: TypeId) -> Result<(), ObjectError> {
        let name = self.map;
        let fail = |cause: String| Err(ObjectError::at(".maps", self.at, cause));
        if name.len() > MAX_NAME {
            return fail(format!("the name of a map takes {} bytes", name.len()));
        }
        match self.btf.get(var).map(|ty| &ty.kind) {
            Some(Kind::Var(var)) if var.linkage == Linkage::Extern => fail(format!(
                "map `{name}` is extern: link the object that defines it to this one first"
            )),
            Some(Kind::Var(var)) => self.definition(map, var.ty, Level::Outer),
            _ => fail(format!("`{name}` is not a variable")),
        }
    }

    fn definition(&self, map: &mut MapSpec, ty: TypeId, level: Level) -> Result<(), ObjectError> {
        let Some((_, Kind::Struct(composite))) =
            self.btf.resolve(ty).map(|(id, ty)| (id, &ty.kind))
        else {
            return Err(self.error("its type is not a struct"));
        };
        // What `values` means depends on the type, wherever that stands.
        let is_values = |member: &&Member| self.btf.name(member.name) == "values";
        let others = composite.members.iter().filter(|m| !is_values(m));
        for member in others.chain(composite.members.iter().filter(is_values)) {
            self.member(map, composite, member, level)?;
        }
        if map.map_type == MapType::UNSPEC {
            return Err(self.error("it has no member `type`"));
        }
        if map.map_type.is_map_of_maps() && map.inner.is_none() && level == Level::Inner {
            return Err(self.error("a map of maps of maps is not possible"));
        }
        Ok(())
    }

    fn member(
        &self,
        map: &mut MapSpec,
        composite: &Composite,
        member: &Member,
        level: Level,
    ) -> Result<(), ObjectError> {
        let name = self.btf.name(member.name);
        match name {
            "type" => map.map_type = MapType(self.number(member)?),
            "max_entries" => map.max_entries = self.number(member)?,
            "map_flags" => map.map_flags = self.number(member)?,
            "map_extra" => map.map_extra = self.wide_number(member)?,
            "numa_node" => {
                map.numa_node = self.number(member)?;
                map.map_flags |= crate::uapi::map_flags::NUMA_NODE;
            }
            "pinning" => {
                map.pinning = match (self.number(member)?, level) {
                    (0 | PIN_REPLACE, _) => Pinning::None,
                    (1 | PIN_REPLACE_BY_NAME, Level::Outer) => Pinning::ByName,
                    (1 | PIN_REPLACE_BY_NAME, Level::Inner) => {
                        return Err(self.error("an inner map cannot be pinned"));
                    }
                    (other, _) => {
                        return Err(self.error(format!("pinning {other} is unknown: 0 and 1 are")));
                    }
                }
            }
            "key_size" => self.size(&mut map.key_size, self.number(member)?, name)?,
            "value_size" => self.size(&mut map.value_size, self.number(member)?, name)?,
            "key" => {
                let (id, size) = self.pointee(member)?;
                self.size(&mut map.key_size, size, name)?;
                map.key_type = id;
            }
            "value" => {
                let (id, size) = self.pointee(member)?;
                self.size(&mut map.value_size, size, name)?;
                map.value_type = id;
            }
            "values" => self.values(map, composite, member, level)?,
            other => return Err(self.error(format!("member `{other}` is unknown"))),
        }
        Ok(())
    }

    /// Sets a size that may have been set by the other of `key`/`key_size` before: they must agree.
    fn size(&self, place: &mut u32, size: u32, name: &str) -> Result<(), ObjectError> {
        if *place != 0 && *place != size {
            return Err(self.error(format!(
                "`{name}` says {size} bytes, another member said {place}"
            )));
        }
        *place = size;
        Ok(())
    }

    fn number(&self, member: &Member) -> Result<u32, ObjectError> {
        u32::try_from(self.wide_number(member)?).map_err(|_| {
            self.error(format!(
                "`{}` does not fit 32 bits",
                self.btf.name(member.name)
            ))
        })
    }

    /// `__uint`: a pointer to an array, whose length is the number. `__ulong`: an enum, whose only value is.
    fn wide_number(&self, member: &Member) -> Result<u64, ObjectError> {
        let resolve = |id| self.btf.resolve(id).map(|(_, ty)| &ty.kind);
        match resolve(member.ty) {
            Some(Kind::Ptr(target)) => {
                if let Some(Kind::Array(array)) = resolve(*target) {
                    return Ok(array.count.into());
                }
            }
            Some(Kind::Enum(e)) => {
                if let [value] = e.values[..] {
                    return Ok(value.value as u32 as u64);
                }
            }
            Some(Kind::Enum64(e)) => {
                if let [value] = e.values[..] {
                    return Ok(value.value);
                }
            }
            _ => {}
        }
        let name = self.btf.name(member.name);
        Err(self.error(format!(
            "`{name}` is not a number: it should be a pointer to an array of that length"
        )))
    }

    /// `__type`: a pointer to the type.
    fn pointee(&self, member: &Member) -> Result<(TypeId, u32), ObjectError> {
        let name = self.btf.name(member.name);
        let Some(Kind::Ptr(target)) = self.btf.resolve(member.ty).map(|(_, ty)| &ty.kind) else {
            return Err(self.error(format!("`{name}` is not a pointer to a type")));
        };
        let size = self
            .btf
            .size_of(*target)
            .and_then(|size| u32::try_from(size).ok());
        size.map(|size| (*target, size))
            .ok_or_else(|| self.error(format!("the type of `{name}` has no size")))
    }

    /// `__array(values, …)`: pointers to what the slots hold, as many as the object fills.
    fn values(
        &self,
        map: &mut MapSpec,
        composite: &Composite,
        member: &Member,
        level: Level,
    ) -> Result<(), ObjectError> {
        if level == Level::Inner {
            return Err(self.error("an inner map cannot have `values`"));
        }
        let resolve = |id| self.btf.resolve(id).map(|(_, ty)| &ty.kind);
        let target = match resolve(member.ty) {
            Some(Kind::Array(array)) => match resolve(array.element) {
                Some(Kind::Ptr(target)) => *target,
                _ => return Err(self.error("`values` is not an array of pointers")),
            },
            _ => return Err(self.error("`values` is not an array")),
        };
        if map.map_type.is_map_of_maps() {
            let inner_name = format!("{}.inner", self.map);
            let mut inner = MapSpec::new(&inner_name, map.place);
            self.definition(&mut inner, target, Level::Inner)?;
            map.inner = Some(Box::new(inner));
        } else if map.map_type != MapType::PROG_ARRAY {
            return Err(self.error(format!("a {} map has no `values`", map.map_type)));
        }
        // The slots that are filled carry a relocation each; they follow the struct's other members.
        let first = self.at.saturating_add(u64::from(member.bit_offset / 8));
        let end = self.definition_end(composite);
        for relocation in &self.section.relocations {
            if relocation.offset < first
                || relocation.offset >= end
                || relocation.kind != RelocationKind::Abs64
            {
                continue;
            }
            let Some(symbol) = self.object.symbols.get(relocation.symbol.0) else {
                continue;
            };
            let name = symbol.name.to_string();
            let value = match symbol.kind {
                SymbolKind::Func => SlotValue::Program(name),
                _ => SlotValue::Map(name),
            };
            map.values
                .push((((relocation.offset - first) / 8) as u32, value));
        }
        Ok(())
    }

    /// Where this map's definition ends: the size is the symbol's, for `values` makes it longer than the struct.
    fn definition_end(&self, composite: &Composite) -> u64 {
        let size = self
            .object
            .symbols
            .iter()
            .find(|symbol| symbol.name == self.map && matches!(symbol.place, Place::Section(_)))
            .map_or(0, |symbol| symbol.size)
            .max(composite.size.into());
        self.at.saturating_add(size)
    }
}
