//! The instruction: eight bytes, and the two facts about it that a linker or a loader must know:
//! which instructions hold an address, and which of them take two slots.
//!
//! Names and values are the kernel's (`include/uapi/linux/bpf.h`, `bpf_common.h`), so that a reader can search for them.

mod disassembly;
mod helpers;

pub use disassembly::{BPF_ABS, BPF_IND, BPF_MEMSX, known_text, opcode_names, text};
pub use helpers::helper_name;

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{Cause, ParseError};

/// Instruction class: load of an immediate or legacy packet load.
pub const BPF_LD: u8 = 0x00;
/// Instruction class: load from memory into a register.
pub const BPF_LDX: u8 = 0x01;
/// Instruction class: store an immediate to memory.
pub const BPF_ST: u8 = 0x02;
/// Instruction class: store a register to memory; atomics too.
pub const BPF_STX: u8 = 0x03;
/// Instruction class: 32-bit arithmetic.
pub const BPF_ALU: u8 = 0x04;
/// Instruction class: jumps, calls and exit; 64-bit comparisons.
pub const BPF_JMP: u8 = 0x05;
/// Instruction class: jumps with 32-bit comparisons.
pub const BPF_JMP32: u8 = 0x06;
/// Instruction class: 64-bit arithmetic.
pub const BPF_ALU64: u8 = 0x07;

/// Size of an access: 4 bytes.
pub const BPF_W: u8 = 0x00;
/// Size of an access: 2 bytes.
pub const BPF_H: u8 = 0x08;
/// Size of an access: 1 byte.
pub const BPF_B: u8 = 0x10;
/// Size of an access: 8 bytes.
pub const BPF_DW: u8 = 0x18;

/// Mode of a load: the immediate itself.
pub const BPF_IMM: u8 = 0x00;
/// Mode of a load or store: plain memory.
pub const BPF_MEM: u8 = 0x60;
/// Mode of a store: an atomic read-modify-write.
pub const BPF_ATOMIC: u8 = 0xc0;

/// Second operand: the immediate.
pub const BPF_K: u8 = 0x00;
/// Second operand: the source register.
pub const BPF_X: u8 = 0x08;

/// Jump operation: always.
pub const BPF_JA: u8 = 0x00;
/// Jump operation: call a helper, a function of this program, or a kernel function.
pub const BPF_CALL: u8 = 0x80;
/// Jump operation: return to the caller.
pub const BPF_EXIT: u8 = 0x90;

/// `src` of a `ld_imm64`: `imm` is the file descriptor of a map.
pub const BPF_PSEUDO_MAP_FD: u8 = 1;
/// `src` of a `ld_imm64`: `imm` is a map's file descriptor, the second `imm` an offset into its only value.
pub const BPF_PSEUDO_MAP_VALUE: u8 = 2;
/// `src` of a `ld_imm64`: `imm` is the BTF id of a kernel variable.
pub const BPF_PSEUDO_BTF_ID: u8 = 3;
/// `src` of a `ld_imm64`: `imm` is the distance to a function of this program, in instructions.
pub const BPF_PSEUDO_FUNC: u8 = 4;
/// `src` of a `ld_imm64`: `imm` is an index into the load's `fd_array`.
pub const BPF_PSEUDO_MAP_IDX: u8 = 5;
/// `src` of a `ld_imm64`: as [`BPF_PSEUDO_MAP_VALUE`], by index into `fd_array`.
pub const BPF_PSEUDO_MAP_IDX_VALUE: u8 = 6;
/// `src` of a call: `imm` is the distance to a function of this program, in instructions.
pub const BPF_PSEUDO_CALL: u8 = 1;
/// `src` of a call: `imm` is the BTF id of a kernel function.
pub const BPF_PSEUDO_KFUNC_CALL: u8 = 2;

/// One slot of a program, decoded. `ld_imm64` takes two slots; the second has opcode 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Insn {
    /// Class, operation and operand mode.
    pub opcode: u8,
    /// Destination register, 0 to 15 (the kernel knows 0 to 10).
    pub dst: u8,
    /// Source register, or one of the `BPF_PSEUDO_*` marks.
    pub src: u8,
    /// Jump distance in instructions, or a memory offset in bytes.
    pub off: i16,
    /// Immediate operand.
    pub imm: i32,
}

impl Insn {
    /// Bytes an instruction takes.
    pub const SIZE: usize = 8;

    /// Decodes one little-endian instruction. Every pattern of bytes has a meaning here; whether the kernel
    /// accepts it is the verifier's business.
    pub fn decode(bytes: [u8; Self::SIZE]) -> Self {
        Self {
            opcode: bytes[0],
            dst: bytes[1] & 0x0f,
            src: bytes[1] >> 4,
            off: LittleEndian::read_i16(&bytes[2..4]),
            imm: LittleEndian::read_i32(&bytes[4..8]),
        }
    }

    /// The little-endian bytes, as the kernel takes them.
    pub fn encode(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0] = self.opcode;
        bytes[1] = (self.src << 4) | (self.dst & 0x0f);
        LittleEndian::write_i16(&mut bytes[2..4], self.off);
        LittleEndian::write_i32(&mut bytes[4..8], self.imm);
        bytes
    }

    /// The lowest three bits of the opcode.
    pub fn class(self) -> u8 {
        self.opcode & 0x07
    }

    /// The first slot of the only instruction that takes two: load a 64-bit immediate.
    pub fn is_ld_imm64(self) -> bool {
        self.opcode == BPF_LD | BPF_IMM | BPF_DW
    }

    /// Any call: helper, kernel function or function of this program.
    pub fn is_call(self) -> bool {
        self.opcode == BPF_JMP | BPF_CALL
    }

    /// A call of another function of the same program.
    pub fn is_pseudo_call(self) -> bool {
        self.is_call() && self.src == BPF_PSEUDO_CALL
    }

    /// A call of a kernel function by its BTF id.
    pub fn is_kfunc_call(self) -> bool {
        self.is_call() && self.src == BPF_PSEUDO_KFUNC_CALL
    }

    /// A call of a kernel helper by its number.
    pub fn is_helper_call(self) -> bool {
        self.is_call() && self.src == 0
    }

    /// A `ld_imm64` of the address of a function of this program (a callback).
    pub fn is_pseudo_func(self) -> bool {
        self.is_ld_imm64() && self.src == BPF_PSEUDO_FUNC
    }

    /// The end of a function.
    pub fn is_exit(self) -> bool {
        self.opcode == BPF_JMP | BPF_EXIT
    }

    /// How far the next instruction is from the one after this one, when this is a jump (conditional or not).
    /// Calls and exits are not jumps. `BPF_JMP32 | BPF_JA` is `gotol`, whose distance is in `imm` (kernel 6.6).
    pub fn jump_distance(self) -> Option<i32> {
        if self.opcode == BPF_JMP32 | BPF_JA {
            return Some(self.imm);
        }
        let operation = self.opcode & 0xf0;
        let jumps = matches!(self.class(), BPF_JMP | BPF_JMP32)
            && operation != BPF_CALL
            && operation != BPF_EXIT;
        jumps.then_some(i32::from(self.off))
    }

    /// An unconditional jump to itself: what a panic handler that loops for ever compiles to.
    pub fn is_self_jump(self) -> bool {
        self.opcode & 0xf0 == BPF_JA && self.jump_distance() == Some(-1)
    }

    /// Slots it takes: 2 for `ld_imm64`, else 1.
    pub fn slots(self) -> u32 {
        if self.is_ld_imm64() { 2 } else { 1 }
    }
}

/// A place in a program, counted in slots of eight bytes: `.text+0x48` is instruction 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct InsnIndex(pub u32);

impl InsnIndex {
    /// The slot that holds byte `offset`; exact when the offset is a multiple of eight.
    pub fn from_byte_offset(offset: u64) -> Self {
        Self(u32::try_from(offset / Insn::SIZE as u64).unwrap_or(u32::MAX))
    }

    /// The offset of its first byte.
    pub fn byte_offset(self) -> u64 {
        u64::from(self.0) * Insn::SIZE as u64
    }
}

/// Decodes a section of code into slots. `section` is named in the error.
///
/// Having the slots proves that the bytes were a whole number of instructions; [`steps`] proves the rest.
pub fn decode_all(section: &str, bytes: &[u8]) -> Result<Vec<Insn>, ParseError> {
    let (chunks, rest) = bytes.as_chunks::<{ Insn::SIZE }>();
    if !rest.is_empty() {
        return Err(ParseError::new(
            section,
            (bytes.len() - rest.len()) as u64,
            Cause::Truncated {
                what: "instruction",
                need: Insn::SIZE as u64,
                have: rest.len() as u64,
            },
        ));
    }
    Ok(chunks.iter().map(|chunk| Insn::decode(*chunk)).collect())
}

/// The bytes of a program, slot after slot.
pub fn encode_all(insns: &[Insn]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(insns.len() * Insn::SIZE);
    for insn in insns {
        bytes.extend_from_slice(&insn.encode());
    }
    bytes
}

/// One whole instruction: its place, its first slot and, for `ld_imm64`, its second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Where its first slot is.
    pub at: InsnIndex,
    /// The first slot.
    pub insn: Insn,
    /// The second slot of a `ld_imm64`. `None` for others, and for a `ld_imm64` cut off by the end.
    pub second: Option<Insn>,
}

impl Step {
    /// The 64-bit constant of a `ld_imm64`: low half from the first slot, high half from the second.
    pub fn imm64(self) -> u64 {
        let low = u64::from(self.insn.imm as u32);
        let high = self.second.map_or(0, |second| u64::from(second.imm as u32));
        high << 32 | low
    }
}

/// Walks whole instructions: a second slot is never taken for an instruction of its own.
pub fn steps(insns: &[Insn]) -> impl Iterator<Item = Step> + '_ {
    let mut next = 0usize;
    std::iter::from_fn(move || {
        let insn = *insns.get(next)?;
        let at = InsnIndex(u32::try_from(next).ok()?);
        let second = if insn.is_ld_imm64() {
            insns.get(next + 1).copied()
        } else {
            None
        };
        next += insn.slots() as usize;
        Some(Step { at, insn, second })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_known_instruction_has_its_known_fields() {
        // r1 = *(u32 *)(r2 + 12): `61 21 0c 00 00 00 00 00` in llvm-objdump
        let insn = Insn::decode([0x61, 0x21, 0x0c, 0, 0, 0, 0, 0]);
        assert_eq!(insn.class(), BPF_LDX);
        assert_eq!((insn.dst, insn.src, insn.off, insn.imm), (1, 2, 12, 0));
    }

    #[test]
    fn calls_are_told_apart() {
        let call = |src| Insn {
            opcode: BPF_JMP | BPF_CALL,
            src,
            ..Insn::default()
        };
        assert!(call(0).is_helper_call());
        assert!(call(1).is_pseudo_call());
        assert!(call(2).is_kfunc_call());
        assert_eq!(call(0).jump_distance(), None);
    }

    #[test]
    fn a_loop_around_nothing_is_a_self_jump() {
        let goto = |opcode, off, imm| Insn {
            opcode,
            off,
            imm,
            ..Insn::default()
        };
        assert!(goto(BPF_JMP | BPF_JA, -1, 0).is_self_jump());
        assert!(goto(BPF_JMP32 | BPF_JA, 0, -1).is_self_jump());
        assert!(!goto(BPF_JMP | BPF_JA, -2, 0).is_self_jump());
        // if r0 == 0 goto -1 is a condition: r0 may differ
        assert!(!goto(BPF_JMP | 0x10, -1, 0).is_self_jump());
    }

    #[test]
    fn the_second_slot_is_not_an_instruction() {
        let bytes = [
            0x18, 1, 0, 0, 4, 3, 2, 1, // r1 = 0x0807060501020304 ll, first slot
            0, 0, 0, 0, 8, 7, 6, 5, // second slot
            0x95, 0, 0, 0, 0, 0, 0, 0, // exit
        ];
        let insns = decode_all("xdp", &bytes).unwrap();
        let walked: Vec<_> = steps(&insns).collect();
        assert_eq!(walked.len(), 2);
        assert_eq!(walked[0].imm64(), 0x0506_0708_0102_0304);
        assert_eq!(walked[1].at, InsnIndex(2));
        assert!(walked[1].insn.is_exit());
        assert_eq!(encode_all(&insns), bytes);
    }

    #[test]
    fn a_cut_instruction_is_named() {
        let error = decode_all("xdp", &[0; 12]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "xdp+0x8: instruction needs 8 bytes, 4 are left"
        );
    }

    proptest! {
        #[test]
        fn decode_then_encode_is_the_identity(bytes: [u8; 8]) {
            prop_assert_eq!(Insn::decode(bytes).encode(), bytes);
        }

        #[test]
        fn walking_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let whole = bytes.len() / 8 * 8;
            let insns = decode_all("x", &bytes[..whole]).unwrap();
            let slots: u32 = steps(&insns).map(|s| 1 + u32::from(s.second.is_some())).sum();
            prop_assert_eq!(slots as usize, insns.len());
        }
    }
}
