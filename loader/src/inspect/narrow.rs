//! Less of it: one section, one program, one map.

use std::collections::BTreeSet;

use super::Inspection;

/// Names that a list in a sentence has at most.
const LISTED: usize = 4;
/// Similar names that an error offers.
const SIMILAR: usize = 3;

/// What of an object is wanted; all of it where nothing is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrow {
    /// A section's name.
    pub section: Option<String>,
    /// A program's name, or a function's.
    pub program: Option<String>,
    /// A map's name.
    pub map: Option<String>,
}

/// There is no such thing in the object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the object has no {what} `{name}`{offer}")]
pub struct NoSuch {
    what: &'static str,
    name: String,
    offer: String,
}

impl NoSuch {
    fn new(what: &'static str, plural: &str, name: &str, known: &[&str]) -> Self {
        let mut near: Vec<(usize, &str)> = known
            .iter()
            .filter(|has| has.len() <= 256 && name.len() <= 256)
            .map(|has| (distance(name, has), *has))
            .filter(|(distance, _)| *distance <= 3.max(name.len() / 3))
            .collect();
        near.sort_unstable();
        near.dedup();
        let near: Vec<&str> = near.iter().take(SIMILAR).map(|(_, name)| *name).collect();
        let offer = match (known, near.as_slice()) {
            ([], _) => format!(": it has no {plural}"),
            (_, []) => format!("\n  has:  {}", listed(known, 12, "")),
            (_, near) => format!("\n  try:  {}", near.join(", ")),
        };
        NoSuch {
            what,
            name: name.to_string(),
            offer,
        }
    }
}

/// How far two names are apart; one within the other is near.
fn distance(wanted: &str, has: &str) -> usize {
    let lower = (wanted.to_lowercase(), has.to_lowercase());
    if wanted.len() >= 3 && lower.1.contains(&lower.0) {
        return 1;
    }
    strsim::levenshtein(&lower.0, &lower.1)
}

fn listed(names: &[&str], most: usize, quote: &str) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(most)
        .map(|name| format!("{quote}{name}{quote}"))
        .collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A list of names for a sentence.
pub(super) fn shortened(names: &[&str]) -> String {
    listed(names, LISTED, "`")
}

impl Inspection {
    /// Keeps what belongs to what was named. Header and license stay; numbers of functions stay what they were.
    pub fn narrow(mut self, narrow: &Narrow) -> Result<Self, NoSuch> {
        if *narrow == Narrow::default() {
            return Ok(self);
        }
        let mut keep = Keep::default();
        if let Some(name) = &narrow.section {
            keep.section(&self, name)?;
        }
        if let Some(name) = &narrow.program {
            keep.program(&self, name)?;
        }
        if let Some(name) = &narrow.map {
            keep.map(&self, name)?;
        }
        self.sections
            .retain(|section| keep.sections.contains(&section.name));
        self.symbols.retain(|symbol| {
            let in_it = symbol.section.as_ref();
            in_it.is_some_and(|section| keep.whole.contains(section))
                || keep.symbols.contains(&symbol.name)
        });
        self.programs
            .retain(|program| keep.programs.contains(&program.name));
        self.maps.retain(|map| keep.maps.contains(&map.name));
        let wanted = |section: &str, function: Option<usize>| {
            keep.whole.contains(section)
                || function.is_some_and(|function| keep.functions.contains(&function))
        };
        let names: BTreeSet<String> = keep
            .functions
            .iter()
            .filter_map(|function| self.functions.get(*function))
            .map(|function| super::clipped(function.readable.as_ref().unwrap_or(&function.name)))
            .collect();
        let named =
            |function: &Option<String>| function.as_ref().is_some_and(|name| names.contains(name));
        self.relocations
            .retain(|found| keep.whole.contains(&found.section) || named(&found.function));
        self.core
            .retain(|found| keep.whole.contains(&found.section) || named(&found.function));
        for code in &mut self.code {
            code.instructions
                .retain(|insn| wanted(&code.section, insn.function));
        }
        self.code
            .retain(|code| keep.whole.contains(&code.section) || !code.instructions.is_empty());
        let mentioned: BTreeSet<&str> = self
            .relocations
            .iter()
            .map(|found| found.symbol.as_str())
            .collect();
        self.expectations
            .retain(|one| mentioned.contains(one.name.as_str()));
        if !keep.types {
            self.types.declarations.clear();
        }
        Ok(self)
    }
}

/// What stays.
#[derive(Default)]
struct Keep {
    /// Sections whose heads stay.
    sections: BTreeSet<String>,
    /// Sections of which everything stays.
    whole: BTreeSet<String>,
    symbols: BTreeSet<String>,
    programs: BTreeSet<String>,
    maps: BTreeSet<String>,
    functions: BTreeSet<usize>,
    types: bool,
}

impl Keep {
    fn section(&mut self, all: &Inspection, name: &str) -> Result<(), NoSuch> {
        if !all.sections.iter().any(|section| section.name == name) {
            let known: Vec<&str> = all
                .sections
                .iter()
                .map(|section| section.name.as_str())
                .filter(|name| !name.is_empty())
                .collect();
            return Err(NoSuch::new("section", "sections", name, &known));
        }
        self.sections.insert(name.into());
        self.whole.insert(name.into());
        self.types |= matches!(name, ".BTF" | ".BTF.ext");
        let programs = all.programs.iter().filter(|p| p.section == name);
        self.programs.extend(programs.map(|p| p.name.clone()));
        let maps = all.maps.iter();
        let maps = maps.filter(|map| map.section.as_deref() == Some(name));
        self.maps.extend(maps.map(|map| map.name.clone()));
        let functions = all.functions.iter().enumerate();
        let functions = functions.filter(|(_, function)| function.section == name);
        self.functions.extend(functions.map(|(index, _)| index));
        Ok(())
    }

    fn program(&mut self, all: &Inspection, name: &str) -> Result<(), NoSuch> {
        let called = |function: &super::Function| {
            function.name == name || function.readable.as_deref() == Some(name)
        };
        let (functions, maps) = match all.programs.iter().find(|program| program.name == name) {
            Some(program) => {
                self.programs.insert(program.name.clone());
                (program.reaches.clone(), program.maps.clone())
            }
            None => {
                let Some(function) = all.functions.iter().position(called) else {
                    let programs = all.programs.iter().map(|program| program.name.as_str());
                    let functions = all.functions.iter().map(|function| {
                        function
                            .readable
                            .as_ref()
                            .unwrap_or(&function.name)
                            .as_str()
                    });
                    let mut known: Vec<&str> = programs.chain(functions).collect();
                    let mut seen = BTreeSet::new();
                    known.retain(|name| seen.insert(*name));
                    return Err(NoSuch::new("program", "programs", name, &known));
                };
                (vec![function], Vec::new())
            }
        };
        self.maps.extend(maps);
        for function in &functions {
            if let Some(function) = all.functions.get(*function) {
                self.sections.insert(function.section.clone());
                self.symbols.insert(function.name.clone());
            }
        }
        self.functions.extend(functions);
        Ok(())
    }

    fn map(&mut self, all: &Inspection, name: &str) -> Result<(), NoSuch> {
        let Some(map) = all.maps.iter().find(|map| map.name == name) else {
            let known: Vec<&str> = all.maps.iter().map(|map| map.name.as_str()).collect();
            return Err(NoSuch::new("map", "maps", name, &known));
        };
        self.maps.insert(map.name.clone());
        self.symbols.insert(map.name.clone());
        self.sections.extend(map.section.clone());
        Ok(())
    }
}
