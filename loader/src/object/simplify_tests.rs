//! Types for kernels that don't take all of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use xdplb_linker::btf::{Datasec, DeclTag, EnumValue, Func, Param, TypeTag, Var, VarSecinfo};

const NONE: BtfKinds = BtfKinds {
    func: Known::No,
    func_global: Known::No,
    datasec: Known::No,
    float: Known::No,
    decl_tag: Known::No,
    type_tag: Known::No,
    enum64: Known::No,
    attributes: Known::No,
    section_names: Known::No,
};

const ALL: BtfKinds = BtfKinds::ALL;

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
    assert_eq!(
        replaced,
        [
            "ENUM64 as UNION (the kernel knows it from Linux 6.0)",
            "FLOAT as STRUCT (the kernel knows it from Linux 5.13)",
            "TYPE_TAG as CONST (the kernel knows it from Linux 5.17)",
        ]
    );
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
    let (same, replaced) = simplify(&btf, &ALL);
    assert_eq!((same, replaced), (btf, Vec::new()));
}

fn int(btf: &mut Btf) -> TypeId {
    let kind = Kind::Int(Int {
        size: 4,
        encoding: 0,
        bit_offset: 0,
        bits: 32,
    });
    btf.add("u32", kind)
}

fn section(btf: &mut Btf, name: &str, size: u32, vars: &[(TypeId, u32, u32)]) -> TypeId {
    let vars = vars
        .iter()
        .map(|&(ty, offset, size)| VarSecinfo { ty, offset, size })
        .collect();
    btf.add(name, Kind::Datasec(Datasec { size, vars }))
}

#[test]
fn what_rustc_writes_is_repaired_and_said() {
    let mut btf = Btf::new();
    let u32_id = int(&mut btf);
    let name = |btf: &mut Btf, text: &str| btf.strings.intern(text);
    let members = vec![
        Member {
            name: name(&mut btf, "second"),
            ty: u32_id,
            bit_offset: 32,
            bitfield_size: 0,
        },
        Member {
            name: name(&mut btf, "first"),
            ty: u32_id,
            bit_offset: 0,
            bitfield_size: 0,
        },
    ];
    let id = btf.add(
        "Pair<u32, u32>",
        Kind::Struct(Composite { size: 8, members }),
    );
    btf.add(
        "Option<&u32>",
        Kind::Struct(Composite {
            size: 8,
            members: vec![],
        }),
    );
    let (fit, done) = simplify(&btf, &ALL);
    assert_eq!(fit.type_name(id), "Pair_u32_u32");
    assert_eq!(
        done,
        [
            "layout that no C compiler writes (`Pair_u32_u32`)",
            "name with characters that the kernel refuses: 2 types (first `Pair<u32, u32>` is `Pair_u32_u32`)",
        ]
    );
}

#[test]
fn sections_hold_what_is_in_them() {
    let mut btf = Btf::new();
    let u32_id = int(&mut btf);
    let var = |btf: &mut Btf, name: &str, linkage| {
        btf.add(
            name,
            Kind::Var(Var {
                ty: u32_id,
                linkage,
            }),
        )
    };
    let (a, b) = (
        var(&mut btf, "a", Linkage::Global),
        var(&mut btf, "b", Linkage::Global),
    );
    let outside = var(&mut btf, "outside", Linkage::Extern);
    let proto = btf.add(
        "",
        Kind::FuncProto(FuncProto {
            returns: TypeId::VOID,
            params: Vec::<Param>::new(),
        }),
    );
    let func = btf.add(
        "kfunc",
        Kind::Func(Func {
            proto,
            linkage: Linkage::Extern,
        }),
    );
    // Too small for its type, on top of another, past the end, not a variable.
    let data = section(
        &mut btf,
        ".data",
        8,
        &[(a, 0, 2), (b, 2, 4), (outside, 8, 4), (func, 4, 4)],
    );
    let empty = section(&mut btf, ".bss.empty", 0, &[]);
    let optional = section(&mut btf, "?maps", 4, &[(a, 0, 4)]);
    let kinds = BtfKinds {
        section_names: Known::No,
        ..ALL
    };
    let (fit, done) = simplify(&btf, &kinds);
    assert_eq!(
        done,
        [
            "DATASEC name that the kernel knows from Linux 6.11 (`?maps`)",
            "empty DATASEC as an empty STRUCT (`.bss.empty`)",
            "external FUNC as a static one (`kfunc`)",
            "external VAR as a global one (`outside`)",
            "variables of a DATASEC that don't fit into it (`.data`)",
        ]
    );
    let Kind::Datasec(kept) = &fit.get(data).unwrap().kind else {
        panic!("a section")
    };
    assert_eq!(
        kept.vars,
        [VarSecinfo {
            ty: a,
            offset: 0,
            size: 4
        }]
    );
    assert_eq!(
        (fit.type_name(empty), fit.type_name(optional)),
        ("_bss_empty", "_maps")
    );
    assert_eq!(Btf::parse(&fit.encode()).unwrap(), fit);
}

#[test]
fn attributes_are_tags_to_older_kernels() {
    let mut btf = Btf::new();
    let ty = int(&mut btf);
    let tag = btf.add(
        "packed",
        Kind::DeclTag(DeclTag {
            ty,
            component: -1,
            form: TagForm::Attribute,
        }),
    );
    let kinds = BtfKinds {
        attributes: Known::No,
        ..ALL
    };
    let (fit, done) = simplify(&btf, &kinds);
    assert_eq!(done, [ATTRIBUTE]);
    assert!(matches!(&fit.get(tag).unwrap().kind, Kind::DeclTag(tag) if tag.form == TagForm::Tag));
}
