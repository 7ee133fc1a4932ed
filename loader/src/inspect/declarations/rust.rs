//! Declarations in Rust, for the layout and calling convention of C.

use std::collections::{HashMap, HashSet};

use xdplb_linker::btf::{Btf, Composite, Int, Kind, Member, Signedness, Type, TypeId};

use super::layout::{Item, Layouts};
use super::names::{Names, identifier};
use super::order::places;
use super::{Budget, Declaration, Language, MAX_DEPTH, word};

const SIGNED: u8 = 1;
const BOOL: u8 = 4;
/// Names that are Rust's own: a typedef of that name is what it stands for.
const PRIMITIVES: [&str; 14] = [
    "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "bool",
    "char",
];

/// Writes declarations.
pub(super) struct Writer<'a> {
    btf: &'a Btf,
    names: &'a Names<'a>,
    layouts: Layouts<'a>,
    budget: Budget,
}

impl<'a> Writer<'a> {
    pub(super) fn new(btf: &'a Btf, names: &'a Names<'a>) -> Self {
        Writer {
            btf,
            names,
            layouts: Layouts::new(btf, Language::Rust),
            budget: Budget::of(btf),
        }
    }

    /// These types, in this order.
    pub(super) fn all(&self, order: &[TypeId]) -> Vec<Declaration> {
        let places = places(self.btf, order);
        let defined: HashSet<&str> = order
            .iter()
            .filter_map(|id| self.btf.get(*id))
            .filter(|ty| matches!(ty.kind, Kind::Struct(_) | Kind::Union(_)))
            .map(|ty| self.btf.name(ty.name))
            .collect();
        let mut forward: HashSet<&str> = HashSet::new();
        let mut found = Vec::with_capacity(order.len());
        for &id in order {
            let Some(ty) = self.btf.get(id) else { continue };
            let name = self.btf.name(ty.name);
            let text = match &ty.kind {
                Kind::Struct(_) | Kind::Union(_) => self.composite(id, ty),
                Kind::Enum(_) | Kind::Enum64(_) => self.enumeration(id, ty),
                Kind::Fwd(_) if defined.contains(name) || !forward.insert(name) => continue,
                Kind::Fwd(_) => format!(
                    "#[repr(C)]\n#[derive(Clone, Copy)]\npub struct {} {{\n    _opaque: [u8; 0],\n}}",
                    self.names.of(id)
                ),
                Kind::Typedef(_) if PRIMITIVES.contains(&name) => continue,
                Kind::Typedef(target) => {
                    format!("pub type {} = {};", self.names.of(id), self.ty(*target))
                }
                Kind::Func(func) => match self.btf.get(func.proto).map(|ty| &ty.kind) {
                    Some(Kind::FuncProto(_)) => format!(
                        "unsafe extern \"C\" {{\n    pub fn {}{};\n}}",
                        self.names.of(id),
                        self.signature(func.proto, Names::of(self.names, id).as_str())
                    ),
                    _ => continue,
                },
                Kind::Var(var) => {
                    let place = match places.get(&id) {
                        Some((section, offset, size)) => format!(
                            "    // {} + {offset}, {size} bytes\n",
                            line(self.btf.type_name(*section))
                        ),
                        None => String::new(),
                    };
                    format!(
                        "unsafe extern \"C\" {{\n{place}    pub static {}: {};\n}}",
                        self.names.of(id),
                        self.ty(var.ty)
                    )
                }
                Kind::Datasec(section) => format!(
                    "// section {}: variables: {}, {} bytes",
                    line(name),
                    section.vars.len(),
                    section.size
                ),
                Kind::DeclTag(tag) => {
                    format!(
                        "// tag {:?} on {}",
                        line(name),
                        line(self.btf.type_name(tag.ty))
                    )
                }
                _ => continue,
            };
            let declaration = |text| Declaration {
                id: id.0,
                kind: word(&ty.kind),
                name: name.to_string(),
                size: self.btf.size_of(id),
                text,
            };
            if !self.budget.take(text.len()) {
                found.push(declaration("// too much text".into()));
                break;
            }
            found.push(declaration(text));
        }
        found
    }

    fn composite(&self, id: TypeId, ty: &Type) -> String {
        let (word, composite, layout) = match &ty.kind {
            Kind::Struct(c) => ("struct", c, self.layouts.of_struct(c)),
            Kind::Union(c) => ("union", c, self.layouts.of_union(c)),
            _ => return String::new(),
        };
        let packed = if layout.packed { ", packed" } else { "" };
        let mut text = format!(
            "#[repr(C{packed})]\n#[derive(Clone, Copy)]\npub {word} {} {{\n",
            self.names.of(id)
        );
        if word == "union" && composite.members.is_empty() {
            // Rust has no union without fields.
            text += &format!("    pub _empty: [u8; {}],\n", composite.size);
            return text + "}";
        }
        let mut used = HashSet::new();
        for (number, item) in layout.items.iter().enumerate() {
            let line = match *item {
                Item::Pad(bytes) => format!("    pub _pad_{number}: [u8; {bytes}],\n"),
                // Bitfields are bytes here, so nothing else has a place within a byte.
                Item::PadBits(_) => continue,
                Item::Overlap(index) => match composite.members.get(index) {
                    Some(member) => format!(
                        "    // at bit {}, over another: {}\n",
                        member.bit_offset,
                        line(self.btf.name(member.name))
                    ),
                    None => continue,
                },
                Item::Bits {
                    first,
                    count,
                    bytes,
                } => self.bits(composite, first, count, bytes, number),
                Item::Member(index) => match composite.members.get(index) {
                    Some(member) => self.member(member, index, &mut used),
                    None => continue,
                },
            };
            if !self.budget.take(line.len()) {
                text += "    // too much text\n";
                break;
            }
            text += &line;
        }
        text + "}"
    }

    fn member(&self, member: &Member, index: usize, used: &mut HashSet<String>) -> String {
        let name = match self.btf.name(member.name) {
            "" => format!("anon_{index}"),
            // Rust calls the fields of a tuple `__0`, `__1`; some compilers just `0`.
            name => identifier(name, Language::Rust),
        };
        let name = match used.insert(name.clone()) {
            true => name,
            false => format!("{name}_{index}"),
        };
        if self.btf.resolve(member.ty).is_none() {
            return format!("    // {name}: of no type\n");
        }
        format!("    pub {name}: {},\n", self.ty(member.ty))
    }

    fn bits(
        &self,
        composite: &Composite,
        first: usize,
        count: usize,
        bytes: u64,
        number: usize,
    ) -> String {
        let mut text = String::new();
        for member in composite.members.iter().skip(first).take(count) {
            text += &format!(
                "    // bits {} to {}: {}\n",
                member.bit_offset,
                u64::from(member.bit_offset) + u64::from(member.bitfield_size),
                line(self.btf.name(member.name))
            );
        }
        text + &format!("    pub _bits_{number}: [u8; {bytes}],\n")
    }

    fn enumeration(&self, id: TypeId, ty: &Type) -> String {
        let (size, signed, values): (u32, bool, Vec<(&str, i128)>) = match &ty.kind {
            Kind::Enum(e) => {
                let signed = e.signedness == Signedness::Signed;
                let number = |value: i32| match signed {
                    true => i128::from(value),
                    false => i128::from(value as u32),
                };
                let values = e.values.iter();
                let values = values.map(|v| (self.btf.name(v.name), number(v.value)));
                (e.size, signed, values.collect())
            }
            Kind::Enum64(e) => {
                let signed = e.signedness == Signedness::Signed;
                let number = |value: u64| match signed {
                    true => i128::from(value as i64),
                    false => i128::from(value),
                };
                let values = e.values.iter();
                let values = values.map(|v| (self.btf.name(v.name), number(v.value)));
                (e.size, signed, values.collect())
            }
            _ => return String::new(),
        };
        let bits = match size {
            1 | 2 | 4 | 8 => size * 8,
            _ => 32,
        };
        let base = format!("{}{bits}", if signed { "i" } else { "u" });
        let name = self.names.of(id);
        let mut seen = HashSet::new();
        let fits = |number: i128| match signed {
            true => (-(1i128 << (bits - 1))..1 << (bits - 1)).contains(&number),
            false => (0..1 << bits).contains(&number),
        };
        let is_enum = !values.is_empty()
            && values
                .iter()
                .all(|(_, number)| fits(*number) && seen.insert(*number));
        let mut text = if is_enum {
            format!("#[repr({base})]\n#[derive(Clone, Copy)]\npub enum {name} {{\n")
        } else {
            // Two names for one number, which an enum of Rust cannot have.
            format!("pub type {name} = {base};\n")
        };
        for (index, (value_name, number)) in values.into_iter().enumerate() {
            let value_name = self.names.value(id, index, value_name);
            let line = match is_enum {
                true => format!("    {value_name} = {number},\n"),
                false if fits(number) => {
                    format!("pub const {name}_{value_name}: {name} = {number};\n")
                }
                false => format!("// {value_name} = {number}\n"),
            };
            if !self.budget.take(line.len()) {
                text += "// too much text\n";
                break;
            }
            text += &line;
        }
        if is_enum {
            text + "}"
        } else {
            text.trim_end().to_string()
        }
    }

    fn ty(&self, id: TypeId) -> String {
        self.ty_at(id, 0)
    }

    fn ty_at(&self, mut id: TypeId, depth: usize) -> String {
        let void = || "core::ffi::c_void".to_string();
        if depth > MAX_DEPTH {
            return void();
        }
        for _ in 0..MAX_DEPTH {
            let Some(ty) = self.btf.get(id) else {
                return void();
            };
            return match &ty.kind {
                Kind::Const(next) | Kind::Volatile(next) | Kind::Restrict(next) => {
                    id = *next;
                    continue;
                }
                Kind::TypeTag(tag) => {
                    id = tag.ty;
                    continue;
                }
                Kind::Typedef(next) => {
                    if PRIMITIVES.contains(&self.btf.name(ty.name)) {
                        id = *next;
                        continue;
                    }
                    self.names.of(id)
                }
                Kind::Ptr(target) => self.pointer(*target, depth),
                Kind::Array(array) => {
                    format!(
                        "[{}; {}]",
                        self.ty_at(array.element, depth + 1),
                        array.count
                    )
                }
                Kind::FuncProto(_) => void(),
                Kind::Int(int) => integer(int),
                Kind::Float { size: 4 } => "f32".into(),
                Kind::Float { size: 8 } => "f64".into(),
                Kind::Float { size } => format!("[u8; {size}]"),
                Kind::Struct(_) | Kind::Union(_) | Kind::Enum(_) | Kind::Enum64(_) => {
                    self.names.of(id)
                }
                Kind::Fwd(_) => self.names.of(id),
                Kind::Func(_) | Kind::Var(_) | Kind::Datasec(_) | Kind::DeclTag(_) => void(),
            };
        }
        void()
    }

    fn pointer(&self, mut target: TypeId, depth: usize) -> String {
        let mut constant = false;
        for _ in 0..MAX_DEPTH {
            match self.btf.get(target).map(|ty| &ty.kind) {
                Some(Kind::Const(next)) => (constant, target) = (true, *next),
                Some(Kind::Volatile(next) | Kind::Restrict(next)) => target = *next,
                Some(Kind::TypeTag(tag)) => target = tag.ty,
                Some(Kind::FuncProto(_)) => {
                    return format!(
                        "Option<unsafe extern \"C\" fn{}>",
                        self.signature_at(target, "", depth + 1)
                    );
                }
                _ => break,
            }
        }
        let word = if constant { "const" } else { "mut" };
        format!("*{word} {}", self.ty_at(target, depth + 1))
    }

    fn signature(&self, proto: TypeId, name: &str) -> String {
        self.signature_at(proto, name, 0)
    }

    /// `(ctx: *mut xdp_md) -> i32`.
    fn signature_at(&self, proto: TypeId, _name: &str, depth: usize) -> String {
        let Some(Kind::FuncProto(proto)) = self.btf.get(proto).map(|ty| &ty.kind) else {
            return "()".into();
        };
        let mut used: HashMap<String, usize> = HashMap::new();
        let params = proto.params.iter().enumerate().map(|(index, param)| {
            if param.ty == TypeId::VOID {
                return "...".to_string();
            }
            let name = match self.btf.name(param.name) {
                "" => format!("arg_{index}"),
                name => identifier(name, Language::Rust),
            };
            let times = used.entry(name.clone()).or_default();
            *times += 1;
            let name = match *times {
                1 => name,
                _ => format!("{name}_{index}"),
            };
            format!("{name}: {}", self.ty_at(param.ty, depth + 1))
        });
        let params = params.collect::<Vec<_>>().join(", ");
        match proto.returns {
            TypeId::VOID => format!("({params})"),
            returns => format!("({params}) -> {}", self.ty_at(returns, depth + 1)),
        }
    }
}

fn integer(int: &Int) -> String {
    let sign = if int.encoding & SIGNED != 0 { "i" } else { "u" };
    match int.size {
        1 if int.encoding & BOOL != 0 => "bool".into(),
        1 | 2 | 4 | 8 | 16 => format!("{sign}{}", int.size * 8),
        size => format!("[u8; {size}]"),
    }
}

/// Text that stays within a line's comment.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
