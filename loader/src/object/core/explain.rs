//! From the verifier's complaint about a poisoned instruction back to the relocation that failed.

use std::sync::Arc;

use xdplb_linker::insn::InsnIndex;

use super::patch::POISON;

/// Why the instruction that the verifier stopped at was poisoned, if it was: the text that belongs to it in `poisoned`.
///
/// Kernels say `invalid func unknown#195896080` below the instruction they stopped at, and where instructions were not
/// logged nothing else; then the only poisoned instruction is meant.
pub fn explain<'a>(poisoned: &'a [(InsnIndex, Arc<str>)], log: &str) -> Option<&'a str> {
    let call = format!("unknown#{POISON}");
    let mut stopped = None;
    let mut complained = false;
    for line in log.lines().filter(|line| line.contains(&call)) {
        match line.split_once(": (85) call ") {
            Some((at, _)) => stopped = at.trim().parse().ok().map(InsnIndex).or(stopped),
            None => complained = true,
        }
    }
    if !complained {
        return None;
    }
    match stopped {
        Some(at) => poisoned.iter().find(|(insn, _)| *insn == at),
        None => poisoned.first().filter(|_| poisoned.len() == 1),
    }
    .map(|(_, why)| &**why)
}
