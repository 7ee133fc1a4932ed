//! What the checks and the reports look at: what is live, its functions decoded once, and words for its places.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::atoms::{Atom, AtomId, Atoms};
use super::error::Caller;
use super::frames::Referent;
use super::inputs::Module;
use super::live::Live;
use super::problem::Problem;
use super::refusal::Refusal;
use super::resolve::{Reference, References, Target};
use super::source::{atom_name, site};
use super::{Options, Site};
use crate::btf::{FuncProto, Kind};
use crate::elf::RelocationKind;
use crate::insn::{Insn, InsnIndex};

/// Calls on the way to a place that are shown.
const MAX_CALLERS: usize = 32;

/// The link after [`super::live::mark`].
pub(super) struct View<'v, 'a> {
    pub(super) modules: &'v [Module<'a>],
    pub(super) atoms: &'v Atoms<'a>,
    pub(super) references: &'v References,
    pub(super) live: &'v Live,
    pub(super) options: &'v Options,
    /// The prototypes of each module's functions, by section name and offset; made when first asked for.
    protos: Vec<OnceCell<Protos<'v>>>,
}

type Protos<'v> = BTreeMap<(&'v str, u32), &'v FuncProto>;

impl<'v, 'a> View<'v, 'a> {
    pub(super) fn new(
        modules: &'v [Module<'a>],
        atoms: &'v Atoms<'a>,
        references: &'v References,
        live: &'v Live,
        options: &'v Options,
    ) -> Self {
        Self {
            modules,
            atoms,
            references,
            live,
            options,
            protos: modules.iter().map(|_| OnceCell::new()).collect(),
        }
    }

    pub(super) fn atom(&self, id: AtomId) -> &'v Atom<'a> {
        self.atoms.get(id)
    }

    pub(super) fn references(&self, id: AtomId) -> &'v [Reference] {
        &self.references[id.0]
    }

    /// The reference at exactly this many bytes from the start of an atom.
    pub(super) fn reference_at(&self, id: AtomId, offset: u64) -> Option<&'v Reference> {
        let references = self.references(id);
        let found = references.binary_search_by_key(&offset, |reference| reference.offset);
        references.get(found.ok()?)
    }

    /// What an instruction of a function refers to.
    pub(super) fn referent(&self, id: AtomId, insn: usize) -> Referent<'v, AtomId> {
        let Some(reference) = self.reference_at(id, (insn * Insn::SIZE) as u64) else {
            return Referent::Nothing;
        };
        match reference.kind {
            RelocationKind::Imm64 | RelocationKind::Call => {}
            RelocationKind::Abs64 | RelocationKind::Abs32 | RelocationKind::Nodyld32 => {
                return Referent::Nothing;
            }
        }
        match reference.target {
            Target::Atom { atom, offset: 0 } if self.atom(atom).home.is_code() => {
                Referent::Function(atom)
            }
            Target::Atom { .. } => Referent::Other,
            Target::External { module, symbol } => {
                Referent::Kernel(self.modules[module.0].object.symbols[symbol.0].name)
            }
        }
    }

    /// The live atoms that hold instructions.
    pub(super) fn functions(&self) -> impl Iterator<Item = AtomId> + '_ {
        let code = |id: &AtomId| self.live.contains(*id) && self.atom(*id).home.is_code();
        self.atoms.ids().filter(code)
    }

    /// The slots of a function; a cut-off last one is left out.
    pub(super) fn insns(&self, id: AtomId) -> Vec<Insn> {
        let (chunks, _) = self.atom(id).data.as_chunks();
        chunks.iter().map(|chunk| Insn::decode(*chunk)).collect()
    }

    pub(super) fn name(&self, id: AtomId) -> String {
        atom_name(self.modules, self.atom(id))
    }

    /// A place in words, without how it is reached.
    pub(super) fn place(&self, id: AtomId, offset: u64) -> Site {
        site(self.modules, self.atom(id), offset)
    }

    /// A place in words, with the way to it from a root.
    pub(super) fn site(&self, id: AtomId, offset: u64) -> Box<Site> {
        let mut callers = Vec::new();
        let way = self.live.way(id, offset);
        for (by, at) in way.iter().rev().skip(1).take(MAX_CALLERS) {
            callers.push(self.caller(*by, *at));
        }
        Box::new(Site {
            callers,
            ..self.place(id, offset)
        })
    }

    pub(super) fn caller(&self, id: AtomId, offset: u64) -> Caller {
        Caller {
            function: self.name(id),
            insn: InsnIndex::from_byte_offset(offset),
            source: self.place(id, offset).source,
        }
    }

    pub(super) fn refusal(&self, id: AtomId, offset: u64, problem: Problem) -> Refusal {
        Refusal {
            site: self.site(id, offset),
            problem,
            notes: Vec::new(),
        }
    }

    /// What a function takes and returns, where its module's types say so.
    pub(super) fn proto(&self, id: AtomId) -> Option<&'v FuncProto> {
        let atom = self.atom(id);
        let module = &self.modules[atom.module.0];
        let protos = self.protos[atom.module.0].get_or_init(|| protos(module));
        let section = module.object.sections[atom.section.0].name;
        let offset = u32::try_from(atom.start).ok()?;
        protos.get(&(section, offset)).copied()
    }
}

fn protos<'v>(module: &'v Module<'_>) -> Protos<'v> {
    let mut protos = Protos::new();
    let Some(types) = &module.types else {
        return protos;
    };
    for group in &types.ext.func_info {
        for record in &group.records {
            let proto = match types.btf.get(record.type_id).map(|ty| &ty.kind) {
                Some(Kind::Func(func)) => func.proto,
                _ => continue,
            };
            if let Some(Kind::FuncProto(proto)) = types.btf.get(proto).map(|ty| &ty.kind) {
                protos.insert((types.btf.name(group.section), record.insn_off), proto);
            }
        }
    }
    protos
}
