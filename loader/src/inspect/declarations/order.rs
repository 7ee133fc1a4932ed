//! What must be declared before what. In C a struct that is a member must be complete, one behind a pointer only named; a
//! typedef must be there in any case. Rust does not mind.

use std::collections::{HashMap, HashSet};

use xdplb_linker::btf::{Btf, Kind, TypeId};

use super::{Language, MAX_DEPTH};

/// Steps of the search for all types together, for each type there is.
const STEPS_A_TYPE: usize = 64;

/// Every type that has a declaration of its own.
pub(super) fn all(btf: &Btf, language: Language) -> Vec<TypeId> {
    let mut search = Search::new(btf, language);
    // Variables, sections and tags come last: nothing depends on them.
    let late = |kind: &Kind| {
        matches!(
            kind,
            Kind::Var(_) | Kind::Datasec(_) | Kind::Func(_) | Kind::DeclTag(_)
        )
    };
    for (id, _) in btf.iter().filter(|(_, ty)| !late(&ty.kind)) {
        search.visit(id, usize::MAX);
    }
    for (id, _) in btf.iter().filter(|(_, ty)| late(&ty.kind)) {
        search.visit(id, usize::MAX);
    }
    search.done
}

/// A type and what it is made of; at most so many.
pub(super) fn of(btf: &Btf, ty: TypeId, language: Language, most: usize) -> Vec<TypeId> {
    let mut search = Search::new(btf, language);
    let mut found = Vec::new();
    search.steps = most * STEPS_A_TYPE * 4;
    search.needs(ty, true, 0, &mut found);
    if search.has_text(ty) {
        found.push(ty);
    }
    for id in found {
        search.visit(id, most);
    }
    search.done.truncate(most);
    search.done
}

struct Search<'a> {
    btf: &'a Btf,
    language: Language,
    steps: usize,
    seen: HashSet<TypeId>,
    done: Vec<TypeId>,
}

impl<'a> Search<'a> {
    fn new(btf: &'a Btf, language: Language) -> Self {
        Search {
            btf,
            language,
            steps: btf
                .len()
                .saturating_mul(STEPS_A_TYPE)
                .saturating_add(10_000),
            seen: HashSet::new(),
            done: Vec::new(),
        }
    }

    /// Puts a type into the order, behind all that it needs.
    fn visit(&mut self, id: TypeId, most: usize) {
        if !self.has_text(id) || !self.seen.insert(id) {
            return;
        }
        let mut open = vec![(id, self.needs_of(id))];
        while let Some((id, left)) = open.last_mut() {
            let Some(next) = left.pop() else {
                self.done.push(*id);
                open.pop();
                continue;
            };
            if self.done.len() + open.len() < most && self.seen.insert(next) {
                let needs = self.needs_of(next);
                open.push((next, needs));
            }
        }
    }

    /// Whether a type has a declaration of its own.
    fn has_text(&self, id: TypeId) -> bool {
        let Some(ty) = self.btf.get(id) else {
            return false;
        };
        match &ty.kind {
            // What Rust has no way to write where it is used, it needs a name for.
            Kind::Struct(_) | Kind::Union(_) => {
                self.language == Language::Rust || !self.btf.name(ty.name).is_empty()
            }
            Kind::Int(int) => {
                self.language == Language::C && super::c::standard(self.btf, ty, int).is_none()
            }
            Kind::Float { .. } => false,
            Kind::Enum(_)
            | Kind::Enum64(_)
            | Kind::Fwd(_)
            | Kind::Typedef(_)
            | Kind::Func(_)
            | Kind::Var(_)
            | Kind::Datasec(_)
            | Kind::DeclTag(_) => true,
            Kind::Ptr(_)
            | Kind::Array(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::FuncProto(_)
            | Kind::TypeTag(_) => false,
        }
    }

    /// What a declaration needs before it, the first last.
    fn needs_of(&mut self, id: TypeId) -> Vec<TypeId> {
        let mut found = Vec::new();
        match self.btf.get(id).map(|ty| &ty.kind) {
            Some(Kind::Struct(composite) | Kind::Union(composite)) => {
                for member in &composite.members {
                    self.needs(member.ty, true, 0, &mut found);
                }
            }
            Some(Kind::Typedef(target)) => self.needs(*target, false, 0, &mut found),
            Some(Kind::Func(func)) => self.needs(func.proto, false, 0, &mut found),
            Some(Kind::Var(var)) => self.needs(var.ty, false, 0, &mut found),
            _ => {}
        }
        found.reverse();
        found
    }

    fn needs(&mut self, id: TypeId, whole: bool, depth: usize, found: &mut Vec<TypeId>) {
        if depth > MAX_DEPTH || self.steps == 0 {
            return;
        }
        self.steps -= 1;
        // Rust has no word for a struct that is only named.
        let whole = whole || self.language == Language::Rust;
        let Some(ty) = self.btf.get(id) else { return };
        match &ty.kind {
            Kind::Ptr(target) => self.needs(*target, false, depth + 1, found),
            Kind::Array(array) => self.needs(array.element, true, depth + 1, found),
            Kind::Volatile(next) | Kind::Const(next) | Kind::Restrict(next) => {
                self.needs(*next, whole, depth + 1, found);
            }
            Kind::TypeTag(tag) => self.needs(tag.ty, whole, depth + 1, found),
            Kind::Typedef(next) => {
                if whole {
                    self.needs(*next, true, depth + 1, found);
                }
                found.push(id);
            }
            Kind::Struct(composite) | Kind::Union(composite) => {
                if self.has_text(id) {
                    if whole {
                        found.push(id);
                    }
                    return;
                }
                for member in &composite.members {
                    self.needs(member.ty, true, depth + 1, found);
                }
            }
            Kind::FuncProto(proto) => {
                self.needs(proto.returns, false, depth + 1, found);
                for param in &proto.params {
                    self.needs(param.ty, false, depth + 1, found);
                }
            }
            Kind::Int(_) | Kind::Enum(_) | Kind::Enum64(_) => {
                if self.has_text(id) {
                    found.push(id);
                }
            }
            Kind::Fwd(_)
            | Kind::Float { .. }
            | Kind::Func(_)
            | Kind::Var(_)
            | Kind::Datasec(_)
            | Kind::DeclTag(_) => {}
        }
    }
}

/// Which section each variable or function is in, with its place there: section, offset, size. Empty where `order` has none.
pub(super) fn places(btf: &Btf, order: &[TypeId]) -> HashMap<TypeId, (TypeId, u32, u32)> {
    let is_var = |id: &TypeId| matches!(btf.get(*id).map(|ty| &ty.kind), Some(Kind::Var(_)));
    if !order.iter().any(is_var) {
        return HashMap::new();
    }
    let sections = btf.iter().filter_map(|(id, ty)| match &ty.kind {
        Kind::Datasec(section) => Some((id, section)),
        _ => None,
    });
    sections
        .flat_map(|(id, section)| section.vars.iter().map(move |var| (id, var)))
        .map(|(section, var)| (var.ty, (section, var.offset, var.size)))
        .collect()
}
