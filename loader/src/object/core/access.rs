//! The path of a relocation through the object's own types: `0:1:2` of `struct sk_buff` is `struct sk_buff.foo.bar`.
//!
//! The path as written follows the compiler's types member by member, through anonymous structs and unions as well. What
//! counts for the kernel's types are its turning points: named members and indices of arrays.

use std::fmt::Write;

use xdplb_linker::btf::{Array, StrId, TypeId};
use xdplb_linker::btf_ext::CoreRelo;

use super::kind::{Question, Subject};
use super::view::{Shape, Types};

/// Longest path; libbpf's `BPF_CORE_SPEC_MAX_LEN`.
pub(super) const MAX_PATH: usize = 64;

/// A turning point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// A named member: the struct or union it is in, and which member.
    Member { of: TypeId, index: u32, name: StrId },
    /// An element of an array (or of the pointer that the path starts from): its type, and which element.
    Element { ty: TypeId, index: u32 },
    /// A value of an enumeration.
    Value { of: TypeId, index: u32, name: StrId },
}

/// A path through types, and where it leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) root: TypeId,
    pub(super) turns: Vec<Turn>,
    /// Every index on the way, those of anonymous members too.
    pub(super) raw: Vec<u32>,
    /// Bits from the start of the root.
    pub(super) bits: u64,
}

impl Path {
    /// A path that has only begun.
    pub(super) fn at(root: TypeId) -> Self {
        Path {
            root,
            ..Path::default()
        }
    }

    /// Goes on by so many bits; an error where no kernel object could be so large.
    pub(super) fn advance(&mut self, bits: Option<u64>) -> Result<(), String> {
        self.bits = bits
            .and_then(|bits| self.bits.checked_add(bits))
            .filter(|&bits| bits <= u64::from(u32::MAX))
            .ok_or("it leads further than 512 MiB into its type")?;
        Ok(())
    }

    /// Notes an index on the way.
    pub(super) fn push(&mut self, index: u32) -> Result<(), String> {
        if self.raw.len() == MAX_PATH {
            return Err(format!("the path has more than {MAX_PATH} steps"));
        }
        self.raw.push(index);
        Ok(())
    }

    /// Reads the path of a relocation and follows it through the object's types.
    pub(super) fn read(
        types: &dyn Types,
        relo: &CoreRelo,
        question: Question,
    ) -> Result<Self, String> {
        let text = types.text(relo.access);
        let mut path = Path::at(relo.type_id);
        if types.ty(relo.type_id).is_none() {
            return Err(format!("there is no type {}", relo.type_id.0));
        }
        if question.subject() == Subject::Type {
            if text != "0" {
                return Err(format!(
                    "`{text}` is no path to a type as a whole, which is `0`"
                ));
            }
            return Ok(path);
        }
        let mut indices = text.split(':').map(|part| {
            part.parse::<u32>()
                .ok()
                .filter(|&index| index <= i32::MAX as u32)
                .ok_or_else(|| format!("`{text}` is no path: numbers with colons between them"))
        });
        let Some(first) = indices.next() else {
            return Err("the path is empty".into());
        };
        path.push(first?)?;
        let first = path.raw[0];
        let (mut id, ty) = types
            .resolve(relo.type_id)
            .ok_or("its type has no definition")?;
        if question.subject() == Subject::EnumValue {
            if indices.next().is_some() {
                return Err(format!("`{text}` is no path to a value: one number is"));
            }
            let value = types
                .enumerator(&ty, first)
                .ok_or_else(|| format!("{} has no value number {first}", types.title(id)))?;
            path.turns.push(Turn::Value {
                of: id,
                index: first,
                name: value.name,
            });
            return Ok(path);
        }
        path.turns.push(Turn::Element {
            ty: id,
            index: first,
        });
        path.advance(element_bits(types, id, first))?;
        for index in indices {
            let index = index?;
            path.push(index)?;
            id = path.step(types, id, index)?;
        }
        Ok(path)
    }

    /// One step further: into a member, or to an element.
    fn step(&mut self, types: &dyn Types, id: TypeId, index: u32) -> Result<TypeId, String> {
        let (id, ty) = types
            .resolve(id)
            .ok_or("a type on the way has no definition")?;
        match ty.shape {
            Shape::Struct(_) | Shape::Union(_) => {
                let member = types
                    .member(&ty, index)
                    .ok_or_else(|| format!("{} has no member number {index}", types.title(id)))?;
                self.advance(Some(u64::from(member.bit_offset)))?;
                if !types.text(member.name).is_empty() {
                    self.turns.push(Turn::Member {
                        of: id,
                        index,
                        name: member.name,
                    });
                }
                Ok(member.ty)
            }
            Shape::Array(array) => {
                let (element, _) = types
                    .resolve(array.element)
                    .ok_or("an array on the way has elements without a definition")?;
                if index >= array.count && !is_flexible(types, self.turns.last(), array) {
                    return Err(format!(
                        "an array on the way has {} elements, no element {index}",
                        array.count
                    ));
                }
                self.turns.push(Turn::Element { ty: element, index });
                self.advance(element_bits(types, element, index))?;
                Ok(element)
            }
            _ => Err(format!("{} has nothing inside", types.title(id))),
        }
    }

    /// `struct sk_buff.foo.bar[2]`; the path stands for itself where it leads through nothing with a name.
    pub(super) fn readable(&self, types: &dyn Types) -> String {
        let mut text = types.title(self.root);
        for (at, turn) in self.turns.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = match *turn {
                Turn::Member { name, .. } => write!(text, ".{}", types.text(name)),
                Turn::Value { name, .. } => write!(text, "::{}", types.text(name)),
                Turn::Element { index: 0, .. } if at == 0 => Ok(()),
                Turn::Element { index, .. } => write!(text, "[{index}]"),
            };
        }
        if !self.raw.is_empty() {
            let raw: Vec<String> = self.raw.iter().map(u32::to_string).collect();
            let _ = write!(text, " ({})", raw.join(":"));
        }
        text
    }
}

/// Bits from the first element to this one. The first needs no size: it may be of a type that has none.
pub(super) fn element_bits(types: &dyn Types, element: TypeId, index: u32) -> Option<u64> {
    let size = types.size_of(element)?;
    size.checked_mul(8)?.checked_mul(u64::from(index))
}

/// A last member that is an array of no elements has as many as one asks for.
pub(super) fn is_flexible(types: &dyn Types, before: Option<&Turn>, array: Array) -> bool {
    let Some(Turn::Member { of, index, .. }) = before else {
        return false;
    };
    let last = types
        .ty(*of)
        .and_then(|ty| ty.composite())
        .is_some_and(|count| index + 1 == count.len);
    array.count == 0 && last
}
