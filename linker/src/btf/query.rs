//! Questions about types: how large, what lies behind the modifiers, which has this name.

use super::{Btf, Kind, Type, TypeId};

/// How many modifiers, typedefs and array levels are followed. The kernel's limit is 32 (`MAX_RESOLVE_DEPTH`).
const MAX_DEPTH: usize = 32;

impl Btf {
    /// The type behind typedefs, `const`, `volatile`, `restrict` and type tags. `None` for `void` and for a chain
    /// without end.
    pub fn resolve(&self, mut id: TypeId) -> Option<(TypeId, &Type)> {
        for _ in 0..MAX_DEPTH {
            let ty = self.get(id)?;
            match &ty.kind {
                Kind::Typedef(next)
                | Kind::Volatile(next)
                | Kind::Const(next)
                | Kind::Restrict(next) => id = *next,
                Kind::TypeTag(tag) => id = tag.ty,
                Kind::Int(_)
                | Kind::Ptr(_)
                | Kind::Array(_)
                | Kind::Struct(_)
                | Kind::Union(_)
                | Kind::Enum(_)
                | Kind::Enum64(_)
                | Kind::Fwd(_)
                | Kind::Func(_)
                | Kind::FuncProto(_)
                | Kind::Var(_)
                | Kind::Datasec(_)
                | Kind::Float { .. }
                | Kind::DeclTag(_) => return Some((id, ty)),
            }
        }
        None
    }

    /// Bytes that a value of the type takes. `None` for what has no size: `void`, functions, declarations.
    pub fn size_of(&self, mut id: TypeId) -> Option<u64> {
        let mut factor: u64 = 1;
        for _ in 0..MAX_DEPTH {
            let (_, ty) = self.resolve(id)?;
            let size = match &ty.kind {
                Kind::Int(int) => u64::from(int.size),
                Kind::Ptr(_) => 8,
                Kind::Struct(composite) | Kind::Union(composite) => u64::from(composite.size),
                Kind::Enum(e) => u64::from(e.size),
                Kind::Enum64(e) => u64::from(e.size),
                Kind::Float { size } => u64::from(*size),
                Kind::Datasec(section) => u64::from(section.size),
                Kind::Array(array) => {
                    factor = factor.checked_mul(u64::from(array.count))?;
                    id = array.element;
                    continue;
                }
                Kind::Var(var) => {
                    id = var.ty;
                    continue;
                }
                Kind::Fwd(_)
                | Kind::Func(_)
                | Kind::FuncProto(_)
                | Kind::DeclTag(_)
                | Kind::Typedef(_)
                | Kind::Volatile(_)
                | Kind::Const(_)
                | Kind::Restrict(_)
                | Kind::TypeTag(_) => return None,
            };
            return factor.checked_mul(size);
        }
        None
    }

    /// The section of variables with this name.
    pub fn datasec(&self, name: &str) -> Option<(TypeId, &super::Datasec)> {
        self.iter().find_map(|(id, ty)| match &ty.kind {
            Kind::Datasec(section) if self.name(ty.name) == name => Some((id, section)),
            _ => None,
        })
    }

    /// The first type with this name that `wanted` accepts.
    pub fn find(&self, name: &str, wanted: impl Fn(&Kind) -> bool) -> Option<TypeId> {
        self.iter()
            .find(|(_, ty)| wanted(&ty.kind) && self.name(ty.name) == name)
            .map(|(id, _)| id)
    }
}
