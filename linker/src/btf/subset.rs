//! Takes the types that are still wanted out of one [`Btf`] into another, with new numbers.
//!
//! This is how a link drops types that nothing reaches, and how it puts the types of several inputs into one section.

use super::{Btf, Kind, StrId, TypeId};
use std::collections::HashMap;

/// Collects what is wanted from `source`, then copies it.
#[derive(Debug)]
pub struct Importer<'a> {
    source: &'a Btf,
    wanted: Vec<bool>,
}

/// The numbers that copied types have in the Btf they were copied to.
#[derive(Debug, Clone)]
pub struct Renumbering(Vec<TypeId>);

impl Renumbering {
    /// The new number of a type that was copied; `void` for `void` and for what was not wanted.
    pub fn get(&self, old: TypeId) -> TypeId {
        self.0.get(old.0 as usize).copied().unwrap_or(TypeId::VOID)
    }
}

impl<'a> Importer<'a> {
    /// Nothing is wanted yet.
    pub fn new(source: &'a Btf) -> Self {
        Self {
            source,
            wanted: vec![false; source.len() + 1],
        }
    }

    /// Wants a type and all that it refers to.
    pub fn want(&mut self, id: TypeId) {
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            let Some(ty) = self.source.get(id) else {
                continue; // void
            };
            let wanted = &mut self.wanted[id.0 as usize];
            if !*wanted {
                *wanted = true;
                ty.visit_ids(|next| todo.push(next));
            }
        }
    }

    /// Appends what is wanted to `target`, in the order of the source, and says the new numbers.
    ///
    /// A tag on a type or variable that is wanted comes along: it refers to its target, not the other way round.
    pub fn copy_into(mut self, target: &mut Btf) -> Renumbering {
        for (id, ty) in self.source.iter() {
            if let Kind::DeclTag(tag) = &ty.kind
                && self.wanted.get(tag.ty.0 as usize) == Some(&true)
            {
                self.wanted[id.0 as usize] = true;
            }
        }
        let mut next = target.len() as u32;
        let mut numbers = vec![TypeId::VOID; self.source.len() + 1];
        for (id, _) in self.source.iter() {
            if self.wanted[id.0 as usize] {
                next += 1;
                numbers[id.0 as usize] = TypeId(next);
            }
        }
        let renumbering = Renumbering(numbers);
        let mut names: HashMap<StrId, StrId> = HashMap::new();
        for (id, ty) in self.source.iter() {
            if !self.wanted[id.0 as usize] {
                continue;
            }
            let mut ty = ty.clone();
            ty.map_ids(|id| renumbering.get(id));
            ty.map_names(|name| {
                *names
                    .entry(name)
                    .or_insert_with(|| target.strings.intern(self.source.name(name)))
            });
            target.push(ty);
        }
        renumbering
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
        source.add("unused", int.clone());
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

        let mut target = Btf::new();
        target.add("first", int);
        let mut importer = Importer::new(&source);
        importer.want(node);
        let numbers = importer.copy_into(&mut target);

        assert_eq!(target.len(), 3);
        assert_eq!(numbers.get(TypeId(1)), TypeId::VOID);
        assert_eq!(numbers.get(pointer), TypeId(2));
        assert_eq!(target.type_name(numbers.get(node)), "node");
        assert_eq!(target.size_of(numbers.get(node)), Some(8));
        assert_eq!(Btf::parse(&target.encode()).unwrap(), target);
    }
}
