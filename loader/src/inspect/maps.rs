//! Maps: what each is, where every number of its definition was read, the types of key and value, and who uses it. And what is
//! expected of the kernel.

use std::collections::BTreeMap;

use xdplb_linker::btf::{Btf, Kind, TypeId};
use xdplb_linker::elf::SectionIndex;

use super::code::{Known, hex};
use super::declarations::{Language, declare_as, declare_with_parts, title};
use super::{
    Expectation, Map, MapType, ReadFrom, Slot, Subject, User, Variable, becomes, readable_name,
};
use crate::object::{Freeze, MapSpec, Pinning, SlotValue, Wanted};
use crate::uapi::map_flags;

/// Bytes of a variable that are shown.
const SHOWN_BYTES: usize = 64;

/// `BPF_F_*` of `bpf_map_create` (include/uapi/linux/bpf.h).
const FLAGS: [(u32, &str); 18] = [
    (map_flags::NO_PREALLOC, "BPF_F_NO_PREALLOC"),
    (1 << 1, "BPF_F_NO_COMMON_LRU"),
    (map_flags::NUMA_NODE, "BPF_F_NUMA_NODE"),
    (map_flags::RDONLY, "BPF_F_RDONLY"),
    (1 << 4, "BPF_F_WRONLY"),
    (1 << 5, "BPF_F_STACK_BUILD_ID"),
    (1 << 6, "BPF_F_ZERO_SEED"),
    (map_flags::RDONLY_PROG, "BPF_F_RDONLY_PROG"),
    (1 << 8, "BPF_F_WRONLY_PROG"),
    (1 << 9, "BPF_F_CLONE"),
    (map_flags::MMAPABLE, "BPF_F_MMAPABLE"),
    (1 << 11, "BPF_F_PRESERVE_ELEMS"),
    (1 << 12, "BPF_F_INNER_MAP"),
    (1 << 13, "BPF_F_LINK"),
    (1 << 14, "BPF_F_PATH_FD"),
    (map_flags::VTYPE_BTF_OBJ_FD, "BPF_F_VTYPE_BTF_OBJ_FD"),
    (1 << 16, "BPF_F_TOKEN_FD"),
    (map_flags::SEGV_ON_FAULT, "BPF_F_SEGV_ON_FAULT"),
];

/// All maps.
pub(super) fn all(subject: &Subject<'_>, functions: &[Known], language: Language) -> Vec<Map> {
    let mut users = users(subject, functions);
    let maps = subject.spec.maps().iter().enumerate();
    maps.map(|(index, spec)| {
        let mut map = view(subject, spec, language);
        map.users = users.remove(&index).unwrap_or_default();
        map
    })
    .collect()
}

/// Who refers to each map.
fn users(subject: &Subject<'_>, functions: &[Known]) -> BTreeMap<usize, Vec<User>> {
    let mut found: BTreeMap<usize, Vec<User>> = BTreeMap::new();
    for (index, known) in functions.iter().enumerate() {
        let mut of_this: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (insn, map) in &known.maps {
            of_this.entry(*map).or_default().push(*insn);
        }
        for (map, insns) in of_this {
            found.entry(map).or_default().push(User {
                function: becomes::function_name(subject, index).to_string(),
                insns,
            });
        }
    }
    found
}

fn view(subject: &Subject<'_>, spec: &MapSpec, language: Language) -> Map {
    let (place, offset) = subject.spec.map_place(spec);
    let section = subject.object.sections.get(place.0).map(|found| found.name);
    let source = match section {
        None => "kconfig",
        Some(".maps") => "btf",
        Some(name) if name == "maps" || name.starts_with("maps/") => "legacy",
        Some(_) => "data",
    };
    let inner = spec.inner.as_ref();
    Map {
        name: spec.name.clone(),
        r#type: spec.map_type.to_string(),
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        flags: spec.map_flags,
        flag_names: flag_names(spec.map_flags),
        extra: spec.map_extra,
        numa_node: (spec.map_flags & map_flags::NUMA_NODE != 0).then_some(spec.numa_node),
        pinning: match spec.pinning {
            Pinning::None => "none",
            Pinning::ByName => "by name",
        },
        frozen: match spec.freeze {
            Freeze::No => false,
            Freeze::BeforePrograms => true,
        },
        section: section.map(str::to_string),
        offset,
        source,
        read_from: match source {
            "btf" => members(subject, &spec.name, spec),
            "legacy" => words(subject, place, offset, spec),
            _ => Vec::new(),
        },
        key: map_type(subject, spec.key_type, language),
        value: map_type(subject, spec.value_type, language),
        inner: inner.map(|inner| {
            let mut view = view(subject, inner, language);
            // It has no definition of its own.
            view.read_from.clear();
            Box::new(view)
        }),
        slots: slots(spec),
        variables: variables(subject, spec),
        users: Vec::new(),
        error: spec.broken.as_ref().map(ToString::to_string),
    }
}

fn flag_names(flags: u32) -> Vec<String> {
    let mut left = flags;
    let mut names = Vec::new();
    for (flag, name) in FLAGS {
        if left & flag != 0 {
            left &= !flag;
            names.push(name.to_string());
        }
    }
    if left != 0 {
        names.push(format!("{left:#x}"));
    }
    names
}

fn map_type(subject: &Subject<'_>, ty: TypeId, language: Language) -> Option<MapType> {
    let btf = subject.btf()?;
    if ty == TypeId::VOID {
        return None;
    }
    let declaration = match btf.get(ty).map(|ty| &ty.kind) {
        // The variables say it.
        Some(Kind::Datasec(_)) => None,
        _ => subject.declaration(|btf| Some(declare_with_parts(btf, ty, language))),
    };
    Some(MapType {
        id: ty.0,
        name: title(btf, ty),
        declaration: declaration.unwrap_or_default(),
    })
}

fn slots(spec: &MapSpec) -> Vec<Slot> {
    let values = spec.values.iter();
    values
        .map(|(slot, value)| {
            let (kind, name) = match value {
                SlotValue::Map(name) => ("map", name),
                SlotValue::Program(name) => ("program", name),
            };
            Slot {
                slot: *slot,
                kind,
                name: name.clone(),
            }
        })
        .collect()
}

/// The members of a definition in `.maps`: `int (*type)[1]` says that the type is 1.
fn members(subject: &Subject<'_>, name: &str, spec: &MapSpec) -> Vec<ReadFrom> {
    let variables = subject.declared.get(".maps");
    let Some((btf, definition)) = subject.btf().and_then(|btf| {
        let ty = variables?.get(name)?;
        match btf.resolve(*ty).map(|(_, ty)| &ty.kind) {
            Some(Kind::Struct(definition)) => Some((btf, definition)),
            _ => None,
        }
    }) else {
        return Vec::new();
    };
    let members = definition.members.iter();
    members
        .map(|member| {
            let member_name = btf.name(member.name);
            ReadFrom {
                offset: u64::from(member.bit_offset / 8),
                text: subject
                    .declaration(|btf| Some(declare_as(btf, member.ty, member_name)))
                    .unwrap_or_default(),
                says: says(btf, member_name, spec),
            }
        })
        .collect()
}

fn says(btf: &Btf, member: &str, spec: &MapSpec) -> String {
    let typed =
        |what: &str, ty: TypeId, size: u32| format!("{what}: {}, {size} bytes", title(btf, ty));
    match member {
        "type" => format!("type: {} ({})", spec.map_type, spec.map_type.0),
        "key_size" => format!("key: {} bytes", spec.key_size),
        "value_size" => format!("value: {} bytes", spec.value_size),
        "key" => typed("key", spec.key_type, spec.key_size),
        "value" => typed("value", spec.value_type, spec.value_size),
        "max_entries" => format!("entries: {}", spec.max_entries),
        "map_flags" => format!("flags: {:#x}", spec.map_flags),
        "map_extra" => format!("extra: {}", spec.map_extra),
        "numa_node" => format!("NUMA node: {}", spec.numa_node),
        "pinning" => match spec.pinning {
            Pinning::None => "pinning: none".into(),
            Pinning::ByName => "pinning: under its name".into(),
        },
        "values" => match &spec.inner {
            Some(_) => "what the maps in it look like".into(),
            None => "what its slots hold".into(),
        },
        _ => "not known".into(),
    }
}

/// The words of a legacy definition.
fn words(
    subject: &Subject<'_>,
    section: SectionIndex,
    offset: u64,
    spec: &MapSpec,
) -> Vec<ReadFrom> {
    let named = subject.sizes.get(&(section, offset)).copied();
    let Some(section) = subject.object.sections.get(section.0) else {
        return Vec::new();
    };
    let size = named
        .filter(|size| *size > 0)
        .unwrap_or(section.size.saturating_sub(offset))
        // Behind the ninth word some have text.
        .min(36);
    let bytes = usize::try_from(offset)
        .ok()
        .and_then(|at| section.data.get(at..))
        .map(|rest| &rest[..rest.len().min(size as usize)])
        .unwrap_or_default();
    let (words, _) = bytes.as_chunks::<4>();
    let count = words.len();
    let of_maps = spec.map_type.is_map_of_maps();
    let words = words.iter().enumerate();
    words
        .map(|(index, word)| {
            let number = u32::from_le_bytes(*word);
            let says = match index {
                0 => format!("type: {} ({number})", spec.map_type),
                1 => format!("key: {number} bytes"),
                2 => format!("value: {number} bytes"),
                3 => format!("entries: {number}"),
                4 => format!("flags: {number:#x}"),
                5 if count <= 7 && of_maps => {
                    format!("the inner map is number {number} of this section")
                }
                5 => format!("id: {number} (aya, iproute2); inner map (samples/bpf)"),
                6 if spec.map_flags & map_flags::NUMA_NODE != 0 => format!("NUMA node: {number}"),
                6 => format!("pinning: {number}"),
                7 => format!("id of the inner map: {number} (iproute2)"),
                _ => format!("slot in the outer map: {} (iproute2)", number as i32),
            };
            ReadFrom {
                offset: index as u64 * 4,
                text: hex(word),
                says,
            }
        })
        .collect()
}

/// The variables in a map of global data.
fn variables(subject: &Subject<'_>, spec: &MapSpec) -> Vec<Variable> {
    let Some(variables) = subject.variables.get(&spec.name) else {
        return Vec::new();
    };
    let declared = subject.declared.get(&spec.name);
    let variables = variables.iter();
    variables
        .map(|(name, offset, size)| {
            let bytes = usize::try_from(*offset).ok().and_then(|start| {
                let shown = usize::try_from(*size).ok()?.min(SHOWN_BYTES);
                spec.contents
                    .as_ref()?
                    .get(start..start.checked_add(shown)?)
            });
            Variable {
                name: name.clone(),
                readable: readable_name(name),
                offset: *offset,
                size: *size,
                declaration: declared
                    .and_then(|declared| declared.get(name))
                    .and_then(|ty| subject.declaration(|btf| Some(declare_as(btf, *ty, name)))),
                bytes: hex(bytes.unwrap_or_default()),
            }
        })
        .collect()
}

/// What is expected of the kernel.
pub(super) fn expectations(subject: &Subject<'_>) -> Vec<Expectation> {
    let all = subject.spec.expectations();
    all.map(|(name, wanted, weak)| {
        let (kind, ty) = match wanted {
            Wanted::Config { .. } => ("configuration", variable_type(subject, name)),
            Wanted::Address => ("address", None),
            Wanted::Variable(ty) => ("variable", Some(ty)),
            Wanted::Function(ty) => ("function", Some(ty)),
        };
        Expectation {
            name: name.to_string(),
            kind,
            weak,
            declaration: ty
                .and_then(|ty| subject.declaration(|btf| Some(declare_as(btf, ty, name)))),
        }
    })
    .collect()
}

fn variable_type(subject: &Subject<'_>, name: &str) -> Option<TypeId> {
    subject.declared.get(".kconfig")?.get(name).copied()
}
