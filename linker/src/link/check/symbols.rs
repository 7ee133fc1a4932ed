//! References of what is live: each must lead to something that is there.

use std::collections::BTreeMap;

use super::Findings;
use super::panics::TRAP;
use crate::elf::RelocationKind;
use crate::link::atoms::{AtomId, Home};
use crate::link::problem::Problem;
use crate::link::resolve::{Reference, Target, target_name};
use crate::link::types::is_declared_extern;
use crate::link::view::View;

/// Other places that want the same symbol: so many are shown.
const MAX_OTHERS: usize = 5;

pub(super) fn check(view: &View<'_, '_>, findings: &mut Findings) {
    let mut wanted: BTreeMap<String, Vec<(AtomId, u64)>> = BTreeMap::new();
    for id in view.atoms.ids().filter(|id| view.live.contains(*id)) {
        for reference in view.references(id) {
            match reference.target {
                Target::External { module, symbol } => {
                    let module = &view.modules[module.0];
                    let symbol = &module.object.symbols[symbol.0];
                    let known = symbol.name == TRAP || is_declared_extern(module, symbol.name);
                    if !known {
                        let name = target_name(view.modules, view.atoms, reference.target);
                        wanted.entry(name).or_default().push((id, reference.offset));
                    }
                }
                Target::Atom { atom, offset } => {
                    let at = (id, reference.offset);
                    if let Some(problem) = misfit(view, id, reference, atom, offset) {
                        findings.found(view, at.0, at.1, problem);
                    }
                }
            }
        }
    }
    for (name, places) in wanted {
        let Some((id, offset)) = places.first().copied() else {
            continue;
        };
        if findings.is_full() {
            return;
        }
        let mut refusal = view.refusal(id, offset, Problem::Undefined(name));
        for (id, offset) in places.iter().skip(1).take(MAX_OTHERS) {
            let caller = view.caller(*id, *offset);
            refusal.notes.push(format!("also wanted by {caller}"));
        }
        if let Some(more @ 1..) = places.len().checked_sub(1 + MAX_OTHERS) {
            refusal.notes.push(format!("and in {more} more places"));
        }
        findings.refuse(view, (id, offset), refusal);
    }
}

/// What is wrong with a reference to `offset` bytes into `target`.
fn misfit(
    view: &View<'_, '_>,
    id: AtomId,
    reference: &Reference,
    target: AtomId,
    offset: i64,
) -> Option<Problem> {
    let name = || target_name(view.modules, view.atoms, reference.target);
    let atom = view.atom(target);
    let is_function = atom.home.is_code();
    if is_function && offset != 0 || reference.kind == RelocationKind::Call && !is_function {
        return Some(Problem::NotAFunction(name(), offset));
    }
    if !(0..=(atom.end - atom.start) as i64).contains(&offset) {
        return Some(Problem::PastEnd(name(), offset));
    }
    match view.atom(id).home {
        Home::ReadOnly(_) | Home::Data(_) | Home::Zeroed(_) => Some(Problem::PointerInData(name())),
        Home::Program(_) | Home::Text | Home::Named(_) => None,
    }
}
