//! Whether two objects mean the same type by one name: a declaration and its definition, or two definitions.
//!
//! This is looser than being equal, as in C and in libbpf's linker (`glob_sym_btf_matches` in src/linker.c): names of
//! integers, typedefs, `const` and the like, and names of parameters do not matter; behind a pointer a struct is known
//! by its name, declared or defined. It is stricter for maps, whose definitions must be the same field by field.

use std::collections::{BTreeMap, HashSet};

use super::{Btf, Composite, FwdKind, Kind, Linkage, Type, TypeId, valid_name};

/// Pairs of types that are looked at before both are taken to agree: hostile types could make very many.
const MAX_PAIRS: usize = 100_000;
/// Characters of a path in an error.
const MAX_PATH: usize = 200;

/// How much two types must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Likeness {
    /// Whoever uses one may use the other.
    Use,
    /// The same, but what is behind pointers is only named.
    Shape,
    /// Two definitions of one map: members by name, and numbers that are written as lengths of arrays.
    Map,
}

/// Where two types differ, and what each has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The way to it, as ``parameter 2`` or ``member `key` ``; empty for the types themselves.
    pub path: String,
    /// What the first has there.
    pub one: String,
    /// What the second has there.
    pub two: String,
}

/// The first difference between two types.
pub fn difference(
    (one, one_id): (&Btf, TypeId),
    (two, two_id): (&Btf, TypeId),
    likeness: Likeness,
) -> Option<Difference> {
    let mut comparison = Comparison {
        one,
        two,
        met: HashSet::new(),
        todo: Vec::new(),
    };
    comparison.later(one_id, two_id, likeness, "", "");
    while let Some(pair) = comparison.todo.pop() {
        if comparison.met.len() > MAX_PAIRS {
            return None;
        }
        if let Err((mine, theirs)) = comparison.compare(&pair) {
            return Some(Difference {
                path: pair.path,
                one: mine,
                two: theirs,
            });
        }
    }
    None
}

struct Comparison<'a> {
    one: &'a Btf,
    two: &'a Btf,
    met: HashSet<(TypeId, TypeId, Likeness)>,
    todo: Vec<Pair>,
}

/// Two types that should agree.
struct Pair {
    one: TypeId,
    two: TypeId,
    likeness: Likeness,
    path: String,
}

/// Both sides of a difference, in words.
type Both = (String, String);

impl Comparison<'_> {
    fn later(&mut self, one: TypeId, two: TypeId, likeness: Likeness, path: &str, step: &str) {
        if self.met.insert((one, two, likeness)) {
            let path = match (path, step) {
                ("", only) | (only, "") => only.to_owned(),
                (path, _) if path.len() > MAX_PATH => path.to_owned(),
                (path, step) => format!("{path}, {step}"),
            };
            self.todo.push(Pair {
                one,
                two,
                likeness,
                path,
            });
        }
    }

    fn compare(&mut self, pair: &Pair) -> Result<(), Both> {
        let (one, two) = (self.one.resolve(pair.one), self.two.resolve(pair.two));
        let (Some((_, one)), Some((_, two))) = (one, two) else {
            return if one.is_none() == two.is_none() {
                Ok(()) // both are void
            } else {
                self.say(pair)
            };
        };
        let same = |same: bool| if same { Ok(()) } else { self.say(pair) };
        match (&one.kind, &two.kind) {
            (Kind::Int(one), Kind::Int(two)) => same(one.size == two.size),
            (Kind::Float { size: one }, Kind::Float { size: two }) => same(one == two),
            (Kind::Enum(_) | Kind::Enum64(_), Kind::Enum(_) | Kind::Enum64(_)) => same(
                self.one.size_of(pair.one) == self.two.size_of(pair.two)
                    && self.same_name(one, two),
            ),
            (Kind::Ptr(one), Kind::Ptr(two)) => {
                let likeness = match pair.likeness {
                    Likeness::Map => Likeness::Map,
                    Likeness::Use | Likeness::Shape => Likeness::Shape,
                };
                let step = match pair.likeness {
                    Likeness::Map => "",
                    Likeness::Use | Likeness::Shape => "what it points to",
                };
                self.later(*one, *two, likeness, &pair.path, step);
                Ok(())
            }
            (Kind::Array(one), Kind::Array(two)) => {
                if pair.likeness == Likeness::Map && one.count != two.count {
                    return Err((one.count.to_string(), two.count.to_string()));
                }
                self.later(one.element, two.element, pair.likeness, &pair.path, "");
                Ok(())
            }
            (Kind::Func(one), Kind::Func(two)) => {
                let is_static = |linkage| linkage == Linkage::Static;
                same(is_static(one.linkage) == is_static(two.linkage))?;
                self.later(one.proto, two.proto, pair.likeness, &pair.path, "");
                Ok(())
            }
            (Kind::Var(one), Kind::Var(two)) => {
                self.later(one.ty, two.ty, pair.likeness, &pair.path, "");
                Ok(())
            }
            (Kind::FuncProto(one), Kind::FuncProto(two)) => {
                if one.params.len() != two.params.len() {
                    let count = |count: usize| match count {
                        1 => "1 parameter".to_owned(),
                        more => format!("{more} parameters"),
                    };
                    return Err((count(one.params.len()), count(two.params.len())));
                }
                // What is pushed last is looked at first.
                self.later(
                    one.returns,
                    two.returns,
                    pair.likeness,
                    &pair.path,
                    "what it returns",
                );
                for (index, (one, two)) in one.params.iter().zip(&two.params).enumerate().rev() {
                    let step = format!("parameter {}", index + 1);
                    self.later(one.ty, two.ty, pair.likeness, &pair.path, &step);
                }
                Ok(())
            }
            (Kind::Fwd(_), _) | (_, Kind::Fwd(_)) => {
                same(keyword(one) == keyword(two) && self.same_name(one, two))
            }
            (Kind::Struct(mine), Kind::Struct(theirs))
            | (Kind::Union(mine), Kind::Union(theirs)) => {
                if pair.path.is_empty() && pair.likeness == Likeness::Map {
                    return self.fields(mine, theirs);
                }
                same(self.same_name(one, two))?;
                match pair.likeness {
                    Likeness::Shape => Ok(()),
                    Likeness::Map => same(mine.size == theirs.size),
                    Likeness::Use => self.members(pair, mine, theirs),
                }
            }
            _ => self.say(pair),
        }
    }

    fn say<T>(&self, pair: &Pair) -> Result<T, Both> {
        Err((in_words(self.one, pair.one), in_words(self.two, pair.two)))
    }

    fn same_name(&self, one: &Type, two: &Type) -> bool {
        valid_name(self.one.name(one.name)) == valid_name(self.two.name(two.name))
    }

    /// Members of two structs, one by one.
    fn members(&mut self, pair: &Pair, one: &Composite, two: &Composite) -> Result<(), Both> {
        let count = |of: &Composite| format!("{} members, {} bytes", of.members.len(), of.size);
        if (one.size, one.members.len()) != (two.size, two.members.len()) {
            return Err((count(one), count(two)));
        }
        for (mine, theirs) in one.members.iter().zip(&two.members) {
            let names = (self.one.name(mine.name), self.two.name(theirs.name));
            let place = |name: &str, at: u32| format!("member `{name}` at bit {at}");
            if names.0 != names.1 || mine.bit_offset != theirs.bit_offset {
                return Err((
                    place(names.0, mine.bit_offset),
                    place(names.1, theirs.bit_offset),
                ));
            }
            let step = format!("member `{}`", names.0);
            self.later(mine.ty, theirs.ty, pair.likeness, &pair.path, &step);
        }
        Ok(())
    }

    /// The fields of two map definitions, by name.
    fn fields(&mut self, one: &Composite, two: &Composite) -> Result<(), Both> {
        let by_name = |btf: &Btf, of: &Composite| -> BTreeMap<String, TypeId> {
            let members = of.members.iter();
            members
                .map(|member| (btf.name(member.name).to_owned(), member.ty))
                .collect()
        };
        let (mine, theirs) = (by_name(self.one, one), by_name(self.two, two));
        if let Some(name) = mine.keys().find(|name| !theirs.contains_key(*name)) {
            return Err((format!("field `{name}`"), "no such field".into()));
        }
        if let Some(name) = theirs.keys().find(|name| !mine.contains_key(*name)) {
            return Err(("no such field".into(), format!("field `{name}`")));
        }
        for ((name, one), two) in mine.iter().zip(theirs.values()).rev() {
            let step = format!("field `{name}`");
            self.later(*one, *two, Likeness::Map, "", &step);
        }
        Ok(())
    }
}

/// `struct`, `union`, or nothing.
fn keyword(ty: &Type) -> &'static str {
    match &ty.kind {
        Kind::Struct(_) | Kind::Fwd(FwdKind::Struct) => "struct",
        Kind::Union(_) | Kind::Fwd(FwdKind::Union) => "union",
        Kind::Int(_)
        | Kind::Ptr(_)
        | Kind::Array(_)
        | Kind::Enum(_)
        | Kind::Typedef(_)
        | Kind::Volatile(_)
        | Kind::Const(_)
        | Kind::Restrict(_)
        | Kind::Func(_)
        | Kind::FuncProto(_)
        | Kind::Var(_)
        | Kind::Datasec(_)
        | Kind::Float { .. }
        | Kind::DeclTag(_)
        | Kind::TypeTag(_)
        | Kind::Enum64(_) => "",
    }
}

/// A type as its author would say it, with its size where that may be the difference.
fn in_words(btf: &Btf, id: TypeId) -> String {
    let name = btf.type_name(id);
    let Some((_, ty)) = btf.resolve(id) else {
        return "void".into();
    };
    let named = |what: &str| match btf.name(ty.name) {
        "" => format!("a {what} without a name"),
        name => format!("`{what} {name}`"),
    };
    let sized = |what: String| match btf.size_of(id) {
        Some(1) => format!("{what} (1 byte)"),
        Some(size) => format!("{what} ({size} bytes)"),
        None => what,
    };
    match &ty.kind {
        Kind::Int(_) | Kind::Float { .. } => {
            let name = if name.is_empty() {
                btf.name(ty.name)
            } else {
                name
            };
            sized(format!("`{name}`"))
        }
        Kind::Ptr(_) => "a pointer".into(),
        Kind::Array(array) => format!("an array of {}", array.count),
        Kind::Struct(_) => sized(named("struct")),
        Kind::Union(_) => sized(named("union")),
        Kind::Enum(_) | Kind::Enum64(_) => sized(named("enum")),
        Kind::Fwd(FwdKind::Struct) => named("struct"),
        Kind::Fwd(FwdKind::Union) => named("union"),
        Kind::Func(_) | Kind::FuncProto(_) => "a function".into(),
        Kind::Var(_) => "a variable".into(),
        Kind::Typedef(_)
        | Kind::Volatile(_)
        | Kind::Const(_)
        | Kind::Restrict(_)
        | Kind::Datasec(_)
        | Kind::DeclTag(_)
        | Kind::TypeTag(_) => "another kind of type".into(),
    }
}
