//! Makes types that the kernel accepts out of the types that rustc writes.
//!
//! LLVM's BTF writer was made for C. What Rust's debug info holds beyond C arrives in shapes that the kernel refuses,
//! and it refuses the whole section for one of them (`btf_check_all_metas`, `btf_check_all_types` in
//! kernel/bpf/btf.c). Each step here names the rule it satisfies.

use std::collections::{BTreeSet, HashMap};

use super::{Btf, Composite, Int, Kind, Linkage, Member, StrId, TypeId, valid_name};

/// The section with every type in a form that the kernel accepts. Numbers stay; new types come at the end.
///
/// What it leaves to the caller, who knows the ELF file: the linkage of functions, and sizes and offsets in sections.
#[must_use]
pub fn repair(mut btf: Btf) -> Btf {
    sizes(&mut btf);
    untyped(&mut btf);
    members(&mut btf);
    map_definitions(&mut btf);
    parameters(&mut btf);
    names(&mut btf);
    btf
}

/// `()` is an INT of no bytes to LLVM, and an enum with a single variant can be an ENUM of none: the kernel takes
/// only sizes that are powers of two (`btf_int_check_meta`, `btf_enum_check_meta`). An empty struct says the same.
fn sizes(btf: &mut Btf) {
    rewrite(btf, |kind| {
        let size = match kind {
            Kind::Int(int) => int.size,
            Kind::Enum(e) => e.size,
            Kind::Enum64(e) => e.size,
            _ => return,
        };
        let largest = if matches!(kind, Kind::Int(_)) { 16 } else { 8 };
        if !size.is_power_of_two() || size > largest {
            *kind = Kind::Struct(Composite {
                size,
                members: Vec::new(),
            });
        }
    });
}

/// `char` has an encoding that BTF has no word for (DW_ATE_UTF), so LLVM writes `void`, which has no size. A member,
/// an element, a variable or a named parameter must have one (`btf_struct_resolve`, `btf_array_resolve`,
/// `btf_var_resolve`, `btf_func_proto_check`): it gets a `char32_t` of four bytes, unless it is not a `char`
/// at all but a type that is only declared; then it is left out (member) or taken for the same four bytes.
fn untyped(btf: &mut Btf) {
    let sized: Vec<bool> = std::iter::once(false)
        .chain(btf.iter().map(|(id, ty)| match &ty.kind {
            // An array of `char` gets its size here too.
            Kind::Array(array) if array.element == TypeId::VOID => true,
            _ => btf.size_of(id).is_some(),
        }))
        .collect();
    let has_size = |id: TypeId| sized.get(id.0 as usize).copied().unwrap_or(false);
    let char_id = TypeId(btf.len() as u32 + 1);
    let mut used = false;
    let mut give_size = |id: &mut TypeId| {
        if !has_size(*id) {
            *id = char_id;
            used = true;
        }
    };
    rewrite(btf, |kind| match kind {
        Kind::Struct(composite) | Kind::Union(composite) => {
            composite
                .members
                .retain(|member| member.ty == TypeId::VOID || has_size(member.ty));
            composite
                .members
                .iter_mut()
                .for_each(|member| give_size(&mut member.ty));
        }
        // Arrays that only a map definition points to (`values: [&inner; N]`) have elements with sizes too.
        Kind::Array(array) => give_size(&mut array.element),
        // `extern const void schedule __ksym`: a symbol without a type is told by just that (libbpf's
        // `bpf_object__collect_externs`).
        Kind::Var(var) if var.linkage == Linkage::Extern => {}
        Kind::Var(var) => give_size(&mut var.ty),
        Kind::FuncProto(proto) => {
            let last = proto.params.len().saturating_sub(1);
            for (index, param) in proto.params.iter_mut().enumerate() {
                let dots = index == last && param.name == StrId::EMPTY;
                if !(dots && param.ty == TypeId::VOID) {
                    give_size(&mut param.ty);
                }
            }
        }
        _ => {}
    });
    if used {
        let int = Int {
            size: 4,
            encoding: 0,
            bit_offset: 0,
            bits: 32,
        };
        btf.add("char32_t", Kind::Int(int));
    }
}

/// Members must ascend (`btf_struct_check_meta`: "Invalid member bits_offset"), while rustc writes them in the order
/// of the source; all members of a union must be at 0, while the tag of a Rust enum may lie anywhere in it; none may
/// reach past the end.
fn members(btf: &mut Btf) {
    let sizes: Vec<u64> = std::iter::once(0)
        .chain(btf.iter().map(|(id, _)| btf.size_of(id).unwrap_or(0)))
        .collect();
    let fits = |member: &Member, size: u32| {
        let bits = match member.bitfield_size {
            0 => sizes
                .get(member.ty.0 as usize)
                .map_or(0, |size| size.saturating_mul(8)),
            width => u64::from(width),
        };
        bits.saturating_add(u64::from(member.bit_offset)) <= u64::from(size) * 8
    };
    let first_new = btf.len() as u32 + 1;
    let mut wrappers = Vec::new();
    rewrite(btf, |kind| match kind {
        Kind::Struct(composite) => {
            let size = composite.size;
            composite.members.retain(|member| fits(member, size));
            composite.members.sort_by_key(|member| member.bit_offset);
        }
        Kind::Union(composite) => {
            let size = composite.size;
            composite.members.retain(|member| fits(member, size));
            for member in &mut composite.members {
                if member.bit_offset != 0 {
                    // A struct that holds the member at its offset, in the member's place.
                    wrappers.push(Composite {
                        size,
                        members: vec![*member],
                    });
                    member.name = StrId::EMPTY;
                    member.ty = TypeId(first_new + wrappers.len() as u32 - 1);
                    member.bit_offset = 0;
                    member.bitfield_size = 0;
                }
            }
        }
        _ => {}
    });
    for wrapper in wrappers {
        btf.add("", Kind::Struct(wrapper));
    }
}

/// A map's definition is a struct whose members are its fields, and libbpf refuses a field it does not know. Members
/// that take no room (`PhantomData`, which Rust wants where a type is only named) are no fields.
fn map_definitions(btf: &mut Btf) {
    let Some((_, section)) = btf.datasec(".maps") else {
        return;
    };
    let definitions: BTreeSet<TypeId> = section
        .vars
        .iter()
        .filter_map(|info| match &btf.get(info.ty)?.kind {
            Kind::Var(var) => Some(btf.resolve(var.ty)?.0),
            _ => None,
        })
        .collect();
    for id in definitions {
        let Some(mut ty) = btf.get(id).cloned() else {
            continue;
        };
        if let Kind::Struct(definition) = &mut ty.kind {
            definition.members.retain(|member| {
                !matches!(
                    btf.resolve(member.ty),
                    Some((
                        _,
                        super::Type {
                            kind: Kind::Struct(Composite { size: 0, .. }),
                            ..
                        }
                    ))
                )
            });
        }
        btf.set(id, ty);
    }
}

/// The parameters of a function must have names (`btf_func_check`: "Invalid arg#1"); a Rust parameter that is a
/// pattern has none.
fn parameters(btf: &mut Btf) {
    let protos: BTreeSet<TypeId> = btf
        .iter()
        .filter_map(|(_, ty)| match &ty.kind {
            Kind::Func(func) => Some(func.proto),
            _ => None,
        })
        .collect();
    for id in protos {
        let Some(mut ty) = btf.get(id).cloned() else {
            continue;
        };
        if let Kind::FuncProto(proto) = &mut ty.kind {
            for (index, param) in proto.params.iter_mut().enumerate() {
                if param.name == StrId::EMPTY && param.ty != TypeId::VOID {
                    param.name = btf.strings.intern(&format!("arg{index}"));
                }
            }
        }
        btf.set(id, ty);
    }
}

/// Names: see [`valid_name`]. The name of a section keeps its dots: the kernel allows them there
/// (`btf_name_valid_section`), and libbpf looks for `.maps` and `.rodata`.
fn names(btf: &mut Btf) {
    let mut made: HashMap<StrId, StrId> = HashMap::new();
    let strings = &mut btf.strings;
    for ty in &mut btf.types {
        match &ty.kind {
            Kind::Datasec(_) => continue,
            // Tags and attributes are free text, and so are the names of numbers: `unsigned int`, by which CO-RE finds
            // the kernel's own (`btf_int_check_meta`, `btf_float_check_meta`: no rule).
            Kind::DeclTag(_) | Kind::TypeTag(_) | Kind::Int(_) | Kind::Float { .. } => continue,
            // Pointers, arrays and prototypes must have no name at all.
            Kind::Ptr(_) | Kind::Array(_) => ty.name = StrId::EMPTY,
            Kind::FuncProto(_) => ty.name = StrId::EMPTY,
            // These must have one.
            Kind::Func(_) | Kind::Var(_) | Kind::Typedef(_) | Kind::Fwd(_)
                if ty.name == StrId::EMPTY =>
            {
                ty.name = strings.intern("anonymous");
            }
            _ => {}
        }
        ty.map_names(|name| {
            *made.entry(name).or_insert_with(|| {
                let valid = valid_name(strings.get(name)).into_owned();
                if valid == strings.get(name) {
                    name
                } else {
                    strings.intern(&valid)
                }
            })
        });
    }
}

fn rewrite(btf: &mut Btf, mut change: impl FnMut(&mut Kind)) {
    for ty in &mut btf.types {
        change(&mut ty.kind);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::btf::{Array, Datasec, Func, FuncProto, Param, Var, VarSecinfo};

    fn int(size: u32) -> Kind {
        Kind::Int(Int {
            size,
            encoding: 0,
            bit_offset: 0,
            bits: (size * 8) as u8,
        })
    }

    fn member(btf: &mut Btf, name: &str, ty: TypeId, bit_offset: u32) -> Member {
        Member {
            name: btf.strings.intern(name),
            ty,
            bit_offset,
            bitfield_size: 0,
        }
    }

    fn composite(btf: &Btf, id: TypeId) -> Vec<(String, u32, TypeId)> {
        match &btf.get(id).unwrap().kind {
            Kind::Struct(c) | Kind::Union(c) => c
                .members
                .iter()
                .map(|m| (btf.name(m.name).to_owned(), m.bit_offset, m.ty))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_tag_of_an_enum_may_lie_anywhere() {
        // Option<Gen> keeps its tag in a niche at byte 4: union { tag at 32; Some at 0 }.
        let mut btf = Btf::new();
        let u32_id = btf.add("u32", int(4));
        let members = vec![
            member(&mut btf, "", u32_id, 32),
            member(&mut btf, "Some", u32_id, 0),
        ];
        let union = btf.add("", Kind::Union(Composite { size: 8, members }));
        let btf = repair(btf);
        let wrapper = TypeId(3);
        assert_eq!(
            composite(&btf, union),
            [(String::new(), 0, wrapper), ("Some".into(), 0, u32_id)]
        );
        assert_eq!(composite(&btf, wrapper), [(String::new(), 32, u32_id)]);
        assert_eq!(btf.size_of(wrapper), Some(8));
    }

    #[test]
    fn members_ascend_and_stay_inside() {
        let mut btf = Btf::new();
        let u32_id = btf.add("u32", int(4));
        let members = vec![
            member(&mut btf, "b", u32_id, 32),
            member(&mut btf, "a", u32_id, 0),
            member(&mut btf, "past", u32_id, 48),
        ];
        let id = btf.add("S", Kind::Struct(Composite { size: 8, members }));
        let btf = repair(btf);
        let names: Vec<_> = composite(&btf, id).into_iter().map(|m| m.0).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn char_gets_a_type_wherever_one_is_needed() {
        let mut btf = Btf::new();
        let index = btf.add("u32", int(4));
        let array = btf.add(
            "",
            Kind::Array(Array {
                element: TypeId::VOID,
                index,
                count: 3,
            }),
        );
        let members = vec![
            member(&mut btf, "one", TypeId::VOID, 0),
            member(&mut btf, "three", array, 32),
        ];
        let id = btf.add("S", Kind::Struct(Composite { size: 16, members }));
        let pointer = btf.add("", Kind::Ptr(TypeId::VOID));
        let btf = repair(btf);
        let char_id = btf.find("char32_t", |_| true).unwrap();
        assert_eq!(
            composite(&btf, id),
            [("one".into(), 0, char_id), ("three".into(), 32, array)]
        );
        assert_eq!(btf.size_of(array), Some(12));
        // A pointer to nothing known stays one.
        assert_eq!(btf.get(pointer).unwrap().kind, Kind::Ptr(TypeId::VOID));
    }

    #[test]
    fn what_takes_no_room_is_an_empty_struct() {
        let mut btf = Btf::new();
        let unit = btf.add("()", int(0));
        let btf = repair(btf);
        assert_eq!(btf.type_name(unit), "unit");
        assert_eq!(composite(&btf, unit), []);
    }

    #[test]
    fn patterns_get_names_and_dots_stay_dots() {
        let mut btf = Btf::new();
        let u32_id = btf.add("u32", int(4));
        let param = |ty| Param {
            name: StrId::EMPTY,
            ty,
        };
        let proto = btf.add(
            "",
            Kind::FuncProto(FuncProto {
                returns: TypeId::VOID,
                params: vec![param(u32_id), param(TypeId::VOID)],
            }),
        );
        let linkage = Linkage::Static;
        btf.add("f", Kind::Func(Func { proto, linkage }));
        let btf = repair(btf);
        let Kind::FuncProto(proto) = &btf.get(proto).unwrap().kind else {
            panic!("a prototype stays one");
        };
        assert_eq!(btf.name(proto.params[0].name), "arg0");
        assert_eq!(proto.params[1], param(TypeId::VOID));
    }

    #[test]
    fn a_map_definition_has_fields_only() {
        // struct Map<K, V> { key: *const K, types: PhantomData<(K, V)> }
        let mut btf = Btf::new();
        let u32_id = btf.add("u32", int(4));
        let key = btf.add("", Kind::Ptr(u32_id));
        let empty = Kind::Struct(Composite {
            size: 0,
            members: Vec::new(),
        });
        let phantom = btf.add("PhantomData<(u32, u32)>", empty);
        let members = vec![
            member(&mut btf, "key", key, 0),
            member(&mut btf, "types", phantom, 64),
        ];
        let map = btf.add("Map", Kind::Struct(Composite { size: 8, members }));
        let linkage = Linkage::Global;
        let ty = btf.add("flows", Kind::Var(Var { ty: map, linkage }));
        let vars = vec![VarSecinfo {
            ty,
            offset: 0,
            size: 8,
        }];
        btf.add(".maps", Kind::Datasec(Datasec { size: 8, vars }));
        let btf = repair(btf);
        assert_eq!(composite(&btf, map), [("key".into(), 0, key)]);
        assert!(btf.datasec(".maps").is_some());
    }
}
