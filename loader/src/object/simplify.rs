//! The object's types for a kernel that doesn't take them as they are: repaired, where no kernel would; with kinds replaced
//! that this one doesn't know. Numbers stay, so that whoever refers to a type still does.

use std::collections::BTreeMap;

use xdplb_linker::btf::{
    Btf, Composite, Enum, FuncProto, Int, Kind, Linkage, Member, Signedness, StrId, TagForm, Type,
    TypeId, repair,
};

/// Which kinds of types a kernel knows: plain data here; whoever has the kernel asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BtfKinds {
    /// `BTF_KIND_FUNC` and `FUNC_PROTO` (5.0).
    pub func: Known,
    /// Functions with a linkage (5.6).
    pub func_global: Known,
    /// `BTF_KIND_VAR` and `DATASEC` (5.2).
    pub datasec: Known,
    /// `BTF_KIND_FLOAT` (5.13).
    pub float: Known,
    /// `BTF_KIND_DECL_TAG` (5.16).
    pub decl_tag: Known,
    /// `BTF_KIND_TYPE_TAG` (5.17).
    pub type_tag: Known,
    /// `BTF_KIND_ENUM64` (6.0).
    pub enum64: Known,
    /// Tags that are attributes, marked by `kind_flag` (6.15).
    pub attributes: Known,
    /// Section names with any printable character, such as `?maps` (6.11).
    pub section_names: Known,
}

impl BtfKinds {
    /// What a kernel of today knows.
    pub const ALL: Self = BtfKinds {
        func: Known::Yes,
        func_global: Known::Yes,
        datasec: Known::Yes,
        float: Known::Yes,
        decl_tag: Known::Yes,
        type_tag: Known::Yes,
        enum64: Known::Yes,
        attributes: Known::Yes,
        section_names: Known::Yes,
    };
}

/// Whether the kernel knows a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It does.
    Yes,
    /// It does not.
    No,
}

impl From<bool> for Known {
    fn from(known: bool) -> Self {
        if known { Known::Yes } else { Known::No }
    }
}

/// The types as a kernel that knows these kinds takes them, and what was done, in words. Nothing done: nothing to say.
pub fn simplify(btf: &Btf, kinds: &BtfKinds) -> (Btf, Vec<String>) {
    let mut done = Done::default();
    let mut simple = repaired(btf, &mut done);
    sections(&mut simple, kinds, &mut done);
    replace(&mut simple, kinds, &mut done);
    (simple, done.in_words())
}

/// What was done: how often, and to which type first.
#[derive(Default)]
struct Done(BTreeMap<&'static str, (usize, String)>);

impl Done {
    fn note(&mut self, what: &'static str, example: impl FnOnce() -> String) {
        self.0.entry(what).or_insert_with(|| (0, example())).0 += 1;
    }

    fn in_words(self) -> Vec<String> {
        self.0
            .into_iter()
            .map(
                |(what, (count, example))| match (count, example.is_empty()) {
                    (1, true) => what.to_string(),
                    (1, false) => format!("{what} ({example})"),
                    (_, true) => format!("{what}: {count} types"),
                    (_, false) => format!("{what}: {count} types (first {example})"),
                },
            )
            .collect()
    }
}

/// What LLVM makes of Rust's debug info and no kernel takes: names such as `Option<&T>`, members that don't ascend, types
/// without a size. Our linker repairs its output; objects of other linkers are repaired here.
fn repaired(btf: &Btf, done: &mut Done) -> Btf {
    let repaired = repair(btf.clone());
    for (id, old) in btf.iter() {
        let Some(new) = repaired.get(id) else {
            continue;
        };
        let (before, after) = (btf.name(old.name), repaired.name(new.name));
        if before != after {
            done.note("name with characters that the kernel refuses", || {
                format!("`{before}` is `{after}`")
            });
        }
        if old.kind != new.kind {
            // Members and parameters have names too; what else changed is the layout.
            let mut texts = (Vec::new(), Vec::new());
            old.visit_names(|name| texts.0.push(btf.name(name).to_string()));
            new.visit_names(|name| texts.1.push(repaired.name(name).to_string()));
            // Its own name is among them.
            texts.0.retain(|text| text != before);
            texts.1.retain(|text| text != after);
            texts.0.sort();
            texts.1.sort();
            let what = if texts.0.len() == texts.1.len() && texts.0 != texts.1 {
                "member name that the kernel refuses"
            } else {
                "layout that no C compiler writes"
            };
            done.note(what, || format!("`{after}`"));
        }
    }
    repaired
}

/// Sections and their variables: no kernel takes an empty section, a variable that is not there (linkage extern), or one
/// smaller or larger in the section than its type (`btf_datasec_check_meta`, `btf_datasec_resolve`).
fn sections(btf: &mut Btf, kinds: &BtfKinds, done: &mut Done) {
    let mut changed = Vec::new();
    for (id, ty) in btf.iter() {
        let new = match &ty.kind {
            Kind::Var(var) if var.linkage == Linkage::Extern => {
                done.note("external VAR as a global one", || named(btf, id));
                let mut var = *var;
                var.linkage = Linkage::Global;
                Some(Kind::Var(var))
            }
            Kind::Func(func) if func.linkage == Linkage::Extern => {
                done.note("external FUNC as a static one", || named(btf, id));
                let mut func = *func;
                func.linkage = Linkage::Static;
                Some(Kind::Func(func))
            }
            Kind::Datasec(section) => {
                let mut fitting = section.clone();
                let mut end = 0;
                fitting.vars.retain_mut(|var| {
                    let is_var = matches!(btf.get(var.ty).map(|ty| &ty.kind), Some(Kind::Var(_)));
                    let size = btf
                        .size_of(var.ty)
                        .and_then(|size| u32::try_from(size).ok())
                        .unwrap_or(0);
                    var.size = var.size.max(size);
                    let past = var.offset.checked_add(var.size);
                    let fits = past.is_some_and(|past| past <= section.size) && var.offset >= end;
                    let keep = is_var && var.size > 0 && fits;
                    if keep {
                        end = past.unwrap_or(end);
                    }
                    keep
                });
                if section.size == 0 {
                    done.note("empty DATASEC as an empty STRUCT", || named(btf, id));
                    Some(Kind::Struct(Composite {
                        size: 0,
                        members: Vec::new(),
                    }))
                } else if fitting != *section {
                    done.note("variables of a DATASEC that don't fit into it", || {
                        named(btf, id)
                    });
                    Some(Kind::Datasec(fitting))
                } else {
                    None
                }
            }
            _ => None,
        };
        let renamed = match &ty.kind {
            Kind::Datasec(_) if kinds.section_names == Known::No => {
                let name = btf.name(ty.name);
                let plain = name.replace(
                    |c: char| !(c.is_ascii_alphanumeric() || ['_', '.'].contains(&c)),
                    "_",
                );
                (plain != name).then_some(plain)
            }
            _ => None,
        };
        if new.is_some() || renamed.is_some() {
            changed.push((id, new, renamed));
        }
    }
    for (id, kind, name) in changed {
        let Some(mut ty) = btf.get(id).cloned() else {
            continue;
        };
        if let Some(name) = name {
            done.note("DATASEC name that the kernel knows from Linux 6.11", || {
                named(btf, id)
            });
            ty.name = btf.strings.intern(&name);
        }
        if let Some(kind) = kind {
            if let Kind::Struct(_) = kind {
                let clean = plain_name(btf.name(ty.name));
                ty.name = btf.strings.intern(&clean);
            }
            ty.kind = kind;
        }
        btf.set(id, ty);
    }
}

fn named(btf: &Btf, id: TypeId) -> String {
    format!("`{}`", btf.type_name(id))
}

/// A section's name has dots and more, which a struct's must not.
fn plain_name(name: &str) -> String {
    name.replace(|c: char| !(c.is_ascii_alphanumeric() || c == '_'), "_")
}

/// Replaces each type of an unknown kind by one of the same size that every kernel knows (the replacements are those of
/// libbpf's `bpf_object__sanitize_btf`).
fn replace(btf: &mut Btf, kinds: &BtfKinds, done: &mut Done) {
    // What enum64 values become members of.
    let byte = Kind::Int(Int {
        size: 1,
        encoding: 0,
        bit_offset: 0,
        bits: 8,
    });
    let mut member_type = None;
    let replacements: Vec<_> = btf
        .iter()
        .filter_map(|(id, ty)| Some((id, ty.clone(), replacement(btf, ty, kinds)?)))
        .collect();
    for (id, ty, (what, mut kind)) in replacements {
        done.note(what, String::new);
        if let (Kind::Enum64(_), Kind::Union(composite)) = (&ty.kind, &mut kind) {
            let member = *member_type.get_or_insert_with(|| btf.add("", byte.clone()));
            composite.members.iter_mut().for_each(|m| m.ty = member);
        }
        let name = match &kind {
            // The kernel wants modifiers to have no name (btf_ref_type_check_meta).
            Kind::Int(_) | Kind::Const(_) => StrId::EMPTY,
            Kind::Struct(_) => {
                let clean = plain_name(btf.name(ty.name));
                btf.strings.intern(&clean)
            }
            _ => ty.name,
        };
        btf.set(id, Type { name, kind });
    }
}

const ATTRIBUTE: &str = "attribute as a tag (the kernel knows it from Linux 6.15)";

fn replacement(btf: &Btf, ty: &Type, kinds: &BtfKinds) -> Option<(&'static str, Kind)> {
    let byte = || {
        Kind::Int(Int {
            size: 1,
            encoding: 0,
            bit_offset: 0,
            bits: 8,
        })
    };
    match &ty.kind {
        Kind::Var(_) if kinds.datasec == Known::No => {
            Some(("VAR as INT (the kernel knows it from Linux 5.2)", byte()))
        }
        Kind::Datasec(section) if kinds.datasec == Known::No => {
            let members = section
                .vars
                .iter()
                .map(|var| Member {
                    name: btf.get(var.ty).map_or(StrId::EMPTY, |ty| ty.name),
                    ty: var.ty,
                    bit_offset: var.offset.saturating_mul(8),
                    bitfield_size: 0,
                })
                .collect();
            Some((
                "DATASEC as STRUCT (the kernel knows it from Linux 5.2)",
                Kind::Struct(Composite {
                    size: section.size,
                    members,
                }),
            ))
        }
        Kind::FuncProto(FuncProto { .. }) if kinds.func == Known::No => Some((
            "FUNC_PROTO as ENUM (the kernel knows it from Linux 5.0)",
            Kind::Enum(Enum {
                size: 4,
                signedness: Signedness::Unsigned,
                values: Vec::new(),
            }),
        )),
        Kind::Func(func) if kinds.func == Known::No => Some((
            "FUNC as TYPEDEF (the kernel knows it from Linux 5.0)",
            Kind::Typedef(func.proto),
        )),
        Kind::Func(func) if kinds.func_global == Known::No && func.linkage == Linkage::Global => {
            let mut func = *func;
            func.linkage = Linkage::Static;
            Some((
                "global FUNC as a static one (the kernel knows it from Linux 5.6)",
                Kind::Func(func),
            ))
        }
        Kind::Float { size } if kinds.float == Known::No => Some((
            "FLOAT as STRUCT (the kernel knows it from Linux 5.13)",
            Kind::Struct(Composite {
                size: *size,
                members: Vec::new(),
            }),
        )),
        Kind::DeclTag(tag)
            if kinds.attributes == Known::No
                && kinds.decl_tag == Known::Yes
                && tag.form == TagForm::Attribute =>
        {
            let mut tag = *tag;
            tag.form = TagForm::Tag;
            Some((ATTRIBUTE, Kind::DeclTag(tag)))
        }
        Kind::TypeTag(tag)
            if kinds.attributes == Known::No
                && kinds.type_tag == Known::Yes
                && tag.form == TagForm::Attribute =>
        {
            let mut tag = *tag;
            tag.form = TagForm::Tag;
            Some((ATTRIBUTE, Kind::TypeTag(tag)))
        }
        Kind::DeclTag(_) if kinds.decl_tag == Known::No => Some((
            "DECL_TAG as INT (the kernel knows it from Linux 5.16)",
            byte(),
        )),
        Kind::TypeTag(tag) if kinds.type_tag == Known::No => Some((
            "TYPE_TAG as CONST (the kernel knows it from Linux 5.17)",
            Kind::Const(tag.ty),
        )),
        Kind::Enum64(e) if kinds.enum64 == Known::No => {
            let members = e
                .values
                .iter()
                .map(|value| Member {
                    name: value.name,
                    ty: TypeId::VOID,
                    bit_offset: 0,
                    bitfield_size: 0,
                })
                .collect();
            Some((
                "ENUM64 as UNION (the kernel knows it from Linux 6.0)",
                Kind::Union(Composite {
                    size: e.size,
                    members,
                }),
            ))
        }
        Kind::Int(_)
        | Kind::Ptr(_)
        | Kind::Array(_)
        | Kind::Struct(_)
        | Kind::Union(_)
        | Kind::Enum(_)
        | Kind::Fwd(_)
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
        | Kind::Enum64(_) => None,
    }
}

#[cfg(test)]
#[path = "simplify_tests.rs"]
mod tests;
