//! Reachable panics, reported where their author can do something about them.
//!
//! A panic handler that loops for ever compiles to a jump to itself, which no kernel takes; LLVM calls `__bpf_trap`
//! where control must not arrive. Between such an end and the author's code lie functions of Rust's library: each call
//! from the author's code into them is one finding. Where everything was inlined the end lies in the author's
//! function, and the checks that jump there are the evidence.

use std::collections::BTreeSet;

use super::{Findings, is_library};
use crate::insn::{Insn, steps};
use crate::link::atoms::AtomId;
use crate::link::flow::{falls_through, successors};
use crate::link::problem::Problem;
use crate::link::resolve::Target;
use crate::link::view::View;

/// What LLVM calls where the program must not arrive (`unreachable`), since LLVM 21.
pub(super) const TRAP: &str = "__bpf_trap";
/// Checks that lead to one panic: so many are shown.
const MAX_CHECKS: usize = 5;

pub(super) fn check(view: &View<'_, '_>, findings: &mut Findings) {
    let mut ends: Vec<(AtomId, u64)> = Vec::new();
    for id in view.functions() {
        let insns = view.insns(id);
        let loops = steps(&insns).filter(|step| step.insn.is_self_jump());
        ends.extend(loops.map(|step| (id, step.at.byte_offset())));
        ends.extend(traps(view, id));
    }
    let mut reported = BTreeSet::new();
    let mut climbed = BTreeSet::new();
    // From an end in the library up to the calls of those who are not the library.
    let mut open: Vec<(AtomId, u64, Option<AtomId>)> = ends
        .into_iter()
        .map(|(id, offset)| (id, offset, None))
        .collect();
    open.reverse();
    let callers = if open.is_empty() {
        Vec::new()
    } else {
        callers(view)
    };
    while let Some((id, offset, through)) = open.pop() {
        if findings.is_full() {
            return;
        }
        let above = &callers[id.0];
        if is_library(&view.name(id)) && !above.is_empty() {
            if climbed.insert(id) {
                open.extend(above.iter().rev().map(|(by, at)| (*by, *at, Some(id))));
            }
            continue;
        }
        if !reported.insert((id, offset)) {
            continue;
        }
        let mut refusal = view.refusal(id, offset, problem(view, id, offset, through));
        if through.is_none() {
            refusal.notes = checks(view, id, offset);
        }
        findings.refuse(view, (id, offset), refusal);
    }
}

/// A panic to Rust, a loop without end to C.
fn problem(view: &View<'_, '_>, id: AtomId, offset: u64, through: Option<AtomId>) -> Problem {
    let is_c = view
        .place(id, offset)
        .source
        .is_some_and(|source| [".c", ".h"].iter().any(|end| source.file.ends_with(end)));
    let is_trap = view.reference_at(id, offset).is_some();
    if is_c && !is_trap && through.is_none() {
        Problem::Endless
    } else {
        Problem::Panic(through.map(|id| view.name(id)))
    }
}

/// The calls of `__bpf_trap` in a function.
fn traps<'v>(view: &'v View<'_, '_>, id: AtomId) -> impl Iterator<Item = (AtomId, u64)> + 'v {
    view.references(id)
        .iter()
        .filter_map(move |reference| match reference.target {
            Target::External { module, symbol } => {
                let name = view.modules[module.0].object.symbols[symbol.0].name;
                (name == TRAP).then_some((id, reference.offset))
            }
            Target::Atom { .. } => None,
        })
}

/// By function: the places that refer to it.
fn callers(view: &View<'_, '_>) -> Vec<Vec<(AtomId, u64)>> {
    let mut callers = vec![Vec::new(); view.atoms.all.len()];
    for id in view.functions() {
        for reference in view.references(id) {
            if let Target::Atom { atom, .. } = reference.target {
                callers[atom.0].push((id, reference.offset));
            }
        }
    }
    callers
}

/// The conditions that lead straight to a place, as lines of evidence.
fn checks(view: &View<'_, '_>, id: AtomId, offset: u64) -> Vec<String> {
    let insns = view.insns(id);
    let end = (offset / Insn::SIZE as u64) as usize;
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); insns.len()];
    for step in steps(&insns) {
        let at = step.at.0 as usize;
        for target in successors(at, step.insn) {
            if let Some(before) = before.get_mut(target) {
                before.push(at);
            }
        }
    }
    let is_condition = |insn: Insn| falls_through(insn) && insn.jump_distance().is_some();
    let mut seen = BTreeSet::from([end]);
    let mut open = vec![end];
    let mut found = BTreeSet::new();
    while let Some(at) = open.pop() {
        for previous in &before[at] {
            if !seen.insert(*previous) {
                continue;
            }
            if is_condition(insns[*previous]) {
                found.insert(*previous);
            } else {
                open.push(*previous);
            }
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for at in &found {
        let place = view.place(id, (*at * Insn::SIZE) as u64);
        let line = match place.source {
            Some(source) => format!("checked at {source}"),
            None => format!("checked at insn {at}"),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if let Some(more @ 1..) = lines.len().checked_sub(MAX_CHECKS) {
        lines.truncate(MAX_CHECKS);
        lines.push(format!("and in {more} more places"));
    }
    lines
}
