//! The types of several inputs become one section: what must hold of it, for made-up graphs of types and for the
//! running kernel's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use xdplb_linker::btf::{
    Array, Btf, Composite, DeclTag, Enum, EnumValue, Func, FuncProto, FwdKind, Int, Kind, Linkage,
    Member, Merged, Param, Signedness, TagForm, Type, TypeId, TypeTag, keep,
};

/// Merging takes the types out of its inputs; here they are wanted again.
fn merge(inputs: &[&Btf]) -> Merged {
    let mut inputs: Vec<Btf> = inputs.iter().map(|input| (*input).clone()).collect();
    xdplb_linker::btf::merge(&mut inputs)
}

fn int(size: u32) -> Kind {
    Kind::Int(Int {
        size,
        encoding: 0,
        bit_offset: 0,
        bits: (size * 8) as u8,
    })
}

fn structure(btf: &mut Btf, name: &str, size: u32, members: &[(&str, TypeId, u32)]) -> TypeId {
    let members = members
        .iter()
        .map(|(name, ty, bit_offset)| Member {
            name: btf.strings.intern(name),
            ty: *ty,
            bit_offset: *bit_offset,
            bitfield_size: 0,
        })
        .collect();
    btf.add(name, Kind::Struct(Composite { size, members }))
}

fn enumeration(btf: &mut Btf, name: &str, values: &[(&str, i32)]) -> TypeId {
    let values = values
        .iter()
        .map(|(name, value)| EnumValue {
            name: btf.strings.intern(name),
            value: *value,
        })
        .collect();
    let signedness = Signedness::Unsigned;
    let size = 4;
    btf.add(
        name,
        Kind::Enum(Enum {
            size,
            signedness,
            values,
        }),
    )
}

/// `struct flow { u32 src; struct flow *next; struct map *map; }`, with what is known of `struct map`.
fn flow(of_map: impl FnOnce(&mut Btf) -> TypeId) -> Btf {
    let mut btf = Btf::new();
    let map = of_map(&mut btf);
    let u32_id = btf.add("u32", int(4));
    let map = btf.add("", Kind::Ptr(map));
    let to_flow = btf.add("", Kind::Ptr(TypeId(btf.len() as u32 + 2)));
    structure(
        &mut btf,
        "flow",
        24,
        &[("src", u32_id, 0), ("next", to_flow, 64), ("map", map, 128)],
    );
    btf
}

fn forward(btf: &mut Btf) -> TypeId {
    btf.add("map", Kind::Fwd(FwdKind::Struct))
}

fn map_of(size: u32) -> impl Fn(&mut Btf) -> TypeId {
    move |btf| {
        let own = btf.add("key", int(size));
        structure(btf, "map", size, &[("key", own, 0)])
    }
}

/// How many types of this name there are.
fn count(btf: &Btf, name: &str) -> usize {
    btf.iter()
        .filter(|(id, _)| btf.type_name(*id) == name)
        .count()
}

#[test]
fn what_one_declares_another_defines() {
    let (declares, defines) = (flow(forward), flow(map_of(8)));
    for inputs in [[&declares, &defines], [&defines, &declares]] {
        let merged = merge(&inputs);
        assert_eq!(merged.btf.len(), defines.len());
        assert_eq!(count(&merged.btf, "flow"), 1);
        assert_eq!(count(&merged.btf, "map"), 1);
    }
    let numbers = &merge(&[&declares, &defines]).numbers;
    assert_eq!(numbers[0].get(TypeId(5)), numbers[1].get(TypeId(6)));
}

#[test]
fn a_declaration_of_two_different_things_stays_one() {
    let merged = merge(&[&flow(forward), &flow(map_of(8)), &flow(map_of(4))]);
    // `struct map;` and two definitions; so nobody can say that two of the flows are one.
    assert_eq!(count(&merged.btf, "map"), 3);
    assert_eq!(count(&merged.btf, "flow"), 3);
    assert_eq!(count(&merged.btf, "u32"), 1);
}

#[test]
fn two_inputs_may_each_declare_what_the_other_defines() {
    // 1: struct a { struct b *b; }; struct b;     2: struct b { struct a *a; }; struct a;     3: both
    let half = |own: &str, other: &str| {
        let mut btf = Btf::new();
        let declared = btf.add(other, Kind::Fwd(FwdKind::Struct));
        let pointer = btf.add("", Kind::Ptr(declared));
        structure(&mut btf, own, 8, &[(other, pointer, 0)]);
        btf
    };
    let (a, b) = (half("a", "b"), half("b", "a"));
    let mut both = Btf::new();
    let to_a = both.add("", Kind::Ptr(TypeId(3)));
    let to_b = both.add("", Kind::Ptr(TypeId(4)));
    structure(&mut both, "a", 8, &[("b", to_b, 0)]);
    structure(&mut both, "b", 8, &[("a", to_a, 0)]);
    for inputs in [[&a, &b, &both], [&both, &a, &b], [&b, &both, &a]] {
        assert_eq!(merge(&inputs).btf.len(), 4);
    }
}

#[test]
fn an_enum_may_be_declared_too() {
    let declares = {
        let mut btf = Btf::new();
        enumeration(&mut btf, "verdict", &[]);
        btf
    };
    let defines = {
        let mut btf = Btf::new();
        enumeration(&mut btf, "verdict", &[("PASS", 2)]);
        btf
    };
    let merged = merge(&[&declares, &defines]);
    assert_eq!(merged.btf.len(), 1);
    assert_eq!(merged.numbers[0].get(TypeId(1)), TypeId(1));
}

#[test]
fn a_tag_tells_types_apart_and_is_kept_once() {
    let tagged = |text: &str| {
        let mut btf = Btf::new();
        let own = structure(&mut btf, "s", 4, &[]);
        if !text.is_empty() {
            let (component, form) = (-1, TagForm::Tag);
            let ty = own;
            btf.add(
                text,
                Kind::DeclTag(DeclTag {
                    ty,
                    component,
                    form,
                }),
            );
        }
        btf
    };
    let merged = merge(&[&tagged("a"), &tagged("a"), &tagged("b"), &tagged("")]);
    assert_eq!(count(&merged.btf, "s"), 3);
    assert_eq!((count(&merged.btf, "a"), count(&merged.btf, "b")), (1, 1));
}

#[test]
fn functions_of_one_name_and_type_are_one() {
    let with = |linkage| {
        let mut btf = Btf::new();
        let returns = btf.add("int", int(4));
        let params = vec![Param {
            name: btf.strings.intern("x"),
            ty: returns,
        }];
        let proto = btf.add("", Kind::FuncProto(FuncProto { returns, params }));
        btf.add("f", Kind::Func(Func { proto, linkage }));
        btf
    };
    let merged = merge(&[&with(Linkage::Static), &with(Linkage::Static)]);
    assert_eq!(merged.btf.len(), 3);
    let merged = merge(&[&with(Linkage::Static), &with(Linkage::Global)]);
    assert_eq!(merged.btf.len(), 4);
}

#[test]
fn a_file_made_to_need_many_rounds_ends() {
    // Each name's definitions differ only once the name before it has lost its hope.
    let side = |size: u32| {
        let mut btf = Btf::new();
        let mut below = btf.add("end", int(size));
        for level in 0..200 {
            let name = format!("level{level}");
            let member = if size == 4 && level > 0 {
                btf.add(&format!("level{}", level - 1), Kind::Fwd(FwdKind::Struct))
            } else {
                below
            };
            let pointer = btf.add("", Kind::Ptr(member));
            below = structure(&mut btf, &name, 8, &[("below", pointer, 0)]);
        }
        btf
    };
    let (one, two) = (side(4), side(8));
    let there = merge(&[&one, &two]).btf;
    let back = merge(&[&two, &one]).btf;
    assert_eq!(there.len(), back.len());
}

/// A type of any kind, whose names are few and whose edges lead anywhere, so that chance makes some alike.
fn any_type(count: u32) -> impl Strategy<Value = (u8, u8, [u32; 3])> {
    (0u8..12, 0u8..3, proptest::array::uniform3(0..=count))
}

fn section(types: &[(u8, u8, [u32; 3])]) -> Btf {
    let mut btf = Btf::new();
    for (kind, name, edges) in types {
        let name = ["a", "b", "c"][*name as usize];
        let [one, two, _] = edges.map(TypeId);
        let member = btf.strings.intern("m");
        let (key, kind) = match kind {
            0 => (name, int(4)),
            1 | 2 => ("", Kind::Ptr(one)),
            3 => (
                "",
                Kind::Array(Array {
                    element: one,
                    index: two,
                    count: 2,
                }),
            ),
            4 | 5 => {
                let members = [(one, 0), (two, 32)];
                let members = members.map(|(ty, bit_offset)| Member {
                    name: member,
                    ty,
                    bit_offset,
                    bitfield_size: 0,
                });
                let size = 8;
                let members = members.into();
                (name, Kind::Struct(Composite { size, members }))
            }
            6 | 7 => (name, Kind::Fwd(FwdKind::Struct)),
            8 => (name, Kind::Typedef(one)),
            9 => (
                name,
                Kind::TypeTag(TypeTag {
                    ty: one,
                    form: TagForm::Tag,
                }),
            ),
            10 => ("", Kind::Const(one)),
            _ => (
                name,
                Kind::DeclTag(DeclTag {
                    ty: one,
                    component: -1,
                    form: TagForm::Tag,
                }),
            ),
        };
        let name = btf.strings.intern(key);
        btf.push(Type { name, kind });
    }
    btf
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]
    #[test]
    fn what_is_merged_stays_merged(
        a in proptest::collection::vec(any_type(20), 20),
        b in proptest::collection::vec(any_type(20), 20),
    ) {
        let (a, b) = (section(&a), section(&b));
        let once = merge(&[&a]).btf;
        prop_assert_eq!(&merge(&[&once]).btf.encode(), &once.encode());
        prop_assert_eq!(&merge(&[&a, &a]).btf.encode(), &once.encode());
        prop_assert_eq!(&merge(&[&once, &a]).btf.encode(), &once.encode());

        let both = merge(&[&a, &b]);
        prop_assert_eq!(&merge(&[&both.btf]).btf.encode(), &both.btf.encode());
        prop_assert_eq!(&Btf::parse(&both.btf.encode()).unwrap(), &both.btf);
        // Another order gives other numbers to the same types: a walk from the same roots finds the same bytes.
        let turned = merge(&[&b, &a]);
        prop_assert_eq!(both.btf.len(), turned.btf.len());
        let kept = |merged: &xdplb_linker::btf::Merged, first: usize| {
            let roots = [first, 1 - first].map(|input| &merged.numbers[input]);
            let roots: Vec<TypeId> = roots
                .iter()
                .flat_map(|numbers| (1..=20).map(|id| numbers.get(TypeId(id))))
                .collect();
            keep(&merged.btf, roots).0
        };
        let (one, two) = (kept(&both, 0), kept(&turned, 1));
        prop_assert_eq!(one.encode(), two.encode());
        // All were roots, so all are there; and nothing else is in the table of strings than what they say.
        prop_assert_eq!(one.len(), both.btf.len());
    }

    #[test]
    fn what_is_kept_is_what_is_reached(
        types in proptest::collection::vec(any_type(20), 20),
        root in 1u32..=20,
    ) {
        let btf = section(&types);
        let (kept, numbers) = keep(&btf, [TypeId(root)]);
        let mut reached = vec![false; kept.len() + 1];
        let mut todo = vec![numbers.get(TypeId(root))];
        while let Some(id) = todo.pop() {
            if let Some(ty) = kept.get(id) && !std::mem::replace(&mut reached[id.0 as usize], true) {
                ty.visit_ids(|id| todo.push(id));
                for (tag, ty) in kept.iter() {
                    if matches!(&ty.kind, Kind::DeclTag(tag) if tag.ty == id) {
                        todo.push(tag);
                    }
                }
            }
        }
        prop_assert!(reached[1..].iter().all(|reached| *reached));
        prop_assert_eq!(&Btf::parse(&kept.encode()).unwrap(), &kept);
    }
}

#[test]
fn the_kernels_own_types_are_merged_in_no_time() {
    // pahole has deduplicated them with libbpf: little is left to find, and twice the same is once the same.
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        eprintln!("skipped: this kernel shows no types");
        return;
    };
    let btf = Btf::parse(&bytes).unwrap();
    let started = std::time::Instant::now();
    let merged = merge(&[&btf, &btf]);
    let took = started.elapsed();
    println!(
        "{} types twice: {} in {took:?}",
        btf.len(),
        merged.btf.len()
    );
    assert!(merged.btf.len() <= btf.len() && merged.btf.len() > btf.len() * 99 / 100);
    assert!(took.as_secs() < 60);
    assert_eq!(merged.numbers[0], merged.numbers[1]);
}
