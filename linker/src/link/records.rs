//! Pass 8, second half: the records of .BTF.ext, at their places in the output.

use std::collections::BTreeMap;

use super::Options;
use super::assemble::placed_code;
use super::atoms::{Atom, Atoms, Home};
use super::inputs::Module;
use super::live::is_verified_alone;
use super::place::{Layout, Location};
use super::source::atom_name;
use super::types_found::Described;
use crate::btf::{
    self, Btf, DeclTag, Func, FuncProto, Kind, Linkage, Renumbering, StrId, Type, TypeId,
};
use crate::btf_ext::{CoreRelo, FuncInfo, Group, LineInfo, Record};
use crate::elf::Binding;
use crate::insn::{Insn, steps};

/// Gives every live function a type with the linkage that it has in the output. Functions that the compiler did not
/// describe get a `void f(void)` of their name, in the types that are returned.
///
/// What is not visible outside becomes static: a global function is verified alone, for every argument it could be
/// given, and may return scalars only. That is C's bargain for separate verification; Rust's functions never asked
/// for it.
pub(super) fn described_functions(
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    layout: &Layout<'_>,
    described: &mut [Described],
    options: &Options,
) -> Btf {
    let mut made = Btf::new();
    let tags: Vec<_> = described.iter().map(|module| tags(&module.btf)).collect();
    for (id, _) in placed_code(atoms, layout) {
        let atom = atoms.get(id);
        let linkage = linkage(modules, atom, options);
        let module = &mut described[atom.module.0];
        let known = module.functions.get(&id).copied();
        let ty = known.and_then(|id| module.btf.get(id).cloned().map(|ty| (id, ty)));
        match ty {
            Some((
                type_id,
                Type {
                    name,
                    kind: Kind::Func(func),
                },
            )) => {
                if func.linkage != linkage {
                    let kind = Kind::Func(Func { linkage, ..func });
                    let changed = module.btf.push(Type { name, kind });
                    // What is tagged on a function is tagged on it with another linkage, too.
                    for (name, tag) in tags[atom.module.0].get(&type_id).into_iter().flatten() {
                        let kind = Kind::DeclTag(DeclTag {
                            ty: changed,
                            ..*tag
                        });
                        module.btf.push(Type { name: *name, kind });
                    }
                    module.functions.insert(id, changed);
                }
            }
            _ => {
                let returns = TypeId::VOID;
                let params = Vec::new();
                let proto = made.add("", Kind::FuncProto(FuncProto { returns, params }));
                let name = atom_name(modules, atom);
                let name = btf::valid_name(&name);
                let name = if name.is_empty() { "function" } else { &name };
                let type_id = made.add(name, Kind::Func(Func { proto, linkage }));
                module.functions.remove(&id);
                module.made.insert(id, type_id);
            }
        }
    }
    made
}

/// A program is global, and so is what is verified alone; but never what its own object keeps to itself.
fn linkage(modules: &[Module<'_>], atom: &Atom<'_>, options: &Options) -> Linkage {
    let object = &modules[atom.module.0].object;
    let is_program = match atom.home {
        Home::Program(_) => atom.symbols.iter().any(|id| {
            let symbol = &object.symbols[id.0];
            symbol.value == atom.start && symbol.binding != Binding::Local
        }),
        Home::Text | Home::ReadOnly(_) | Home::Data(_) | Home::Zeroed(_) | Home::Named(_) => false,
    };
    if is_program || atom.home == Home::Text && is_verified_alone(modules, atom, options) {
        Linkage::Global
    } else {
        Linkage::Static
    }
}

/// The tags of each type.
fn tags(btf: &Btf) -> BTreeMap<TypeId, Vec<(StrId, DeclTag)>> {
    let mut tags: BTreeMap<TypeId, Vec<(StrId, DeclTag)>> = BTreeMap::new();
    for (_, ty) in btf.iter() {
        if let Kind::DeclTag(tag) = &ty.kind {
            tags.entry(tag.ty).or_default().push((ty.name, *tag));
        }
    }
    tags
}

/// The functions of the output in order, each with its type.
pub(super) fn functions(
    atoms: &Atoms<'_>,
    layout: &Layout<'_>,
    described: &[Described],
) -> Vec<(Location, TypeId)> {
    placed_code(atoms, layout)
        .filter_map(|(id, location)| {
            let module = &described[atoms.get(id).module.0];
            Some((location, *module.functions.get(&id)?))
        })
        .collect()
}

/// One func_info for each function.
pub(super) fn func_info(
    btf: &mut Btf,
    layout: &Layout<'_>,
    functions: &[(Location, TypeId)],
    numbers: &Renumbering,
) -> Vec<Group<FuncInfo>> {
    let mut groups = Groups::new(layout);
    for (location, id) in functions {
        let record = FuncInfo {
            insn_off: 0,
            type_id: numbers.get(*id),
        };
        groups.push(btf, *location, [record]);
    }
    groups.groups
}

/// The source lines of each function, the first at its first instruction.
pub(super) fn lines(
    btf: &mut Btf,
    atoms: &Atoms<'_>,
    layout: &Layout<'_>,
    described: &[Described],
) -> Vec<Group<LineInfo>> {
    let mut groups = Groups::new(layout);
    if described.iter().all(|module| module.lines.is_empty()) {
        return groups.groups;
    }
    for (id, location) in placed_code(atoms, layout) {
        let atom = atoms.get(id);
        let module = &described[atom.module.0];
        let records = module.lines.get(&id).map_or(&[][..], |lines| lines);
        let lines = tidy_lines(atom, records);
        let lines: Vec<LineInfo> = lines
            .into_iter()
            .map(|line| LineInfo {
                file_name: btf.strings.copy(&module.btf.strings, line.file_name),
                line: btf.strings.copy(&module.btf.strings, line.line),
                ..line
            })
            .collect();
        groups.push(btf, location, lines);
    }
    groups.groups
}

/// Ascending, one a place (the last that is said of it), on first slots only, beginning at the beginning.
fn tidy_lines(atom: &Atom<'_>, records: &[LineInfo]) -> Vec<LineInfo> {
    let (chunks, _) = atom.data.as_chunks();
    let insns: Vec<Insn> = chunks.iter().map(|chunk| Insn::decode(*chunk)).collect();
    let mut is_start = vec![false; insns.len()];
    for step in steps(&insns) {
        is_start[step.at.0 as usize] = true;
    }
    let starts = |record: &&LineInfo| {
        let (insn, rest) = (record.insn_off / 8, record.insn_off % 8);
        rest == 0 && is_start.get(insn as usize) == Some(&true)
    };
    let mut lines: Vec<LineInfo> = records.iter().filter(starts).copied().collect();
    lines.sort_by_key(|line| line.insn_off);
    // What is left out is the later of two: so they are looked at back to front.
    lines.reverse();
    lines.dedup_by_key(|line| line.insn_off);
    match lines.last().copied() {
        Some(first) if first.insn_off == 0 => {}
        Some(first) => lines.push(first.at(0)),
        None => lines.push(LineInfo {
            insn_off: 0,
            file_name: StrId::EMPTY,
            line: StrId::EMPTY,
            line_col: 0,
        }),
    }
    lines.reverse();
    lines
}

/// The CO-RE relocations of each function, ascending.
pub(super) fn core_relos(
    btf: &mut Btf,
    layout: &Layout<'_>,
    described: &[Described],
    numbers: &Renumbering,
) -> Vec<Group<CoreRelo>> {
    let mut groups = Groups::new(layout);
    for module in described {
        for (id, relos) in &module.core_relos {
            let Some(location) = layout.place(*id) else {
                continue;
            };
            let mut relos: Vec<CoreRelo> = relos
                .iter()
                .map(|relo| CoreRelo {
                    access: btf.strings.copy(&module.btf.strings, relo.access),
                    type_id: numbers.get(relo.type_id),
                    ..*relo
                })
                .collect();
            relos.sort_by_key(|relo| relo.insn_off);
            groups.push(btf, location, relos);
        }
    }
    groups.groups
}

/// Records by section of the output.
struct Groups<'l, R> {
    groups: Vec<Group<R>>,
    /// Which group a section of the output has.
    of_section: BTreeMap<usize, usize>,
    layout: &'l Layout<'l>,
}

impl<'l, R: Record> Groups<'l, R> {
    fn new(layout: &'l Layout<'l>) -> Self {
        Self {
            groups: Vec::new(),
            of_section: BTreeMap::new(),
            layout,
        }
    }

    /// Adds records that count from a place.
    fn push(&mut self, btf: &mut Btf, location: Location, records: impl IntoIterator<Item = R>) {
        let groups = &mut self.groups;
        let index = *self.of_section.entry(location.section).or_insert_with(|| {
            let name = self.layout.sections[location.section].home.name();
            groups.push(Group {
                section: btf.strings.intern(name),
                records: Vec::new(),
            });
            groups.len() - 1
        });
        let base = location.offset as u32;
        groups[index]
            .records
            .extend(records.into_iter().map(|record| {
                let at = base + record.insn_off();
                record.at(at)
            }));
    }
}
