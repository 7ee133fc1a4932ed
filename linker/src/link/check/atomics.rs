//! Atomic operations whose old value is used and was never fetched.
//!
//! LLVM 19 to 22 compile a relaxed `fetch_add` whose result is used, for cpu v3 and v4, to the instruction that does not
//! fetch (llvm/llvm-project issue 210280): the program then works with the addend instead of the old value. No kernel
//! refuses it.
//!
//! How it shows: in LLVM these instructions are declared to give their result in the register of the operand
//! (`Constraints = "$dst = $val"` in BPFInstrInfo.td), so the compiler keeps an addend that it needs later in another
//! register, and a read of the operand's register before it is written again can only mean the result. Inline assembly
//! and other compilers may well go on using their addend. So it is an error where the source line says that it is one
//! of the language's own atomics, and a warning where nothing does.

use super::Findings;
use crate::insn::{BPF_DW, Insn};
use crate::link::atoms::AtomId;
use crate::link::flow::{
    Regs, helper_arguments, is_non_fetching_atomic, reads, successors, writes,
};
use crate::link::problem::Problem;
use crate::link::resolve::Target;
use crate::link::source::SourceLine;
use crate::link::view::View;

/// Instructions that are looked at for the atomics of one function. Compiled code takes a few for each; only code that
/// is made of atomics takes more, and then the last of them go unchecked.
const MAX_STEPS: usize = 4_000_000;

/// Checks one function, whose jumps stay within it.
pub(super) fn check(view: &View<'_, '_>, id: AtomId, insns: &[Insn], findings: &mut Findings) {
    let mut seen = Vec::new();
    let mut steps = 0;
    for step in crate::insn::steps(insns) {
        if !is_non_fetching_atomic(step.insn) || steps > MAX_STEPS || findings.is_full() {
            continue;
        }
        let at = step.at.0 as usize;
        let Some(reader) = reader(view, id, insns, at, &mut seen, &mut steps) else {
            continue;
        };
        let offset = step.at.byte_offset();
        let place = view.place(id, (reader * Insn::SIZE) as u64);
        let problem = Problem::Atomic {
            insn: text(step.insn),
            register: step.insn.src,
            reader: match place.source {
                Some(source) => format!("insn {reader} ({}:{})", source.file, source.line),
                None => format!("insn {reader}"),
            },
        };
        let refusal = view.refusal(id, offset, problem);
        if refusal.site.source.as_ref().is_some_and(is_an_atomic) {
            findings.refuse(view, (id, offset), refusal);
        } else {
            findings.warn((id, offset), refusal);
        }
    }
}

/// The first instruction after `at` on some path that reads the source register before any writes it.
fn reader(
    view: &View<'_, '_>,
    id: AtomId,
    insns: &[Insn],
    at: usize,
    seen: &mut Vec<usize>,
    steps: &mut usize,
) -> Option<usize> {
    let register = insns[at].src;
    // Marks by the number of the search: nothing to clear between two.
    seen.resize(insns.len(), usize::MAX);
    let mut open: Vec<usize> = successors(at, insns[at]).collect();
    while let Some(here) = open.pop() {
        *steps += 1;
        let (Some(insn), Some(seen)) = (insns.get(here), seen.get_mut(here)) else {
            continue;
        };
        if std::mem::replace(seen, at) == at {
            continue;
        }
        if reads(*insn, || arguments(view, id, here, *insn)).has(register) {
            return Some(here);
        }
        if !writes(*insn).has(register) {
            open.extend(successors(here, *insn));
        }
    }
    None
}

/// The arguments that a call is known to take.
fn arguments(view: &View<'_, '_>, id: AtomId, at: usize, insn: Insn) -> Regs {
    let reference = view.reference_at(id, (at * Insn::SIZE) as u64);
    let count = match reference.map(|reference| reference.target) {
        Some(Target::Atom { atom, .. }) => {
            let proto = view.proto(atom);
            proto.map_or(0, |proto| u8::try_from(proto.params.len()).unwrap_or(5))
        }
        Some(Target::External { .. }) => 0,
        None if insn.is_helper_call() => helper_arguments(insn.imm),
        None => 0,
    };
    Regs::arguments(count)
}

/// Whether a line is one of the language's atomics, not assembly.
fn is_an_atomic(source: &SourceLine) -> bool {
    let text = &source.text;
    if text.contains("asm") || text.contains("lock *(") {
        return false;
    }
    source.file.ends_with(".rs")
        || ["fetch_", "__sync_", "__atomic_"]
            .iter()
            .any(|word| text.contains(word))
}

/// As the verifier prints it (`print_bpf_insn`).
fn text(insn: Insn) -> String {
    let size = if insn.opcode & 0x18 == BPF_DW {
        "u64"
    } else {
        "u32"
    };
    let operation = match insn.imm {
        0x00 => "+=",
        0x40 => "|=",
        0x50 => "&=",
        0xa0 => "^=",
        _ => "?=",
    };
    format!(
        "lock *({size} *)(r{} {:+}) {operation} r{}",
        insn.dst, insn.off, insn.src
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(file: &str, text: &str) -> SourceLine {
        SourceLine {
            file: file.into(),
            line: 1,
            text: text.into(),
            after: None,
        }
    }

    #[test]
    fn assembly_is_told_from_atomics() {
        assert!(is_an_atomic(&line("core/src/sync/atomic.rs", "")));
        assert!(is_an_atomic(&line(
            "a.c",
            "old = __sync_fetch_and_add(&x, 1);"
        )));
        assert!(is_an_atomic(&line(
            "a.c",
            "return __c11_atomic_fetch_add(p, 1, 0);"
        )));
        assert!(!is_an_atomic(&line(
            "a.c",
            "asm volatile(\"lock *(u64 *)(%0 + 0) += %1\""
        )));
        assert!(!is_an_atomic(&line("a.rs", "core::arch::asm!(\"lock …\")")));
        assert!(!is_an_atomic(&line("a.c", "COUNT(x)")));
    }
}
