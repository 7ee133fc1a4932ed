//! How control and registers flow through one function: where an instruction leads, what it reads and writes.

use crate::insn::{
    BPF_ALU, BPF_ALU64, BPF_ATOMIC, BPF_JMP, BPF_JMP32, BPF_LD, BPF_LDX, BPF_ST, BPF_STX, BPF_X,
    Insn,
};

/// `imm` of an atomic: the old value comes back in the source register.
pub(super) const BPF_FETCH: i32 = 0x01;
/// `imm` of an atomic: exchange.
const BPF_XCHG: i32 = 0xe0 | BPF_FETCH;
/// `imm` of an atomic: compare r0, exchange; r0 gets the old value.
const BPF_CMPXCHG: i32 = 0xf0 | BPF_FETCH;
/// `imm` of an atomic: load with acquire semantics (Linux 6.15).
const BPF_LOAD_ACQ: i32 = 0x100;
/// `imm` of an atomic: store with release semantics (Linux 6.15).
const BPF_STORE_REL: i32 = 0x110;

/// A set of registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Regs(u16);

impl Regs {
    /// What a call may read: its arguments.
    pub(super) fn arguments(count: u8) -> Self {
        Self(((1 << count.min(5)) - 1) << 1)
    }

    pub(super) fn of(register: u8) -> Self {
        Self(1 << register)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn has(self, register: u8) -> bool {
        self.0 & (1 << register) != 0
    }
}

/// Whether control can go on to the next instruction.
pub(super) fn falls_through(insn: Insn) -> bool {
    let always = insn.opcode == BPF_JMP || insn.opcode == BPF_JMP32; // JA is operation 0
    !(insn.is_exit() || always)
}

/// Where control goes from the instruction at `at`: the next one, a jump's target.
pub(super) fn successors(at: usize, insn: Insn) -> impl Iterator<Item = usize> {
    let next = falls_through(insn).then(|| at + insn.slots() as usize);
    let jump = insn.jump_distance().and_then(|distance| {
        let target = at as i64 + 1 + i64::from(distance);
        usize::try_from(target).ok()
    });
    next.into_iter().chain(jump)
}

/// An atomic read-modify-write that leaves its source register alone.
pub(super) fn is_non_fetching_atomic(insn: Insn) -> bool {
    is_atomic(insn)
        && insn.imm & BPF_FETCH == 0
        && !matches!(insn.imm, BPF_LOAD_ACQ | BPF_STORE_REL)
}

fn is_atomic(insn: Insn) -> bool {
    insn.class() == BPF_STX && insn.opcode & 0xe0 == BPF_ATOMIC
}

/// The registers that an instruction reads; those of a call, `arguments` says.
pub(super) fn reads(insn: Insn, arguments: impl FnOnce() -> Regs) -> Regs {
    let (dst, src) = (Regs::of(insn.dst), Regs::of(insn.src));
    let operation = insn.opcode & 0xf0;
    match insn.class() {
        BPF_LDX => src,
        BPF_ST => dst,
        BPF_STX if is_atomic(insn) => match insn.imm {
            BPF_LOAD_ACQ => src,
            BPF_CMPXCHG => dst.and(src).and(Regs::of(0)),
            _ => dst.and(src),
        },
        BPF_STX => dst.and(src),
        // Legacy packet loads: the context in r6, and an index in src.
        BPF_LD if insn.is_ld_imm64() => Regs::default(),
        BPF_LD => Regs::of(6).and(src),
        BPF_ALU | BPF_ALU64 => match operation {
            0xb0 if insn.opcode & BPF_X != 0 => src,
            0xb0 => Regs::default(),
            0x80 | 0xd0 => dst, // negation and byte swaps have one operand
            _ if insn.opcode & BPF_X != 0 => dst.and(src),
            _ => dst,
        },
        BPF_JMP | BPF_JMP32 => match operation {
            0x00 | 0xe0 => Regs::default(), // ja, may_goto
            0x80 => arguments(),
            0x90 => Regs::of(0),
            _ if insn.opcode & BPF_X != 0 => dst.and(src),
            _ => dst,
        },
        _ => Regs::default(),
    }
}

/// The registers that an instruction writes or makes unreadable.
pub(super) fn writes(insn: Insn) -> Regs {
    match insn.class() {
        BPF_LDX | BPF_ALU | BPF_ALU64 => Regs::of(insn.dst),
        BPF_LD if insn.is_ld_imm64() => Regs::of(insn.dst),
        BPF_LD => Regs::of(0).and(Regs::arguments(5)),
        BPF_JMP if insn.opcode & 0xf0 == 0x80 => Regs::of(0).and(Regs::arguments(5)),
        BPF_STX if is_atomic(insn) => match insn.imm {
            BPF_CMPXCHG => Regs::of(0),
            BPF_LOAD_ACQ => Regs::of(insn.dst),
            BPF_STORE_REL => Regs::default(),
            BPF_XCHG => Regs::of(insn.src),
            imm if imm & BPF_FETCH != 0 => Regs::of(insn.src),
            _ => Regs::default(),
        },
        _ => Regs::default(),
    }
}

/// How many arguments each helper takes, by number (`include/uapi/linux/bpf.h`, Linux 6.12). Of a helper with a
/// variable number, bpf_trace_printk, only the two that it always takes.
const HELPER_ARGUMENTS: &[u8] = b"02423020055533002131442215435333231032322103231125434424352242243254544444434141024255132244311111155433344421553333210445113053124322221111144434233541421242020315453413231111341454332101144533231442255333220442";

/// How many arguments a helper takes; 0 where that is not known.
pub(super) fn helper_arguments(helper: i32) -> u8 {
    usize::try_from(helper)
        .ok()
        .and_then(|number| HELPER_ARGUMENTS.get(number))
        .map_or(0, |digit| digit - b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_take_what_their_prototypes_say() {
        // map_lookup_elem, map_update_elem, trace_printk, get_prandom_u32, tail_call, loop
        let known = [(1, 2), (2, 4), (6, 2), (7, 0), (12, 3), (181, 4)];
        for (helper, count) in known {
            assert_eq!(helper_arguments(helper), count, "helper {helper}");
        }
        assert_eq!(helper_arguments(-1), 0);
        assert_eq!(helper_arguments(100_000), 0);
    }

    #[test]
    fn a_jump_may_leave_the_function() {
        let back = Insn {
            opcode: BPF_JMP,
            off: -9,
            ..Insn::default()
        };
        assert_eq!(successors(3, back).count(), 0);
        let exit = Insn {
            opcode: BPF_JMP | 0x90,
            ..Insn::default()
        };
        assert_eq!(successors(3, exit).count(), 0);
    }
}
