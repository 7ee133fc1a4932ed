//! Every kind of relocation gives its number.

use xdplb_linker::btf::{FuncProto, FwdKind, Kind, Param, Signedness, TypeId};

use super::super::*;
use super::make::*;

#[test]
fn fields_are_found_by_name_wherever_they_are() {
    let (mut local, root, kernel) = sample();
    let mut at = |path, old| number(&mut local, &kernel, (root, path, BYTE_OFF), old);
    assert_eq!(at("0:0", 0), 8);
    assert_eq!(at("0:1:0", 8), 16);
    assert_eq!(at("0:1:1:1:2", 20), 28);
    assert_eq!(at("0:4:7", 44), 52, "a flexible array has any element");
    assert_eq!(at("1:0", 40), 56, "an element of an array of structs");
    assert_eq!(at("0", 0), 0, "the struct itself");
}

#[test]
fn fields_are_described() {
    let (mut local, root, kernel) = sample();
    let mut ask = |path, kind, old| number(&mut local, &kernel, (root, path, kind), old);
    assert_eq!(ask("0:1:1:1", BYTE_SZ, 16), 16);
    assert_eq!(ask("0:1:1:1:2", BYTE_SZ, 4), 4);
    assert_eq!(ask("0:0", EXISTS, 1), 1);
    assert_eq!(ask("0:0", SIGNED, 1), 1);
    assert_eq!(ask("0:2", SIGNED, 0), 0);
    // Four bits at bit 0 of the four bytes at 40, then five bits above them.
    assert_eq!(ask("0:2", BYTE_OFF, 32), 40);
    assert_eq!(ask("0:2", BYTE_SZ, 4), 4);
    assert_eq!((ask("0:2", LSHIFT, 61), ask("0:2", RSHIFT, 61)), (60, 60));
    assert_eq!((ask("0:3", LSHIFT, 56), ask("0:3", RSHIFT, 59)), (55, 59));
    assert_eq!((ask("0:0", LSHIFT, 32), ask("0:0", RSHIFT, 32)), (32, 32));
}

#[test]
fn loads_take_the_offset_and_the_width() {
    let mut local = Make::new();
    let (uint, int) = (local.uint, local.int);
    let ptr = local.btf.add("", Kind::Ptr(TypeId::VOID));
    let root = local.structure(
        "s",
        24,
        &[("u", uint, 0, 0), ("i", int, 32, 0), ("p", ptr, 64, 0)],
    );
    let mut other = Make::new();
    let (ulong, long) = (other.ulong, other.long);
    let to = other.btf.add("", Kind::Ptr(TypeId::VOID));
    other.structure(
        "s",
        40,
        &[("p", to, 64, 0), ("u", ulong, 128, 0), ("i", long, 192, 0)],
    );
    let kernel = other.kernel();
    let mut at = |path, opcode, off| {
        let (text, insns) = relocate(
            &mut local,
            Some(&kernel),
            (root, path, BYTE_OFF),
            access(opcode, off),
        );
        (text, insns[0].opcode, insns[0].off)
    };
    // *(u32 *) becomes *(u64 *), loaded or stored
    assert_eq!(at("0:0", 0x61, 0), ("patched".into(), 0x79, 16));
    assert_eq!(at("0:0", 0x63, 0), ("patched".into(), 0x7b, 16));
    assert_eq!(at("0:2", 0x79, 8), ("patched".into(), 0x79, 8));
    // A signed load extends the sign: *(s32 *) becomes *(u64 *). A plain one does not, and there is no telling.
    assert_eq!(at("0:1", 0x81, 4), ("patched".into(), 0x79, 24));
    let (text, opcode, _) = at("0:1", 0x61, 4);
    assert_eq!(opcode, 0x85);
    assert_eq!(
        text,
        "poisoned: CO-RE relocation `struct s.i (0:1)` byte_off: the field has 8 bytes in this kernel and 4 in the object, and a load of 8 bytes gives another value than one of 4: neither are both pointers nor both unsigned integers"
    );
    assert_eq!(
        at("0:0", 0x69, 0).0,
        "error: CO-RE relocation `struct s.u (0:0)` byte_off: the instruction accesses 2 bytes, the field has 4 in the object's own types"
    );
    // Arithmetic takes the offset whatever the width.
    let (text, insns) = relocate(&mut local, Some(&kernel), (root, "0:1", BYTE_OFF), mov(4));
    assert_eq!((text.as_str(), insns[0].imm), ("patched", 24));
}

#[test]
fn types_are_looked_up() {
    let (mut local, root, kernel) = sample();
    let absent = local.structure("absent", 4, &[]);
    let mut ask = |root, kind, old| number(&mut local, &kernel, (root, "0", kind), old);
    let target = kernel.find(TypeKind::Struct, "s").unwrap().0 as i32;
    assert_eq!(
        ask(root, ID_LOCAL, 7),
        root.0 as i32,
        "the old number is not insisted on"
    );
    assert_eq!(ask(root, ID_TARGET, 7), target);
    assert_eq!(ask(root, TYPE_EXISTS, 1), 1);
    assert_eq!(ask(root, TYPE_SIZE, 40), 48);
    assert_eq!(ask(absent, ID_TARGET, 7), 0);
    assert_eq!(ask(absent, TYPE_EXISTS, 1), 0);
    assert_eq!(ask(absent, TYPE_SIZE, 4), 0);
    assert_eq!(ask(absent, MATCHES, 1), 0);
}

#[test]
fn a_type_matches_one_that_has_all_its_members() {
    let mut make = Make::new();
    let (int, uint) = (make.int, make.uint);
    let fwd = make.btf.add("other", Kind::Fwd(FwdKind::Struct));
    let ptr = make.btf.add("", Kind::Ptr(fwd));
    make.structure(
        "s",
        24,
        &[("extra", int, 0, 0), ("n", int, 32, 0), ("p", ptr, 64, 0)],
    );
    make.enumeration("e", Signedness::Unsigned, &[("A", 0), ("B", 1)]);
    let kernel = make.kernel();

    let mut local = Make::new();
    let (int_here, uint_here) = (local.int, local.uint);
    assert_eq!((int, uint), (int_here, uint_here));
    let other = local.structure("other", 4, &[("x", int, 0, 0)]);
    let to_other = local.btf.add("", Kind::Ptr(other));
    let fits = local.structure("s___1", 24, &[("p", to_other, 0, 0), ("n", int, 64, 0)]);
    let sign = local.structure("s___2", 24, &[("n", uint, 0, 0)]);
    let more = local.structure("s___3", 24, &[("none", int, 0, 0)]);
    let value = local.enumeration("e___1", Signedness::Unsigned, &[("B___x", 7)]);
    let none = local.enumeration("e___2", Signedness::Unsigned, &[("C", 0)]);
    let mut ask = |root| number(&mut local, &kernel, (root, "0", MATCHES), 1);
    assert_eq!(ask(fits), 1);
    assert_eq!(ask(sign), 0);
    assert_eq!(ask(more), 0);
    assert_eq!(ask(value), 1);
    assert_eq!(ask(none), 0);
}

#[test]
fn prototypes_are_compared_by_their_parameters() {
    let build = |params: &[TypeId], make: &mut Make| {
        let params = params
            .iter()
            .map(|&ty| Param {
                name: Default::default(),
                ty,
            })
            .collect();
        let returns = make.int;
        make.btf
            .add("", Kind::FuncProto(FuncProto { returns, params }))
    };
    let mut kernel = Make::new();
    let (int, long) = (kernel.int, kernel.long);
    let proto = build(&[int, long], &mut kernel);
    let ptr = kernel.btf.add("", Kind::Ptr(proto));
    kernel.btf.add("callback", Kind::Typedef(ptr));
    let kernel = kernel.kernel();
    let mut local = Make::new();
    let two = build(&[long, int], &mut local);
    let two = local.btf.add("", Kind::Ptr(two));
    let two = local.btf.add("callback", Kind::Typedef(two));
    let one = build(&[long], &mut local);
    let one = local.btf.add("", Kind::Ptr(one));
    let one = local.btf.add("callback___1", Kind::Typedef(one));
    let mut ask = |root, kind| number(&mut local, &kernel, (root, "0", kind), 1);
    assert_eq!((ask(two, TYPE_EXISTS), ask(two, MATCHES)), (1, 0));
    assert_eq!(ask(one, TYPE_EXISTS), 0);
}

/// What broke: `extern const int bpf_prog_active __ksym`, of which the kernel says plainly `int`.
#[test]
fn a_kernel_variable_may_be_const_to_the_program() {
    let mut local = Make::new();
    let constant = local.btf.add("", Kind::Const(local.int));
    let kernel = local.kernel();
    let int = local.int;
    assert!(types_compatible(&local.btf, constant, &kernel, int));
    let pointer = local.btf.add("", Kind::Ptr(constant));
    assert!(!types_compatible(&local.btf, pointer, &kernel, int));
}

#[test]
fn values_of_enumerations_are_looked_up_by_name() {
    let mut kernel = Make::new();
    kernel.enumeration("e", Signedness::Signed, &[("A", -5), ("B", 9)]);
    kernel.enumeration("flags", Signedness::Unsigned, &[("TOP", i32::MIN)]);
    kernel.enumeration64("wide", &[("W", 0x1_0000_0002)]);
    let kernel = kernel.kernel();
    let mut local = Make::new();
    let e = local.enumeration("e___x", Signedness::Signed, &[("B", 1), ("A", 2), ("C", 3)]);
    let flags = local.enumeration("flags", Signedness::Unsigned, &[("TOP", -1)]);
    let wide = local.enumeration64("wide", &[("W", 0x5_0000_0000)]);
    assert_eq!(number(&mut local, &kernel, (e, "0", VALUE), 1), 9);
    assert_eq!(number(&mut local, &kernel, (e, "1", VALUE), 2), -5);
    assert_eq!(number(&mut local, &kernel, (e, "1", VALUE_EXISTS), 1), 1);
    assert_eq!(number(&mut local, &kernel, (e, "2", VALUE_EXISTS), 1), 0);
    let mut wide_load = |root, old| {
        let (text, insns) = relocate(&mut local, Some(&kernel), (root, "0", VALUE), load64(old));
        assert_eq!(text, "patched");
        (insns[1].imm as u32, insns[0].imm as u32)
    };
    assert_eq!(wide_load(wide, 0x5_0000_0000), (1, 2));
    // A value of 32 bits is extended as the compiler extended it.
    assert_eq!(wide_load(flags, 0xffff_ffff), (0, 0x8000_0000));
    assert_eq!(wide_load(flags, u64::MAX), (0xffff_ffff, 0x8000_0000));
    let (text, _) = relocate(&mut local, Some(&kernel), (wide, "0", VALUE), mov(0));
    assert_eq!(
        text,
        "error: CO-RE relocation `enum wide::W (0)` enumval_value: the operand is 0, the object's own types say 21474836480"
    );
}
