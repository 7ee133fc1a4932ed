//! LLVM bitcode among the inputs. It is not machine code, and this linker generates none: what only bitcode defines is
//! missing, and the error says how to get an object instead.

use std::collections::{BTreeMap, BTreeSet};

use super::resolve::{Target, target_name};
use super::view::View;
use super::{LinkError, Problem};

/// How to get objects from the compilers that write bitcode.
pub(super) const ADVICE: &str = "\"obj-is-bitcode\": false in the target's JSON for rustc; no -flto and no -emit-llvm for clang";

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

/// Refuses what live code wants and only bitcode defines.
pub(super) fn check(view: &View<'_, '_>, bitcode: &[Bitcode<'_>]) -> Result<(), LinkError> {
    if bitcode.is_empty() {
        return Ok(());
    }
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    for id in view.atoms.ids().filter(|id| view.live.contains(*id)) {
        for reference in view.references(id) {
            let Target::External { module, symbol } = reference.target else {
                continue;
            };
            let symbol = view.modules[module.0].object.symbols[symbol.0].name;
            // Each name is looked for once, and not without end.
            if asked.len() >= MAX_SEARCHES || !asked.insert(symbol) {
                continue;
            }
            if let Some(found) = bitcode.iter().find(|bitcode| bitcode.defines(symbol)) {
                let name = target_name(view.modules, view.atoms, reference.target);
                let problem = Problem::Bitcode(name, found.name.clone());
                let refusal = view.refusal(id, reference.offset, problem);
                return Err(LinkError::Refused(vec![refusal]));
            }
        }
    }
    Ok(())
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
