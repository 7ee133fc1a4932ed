//! BTF, the kernel's type format: the types of a program, of its maps and of its variables.
//!
//! [`Btf`] is the section as a value: types in order (their number is their place, 1 being the first; 0 is `void`)
//! and one string table that names point into. Having a `Btf` proves that every type id in it refers to a type of it
//! (or to `void`) and every name to a string of it.
//!
//! The format: `Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h` in Linux.

mod agree;
mod dedup;
mod encode;
mod keep;
mod names;
mod parse;
mod partition;
mod query;
mod repair;
mod strings;
mod walk;

pub use agree::{Difference, Likeness, difference};
pub use dedup::{Merged, merge};
pub use keep::{Renumbering, keep};
pub use names::valid_name;
pub(crate) use parse::{MAGIC, VERSION, check_magic};
pub use repair::repair;
pub use strings::{MAX_TEXT, StrId, Strings};

use crate::error::ParseError;

/// The number of a type. 0 is `void`; the first type of a section is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`, which has no entry of its own.
    pub const VOID: Self = Self(0);
}

/// All types of an object and their strings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Btf {
    types: Vec<Type>,
    /// The names, and the file names and source lines that .BTF.ext points to.
    pub strings: Strings,
}

/// One type: its name (the empty string when it has none) and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// Its name; offset 0 is the empty string.
    pub name: StrId,
    /// What it is.
    pub kind: Kind,
}

/// What a type is. Sizes are bytes, bit offsets are bits; the numbers are the kernel's `BTF_KIND_*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// 1: an integer.
    Int(Int),
    /// 2: a pointer to a type.
    Ptr(TypeId),
    /// 3: an array.
    Array(Array),
    /// 4: a struct.
    Struct(Composite),
    /// 5: a union; every member is at offset 0.
    Union(Composite),
    /// 6: an enumeration of 32-bit values.
    Enum(Enum<i32>),
    /// 7: a struct or union that is only declared.
    Fwd(FwdKind),
    /// 8: another name for a type.
    Typedef(TypeId),
    /// 9: `volatile`.
    Volatile(TypeId),
    /// 10: `const`.
    Const(TypeId),
    /// 11: `restrict`.
    Restrict(TypeId),
    /// 12: a function: a name and a linkage for a [`Kind::FuncProto`].
    Func(Func),
    /// 13: what a function takes and returns.
    FuncProto(FuncProto),
    /// 14: a global variable.
    Var(Var),
    /// 15: the variables of one ELF section, with their places.
    Datasec(Datasec),
    /// 16: a floating-point number of so many bytes (kernel 5.13).
    Float {
        /// Its size in bytes.
        size: u32,
    },
    /// 17: a tag on a declaration (kernel 5.16).
    DeclTag(DeclTag),
    /// 18: a tag on a type (kernel 5.17).
    TypeTag(TypeTag),
    /// 19: an enumeration of 64-bit values (kernel 6.0).
    Enum64(Enum<u64>),
}

/// An integer type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int {
    /// Size in bytes.
    pub size: u32,
    /// `BTF_INT_SIGNED` 1, `BTF_INT_CHAR` 2, `BTF_INT_BOOL` 4, or 0.
    pub encoding: u8,
    /// First bit of the value in its storage; 0 in what compilers write today.
    pub bit_offset: u8,
    /// Bits of the value.
    pub bits: u8,
}

/// An array type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    /// The type of an element.
    pub element: TypeId,
    /// The type of the index; the kernel asks for an integer.
    pub index: TypeId,
    /// How many elements.
    pub count: u32,
}

/// A struct or a union.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composite {
    /// Size in bytes.
    pub size: u32,
    /// The members in the order of the section; the kernel wants ascending offsets.
    pub members: Vec<Member>,
}

/// A member of a struct or union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its name; anonymous members have none.
    pub name: StrId,
    /// Its type.
    pub ty: TypeId,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Width in bits of a bitfield, 0 for a whole member.
    pub bitfield_size: u8,
}

/// An enumeration whose values have type `V`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enum<V> {
    /// Size in bytes of a value of this type.
    pub size: u32,
    /// Whether the values are signed.
    pub signedness: Signedness,
    /// Names and values.
    pub values: Vec<EnumValue<V>>,
}

/// Whether the values of an enumeration are signed (the `kind_flag` bit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signedness {
    /// No negative values.
    Unsigned,
    /// Two's complement.
    Signed,
}

/// A name and its value in an enumeration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnumValue<V> {
    /// The name.
    pub name: StrId,
    /// The value.
    pub value: V,
}

/// What a forward declaration declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FwdKind {
    /// A struct.
    Struct,
    /// A union.
    Union,
}

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Func {
    /// Its [`Kind::FuncProto`].
    pub proto: TypeId,
    /// Who may call it, and how the verifier checks it.
    pub linkage: Linkage,
}

/// `BTF_FUNC_*` and `BTF_VAR_*`, which share their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// 0: of this object. The verifier checks a static function anew at each call.
    Static,
    /// 1: visible by name. The verifier checks a global function once, alone, for any argument.
    Global,
    /// 2: defined elsewhere: in the kernel, or by libbpf (`.kconfig`, `.ksyms`).
    Extern,
}

/// What a function takes and returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FuncProto {
    /// What it returns.
    pub returns: TypeId,
    /// What it takes. A last parameter without name and type stands for `...`.
    pub params: Vec<Param>,
}

/// A parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Its name, which may be empty.
    pub name: StrId,
    /// Its type.
    pub ty: TypeId,
}

/// A global variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Var {
    /// Its type.
    pub ty: TypeId,
    /// Who can see it.
    pub linkage: Linkage,
}

/// The variables of one ELF section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datasec {
    /// Size in bytes of the section. Compilers leave it 0 for the linker or loader to fill in.
    pub size: u32,
    /// The variables; the kernel wants ascending offsets.
    pub vars: Vec<VarSecinfo>,
}

/// A variable's place in its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VarSecinfo {
    /// The [`Kind::Var`] (or, in `.ksyms`, the [`Kind::Func`]).
    pub ty: TypeId,
    /// Bytes from the start of the section; in a compiler's object a relocation says it.
    pub offset: u32,
    /// Bytes the variable takes.
    pub size: u32,
}

/// A tag on a declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclTag {
    /// The struct, function, variable or typedef that is tagged.
    pub ty: TypeId,
    /// Which member or parameter is meant; -1 for the whole.
    pub component: i32,
    /// Whether the tag is an attribute to print (kernel 6.15).
    pub form: TagForm,
}

/// A tag on a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeTag {
    /// The type that is tagged.
    pub ty: TypeId,
    /// Whether the tag is an attribute to print (kernel 6.15).
    pub form: TagForm,
}

/// What a tag's text means (the `kind_flag` bit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagForm {
    /// The text of `btf_decl_tag("…")` or `btf_type_tag("…")`.
    Tag,
    /// Any other attribute, verbatim.
    Attribute,
}

impl Btf {
    /// An empty section: no type, and the empty string.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a .BTF section.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        parse::parse(bytes)
    }

    /// The bytes of the .BTF section.
    pub fn encode(&self) -> Vec<u8> {
        encode::encode(self)
    }

    /// How many types there are, `void` not counted.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// True when there is no type.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// The type with this number; `None` for `void` and for numbers past the end.
    pub fn get(&self, id: TypeId) -> Option<&Type> {
        self.types.get((id.0 as usize).checked_sub(1)?)
    }

    /// All types with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (1u32..).map(TypeId).zip(&self.types)
    }

    /// The text of a name; the empty string where it has none.
    pub fn name(&self, name: StrId) -> &str {
        self.strings.get(name)
    }

    /// The name of a type; the empty string for `void`.
    pub fn type_name(&self, id: TypeId) -> &str {
        self.get(id).map_or("", |ty| self.name(ty.name))
    }

    /// Adds a type at the end and says its number. Its type ids and names must be of this `Btf`.
    pub fn push(&mut self, ty: Type) -> TypeId {
        self.types.push(ty);
        // A section larger than 4 GiB cannot be parsed or encoded, so the count fits.
        TypeId(self.types.len() as u32)
    }

    /// Adds a type by name and kind.
    pub fn add(&mut self, name: &str, kind: Kind) -> TypeId {
        let name = self.strings.intern(name);
        self.push(Type { name, kind })
    }

    /// Replaces a type. Ids past the end are left alone.
    pub fn set(&mut self, id: TypeId, ty: Type) {
        if let Some(slot) = (id.0 as usize)
            .checked_sub(1)
            .and_then(|index| self.types.get_mut(index))
        {
            *slot = ty;
        }
    }
}
