//! When a type of the kernel may stand for one of the object. Three relations, each libbpf's own, so that an object that
//! loads with libbpf loads here: fields are compared loosely, types by their structure without names, and `type_matches`
//! member by member.
//!
//! All three walk types that a file made up. Depth is bounded as in libbpf, and all walks together by [`Work`].

use std::cell::Cell;

use xdplb_linker::btf::{FwdKind, Int, StrId, TypeId};

use super::view::{Count, MAX_DEPTH, Shape, Ty, Types, essential};

/// `BTF_INT_SIGNED`.
const SIGNED: u8 = 1;

/// Steps that the matching of one object's relocations may still take. Real objects need thousands.
#[derive(Debug)]
pub(super) struct Work(Cell<u32>);

impl Default for Work {
    fn default() -> Self {
        Work(Cell::new(20_000_000))
    }
}

impl Work {
    pub(super) fn step(&self) -> Result<(), String> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err("comparing the object's types with the kernel's takes too long".into()),
        }
    }
}

/// The object's types and the kernel's, one beside the other.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) local: &'a dyn Types,
    pub(super) target: &'a dyn Types,
    pub(super) work: &'a Work,
}

/// Whether a type of the kernel can be used as the object's type is, structure for structure and without names:
/// what libbpf asks of typed `.ksyms` and of `type_exists`.
pub fn types_compatible(
    local: &dyn Types,
    local_id: TypeId,
    target: &dyn Types,
    target_id: TypeId,
) -> bool {
    let work = Work::default();
    let pair = Pair {
        local,
        target,
        work: &work,
    };
    // libbpf looks behind const and typedef before it compares (`bpf_object__collect_externs`): a program says `const int`
    // of what the kernel writes.
    let behind = |types: &dyn Types, id| types.resolve(id).map_or(id, |(id, _)| id);
    let (local_id, target_id) = (behind(local, local_id), behind(target, target_id));
    pair.types(local_id, target_id, MAX_DEPTH) == Ok(true)
}

/// Kinds that may be candidates for each other: equal ones, and both widths of enumerations.
pub(super) fn same_kind(a: Ty, b: Ty) -> bool {
    a.kind() == b.kind() || (a.enumeration().is_some() && b.enumeration().is_some())
}

/// An integer that starts within its storage: bitfields of before 2018. Nothing is compatible with them.
fn is_whole(int: Int) -> bool {
    int.bit_offset == 0
}

impl Pair<'_> {
    fn resolve(&self, local: TypeId, target: TypeId) -> Result<(Ty, Ty), String> {
        self.work.step()?;
        match (self.local.resolve(local), self.target.resolve(target)) {
            (Some((_, a)), Some((_, b))) => Ok((a, b)),
            _ => Err("a type refers to itself or to none".into()),
        }
    }

    fn names(&self, local: StrId, target: StrId) -> (&str, &str) {
        (self.local.text(local), self.target.text(target))
    }

    /// Names equal but for flavours; both may be absent.
    fn same_names(&self, local: StrId, target: StrId) -> bool {
        let (local, target) = self.names(local, target);
        essential(local.as_bytes()) == essential(target.as_bytes())
    }

    /// Whether a field of the kernel may be read where the object reads its own: `bpf_core_fields_are_compat`.
    pub(super) fn fields(&self, mut local: TypeId, mut target: TypeId) -> Result<bool, String> {
        for _ in 0..MAX_DEPTH {
            let (a, b) = self.resolve(local, target)?;
            if a.composite().is_some() && b.composite().is_some() {
                return Ok(true);
            }
            if !same_kind(a, b) {
                return Ok(false);
            }
            match (a.shape, b.shape) {
                (Shape::Array(a), Shape::Array(b)) => (local, target) = (a.element, b.element),
                (Shape::Ptr(_), _) | (Shape::Float(_), _) => return Ok(true),
                (Shape::Fwd(_) | Shape::Enum(..) | Shape::Enum64(..), _) => {
                    let (local, target) = self.names(a.name, b.name);
                    let unnamed = local.is_empty() || target.is_empty();
                    return Ok(unnamed || self.same_names(a.name, b.name));
                }
                (Shape::Int(a), Shape::Int(b)) => return Ok(is_whole(a) && is_whole(b)),
                _ => return Ok(false),
            }
        }
        Err("arrays of arrays go too deep".into())
    }

    /// Whether types are alike, names and sizes aside: `bpf_core_types_are_compat`.
    pub(super) fn types(
        &self,
        mut local: TypeId,
        mut target: TypeId,
        level: usize,
    ) -> Result<bool, String> {
        let roots = (self.local.ty(local), self.target.ty(target));
        let (Some(a), Some(b)) = roots else {
            return Err("a type refers to itself or to none".into());
        };
        if !same_kind(a, b) {
            return Ok(false);
        }
        for _ in 0..MAX_DEPTH {
            let (a, b) = self.resolve(local, target)?;
            if !same_kind(a, b) {
                return Ok(false);
            }
            match (a.shape, b.shape) {
                (Shape::Ptr(a), Shape::Ptr(b)) => (local, target) = (a, b),
                (Shape::Array(a), Shape::Array(b)) => (local, target) = (a.element, b.element),
                (Shape::FuncProto(returns, params), Shape::FuncProto(target_returns, others)) => {
                    if params != others {
                        return Ok(false);
                    }
                    for index in 0..params {
                        if level == 0 {
                            return Err("function types go too deep".into());
                        }
                        let (p, q) = self.params(&a, &b, index)?;
                        let behind =
                            |types: &dyn Types, id| types.resolve(id).map_or(id, |(id, _)| id);
                        let (p, q) = (behind(self.local, p), behind(self.target, q));
                        if !self.types(p, q, level - 1)? {
                            return Ok(false);
                        }
                    }
                    (local, target) = (returns, target_returns);
                }
                (Shape::Int(a), Shape::Int(b)) => return Ok(is_whole(a) && is_whole(b)),
                (
                    Shape::Void
                    | Shape::Struct(_)
                    | Shape::Union(_)
                    | Shape::Enum(..)
                    | Shape::Enum64(..)
                    | Shape::Fwd(_),
                    _,
                ) => return Ok(true),
                _ => return Ok(false),
            }
        }
        Err("pointers and arrays go too deep".into())
    }

    fn params(&self, a: &Ty, b: &Ty, index: u32) -> Result<(TypeId, TypeId), String> {
        match (self.local.param(a, index), self.target.param(b, index)) {
            (Some(a), Some(b)) => Ok((a.ty, b.ty)),
            _ => Err("a function type ends too early".into()),
        }
    }

    /// Whether the kernel's type has all that the object's has: `bpf_core_types_match`. `level` is how much deeper it
    /// may go.
    pub(super) fn matches(
        &self,
        mut local: TypeId,
        mut target: TypeId,
        mut reach: Reach,
        level: usize,
    ) -> Result<bool, String> {
        if level == 0 {
            return Err("the type goes too deep".into());
        }
        for _ in 0..MAX_DEPTH {
            let (a, b) = self.resolve(local, target)?;
            if !self.same_names(a.name, b.name) {
                return Ok(false);
            }
            match (a.shape, b.shape) {
                (Shape::Void, Shape::Void) => return Ok(true),
                (Shape::Fwd(a), Shape::Fwd(b)) => return Ok(a == b),
                (Shape::Fwd(kind), Shape::Struct(_)) | (Shape::Struct(_), Shape::Fwd(kind)) => {
                    return Ok(reach == Reach::BehindPointer && kind == FwdKind::Struct);
                }
                (Shape::Fwd(kind), Shape::Union(_)) | (Shape::Union(_), Shape::Fwd(kind)) => {
                    return Ok(reach == Reach::BehindPointer && kind == FwdKind::Union);
                }
                (Shape::Struct(x), Shape::Struct(y)) | (Shape::Union(x), Shape::Union(y)) => {
                    return match reach {
                        Reach::BehindPointer => Ok(true),
                        Reach::Direct => self.members(&a, x, &b, y, level),
                    };
                }
                (Shape::Int(a), Shape::Int(b)) => {
                    let alike = a.encoding & SIGNED == b.encoding & SIGNED;
                    return Ok(a.size == b.size && alike);
                }
                (Shape::Ptr(a), Shape::Ptr(b)) => {
                    reach = Reach::BehindPointer;
                    (local, target) = (a, b);
                }
                (Shape::Array(a), Shape::Array(b)) => {
                    if a.count != b.count {
                        return Ok(false);
                    }
                    (local, target) = (a.element, b.element);
                }
                (Shape::FuncProto(returns, params), Shape::FuncProto(target_returns, others)) => {
                    if params != others {
                        return Ok(false);
                    }
                    for index in 0..params {
                        let (p, q) = self.params(&a, &b, index)?;
                        if !self.matches(p, q, reach, level - 1)? {
                            return Ok(false);
                        }
                    }
                    (local, target) = (returns, target_returns);
                }
                _ => {
                    return match (a.enumeration(), b.enumeration()) {
                        (Some(x), Some(y)) => self.values(&a, x, &b, y),
                        _ => Ok(false),
                    };
                }
            }
        }
        Err("pointers and arrays go too deep".into())
    }

    fn members(&self, a: &Ty, x: Count, b: &Ty, y: Count, level: usize) -> Result<bool, String> {
        let mine = |index| self.local.member(a, index);
        let theirs = |index| self.target.member(b, index);
        if x.len > y.len {
            return Ok(false);
        }
        for member in (0..x.len).map_while(mine) {
            let mut found = false;
            for other in (0..y.len).map_while(theirs) {
                self.work.step()?;
                if self.same_names(member.name, other.name)
                    && self.matches(member.ty, other.ty, Reach::Direct, level - 1)?
                {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn values(&self, a: &Ty, x: Count, b: &Ty, y: Count) -> Result<bool, String> {
        if x.size != y.size || x.len > y.len {
            return Ok(false);
        }
        for value in (0..x.len).map_while(|index| self.local.enumerator(a, index)) {
            let mut found = false;
            for other in (0..y.len).map_while(|index| self.target.enumerator(b, index)) {
                self.work.step()?;
                if self.same_names(value.name, other.name) {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// How a type was come to: behind a pointer only its name and kind count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Not through a pointer.
    Direct,
    /// Through one.
    BehindPointer,
}
