//! Pass 5: refuses what the kernel would refuse later, while the source line is at hand.
//!
//! Only what stays is checked. Every check adds to one list, so that one link shows all there is to mend; what only
//! some kernels refuse, or what the instructions alone cannot prove, becomes a warning.

mod arguments;
mod atomics;
mod chains;
mod instructions;
mod panics;
mod symbols;

use std::collections::{BTreeMap, BTreeSet};

use super::LinkError;
use super::atoms::AtomId;
use super::calls::Calls;
use super::frames::frame;
use super::problem::Problem;
use super::refusal::Refusal;
use super::view::View;

/// What the checks have found so far.
#[derive(Default)]
struct Findings {
    /// With the place in the link, to print them in the order of the inputs.
    refused: Vec<(AtomId, u64, Refusal)>,
    doubts: Vec<(AtomId, u64, Refusal)>,
}

/// Findings of one link: what fails more often than this has one cause, and each costs a search for its source line.
const MAX_FINDINGS: usize = 200;

impl Findings {
    /// Whether enough was found.
    fn is_full(&self) -> bool {
        self.refused.len().max(self.doubts.len()) >= MAX_FINDINGS
    }

    /// Refused, unless the command line says that this check only warns.
    fn refuse(&mut self, view: &View<'_, '_>, at: (AtomId, u64), refusal: Refusal) {
        let allowed = refusal
            .problem
            .check()
            .is_some_and(|check| view.options.allow.contains(&check));
        let list = if allowed {
            &mut self.doubts
        } else {
            &mut self.refused
        };
        list.push((at.0, at.1, refusal));
    }

    /// What one place shows, without more evidence than the place itself.
    fn found(&mut self, view: &View<'_, '_>, id: AtomId, offset: u64, problem: Problem) {
        if !self.is_full() {
            self.refuse(view, (id, offset), view.refusal(id, offset, problem));
        }
    }

    fn warn(&mut self, at: (AtomId, u64), refusal: Refusal) {
        self.doubts.push((at.0, at.1, refusal));
    }
}

fn in_order(mut found: Vec<(AtomId, u64, Refusal)>) -> Vec<Refusal> {
    found.sort_by_key(|(id, offset, _)| (*id, *offset));
    let mut found: Vec<Refusal> = found.into_iter().map(|(_, _, refusal)| refusal).collect();
    found.dedup();
    // What lies in Rust's library is mended where it is called: one finding for each call and kind says enough.
    let mut told = BTreeSet::new();
    found.retain(|refusal| {
        let (function, insn) = match &refusal.site.function {
            Some((function, _)) if is_library(function) => author(refusal),
            _ => return true,
        };
        told.insert((refusal.problem.to_string(), function, insn))
    });
    found
}

/// The innermost call that its author can change.
fn author(refusal: &Refusal) -> (String, u32) {
    let mut callers = refusal.site.callers.iter();
    callers
        .find(|caller| !is_library(&caller.function))
        .map_or_else(Default::default, |caller| {
            (caller.function.clone(), caller.insn.0)
        })
}

/// Checks every live atom. What comes back are warnings.
pub(super) fn code(view: &View<'_, '_>) -> Result<Vec<Refusal>, LinkError> {
    let mut findings = Findings::default();
    symbols::check(view, &mut findings);
    let mut frames = BTreeMap::new();
    for id in view.functions() {
        let insns = view.insns(id);
        if instructions::check(view, id, &insns, &mut findings) {
            // From here on the function's jumps stay within it.
            atomics::check(view, id, &insns, &mut findings);
            frames.insert(id, frame(&insns, |insn| view.referent(id, insn)));
        }
        arguments::check(view, id, &mut findings);
    }
    panics::check(view, &mut findings);
    chains::check(view, &Calls::new(view, frames), &mut findings);
    if findings.refused.is_empty() {
        Ok(in_order(findings.doubts))
    } else {
        Err(LinkError::Refused(in_order(findings.refused)))
    }
}

/// Rust's own functions, which no author of a program can change.
fn is_library(function: &str) -> bool {
    let path = function.trim_start_matches(['<', '&', '[', '*']);
    ["core::", "alloc::", "std::", "__rustc::", "rust_begin_unwind"]
        .iter()
        .any(|library| path.starts_with(library))
        // `<u8 as core::fmt::Debug>::fmt`: a trait of core on a type without a path of its own.
        || path.split_once(" as core::").is_some_and(|(ty, _)| !ty.contains("::"))
}

#[cfg(test)]
mod tests {
    use super::is_library;

    #[test]
    fn the_library_is_known_by_its_paths() {
        for name in [
            "core::panicking::panic",
            "<core::option::Option<u8>>::unwrap",
            "__rustc::rust_begin_unwind",
            "<usize as core::slice::index::SliceIndex<[u8]>>::index",
            "<[u8] as core::ops::index::Index<usize>>::index",
        ] {
            assert!(is_library(name), "{name}");
        }
        for name in [
            "prog::core::look",
            "<prog::Table as core::ops::index::Index<usize>>::index",
        ] {
            assert!(!is_library(name), "{name}");
        }
    }
}
