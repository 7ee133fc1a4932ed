//! Every kind of relocation and every error text, on types small enough to read here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use xdplb_linker::btf::{
    Array, Btf, Composite, Enum, EnumValue, FuncProto, FwdKind, Int, Kind, Member, Param,
    Signedness, TypeId,
};
use xdplb_linker::btf_ext::CoreRelo;
use xdplb_linker::insn::{Insn, InsnIndex};

use super::super::kernel_types::{KernelTypes, ModuleTypes, Modules};
use super::*;

/// A .BTF section in the making.
struct Make {
    btf: Btf,
    int: TypeId,
    uint: TypeId,
    long: TypeId,
    ulong: TypeId,
    byte: TypeId,
}

impl Make {
    fn new() -> Self {
        let mut btf = Btf::new();
        let mut int = |name: &str, size: u32, encoding| {
            let kind = Int {
                size,
                encoding,
                bit_offset: 0,
                bits: (size * 8) as u8,
            };
            btf.add(name, Kind::Int(kind))
        };
        let (a, b, c) = (
            int("int", 4, 1),
            int("unsigned int", 4, 0),
            int("long", 8, 1),
        );
        let (d, e) = (int("unsigned long", 8, 0), int("char", 1, 0));
        Make {
            btf,
            int: a,
            uint: b,
            long: c,
            ulong: d,
            byte: e,
        }
    }

    /// Members as (name, type, bit offset, width of a bitfield).
    fn composite(&mut self, size: u32, members: &[(&str, TypeId, u32, u8)]) -> Composite {
        let members = members
            .iter()
            .map(|&(name, ty, bit_offset, bitfield_size)| Member {
                name: self.btf.strings.intern(name),
                ty,
                bit_offset,
                bitfield_size,
            })
            .collect();
        Composite { size, members }
    }

    fn structure(&mut self, name: &str, size: u32, members: &[(&str, TypeId, u32, u8)]) -> TypeId {
        let kind = Kind::Struct(self.composite(size, members));
        self.btf.add(name, kind)
    }

    fn union(&mut self, name: &str, size: u32, members: &[(&str, TypeId, u32, u8)]) -> TypeId {
        let kind = Kind::Union(self.composite(size, members));
        self.btf.add(name, kind)
    }

    fn array(&mut self, element: TypeId, count: u32) -> TypeId {
        let index = self.uint;
        let kind = Kind::Array(Array {
            element,
            index,
            count,
        });
        self.btf.add("", kind)
    }

    fn enumeration(
        &mut self,
        name: &str,
        signedness: Signedness,
        values: &[(&str, i32)],
    ) -> TypeId {
        let values = values
            .iter()
            .map(|&(name, value)| EnumValue {
                name: self.btf.strings.intern(name),
                value,
            })
            .collect();
        let kind = Kind::Enum(Enum {
            size: 4,
            signedness,
            values,
        });
        self.btf.add(name, kind)
    }

    fn enumeration64(&mut self, name: &str, values: &[(&str, u64)]) -> TypeId {
        let values = values
            .iter()
            .map(|&(name, value)| EnumValue {
                name: self.btf.strings.intern(name),
                value,
            })
            .collect();
        let kind = Kind::Enum64(Enum {
            size: 8,
            signedness: Signedness::Unsigned,
            values,
        });
        self.btf.add(name, kind)
    }

    fn kernel(&self) -> KernelTypes {
        KernelTypes::parse(self.btf.encode()).unwrap()
    }
}

const BYTE_OFF: u32 = 0;
const BYTE_SZ: u32 = 1;
const EXISTS: u32 = 2;
const SIGNED: u32 = 3;
const LSHIFT: u32 = 4;
const RSHIFT: u32 = 5;
const ID_LOCAL: u32 = 6;
const ID_TARGET: u32 = 7;
const TYPE_EXISTS: u32 = 8;
const TYPE_SIZE: u32 = 9;
const VALUE_EXISTS: u32 = 10;
const VALUE: u32 = 11;
const MATCHES: u32 = 12;

/// `r1 = imm`
fn mov(imm: i32) -> Vec<Insn> {
    vec![Insn {
        opcode: 0xb7,
        dst: 1,
        imm,
        ..Insn::default()
    }]
}

/// `r1 = imm ll`
fn load64(imm: u64) -> Vec<Insn> {
    let half = |opcode, imm: u64| Insn {
        opcode,
        imm: imm as u32 as i32,
        ..Insn::default()
    };
    vec![half(0x18, imm), half(0, imm >> 32)]
}

/// A load or store with this opcode: `r1 = *(uN *)(r2 + off)`.
fn access(opcode: u8, off: i16) -> Vec<Insn> {
    vec![Insn {
        opcode,
        dst: 1,
        src: 2,
        off,
        imm: 0,
    }]
}

/// Relocates the instruction; the outcome in words.
fn relocate(
    local: &mut Make,
    kernel: Option<&KernelTypes>,
    (root, path, kind): (TypeId, &str, u32),
    mut insns: Vec<Insn>,
) -> (String, Vec<Insn>) {
    let relo = CoreRelo {
        insn_off: 0,
        type_id: root,
        access: local.btf.strings.intern(path),
        kind,
    };
    let modules = Modules::default();
    let kernel = Kernel {
        types: kernel,
        modules: &modules,
    };
    let all = Relocations::resolve(&local.btf, [relo].iter(), kernel);
    let text = match all.apply(&local.btf, &relo, &mut insns, InsnIndex(0)) {
        Ok(Applied::Patched) => "patched".to_string(),
        Ok(Applied::Poisoned(why)) => format!("poisoned: {why}"),
        Err(why) => format!("error: {why}"),
    };
    (text, insns)
}

/// The operand of `r1 = old` after relocation.
fn number(local: &mut Make, kernel: &KernelTypes, relo: (TypeId, &str, u32), old: i32) -> i32 {
    let (text, insns) = relocate(local, Some(kernel), relo, mov(old));
    assert_eq!(text, "patched");
    insns[0].imm
}

/// struct s { int a; union { long b; struct { int pad; int c[4]; }; }; unsigned d:3; int e:5; char tail[]; } here,
/// the same with eight bytes before it in the kernel, and narrower bitfields.
fn sample() -> (Make, TypeId, KernelTypes) {
    let build = |shift: u32, bits: u8, name: &str| {
        let mut make = Make::new();
        let (int, uint, long, byte) = (make.int, make.uint, make.long, make.byte);
        let array = make.array(int, 4);
        let inner = make.structure("", 20, &[("pad", int, 0, 0), ("c", array, 32, 0)]);
        let union = make.union("", 24, &[("b", long, 0, 0), ("", inner, 0, 0)]);
        let tail = make.array(byte, 0);
        let root = make.structure(
            name,
            40 + shift,
            &[
                ("a", int, shift * 8, 0),
                ("", union, 64 + shift * 8, 0),
                ("d", uint, 256 + shift * 8, bits),
                ("e", int, 256 + shift * 8 + u32::from(bits), 5),
                ("tail", tail, 296 + shift * 8, 0),
            ],
        );
        (make, root)
    };
    let (local, root) = build(0, 3, "s___mine");
    let (kernel, _) = build(8, 4, "s");
    (local, root, kernel.kernel())
}

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
        (InsnIndex(3), "three".to_string()),
        (InsnIndex(9), "nine".to_string()),
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
    assert_eq!(
        all.apply(&local.btf, &relos[0], &mut insns, InsnIndex(0)),
        Ok(Applied::Patched)
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
