//! Takes what is still wanted out of a section of types, in an order that depends on nothing but what is wanted.
//!
//! This is how a link drops types that nothing reaches. Types are numbered as a walk from the roots leaves them, so two
//! sections that say the same in different orders become the same bytes. A type comes after those that it refers to,
//! but for cycles: the kernel, which checks types in their order, then never has to look deeper than one step (it stops
//! at 32, `MAX_RESOLVE_DEPTH` in kernel/bpf/btf.c).

use super::{Btf, Kind, TypeId};

/// The numbers that types have in the Btf they were copied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renumbering(pub(super) Vec<TypeId>);

impl Renumbering {
    /// The new number of a type; `void` for `void` and for what was not copied.
    pub fn get(&self, old: TypeId) -> TypeId {
        self.0.get(old.0 as usize).copied().unwrap_or(TypeId::VOID)
    }
}

/// The types that the roots reach, with the strings that they use.
///
/// A tag on something that stays comes along: it refers to its target, not the other way round.
pub fn keep(source: &Btf, roots: impl IntoIterator<Item = TypeId>) -> (Btf, Renumbering) {
    let mut walk = Walk {
        source,
        met: vec![false; source.len() + 1],
        numbers: vec![TypeId::VOID; source.len() + 1],
        order: Vec::new(),
    };
    for root in roots {
        walk.from(root);
    }
    for tag in walk.tags() {
        walk.from(tag);
    }
    let Walk { numbers, order, .. } = walk;
    let renumbering = Renumbering(numbers);
    let mut btf = Btf::new();
    for id in order {
        let Some(mut ty) = source.get(id).cloned() else {
            continue;
        };
        ty.map_ids(|id| renumbering.get(id));
        ty.map_names(|name| btf.strings.copy(&source.strings, name));
        btf.push(ty);
    }
    (btf, renumbering)
}

struct Walk<'a> {
    source: &'a Btf,
    met: Vec<bool>,
    numbers: Vec<TypeId>,
    order: Vec<TypeId>,
}

impl Walk<'_> {
    /// Numbers all that a type refers to, then itself.
    fn from(&mut self, root: TypeId) {
        let mut path = Vec::new();
        self.enter(root, &mut path);
        while let Some((id, left)) = path.last_mut() {
            match left.next() {
                Some(next) => self.enter(next, &mut path),
                None => {
                    self.order.push(*id);
                    self.numbers[id.0 as usize] = TypeId(self.order.len() as u32);
                    path.pop();
                }
            }
        }
    }

    fn enter(&mut self, id: TypeId, path: &mut Vec<(TypeId, std::vec::IntoIter<TypeId>)>) {
        // `void` and what was met before need no visit.
        if let (Some(ty), Some(met)) = (self.source.get(id), self.met.get_mut(id.0 as usize))
            && !*met
        {
            *met = true;
            let mut next = Vec::new();
            ty.visit_ids(|id| next.push(id));
            path.push((id, next.into_iter()));
        }
    }

    /// The tags of what has a number, by that number; those of one type by component and text.
    fn tags(&self) -> Vec<TypeId> {
        let mut tags = Vec::new();
        for (id, ty) in self.source.iter() {
            if let Kind::DeclTag(tag) = &ty.kind {
                let target = self.numbers[tag.ty.0 as usize];
                if target != TypeId::VOID {
                    tags.push((target, tag.component, self.source.name(ty.name), id));
                }
            }
        }
        tags.sort_unstable();
        tags.into_iter().map(|(_, _, _, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::btf::{Composite, Int, Member};

    #[test]
    fn only_what_is_reached_is_copied_and_cycles_end() {
        let mut source = Btf::new();
        let int = Kind::Int(Int {
            size: 4,
            encoding: 0,
            bit_offset: 0,
            bits: 32,
        });
        source.add("unused", int);
        let next = source.strings.intern("next");
        let node = TypeId(3);
        let pointer = source.add("", Kind::Ptr(node));
        let composite = Composite {
            size: 8,
            members: vec![Member {
                name: next,
                ty: pointer,
                bit_offset: 0,
                bitfield_size: 0,
            }],
        };
        assert_eq!(source.add("node", Kind::Struct(composite)), node);

        let (target, numbers) = keep(&source, [node]);
        assert_eq!(target.len(), 2);
        assert_eq!(numbers.get(TypeId(1)), TypeId::VOID);
        // The pointer is left first: the walk was inside the node when it met the node again.
        assert_eq!(numbers.get(pointer), TypeId(1));
        assert_eq!(numbers.get(node), TypeId(2));
        assert_eq!(target.type_name(numbers.get(node)), "node");
        assert_eq!(target.size_of(numbers.get(node)), Some(8));
        assert_eq!(target.find("unused", |_| true), None);
        assert_eq!(Btf::parse(&target.encode()).unwrap(), target);
    }
}
