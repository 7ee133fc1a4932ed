//! Types as CO-RE looks at them, whether they are the object's own ([`Btf`]) or the kernel's
//! ([`super::super::KernelTypes`]): one small copyable value a type, and its members one by one.
//!
//! Everything is asked through `&dyn Types`, so the matching code exists once in the binary.

use xdplb_linker::btf::{
    Array, Btf, EnumValue, FwdKind, Int, Kind, Member, Param, Signedness, StrId, TagForm, TypeId,
};

/// How many typedefs, modifiers and array levels are followed; the kernel's `MAX_RESOLVE_DEPTH`.
pub(crate) const MAX_DEPTH: usize = 32;

/// The kind of a type, without its contents. The numbers are `BTF_KIND_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum TypeKind {
    Void = 0,
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
    /// A kind that is newer than this program: skipped by the layout table of the section.
    Newer = 0x7f,
}

/// What a type is; what it consists of is asked of [`Types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `void`, the type with number 0.
    Void,
    /// An integer.
    Int(Int),
    /// A pointer.
    Ptr(TypeId),
    /// An array.
    Array(Array),
    /// A struct.
    Struct(Count),
    /// A union.
    Union(Count),
    /// An enumeration of 32-bit values.
    Enum(Count, Signedness),
    /// An enumeration of 64-bit values.
    Enum64(Count, Signedness),
    /// A declaration without a definition.
    Fwd(FwdKind),
    /// Another name.
    Typedef(TypeId),
    /// `volatile`.
    Volatile(TypeId),
    /// `const`.
    Const(TypeId),
    /// `restrict`.
    Restrict(TypeId),
    /// A tag on a type.
    TypeTag(TypeId),
    /// A function, and its prototype.
    Func(TypeId),
    /// What it returns, and how many parameters there are.
    FuncProto(TypeId, u32),
    /// A variable, and its type.
    Var(TypeId),
    /// A section of so many variables.
    Datasec(Count),
    /// A floating-point number of so many bytes.
    Float(u32),
    /// A tag on a declaration.
    DeclTag(TypeId),
    /// A kind that is newer than this program.
    Newer(u8),
}

/// Size in bytes, and the number of members, values or variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Bytes that a value takes.
    pub size: u32,
    /// Members, enumerators or variables.
    pub len: u32,
}

/// A type: its name, what it is, and where the rest of it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ty {
    /// Its name.
    pub name: StrId,
    /// What it is.
    pub shape: Shape,
    /// Where its owner finds the members: a number only the owner understands.
    pub(crate) rest: u32,
}

impl Ty {
    /// `void`.
    pub(crate) const VOID: Ty = Ty {
        name: StrId::EMPTY,
        shape: Shape::Void,
        rest: 0,
    };

    /// The kind alone.
    pub fn kind(&self) -> TypeKind {
        match self.shape {
            Shape::Void => TypeKind::Void,
            Shape::Int(_) => TypeKind::Int,
            Shape::Ptr(_) => TypeKind::Ptr,
            Shape::Array(_) => TypeKind::Array,
            Shape::Struct(_) => TypeKind::Struct,
            Shape::Union(_) => TypeKind::Union,
            Shape::Enum(..) => TypeKind::Enum,
            Shape::Enum64(..) => TypeKind::Enum64,
            Shape::Fwd(_) => TypeKind::Fwd,
            Shape::Typedef(_) => TypeKind::Typedef,
            Shape::Volatile(_) => TypeKind::Volatile,
            Shape::Const(_) => TypeKind::Const,
            Shape::Restrict(_) => TypeKind::Restrict,
            Shape::TypeTag(_) => TypeKind::TypeTag,
            Shape::Func(_) => TypeKind::Func,
            Shape::FuncProto(..) => TypeKind::FuncProto,
            Shape::Var(_) => TypeKind::Var,
            Shape::Datasec(_) => TypeKind::Datasec,
            Shape::Float(_) => TypeKind::Float,
            Shape::DeclTag(_) => TypeKind::DeclTag,
            Shape::Newer(_) => TypeKind::Newer,
        }
    }

    /// Size and number of members of a struct or union.
    pub fn composite(&self) -> Option<Count> {
        let (Shape::Struct(count) | Shape::Union(count)) = self.shape else {
            return None;
        };
        Some(count)
    }

    /// Size and number of values of an enumeration of either width.
    pub fn enumeration(&self) -> Option<Count> {
        let (Shape::Enum(count, _) | Shape::Enum64(count, _)) = self.shape else {
            return None;
        };
        Some(count)
    }
}

impl TypeKind {
    /// The word C and the verifier use for it.
    pub fn word(self) -> &'static str {
        match self {
            TypeKind::Void => "void",
            TypeKind::Int => "int",
            TypeKind::Ptr => "pointer",
            TypeKind::Array => "array",
            TypeKind::Struct => "struct",
            TypeKind::Union => "union",
            TypeKind::Enum | TypeKind::Enum64 => "enum",
            TypeKind::Fwd => "declaration",
            TypeKind::Typedef => "typedef",
            TypeKind::Volatile => "volatile",
            TypeKind::Const => "const",
            TypeKind::Restrict => "restrict",
            TypeKind::Func => "function",
            TypeKind::FuncProto => "function prototype",
            TypeKind::Var => "variable",
            TypeKind::Datasec => "section",
            TypeKind::Float => "float",
            TypeKind::DeclTag => "declaration tag",
            TypeKind::TypeTag => "type tag",
            TypeKind::Newer => "unknown kind",
        }
    }
}

/// A collection of types that can be looked into. Nothing here fails on hostile contents: what does not exist is `None`.
pub trait Types {
    /// The type with this number; [`Shape::Void`] for 0.
    fn ty(&self, id: TypeId) -> Option<Ty>;
    /// The text of a name; empty where there is none.
    fn text(&self, name: StrId) -> &str;
    /// A member of a struct or union.
    fn member(&self, ty: &Ty, index: u32) -> Option<Member>;
    /// A value of an enumeration, sign-extended from 32 bits where it has 32 (as libbpf reads it).
    fn enumerator(&self, ty: &Ty, index: u32) -> Option<EnumValue<u64>>;
    /// A parameter of a prototype.
    fn param(&self, ty: &Ty, index: u32) -> Option<Param>;
}

impl dyn Types + '_ {
    /// The type behind typedefs, qualifiers and tags, and its number. `None` where a number is dangling or a chain has
    /// no end.
    pub fn resolve(&self, mut id: TypeId) -> Option<(TypeId, Ty)> {
        for _ in 0..MAX_DEPTH {
            let ty = self.ty(id)?;
            let (Shape::Typedef(next)
            | Shape::Volatile(next)
            | Shape::Const(next)
            | Shape::Restrict(next)
            | Shape::TypeTag(next)) = ty.shape
            else {
                return Some((id, ty));
            };
            id = next;
        }
        None
    }

    /// Bytes that a value of the type takes. `None` for what has no size: `void`, functions, declarations.
    pub fn size_of(&self, mut id: TypeId) -> Option<u64> {
        let mut factor = 1u64;
        for _ in 0..MAX_DEPTH {
            let (_, ty) = self.resolve(id)?;
            let size = match ty.shape {
                Shape::Int(int) => int.size,
                Shape::Ptr(_) => 8,
                Shape::Struct(count)
                | Shape::Union(count)
                | Shape::Enum(count, _)
                | Shape::Enum64(count, _)
                | Shape::Datasec(count) => count.size,
                Shape::Float(size) => size,
                Shape::Array(array) => {
                    factor = factor.checked_mul(u64::from(array.count))?;
                    id = array.element;
                    continue;
                }
                Shape::Var(next) => {
                    id = next;
                    continue;
                }
                Shape::Void
                | Shape::Fwd(_)
                | Shape::Typedef(_)
                | Shape::Volatile(_)
                | Shape::Const(_)
                | Shape::Restrict(_)
                | Shape::TypeTag(_)
                | Shape::Func(_)
                | Shape::FuncProto(..)
                | Shape::DeclTag(_)
                | Shape::Newer(_) => return None,
            };
            return factor.checked_mul(u64::from(size));
        }
        None
    }

    /// The name of a type; empty for `void`, the unnamed and the absent.
    pub fn name_of(&self, id: TypeId) -> &str {
        self.ty(id).map_or("", |ty| self.text(ty.name))
    }

    /// `struct sk_buff`, `enum (unnamed)`: a type as an error calls it.
    pub fn title(&self, id: TypeId) -> String {
        let Some(ty) = self.ty(id) else {
            return "a type that does not exist".into();
        };
        match self.text(ty.name) {
            "" => format!("{} (unnamed)", ty.kind().word()),
            name => format!("{} {name}", ty.kind().word()),
        }
    }
}

/// The name without its flavour: `sk_buff` of `sk_buff___old`. The last `___` with neither an underscore before nor one
/// after it divides (libbpf's `bpf_core_essential_name_len`).
pub fn essential(name: &[u8]) -> &[u8] {
    let flavour = name
        .windows(5)
        .rposition(|w| matches!(w, [x, b'_', b'_', b'_', y] if *x != b'_' && *y != b'_'));
    flavour.map_or(name, |at| &name[..=at])
}

impl Types for Btf {
    fn ty(&self, id: TypeId) -> Option<Ty> {
        if id == TypeId::VOID {
            return Some(Ty::VOID);
        }
        let ty = self.get(id)?;
        let count = |size, len: usize| Count {
            size,
            len: len as u32,
        };
        let shape = match &ty.kind {
            Kind::Int(int) => Shape::Int(*int),
            Kind::Ptr(to) => Shape::Ptr(*to),
            Kind::Array(array) => Shape::Array(*array),
            Kind::Struct(c) => Shape::Struct(count(c.size, c.members.len())),
            Kind::Union(c) => Shape::Union(count(c.size, c.members.len())),
            Kind::Enum(e) => Shape::Enum(count(e.size, e.values.len()), e.signedness),
            Kind::Enum64(e) => Shape::Enum64(count(e.size, e.values.len()), e.signedness),
            Kind::Fwd(kind) => Shape::Fwd(*kind),
            Kind::Typedef(to) => Shape::Typedef(*to),
            Kind::Volatile(to) => Shape::Volatile(*to),
            Kind::Const(to) => Shape::Const(*to),
            Kind::Restrict(to) => Shape::Restrict(*to),
            Kind::Func(func) => Shape::Func(func.proto),
            Kind::FuncProto(proto) => Shape::FuncProto(proto.returns, proto.params.len() as u32),
            Kind::Var(var) => Shape::Var(var.ty),
            Kind::Datasec(section) => Shape::Datasec(count(section.size, section.vars.len())),
            Kind::Float { size } => Shape::Float(*size),
            Kind::DeclTag(tag) => Shape::DeclTag(tag.ty),
            Kind::TypeTag(tag) => match tag.form {
                TagForm::Tag | TagForm::Attribute => Shape::TypeTag(tag.ty),
            },
        };
        Some(Ty {
            name: ty.name,
            shape,
            rest: id.0,
        })
    }

    fn text(&self, name: StrId) -> &str {
        self.name(name)
    }

    fn member(&self, ty: &Ty, index: u32) -> Option<Member> {
        match &self.get(TypeId(ty.rest))?.kind {
            Kind::Struct(c) | Kind::Union(c) => c.members.get(index as usize).copied(),
            _ => None,
        }
    }

    fn enumerator(&self, ty: &Ty, index: u32) -> Option<EnumValue<u64>> {
        match &self.get(TypeId(ty.rest))?.kind {
            Kind::Enum(e) => e.values.get(index as usize).map(|value| EnumValue {
                name: value.name,
                value: i64::from(value.value) as u64,
            }),
            Kind::Enum64(e) => e.values.get(index as usize).copied(),
            _ => None,
        }
    }

    fn param(&self, ty: &Ty, index: u32) -> Option<Param> {
        match &self.get(TypeId(ty.rest))?.kind {
            Kind::FuncProto(proto) => proto.params.get(index as usize).copied(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavours_are_cut_off_names() {
        let cut = |name: &str| String::from_utf8_lossy(essential(name.as_bytes())).into_owned();
        assert_eq!(cut("sk_buff___old"), "sk_buff");
        assert_eq!(cut("a___b___c"), "a___b");
        assert_eq!(cut("sk_buff____old"), "sk_buff____old");
        assert_eq!(cut("___old"), "___old");
        assert_eq!(cut("sk_buff___"), "sk_buff___");
        assert_eq!(cut("x___y"), "x");
        assert_eq!(cut(""), "");
    }
}
