//! Texts of every form, of what has no meaning, and of any bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::insn::steps;
use proptest::prelude::*;

fn show(bytes: &[u8], referent: Option<&str>) -> String {
    let insns: Vec<_> = bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|chunk| Insn::decode(*chunk))
        .collect();
    text(steps(&insns).next().unwrap(), referent)
}

/// Fields of an instruction: opcode, dst, src, off, imm.
fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> [u8; 8] {
    Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    }
    .encode()
}

#[test]
fn every_form_reads_as_the_kernel_writes_it() {
    // Texts: kernel/bpf/disasm.c. What this machine's kernel prints is compared in loader/tests/disassembly.rs.
    for (bytes, expect) in [
        (insn(0x61, 1, 6, 4, 0), "r1 = *(u32 *)(r6 +4)"),
        (insn(0x69, 1, 6, -4, 0), "r1 = *(u16 *)(r6 -4)"),
        (insn(0x71, 1, 6, 0, 0), "r1 = *(u8 *)(r6 +0)"),
        (insn(0x79, 1, 6, 0, 0), "r1 = *(u64 *)(r6 +0)"),
        (insn(0x81, 1, 6, 0, 0), "r1 = *(s32 *)(r6 +0)"),
        (insn(0x89, 1, 6, 0, 0), "r1 = *(s16 *)(r6 +0)"),
        (insn(0x91, 1, 6, 0, 0), "r1 = *(s8 *)(r6 +0)"),
        (insn(0x62, 10, 0, -4, -1), "*(u32 *)(r10 -4) = -1"),
        (insn(0x7b, 10, 1, -8, 0), "*(u64 *)(r10 -8) = r1"),
        (insn(0xdb, 1, 2, 8, 0), "lock *(u64 *)(r1 +8) += r2"),
        (insn(0xc3, 1, 2, 8, 0x40), "lock *(u32 *)(r1 +8) |= r2"),
        (insn(0xc3, 1, 2, 8, 0x50), "lock *(u32 *)(r1 +8) &= r2"),
        (insn(0xdb, 1, 2, 8, 0xa0), "lock *(u64 *)(r1 +8) ^= r2"),
        (
            insn(0xdb, 1, 2, 8, 1),
            "r2 = atomic64_fetch_add((u64 *)(r1 +8), r2)",
        ),
        (
            insn(0xc3, 1, 2, 8, 0x41),
            "r2 = atomic_fetch_or((u32 *)(r1 +8), r2)",
        ),
        (
            insn(0xc3, 1, 2, 8, 0x51),
            "r2 = atomic_fetch_and((u32 *)(r1 +8), r2)",
        ),
        (
            insn(0xdb, 1, 2, 8, 0xa1),
            "r2 = atomic64_fetch_xor((u64 *)(r1 +8), r2)",
        ),
        (
            insn(0xdb, 1, 2, 8, 0xe1),
            "r2 = atomic64_xchg((u64 *)(r1 +8), r2)",
        ),
        (
            insn(0xc3, 1, 2, 8, 0xf1),
            "r0 = atomic_cmpxchg((u32 *)(r1 +8), r0, r2)",
        ),
        (
            insn(0xd3, 1, 2, 8, 0x100),
            "r1 = load_acquire((u8 *)(r2 +8))",
        ),
        (
            insn(0xcb, 1, 2, 8, 0x110),
            "store_release((u16 *)(r1 +8), r2)",
        ),
        (insn(0x07, 1, 0, 0, -14), "r1 += -14"),
        (insn(0x0f, 1, 2, 0, 0), "r1 += r2"),
        (insn(0x04, 1, 0, 0, 5), "w1 += 5"),
        (insn(0x1c, 1, 2, 0, 0), "w1 -= w2"),
        (insn(0x27, 1, 0, 0, 3), "r1 *= 3"),
        (insn(0x3f, 1, 2, 0, 0), "r1 /= r2"),
        (insn(0x3f, 1, 2, 1, 0), "r1 s/= r2"),
        (insn(0x94, 1, 0, 1, 7), "w1 s%= 7"),
        (insn(0x97, 1, 0, 0, 7), "r1 %= 7"),
        (insn(0x47, 1, 0, 0, 1), "r1 |= 1"),
        (insn(0x57, 1, 0, 0, 255), "r1 &= 255"),
        (insn(0x67, 1, 0, 0, 3), "r1 <<= 3"),
        (insn(0x77, 1, 0, 0, 3), "r1 >>= 3"),
        (insn(0xc7, 1, 0, 0, 32), "r1 s>>= 32"),
        (insn(0xa7, 1, 0, 0, 1), "r1 ^= 1"),
        (insn(0x87, 1, 0, 0, 0), "r1 = -r1"),
        (insn(0x84, 1, 0, 0, 0), "w1 = -w1"),
        (insn(0xb7, 1, 0, 0, -1), "r1 = -1"),
        (insn(0xbf, 1, 2, 0, 0), "r1 = r2"),
        (insn(0xbc, 1, 2, 0, 0), "w1 = w2"),
        (insn(0xbf, 1, 2, 8, 0), "r1 = (s8)r2"),
        (insn(0xbf, 1, 2, 32, 0), "r1 = (s32)r2"),
        (insn(0xbc, 1, 2, 16, 0), "w1 = (s16)w2"),
        (insn(0xbf, 1, 2, 1, 1), "r1 = addr_space_cast(r2, 0, 1)"),
        (
            insn(0xbf, 1, 2, 1, 1 << 16),
            "r1 = addr_space_cast(r2, 1, 0)",
        ),
        (insn(0xbf, 1, 2, -1, 0), "r1 = &(void __percpu *)(r2)"),
        (insn(0xdc, 1, 0, 0, 16), "r1 = be16 r1"),
        (insn(0xd4, 1, 0, 0, 64), "r1 = le64 r1"),
        (insn(0xd7, 1, 0, 0, 32), "r1 = bswap32 r1"),
        (insn(0x05, 0, 0, -3, 0), "goto pc-3"),
        (insn(0x06, 0, 0, 0, 70_000), "gotol pc+70000"),
        (insn(0x0d, 3, 0, 0, 0), "gotox r3"),
        (insn(0xe5, 0, 0, 2, 0), "may_goto pc+2"),
        (insn(0x15, 1, 0, 5, 0), "if r1 == 0x0 goto pc+5"),
        (insn(0x55, 1, 0, 5, -1), "if r1 != 0xffffffff goto pc+5"),
        (insn(0x2d, 1, 2, 5, 0), "if r1 > r2 goto pc+5"),
        (insn(0x36, 1, 0, 5, 9), "if w1 >= 0x9 goto pc+5"),
        (insn(0x45, 1, 0, 5, 9), "if r1 & 0x9 goto pc+5"),
        (insn(0x65, 1, 0, 5, 9), "if r1 s> 0x9 goto pc+5"),
        (insn(0x7e, 1, 2, 5, 0), "if w1 s>= w2 goto pc+5"),
        (insn(0xad, 1, 2, 5, 0), "if r1 < r2 goto pc+5"),
        (insn(0xbd, 1, 2, 5, 0), "if r1 <= r2 goto pc+5"),
        (insn(0xc5, 1, 0, 5, 9), "if r1 s< 0x9 goto pc+5"),
        (insn(0xdd, 1, 2, -5, 0), "if r1 s<= r2 goto pc-5"),
        (insn(0x85, 0, 0, 0, 1), "call bpf_map_lookup_elem#1"),
        (insn(0x85, 0, 0, 0, 9999), "call unknown#9999"),
        (insn(0x85, 0, 1, 0, 7), "call pc+7"),
        (insn(0x85, 0, 2, 0, 7), "call kernel-function#7"),
        (insn(0x95, 0, 0, 0, 0), "exit"),
        (insn(0x20, 0, 0, 0, 12), "r0 = *(u32 *)skb[12]"),
        (insn(0x48, 0, 7, 0, 12), "r0 = *(u16 *)skb[r7 + 12]"),
    ] {
        assert_eq!(show(&bytes, None), expect, "{bytes:02x?}");
    }
}

#[test]
fn wide_immediates_say_what_they_are() {
    let pair = |src: u8, low: i32, high: i32| {
        [insn(0x18, 1, src, 0, low), insn(0, 0, 0, 0, high)].concat()
    };
    for (bytes, expect) in [
        (pair(0, -1, 0), "r1 = 0xffffffff"),
        (pair(0, 0, 1), "r1 = 0x100000000"),
        (pair(1, 3, 0), "r1 = map[fd:3]"),
        (pair(2, 3, 16), "r1 = map[fd:3][0]+16"),
        (pair(3, 77, 0), "r1 = btf_id[77]"),
        (pair(4, 5, 0), "r1 = subprog[+5]"),
        (pair(5, 0, 0), "r1 = map[idx:0]"),
        (pair(6, 0, 8), "r1 = map[idx:0][0]+8"),
    ] {
        assert_eq!(show(&bytes, None), expect);
    }
    assert_eq!(
        show(&pair(0, 0, 0), Some("map[BACKENDS]")),
        "r1 = map[BACKENDS]"
    );
    assert_eq!(show(&insn(0x85, 0, 1, 0, -1), Some("pick")), "call pick");
    // Cut off by the end of the section.
    assert_eq!(
        show(&insn(0x18, 1, 0, 0, 0), None),
        "unknown: 18 01 00 00 00 00 00 00"
    );
}

#[test]
fn bytes_without_a_meaning_are_shown_as_bytes() {
    for bytes in [
        insn(0x8f, 1, 0, 0, 0),    // negate by a register
        insn(0xe7, 1, 0, 0, 0),    // no such operation
        insn(0xd7, 1, 0, 0, 24),   // a byte order of 24 bits
        insn(0xdf, 1, 0, 0, 16),   // bswap has one form
        insn(0xb7, 1, 0, 8, 0),    // an immediate has its sign already
        insn(0xbc, 1, 2, 32, 0),   // 32 bits of 32
        insn(0x0f, 1, 2, 1, 0),    // signed addition
        insn(0x99, 1, 2, 0, 0),    // a load of 64 bits with its sign extended
        insn(0xdb, 1, 2, 0, 0x10), // atomic subtraction
        insn(0xcb, 1, 2, 0, 0),    // atomic addition of 16 bits
        insn(0xf5, 0, 0, 0, 0),    // no such jump
        insn(0x86, 0, 0, 0, 1),    // a call of 32 bits
        insn(0x95, 1, 0, 0, 0),    // exit has no operand
        insn(0x38, 0, 0, 0, 0),    // a packet load of 64 bits
        insn(0x61, 1, 2, 0, 9),    // a load has no immediate
    ] {
        assert!(
            show(&bytes, None).starts_with("unknown: "),
            "{}",
            show(&bytes, None)
        );
    }
}

#[test]
fn opcodes_have_names() {
    for (opcode, expect) in [
        (0x61, "BPF_LDX | BPF_MEM | BPF_W"),
        (0x18, "BPF_LD | BPF_IMM | BPF_DW"),
        (0xdb, "BPF_STX | BPF_ATOMIC | BPF_DW"),
        (0xbf, "BPF_ALU64 | BPF_MOV | BPF_X"),
        (0x85, "BPF_JMP | BPF_CALL | BPF_K"),
        (0x06, "BPF_JMP32 | BPF_JA | BPF_K"),
        (0xa1, "BPF_LDX | 0xa0 | BPF_W"),
        (0xf7, "BPF_ALU64 | 0xf0 | BPF_K"),
    ] {
        assert_eq!(opcode_names(opcode), expect);
    }
}

proptest! {
    #[test]
    fn any_bytes_have_a_text(bytes: [u8; 16], name in proptest::option::of("[a-z]{1,8}")) {
        let text = show(&bytes, name.as_deref());
        prop_assert!(!text.is_empty());
        prop_assert!(!text.contains('\n'));
        prop_assert!(opcode_names(bytes[0]).starts_with("BPF_"));
    }
}
