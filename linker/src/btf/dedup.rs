//! Puts the types of several inputs into one section, each type once.
//!
//! Every object of a C program says again what an `int` and a `struct flow` are. Two descriptions are the same type
//! when nothing reachable from them differs; types refer to each other in cycles, so this is a question about graphs:
//!
//! ```text
//!  1.o   struct flow { u32 src; struct flow *next; }      label: struct flow, 16 bytes, src at 0, next at 64
//!           │ src        │ next ▲                          edges: u32, the pointer
//!           ▼            ▼      │
//!          u32          ptr ────┘        The pointer's label is "pointer", its edge is the struct.
//!
//!  2.o   struct flow { … }  the same, with numbers of its own, and a `ptr` to a `struct map`
//!        struct map;        only declared here;  3.o says what it is
//! ```
//!
//! 1. **Together**: all types in one list, names in one table, so that equal texts are equal numbers.
//! 2. **Labels**: all that a type says by itself (kind, name, sizes, names and places of members, values, its tags).
//! 3. **Classes**: the coarsest division in which members of a class have equal labels and edges to equal classes
//!    (`partition`). libbpf's `btf__dedup` asks the same by walking two graphs side by side under the hypothesis
//!    that they are equal, once for each pair of candidates; this finds all answers at once, in edges × log(types).
//! 4. **Declarations**: `struct map;` stands for the definition of that name if all inputs mean the same one. To know
//!    that, one has to know which types are equal, and equality depends on what declarations stand for. So it begins
//!    with the hope that every declaration finds its definition, divides, and gives up the hope for each name whose
//!    definitions did not fall into one class; then anew, until all hopes are true. Giving up one only ever tells more
//!    types apart, so the outcome is the largest set of true hopes, in any order of inputs.
//! 5. **One of each**: the first of each class stays. Two different types of one name both stay.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::partition::Graph;
use super::{Btf, FwdKind, Kind, Linkage, Renumbering, Signedness, StrId, TagForm, Type, TypeId};
use crate::hash::{Keyed, Numbers};

/// How often hopes may be given up (see above). In programs once is much; a file made to need more falls back to what
/// libbpf does: a declaration stands for a definition if there is only one.
const MAX_ROUNDS: usize = 8;

/// The types of several inputs, each once.
#[derive(Debug)]
pub struct Merged {
    /// The types, in the order in which they were met first.
    pub btf: Btf,
    /// The new numbers of each input's types.
    pub numbers: Vec<Renumbering>,
}

/// Puts types together and keeps one of those that are alike. Where only one input knows what another merely declares,
/// the declaration becomes the definition.
///
/// The types are taken out of the inputs; their strings stay, for records that point to them.
pub fn merge<'i>(inputs: impl IntoIterator<Item = &'i mut Btf>) -> Merged {
    let (mut btf, ends) = together(inputs);
    let class = classes(&btf);

    // New numbers: those who represent their class, in order. 0 is `void`.
    let mut numbers = vec![TypeId::VOID; class.len()];
    let mut next = 0;
    for (number, (own, class)) in numbers.iter_mut().zip((0..).zip(&class)).skip(1) {
        if own == *class {
            next += 1;
            *number = TypeId(next);
        }
    }
    for (index, class) in class.iter().enumerate() {
        numbers[index] = numbers[*class as usize];
    }
    let mut old = 0;
    btf.types.retain(|_| {
        old += 1;
        class[old] == old as u32
    });
    let all = std::mem::take(&mut btf.strings);
    for ty in &mut btf.types {
        ty.map_ids(|id| numbers[id.0 as usize]);
        ty.map_names(|name| btf.strings.copy(&all, name));
    }
    let mut start = 1;
    let numbers = ends
        .into_iter()
        .map(|end| {
            let own = &numbers[start..=end];
            start = end + 1;
            Renumbering([&[TypeId::VOID], own].concat())
        })
        .collect();
    Merged { btf, numbers }
}

/// All types in one section, and the number of the last one of each input.
fn together<'i>(inputs: impl IntoIterator<Item = &'i mut Btf>) -> (Btf, Vec<usize>) {
    let mut all = Btf::new();
    let mut ends = Vec::new();
    for input in inputs {
        let start = all.len() as u32;
        for mut ty in std::mem::take(&mut input.types) {
            ty.map_ids(|id| match id {
                TypeId::VOID => id,
                TypeId(id) => TypeId(id + start),
            });
            ty.map_names(|name| all.strings.copy(&input.strings, name));
            all.push(ty);
        }
        ends.push(all.len());
    }
    (all, ends)
}

/// For each type the number of the first one that is like it.
fn classes(btf: &Btf) -> Vec<u32> {
    let graph = graph(btf);
    let mut declared = Declared::find(btf);
    for _ in 0..MAX_ROUNDS {
        let classes = graph.classes(&declared.stand_in(btf));
        if declared.give_up(&classes) == GaveUp::None {
            return classes;
        }
    }
    // What has one definition without any hope has one with it: a stand-in only makes more types alike.
    let mut declared = Declared::find(btf);
    let classes = graph.classes(&Declared::default().stand_in(btf));
    declared.give_up(&classes);
    graph.classes(&declared.stand_in(btf))
}

/// The types as a graph; node 0 is `void`.
fn graph(btf: &Btf) -> Graph {
    let mut tags: HashMap<TypeId, Vec<[u32; 3]>> = HashMap::new();
    for (_, ty) in btf.iter() {
        if let Kind::DeclTag(tag) = &ty.kind {
            let form = tag_form(tag.form);
            tags.entry(tag.ty)
                .or_default()
                .push([ty.name.0, tag.component as u32, form]);
        }
    }
    tags.values_mut().for_each(|tags| {
        tags.sort_unstable();
        tags.dedup();
    });
    let mut labels = Labels::default();
    let mut words = Vec::new();
    let mut graph = Graph::default();
    graph.add(0, []);
    for (id, ty) in btf.iter() {
        words.clear();
        label(ty, &mut words);
        // A tag may change what a type means to the verifier: what is tagged is not like what is not.
        words.extend(tags.get(&id).into_iter().flatten().flatten());
        graph.add_with(labels.number(&words), |edge| ty.visit_ids(|id| edge(id.0)));
    }
    graph
}

/// Labels by number, from 1 on.
#[derive(Default)]
struct Labels {
    words: Vec<u32>,
    /// Where the words of each label end.
    ends: Vec<usize>,
    known: Numbers,
    key: Keyed,
}

impl Labels {
    fn number(&mut self, words: &[u32]) -> u32 {
        let hash = self.key.words(words);
        if let Some(known) = self.known.find(hash, |number| self.get(number) == words) {
            return known;
        }
        self.words.extend(words);
        self.ends.push(self.words.len());
        let number = self.ends.len() as u32;
        let mut known = std::mem::take(&mut self.known);
        known.insert(number, |number| self.key.words(self.get(number)));
        self.known = known;
        number
    }

    fn get(&self, number: u32) -> &[u32] {
        let index = number as usize - 1;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.words[start..self.ends[index]]
    }
}

/// What a type says by itself. Numbers of names compare as their texts do: each text is in the table once.
fn label(ty: &Type, words: &mut Vec<u32>) {
    // The number of the words comes first, so that the tags behind them are never taken for some of them.
    words.extend([0, ty.name.0]);
    match &ty.kind {
        Kind::Int(int) => words.extend([
            1,
            int.size,
            u32::from(int.encoding),
            u32::from(int.bit_offset),
            u32::from(int.bits),
        ]),
        Kind::Ptr(_) => words.push(2),
        Kind::Array(array) => words.extend([3, array.count]),
        Kind::Struct(composite) | Kind::Union(composite) => {
            let number = if matches!(ty.kind, Kind::Struct(_)) {
                4
            } else {
                5
            };
            words.extend([number, composite.size]);
            for member in &composite.members {
                let width = u32::from(member.bitfield_size);
                words.extend([member.name.0, member.bit_offset, width]);
            }
        }
        Kind::Enum(e) => {
            words.extend([6, e.size, signedness(e.signedness)]);
            for value in &e.values {
                words.extend([value.name.0, value.value as u32]);
            }
        }
        Kind::Fwd(FwdKind::Struct) => words.extend([7, 0]),
        Kind::Fwd(FwdKind::Union) => words.extend([7, 1]),
        Kind::Typedef(_) => words.push(8),
        Kind::Volatile(_) => words.push(9),
        Kind::Const(_) => words.push(10),
        Kind::Restrict(_) => words.push(11),
        Kind::Func(func) => words.extend([12, linkage(func.linkage)]),
        Kind::FuncProto(proto) => {
            words.push(13);
            words.extend(proto.params.iter().map(|param| param.name.0));
        }
        Kind::Var(var) => words.extend([14, linkage(var.linkage)]),
        Kind::Datasec(section) => {
            words.extend([15, section.size]);
            let vars = section.vars.iter();
            words.extend(vars.flat_map(|var| [var.offset, var.size]));
        }
        Kind::Float { size } => words.extend([16, *size]),
        Kind::DeclTag(tag) => words.extend([17, tag.component as u32, tag_form(tag.form)]),
        Kind::TypeTag(tag) => words.extend([18, tag_form(tag.form)]),
        Kind::Enum64(e) => {
            words.extend([19, e.size, signedness(e.signedness)]);
            for value in &e.values {
                words.extend([value.name.0, value.value as u32, (value.value >> 32) as u32]);
            }
        }
    }
    words[0] = words.len() as u32;
}

fn linkage(linkage: Linkage) -> u32 {
    match linkage {
        Linkage::Static => 0,
        Linkage::Global => 1,
        Linkage::Extern => 2,
    }
}

fn signedness(signedness: Signedness) -> u32 {
    match signedness {
        Signedness::Unsigned => 0,
        Signedness::Signed => 1,
    }
}

fn tag_form(form: TagForm) -> u32 {
    match form {
        TagForm::Tag => 0,
        TagForm::Attribute => 1,
    }
}

/// The keyword of what is declared: a `struct x` is never what a `union x` declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Keyword {
    Struct,
    Union,
    /// Of so many bytes: who takes the place of another must fit into it.
    Enum(u32),
}

/// The declarations that still hope for a definition, by keyword and name.
#[derive(Debug, Default)]
struct Declared(BTreeMap<(Keyword, StrId), Named>);

#[derive(Debug, Default)]
struct Named {
    declarations: Vec<TypeId>,
    definitions: Vec<TypeId>,
}

/// Whether a round of hopes ended with all of them true.
#[derive(Debug, PartialEq, Eq)]
enum GaveUp {
    None,
    Some,
}

impl Declared {
    /// All declarations that have definitions. One with a tag says something of its own and stays.
    fn find(btf: &Btf) -> Self {
        let tagged: BTreeSet<TypeId> = btf
            .iter()
            .filter_map(|(_, ty)| match &ty.kind {
                Kind::DeclTag(tag) => Some(tag.ty),
                _ => None,
            })
            .collect();
        let mut all: BTreeMap<(Keyword, StrId), Named> = BTreeMap::new();
        for (id, ty) in btf.iter().filter(|(_, ty)| ty.name != StrId::EMPTY) {
            let (keyword, is_declaration) = match &ty.kind {
                Kind::Struct(_) => (Keyword::Struct, false),
                Kind::Union(_) => (Keyword::Union, false),
                Kind::Fwd(FwdKind::Struct) => (Keyword::Struct, true),
                Kind::Fwd(FwdKind::Union) => (Keyword::Union, true),
                // `enum x;` is an enum without values.
                Kind::Enum(e) => (Keyword::Enum(e.size), e.values.is_empty()),
                Kind::Enum64(e) => (Keyword::Enum(e.size), e.values.is_empty()),
                Kind::Int(_)
                | Kind::Ptr(_)
                | Kind::Array(_)
                | Kind::Typedef(_)
                | Kind::Volatile(_)
                | Kind::Const(_)
                | Kind::Restrict(_)
                | Kind::Func(_)
                | Kind::FuncProto(_)
                | Kind::Var(_)
                | Kind::Datasec(_)
                | Kind::Float { .. }
                | Kind::DeclTag(_)
                | Kind::TypeTag(_) => continue,
            };
            let named = all.entry((keyword, ty.name)).or_default();
            if is_declaration && tagged.contains(&id) {
                continue;
            } else if is_declaration {
                named.declarations.push(id);
            } else {
                named.definitions.push(id);
            }
        }
        all.retain(|_, named| !named.declarations.is_empty() && !named.definitions.is_empty());
        Self(all)
    }

    /// What stands for each type: the first definition of its name for a declaration, itself for all else.
    fn stand_in(&self, btf: &Btf) -> Vec<u32> {
        let mut stand_in: Vec<u32> = (0..=btf.len() as u32).collect();
        for named in self.0.values() {
            if let Some(first) = named.definitions.first() {
                for declaration in &named.declarations {
                    stand_in[declaration.0 as usize] = first.0;
                }
            }
        }
        stand_in
    }

    /// Gives up names whose definitions are not all alike.
    fn give_up(&mut self, classes: &[u32]) -> GaveUp {
        let before = self.0.len();
        self.0.retain(|_, named| {
            let mut of = named.definitions.iter().map(|id| classes[id.0 as usize]);
            let first = of.next();
            of.all(|class| Some(class) == first)
        });
        if self.0.len() == before {
            GaveUp::None
        } else {
            GaveUp::Some
        }
    }
}
