//! LLVM bitcode among the inputs. It is not machine code, and this linker generates none: what only bitcode defines is
//! missing, and the error says how to get an object instead.

use std::collections::{BTreeMap, BTreeSet};

use super::advice;
use super::inputs::Module;
use super::source::readable;
use super::{LinkError, Problem};
use crate::elf::Place;

/// How to get objects from the compilers that write bitcode.
pub(super) const ADVICE: &str = "for rustc, \"obj-is-bitcode\": false in the target's JSON and no -Clinker-plugin-lto; for clang, no -flto and no -emit-llvm";

/// How many names are looked for in bitcode.
const MAX_SEARCHES: usize = 64;

/// A member of an archive that is bitcode.
#[derive(Debug)]
pub(super) struct Bitcode<'a> {
    /// The archive's name.
    pub(super) archive: String,
    /// The member's, with its archive's.
    pub(super) name: String,
    pub(super) bytes: &'a [u8],
    /// What the archive's index says that it defines.
    pub(super) symbols: Option<BTreeSet<&'a str>>,
}

impl Bitcode<'_> {
    /// Whether it defines a symbol. Without an index, whether it holds the name: bitcode keeps its symbols' names as
    /// they are (`STRTAB_BLOB`, llvm.org/docs/BitCodeFormat.html).
    fn defines(&self, name: &str) -> bool {
        match &self.symbols {
            Some(symbols) => symbols.contains(name),
            None => self
                .bytes
                .windows(name.len().max(1))
                .any(|window| window == name.as_bytes()),
        }
    }
}

/// Says of symbols that are not defined which of them bitcode defines.
pub(super) fn explain(
    error: LinkError,
    modules: &[Module<'_>],
    bitcode: &[Bitcode<'_>],
) -> LinkError {
    let LinkError::Refused(mut refusals) = error else {
        return error;
    };
    if bitcode.is_empty() {
        return LinkError::Refused(refusals);
    }
    let mut raw: BTreeMap<String, &str> = BTreeMap::new();
    for symbol in modules.iter().flat_map(|module| &module.object.symbols) {
        if symbol.place == Place::Undefined {
            raw.insert(readable(symbol.name), symbol.name);
        }
    }
    for refusal in refusals.iter_mut().take(MAX_SEARCHES) {
        // Of panics, `memcpy` and the like there is more to say.
        if let Problem::Undefined(name) = &refusal.problem
            && advice::undefined(name).is_none()
            && let Some(symbol) = raw.get(name)
            && let Some(found) = bitcode.iter().find(|bitcode| bitcode.defines(symbol))
        {
            refusal.problem = Problem::Bitcode(name.clone(), found.name.clone());
        }
    }
    LinkError::Refused(refusals)
}

/// What was left aside, one line an archive.
pub(super) fn notes(bitcode: &[Bitcode<'_>]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for member in bitcode {
        *counts.entry(&member.archive).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|(archive, count)| {
            let members = if count == 1 {
                "member is"
            } else {
                "members are"
            };
            format!("{archive}: {count} {members} LLVM bitcode, which nothing needed")
        })
        .collect()
}
