//! Views of small sections, of broken ones and of those of later kernels.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use proptest::prelude::*;
use xdplb_linker::btf::{Btf, Composite, Enum, EnumValue, Int, Kind, Member, Signedness};

use super::super::core::{Shape, Types};

/// `int`, 200 typedefs of it, `struct sk_buff { int len; int cloned:1; }`, `enum e { A = -1 }`, `sk_buff___2`.
fn sample() -> Btf {
    let mut btf = Btf::new();
    let int = btf.add(
        "int",
        Kind::Int(Int {
            size: 4,
            encoding: 1,
            bit_offset: 0,
            bits: 32,
        }),
    );
    for number in 0..200 {
        btf.add(&format!("t{number}"), Kind::Typedef(int));
    }
    let member = |name, bit_offset, bitfield_size| Member {
        name,
        ty: int,
        bit_offset,
        bitfield_size,
    };
    let (len, cloned) = (btf.strings.intern("len"), btf.strings.intern("cloned"));
    let members = vec![member(len, 0, 0), member(cloned, 32, 1)];
    btf.add("sk_buff", Kind::Struct(Composite { size: 8, members }));
    let a = btf.strings.intern("A");
    btf.add(
        "e",
        Kind::Enum(Enum {
            size: 4,
            signedness: Signedness::Signed,
            values: vec![EnumValue { name: a, value: -1 }],
        }),
    );
    let members = vec![member(len, 0, 0)];
    btf.add("sk_buff___2", Kind::Struct(Composite { size: 4, members }));
    btf
}

#[test]
fn types_are_found_by_name_and_number() {
    let btf = sample();
    let kernel = KernelTypes::parse(btf.encode()).unwrap();
    assert_eq!(kernel.len(), btf.len() as u32);
    assert_eq!(
        kernel.find_all(&[
            (TypeKind::Typedef, "t199"),
            (TypeKind::Struct, "sk_buff"),
            (TypeKind::Union, "sk_buff"),
            (TypeKind::Int, "int"),
        ]),
        [Some(TypeId(201)), Some(TypeId(202)), None, Some(TypeId(1))]
    );
    let mut seen = Vec::new();
    let names = HashMap::from([(&b"sk_buff"[..], 7)]);
    kernel.visit_named(&names, &mut |at, id, kind| seen.push((at, id.0, kind)));
    assert_eq!(
        seen,
        [(7, 202, TypeKind::Struct), (7, 204, TypeKind::Struct)]
    );
}

#[test]
fn both_views_show_the_same_types() {
    let btf = sample();
    let kernel = KernelTypes::parse(btf.encode()).unwrap();
    let (local, kernel): (&dyn Types, &dyn Types) = (&btf, &kernel);
    for id in (0..=205).map(TypeId) {
        let (a, b) = (local.ty(id), kernel.ty(id));
        assert_eq!(a.map(|t| (t.name, t.shape)), b.map(|t| (t.name, t.shape)));
        assert_eq!(local.size_of(id), kernel.size_of(id));
        assert_eq!(local.title(id), kernel.title(id));
        let (Some(a), Some(b)) = (a, b) else { continue };
        for index in 0..3 {
            assert_eq!(local.member(&a, index), kernel.member(&b, index));
            assert_eq!(local.enumerator(&a, index), kernel.enumerator(&b, index));
        }
    }
}

#[test]
fn a_modules_types_go_on_from_the_kernels() {
    let base = KernelTypes::parse(sample().encode()).unwrap();
    let strings = base.strings_end();
    // typedef sk_buff *name*; struct mod_state { len }: names before `strings` are the kernel's.
    let mut bytes = Vec::new();
    let types = [
        [strings + 1, 8 << 24, 202],
        [0, 4 << 24 | 1 | 1 << 31, 4],
        [1, 1, 3 << 24 | 5],
    ];
    let text = b"\0mod_skb\0";
    for word in [0x0001_eb9f, 24, 0, 36, 36, text.len() as u32] {
        bytes.extend(word.to_le_bytes());
    }
    types
        .iter()
        .flatten()
        .for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes.extend(text);
    let module = KernelTypes::parse_module("m", bytes, &base).unwrap();
    assert_eq!(module.find(TypeKind::Typedef, "mod_skb"), Some(TypeId(205)));
    let view: &dyn Types = &module;
    assert_eq!(view.resolve(TypeId(205)).unwrap().0, TypeId(202));
    assert_eq!(view.title(TypeId(202)), "struct sk_buff");
    let skb = view.ty(TypeId(202)).unwrap();
    assert_eq!(view.member(&skb, 1).unwrap().bitfield_size, 1);
    let own = view.ty(TypeId(206)).unwrap();
    let member = view.member(&own, 0).unwrap();
    assert_eq!((member.bit_offset, member.bitfield_size), (5, 3));
    assert_eq!(view.text(member.name), "int");
}

#[test]
fn broken_sections_are_told() {
    let error = |bytes: Vec<u8>| KernelTypes::parse(bytes).unwrap_err().to_string();
    let mut bytes = sample().encode();
    assert_eq!(
        error(bytes[..3].to_vec()),
        "BTF of vmlinux+0x0: this is no BTF of version 1 in this machine's byte order"
    );
    assert_eq!(
        error(bytes[..100].to_vec()),
        "BTF of vmlinux+0x8: the types end past the 100 bytes there are"
    );
    bytes[24 + 7] = 30; // the first type's kind
    assert_eq!(
        error(bytes),
        "BTF of vmlinux+0x18: type 1 (kind 30) is unknown or ends past the type section"
    );
}

#[test]
fn kinds_of_later_kernels_are_skipped_by_their_layout() {
    let mut bytes = Vec::new();
    let layouts = 21 * 4;
    for word in [0x0001_eb9f, 32, 0, 40, 40, 5, 45, layouts] {
        bytes.extend(u32::to_le_bytes(word));
    }
    // Kind 20 with two members of four bytes and eight bytes before them; then `int`.
    for word in [0, 20 << 24 | 2, 0, 1, 2, 3, 4] {
        bytes.extend(u32::to_le_bytes(word));
    }
    for word in [1, 8 << 24, 0] {
        bytes.extend(u32::to_le_bytes(word));
    }
    bytes.extend(b"\0int\0");
    bytes.extend(vec![0; 20 * 4]);
    bytes.extend([8, 4, 0, 0]);
    let kernel = KernelTypes::parse(bytes).unwrap();
    assert_eq!(kernel.find(TypeKind::Typedef, "int"), Some(TypeId(2)));
    assert_eq!(kernel.ty(TypeId(1)).unwrap().shape, Shape::Newer(20));
}

proptest! {
    #[test]
    fn any_bytes_give_types_or_an_error(
        flips in proptest::collection::vec((0usize..3000, any::<u8>()), 0..8),
        cut in 0usize..3000,
    ) {
        let mut bytes = sample().encode();
        for (at, value) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if cut > 1500 {
            bytes.truncate(cut);
        }
        if let Ok(kernel) = KernelTypes::parse(bytes) {
            let view: &dyn Types = &kernel;
            for id in (0..=kernel.len() + 1).map(TypeId) {
                let _ = (view.resolve(id), view.size_of(id), view.title(id));
                let Some(ty) = view.ty(id) else { continue };
                for index in 0..3 {
                    let _ = (view.member(&ty, index), view.enumerator(&ty, index), view.param(&ty, index));
                }
            }
            let _ = kernel.find(TypeKind::Struct, "sk_buff");
        }
    }
}
