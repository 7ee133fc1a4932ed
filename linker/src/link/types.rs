//! Pass 8: the types of the output, and what they say of its instructions.
//!
//! What the kernel asks for (`check_btf_func`, `check_btf_line` in kernel/bpf/verifier.c, `btf_datasec_check_meta` in
//! kernel/bpf/btf.c): one func_info for each function, ascending; line_info ascending, at the first instruction of
//! each function, never on the second slot of a `ld_imm64`; variables ascending, inside their section, without
//! overlap. The loader takes what belongs to one program out of it.

use std::collections::{BTreeMap, BTreeSet};

use super::atoms::{AtomId, Atoms};
use super::inputs::{Module, ModuleId};
use super::place::{Layout, Location};
use super::records::{core_relos, functions, lines};
use super::{LinkError, Options};
use crate::btf::{self, Btf, Datasec, Importer, Kind, Renumbering, TypeId, VarSecinfo};
use crate::btf_ext::{BtfExt, CoreRelo, Group, LineInfo, Record};
use crate::elf::write::{Content, Image, ImageSection};
use crate::elf::{Place, SectionIndex};

/// Sections of variables and functions that are the kernel's or libbpf's: declared here, defined elsewhere.
const EXTERN_SECTIONS: [&str; 2] = [".ksyms", ".kconfig"];

/// .BTF and .BTF.ext of the output; nothing when no input has types.
pub(super) fn describe(
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    layout: &Layout<'_>,
    image: &Image,
    options: &Options,
) -> Result<Vec<ImageSection>, LinkError> {
    if modules.iter().all(|module| module.types.is_none()) {
        return Ok(Vec::new());
    }
    let mut btf = Btf::new();
    let externs: BTreeSet<&str> = image
        .symbols
        .iter()
        .filter(|symbol| symbol.section.is_none())
        .map(|symbol| symbol.name.as_str())
        .collect();
    let mut described = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        described.push(Described::import(
            &mut btf,
            ModuleId(index),
            module,
            atoms,
            layout,
            &externs,
        ));
    }
    let ext = BtfExt {
        func_info: functions(&mut btf, modules, atoms, layout, &described, options),
        line_info: lines(&mut btf, atoms, layout, &described),
        core_relos: core_relos(&mut btf, layout, &described),
    };
    sections(&mut btf, layout, &described)?;
    let section = |name: &str, bytes| ImageSection {
        name: name.to_owned(),
        content: Content::Metadata(bytes),
        align: 4,
        relocations: Vec::new(),
    };
    Ok(vec![
        section(".BTF", btf.encode()),
        section(".BTF.ext", ext.encode()),
    ])
}

/// Whether a module says in its types that someone else defines `name`.
pub(super) fn is_declared_extern(module: &Module<'_>, name: &str) -> bool {
    module.types.as_ref().is_some_and(|types| {
        EXTERN_SECTIONS
            .iter()
            .filter_map(|section| types.btf.datasec(section))
            .flat_map(|(_, section)| &section.vars)
            .any(|var| types.btf.type_name(var.ty) == name)
    })
}

/// What one module's types say about what is live, in numbers of the output.
pub(super) struct Described<'m> {
    /// The repaired types of the module; its strings are the module's own.
    pub(super) source: Option<&'m super::inputs::Types>,
    /// Its functions by atom.
    pub(super) functions: BTreeMap<AtomId, TypeId>,
    /// Its source lines by atom, at bytes from the atom's start.
    pub(super) lines: BTreeMap<AtomId, Vec<LineInfo>>,
    /// Its CO-RE relocations by atom, at bytes from the atom's start.
    pub(super) core_relos: BTreeMap<AtomId, Vec<CoreRelo>>,
    /// Its variables by place.
    vars: Vec<(Location, VarSecinfo)>,
    /// What it declares and others define, by section.
    externs: Vec<(&'static str, VarSecinfo)>,
}

impl<'m> Described<'m> {
    /// Copies the types that live functions and variables need.
    fn import(
        btf: &mut Btf,
        id: ModuleId,
        module: &'m Module<'_>,
        atoms: &Atoms<'_>,
        layout: &Layout<'_>,
        externs: &BTreeSet<&str>,
    ) -> Self {
        let mut described = Self {
            source: module.types.as_ref(),
            functions: BTreeMap::new(),
            lines: BTreeMap::new(),
            core_relos: BTreeMap::new(),
            vars: Vec::new(),
            externs: Vec::new(),
        };
        let Some(types) = &module.types else {
            return described;
        };
        let finder = Finder {
            id,
            module,
            atoms,
            layout,
        };
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

        let repaired = btf::repair(types.btf.clone());
        let mut importer = Importer::new(&repaired);
        described.visit_types(|id| importer.want(*id));
        let numbers: Renumbering = importer.copy_into(btf);
        described.visit_types(|id| *id = numbers.get(*id));
        described
    }

    fn visit_types(&mut self, mut visit: impl FnMut(&mut TypeId)) {
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

    /// The variables of live sections, at their places in the output.
    fn find_vars(&mut self, finder: &Finder<'_, '_>, btf: &Btf, externs: &BTreeSet<&str>) {
        for (_, ty) in btf.iter() {
            let Kind::Datasec(section) = &ty.kind else {
                continue;
            };
            let name = btf.name(ty.name);
            if let Some(extern_section) = EXTERN_SECTIONS.iter().find(|known| **known == name) {
                for var in &section.vars {
                    if externs.contains(btf.type_name(var.ty)) {
                        self.externs.push((extern_section, *var));
                    }
                }
                continue;
            }
            let homes = finder.sections_named(name);
            for var in &section.vars {
                let Some(location) = finder.place(&homes, btf.type_name(var.ty), var.offset) else {
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
    module: &'f Module<'a>,
    atoms: &'f Atoms<'a>,
    layout: &'f Layout<'a>,
}

impl Finder<'_, '_> {
    /// The records of live atoms, their offsets counted from the atom's start.
    fn records<R: Record + Copy>(&self, btf: &Btf, groups: &[Group<R>]) -> Vec<(AtomId, R)> {
        let mut found = Vec::new();
        for group in groups {
            let name = btf.name(group.section);
            let Some((section, _)) = self.module.object.section_named(name) else {
                continue;
            };
            for record in &group.records {
                let at = u64::from(record.insn_off());
                let Some(id) = self.atoms.at(self.id, section, at) else {
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

    /// The sections of a name. Where an object has more than one, variables are told apart by their symbols.
    fn sections_named(&self, name: &str) -> SectionsNamed<'_> {
        let object = &self.module.object;
        let all: Vec<SectionIndex> = object
            .sections()
            .filter(|(_, section)| section.name == name)
            .map(|(index, _)| index)
            .collect();
        let mut of_symbol = BTreeMap::new();
        if all.len() > 1 {
            for symbol in &object.symbols {
                if let Place::Section(section) = symbol.place
                    && all.binary_search(&section).is_ok()
                {
                    of_symbol.insert(symbol.name, section);
                }
            }
        }
        SectionsNamed {
            first: all.first().copied(),
            of_symbol,
        }
    }

    /// Where a variable lies in the output.
    fn place(&self, homes: &SectionsNamed<'_>, var: &str, offset: u32) -> Option<Location> {
        let section = homes.of_symbol.get(var).copied().or(homes.first)?;
        let offset = u64::from(offset);
        let id = self.atoms.at(self.id, section, offset)?;
        let location = self.layout.place(id)?;
        Some(Location {
            offset: location.offset + (offset - self.atoms.get(id).start),
            ..location
        })
    }
}

/// The sections of one name in a module.
struct SectionsNamed<'f> {
    first: Option<SectionIndex>,
    /// Which one a variable is in, where there are several.
    of_symbol: BTreeMap<&'f str, SectionIndex>,
}

/// A DATASEC for each section that has described variables.
fn sections(
    btf: &mut Btf,
    layout: &Layout<'_>,
    described: &[Described<'_>],
) -> Result<(), LinkError> {
    let mut by_section: Vec<Vec<VarSecinfo>> = vec![Vec::new(); layout.sections.len()];
    for (location, var) in described.iter().flat_map(|module| &module.vars) {
        by_section[location.section].push(VarSecinfo {
            offset: location.offset as u32,
            ..*var
        });
    }
    for (section, mut vars) in layout.sections.iter().zip(by_section) {
        vars.sort_by_key(|var| var.offset);
        let mut end: u64 = 0;
        vars.retain(|var| {
            let after = u64::from(var.offset) + u64::from(var.size);
            let fits = u64::from(var.offset) >= end && after <= section.size;
            if fits {
                end = after;
            }
            fits
        });
        add_section(btf, section.home.name(), section.size as u32, vars)?;
    }
    for name in EXTERN_SECTIONS {
        let mut seen = BTreeSet::new();
        let vars: Vec<VarSecinfo> = described
            .iter()
            .flat_map(|module| &module.externs)
            .filter(|(section, _)| *section == name)
            .filter(|(_, var)| seen.insert(btf.type_name(var.ty).to_owned()))
            .map(|(_, var)| *var)
            .collect();
        add_section(btf, name, 0, vars)?;
    }
    Ok(())
}

fn add_section(
    btf: &mut Btf,
    name: &str,
    size: u32,
    vars: Vec<VarSecinfo>,
) -> Result<(), LinkError> {
    // The number of variables has 16 bits (`BTF_MAX_VLEN`).
    let limit = u64::from(u16::MAX);
    if vars.len() as u64 > limit {
        return Err(LinkError::TooLarge {
            section: format!("{name} (variables)"),
            size: vars.len() as u64,
            limit,
        });
    }
    if !vars.is_empty() {
        btf.add(name, Kind::Datasec(Datasec { size, vars }));
    }
    Ok(())
}
