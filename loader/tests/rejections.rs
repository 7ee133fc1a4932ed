//! What the running kernel says about bad programs, and our words for it. Needs root; nothing stays in the kernel.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/make.rs"]
mod make;
mod support;

use std::os::fd::{AsFd, AsRawFd};

use make::map;
use support::build::{exit, helper, mov, mov_reg};
use support::need_root;
use xdplb_linker::insn::{Insn, encode_all};
use xdplb_loader::kernel::{KernelError, Map, Program, ProgramDefinition};
use xdplb_loader::uapi::{AttachType, MapType, ProgramType, map_flags};

fn i(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    }
}

fn map_address(dst: u8, map: &Map) -> [Insn; 2] {
    [
        i(0x18, dst, 1, 0, map.as_fd().as_raw_fd()),
        i(0, 0, 0, 0, 0),
    ]
}

/// `r0 = bpf_map_lookup_elem(map, &0)`
fn lookup(map: &Map) -> Vec<Insn> {
    let mut insns = vec![i(0x62, 10, 0, -4, 0), mov_reg(2, 10), i(0x07, 2, 0, 0, -4)];
    insns.extend(map_address(1, map));
    insns.push(helper(1));
    insns
}

/// `if r0 == 0 return 0`
fn null_check() -> Vec<Insn> {
    vec![i(0x55, 0, 0, 1, 0), exit()]
}

fn join(parts: &[&[Insn]]) -> Vec<Insn> {
    parts.concat()
}

/// Loads it, which must fail with a log, and gives the error's text.
fn rejection(program_type: ProgramType, insns: &[Insn]) -> String {
    let error = Program::load(&ProgramDefinition {
        name: "bad",
        program_type,
        expected_attach_type: if program_type == ProgramType::XDP {
            AttachType::XDP
        } else {
            AttachType(0)
        },
        license: "GPL",
        instructions: &encode_all(insns),
        ..ProgramDefinition::default()
    })
    .expect_err("the verifier rejects it");
    let KernelError::Rejected(_) = &error else {
        panic!("{error}")
    };
    error.to_string()
}

/// What each is rejected for: a part of the verifier's sentence, as the newest kernel writes it, and one of ours. An older
/// kernel may see something else first; it must have words for that, too.
#[test]
fn rejections_are_put_into_words() {
    need_root();
    let values = map("values", MapType::HASH, 4, 0).unwrap();
    let constants = map("constants", MapType::ARRAY, 1, map_flags::RDONLY_PROG).unwrap();
    let ring = Map::create(&xdplb_loader::kernel::MapDefinition {
        name: "ring",
        shape: xdplb_loader::kernel::MapShape {
            map_type: MapType::RINGBUF,
            key_size: 0,
            value_size: 0,
            max_entries: 4096,
            map_flags: 0,
            map_extra: 0,
        },
        ..Default::default()
    })
    .unwrap();
    let xdp = ProgramType::XDP;
    let value = join(&[&lookup(&values), &null_check()]);
    let load8 = |dst, src, off| i(0x71, dst, src, off, 0);
    let random = helper(7);
    let mut jumps = vec![random];
    jumps.extend((0..8300).map(|n| i(0x15, 0, 0, 0, n)));
    jumps.push(exit());
    let cases: Vec<(&str, &str, ProgramType, Vec<Insn>)> = vec![
        (
            "invalid access to packet",
            "byte 23 is accessed",
            xdp,
            vec![i(0x61, 1, 1, 0, 0), load8(0, 1, 23), exit()],
        ),
        (
            "invalid access to packet",
            "covers 14 bytes",
            xdp,
            vec![
                i(0x61, 2, 1, 0, 0),
                i(0x61, 3, 1, 4, 0),
                mov_reg(4, 2),
                i(0x07, 4, 0, 0, 14),
                i(0xbd, 4, 3, 2, 0),
                mov(0, 0),
                exit(),
                i(0x61, 0, 2, 14, 0),
                exit(),
            ],
        ),
        (
            "map_value_or_null",
            "R0 may be NULL here",
            xdp,
            join(&[&lookup(&values), &[load8(0, 0, 0), exit()]]),
        ),
        (
            "invalid mem access",
            "R0 is NULL on this path",
            xdp,
            join(&[
                &lookup(&values),
                &[i(0x15, 0, 0, 1, 0), exit(), load8(0, 0, 0), exit()],
            ]),
        ),
        (
            "invalid mem access",
            "is a number to the verifier",
            xdp,
            vec![mov(1, 5), load8(0, 1, 0), exit()],
        ),
        (
            "invalid mem access",
            "cannot be read directly here",
            ProgramType::RAW_TRACEPOINT,
            vec![i(0x79, 1, 1, 0, 0), load8(0, 1, 0), exit()],
        ),
        (
            "null-check it first",
            "nothing can be added to it yet",
            xdp,
            join(&[&lookup(&values), &[i(0x07, 0, 0, 0, 4), exit()]]),
        ),
        (
            "invalid access to map value",
            "an access of size 8 at offset 8",
            xdp,
            join(&[&value, &[i(0x79, 0, 0, 8, 0), exit()]]),
        ),
        (
            "min value is negative",
            "R0 can be negative",
            xdp,
            join(&[
                &value,
                &[
                    i(0x79, 1, 0, 0, 0),
                    i(0x57, 1, 0, 0, 15),
                    i(0x17, 1, 0, 0, 20),
                    i(0x0f, 0, 1, 0, 0),
                    load8(0, 0, 0),
                    exit(),
                ],
            ]),
        ),
        (
            "max value is outside",
            "can begin at offset 255, and a map's value has 8 bytes",
            xdp,
            join(&[
                &value,
                &[
                    i(0x79, 1, 0, 0, 0),
                    i(0x57, 1, 0, 0, 255),
                    i(0x0f, 0, 1, 0, 0),
                    load8(0, 0, 0),
                    exit(),
                ],
            ]),
        ),
        (
            "unbounded min value",
            "is added to a `map_value` pointer",
            xdp,
            join(&[
                &value,
                &[
                    i(0x79, 1, 0, 0, 0),
                    i(0x0f, 0, 1, 0, 0),
                    load8(0, 0, 0),
                    exit(),
                ],
            ]),
        ),
        (
            "min value is negative",
            "R2 can be negative",
            xdp,
            vec![
                random,
                i(0x7b, 10, 0, -8, 0),
                mov_reg(2, 0),
                mov_reg(1, 10),
                i(0x07, 1, 0, 0, -8),
                helper(6),
                exit(),
            ],
        ),
        (
            "invalid zero-sized read",
            "the length in R2 can be 0",
            xdp,
            vec![
                random,
                i(0x7b, 10, 0, -8, 0),
                mov_reg(2, 0),
                i(0x57, 2, 0, 0, 7),
                mov_reg(1, 10),
                i(0x07, 1, 0, 0, -8),
                helper(6),
                exit(),
            ],
        ),
        (
            "is not a known constant",
            "R2 must be one number",
            xdp,
            join(&[
                &[random, mov_reg(2, 0)],
                &map_address(1, &ring),
                &[mov(3, 0), helper(131), exit()],
            ]),
        ),
        (
            "on pkt_end prohibited",
            "it can only be compared with",
            xdp,
            vec![i(0x61, 2, 1, 4, 0), i(0x07, 2, 0, 0, 8), mov(0, 0), exit()],
        ),
        (
            "on map_ptr prohibited",
            "R1 is a `map_ptr`",
            xdp,
            join(&[
                &map_address(1, &values),
                &[i(0x07, 1, 0, 0, 8), mov(0, 0), exit()],
            ]),
        ),
        (
            "32-bit pointer arithmetic",
            "cuts it in half",
            xdp,
            vec![i(0x04, 1, 0, 0, 8), mov(0, 0), exit()],
        ),
        (
            "operator &= on pointer",
            "not changed by `&=`",
            xdp,
            vec![i(0x57, 1, 0, 0, 8), mov(0, 0), exit()],
        ),
        (
            "with *= operator",
            "not changed by `*=`",
            xdp,
            vec![i(0x27, 1, 0, 0, 8), mov(0, 0), exit()],
        ),
        (
            "pointer += pointer",
            "two pointers are added",
            xdp,
            vec![mov_reg(2, 10), i(0x0f, 2, 1, 0, 0), mov(0, 0), exit()],
        ),
        (
            "dereference of modified ctx",
            "fields of `ctx`",
            xdp,
            vec![i(0x07, 1, 0, 0, 4), i(0x61, 0, 1, 0, 0), exit()],
        ),
        (
            "variable ctx access",
            "an offset that is not a constant",
            xdp,
            vec![
                mov_reg(6, 1),
                random,
                i(0x57, 0, 0, 0, 4),
                i(0x0f, 6, 0, 0, 0),
                i(0x61, 0, 6, 0, 0),
                exit(),
            ],
        ),
        (
            "invalid bpf_context access",
            "the context of xdp programs",
            xdp,
            vec![i(0x61, 0, 1, 100, 0), exit()],
        ),
        (
            "misaligned stack access",
            "an access of size 8 (stack)",
            xdp,
            vec![i(0x7a, 10, 0, -12, 0), mov(0, 0), exit()],
        ),
        (
            "frame pointer is read only",
            "R10, the frame pointer",
            xdp,
            vec![mov(10, 0), mov(0, 0), exit()],
        ),
        (
            "combined stack size",
            "a path of 2 calls needs",
            xdp,
            vec![
                i(0x7a, 10, 0, -296, 0),
                i(0x85, 0, 1, 0, 1),
                exit(),
                i(0x7a, 10, 0, -304, 0),
                mov(0, 0),
                exit(),
            ],
        ),
        (
            "off=-520 size=8",
            "the stack's 512 bytes",
            xdp,
            vec![i(0x7a, 10, 0, -520, 0), mov(0, 0), exit()],
        ),
        (
            "off=-520 size=8",
            "the stack's 512 bytes",
            xdp,
            vec![i(0x79, 0, 10, -520, 0), exit()],
        ),
        ("R0 !read_ok", "without a return value", xdp, vec![exit()]),
        (
            "R3 !read_ok",
            "R3 is read, but holds nothing",
            xdp,
            vec![mov_reg(0, 3), exit()],
        ),
        (
            "infinite loop detected",
            "the loop would never end",
            xdp,
            vec![mov(0, 0), mov(1, 0), i(0x15, 1, 0, -1, 0), exit()],
        ),
        (
            "jumps is too complex",
            "branches still to follow",
            xdp,
            jumps,
        ),
        (
            "frames is too deep",
            "more than 8 deep, or in a circle",
            xdp,
            vec![i(0x85, 0, 1, 0, 1), exit(), i(0x85, 0, 1, 0, -1), exit()],
        ),
        (
            "unreachable insn 2",
            "no path leads to instruction 2",
            xdp,
            vec![mov(0, 0), exit(), mov(0, 1), exit()],
        ),
        (
            "jump out of range",
            "instruction 1 jumps out",
            xdp,
            vec![mov(0, 0), i(0x05, 0, 0, 100, 0), exit()],
        ),
        (
            "last insn is not an exit",
            "runs past its end",
            xdp,
            vec![mov(0, 0)],
        ),
        (
            "invalid func unknown#195896080",
            "a CO-RE relocation found nothing",
            xdp,
            vec![helper(195_896_080), exit()],
        ),
        (
            "invalid func unknown#9999",
            "no helper with the number 9999",
            xdp,
            vec![helper(9999), exit()],
        ),
        (
            "bpf_override_return#58",
            "xdp programs may not call bpf_override_return",
            xdp,
            vec![helper(58), exit()],
        ),
        (
            "expected prog array map",
            "bpf_tail_call works on maps",
            xdp,
            join(&[
                &map_address(2, &values),
                &[mov(3, 0), helper(12), mov(0, 0), exit()],
            ]),
        ),
        (
            "cannot pass map_type 1",
            "bpf_redirect_map does not work on maps of the type hash",
            xdp,
            join(&[
                &map_address(1, &values),
                &[mov(2, 0), mov(3, 0), helper(51), exit()],
            ]),
        ),
        (
            "expected=map_ptr",
            "argument 1 of the call must be a map",
            xdp,
            vec![mov(1, 0), mov_reg(2, 10), helper(1), exit()],
        ),
        (
            "map_value_or_null expected=",
            "a pointer to a map's value, or NULL",
            xdp,
            join(&[
                &lookup(&values),
                &[mov_reg(2, 0)],
                &map_address(1, &values),
                &[helper(1), exit()],
            ]),
        ),
        (
            "Unreleased reference",
            "gave (instruction 4) is not given back",
            xdp,
            join(&[
                &map_address(1, &ring),
                &[mov(2, 8), mov(3, 0), helper(131), mov(0, 0), exit()],
            ]),
        ),
        (
            "write into map forbidden",
            "the map is read-only for programs",
            xdp,
            join(&[
                &lookup(&constants),
                &null_check(),
                &[i(0x7a, 0, 0, 0, 1), exit()],
            ]),
        ),
        (
            "should have been in",
            "all that cgroup_sock programs may return",
            ProgramType::CGROUP_SOCK,
            vec![mov(0, 5), exit()],
        ),
        (
            "cannot write into packet",
            "lwt_in programs may not write",
            ProgramType::LWT_IN,
            vec![
                i(0x61, 2, 1, 76, 0),
                i(0x61, 3, 1, 80, 0),
                mov_reg(4, 2),
                i(0x07, 4, 0, 0, 1),
                i(0xbd, 4, 3, 2, 0),
                mov(0, 0),
                exit(),
                i(0x72, 2, 0, 0, 1),
                mov(0, 0),
                exit(),
            ],
        ),
        (
            "unknown opcode ff",
            "the instruction 0xff",
            xdp,
            vec![i(0xff, 0, 0, 0, 0), exit()],
        ),
        (
            "BPF_ATOMIC uses invalid",
            "form of a BPF_ATOMIC instruction",
            xdp,
            vec![i(0xdb, 10, 1, -8, 0x77), mov(0, 0), exit()],
        ),
        (
            "uses reserved fields",
            "form of a BPF_END instruction",
            xdp,
            vec![i(0xd4, 1, 0, 7, 16), mov(0, 0), exit()],
        ),
    ];
    let running = support::kernel_version();
    let mut without = Vec::new();
    for (says, words, program_type, insns) in cases {
        let text = rejection(program_type, &insns);
        let newest_known = (6, 18)..=(6, 19);
        if !text.contains("\n  in words: ")
            || newest_known.contains(&running) && !(text.contains(says) && text.contains(words))
        {
            without.push(format!("{says}, {words}: {text}"));
        }
    }
    assert!(without.is_empty(), "without words: {}", without.join("\n"));
}

#[test]
fn a_program_that_takes_too_long_says_so_with_the_end_of_its_log() {
    need_root();
    let insns = [
        mov(0, 0),
        mov(1, 0),
        i(0x07, 1, 0, 0, 1),
        i(0xa5, 1, 0, -2, 2_000_000),
        exit(),
    ];
    let text = rejection(ProgramType::XDP, &insns);
    assert!(text.contains("\n  BPF program is too large. Processed 1000001 insn\n  in words: the verifier gave up after 1000001 instructions"), "{text}");
    // Before, a log of this length is lost but for the reason.
    assert!(
        support::kernel_version() < (6, 4)
            || text
                .contains("earlier lines omitted; --verifier-log shows them)\n  try:  bound loops"),
        "{text}"
    );
}
