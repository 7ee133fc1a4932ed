//! Follows the object's path through a type of the kernel: by names, since places differ.

use xdplb_linker::btf::{Member, TypeId};

use super::access::{Path, Turn, element_bits, is_flexible};
use super::compatible::{Pair, Reach};
use super::kind::{Question, Subject};
use super::view::{MAX_DEPTH, Shape, essential};

/// Why there is no path through a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoPath {
    /// The type does not fit; another one may.
    Mismatch(String),
    /// The types make no sense, or more than this program can follow.
    Broken(String),
}

impl From<String> for NoPath {
    fn from(cause: String) -> Self {
        NoPath::Broken(cause)
    }
}

fn mismatch<T>(cause: impl Into<String>) -> Result<T, NoPath> {
    Err(NoPath::Mismatch(cause.into()))
}

impl Pair<'_> {
    /// The path through `root`, a type of the kernel, that corresponds to the object's.
    pub(super) fn follow(
        &self,
        question: Question,
        local: &Path,
        root: TypeId,
    ) -> Result<Path, NoPath> {
        let mut path = Path::at(root);
        match question.subject() {
            Subject::Type => {
                let fits = if question == Question::TypeMatches {
                    self.matches(local.root, root, Reach::Direct, MAX_DEPTH)?
                } else {
                    self.types(local.root, root, MAX_DEPTH)?
                };
                if !fits {
                    return mismatch("it is built differently");
                }
            }
            Subject::EnumValue => {
                let turn = local.turns.first().ok_or("the path is empty".to_string())?;
                self.value(turn, &mut path)?;
            }
            Subject::Field => {
                let mut id = root;
                for (at, turn) in local.turns.iter().enumerate() {
                    id = match *turn {
                        Turn::Member { of, index, .. } => self.member(of, index, id, &mut path)?,
                        Turn::Element { index, .. } => self.element(at, index, id, &mut path)?,
                        Turn::Value { .. } => id,
                    };
                }
            }
        }
        Ok(path)
    }

    fn value(&self, turn: &Turn, path: &mut Path) -> Result<(), NoPath> {
        let Turn::Value { name, .. } = turn else {
            return mismatch("it is no enumeration");
        };
        let name = self.local.text(*name);
        let (of, ty) = self.resolved(path.root)?;
        let Some(count) = ty.enumeration() else {
            return mismatch("it is no enumeration");
        };
        for index in 0..count.len {
            self.work.step()?;
            let Some(value) = self.target.enumerator(&ty, index) else {
                break;
            };
            let other = self.target.text(value.name);
            if essential(other.as_bytes()) == essential(name.as_bytes()) {
                path.push(index)?;
                path.turns.push(Turn::Value {
                    of,
                    index,
                    name: value.name,
                });
                return Ok(());
            }
        }
        mismatch(format!("no value `{name}`"))
    }

    fn resolved(&self, id: TypeId) -> Result<(TypeId, super::view::Ty), NoPath> {
        let resolved = self.target.resolve(id);
        resolved.ok_or_else(|| NoPath::Broken("a type of the kernel has no definition".into()))
    }

    /// The kernel's member that the object's member `index` of `of` stands for; gives its type.
    fn member(
        &self,
        of: TypeId,
        index: u32,
        within: TypeId,
        path: &mut Path,
    ) -> Result<TypeId, NoPath> {
        let ty = self.local.ty(of);
        let member = ty.and_then(|ty| self.local.member(&ty, index));
        let Some(member) = member else {
            return Err(NoPath::Broken("the path leads to no member".into()));
        };
        let name = self.local.text(member.name);
        let Some(found) = self.search(name, within, path)? else {
            let (within, ty) = self.resolved(within)?;
            if ty.composite().is_none() {
                return mismatch(format!("{} has no members", self.target.title(within)));
            }
            // The root is named by whoever prints this; below it the struct is worth naming.
            return mismatch(match path.turns.len() {
                0 | 1 => format!("no member `{name}`"),
                _ => format!("no member `{name}` in {}", self.target.title(within)),
            });
        };
        if !self.fields(member.ty, found.ty)? {
            let kinds = |types: &dyn super::view::Types, id| {
                types
                    .resolve(id)
                    .map_or_else(|| "unknown".into(), |(id, _)| types.title(id))
            };
            return mismatch(format!(
                "member `{name}` is of another kind ({}, the object has {})",
                kinds(self.target, found.ty),
                kinds(self.local, member.ty)
            ));
        }
        Ok(found.ty)
    }

    /// Searches a struct or union and the anonymous ones in it for a name. The path then leads there.
    fn search(
        &self,
        name: &str,
        within: TypeId,
        path: &mut Path,
    ) -> Result<Option<Member>, NoPath> {
        let (within, ty) = self.resolved(within)?;
        let Some(count) = ty.composite() else {
            return Ok(None);
        };
        for index in 0..count.len {
            self.work.step()?;
            let Some(member) = self.target.member(&ty, index) else {
                break;
            };
            let text = self.target.text(member.name);
            if !text.is_empty() && text != name {
                continue;
            }
            let before = (path.bits, path.raw.len());
            path.push(index)?;
            path.advance(Some(u64::from(member.bit_offset)))?;
            if text == name {
                path.turns.push(Turn::Member {
                    of: within,
                    index,
                    name: member.name,
                });
                return Ok(Some(member));
            }
            // An anonymous struct or union: recursion ends with the path's length.
            if let Some(found) = self.search(name, member.ty, path)? {
                return Ok(Some(found));
            }
            path.bits = before.0;
            path.raw.truncate(before.1);
        }
        Ok(None)
    }

    /// The kernel's element with this index; gives its type. The first turn is an index from the pointer the path
    /// starts from, so the type there is that of the element already.
    fn element(
        &self,
        at: usize,
        index: u32,
        id: TypeId,
        path: &mut Path,
    ) -> Result<TypeId, NoPath> {
        let (mut id, ty) = self.resolved(id)?;
        if at > 0 {
            let Shape::Array(array) = ty.shape else {
                return mismatch(format!("{} is no array", self.target.title(id)));
            };
            if index >= array.count && !is_flexible(self.target, path.turns.last(), array) {
                return mismatch(format!(
                    "the array has {} elements, no element {index}",
                    array.count
                ));
            }
            (id, _) = self.resolved(array.element)?;
        }
        path.push(index)?;
        path.turns.push(Turn::Element { ty: id, index });
        path.advance(element_bits(self.target, id, index))?;
        Ok(id)
    }
}
