//! The kernel's types as CO-RE looks at them: decoded one by one from the bytes.

use xdplb_linker::btf::{Array, EnumValue, FwdKind, Int, Member, Param, Signedness, StrId, TypeId};

use super::super::core::{Count, Shape, Ty, TypeKind, Types};
use super::KernelTypes;
use super::record::{OF_BASE, RECORD, kind_of};

impl Types for KernelTypes {
    fn ty(&self, id: TypeId) -> Option<Ty> {
        if id == TypeId::VOID {
            return Some(Ty::VOID);
        }
        if let Some(base) = &self.base
            && id < self.first()
        {
            let ty = base.ty(id)?;
            return Some(Ty {
                rest: ty.rest | OF_BASE,
                ..ty
            });
        }
        let record = self.record(id)?;
        let rest = u32::try_from(record.at + RECORD).ok()?;
        let to = TypeId(record.word);
        let count = Count {
            size: record.word,
            len: record.vlen(),
        };
        let signedness = if record.flag() {
            Signedness::Signed
        } else {
            Signedness::Unsigned
        };
        let shape = match kind_of(record.kind()) {
            TypeKind::Void => return None,
            TypeKind::Int => {
                let data = self.word(rest, 0)?;
                Shape::Int(Int {
                    size: record.word,
                    encoding: ((data >> 24) & 0x0f) as u8,
                    bit_offset: (data >> 16) as u8,
                    bits: data as u8,
                })
            }
            TypeKind::Ptr => Shape::Ptr(to),
            TypeKind::Array => Shape::Array(Array {
                element: TypeId(self.word(rest, 0)?),
                index: TypeId(self.word(rest, 1)?),
                count: self.word(rest, 2)?,
            }),
            TypeKind::Struct => Shape::Struct(count),
            TypeKind::Union => Shape::Union(count),
            TypeKind::Enum => Shape::Enum(count, signedness),
            TypeKind::Enum64 => Shape::Enum64(count, signedness),
            TypeKind::Fwd if record.flag() => Shape::Fwd(FwdKind::Union),
            TypeKind::Fwd => Shape::Fwd(FwdKind::Struct),
            TypeKind::Typedef => Shape::Typedef(to),
            TypeKind::Volatile => Shape::Volatile(to),
            TypeKind::Const => Shape::Const(to),
            TypeKind::Restrict => Shape::Restrict(to),
            TypeKind::TypeTag => Shape::TypeTag(to),
            TypeKind::Func => Shape::Func(to),
            TypeKind::FuncProto => Shape::FuncProto(to, record.vlen()),
            TypeKind::Var => Shape::Var(to),
            TypeKind::Datasec => Shape::Datasec(count),
            TypeKind::Float => Shape::Float(record.word),
            TypeKind::DeclTag => Shape::DeclTag(to),
            TypeKind::Newer => Shape::Newer(record.kind()),
        };
        // The flag says that the offsets of members carry the widths of bitfields.
        let rest = if record.flag() && ty_has_members(shape) {
            rest | 1
        } else {
            rest
        };
        Some(Ty {
            name: StrId(record.name),
            shape,
            rest,
        })
    }

    fn text(&self, name: StrId) -> &str {
        self.bytes_of(name)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or("")
    }

    fn member(&self, ty: &Ty, index: u32) -> Option<Member> {
        ty.composite().filter(|count| index < count.len)?;
        let (owner, rest) = self.owner(ty.rest);
        // Records are whole words, so the lowest bit is free to say how offsets are to be read.
        let (at, bitfields) = (rest & !3, rest & 1 != 0);
        let offset = owner.word(at, index * 3 + 2)?;
        Some(Member {
            name: StrId(owner.word(at, index * 3)?),
            ty: TypeId(owner.word(at, index * 3 + 1)?),
            bit_offset: if bitfields {
                offset & 0x00ff_ffff
            } else {
                offset
            },
            bitfield_size: if bitfields { (offset >> 24) as u8 } else { 0 },
        })
    }

    fn enumerator(&self, ty: &Ty, index: u32) -> Option<EnumValue<u64>> {
        ty.enumeration().filter(|count| index < count.len)?;
        let (owner, at) = self.owner(ty.rest);
        let words = if ty.kind() == TypeKind::Enum64 { 3 } else { 2 };
        let low = owner.word(at, index * words + 1)?;
        let value = match words {
            3 => u64::from(owner.word(at, index * words + 2)?) << 32 | u64::from(low),
            _ => i64::from(low as i32) as u64,
        };
        Some(EnumValue {
            name: StrId(owner.word(at, index * words)?),
            value,
        })
    }

    fn param(&self, ty: &Ty, index: u32) -> Option<Param> {
        let Shape::FuncProto(_, len) = ty.shape else {
            return None;
        };
        let (owner, at) = self.owner(ty.rest);
        if index >= len {
            return None;
        }
        Some(Param {
            name: StrId(owner.word(at, index * 2)?),
            ty: TypeId(owner.word(at, index * 2 + 1)?),
        })
    }
}

fn ty_has_members(shape: Shape) -> bool {
    matches!(shape, Shape::Struct(_) | Shape::Union(_))
}
