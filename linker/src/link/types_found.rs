//! Pass 8, first half: what each module's own types say about what is live, at its place in the output.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::atoms::{AtomId, Atoms};
use super::inputs::{Module, ModuleId, Types};
use super::place::{Layout, Location};
use crate::btf::{self, Btf, Kind, Linkage, TypeId, Var, VarSecinfo};
use crate::btf_ext::{CoreRelo, Group, LineInfo, Record};
use crate::elf::{Place, SectionIndex};

/// Sections of variables and functions that are the kernel's or libbpf's: declared here, defined elsewhere.
pub(super) const EXTERN_SECTIONS: [&str; 2] = [".ksyms", ".kconfig"];

/// What one module's types say about what is live.
pub(super) struct Described {
    /// The module's types, repaired. The names in its records are of their strings.
    pub(super) btf: Btf,
    /// Its functions by atom.
    pub(super) functions: BTreeMap<AtomId, TypeId>,
    /// Its functions that the compiler did not describe, by atom; their types are not in `btf`.
    pub(super) made: BTreeMap<AtomId, TypeId>,
    /// Its source lines by atom, at bytes from the atom's start.
    pub(super) lines: BTreeMap<AtomId, Vec<LineInfo>>,
    /// Its CO-RE relocations by atom, at bytes from the atom's start.
    pub(super) core_relos: BTreeMap<AtomId, Vec<CoreRelo>>,
    /// Its variables by place.
    pub(super) vars: Vec<(Location, VarSecinfo)>,
    /// What it declares and others define, by section.
    pub(super) externs: Vec<(&'static str, VarSecinfo)>,
}

impl Described {
    /// Finds the records and variables of live functions and sections. `externs` are the symbols that stay undefined.
    pub(super) fn find(
        id: ModuleId,
        module: &Module<'_>,
        types: Option<Types>,
        atoms: &Atoms<'_>,
        layout: &Layout<'_>,
        externs: &BTreeSet<&str>,
    ) -> Self {
        let mut described = Self {
            btf: Btf::new(),
            functions: BTreeMap::new(),
            made: BTreeMap::new(),
            lines: BTreeMap::new(),
            core_relos: BTreeMap::new(),
            vars: Vec::new(),
            externs: Vec::new(),
        };
        let Some(types) = types else {
            return described;
        };
        let finder = Finder::new(id, module, atoms, layout);
        for (atom, record) in finder.records(&types.btf, &types.ext.func_info) {
            // A function starts where its atom does; anything else describes nothing we know.
            if record.insn_off == 0 {
                described.functions.entry(atom).or_insert(record.type_id);
            }
        }
        for (atom, record) in finder.records(&types.btf, &types.ext.line_info) {
            described.lines.entry(atom).or_default().push(record);
        }
        for (atom, record) in finder.records(&types.btf, &types.ext.core_relos) {
            described.core_relos.entry(atom).or_default().push(record);
        }
        described.find_vars(&finder, &types.btf, externs);
        // Strings are only ever added to, so the names in the records stay what they are.
        described.btf = btf::repair(types.btf);
        described
    }

    /// Shows each type id of `btf` that it holds.
    pub(super) fn visit_types(&mut self, mut visit: impl FnMut(&mut TypeId)) {
        self.functions.values_mut().for_each(&mut visit);
        for relo in self.core_relos.values_mut().flatten() {
            visit(&mut relo.type_id);
        }
        for (_, var) in &mut self.vars {
            visit(&mut var.ty);
        }
        for (_, var) in &mut self.externs {
            visit(&mut var.ty);
        }
    }

    /// Counts the functions that were made among its own, once all types are of one section.
    pub(super) fn adopt(&mut self, number: impl Fn(TypeId) -> TypeId) {
        let made = std::mem::take(&mut self.made);
        self.functions
            .extend(made.into_iter().map(|(atom, id)| (atom, number(id))));
    }

    /// The types that its CO-RE relocations start from.
    pub(super) fn core_types(&self) -> impl Iterator<Item = TypeId> + '_ {
        self.core_relos.values().flatten().map(|relo| relo.type_id)
    }

    /// The variables of live sections, at their places in the output.
    fn find_vars(&mut self, finder: &Finder<'_, '_>, btf: &Btf, externs: &BTreeSet<&str>) {
        let lost: BTreeSet<&str> = finder.module.lost_names().collect();
        for (_, ty) in btf.iter() {
            let Kind::Datasec(section) = &ty.kind else {
                continue;
            };
            let in_section = btf.name(ty.name);
            let known = EXTERN_SECTIONS.iter().find(|known| **known == in_section);
            if let Some(extern_section) = known {
                for var in &section.vars {
                    if externs.contains(btf.type_name(var.ty)) {
                        self.externs.push((extern_section, *var));
                    }
                }
                continue;
            }
            for var in &section.vars {
                // What is declared here is described where it is defined, and so is what gave way to another.
                let linkage = match btf.get(var.ty).map(|ty| &ty.kind) {
                    Some(Kind::Var(Var { linkage, .. })) => *linkage,
                    _ => continue,
                };
                let name = btf.type_name(var.ty);
                let defined_elsewhere = match linkage {
                    Linkage::Extern => true,
                    Linkage::Global => lost.contains(name),
                    Linkage::Static => false,
                };
                if defined_elsewhere {
                    continue;
                }
                let Some(location) = finder.place(in_section, name, var.offset) else {
                    continue;
                };
                let size = match (var.size, btf.size_of(var.ty)) {
                    (0, Some(size)) => u32::try_from(size).unwrap_or(0),
                    (size, _) => size,
                };
                // The kernel wants room for the whole variable (`btf_datasec_resolve`).
                let fits = btf
                    .size_of(var.ty)
                    .is_none_or(|need| need <= u64::from(size));
                if size > 0 && fits {
                    self.vars.push((location, VarSecinfo { size, ..*var }));
                }
            }
        }
    }
}

/// Finds the atoms of a module that its types speak of by section name and offset.
struct Finder<'f, 'a> {
    id: ModuleId,
    module: &'f Module<'f>,
    atoms: &'f Atoms<'a>,
    layout: &'f Layout<'a>,
    /// The first section of each name that may reach the output, and how many there are.
    named: HashMap<&'f str, (SectionIndex, usize)>,
    /// The section of each symbol, by the names of both: it tells variables in sections of one name apart.
    of_symbol: HashMap<(&'f str, &'f str), SectionIndex>,
}

impl<'f, 'a> Finder<'f, 'a> {
    fn new(
        id: ModuleId,
        module: &'f Module<'f>,
        atoms: &'f Atoms<'a>,
        layout: &'f Layout<'a>,
    ) -> Self {
        let object = &module.object;
        let mut named: HashMap<&str, (SectionIndex, usize)> = HashMap::new();
        for (index, section) in object.sections().filter(|(_, section)| section.allocated) {
            named.entry(section.name).or_insert((index, 0)).1 += 1;
        }
        let mut of_symbol = HashMap::new();
        for symbol in &object.symbols {
            if let Place::Section(section) = symbol.place {
                let name = object.sections[section.0].name;
                if named.get(name).is_some_and(|(_, count)| *count > 1) {
                    of_symbol.insert((name, symbol.name), section);
                }
            }
        }
        Self {
            id,
            module,
            atoms,
            layout,
            named,
            of_symbol,
        }
    }

    /// The records of live atoms, their offsets counted from the atom's start.
    fn records<R: Record + Copy>(&self, btf: &Btf, groups: &[Group<R>]) -> Vec<(AtomId, R)> {
        let mut found = Vec::new();
        for group in groups {
            let Some((section, _)) = self.named.get(btf.name(group.section)) else {
                continue;
            };
            for record in &group.records {
                let at = u64::from(record.insn_off());
                let Some(id) = self.atoms.at(self.id, *section, at) else {
                    continue;
                };
                let atom = self.atoms.get(id);
                if self.layout.place(id).is_some() && at < atom.end {
                    // Sections are smaller than 2 GiB, so the distance fits.
                    found.push((id, record.at((at - atom.start) as u32)));
                }
            }
        }
        found
    }

    /// Where a variable lies in the output.
    fn place(&self, section: &str, var: &str, offset: u32) -> Option<Location> {
        let first = || self.named.get(section).map(|(first, _)| first);
        let section = *self.of_symbol.get(&(section, var)).or_else(first)?;
        let offset = u64::from(offset);
        let id = self.atoms.at(self.id, section, offset)?;
        let location = self.layout.place(id)?;
        Some(Location {
            offset: location.offset + (offset - self.atoms.get(id).start),
            ..location
        })
    }
}
