//! Types as declarations that a compiler takes: C or Rust.
//!
//! ```text
//!   names    an identifier for each type, so that no two that must differ are the same
//!   order    what must be declared before what
//!   layout   the padding that puts each member where BTF says it is
//!   c, rust  the text
//! ```
//!
//! A hostile section can nest nameless types so that their text grows without bound: [`Budget`] ends that.

mod c;
mod layout;
mod names;
mod order;
mod rust;

use std::cell::Cell;

use serde::Serialize;
use xdplb_linker::btf::{Btf, Kind, TypeId};

use names::Names;

/// Types that a declaration with all its parts shows.
const MAX_PARTS: usize = 64;
/// Levels of pointers, arrays, qualifiers and nameless types that are followed.
const MAX_DEPTH: usize = 32;

/// The language of declarations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// C, with clang's extensions.
    C,
    /// Rust.
    Rust,
}

/// One declaration.
#[derive(Clone, Debug, Serialize)]
pub struct Declaration {
    /// The type's number.
    pub id: u32,
    /// `struct`, `union`, `enum`, `typedef`, `int`, `float`, `forward`, `function`, `variable`, `section`, `tag`.
    pub kind: &'static str,
    /// Its name in the object.
    pub name: String,
    /// Its size in bytes, where it has one.
    pub size: Option<u64>,
    /// The text.
    pub text: String,
}

/// How much text may still be made.
struct Budget {
    bytes: Cell<usize>,
}

impl Budget {
    /// Enough for any compiler's object: its types take some bytes each.
    fn of(btf: &Btf) -> Self {
        let bytes = btf.len().saturating_mul(1024).saturating_add(1 << 20);
        Budget {
            bytes: Cell::new(bytes.min(64 << 20)),
        }
    }

    /// Whether there is some left; takes it.
    fn take(&self, bytes: usize) -> bool {
        let left = self.bytes.get();
        self.bytes.set(left.saturating_sub(bytes));
        left >= bytes
    }
}

/// All declarations of an object, in an order that compiles.
pub fn declare_all(btf: &Btf, language: Language) -> Vec<Declaration> {
    let names = Names::unique(btf, language);
    let order = order::all(btf, language);
    declare(btf, language, &names, &order)
}

/// A type and what it is made of: what is needed to read it.
pub(super) fn declare_with_parts(btf: &Btf, ty: TypeId, language: Language) -> String {
    let names = Names::plain(btf, language);
    let order = order::of(btf, ty, language, MAX_PARTS);
    let mut texts: Vec<String> = declare(btf, language, &names, &order)
        .into_iter()
        .map(|declaration| declaration.text)
        .collect();
    if order.len() >= MAX_PARTS {
        texts.push("/* and more: `--section .BTF` shows all */".into());
    }
    texts.join("\n")
}

fn declare(btf: &Btf, language: Language, names: &Names<'_>, order: &[TypeId]) -> Vec<Declaration> {
    match language {
        Language::C => c::Writer::new(btf, names).all(order),
        Language::Rust => rust::Writer::new(btf, names).all(order),
    }
}

/// A variable or member in C, without a semicolon: `int (*type)[1]`.
pub(super) fn declare_as(btf: &Btf, ty: TypeId, name: &str) -> String {
    let names = Names::plain(btf, Language::C);
    c::Writer::new(btf, &names).declarator(ty, &names::identifier(name, Language::C))
}

/// A function in C, without a semicolon; `None` if the type is none.
pub(super) fn declare_function(btf: &Btf, ty: TypeId) -> Option<String> {
    let Some(Kind::Func(func)) = btf.get(ty).map(|ty| &ty.kind) else {
        return None;
    };
    Some(declare_as(btf, func.proto, btf.type_name(ty)))
}

/// A type's name in C: `struct backend`, `unsigned char [6]`.
pub(super) fn title(btf: &Btf, ty: TypeId) -> String {
    if let Some(Kind::Datasec(_)) = btf.get(ty).map(|ty| &ty.kind) {
        return format!("section {}", btf.type_name(ty));
    }
    let names = Names::plain(btf, Language::C);
    c::Writer::new(btf, &names).short(ty)
}

/// A kind in one word.
fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Int(_) => "int",
        Kind::Float { .. } => "float",
        Kind::Struct(_) => "struct",
        Kind::Union(_) => "union",
        Kind::Enum(_) | Kind::Enum64(_) => "enum",
        Kind::Fwd(_) => "forward",
        Kind::Typedef(_) => "typedef",
        Kind::Func(_) => "function",
        Kind::Var(_) => "variable",
        Kind::Datasec(_) => "section",
        Kind::DeclTag(_) => "tag",
        Kind::Ptr(_)
        | Kind::Array(_)
        | Kind::Volatile(_)
        | Kind::Const(_)
        | Kind::Restrict(_)
        | Kind::FuncProto(_)
        | Kind::TypeTag(_) => "part",
    }
}

/// A kind in one word, those too that are only parts of others.
pub(super) fn kind_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Ptr(_) => "pointer",
        Kind::Array(_) => "array",
        Kind::Volatile(_) => "volatile",
        Kind::Const(_) => "const",
        Kind::Restrict(_) => "restrict",
        Kind::FuncProto(_) => "prototype",
        Kind::TypeTag(_) => "type tag",
        other => word(other),
    }
}
