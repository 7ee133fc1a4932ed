//! Declarations in C.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use xdplb_linker::btf::{
    Btf, Composite, FuncProto, FwdKind, Int, Kind, Linkage, Signedness, Type, TypeId,
};

use super::layout::{Item, Layout, Layouts};
use super::names::Names;
use super::order::places;
use super::{Budget, Declaration, Language, MAX_DEPTH, word};

const SIGNED: u8 = 1;
const BOOL: u8 = 4;

/// Writes declarations.
pub(super) struct Writer<'a> {
    btf: &'a Btf,
    names: &'a Names<'a>,
    layouts: Layouts<'a>,
    budget: Budget,
    /// Structs and unions that the text at hand names.
    mentioned: RefCell<Vec<TypeId>>,
    /// How much padding the declaration at hand has: nameless structs share one space of names with what they are in.
    pads: Cell<usize>,
}

/// The name that C itself has for an integer, if it is one of C's.
pub(super) fn standard<'a>(btf: &'a Btf, ty: &Type, int: &Int) -> Option<&'a str> {
    let name = btf.name(ty.name);
    let size = match name {
        "char" | "signed char" | "unsigned char" => 1,
        "short" | "short int" | "unsigned short" | "short unsigned int" => 2,
        "int" | "unsigned int" => 4,
        "long"
        | "long int"
        | "unsigned long"
        | "long unsigned int"
        | "long long"
        | "long long int"
        | "unsigned long long"
        | "long long unsigned int" => 8,
        "__int128" | "unsigned __int128" | "__int128 unsigned" => 16,
        "_Bool" | "bool" if int.encoding & BOOL != 0 => 1,
        _ => return None,
    };
    (int.size == size).then_some(if name == "bool" { "_Bool" } else { name })
}

impl<'a> Writer<'a> {
    pub(super) fn new(btf: &'a Btf, names: &'a Names<'a>) -> Self {
        Writer {
            btf,
            names,
            layouts: Layouts::new(btf, Language::C),
            budget: Budget::of(btf),
            mentioned: RefCell::new(Vec::new()),
            pads: Cell::new(0),
        }
    }

    /// These types, in this order; structs that are named before they are complete are declared first.
    pub(super) fn all(&self, order: &[TypeId]) -> Vec<Declaration> {
        let places = places(self.btf, order);
        let mut declared: HashSet<TypeId> = HashSet::new();
        let mut forward: HashSet<String> = HashSet::new();
        let mut found = Vec::with_capacity(order.len());
        for &id in order {
            let Some(ty) = self.btf.get(id) else { continue };
            self.mentioned.borrow_mut().clear();
            self.pads.set(0);
            let text = self.declaration(id, ty, &places);
            let mentioned = self.mentioned.take();
            for other in mentioned {
                if other == id || declared.contains(&other) {
                    continue;
                }
                let text = format!("{};", self.tag(other));
                if forward.insert(text.clone()) {
                    found.push(self.named(other, "forward", text));
                }
            }
            declared.insert(id);
            if matches!(ty.kind, Kind::Fwd(_)) && !forward.insert(text.clone()) {
                continue;
            }
            if !self.budget.take(text.len()) {
                found.push(self.named(id, word(&ty.kind), "/* too much text */".into()));
                break;
            }
            found.push(self.named(id, word(&ty.kind), text));
        }
        found
    }

    fn named(&self, id: TypeId, kind: &'static str, text: String) -> Declaration {
        Declaration {
            id: id.0,
            kind,
            name: self.btf.type_name(id).to_string(),
            size: self.btf.size_of(id),
            text,
        }
    }

    fn declaration(
        &self,
        id: TypeId,
        ty: &Type,
        places: &HashMap<TypeId, (TypeId, u32, u32)>,
    ) -> String {
        match &ty.kind {
            Kind::Struct(_) | Kind::Union(_) => format!("{};", self.composite(id, ty, 0)),
            Kind::Enum(_) | Kind::Enum64(_) => format!("{};", self.enumeration(id, ty)),
            Kind::Fwd(_) => format!("{};", self.tag(id)),
            Kind::Int(int) => self.integer(id, int),
            Kind::Typedef(target) => {
                format!("typedef {};", self.declarator(*target, &self.names.of(id)))
            }
            Kind::Func(func) => {
                let (before, after) = match func.linkage {
                    Linkage::Static => ("", " /* static */"),
                    Linkage::Global => ("", ""),
                    Linkage::Extern => ("extern ", " /* the kernel's */"),
                };
                let text = self.declarator(func.proto, &self.names.of(id));
                format!("{before}{text};{after}")
            }
            Kind::Var(var) => {
                let place = match places.get(&id) {
                    Some((section, offset, size)) => format!(
                        " /* {} + {offset}, {size} bytes */",
                        comment(self.btf.type_name(*section))
                    ),
                    None => String::new(),
                };
                format!(
                    "extern {};{place}",
                    self.declarator(var.ty, &self.names.of(id))
                )
            }
            Kind::Datasec(section) => {
                let vars = section.vars.len();
                let plural = if vars == 1 { "" } else { "s" };
                format!(
                    "/* section {}: {vars} variable{plural}, {} bytes */",
                    comment(self.btf.name(ty.name)),
                    section.size
                )
            }
            Kind::DeclTag(tag) => {
                let what = match tag.component {
                    ..0 => String::new(),
                    index => format!("number {index} of "),
                };
                format!(
                    "/* tag \"{}\" on {what}{} */",
                    comment(self.btf.name(ty.name)),
                    comment(self.btf.type_name(tag.ty))
                )
            }
            _ => String::new(),
        }
    }

    /// `struct x`, noted as mentioned.
    fn tag(&self, id: TypeId) -> String {
        let word = match self.btf.get(id).map(|ty| &ty.kind) {
            Some(Kind::Union(_) | Kind::Fwd(FwdKind::Union)) => "union",
            Some(Kind::Enum(_) | Kind::Enum64(_)) => "enum",
            _ => "struct",
        };
        if word != "enum" {
            self.mentioned.borrow_mut().push(id);
        }
        format!("{word} {}", self.names.of(id))
    }

    fn integer(&self, id: TypeId, int: &Int) -> String {
        let name = self.names.of(id);
        let signed = int.encoding & SIGNED != 0;
        let is = match (int.size, signed) {
            (1, _) if int.encoding & BOOL != 0 => "_Bool",
            (1, true) => "signed char",
            (1, false) => "unsigned char",
            (2, true) => "short",
            (2, false) => "unsigned short",
            (4, true) => "int",
            (4, false) => "unsigned int",
            (8, true) => "long long",
            (8, false) => "unsigned long long",
            (16, true) => "__int128",
            (16, false) => "unsigned __int128",
            (size, _) => {
                return format!("typedef struct {{ unsigned char bytes[{size}]; }} {name};");
            }
        };
        format!("typedef {is} {name};")
    }

    fn enumeration(&self, id: TypeId, ty: &Type) -> String {
        let (size, signedness, wide, values): (u32, Signedness, bool, Vec<(&str, String)>) =
            match &ty.kind {
                Kind::Enum(e) => {
                    let values = e.values.iter().map(|value| {
                        let number = match e.signedness {
                            Signedness::Signed => value.value.to_string(),
                            Signedness::Unsigned => (value.value as u32).to_string(),
                        };
                        (self.btf.name(value.name), number)
                    });
                    (e.size, e.signedness, e.size != 4, values.collect())
                }
                Kind::Enum64(e) => {
                    let values = e.values.iter().map(|value| {
                        let number = match e.signedness {
                            // The smallest number has no literal of its own.
                            Signedness::Signed if value.value as i64 == i64::MIN => {
                                "(-9223372036854775807LL - 1)".to_string()
                            }
                            Signedness::Signed => format!("{}LL", value.value as i64),
                            Signedness::Unsigned => format!("{}ULL", value.value),
                        };
                        (self.btf.name(value.name), number)
                    });
                    (e.size, e.signedness, true, values.collect())
                }
                _ => return String::new(),
            };
        let signed = signedness == Signedness::Signed;
        let base = match (wide, size, signed) {
            (false, _, _) => "",
            (true, 1, true) => " : signed char",
            (true, 1, false) => " : unsigned char",
            (true, 2, true) => " : short",
            (true, 2, false) => " : unsigned short",
            (true, 4, true) => " : int",
            (true, 4, false) => " : unsigned int",
            (true, _, true) => " : long long",
            (true, _, false) => " : unsigned long long",
        };
        let mut text = format!("enum {}{base}", self.names.of(id));
        if values.is_empty() {
            // C has no enumeration without values.
            text += &format!(" {{ {}_has_no_values }}", self.names.of(id));
            return text;
        }
        text += " {\n";
        for (index, (name, number)) in values.into_iter().enumerate() {
            let line = format!("\t{} = {number},\n", self.names.value(id, index, name));
            if !self.budget.take(line.len()) {
                return "/* too much text */".into();
            }
            text += &line;
        }
        text + "}"
    }

    /// A struct or union with its members, as deep as `depth` tabs in.
    fn composite(&self, id: TypeId, ty: &Type, depth: usize) -> String {
        let (word, composite, layout) = match &ty.kind {
            Kind::Struct(c) => ("struct", c, self.layouts.of_struct(c)),
            Kind::Union(c) => ("union", c, self.layouts.of_union(c)),
            _ => return String::new(),
        };
        let name = match self.btf.name(ty.name) {
            "" => String::new(),
            _ => format!(" {}", self.names.of(id)),
        };
        let packed = if layout.packed {
            " __attribute__((packed))"
        } else {
            ""
        };
        if layout.items.is_empty() {
            return format!("{word}{name} {{}}{packed}");
        }
        let mut text = format!("{word}{name} {{\n");
        if !self.budget.take(text.len()) {
            return format!("{word}{name} {{ /* too much text */ }}");
        }
        self.items(composite, &layout, depth + 1, &mut text);
        text.push_str(&"\t".repeat(depth));
        text + "}" + packed
    }

    fn items(&self, composite: &Composite, layout: &Layout, depth: usize, text: &mut String) {
        let indent = "\t".repeat(depth);
        for item in &layout.items {
            let line = match *item {
                Item::Pad(bytes) => {
                    self.pads.set(self.pads.get() + 1);
                    format!("unsigned char pad_{}[{bytes}];", self.pads.get())
                }
                Item::PadBits(bits) => format!("unsigned char : {bits};"),
                Item::Overlap(index) => match composite.members.get(index) {
                    Some(member) => format!(
                        "/* at bit {}, over another: {} */",
                        member.bit_offset,
                        comment(self.btf.name(member.name))
                    ),
                    None => continue,
                },
                Item::Bits { .. } => continue,
                Item::Member(index) => {
                    let Some(member) = composite.members.get(index) else {
                        continue;
                    };
                    self.member(member, depth)
                }
            };
            if !self.budget.take(line.len()) {
                text.push_str(&format!("{indent}/* too much text */\n"));
                return;
            }
            text.push_str(&format!("{indent}{line}\n"));
        }
    }

    fn member(&self, member: &xdplb_linker::btf::Member, depth: usize) -> String {
        let name = match self.btf.name(member.name) {
            "" => String::new(),
            name => super::names::identifier(name, Language::C),
        };
        if self.btf.resolve(member.ty).is_none() {
            return format!("/* {}: of no type */", comment(&name));
        }
        let text = self.declarator_at(member.ty, name, depth, 0);
        match member.bitfield_size {
            0 => format!("{text};"),
            bits => format!("{text} : {bits};"),
        }
    }

    /// The type's name alone.
    pub(super) fn short(&self, ty: TypeId) -> String {
        let names_itself = |id| match self
            .btf
            .get(id)
            .map(|ty| (&ty.kind, self.btf.name(ty.name)))
        {
            Some((Kind::Struct(_), "")) => Some("struct { … }"),
            Some((Kind::Union(_), "")) => Some("union { … }"),
            _ => None,
        };
        match names_itself(ty) {
            Some(text) => text.into(),
            None => self.declarator(ty, "").trim_end().to_string(),
        }
    }

    /// A declaration of `name` with this type, without a semicolon.
    pub(super) fn declarator(&self, ty: TypeId, name: &str) -> String {
        self.declarator_at(ty, name.to_string(), 0, 0)
    }

    /// Inside out: what stands around the name grows until the type has a name of its own. `depth` is how far in the text
    /// stands, `level` how deep in prototypes.
    fn declarator_at(&self, mut id: TypeId, name: String, depth: usize, level: usize) -> String {
        let mut inner = name;
        let mut qualifiers = String::new();
        for _ in 0..MAX_DEPTH {
            let Some(ty) = self.btf.get(id) else {
                return joined(&qualifiers, "void", &inner);
            };
            match &ty.kind {
                Kind::Const(next) => (qualifiers, id) = (format!("const {qualifiers}"), *next),
                Kind::Volatile(next) => {
                    (qualifiers, id) = (format!("volatile {qualifiers}"), *next)
                }
                Kind::Restrict(next) => {
                    (qualifiers, id) = (format!("__restrict {qualifiers}"), *next);
                }
                Kind::TypeTag(tag) => {
                    let text = self.btf.name(ty.name).replace(['"', '\\', '\n'], "_");
                    qualifiers = match tag.form {
                        xdplb_linker::btf::TagForm::Tag => {
                            format!("__attribute__((btf_type_tag(\"{text}\"))) {qualifiers}")
                        }
                        xdplb_linker::btf::TagForm::Attribute => {
                            format!("/* {} */ {qualifiers}", comment(&text))
                        }
                    };
                    id = tag.ty;
                }
                Kind::Ptr(next) => {
                    let space = if qualifiers.is_empty() || inner.is_empty() {
                        ""
                    } else {
                        " "
                    };
                    inner = format!("*{}{space}{inner}", qualifiers.trim_end());
                    qualifiers.clear();
                    id = *next;
                }
                Kind::Array(array) => {
                    if inner.starts_with('*') {
                        inner = format!("({inner})");
                    }
                    inner = format!("{inner}[{}]", array.count);
                    id = array.element;
                }
                Kind::FuncProto(proto) => {
                    if inner.starts_with('*') {
                        inner = format!("({inner})");
                    }
                    inner = format!("{inner}({})", self.params(proto, level));
                    qualifiers.clear();
                    id = proto.returns;
                }
                Kind::Struct(_) | Kind::Union(_) if self.btf.name(ty.name).is_empty() => {
                    let levels = depth + level;
                    let text = if levels > MAX_DEPTH / 2 {
                        "struct { /* too deep */ }".into()
                    } else {
                        self.composite(id, ty, depth)
                    };
                    return joined(&qualifiers, &text, &inner);
                }
                Kind::Struct(_)
                | Kind::Union(_)
                | Kind::Fwd(_)
                | Kind::Enum(_)
                | Kind::Enum64(_) => {
                    return joined(&qualifiers, &self.tag(id), &inner);
                }
                Kind::Int(int) => {
                    let name = standard(self.btf, ty, int)
                        .map_or_else(|| self.names.of(id), str::to_string);
                    return joined(&qualifiers, &name, &inner);
                }
                Kind::Float { size } => {
                    let name = match size {
                        4 => "float",
                        8 => "double",
                        2 => "_Float16",
                        _ => "long double",
                    };
                    return joined(&qualifiers, name, &inner);
                }
                Kind::Typedef(_) => return joined(&qualifiers, &self.names.of(id), &inner),
                Kind::Func(_) | Kind::Var(_) | Kind::Datasec(_) | Kind::DeclTag(_) => {
                    return joined(&qualifiers, "void", &inner);
                }
            }
        }
        joined(&qualifiers, "void", &format!("{inner} /* too deep */"))
    }

    fn params(&self, proto: &FuncProto, level: usize) -> String {
        if level >= 4 {
            return "/* too deep */".into();
        }
        if proto.params.is_empty() {
            return "void".into();
        }
        let params = proto.params.iter().map(|param| {
            if param.ty == TypeId::VOID {
                return "...".to_string();
            }
            let name = match self.btf.name(param.name) {
                "" => String::new(),
                name => super::names::identifier(name, Language::C),
            };
            self.declarator_at(param.ty, name, 0, level + 1)
        });
        params.collect::<Vec<_>>().join(", ")
    }
}

fn joined(qualifiers: &str, base: &str, inner: &str) -> String {
    match inner {
        "" => format!("{qualifiers}{base}"),
        // `u8 [6]` is how C writes an array's type without a name.
        inner => format!("{qualifiers}{base} {inner}"),
    }
}

/// Text that cannot end a comment.
fn comment(text: &str) -> String {
    text.replace("*/", "* /").replace(['\n', '\r'], " ")
}
