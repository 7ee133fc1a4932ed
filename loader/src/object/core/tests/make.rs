//! Small types, instructions and relocations for the tests of CO-RE.

use xdplb_linker::btf::{
    Array, Btf, Composite, Enum, EnumValue, Int, Kind, Member, Signedness, TypeId,
};
use xdplb_linker::btf_ext::CoreRelo;
use xdplb_linker::insn::{Insn, InsnIndex};

use super::super::super::kernel_types::{KernelTypes, Modules};
use super::super::*;

/// A .BTF section in the making.
pub(super) struct Make {
    pub(super) btf: Btf,
    pub(super) int: TypeId,
    pub(super) uint: TypeId,
    pub(super) long: TypeId,
    pub(super) ulong: TypeId,
    pub(super) byte: TypeId,
}

impl Make {
    pub(super) fn new() -> Self {
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
    pub(super) fn composite(
        &mut self,
        size: u32,
        members: &[(&str, TypeId, u32, u8)],
    ) -> Composite {
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

    pub(super) fn structure(
        &mut self,
        name: &str,
        size: u32,
        members: &[(&str, TypeId, u32, u8)],
    ) -> TypeId {
        let kind = Kind::Struct(self.composite(size, members));
        self.btf.add(name, kind)
    }

    pub(super) fn union(
        &mut self,
        name: &str,
        size: u32,
        members: &[(&str, TypeId, u32, u8)],
    ) -> TypeId {
        let kind = Kind::Union(self.composite(size, members));
        self.btf.add(name, kind)
    }

    pub(super) fn array(&mut self, element: TypeId, count: u32) -> TypeId {
        let index = self.uint;
        let kind = Kind::Array(Array {
            element,
            index,
            count,
        });
        self.btf.add("", kind)
    }

    pub(super) fn enumeration(
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

    pub(super) fn enumeration64(&mut self, name: &str, values: &[(&str, u64)]) -> TypeId {
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

    pub(super) fn kernel(&self) -> KernelTypes {
        KernelTypes::parse(self.btf.encode()).unwrap()
    }
}

pub(super) const BYTE_OFF: u32 = 0;
pub(super) const BYTE_SZ: u32 = 1;
pub(super) const EXISTS: u32 = 2;
pub(super) const SIGNED: u32 = 3;
pub(super) const LSHIFT: u32 = 4;
pub(super) const RSHIFT: u32 = 5;
pub(super) const ID_LOCAL: u32 = 6;
pub(super) const ID_TARGET: u32 = 7;
pub(super) const TYPE_EXISTS: u32 = 8;
pub(super) const TYPE_SIZE: u32 = 9;
pub(super) const VALUE_EXISTS: u32 = 10;
pub(super) const VALUE: u32 = 11;
pub(super) const MATCHES: u32 = 12;

/// `r1 = imm`
pub(super) fn mov(imm: i32) -> Vec<Insn> {
    vec![Insn {
        opcode: 0xb7,
        dst: 1,
        imm,
        ..Insn::default()
    }]
}

/// `r1 = imm ll`
pub(super) fn load64(imm: u64) -> Vec<Insn> {
    let half = |opcode, imm: u64| Insn {
        opcode,
        imm: imm as u32 as i32,
        ..Insn::default()
    };
    vec![half(0x18, imm), half(0, imm >> 32)]
}

/// A load or store with this opcode: `r1 = *(uN *)(r2 + off)`.
pub(super) fn access(opcode: u8, off: i16) -> Vec<Insn> {
    vec![Insn {
        opcode,
        dst: 1,
        src: 2,
        off,
        imm: 0,
    }]
}

/// Relocates the instruction; the outcome in words.
pub(super) fn relocate(
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
        Ok(Applied::Patched { .. }) => "patched".to_string(),
        Ok(Applied::Poisoned(why)) => format!("poisoned: {why}"),
        Err(why) => format!("error: {why}"),
    };
    (text, insns)
}

/// The operand of `r1 = old` after relocation.
pub(super) fn number(
    local: &mut Make,
    kernel: &KernelTypes,
    relo: (TypeId, &str, u32),
    old: i32,
) -> i32 {
    let (text, insns) = relocate(local, Some(kernel), relo, mov(old));
    assert_eq!(text, "patched");
    insns[0].imm
}

/// struct s { int a; union { long b; struct { int pad; int c[4]; }; }; unsigned d:3; int e:5; char tail[]; } here,
/// the same with eight bytes before it in the kernel, and narrower bitfields.
pub(super) fn sample() -> (Make, TypeId, KernelTypes) {
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
