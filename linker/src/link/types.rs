//! Pass 8: the types of the output, and what they say of its instructions.
//!
//! What the kernel asks for (`check_btf_func`, `check_btf_line` in kernel/bpf/verifier.c, `btf_datasec_check_meta` in
//! kernel/bpf/btf.c): one func_info for each function, ascending; line_info ascending, at the first instruction of
//! each function, never on the second slot of a `ld_imm64`; variables ascending, inside their section, without
//! overlap. The loader takes what belongs to one program out of it.

use std::collections::{BTreeMap, BTreeSet};

use super::LinkError;
use super::assemble::placed_code;
use super::atoms::{Atom, AtomId, Atoms, Home};
use super::inputs::{Module, ModuleId};
use super::place::{Layout, Location};
use super::source::atom_name;
use crate::btf::{
    self, Btf, Datasec, Func, FuncProto, Importer, Kind, Linkage, Renumbering, StrId, Type, TypeId,
    VarSecinfo,
};
use crate::btf_ext::{BtfExt, CoreRelo, FuncInfo, Group, LineInfo, Record};
use crate::elf::write::{Content, Image, ImageSection};
use crate::insn::{Insn, steps};

/// Sections of variables and functions that are the kernel's or libbpf's: declared here, defined elsewhere.
const EXTERN_SECTIONS: [&str; 2] = [".ksyms", ".kconfig"];

/// .BTF and .BTF.ext of the output; nothing when no input has types.
pub(super) fn describe(
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    layout: &Layout<'_>,
    image: &Image,
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
        func_info: functions(&mut btf, modules, atoms, layout, &described),
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
struct Described<'m> {
    /// The repaired types of the module; its strings are the module's own.
    source: Option<&'m super::inputs::Types>,
    /// Its functions by atom.
    functions: BTreeMap<AtomId, TypeId>,
    /// Its source lines by atom, at bytes from the atom's start.
    lines: BTreeMap<AtomId, Vec<LineInfo>>,
    /// Its CO-RE relocations by atom, at bytes from the atom's start.
    core_relos: BTreeMap<AtomId, Vec<CoreRelo>>,
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
            for var in &section.vars {
                let Some(location) = finder.place(name, btf.type_name(var.ty), var.offset) else {
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

    /// Where a variable lies in the output. Where an object has two sections of one name, the variable's symbol says
    /// which one is meant.
    fn place(&self, section: &str, var: &str, offset: u32) -> Option<Location> {
        let object = &self.module.object;
        let mut candidates = object.sections().filter(|(_, s)| s.name == section);
        let first = candidates.next()?.0;
        let chosen = if candidates.next().is_none() {
            first
        } else {
            object
                .symbols()
                .find_map(|(_, symbol)| match symbol.place {
                    crate::elf::Place::Section(place)
                        if symbol.name == var && object.sections[place.0].name == section =>
                    {
                        Some(place)
                    }
                    _ => None,
                })
                .unwrap_or(first)
        };
        let offset = u64::from(offset);
        let id = self.atoms.at(self.id, chosen, offset)?;
        let location = self.layout.place(id)?;
        Some(Location {
            offset: location.offset + (offset - self.atoms.get(id).start),
            ..location
        })
    }
}

/// One func_info for each function. Functions that the compiler did not describe get a `void f(void)` of their name.
///
/// Only entry points stay global: a global function is verified alone, for every argument it could be given, and may
/// return scalars only. That is C's bargain for separate verification; Rust's functions never asked for it.
fn functions(
    btf: &mut Btf,
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    layout: &Layout<'_>,
    described: &[Described<'_>],
) -> Vec<Group<FuncInfo>> {
    let mut groups = Groups::new(layout);
    for (id, location) in placed_code(atoms, layout) {
        let atom = atoms.get(id);
        let linkage = match atom.home {
            Home::Program(_) => Linkage::Global,
            _ => Linkage::Static,
        };
        let known = described[atom.module.0].functions.get(&id).copied();
        let ty = known.and_then(|id| btf.get(id).cloned().map(|ty| (id, ty)));
        let type_id = match ty {
            Some((
                type_id,
                Type {
                    name,
                    kind: Kind::Func(func),
                },
            )) => {
                let kind = Kind::Func(Func { linkage, ..func });
                btf.set(type_id, Type { name, kind });
                type_id
            }
            _ => {
                let returns = TypeId::VOID;
                let params = Vec::new();
                let proto = btf.add("", Kind::FuncProto(FuncProto { returns, params }));
                let name = atom_name(modules, atom);
                let name = btf::valid_name(&name);
                let name = if name.is_empty() { "function" } else { &name };
                btf.add(name, Kind::Func(Func { proto, linkage }))
            }
        };
        groups.push(
            btf,
            location,
            [FuncInfo {
                insn_off: 0,
                type_id,
            }],
        );
    }
    groups.0
}

/// The source lines of each function, the first at its first instruction.
fn lines(
    btf: &mut Btf,
    atoms: &Atoms<'_>,
    layout: &Layout<'_>,
    described: &[Described<'_>],
) -> Vec<Group<LineInfo>> {
    let mut groups = Groups::new(layout);
    if described.iter().all(|module| module.lines.is_empty()) {
        return groups.0;
    }
    for (id, location) in placed_code(atoms, layout) {
        let atom = atoms.get(id);
        let module = &described[atom.module.0];
        let records = module.lines.get(&id).map_or(&[][..], |lines| lines);
        let lines = tidy_lines(atom, records);
        let lines: Vec<LineInfo> = lines
            .into_iter()
            .map(|line| match module.source {
                Some(source) => LineInfo {
                    file_name: copy(btf, &source.btf, line.file_name),
                    line: copy(btf, &source.btf, line.line),
                    ..line
                },
                None => LineInfo {
                    file_name: StrId::EMPTY,
                    line: StrId::EMPTY,
                    ..line
                },
            })
            .collect();
        groups.push(btf, location, lines);
    }
    groups.0
}

/// Ascending, one a place, on first slots only, beginning at the beginning.
fn tidy_lines(atom: &Atom<'_>, records: &[LineInfo]) -> Vec<LineInfo> {
    let (chunks, _) = atom.data.as_chunks();
    let insns: Vec<Insn> = chunks.iter().map(|chunk| Insn::decode(*chunk)).collect();
    let starts: BTreeSet<u64> = steps(&insns).map(|step| step.at.byte_offset()).collect();
    let mut by_place: BTreeMap<u32, LineInfo> = BTreeMap::new();
    for record in records {
        if starts.contains(&u64::from(record.insn_off)) {
            by_place.insert(record.insn_off, *record);
        }
    }
    let first = by_place.values().next().copied();
    by_place.entry(0).or_insert_with(|| match first {
        Some(line) => line.at(0),
        None => LineInfo {
            insn_off: 0,
            file_name: StrId::EMPTY,
            line: StrId::EMPTY,
            line_col: 0,
        },
    });
    by_place.into_values().collect()
}

fn core_relos(
    btf: &mut Btf,
    layout: &Layout<'_>,
    described: &[Described<'_>],
) -> Vec<Group<CoreRelo>> {
    let mut groups = Groups::new(layout);
    for module in described {
        let Some(source) = module.source else {
            continue;
        };
        for (id, relos) in &module.core_relos {
            let Some(location) = layout.place(*id) else {
                continue;
            };
            let mut relos: Vec<CoreRelo> = relos
                .iter()
                .map(|relo| CoreRelo {
                    access: copy(btf, &source.btf, relo.access),
                    ..*relo
                })
                .collect();
            relos.sort_by_key(|relo| relo.insn_off);
            groups.push(btf, location, relos);
        }
    }
    groups.0
}

fn copy(btf: &mut Btf, source: &Btf, text: StrId) -> StrId {
    btf.strings.intern(source.name(text))
}

/// Records by section of the output.
struct Groups<'l, R>(Vec<Group<R>>, &'l Layout<'l>);

impl<'l, R: Record> Groups<'l, R> {
    fn new(layout: &'l Layout<'l>) -> Self {
        Self(Vec::new(), layout)
    }

    /// Adds records that count from a place.
    fn push(&mut self, btf: &mut Btf, location: Location, records: impl IntoIterator<Item = R>) {
        let section = btf
            .strings
            .intern(self.1.sections[location.section].home.name());
        let base = location.offset as u32;
        let records = records.into_iter().map(|record| {
            let at = base + record.insn_off();
            record.at(at)
        });
        match self.0.iter_mut().find(|group| group.section == section) {
            Some(group) => group.records.extend(records),
            None => self.0.push(Group {
                section,
                records: records.collect(),
            }),
        }
    }
}

/// A DATASEC for each section that has described variables.
fn sections(
    btf: &mut Btf,
    layout: &Layout<'_>,
    described: &[Described<'_>],
) -> Result<(), LinkError> {
    for (index, section) in layout.sections.iter().enumerate() {
        let mut vars: Vec<VarSecinfo> = described
            .iter()
            .flat_map(|module| &module.vars)
            .filter(|(location, _)| location.section == index)
            .map(|(location, var)| VarSecinfo {
                offset: location.offset as u32,
                ..*var
            })
            .collect();
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
