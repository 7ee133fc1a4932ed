//! Reads a .BTF section. Pure and total: any bytes give a [`Btf`] or an error with an offset.

use super::{
    Array, Btf, Composite, Datasec, DeclTag, Enum, EnumValue, Func, FuncProto, FwdKind, Int, Kind,
    Linkage, Member, Param, Signedness, StrId, Strings, TagForm, Type, TypeId, TypeTag, Var,
    VarSecinfo,
};
use crate::bytes::Cursor;
use crate::error::{Cause, ParseError};

/// `BTF_MAGIC` of include/uapi/linux/btf.h.
pub(crate) const MAGIC: u16 = 0xeb9f;
/// `BTF_VERSION`.
pub(crate) const VERSION: u8 = 1;
/// Bytes of `struct btf_header`.
pub(super) const HEADER_LEN: usize = 24;

/// Reads the whole section.
pub(super) fn parse(bytes: &[u8]) -> Result<Btf, ParseError> {
    let mut header = Cursor::new(".BTF", 0, bytes);
    check_magic(&mut header)?;
    let header_len = header.u32("btf header length")? as usize;
    let [type_off, type_len, str_off, str_len] = [
        header.u32("offset of the types")? as usize,
        header.u32("length of the types")? as usize,
        header.u32("offset of the strings")? as usize,
        header.u32("length of the strings")? as usize,
    ];
    let part = |what, offset: usize, len: usize| -> Result<(u64, &[u8]), ParseError> {
        let start = header_len.saturating_add(offset);
        let bytes = bytes.get(start..start.saturating_add(len)).ok_or_else(|| {
            ParseError::new(
                ".BTF",
                start as u64,
                Cause::Truncated {
                    what,
                    need: len as u64,
                    have: bytes.len().saturating_sub(start) as u64,
                },
            )
        })?;
        Ok((start as u64, bytes))
    };
    let (strings_at, string_bytes) = part("string table", str_off, str_len)?;
    let (types_at, type_bytes) = part("type table", type_off, type_len)?;

    let strings = Strings::parse(strings_at, string_bytes)?;
    let mut cursor = Cursor::new(".BTF", types_at, type_bytes);
    let mut types = Vec::new();
    let mut offsets = Vec::new();
    while !cursor.is_empty() {
        offsets.push(cursor.offset());
        types.push(parse_type(&mut cursor)?);
    }
    check_references(&types, &offsets, &strings)?;
    Ok(Btf { types, strings })
}

/// Magic, version and flags, which .BTF and .BTF.ext share.
pub(crate) fn check_magic(header: &mut Cursor<'_>) -> Result<(), ParseError> {
    let expect = |what, value: u64, wanted: u64, why| {
        if value == wanted {
            return Ok(());
        }
        Err(header.error(Cause::Value { what, value, why }))
    };
    let mut fields = header.clone();
    expect(
        "btf magic",
        u64::from(fields.u16("btf magic")?),
        u64::from(MAGIC),
        "0xeb9f is expected (0x9feb is big endian)",
    )?;
    expect(
        "btf version",
        u64::from(fields.u8("btf version")?),
        u64::from(VERSION),
        "only version 1 is known",
    )?;
    fields.u8("btf flags")?;
    *header = fields;
    Ok(())
}

fn parse_type(cursor: &mut Cursor<'_>) -> Result<Type, ParseError> {
    let start = cursor.clone();
    let name = StrId(cursor.u32("name of a type")?);
    let info = cursor.u32("kind of a type")?;
    let size_or_type = cursor.u32("size of a type")?;
    let count = (info & 0xffff) as usize;
    let flag = info >> 31 != 0;
    let target = TypeId(size_or_type);
    let size = size_or_type;
    let kind = match (info >> 24) & 0x1f {
        1 => parse_int(cursor, size)?,
        2 => Kind::Ptr(target),
        3 => Kind::Array(Array {
            element: TypeId(cursor.u32("element type of an array")?),
            index: TypeId(cursor.u32("index type of an array")?),
            count: cursor.u32("length of an array")?,
        }),
        4 => Kind::Struct(parse_composite(cursor, size, count, flag)?),
        5 => Kind::Union(parse_composite(cursor, size, count, flag)?),
        6 => Kind::Enum(parse_enum(cursor, size, count, flag, |cursor| {
            Ok(cursor.u32("value of an enum")? as i32)
        })?),
        7 if flag => Kind::Fwd(FwdKind::Union),
        7 => Kind::Fwd(FwdKind::Struct),
        8 => Kind::Typedef(target),
        9 => Kind::Volatile(target),
        10 => Kind::Const(target),
        11 => Kind::Restrict(target),
        12 => Kind::Func(Func {
            proto: target,
            linkage: linkage(&start, info & 0xffff)?,
        }),
        13 => Kind::FuncProto(FuncProto {
            returns: target,
            params: repeat(cursor, count, |cursor| {
                Ok(Param {
                    name: StrId(cursor.u32("name of a parameter")?),
                    ty: TypeId(cursor.u32("type of a parameter")?),
                })
            })?,
        }),
        14 => {
            let value = cursor.u32("linkage of a variable")?;
            Kind::Var(Var {
                ty: target,
                linkage: linkage(&start, value)?,
            })
        }
        15 => Kind::Datasec(Datasec {
            size,
            vars: repeat(cursor, count, |cursor| {
                Ok(VarSecinfo {
                    ty: TypeId(cursor.u32("variable of a section")?),
                    offset: cursor.u32("offset of a variable")?,
                    size: cursor.u32("size of a variable")?,
                })
            })?,
        }),
        16 => Kind::Float { size },
        17 => Kind::DeclTag(DeclTag {
            ty: target,
            component: cursor.u32("component of a tag")? as i32,
            form: tag_form(flag),
        }),
        18 => Kind::TypeTag(TypeTag {
            ty: target,
            form: tag_form(flag),
        }),
        19 => Kind::Enum64(parse_enum(cursor, size, count, flag, |cursor| {
            let low = u64::from(cursor.u32("value of an enum64")?);
            let high = u64::from(cursor.u32("value of an enum64")?);
            Ok(high << 32 | low)
        })?),
        other => {
            return Err(start.error(Cause::Value {
                what: "kind of a type",
                value: u64::from(other),
                why: "kinds 1 (int) to 19 (enum64) are known",
            }));
        }
    };
    Ok(Type { name, kind })
}

/// Reads `count` entries. Each takes at least eight bytes, so what is reserved stays within the file's size.
fn repeat<T>(
    cursor: &mut Cursor<'_>,
    count: usize,
    mut one: impl FnMut(&mut Cursor<'_>) -> Result<T, ParseError>,
) -> Result<Vec<T>, ParseError> {
    let mut all = Vec::with_capacity(count.min(cursor.left() / 8));
    for _ in 0..count {
        all.push(one(cursor)?);
    }
    Ok(all)
}

fn parse_int(cursor: &mut Cursor<'_>, size: u32) -> Result<Kind, ParseError> {
    let data = cursor.u32("encoding of an int")?;
    Ok(Kind::Int(Int {
        size,
        encoding: ((data >> 24) & 0x0f) as u8,
        bit_offset: (data >> 16) as u8,
        bits: data as u8,
    }))
}

fn parse_composite(
    cursor: &mut Cursor<'_>,
    size: u32,
    count: usize,
    bitfields: bool,
) -> Result<Composite, ParseError> {
    let members = repeat(cursor, count, |cursor| {
        let name = StrId(cursor.u32("name of a member")?);
        let ty = TypeId(cursor.u32("type of a member")?);
        let offset = cursor.u32("offset of a member")?;
        // With kind_flag set the offset holds the bitfield's width too (BTF_MEMBER_BITFIELD_SIZE).
        Ok(Member {
            name,
            ty,
            bit_offset: if bitfields {
                offset & 0x00ff_ffff
            } else {
                offset
            },
            bitfield_size: if bitfields { (offset >> 24) as u8 } else { 0 },
        })
    })?;
    Ok(Composite { size, members })
}

fn parse_enum<V>(
    cursor: &mut Cursor<'_>,
    size: u32,
    count: usize,
    signed: bool,
    mut value: impl FnMut(&mut Cursor<'_>) -> Result<V, ParseError>,
) -> Result<Enum<V>, ParseError> {
    Ok(Enum {
        size,
        signedness: if signed {
            Signedness::Signed
        } else {
            Signedness::Unsigned
        },
        values: repeat(cursor, count, |cursor| {
            Ok(EnumValue {
                name: StrId(cursor.u32("name of an enum value")?),
                value: value(cursor)?,
            })
        })?,
    })
}

fn tag_form(flag: bool) -> TagForm {
    if flag {
        TagForm::Attribute
    } else {
        TagForm::Tag
    }
}

fn linkage(at: &Cursor<'_>, value: u32) -> Result<Linkage, ParseError> {
    match value {
        0 => Ok(Linkage::Static),
        1 => Ok(Linkage::Global),
        2 => Ok(Linkage::Extern),
        other => Err(at.error(Cause::Value {
            what: "linkage",
            value: u64::from(other),
            why: "0 (static), 1 (global) and 2 (extern) are known",
        })),
    }
}

/// Every type id and every name must exist: what the rest of this crate relies on.
fn check_references(types: &[Type], offsets: &[u64], strings: &Strings) -> Result<(), ParseError> {
    for (ty, offset) in types.iter().zip(offsets) {
        let mut bad = None;
        ty.visit_ids(|id| {
            if id.0 as usize > types.len() {
                bad = Some(Cause::Dangling {
                    what: "type id",
                    index: u64::from(id.0),
                    count: types.len() as u64,
                });
            }
        });
        ty.visit_names(|name| {
            if name.0 as usize >= strings.len() {
                bad = Some(Cause::Dangling {
                    what: "string offset",
                    index: u64::from(name.0),
                    count: strings.len() as u64,
                });
            }
        });
        if let Some(cause) = bad {
            return Err(ParseError::new(".BTF", *offset, cause));
        }
    }
    Ok(())
}
