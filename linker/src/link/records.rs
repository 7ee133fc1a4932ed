//! Pass 8, second half: the records of .BTF.ext, at their places in the output.

use std::collections::{BTreeMap, BTreeSet};

use super::Options;
use super::assemble::placed_code;
use super::atoms::{Atom, Atoms, Home};
use super::inputs::Module;
use super::live::is_verified_alone;
use super::place::{Layout, Location};
use super::source::atom_name;
use super::types::Described;
use crate::btf::{self, Btf, Func, FuncProto, Kind, Linkage, StrId, Type, TypeId};
use crate::btf_ext::{CoreRelo, FuncInfo, Group, LineInfo, Record};
use crate::insn::{Insn, steps};

/// One func_info for each function. Functions that the compiler did not describe get a `void f(void)` of their name.
///
/// Only entry points and functions exported by name stay global: a global function is verified alone, for every argument it could be given, and may
/// return scalars only. That is C's bargain for separate verification; Rust's functions never asked for it.
pub(super) fn functions(
    btf: &mut Btf,
    modules: &[Module<'_>],
    atoms: &Atoms<'_>,
    layout: &Layout<'_>,
    described: &[Described<'_>],
    options: &Options,
) -> Vec<Group<FuncInfo>> {
    let mut groups = Groups::new(layout);
    for (id, location) in placed_code(atoms, layout) {
        let atom = atoms.get(id);
        let linkage = match atom.home {
            Home::Program(_) => Linkage::Global,
            _ if is_verified_alone(modules, atom, options) => Linkage::Global,
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
pub(super) fn lines(
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

pub(super) fn core_relos(
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
