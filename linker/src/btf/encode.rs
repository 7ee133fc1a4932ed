//! Writes a .BTF section: the inverse of `parse`.

use super::parse::{HEADER_LEN, MAGIC, VERSION};
use super::{Btf, Composite, FwdKind, Kind, Linkage, Signedness, TagForm, Type};

/// The whole section. Types come right after the header, strings after the types.
pub(super) fn encode(btf: &Btf) -> Vec<u8> {
    let mut types = Vec::new();
    for (_, ty) in btf.iter() {
        encode_type(&mut types, ty);
    }
    let strings = btf.strings.as_bytes();
    let mut out = Vec::with_capacity(HEADER_LEN + types.len() + strings.len());
    out.extend(MAGIC.to_le_bytes());
    out.extend([VERSION, 0]);
    for field in [
        HEADER_LEN,
        0,
        types.len(),
        types.len(), // the strings follow
        strings.len(),
    ] {
        put(&mut out, field as u32);
    }
    out.extend(types);
    out.extend(strings);
    out
}

fn put(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

/// The three words each type begins with.
fn head(out: &mut Vec<u8>, ty: &Type, kind: u32, flag: Flag, count: u32, size_or_type: u32) {
    let flag = match flag {
        Flag::Clear => 0,
        Flag::Set => 1 << 31,
    };
    put(out, ty.name.0);
    put(out, flag | kind << 24 | (count & 0xffff));
    put(out, size_or_type);
}

/// The `kind_flag` bit.
#[derive(Clone, Copy)]
enum Flag {
    Clear,
    Set,
}

fn encode_type(out: &mut Vec<u8>, ty: &Type) {
    use Flag::Clear;
    match &ty.kind {
        Kind::Int(int) => {
            head(out, ty, 1, Clear, 0, int.size);
            put(
                out,
                u32::from(int.encoding) << 24
                    | u32::from(int.bit_offset) << 16
                    | u32::from(int.bits),
            );
        }
        Kind::Ptr(target) => head(out, ty, 2, Clear, 0, target.0),
        Kind::Array(array) => {
            head(out, ty, 3, Clear, 0, 0);
            put(out, array.element.0);
            put(out, array.index.0);
            put(out, array.count);
        }
        Kind::Struct(composite) => encode_composite(out, ty, 4, composite),
        Kind::Union(composite) => encode_composite(out, ty, 5, composite),
        Kind::Enum(e) => {
            let flag = signed(e.signedness);
            head(out, ty, 6, flag, e.values.len() as u32, e.size);
            for value in &e.values {
                put(out, value.name.0);
                put(out, value.value as u32);
            }
        }
        Kind::Fwd(FwdKind::Struct) => head(out, ty, 7, Clear, 0, 0),
        Kind::Fwd(FwdKind::Union) => head(out, ty, 7, Flag::Set, 0, 0),
        Kind::Typedef(target) => head(out, ty, 8, Clear, 0, target.0),
        Kind::Volatile(target) => head(out, ty, 9, Clear, 0, target.0),
        Kind::Const(target) => head(out, ty, 10, Clear, 0, target.0),
        Kind::Restrict(target) => head(out, ty, 11, Clear, 0, target.0),
        Kind::Func(func) => head(out, ty, 12, Clear, linkage(func.linkage), func.proto.0),
        Kind::FuncProto(proto) => {
            let count = proto.params.len() as u32;
            head(out, ty, 13, Clear, count, proto.returns.0);
            for param in &proto.params {
                put(out, param.name.0);
                put(out, param.ty.0);
            }
        }
        Kind::Var(var) => {
            head(out, ty, 14, Clear, 0, var.ty.0);
            put(out, linkage(var.linkage));
        }
        Kind::Datasec(section) => {
            let count = section.vars.len() as u32;
            head(out, ty, 15, Clear, count, section.size);
            for var in &section.vars {
                put(out, var.ty.0);
                put(out, var.offset);
                put(out, var.size);
            }
        }
        Kind::Float { size } => head(out, ty, 16, Clear, 0, *size),
        Kind::DeclTag(tag) => {
            head(out, ty, 17, attribute(tag.form), 0, tag.ty.0);
            put(out, tag.component as u32);
        }
        Kind::TypeTag(tag) => head(out, ty, 18, attribute(tag.form), 0, tag.ty.0),
        Kind::Enum64(e) => {
            let flag = signed(e.signedness);
            head(out, ty, 19, flag, e.values.len() as u32, e.size);
            for value in &e.values {
                put(out, value.name.0);
                put(out, value.value as u32);
                put(out, (value.value >> 32) as u32);
            }
        }
    }
}

fn encode_composite(out: &mut Vec<u8>, ty: &Type, kind: u32, composite: &Composite) {
    let bitfields = composite.members.iter().any(|m| m.bitfield_size != 0);
    let flag = if bitfields { Flag::Set } else { Flag::Clear };
    let count = composite.members.len() as u32;
    head(out, ty, kind, flag, count, composite.size);
    for member in &composite.members {
        put(out, member.name.0);
        put(out, member.ty.0);
        if bitfields {
            let width = u32::from(member.bitfield_size) << 24;
            put(out, width | (member.bit_offset & 0x00ff_ffff));
        } else {
            put(out, member.bit_offset);
        }
    }
}

fn linkage(linkage: Linkage) -> u32 {
    match linkage {
        Linkage::Static => 0,
        Linkage::Global => 1,
        Linkage::Extern => 2,
    }
}

fn signed(signedness: Signedness) -> Flag {
    match signedness {
        Signedness::Unsigned => Flag::Clear,
        Signedness::Signed => Flag::Set,
    }
}

fn attribute(form: TagForm) -> Flag {
    match form {
        TagForm::Tag => Flag::Clear,
        TagForm::Attribute => Flag::Set,
    }
}
