//! Our text of instructions beside the kernel's own: every form is loaded in a program whose last instruction the verifier
//! refuses, so that its log shows all of them. Needs root; nothing stays in the kernel.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::build::{exit, helper, mov, mov_reg};
use support::need_root;
use xdplb_linker::insn::{Insn, encode_all, steps, text};
use xdplb_loader::kernel::{KernelError, Program, ProgramDefinition};
use xdplb_loader::uapi::{AttachType, ProgramType};

fn i(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    }
}

/// Arithmetic, loads and stores on the stack, conditions that lead to the next instruction.
fn plain() -> Vec<Insn> {
    let mut insns = vec![mov_reg(6, 1), mov(0, 1), mov(1, 5), mov(2, 3)];
    for class in [0x04, 0x07] {
        for operation in (0x00..=0xc0).step_by(0x10) {
            match operation {
                0x80 => insns.push(i(class | operation, 1, 0, 0, 0)),
                0x60 | 0x70 | 0xc0 => insns.extend([
                    i(class | operation, 1, 0, 0, 3),
                    i(class | operation | 0x08, 1, 2, 0, 0),
                ]),
                _ => insns.extend([
                    i(class | operation, 1, 0, 0, 1000),
                    i(class | operation, 1, 0, 0, -7),
                    i(class | operation | 0x08, 1, 2, 0, 0),
                ]),
            }
        }
    }
    for width in [16, 32, 64] {
        insns.extend([i(0xd4, 1, 0, 0, width), i(0xdc, 1, 0, 0, width)]);
    }
    for size in [0x00, 0x08, 0x10, 0x18] {
        insns.extend([
            i(0x62 | size, 10, 0, -16, -1),
            i(0x63 | size, 10, 2, -8, 0),
            i(0x61 | size, 3, 10, -8, 0),
        ]);
    }
    for class in [0x05, 0x06] {
        for operation in (0x10..=0xd0).step_by(0x10) {
            if matches!(operation, 0x80 | 0x90) {
                continue;
            }
            insns.extend([
                i(class | operation, 1, 0, 0, -2),
                i(class | operation | 0x08, 1, 2, 0, 0),
            ]);
        }
    }
    insns.extend([
        i(0x05, 0, 0, 0, 0),
        i(0x18, 3, 0, 0, -1),
        i(0, 0, 0, 0, 7),
        helper(7),
        helper(5),
    ]);
    insns
}

/// Atomics that fetch (Linux 5.12).
fn atomics() -> Vec<Insn> {
    let mut insns = vec![mov(1, 0), i(0x7b, 10, 1, -8, 0)];
    for (opcode, fetches) in [(0xc3, true), (0xdb, true), (0xc3, false), (0xdb, false)] {
        for operation in [0x00, 0x40, 0x50, 0xa0] {
            insns.push(i(opcode, 10, 1, -8, operation | i32::from(fetches)));
        }
    }
    for opcode in [0xc3, 0xdb] {
        insns.extend([
            mov(0, 1),
            i(opcode, 10, 1, -8, 0xe1),
            i(opcode, 10, 1, -8, 0xf1),
        ]);
    }
    insns
}

/// What cpu v4 added (Linux 6.6).
fn fourth() -> Vec<Insn> {
    let mut insns = vec![mov(1, 1), mov(2, 3), i(0x7b, 10, 2, -8, 0)];
    for off in [8, 16] {
        insns.push(i(0xbc, 1, 2, off, 0));
    }
    for off in [8, 16, 32] {
        insns.push(i(0xbf, 1, 2, off, 0));
    }
    for operation in [0x30, 0x90] {
        for class in [0x04, 0x07] {
            insns.extend([
                i(class | operation, 1, 0, 1, -5),
                i(class | operation | 0x08, 1, 2, 1, 0),
            ]);
        }
    }
    for size in [0x00, 0x08, 0x10] {
        insns.push(i(0x81 | size, 3, 10, -8, 0));
    }
    for width in [16, 32, 64] {
        insns.push(i(0xd7, 1, 0, 0, width));
    }
    insns.push(i(0x06, 0, 0, 0, 0));
    insns
}

/// `may_goto` (6.9); loads and stores with an order (6.15).
fn may_goto() -> Vec<Insn> {
    vec![mov(1, 1), i(0xe5, 0, 0, 0, 0), mov(1, 2)]
}

fn ordered() -> Vec<Insn> {
    let mut insns = vec![mov(1, 1), i(0x7b, 10, 1, -8, 0)];
    for opcode in [0xc3, 0xcb, 0xd3, 0xdb] {
        insns.extend([i(opcode, 10, 1, -8, 0x110), i(opcode, 3, 10, -8, 0x100)]);
    }
    insns
}

/// Legacy packet loads.
fn packet() -> Vec<Insn> {
    let mut insns = vec![mov_reg(6, 1), mov(7, 2)];
    for size in [0x00, 0x08, 0x10] {
        insns.extend([i(0x20 | size, 0, 0, 0, 12), i(0x40 | size, 0, 7, 0, 12)]);
    }
    insns
}

/// The function that the call leads to stands behind the end.
fn call() -> Vec<Insn> {
    vec![i(0x85, 0, 1, 0, 2)]
}

/// Loads it with a last instruction that reads r9, which nothing has set, and gives the log.
fn log(program_type: ProgramType, insns: &[Insn]) -> String {
    let mut insns = insns.to_vec();
    insns.extend([i(0xbf, 0, 9, 0, 0), exit()]);
    if insns.iter().any(|insn| insn.is_pseudo_call()) {
        insns.extend([mov(0, 0), exit()]);
    }
    let error = Program::load(&ProgramDefinition {
        name: "text",
        program_type,
        expected_attach_type: match program_type {
            ProgramType::XDP => AttachType::XDP,
            _ => AttachType(0),
        },
        license: "GPL",
        instructions: &encode_all(&insns),
        ..ProgramDefinition::default()
    })
    .expect_err("r9 is not set");
    match error {
        KernelError::Rejected(rejection) => rejection.log.clone(),
        other => panic!("{other}"),
    }
}

fn check(program_type: ProgramType, insns: &[Insn]) -> usize {
    let log = log(program_type, insns);
    let mut seen = 0;
    for step in steps(insns) {
        // `12: (07) r1 += 5                       ; R1_w=10`, with the state from 5.18 on.
        let start = format!("{}: ({:02x}) ", step.at.0, step.insn.opcode);
        let line = log.lines().find_map(|line| {
            let rest = line.strip_prefix(&start)?;
            Some(rest.split(';').next().unwrap_or(rest).trim_end())
        });
        // The verifier leaves out what a branch that it decides jumps over.
        let Some(line) = line else { continue };
        assert_eq!(text(step, None), line, "instruction {}:\n{log}", step.at.0);
        seen += 1;
    }
    assert!(log.contains("R9 !read_ok"), "{log}");
    seen
}

#[test]
fn our_text_is_the_kernels() {
    need_root();
    let kernel = support::kernel_version();
    let xdp = ProgramType::XDP;
    let plain = plain();
    let seen = check(xdp, &plain);
    assert!(seen + 10 > steps(&plain).count(), "only {seen} were shown");
    check(ProgramType::SOCKET_FILTER, &packet());
    check(xdp, &call());
    for (since, insns) in [
        ((5, 12), atomics()),
        ((6, 6), fourth()),
        ((6, 10), may_goto()),
        ((6, 15), ordered()),
    ] {
        if kernel >= since {
            let seen = check(xdp, &insns);
            assert_eq!(seen, steps(&insns).count(), "since {since:?}");
        }
    }
}
