//! Types in the words of error messages.

use xdplb_linker::btf::{Btf, Kind, TypeId};

/// How deep a type is followed.
const MAX_DEPTH: usize = 32;
/// How many members or values an error lists.
const LISTED: usize = 12;

/// `a u32`, `an enum verdict`, `a char[16]`, with the name that the author gave the type.
pub(super) fn title(btf: &Btf, ty: TypeId) -> String {
    let name = name(btf, ty);
    let article = if name.starts_with(['a', 'e', 'i', 'o']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {name}")
}

fn name(btf: &Btf, mut ty: TypeId) -> String {
    let mut suffix = String::new();
    for _ in 0..MAX_DEPTH {
        let Some(found) = btf.get(ty) else { break };
        let named = |word: &str| match btf.name(found.name) {
            "" => format!("{word}{suffix}").trim().to_string(),
            name => format!("{word} {name}{suffix}").trim().to_string(),
        };
        match &found.kind {
            Kind::Const(next) | Kind::Volatile(next) | Kind::Restrict(next) => ty = *next,
            Kind::TypeTag(tag) => ty = tag.ty,
            Kind::Var(var) => ty = var.ty,
            Kind::Array(array) => {
                suffix = format!("{suffix}[{}]", array.count);
                ty = array.element;
            }
            Kind::Struct(_) => return named("struct"),
            Kind::Union(_) => return named("union"),
            Kind::Enum(_) | Kind::Enum64(_) => return named("enum"),
            Kind::Ptr(_) => return format!("pointer{suffix}"),
            Kind::Int(_) | Kind::Typedef(_) | Kind::Float { .. } => return named(""),
            Kind::Fwd(_)
            | Kind::Func(_)
            | Kind::FuncProto(_)
            | Kind::Datasec(_)
            | Kind::DeclTag(_) => break,
        }
    }
    "thing without a value".to_string()
}

pub(super) fn members(btf: &Btf, composite: &xdplb_linker::btf::Composite) -> String {
    let names: Vec<&str> = composite
        .members
        .iter()
        .map(|member| btf.name(member.name))
        .filter(|name| !name.is_empty())
        .collect();
    list(&names)
}

pub(super) fn list(names: &[&str]) -> String {
    match names.len() {
        0 => "of which there are none".to_string(),
        n if n <= LISTED => names.join(", "),
        n => format!("{} and {} more", names[..LISTED].join(", "), n - LISTED),
    }
}
