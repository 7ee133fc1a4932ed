//! Visits the type ids and the names that a type holds: renumbering and pruning need nothing else.

use super::{Kind, StrId, Type, TypeId};

impl Type {
    /// Shows each type id it refers to.
    pub fn visit_ids(&self, mut visit: impl FnMut(TypeId)) {
        match &self.kind {
            Kind::Struct(c) | Kind::Union(c) => c.members.iter().for_each(|m| visit(m.ty)),
            Kind::FuncProto(proto) => {
                visit(proto.returns);
                proto.params.iter().for_each(|param| visit(param.ty));
            }
            Kind::Datasec(section) => section.vars.iter().for_each(|var| visit(var.ty)),
            Kind::Ptr(id)
            | Kind::Typedef(id)
            | Kind::Volatile(id)
            | Kind::Const(id)
            | Kind::Restrict(id) => visit(*id),
            Kind::Array(array) => {
                visit(array.element);
                visit(array.index);
            }
            Kind::Func(func) => visit(func.proto),
            Kind::Var(var) => visit(var.ty),
            Kind::DeclTag(tag) => visit(tag.ty),
            Kind::TypeTag(tag) => visit(tag.ty),
            Kind::Int(_) | Kind::Enum(_) | Kind::Enum64(_) | Kind::Fwd(_) | Kind::Float { .. } => {}
        }
    }

    /// Replaces each type id it refers to.
    pub fn map_ids(&mut self, mut map: impl FnMut(TypeId) -> TypeId) {
        match &mut self.kind {
            Kind::Struct(c) | Kind::Union(c) => c.members.iter_mut().for_each(|m| m.ty = map(m.ty)),
            Kind::FuncProto(proto) => {
                proto.returns = map(proto.returns);
                for param in &mut proto.params {
                    param.ty = map(param.ty);
                }
            }
            Kind::Datasec(section) => section.vars.iter_mut().for_each(|v| v.ty = map(v.ty)),
            Kind::Ptr(id)
            | Kind::Typedef(id)
            | Kind::Volatile(id)
            | Kind::Const(id)
            | Kind::Restrict(id) => *id = map(*id),
            Kind::Array(array) => {
                array.element = map(array.element);
                array.index = map(array.index);
            }
            Kind::Func(func) => func.proto = map(func.proto),
            Kind::Var(var) => var.ty = map(var.ty),
            Kind::DeclTag(tag) => tag.ty = map(tag.ty),
            Kind::TypeTag(tag) => tag.ty = map(tag.ty),
            Kind::Int(_) | Kind::Enum(_) | Kind::Enum64(_) | Kind::Fwd(_) | Kind::Float { .. } => {}
        }
    }

    /// Shows each name it holds: its own, and those of its members, parameters or values.
    pub fn visit_names(&self, mut visit: impl FnMut(StrId)) {
        visit(self.name);
        match &self.kind {
            Kind::Struct(c) | Kind::Union(c) => c.members.iter().for_each(|m| visit(m.name)),
            Kind::Enum(e) => e.values.iter().for_each(|value| visit(value.name)),
            Kind::Enum64(e) => e.values.iter().for_each(|value| visit(value.name)),
            Kind::FuncProto(proto) => proto.params.iter().for_each(|param| visit(param.name)),
            Kind::Int(_)
            | Kind::Ptr(_)
            | Kind::Array(_)
            | Kind::Fwd(_)
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func(_)
            | Kind::Var(_)
            | Kind::Datasec(_)
            | Kind::Float { .. }
            | Kind::DeclTag(_)
            | Kind::TypeTag(_) => {}
        }
    }

    /// Replaces each name it holds.
    pub fn map_names(&mut self, mut map: impl FnMut(StrId) -> StrId) {
        self.name = map(self.name);
        match &mut self.kind {
            Kind::Struct(c) | Kind::Union(c) => {
                c.members.iter_mut().for_each(|m| m.name = map(m.name));
            }
            Kind::Enum(e) => e.values.iter_mut().for_each(|v| v.name = map(v.name)),
            Kind::Enum64(e) => e.values.iter_mut().for_each(|v| v.name = map(v.name)),
            Kind::FuncProto(proto) => {
                for param in &mut proto.params {
                    param.name = map(param.name);
                }
            }
            Kind::Int(_)
            | Kind::Ptr(_)
            | Kind::Array(_)
            | Kind::Fwd(_)
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func(_)
            | Kind::Var(_)
            | Kind::Datasec(_)
            | Kind::Float { .. }
            | Kind::DeclTag(_)
            | Kind::TypeTag(_) => {}
        }
    }
}
