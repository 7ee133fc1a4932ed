//! Single instructions, and the shape of a function's control flow.
//!
//! The rules are those the verifier applies before it simulates anything: `check_subprogs`, `check_cfg`,
//! `resolve_pseudo_ldimm64` and the reserved fields in `do_check` (kernel/bpf/verifier.c, Linux 5.10 to 6.18).

use super::Findings;
use super::panics::TRAP;
use crate::insn::{
    BPF_ALU, BPF_ALU64, BPF_ATOMIC, BPF_B, BPF_CALL, BPF_DW, BPF_H, BPF_JMP, BPF_JMP32, BPF_LD,
    BPF_LDX, BPF_MEM, BPF_PSEUDO_CALL, BPF_ST, BPF_STX, BPF_W, BPF_X, Insn, Step, steps,
};
use crate::link::atoms::AtomId;
use crate::link::flow::{falls_through, successors, writes};
use crate::link::problem::Problem;
use crate::link::resolve::Target;
use crate::link::view::View;

/// Findings of one kind in one function: more say nothing new about bytes that are no code.
const MAX_FINDINGS: usize = 5;

/// Checks one function. True when its jumps stay within it, so that other checks may follow them.
pub(super) fn check(
    view: &View<'_, '_>,
    id: AtomId,
    insns: &[Insn],
    findings: &mut Findings,
) -> bool {
    let atom = view.atom(id);
    if insns.len() * Insn::SIZE != atom.data.len()
        || atom.data.len() as u64 != atom.end - atom.start
    {
        findings.found(
            view,
            id,
            (insns.len() * Insn::SIZE) as u64,
            Problem::CutCode,
        );
        return false;
    }
    let mut starts = vec![false; insns.len()];
    for step in steps(insns) {
        starts[step.at.0 as usize] = true;
    }
    let mut sound = true;
    let mut found = 0;
    for step in steps(insns) {
        let offset = step.at.byte_offset();
        if let Some(problem) = jump(&step, &starts) {
            findings.found(view, id, offset, problem);
            sound = false;
            found += 1;
        } else if let Some(problem) = form(&step).or_else(|| call(view, id, &step)) {
            sound &= !matches!(problem, Problem::CutCode);
            if findings.is_full() {
                return false;
            }
            if only_where_it_walks(&problem) {
                findings.warn((id, offset), view.refusal(id, offset, problem));
            } else {
                findings.found(view, id, offset, problem);
            }
            found += 1;
        }
        if found >= MAX_FINDINGS {
            return false;
        }
    }
    if sound {
        shape(view, id, insns, findings);
    }
    sound
}

/// The verifier looks at operands only on paths that it walks: behind a constant that rules a path out, it does not.
fn only_where_it_walks(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::DivideByZero | Problem::Shift(..) | Problem::FramePointer
    )
}

/// A jump must lead to an instruction of its function.
fn jump(step: &Step, starts: &[bool]) -> Option<Problem> {
    let distance = step.insn.jump_distance()?;
    let target = i64::from(step.at.0) + 1 + i64::from(distance);
    let known = usize::try_from(target).ok().and_then(|at| starts.get(at));
    let bytes = target * Insn::SIZE as i64;
    match known {
        Some(true) => None,
        Some(false) => Some(Problem::JumpMiddle(bytes)),
        None => Some(Problem::JumpOut(bytes)),
    }
}

/// What an instruction shows by itself.
fn form(step: &Step) -> Option<Problem> {
    let insn = step.insn;
    if insn.is_ld_imm64() {
        let Some(second) = step.second else {
            return Some(Problem::CutCode);
        };
        let plain = Insn {
            imm: second.imm,
            ..Insn::default()
        };
        if second != plain {
            return Some(Problem::SecondSlot);
        }
    }
    if insn.opcode == BPF_JMP | BPF_CALL | BPF_X {
        return Some(Problem::IndirectCall);
    }
    if !is_opcode(insn.opcode) {
        return Some(Problem::Opcode(insn.opcode));
    }
    if let Some(register) = [insn.dst, insn.src]
        .into_iter()
        .find(|register| *register > 10)
    {
        return Some(Problem::Register(register));
    }
    if writes(insn).has(10) {
        return Some(Problem::FramePointer);
    }
    if matches!(insn.class(), BPF_ALU | BPF_ALU64) && insn.opcode & BPF_X == 0 {
        let bits = if insn.class() == BPF_ALU { 32 } else { 64 };
        return match insn.opcode & 0xf0 {
            0x30 | 0x90 if insn.imm == 0 => Some(Problem::DivideByZero),
            0x60 | 0x70 | 0xc0 if !(0..bits).contains(&insn.imm) => {
                Some(Problem::Shift(insn.imm, bits as u32))
            }
            _ => None,
        };
    }
    None
}

/// The opcodes that kernels know, up to Linux 6.18.
fn is_opcode(opcode: u8) -> bool {
    let (class, high) = (opcode & 0x07, opcode & 0xf0);
    let (size, mode) = (opcode & 0x18, opcode & 0xe0);
    match class {
        BPF_ALU | BPF_ALU64 => high <= 0xd0,
        // ja, jeq … jsle, call, exit, may_goto: only the conditions take a register.
        BPF_JMP => match high {
            0x00 | 0x80 | 0x90 | 0xe0 => opcode & BPF_X == 0,
            _ => high <= 0xd0,
        },
        BPF_JMP32 => match high {
            0x00 => opcode & BPF_X == 0,
            0x80 | 0x90 => false,
            _ => high <= 0xd0,
        },
        BPF_LD => match mode {
            0x00 => size == BPF_DW,
            0x20 | 0x40 => size != BPF_DW, // legacy packet loads
            _ => false,
        },
        // 0x80: sign-extending (cpu v4)
        BPF_LDX => mode == BPF_MEM || mode == 0x80 && size != BPF_DW,
        BPF_ST => mode == BPF_MEM,
        // Acquire and release come in all sizes.
        BPF_STX => {
            mode == BPF_MEM || mode == BPF_ATOMIC && matches!(size, BPF_W | BPF_DW | BPF_B | BPF_H)
        }
        _ => false,
    }
}

/// A call must lead somewhere: by a relocation, or by a number that some helper has.
fn call(view: &View<'_, '_>, id: AtomId, step: &Step) -> Option<Problem> {
    let insn = step.insn;
    if !insn.is_call() || view.reference_at(id, step.at.byte_offset()).is_some() {
        return None;
    }
    if insn.src == BPF_PSEUDO_CALL {
        return Some(Problem::Nowhere);
    }
    (insn.is_helper_call() && insn.imm <= 0).then_some(Problem::Helper(insn.imm))
}

/// Every instruction must be reachable, and the last one must not lead out of the function.
fn shape(view: &View<'_, '_>, id: AtomId, insns: &[Insn], findings: &mut Findings) {
    let Some(last) = steps(insns).last() else {
        return;
    };
    let mut reached = vec![false; insns.len()];
    let mut open = vec![0];
    while let Some(at) = open.pop() {
        let (Some(seen), Some(insn)) = (reached.get_mut(at), insns.get(at)) else {
            continue;
        };
        if !std::mem::replace(seen, true) {
            open.extend(successors(at, *insn));
        }
    }
    if let Some(step) = steps(insns).find(|step| !reached[step.at.0 as usize]) {
        findings.found(view, id, step.at.byte_offset(), Problem::Unreachable);
    }
    // A call that does not come back ends a function too; what it leads to is reported where it is called.
    let offset = last.at.byte_offset();
    if reached[last.at.0 as usize] && falls_through(last.insn) && !is_reported(view, id, offset) {
        findings.found(view, id, offset, Problem::FallsThrough);
    }
}

/// Calls of `__bpf_trap`, of what is undefined, and of functions that loop for ever.
fn is_reported(view: &View<'_, '_>, id: AtomId, offset: u64) -> bool {
    let Some(reference) = view.reference_at(id, offset) else {
        return false;
    };
    match reference.target {
        Target::External { module, symbol } => {
            let name = view.modules[module.0].object.symbols[symbol.0].name;
            name == TRAP || !name.starts_with("bpf_")
        }
        Target::Atom { atom, .. } => {
            let callee = view.insns(atom);
            !steps(&callee).any(|step| step.insn.is_exit())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_those_of_the_instruction_set() {
        // mov64 imm, exit, call, ldxdw, atomic dw, ld_imm64, ja, gotol, jeq32, bswap, ldsxw, ld_abs_w
        for opcode in [
            0xb7, 0x95, 0x85, 0x79, 0xdb, 0x18, 0x05, 0x06, 0x16, 0xd7, 0x81, 0x20, 0xe5,
        ] {
            assert!(is_opcode(opcode), "{opcode:#x}");
        }
        for opcode in [
            0x00, 0xff, 0x8d, 0x9d, 0x86, 0x96, 0x99, 0x1a, 0xe7, 0x38, 0xe6,
        ] {
            assert!(!is_opcode(opcode), "{opcode:#x}");
        }
    }
}
