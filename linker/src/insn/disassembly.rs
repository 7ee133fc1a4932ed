//! Instructions as text, in the words of the verifier's log (`print_bpf_insn` in kernel/bpf/disasm.c), so that what a reader
//! learns here helps there.
//!
//! Two differences. The kernel prints what it has checked already; here a pattern of bytes that no kernel gives a meaning
//! is called unknown, with its bytes. And the kernel prints addresses and file descriptors where an object has names: [`text`]
//! takes the name from the caller, who knows the relocations.

use super::helpers::helper_name;
use super::{
    BPF_ALU, BPF_ALU64, BPF_ATOMIC, BPF_CALL, BPF_DW, BPF_EXIT, BPF_IMM, BPF_JA, BPF_JMP,
    BPF_JMP32, BPF_LD, BPF_LDX, BPF_MEM, BPF_PSEUDO_BTF_ID, BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC,
    BPF_PSEUDO_KFUNC_CALL, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_IDX, BPF_PSEUDO_MAP_IDX_VALUE,
    BPF_PSEUDO_MAP_VALUE, BPF_ST, BPF_STX, BPF_X, Insn, Step,
};

/// Mode of a load: from the packet, at a constant place (`BPF_LD` only).
pub const BPF_ABS: u8 = 0x20;
/// Mode of a load: from the packet, at a register plus a constant (`BPF_LD` only).
pub const BPF_IND: u8 = 0x40;
/// Mode of a load: memory, with the value's sign extended (Linux 6.6).
pub const BPF_MEMSX: u8 = 0x80;

/// Arithmetic: negate.
const BPF_NEG: u8 = 0x80;
/// Arithmetic: copy.
const BPF_MOV: u8 = 0xb0;
/// Arithmetic: change the byte order.
const BPF_END: u8 = 0xd0;
/// Jump: the verifier bounds how often (Linux 6.9).
const BPF_JCOND: u8 = 0xe0;

/// `off` of a move: between the address spaces of an arena (Linux 6.9).
const ADDR_SPACE_CAST: i16 = 1;
/// `off` of a move: to this CPU's copy (Linux 6.10; only the kernel itself writes it).
const ADDR_PERCPU: i16 = -1;

/// `imm` of an atomic: the old value comes back.
const BPF_FETCH: i32 = 0x01;
/// `imm` of an atomic: exchange.
const BPF_XCHG: i32 = 0xe1;
/// `imm` of an atomic: compare with r0 and exchange.
const BPF_CMPXCHG: i32 = 0xf1;
/// `imm` of an atomic: load with acquire semantics (Linux 6.15).
const BPF_LOAD_ACQ: i32 = 0x100;
/// `imm` of an atomic: store with release semantics (Linux 6.15).
const BPF_STORE_REL: i32 = 0x110;

/// The instruction as the verifier's log shows it, without its number and opcode: `r1 = *(u32 *)(r6 +4)`.
///
/// `referent` is what stands at the other end, where the caller knows it: what a `ld_imm64` loads (`map[BACKENDS]`) or the
/// function that is called. Without it they show what their fields say: `map[fd:3]`, `call pc+7`, `call bpf_map_lookup_elem#1`.
///
/// Total: bytes without a meaning give `unknown: 8f 10 00 00 00 00 00 00`.
pub fn text(step: Step, referent: Option<&str>) -> String {
    known_text(step, referent).unwrap_or_else(|| {
        let bytes = step.insn.encode().map(|byte| format!("{byte:02x}"));
        format!("unknown: {}", bytes.join(" "))
    })
}

/// As [`text`]; `None` for bytes that no kernel gives a meaning.
pub fn known_text(step: Step, referent: Option<&str>) -> Option<String> {
    let insn = step.insn;
    match insn.class() {
        BPF_LD => load_immediate(step, referent),
        BPF_LDX => load(insn),
        BPF_ST => store_immediate(insn),
        BPF_STX => store(insn),
        BPF_ALU | BPF_ALU64 => arithmetic(insn),
        BPF_JMP | BPF_JMP32 => jump(insn, referent),
        _ => None,
    }
}

/// The opcode by the names of its parts: `BPF_LDX | BPF_MEM | BPF_W`. Parts without a name stay numbers.
pub fn opcode_names(opcode: u8) -> String {
    let class = opcode & 0x07;
    let names: [&str; 8] = [
        "BPF_LD",
        "BPF_LDX",
        "BPF_ST",
        "BPF_STX",
        "BPF_ALU",
        "BPF_JMP",
        "BPF_JMP32",
        "BPF_ALU64",
    ];
    let mut parts = vec![names[usize::from(class)].to_string()];
    let number = |part: u8| format!("{part:#04x}");
    match class {
        BPF_LD | BPF_LDX | BPF_ST | BPF_STX => {
            let mode = match opcode & 0xe0 {
                BPF_IMM => "BPF_IMM".into(),
                BPF_ABS => "BPF_ABS".into(),
                BPF_IND => "BPF_IND".into(),
                BPF_MEM => "BPF_MEM".into(),
                BPF_MEMSX => "BPF_MEMSX".into(),
                BPF_ATOMIC => "BPF_ATOMIC".into(),
                other => number(other),
            };
            let sizes = ["BPF_W", "BPF_H", "BPF_B", "BPF_DW"];
            parts.push(mode);
            parts.push(sizes[usize::from((opcode & BPF_DW) >> 3)].to_string());
        }
        _ => {
            let operation = opcode & 0xf0;
            let table: &[&str; 16] = if matches!(class, BPF_ALU | BPF_ALU64) {
                &[
                    "ADD", "SUB", "MUL", "DIV", "OR", "AND", "LSH", "RSH", "NEG", "MOD", "XOR",
                    "MOV", "ARSH", "END", "", "",
                ]
            } else {
                &[
                    "JA", "JEQ", "JGT", "JGE", "JSET", "JNE", "JSGT", "JSGE", "CALL", "EXIT",
                    "JLT", "JLE", "JSLT", "JSLE", "JCOND", "",
                ]
            };
            parts.push(match table[usize::from(operation >> 4)] {
                "" => number(operation),
                name => format!("BPF_{name}"),
            });
            parts.push(
                if opcode & BPF_X != 0 {
                    "BPF_X"
                } else {
                    "BPF_K"
                }
                .to_string(),
            );
        }
    }
    parts.join(" | ")
}

/// The type of an access: `u8` to `u64`.
fn unsigned(opcode: u8) -> &'static str {
    ["u32", "u16", "u8", "u64"][usize::from((opcode & BPF_DW) >> 3)]
}

fn load_immediate(step: Step, referent: Option<&str>) -> Option<String> {
    let Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    } = step.insn;
    if step.insn.is_ld_imm64() {
        let value = immediate(step, referent)?;
        return Some(format!("r{dst} = {value}"));
    }
    let size = unsigned(opcode);
    let plain = dst == 0 && off == 0 && size != "u64";
    match opcode & 0xe0 {
        BPF_ABS if plain && src == 0 => Some(format!("r0 = *({size} *)skb[{imm}]")),
        BPF_IND if plain => Some(format!("r0 = *({size} *)skb[r{src} + {imm}]")),
        _ => None,
    }
}

/// What a `ld_imm64` loads. The second slot must be zero but for its immediate (`check_ld_imm` and
/// `resolve_pseudo_ldimm64` in kernel/bpf/verifier.c).
fn immediate(step: Step, referent: Option<&str>) -> Option<String> {
    let second = step.second?;
    if (second.opcode, second.dst, second.src, second.off) != (0, 0, 0, 0) || step.insn.off != 0 {
        return None;
    }
    let (low, high) = (step.insn.imm, second.imm);
    let own = match step.insn.src {
        0 => format!("{:#x}", step.imm64()),
        BPF_PSEUDO_MAP_FD => format!("map[fd:{low}]"),
        BPF_PSEUDO_MAP_VALUE => format!("map[fd:{low}][0]+{}", high as u32),
        BPF_PSEUDO_BTF_ID => format!("btf_id[{low}]"),
        BPF_PSEUDO_FUNC => format!("subprog[{low:+}]"),
        BPF_PSEUDO_MAP_IDX => format!("map[idx:{low}]"),
        BPF_PSEUDO_MAP_IDX_VALUE => format!("map[idx:{low}][0]+{}", high as u32),
        _ => return None,
    };
    Some(referent.map_or(own, str::to_string))
}

fn load(insn: Insn) -> Option<String> {
    let Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    } = insn;
    let size = match (opcode & 0xe0, unsigned(opcode)) {
        (BPF_MEM, size) => size,
        (BPF_MEMSX, "u32") => "s32",
        (BPF_MEMSX, "u16") => "s16",
        (BPF_MEMSX, "u8") => "s8",
        _ => return None,
    };
    (imm == 0).then(|| format!("r{dst} = *({size} *)(r{src} {off:+})"))
}

fn store_immediate(insn: Insn) -> Option<String> {
    let Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    } = insn;
    let size = unsigned(opcode);
    (opcode & 0xe0 == BPF_MEM && src == 0).then(|| format!("*({size} *)(r{dst} {off:+}) = {imm}"))
}

fn store(insn: Insn) -> Option<String> {
    let Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    } = insn;
    let size = unsigned(opcode);
    match opcode & 0xe0 {
        BPF_MEM => (imm == 0).then(|| format!("*({size} *)(r{dst} {off:+}) = r{src}")),
        BPF_ATOMIC => atomic(insn, size),
        _ => None,
    }
}

fn atomic(insn: Insn, size: &str) -> Option<String> {
    let Insn {
        dst, src, off, imm, ..
    } = insn;
    match imm {
        BPF_LOAD_ACQ => return Some(format!("r{dst} = load_acquire(({size} *)(r{src} {off:+}))")),
        BPF_STORE_REL => return Some(format!("store_release(({size} *)(r{dst} {off:+}), r{src})")),
        _ => {}
    }
    // The others have 4 and 8 bytes only.
    let wide = match size {
        "u64" => "64",
        "u32" => "",
        _ => return None,
    };
    let place = format!("({size} *)(r{dst} {off:+})");
    let (sign, word) = match imm & !BPF_FETCH {
        0x00 => ("+=", "add"),
        0x40 => ("|=", "or"),
        0x50 => ("&=", "and"),
        0xa0 => ("^=", "xor"),
        _ => {
            return match imm {
                BPF_XCHG => Some(format!("r{src} = atomic{wide}_xchg({place}, r{src})")),
                BPF_CMPXCHG => Some(format!("r0 = atomic{wide}_cmpxchg({place}, r0, r{src})")),
                _ => None,
            };
        }
    };
    Some(if imm & BPF_FETCH == 0 {
        format!("lock *{place} {sign} r{src}")
    } else {
        format!("r{src} = atomic{wide}_fetch_{word}({place}, r{src})")
    })
}

fn arithmetic(insn: Insn) -> Option<String> {
    let Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    } = insn;
    let wide = insn.class() == BPF_ALU64;
    let register = if wide { 'r' } else { 'w' };
    let by_register = opcode & BPF_X != 0;
    match opcode & 0xf0 {
        BPF_NEG => {
            let plain = !by_register && (src, off, imm) == (0, 0, 0);
            return plain.then(|| format!("{register}{dst} = -{register}{dst}"));
        }
        BPF_END => return byte_order(insn, wide),
        BPF_MOV if wide && by_register && off == ADDR_SPACE_CAST => {
            let (to, from) = ((imm as u32) >> 16, imm as u16);
            return Some(format!("r{dst} = addr_space_cast(r{src}, {to}, {from})"));
        }
        BPF_MOV if wide && by_register && off == ADDR_PERCPU && imm == 0 => {
            return Some(format!("r{dst} = &(void __percpu *)(r{src})"));
        }
        _ => {}
    }
    let sign = alu_sign(opcode, off)?;
    let cast = match (opcode & 0xf0, off) {
        (BPF_MOV, 8) if by_register => "(s8)",
        (BPF_MOV, 16) if by_register => "(s16)",
        (BPF_MOV, 32) if by_register && wide => "(s32)",
        (BPF_MOV, 0) => "",
        (BPF_MOV, _) => return None,
        _ => "",
    };
    if by_register {
        (imm == 0).then(|| format!("{register}{dst} {sign} {cast}{register}{src}"))
    } else {
        (src == 0).then(|| format!("{register}{dst} {sign} {imm}"))
    }
}

/// The sign of an operation. `off` is 1 for signed division (Linux 6.6), the width of a move that extends a sign, else 0.
fn alu_sign(opcode: u8, off: i16) -> Option<&'static str> {
    Some(match (opcode & 0xf0, off) {
        (0x30, 1) => "s/=",
        (0x90, 1) => "s%=",
        (BPF_MOV, _) => "=",
        (_, 1..) | (_, ..=-1) => return None,
        (0x00, _) => "+=",
        (0x10, _) => "-=",
        (0x20, _) => "*=",
        (0x30, _) => "/=",
        (0x40, _) => "|=",
        (0x50, _) => "&=",
        (0x60, _) => "<<=",
        (0x70, _) => ">>=",
        (0x90, _) => "%=",
        (0xa0, _) => "^=",
        (0xc0, _) => "s>>=",
        _ => return None,
    })
}

fn byte_order(insn: Insn, wide: bool) -> Option<String> {
    let Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    } = insn;
    if (src, off) != (0, 0) || !matches!(imm, 16 | 32 | 64) {
        return None;
    }
    let word = match (wide, opcode & BPF_X != 0) {
        (false, true) => "be",
        (false, false) => "le",
        (true, false) => "bswap",
        (true, true) => return None,
    };
    Some(format!("r{dst} = {word}{imm} r{dst}"))
}

fn jump(insn: Insn, referent: Option<&str>) -> Option<String> {
    let Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    } = insn;
    let wide = insn.class() == BPF_JMP;
    let by_register = opcode & BPF_X != 0;
    match (opcode & 0xf0, wide, by_register) {
        (BPF_CALL, true, false) => return (dst == 0).then(|| call(insn, referent))?,
        (BPF_EXIT, true, false) => {
            return ((dst, src, off, imm) == (0, 0, 0, 0)).then(|| "exit".to_string());
        }
        (BPF_JA, true, false) => {
            return ((dst, src, imm) == (0, 0, 0)).then(|| format!("goto pc{off:+}"));
        }
        (BPF_JA, false, false) => {
            return ((dst, src, off) == (0, 0, 0)).then(|| format!("gotol pc{imm:+}"));
        }
        (BPF_JA, true, true) => {
            return ((src, off, imm) == (0, 0, 0)).then(|| format!("gotox r{dst}"));
        }
        (BPF_JCOND, true, false) => {
            return ((dst, src, imm) == (0, 0, 0)).then(|| format!("may_goto pc{off:+}"));
        }
        _ => {}
    }
    let sign = condition(opcode)?;
    let register = if wide { 'r' } else { 'w' };
    if by_register {
        (imm == 0).then(|| format!("if {register}{dst} {sign} {register}{src} goto pc{off:+}"))
    } else {
        (src == 0).then(|| format!("if {register}{dst} {sign} {imm:#x} goto pc{off:+}"))
    }
}

fn condition(opcode: u8) -> Option<&'static str> {
    Some(match opcode & 0xf0 {
        0x10 => "==",
        0x20 => ">",
        0x30 => ">=",
        0x40 => "&",
        0x50 => "!=",
        0x60 => "s>",
        0x70 => "s>=",
        0xa0 => "<",
        0xb0 => "<=",
        0xc0 => "s<",
        0xd0 => "s<=",
        _ => return None,
    })
}

/// A call of a helper has no offset; that of a kernel function says in it whose function it is (an index into `fd_array`).
fn call(insn: Insn, referent: Option<&str>) -> Option<String> {
    let Insn { src, off, imm, .. } = insn;
    let named = |name: Option<&str>| format!("call {}#{imm}", name.unwrap_or("unknown"));
    match src {
        0 if off == 0 => {
            Some(referent.map_or_else(|| named(helper_name(imm)), |name| format!("call {name}")))
        }
        BPF_PSEUDO_CALL if off == 0 => Some(match referent {
            Some(name) => format!("call {name}"),
            None => format!("call pc{imm:+}"),
        }),
        BPF_PSEUDO_KFUNC_CALL => Some(match referent {
            Some(name) => format!("call {name}"),
            None => format!("call kernel-function#{imm}"),
        }),
        _ => None,
    }
}

#[cfg(test)]
#[path = "disassembly_tests.rs"]
mod tests;
