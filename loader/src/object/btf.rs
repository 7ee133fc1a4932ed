//! The object's types: `.BTF` with its relocations applied and its section tables filled in, and what is left of it for a
//! kernel that doesn't know every kind.

use std::collections::{HashMap, HashSet};

use xdplb_linker::btf::{
    Btf, Composite, Enum, FuncProto, Int, Kind, Linkage, Member, Signedness, StrId, Type, TypeId,
};
use xdplb_linker::elf::{Object, Place, RelocationKind, Section, SymbolKind, Visibility};

use super::ObjectError;

/// The bytes of `.BTF` or `.BTF.ext` with their relocations applied: what stands in the place plus the symbol's value.
pub(super) fn relocated(object: &Object<'_>, section: &Section<'_>) -> Vec<u8> {
    let mut bytes = section.data.to_vec();
    for relocation in &section.relocations {
        if !matches!(
            relocation.kind,
            RelocationKind::Nodyld32 | RelocationKind::Abs32
        ) {
            continue;
        }
        let Some(symbol) = object.symbols.get(relocation.symbol.0) else {
            continue;
        };
        let Ok(at) = usize::try_from(relocation.offset) else {
            continue;
        };
        if let Some(word) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
            *word = u32::from_le_bytes(*word)
                .wrapping_add(symbol.value as u32)
                .to_le_bytes();
        }
    }
    bytes
}

/// Reads `.BTF`, when there is one, and completes it: compilers leave the sizes and places of variables to whoever links or
/// loads the object (libbpf's `btf_fixup_datasec`), and hidden functions are static ones to the verifier.
pub(super) fn read(object: &Object<'_>) -> Result<Option<Btf>, ObjectError> {
    let Some((_, section)) = object.section_named(".BTF") else {
        return Ok(None);
    };
    let mut btf = Btf::parse(&relocated(object, section))?;
    fill_sections(object, &mut btf);
    demote_hidden(object, &mut btf);
    Ok(Some(btf))
}

fn fill_sections(object: &Object<'_>, btf: &mut Btf) {
    let mut symbols: HashMap<(usize, &str), u64> = HashMap::new();
    for symbol in &object.symbols {
        if let (Place::Section(section), SymbolKind::Object) = (symbol.place, symbol.kind) {
            symbols.insert((section.0, symbol.name), symbol.value);
        }
    }
    let sections: HashMap<&str, (usize, u64)> = object
        .sections()
        .map(|(index, section)| (section.name, (index.0, section.size)))
        .collect();
    let mut filled = Vec::new();
    for (id, ty) in btf.iter() {
        let Kind::Datasec(datasec) = &ty.kind else {
            continue;
        };
        let Some(&(index, size)) = sections.get(btf.name(ty.name)) else {
            continue;
        };
        let mut datasec = datasec.clone();
        datasec.size = size as u32;
        for var in &mut datasec.vars {
            let Some(&value) = symbols.get(&(index, btf.type_name(var.ty))) else {
                continue;
            };
            var.offset = value as u32;
        }
        datasec.vars.sort_by_key(|var| var.offset);
        filled.push((
            id,
            Type {
                name: ty.name,
                kind: Kind::Datasec(datasec),
            },
        ));
    }
    for (id, ty) in filled {
        btf.set(id, ty);
    }
}

fn demote_hidden(object: &Object<'_>, btf: &mut Btf) {
    let hidden: HashSet<&str> = object
        .symbols
        .iter()
        .filter(|symbol| symbol.kind == SymbolKind::Func && symbol.visibility == Visibility::Hidden)
        .map(|symbol| symbol.name)
        .collect();
    if hidden.is_empty() {
        return;
    }
    let demoted: Vec<(TypeId, Type)> = btf
        .iter()
        .filter_map(|(id, ty)| match &ty.kind {
            Kind::Func(func)
                if func.linkage == Linkage::Global && hidden.contains(btf.name(ty.name)) =>
            {
                let mut func = *func;
                func.linkage = Linkage::Static;
                Some((
                    id,
                    Type {
                        name: ty.name,
                        kind: Kind::Func(func),
                    },
                ))
            }
            _ => None,
        })
        .collect();
    for (id, ty) in demoted {
        btf.set(id, ty);
    }
}

/// Which kinds of types a kernel knows: plain data here; whoever has the kernel asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BtfKinds {
    /// `BTF_KIND_FUNC` and `FUNC_PROTO` (5.0).
    pub func: Known,
    /// Functions with a linkage (5.6).
    pub func_global: Known,
    /// `BTF_KIND_VAR` and `DATASEC` (5.2).
    pub datasec: Known,
    /// `BTF_KIND_FLOAT` (5.13).
    pub float: Known,
    /// `BTF_KIND_DECL_TAG` (5.16).
    pub decl_tag: Known,
    /// `BTF_KIND_TYPE_TAG` (5.17).
    pub type_tag: Known,
    /// `BTF_KIND_ENUM64` (6.0).
    pub enum64: Known,
}

/// Whether the kernel knows a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It does.
    Yes,
    /// It does not.
    No,
}

impl From<bool> for Known {
    fn from(known: bool) -> Self {
        if known { Known::Yes } else { Known::No }
    }
}

/// Replaces each type of an unknown kind by one of the same size that every kernel knows, so that all numbers stay (the
/// replacements are those of libbpf's `bpf_object__sanitize_btf`). Says which kinds were replaced.
pub fn simplify(btf: &Btf, kinds: &BtfKinds) -> (Btf, Vec<&'static str>) {
    let mut simple = btf.clone();
    let mut replaced = Vec::new();
    // What enum64 values become members of.
    let byte = Kind::Int(Int {
        size: 1,
        encoding: 0,
        bit_offset: 0,
        bits: 8,
    });
    let mut member_type = None;
    for (id, ty) in btf.iter() {
        let Some((what, kind)) = replacement(btf, ty, kinds) else {
            continue;
        };
        if !replaced.contains(&what) {
            replaced.push(what);
        }
        let mut kind = kind;
        if let (Kind::Enum64(_), Kind::Union(composite)) = (&ty.kind, &mut kind) {
            let member = *member_type.get_or_insert_with(|| simple.add("", byte.clone()));
            composite.members.iter_mut().for_each(|m| m.ty = member);
        }
        let name = match &kind {
            // The kernel wants modifiers to have no name (btf_ref_type_check_meta).
            Kind::Int(_) | Kind::Const(_) => StrId::EMPTY,
            // A section's name has dots, which a struct's must not.
            Kind::Struct(_) => {
                let clean = btf.name(ty.name).replace('.', "_");
                simple.strings.intern(&clean)
            }
            _ => ty.name,
        };
        simple.set(id, Type { name, kind });
    }
    (simple, replaced)
}

fn replacement(btf: &Btf, ty: &Type, kinds: &BtfKinds) -> Option<(&'static str, Kind)> {
    let byte = || {
        Kind::Int(Int {
            size: 1,
            encoding: 0,
            bit_offset: 0,
            bits: 8,
        })
    };
    match &ty.kind {
        Kind::Var(_) if kinds.datasec == Known::No => Some(("VAR", byte())),
        Kind::Datasec(section) if kinds.datasec == Known::No => {
            let members = section
                .vars
                .iter()
                .map(|var| Member {
                    name: btf.get(var.ty).map_or(StrId::EMPTY, |ty| ty.name),
                    ty: var.ty,
                    bit_offset: var.offset.saturating_mul(8),
                    bitfield_size: 0,
                })
                .collect();
            Some((
                "DATASEC",
                Kind::Struct(Composite {
                    size: section.size,
                    members,
                }),
            ))
        }
        Kind::FuncProto(FuncProto { .. }) if kinds.func == Known::No => Some((
            "FUNC_PROTO",
            Kind::Enum(Enum {
                size: 4,
                signedness: Signedness::Unsigned,
                values: Vec::new(),
            }),
        )),
        Kind::Func(func) if kinds.func == Known::No => Some(("FUNC", Kind::Typedef(func.proto))),
        Kind::Func(func) if kinds.func_global == Known::No && func.linkage == Linkage::Global => {
            let mut func = *func;
            func.linkage = Linkage::Static;
            Some(("global FUNC", Kind::Func(func)))
        }
        Kind::Float { size } if kinds.float == Known::No => Some((
            "FLOAT",
            Kind::Struct(Composite {
                size: *size,
                members: Vec::new(),
            }),
        )),
        Kind::DeclTag(_) if kinds.decl_tag == Known::No => Some(("DECL_TAG", byte())),
        Kind::TypeTag(tag) if kinds.type_tag == Known::No => {
            Some(("TYPE_TAG", Kind::Const(tag.ty)))
        }
        Kind::Enum64(e) if kinds.enum64 == Known::No => {
            let members = e
                .values
                .iter()
                .map(|value| Member {
                    name: value.name,
                    ty: TypeId::VOID,
                    bit_offset: 0,
                    bitfield_size: 0,
                })
                .collect();
            Some((
                "ENUM64",
                Kind::Union(Composite {
                    size: e.size,
                    members,
                }),
            ))
        }
        Kind::Int(_)
        | Kind::Ptr(_)
        | Kind::Array(_)
        | Kind::Struct(_)
        | Kind::Union(_)
        | Kind::Enum(_)
        | Kind::Fwd(_)
        | Kind::Typedef(_)
        | Kind::Volatile(_)
        | Kind::Const(_)
        | Kind::Restrict(_)
        | Kind::Func(_)
        | Kind::FuncProto(_)
        | Kind::Var(_)
        | Kind::Datasec(_)
        | Kind::Float { .. }
        | Kind::DeclTag(_)
        | Kind::TypeTag(_)
        | Kind::Enum64(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use xdplb_linker::btf::{EnumValue, TagForm, TypeTag};

    const NONE: BtfKinds = BtfKinds {
        func: Known::No,
        func_global: Known::No,
        datasec: Known::No,
        float: Known::No,
        decl_tag: Known::No,
        type_tag: Known::No,
        enum64: Known::No,
    };

    #[test]
    fn unknown_kinds_are_replaced_in_place() {
        let mut btf = Btf::new();
        let float = btf.add("f32", Kind::Float { size: 4 });
        let tag = btf.add(
            "user",
            Kind::TypeTag(TypeTag {
                ty: float,
                form: TagForm::Tag,
            }),
        );
        let name = btf.strings.intern("A");
        let values = vec![EnumValue {
            name,
            value: 1u64 << 40,
        }];
        let big = btf.add(
            "Big",
            Kind::Enum64(Enum {
                size: 8,
                signedness: Signedness::Unsigned,
                values,
            }),
        );
        let (simple, replaced) = simplify(&btf, &NONE);
        assert_eq!(replaced, ["FLOAT", "TYPE_TAG", "ENUM64"]);
        assert!(matches!(
            simple.get(float).unwrap().kind,
            Kind::Struct(Composite { size: 4, .. })
        ));
        assert!(matches!(simple.get(tag).unwrap().kind, Kind::Const(id) if id == float));
        assert!(
            matches!(&simple.get(big).unwrap().kind, Kind::Union(c) if c.members[0].ty == TypeId(4))
        );
        assert_eq!(Btf::parse(&simple.encode()).unwrap(), simple);
    }

    #[test]
    fn a_kernel_that_knows_all_changes_nothing() {
        let mut btf = Btf::new();
        btf.add("f32", Kind::Float { size: 4 });
        let all = BtfKinds {
            func: Known::Yes,
            func_global: Known::Yes,
            datasec: Known::Yes,
            float: Known::Yes,
            decl_tag: Known::Yes,
            type_tag: Known::Yes,
            enum64: Known::Yes,
        };
        let (same, replaced) = simplify(&btf, &all);
        assert_eq!((same, replaced), (btf, Vec::new()));
    }
}
