//! What an object expects of the kernel by name: options of its configuration (`.kconfig`), its variables and functions
//! (`.ksyms`). The types of both stand in BTF, as sections of `extern` variables; the symbol table says which are weak.
//!
//! The rules are libbpf's (`bpf_object__collect_externs`).

use std::collections::{HashMap, HashSet};

use xdplb_linker::btf::{Btf, Datasec, Int, Kind, Linkage, Type, TypeId, VarSecinfo};
use xdplb_linker::elf::{Binding, Object, Place, SectionIndex};

use super::data::Global;
use super::kconfig::ConfigType;
use super::{Freeze, MapSpec};
use crate::uapi::{MapType, map_flags};

/// The section, and the map, of configuration values.
pub(super) const KCONFIG: &str = ".kconfig";
const KSYMS: &str = ".ksyms";

/// Something of the kernel that the object names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extern {
    pub(super) name: String,
    pub(super) what: Expected,
    /// Whether the program says that it can do without.
    pub(super) weak: bool,
}

/// What is expected under the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A value of the configuration, at this place in the map of all of them. `Err`: why it can't be of its type.
    Config {
        ty: Result<ConfigType, String>,
        offset: u32,
        size: u32,
    },
    /// The address of a symbol.
    Address,
    /// A variable that the verifier knows by its type: the object's idea of that.
    Variable(TypeId),
    /// A function: the object's idea of its prototype.
    Function(TypeId),
}

/// All of an object's.
#[derive(Clone, Debug, Default)]
pub(super) struct Externs {
    pub(super) all: Vec<Extern>,
    at: HashMap<String, usize>,
    /// Options whose value is the user's, whatever the kernel's configuration says; it stands in the map.
    given: HashSet<String>,
}

impl Externs {
    /// Reads them, and makes the object's types such as the kernel takes them: it knows no `extern`.
    pub(super) fn read(object: &Object<'_>, btf: Option<&mut Btf>) -> Self {
        let Some(btf) = btf else {
            return Self::default();
        };
        let weak: HashMap<&str, bool> = object
            .symbols
            .iter()
            .filter(|symbol| symbol.place == Place::Undefined && !symbol.name.is_empty())
            .map(|symbol| (symbol.name, symbol.binding == Binding::Weak))
            .collect();
        let mut all = read_config(btf, &weak);
        all.extend(read_symbols(btf, &weak));
        let at = all
            .iter()
            .enumerate()
            .map(|(index, one)| (one.name.clone(), index))
            .collect();
        Externs {
            all,
            at,
            given: HashSet::new(),
        }
    }

    /// The one with this name.
    pub(super) fn find(&self, name: &str) -> Option<(usize, &Extern)> {
        let index = *self.at.get(name)?;
        Some((index, self.all.get(index)?))
    }

    /// Keeps the machine's value of an option away.
    pub(super) fn give(&mut self, name: &str) {
        self.given.insert(name.to_string());
    }

    /// Whether an option's value is the user's.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given.contains(name)
    }

    /// The options, as variables of their map.
    pub(super) fn config_globals(&self, maps: &[MapSpec]) -> Vec<Global> {
        let Some(map) = maps.iter().position(|map| map.name == KCONFIG) else {
            return Vec::new();
        };
        let options = self.all.iter().filter_map(|one| match one.what {
            Expected::Config { offset, size, .. } => Some(Global {
                name: one.name.clone(),
                map,
                offset: offset.into(),
                size: size.into(),
            }),
            Expected::Address | Expected::Variable(_) | Expected::Function(_) => None,
        });
        options.collect()
    }

    /// The map that holds the configuration's values, when there are any.
    pub(super) fn config_map(&self, btf: Option<&Btf>) -> Option<MapSpec> {
        let size = self.all.iter().filter_map(|one| match one.what {
            Expected::Config { offset, size, .. } => Some(offset.saturating_add(size)),
            Expected::Address | Expected::Variable(_) | Expected::Function(_) => None,
        });
        let size = size.max()?.next_multiple_of(8);
        // It is no section of the file; nothing refers to it by a place.
        let mut map = MapSpec::new(KCONFIG, (SectionIndex(usize::MAX), 0));
        map.map_type = MapType::ARRAY;
        map.key_size = 4;
        map.value_size = size;
        map.max_entries = 1;
        map.map_flags = map_flags::RDONLY_PROG;
        map.freeze = Freeze::BeforePrograms;
        map.contents = Some(vec![0; size as usize]);
        map.value_type = btf
            .and_then(|btf| btf.datasec(KCONFIG))
            .map_or(TypeId::VOID, |(id, _)| id);
        Some(map)
    }
}

fn read_config(btf: &mut Btf, weak: &HashMap<&str, bool>) -> Vec<Extern> {
    let Some((id, datasec)) = btf.datasec(KCONFIG) else {
        return Vec::new();
    };
    let mut found: Vec<(TypeId, u32, Extern)> = Vec::new();
    for secinfo in &datasec.vars {
        let Some(Kind::Var(var)) = btf.get(secinfo.ty).map(|ty| &ty.kind) else {
            continue;
        };
        let name = btf.type_name(secinfo.ty).to_string();
        let ty = ConfigType::of(btf, var.ty);
        let size = btf
            .size_of(var.ty)
            .and_then(|size| u32::try_from(size).ok())
            .filter(|&size| size <= 64 * 1024)
            .unwrap_or(0);
        let align = ty.as_ref().map_or(1, |ty| ty.align(size));
        let one = Extern {
            weak: weak.get(name.as_str()).copied().unwrap_or(false),
            name,
            what: Expected::Config {
                ty,
                offset: 0,
                size,
            },
        };
        found.push((secinfo.ty, align, one));
    }
    // Largest alignment first leaves no gaps; the name makes the order the same each time.
    found.sort_by(|(_, a, x), (_, b, y)| b.cmp(a).then_with(|| x.name.cmp(&y.name)));
    let mut end = 0u32;
    let mut vars = Vec::with_capacity(found.len());
    for (ty, align, one) in &mut found {
        if let Expected::Config { offset, size, .. } = &mut one.what {
            *offset = end.next_multiple_of(*align);
            end = offset.saturating_add(*size);
            vars.push(VarSecinfo {
                ty: *ty,
                offset: *offset,
                size: *size,
            });
        }
    }
    for var in &vars {
        define(btf, var.ty, None);
    }
    set_section(btf, id, end.next_multiple_of(8), vars);
    found.into_iter().map(|(_, _, one)| one).collect()
}

fn read_symbols(btf: &mut Btf, weak: &HashMap<&str, bool>) -> Vec<Extern> {
    let Some((id, datasec)) = btf.datasec(KSYMS) else {
        return Vec::new();
    };
    let vars = datasec.vars.clone();
    let mut found = Vec::with_capacity(vars.len());
    let mut defined = Vec::with_capacity(vars.len());
    let int = int32(btf);
    // The kernel wants variables in a section: what stands for the functions in it.
    let mut stand_in = None;
    for secinfo in vars {
        let what = match btf.get(secinfo.ty).map(|ty| &ty.kind) {
            Some(Kind::Func(func)) => Expected::Function(func.proto),
            // `extern const void x __ksym`: behind its qualifiers there is nothing.
            Some(Kind::Var(var)) if btf.resolve(var.ty).is_none() => Expected::Address,
            Some(Kind::Var(var)) => Expected::Variable(var.ty),
            _ => continue,
        };
        let name = btf.type_name(secinfo.ty).to_string();
        let ty = match &what {
            Expected::Function(proto) => {
                name_parameters(btf, *proto);
                *stand_in.get_or_insert_with(|| {
                    let var = Kind::Var(xdplb_linker::btf::Var {
                        ty: int,
                        linkage: Linkage::Global,
                    });
                    btf.add("dummy_ksym", var)
                })
            }
            Expected::Address | Expected::Variable(_) | Expected::Config { .. } => secinfo.ty,
        };
        define(btf, secinfo.ty, Some(int));
        defined.push(VarSecinfo {
            ty,
            offset: 4 * defined.len() as u32,
            size: 4,
        });
        found.push(Extern {
            weak: weak.get(name.as_str()).copied().unwrap_or(false),
            name,
            what,
        });
    }
    let size = 4 * defined.len() as u32;
    set_section(btf, id, size, defined);
    found
}

/// What is expected neither of the configuration nor of the kernel's symbols: functions that are declared and never called,
/// or that another object defines. Their linkage alone would cost the object all its types (`btf_func_check_meta`,
/// `btf_var_check_meta`).
pub(super) fn define_the_rest(btf: &mut Btf) {
    let left: Vec<TypeId> = btf
        .iter()
        .filter(|(_, ty)| match &ty.kind {
            Kind::Func(func) => func.linkage == Linkage::Extern,
            Kind::Var(var) => var.linkage == Linkage::Extern,
            _ => false,
        })
        .map(|(id, _)| id)
        .collect();
    for id in left {
        match btf.get(id).map(|ty| &ty.kind) {
            Some(Kind::Func(func)) => {
                let proto = func.proto;
                name_parameters(btf, proto);
                define(btf, id, None);
            }
            Some(Kind::Var(var)) if btf.size_of(var.ty).is_some() => define(btf, id, None),
            _ => {
                let int = int32(btf);
                define(btf, id, Some(int));
            }
        }
    }
}

/// Makes an `extern` variable or function one that is defined here; a kernel variable's type becomes `ty`, since its own
/// may have no size.
fn define(btf: &mut Btf, id: TypeId, ty: Option<TypeId>) {
    let Some(mut defined) = btf.get(id).cloned() else {
        return;
    };
    match &mut defined.kind {
        Kind::Var(var) => {
            var.linkage = Linkage::Global;
            var.ty = ty.unwrap_or(var.ty);
        }
        Kind::Func(func) => func.linkage = Linkage::Global,
        _ => return,
    }
    btf.set(id, defined);
}

/// The kernel wants named parameters of a function that is not extern (`btf_func_check`).
fn name_parameters(btf: &mut Btf, proto: TypeId) {
    let Some(Type {
        name,
        kind: Kind::FuncProto(proto_kind),
    }) = btf.get(proto).cloned()
    else {
        return;
    };
    let mut proto_kind = proto_kind;
    let mut changed = false;
    for index in 0..proto_kind.params.len() {
        let param = proto_kind.params[index];
        if param.ty != TypeId::VOID && btf.name(param.name).is_empty() {
            proto_kind.params[index].name = btf.strings.intern("dummy_ksym");
            changed = true;
        }
    }
    if changed {
        let kind = Kind::FuncProto(proto_kind);
        btf.set(proto, Type { name, kind });
    }
}

fn set_section(btf: &mut Btf, id: TypeId, size: u32, vars: Vec<VarSecinfo>) {
    if let Some(name) = btf.get(id).map(|ty| ty.name) {
        let kind = Kind::Datasec(Datasec { size, vars });
        btf.set(id, Type { name, kind });
    }
}

/// Any integer of four bytes.
fn int32(btf: &mut Btf) -> TypeId {
    let found = btf
        .iter()
        .find(|(_, ty)| matches!(&ty.kind, Kind::Int(int) if int.size == 4))
        .map(|(id, _)| id);
    found.unwrap_or_else(|| {
        let int = Int {
            size: 4,
            encoding: 1,
            bit_offset: 0,
            bits: 32,
        };
        btf.add("int", Kind::Int(int))
    })
}
