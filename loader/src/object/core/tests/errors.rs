//! What is missing, ambiguous, broken or made to do harm: each with its text.

use proptest::prelude::*;
use xdplb_linker::btf::{Btf, Kind, Signedness, TypeId};
use xdplb_linker::btf_ext::CoreRelo;
use xdplb_linker::insn::{Insn, InsnIndex};

use super::super::super::kernel_types::{KernelTypes, ModuleTypes, Modules};
use super::super::*;
use super::make::*;

#[test]
fn what_is_missing_poisons_the_instruction_and_is_told() {
    let (mut local, _, kernel) = sample();
    let int = local.int;
    let inner = local.structure("", 8, &[("gone", int, 0, 0)]);
    let root = local.structure("s___new", 8, &[("a", int, 0, 0), ("in", inner, 32, 0)]);
    let (text, insns) = relocate(
        &mut local,
        Some(&kernel),
        (root, "0:1:0", BYTE_OFF),
        access(0x61, 4),
    );
    let id = kernel.find(TypeKind::Struct, "s").unwrap().0;
    assert_eq!(
        text,
        format!(
            "poisoned: CO-RE relocation `struct s___new.in.gone (0:1:0)` byte_off finds nothing in this kernel's types\ncandidates: struct s [{id}] of vmlinux: no member `in`"
        )
    );
    assert_eq!((insns[0].opcode, insns[0].imm), (0x85, 195_896_080));

    let nowhere = local.enumeration("nowhere", Signedness::Unsigned, &[("N", 3)]);
    let (text, insns) = relocate(&mut local, Some(&kernel), (nowhere, "0", VALUE), load64(3));
    assert_eq!(
        text,
        "poisoned: CO-RE relocation `enum nowhere::N (0)` enumval_value finds nothing in this kernel's types\ncandidates: none, the kernel has no enum nowhere"
    );
    assert_eq!(insns[0], insns[1], "both halves");

    let array = local.array(int, 9);
    let kinds = local.structure("s___k", 8, &[("a", array, 0, 0), ("c", array, 32, 0)]);
    let (text, _) = relocate(&mut local, Some(&kernel), (kinds, "0:0", BYTE_SZ), mov(36));
    assert!(
        text.ends_with(
            "of vmlinux: member `a` is of another kind (int int, the object has array (unnamed))"
        ),
        "{text}"
    );
    let (text, _) = relocate(&mut local, Some(&kernel), (kinds, "0:1:5", BYTE_SZ), mov(4));
    assert!(
        text.ends_with("of vmlinux: the array has 4 elements, no element 5"),
        "{text}"
    );
}

#[test]
fn a_poisoned_instruction_is_found_again_in_the_log() {
    let poisoned = vec![
        (InsnIndex(3), "three".into()),
        (InsnIndex(9), "nine".into()),
    ];
    let log = "8: (bf) r1 = r6\n9: (85) call unknown#195896080\ninvalid func unknown#195896080\nprocessed 9 insns\n";
    assert_eq!(explain(&poisoned, log), Some("nine"));
    assert_eq!(explain(&poisoned, "invalid func unknown#195896080\n"), None);
    assert_eq!(
        explain(&poisoned[..1], "invalid func unknown#195896080\n"),
        Some("three")
    );
    assert_eq!(
        explain(
            &poisoned,
            "3: (85) call unknown#7\ninvalid func unknown#7\n"
        ),
        None
    );
}

#[test]
fn candidates_must_agree() {
    let mut kernel = Make::new();
    let int = kernel.int;
    let first = kernel.structure("s", 8, &[("a", int, 0, 0), ("only", int, 32, 0)]);
    let second = kernel.structure("s", 8, &[("b", int, 0, 0), ("a", int, 32, 0)]);
    let kernel = kernel.kernel();
    let mut local = Make::new();
    let int = local.int;
    let root = local.structure("s", 8, &[("a", int, 0, 0), ("only", int, 32, 0)]);
    let (text, _) = relocate(&mut local, Some(&kernel), (root, "0:0", BYTE_OFF), mov(0));
    assert_eq!(
        text,
        format!(
            "error: CO-RE relocation `struct s.a (0:0)` byte_off: it is ambiguous: struct s [{}] of vmlinux gives 0, struct s [{}] of vmlinux gives 4\n  try:  a flavour (`___…`) with a member that only the one that is meant has",
            first.0, second.0
        )
    );
    // Another path through the same type leads to one of them only: that one is meant.
    let relo = |access| CoreRelo {
        insn_off: 0,
        type_id: root,
        access,
        kind: BYTE_OFF,
    };
    let paths = [
        local.btf.strings.intern("0:0"),
        local.btf.strings.intern("0:1"),
    ];
    let relos = paths.map(relo);
    let modules = Modules::default();
    let kernel = Kernel {
        types: Some(&kernel),
        modules: &modules,
    };
    let all = Relocations::resolve(&local.btf, relos.iter(), kernel);
    let mut insns = mov(0);
    let applied = all.apply(&local.btf, &relos[0], &mut insns, InsnIndex(0));
    assert!(
        matches!(applied, Ok(Applied::Patched { .. })),
        "{applied:?}"
    );
}

#[test]
fn modules_are_asked_for_what_the_kernel_lacks() {
    let (mut local, root, kernel) = sample();
    let absent = local.structure("of_module", 4, &[]);
    let strings = kernel.strings_end();
    let mut bytes = Vec::new();
    for word in [0x0001_eb9f, 24, 0, 12, 12, 11, strings + 1, 4 << 24, 48] {
        bytes.extend(u32::to_le_bytes(word));
    }
    bytes.extend(b"\0of_module\0");
    let types = KernelTypes::parse_module("m", bytes, &kernel).unwrap();
    let module = ModuleTypes {
        name: "m".into(),
        btf_id: 9,
        types,
    };
    let zero = local.btf.strings.intern("0");
    let relo = |type_id| CoreRelo {
        insn_off: 0,
        type_id,
        access: zero,
        kind: TYPE_SIZE,
    };
    let size = |relo: CoreRelo, old, modules: &Modules| {
        let kernel = Kernel {
            types: Some(&kernel),
            modules,
        };
        let mut insns = mov(old);
        Relocations::resolve(&local.btf, [relo].iter(), kernel)
            .apply(&local.btf, &relo, &mut insns, InsnIndex(0))
            .unwrap();
        insns[0].imm
    };
    let modules = Modules::lazily(move || vec![module.clone()]);
    assert_eq!(
        size(relo(root), 40, &Modules::lazily(|| panic!("not needed"))),
        48
    );
    assert_eq!(size(relo(absent), 4, &modules), 48);
}

#[test]
fn broken_relocations_are_refused() {
    let (mut local, root, kernel) = sample();
    let mut error = |path, kind, insns| {
        let (text, _) = relocate(&mut local, Some(&kernel), (root, path, kind), insns);
        text.strip_prefix("error: CO-RE relocation ")
            .unwrap()
            .to_string()
    };
    for (path, kind, insns, expected) in [
        (
            "0:x",
            BYTE_OFF,
            mov(0),
            "`struct s___mine + `0:x`` byte_off: `0:x` is no path: numbers with colons between them",
        ),
        (
            "0:-1",
            BYTE_OFF,
            mov(0),
            "`struct s___mine + `0:-1`` byte_off: `0:-1` is no path: numbers with colons between them",
        ),
        (
            "",
            BYTE_OFF,
            mov(0),
            "`struct s___mine + ``` byte_off: `` is no path: numbers with colons between them",
        ),
        (
            "0:9",
            BYTE_OFF,
            mov(0),
            "`struct s___mine + `0:9`` byte_off: struct s___mine has no member number 9",
        ),
        (
            "0:0:0",
            BYTE_OFF,
            mov(0),
            "`struct s___mine + `0:0:0`` byte_off: int int has nothing inside",
        ),
        (
            "0:1:1:1:4",
            BYTE_OFF,
            mov(0),
            "`struct s___mine + `0:1:1:1:4`` byte_off: an array on the way has 4 elements, no element 4",
        ),
        (
            "999999999",
            BYTE_OFF,
            mov(0),
            "`struct s___mine + `999999999`` byte_off: it leads further than 512 MiB into its type",
        ),
        (
            "0:0",
            TYPE_SIZE,
            mov(0),
            "`struct s___mine + `0:0`` type_size: `0:0` is no path to a type as a whole, which is `0`",
        ),
        (
            "0",
            VALUE,
            mov(0),
            "`struct s___mine + `0`` enumval_value: struct s___mine has no value number 0",
        ),
        (
            "0:0",
            13,
            mov(0),
            "of kind 13: it is newer than this program, which knows 0 to 12",
        ),
        (
            "0:0",
            BYTE_OFF,
            mov(3),
            "`struct s___mine.a (0:0)` byte_off: the operand is 3, the object's own types say 0",
        ),
        (
            "0:0",
            BYTE_OFF,
            access(0x61, 4),
            "`struct s___mine.a (0:0)` byte_off: the offset is 4, the object's own types say 0",
        ),
        (
            "0:0",
            EXISTS,
            load64(2),
            "`struct s___mine.a (0:0)` field_exists: the constant is 2, the object's own types say 1",
        ),
        (
            "0:0",
            BYTE_OFF,
            vec![Insn {
                opcode: 0x95,
                ..Insn::default()
            }],
            "`struct s___mine.a (0:0)` byte_off: an instruction with opcode 0x95 holds nothing that can be relocated",
        ),
        (
            "0:0",
            EXISTS,
            load64(1)[..1].to_vec(),
            "`struct s___mine.a (0:0)` field_exists: the program ends within the instruction",
        ),
        (
            "0:0",
            BYTE_OFF,
            vec![],
            "`struct s___mine.a (0:0)` byte_off: there is no such instruction",
        ),
        (
            "1:0",
            EXISTS,
            mov(0),
            "`struct s___mine[1].a (1:0)` field_exists: the operand is 0, the object's own types say 1",
        ),
        (
            "0:1:1:1:2",
            SIGNED,
            mov(0),
            "`struct s___mine.c[2] (0:1:1:1:2)` signed: signed cannot be asked of an element of an array",
        ),
    ] {
        assert_eq!(error(path, kind, insns), expected);
    }
    let (text, _) = relocate(&mut local, None, (root, "0:0", BYTE_OFF), mov(0));
    assert_eq!(
        text,
        "error: CO-RE relocation `struct s___mine.a (0:0)` byte_off: it is to be looked up in the kernel's types, and there are none (CONFIG_DEBUG_INFO_BTF)"
    );
    let (text, insns) = relocate(&mut local, None, (root, "0", ID_LOCAL), mov(0));
    assert_eq!(
        (text.as_str(), insns[0].imm),
        ("patched", root.0 as i32),
        "needs no kernel"
    );
    let nameless = local.structure("", 4, &[]);
    let (text, _) = relocate(
        &mut local,
        Some(&kernel),
        (nameless, "0", TYPE_EXISTS),
        mov(1),
    );
    assert_eq!(
        text,
        "error: CO-RE relocation `struct (unnamed)` type_exists: a type without a name cannot be looked up"
    );
    let (text, _) = relocate(
        &mut local,
        Some(&kernel),
        (TypeId(999), "0", TYPE_EXISTS),
        mov(1),
    );
    assert_eq!(
        text,
        "error: CO-RE relocation `a type that does not exist + `0`` type_exists: there is no type 999"
    );
    let mut far = Make::new();
    let int = far.int;
    far.structure("s", 1 << 20, &[("a", int, 8 << 16, 0)]);
    let (text, _) = relocate(
        &mut local,
        Some(&far.kernel()),
        (root, "0:0", BYTE_OFF),
        access(0x61, 0),
    );
    assert_eq!(
        text,
        "error: CO-RE relocation `struct s___mine.a (0:0)` byte_off: the offset would be 65536, more than the 32767 that an instruction can hold"
    );
}

#[test]
fn types_that_contain_themselves_end() {
    let mut make = Make::new();
    // A struct whose two anonymous members are the struct itself, and a typedef of itself.
    let id = TypeId(make.btf.len() as u32 + 1);
    make.structure("s", 8, &[("", id, 0, 0), ("", id, 0, 0)]);
    let own = TypeId(id.0 + 1);
    make.btf.add("t", Kind::Typedef(own));
    let kernel = make.kernel();
    let mut local = Make::new();
    let int = local.int;
    let root = local.structure("s", 8, &[("a", int, 0, 0)]);
    let (text, _) = relocate(&mut local, Some(&kernel), (root, "0:0", BYTE_OFF), mov(0));
    assert!(text.contains("the path has more than 64 steps"), "{text}");
    let typedef = local.btf.add("t", Kind::Typedef(int));
    let (text, _) = relocate(
        &mut local,
        Some(&kernel),
        (typedef, "0", TYPE_EXISTS),
        mov(1),
    );
    assert!(
        text.contains("a type refers to itself or to none"),
        "{text}"
    );
}

#[test]
fn endless_failures_are_told_in_bounded_space() {
    let (mut local, _, kernel) = sample();
    let int = local.int;
    let name = "x".repeat(3000);
    let relos: Vec<CoreRelo> = (0..1000)
        .map(|number| CoreRelo {
            insn_off: 0,
            type_id: local.structure(&format!("{name}{number}"), 4, &[("a", int, 0, 0)]),
            access: local.btf.strings.intern("0:0"),
            kind: BYTE_OFF,
        })
        .collect();
    let modules = Modules::default();
    let kernel = Kernel {
        types: Some(&kernel),
        modules: &modules,
    };
    let all = Relocations::resolve(&local.btf, relos.iter(), kernel);
    let mut told = 0;
    let mut last = String::new();
    for relo in &relos {
        let mut insns = mov(0);
        if let Ok(Applied::Poisoned(why)) = all.apply(&local.btf, relo, &mut insns, InsnIndex(0)) {
            told += if why.len() > 100 { why.len() } else { 0 };
            last = why.to_string();
        }
    }
    assert!(told > 1 << 19 && told < 1 << 21, "{told}");
    assert_eq!(
        last,
        "a CO-RE relocation failed, as many others of this object did"
    );
}

proptest! {
    /// Types of any shape on both sides: an answer, poison or an error.
    #[test]
    fn mutated_types_never_panic(
        flips in proptest::collection::vec((24usize..900, any::<u8>()), 1..6),
        own in proptest::collection::vec((24usize..900, any::<u8>()), 0..3),
        path in "[0-4](:[0-4]){0,5}",
        kind in 0u32..14,
        number in 0i32..64,
    ) {
        let (local, root, kernel) = sample();
        let mutate = |mut bytes: Vec<u8>, flips: Vec<(usize, u8)>| {
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes
        };
        let bytes = mutate(local.btf.encode(), flips);
        let kernel = KernelTypes::parse(bytes).unwrap_or(kernel);
        let mut local = local;
        local.btf = Btf::parse(&mutate(local.btf.encode(), own)).unwrap_or(local.btf);
        for insns in [mov(number), access(0x61, number as i16), load64(number as u64)] {
            let _ = relocate(&mut local, Some(&kernel), (root, &path, kind), insns);
        }
    }
}
