//! The answer to a relocation's question, once the path through the kernel's type is known.
//!
//! Every answer is worked out for both sides: what the object's own types say is what the compiler must have written into
//! the instruction, and what the kernel's say is what takes its place.

use xdplb_linker::btf::{Signedness, TypeId};

use super::access::{Path, Turn};
use super::compatible::Pair;
use super::kind::{Question, Subject};
use super::view::{Shape, Types};

/// `BTF_INT_SIGNED`, and nothing else set.
const SIGNED: u8 = 1;

/// What to write into an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// What the compiler wrote.
    pub(super) original: u64,
    /// What takes its place.
    pub(super) new: u64,
    /// Whether the compiler's value is certain enough to be insisted on.
    pub(super) check: Check,
    /// How the width of a load or store changes.
    pub(super) width: Width,
}

/// Whether the instruction must hold what the object's types say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// It must.
    Exact,
    /// It is a value of a 32-bit enumeration, which compilers extend with or without its sign.
    Extended,
    /// How a bitfield is loaded is the compiler's choice, and type numbers change when objects are linked.
    Any,
}

/// How many bytes a field takes there and here, and whether a load may be widened or narrowed to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// No change.
    Same,
    /// From so many bytes to so many: pointers and unsigned integers, whose loads fill up with zeros.
    Zeros(u32, u32),
    /// From so many bytes to so many: signed integers, whose loads must extend the sign.
    Signs(u32, u32),
    /// From so many bytes to so many, and no load could make one of the other.
    Unfit(u32, u32),
}

/// An answer, or none: then the instruction must never run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is one.
    Answer(Answer),
    /// What the instruction needs does not exist in this kernel.
    Nothing,
}

/// What one side says about a field.
struct Field {
    value: u64,
    size: u32,
    ty: TypeId,
    check: Check,
}

impl Pair<'_> {
    /// The answer, with the kernel's path or without one.
    pub(super) fn answer(
        &self,
        question: Question,
        local: &Path,
        target: Option<&Path>,
    ) -> Result<Outcome, String> {
        let plain = |original, new, check| {
            Ok(Outcome::Answer(Answer {
                original,
                new,
                check,
                width: Width::Same,
            }))
        };
        match question {
            Question::FieldExists | Question::EnumvalExists => {
                return plain(1, target.is_some().into(), Check::Exact);
            }
            Question::TypeExists | Question::TypeMatches => {
                return plain(1, target.is_some().into(), Check::Exact);
            }
            Question::TypeIdLocal => {
                let id = u64::from(local.root.0);
                return plain(id, id, Check::Any);
            }
            Question::TypeIdTarget => {
                let new = target.map_or(0, |path| u64::from(path.root.0));
                return plain(u64::from(local.root.0), new, Check::Any);
            }
            Question::TypeSize => {
                let size = |types: &dyn Types, path: &Path| {
                    types
                        .size_of(path.root)
                        .ok_or_else(|| format!("{} has no size", types.title(path.root)))
                };
                let new = target.map_or(Ok(0), |path| size(self.target, path))?;
                return plain(size(self.local, local)?, new, Check::Exact);
            }
            Question::FieldByteOffset
            | Question::FieldByteSize
            | Question::FieldSigned
            | Question::FieldLshift
            | Question::FieldRshift
            | Question::EnumvalValue => {}
        }
        if question.subject() == Subject::EnumValue {
            let original = enumerator(self.local, local)?;
            let Some(target) = target else {
                return Ok(Outcome::Nothing);
            };
            let check = match self.local.resolve(local.root) {
                Some((_, ty)) if matches!(ty.shape, Shape::Enum(..)) => Check::Extended,
                _ => Check::Exact,
            };
            return plain(original, enumerator(self.target, target)?, check);
        }
        let original = field(self.local, question, local)?;
        let Some(target) = target else {
            return Ok(Outcome::Nothing);
        };
        let new = field(self.target, question, target)?;
        Ok(Outcome::Answer(Answer {
            original: original.value,
            new: new.value,
            check: original.check,
            width: self.width(&original, &new),
        }))
    }

    fn width(&self, original: &Field, new: &Field) -> Width {
        let (from, to) = (original.size, new.size);
        if from == to {
            return Width::Same;
        }
        let shapes = (self.local.ty(original.ty), self.target.ty(new.ty));
        match (shapes.0.map(|ty| ty.shape), shapes.1.map(|ty| ty.shape)) {
            (Some(Shape::Ptr(_)), Some(Shape::Ptr(_))) => Width::Zeros(from, to),
            (Some(Shape::Int(a)), Some(Shape::Int(b))) => {
                match (a.encoding == SIGNED, b.encoding == SIGNED) {
                    (false, false) => Width::Zeros(from, to),
                    (true, true) => Width::Signs(from, to),
                    (true, false) | (false, true) => Width::Unfit(from, to),
                }
            }
            _ => Width::Unfit(from, to),
        }
    }
}

fn enumerator(types: &dyn Types, path: &Path) -> Result<u64, String> {
    let none = || "the path leads to no value".to_string();
    let Some(&Turn::Value { of, index, .. }) = path.turns.first() else {
        return Err(none());
    };
    let ty = types.ty(of).ok_or_else(none)?;
    types
        .enumerator(&ty, index)
        .map(|value| value.value)
        .ok_or_else(none)
}

/// One side's answer about a field: libbpf's `bpf_core_calc_field_relo`.
fn field(types: &dyn Types, question: Question, path: &Path) -> Result<Field, String> {
    let none = || "the path leads to no field".to_string();
    let sized = |id| {
        types
            .size_of(id)
            .and_then(|size| u32::try_from(size).ok())
            .ok_or_else(|| format!("{} has no size", types.title(id)))
    };
    // Paths end within 512 MiB: Path::advance.
    let bit_offset = path.bits as u32;
    let (of, index) = match *path.turns.last().ok_or_else(none)? {
        Turn::Member { of, index, .. } => (of, index),
        Turn::Value { .. } => return Err(none()),
        Turn::Element { ty, .. } => {
            let size = sized(ty)?;
            let (value, size) = match question {
                Question::FieldByteOffset => (bit_offset / 8, size),
                Question::FieldByteSize => (size, 0),
                Question::FieldExists
                | Question::FieldSigned
                | Question::FieldLshift
                | Question::FieldRshift
                | Question::TypeIdLocal
                | Question::TypeIdTarget
                | Question::TypeExists
                | Question::TypeSize
                | Question::TypeMatches
                | Question::EnumvalExists
                | Question::EnumvalValue => {
                    return Err(format!(
                        "{} cannot be asked of an element of an array",
                        question.word()
                    ));
                }
            };
            return Ok(Field {
                value: value.into(),
                size,
                ty,
                check: Check::Exact,
            });
        }
    };
    let member = types
        .ty(of)
        .and_then(|ty| types.member(&ty, index))
        .ok_or_else(none)?;
    let (ty, resolved) = types.resolve(member.ty).ok_or_else(none)?;
    let bitfield = member.bitfield_size > 0;
    let (bytes, byte_offset, bits) = if bitfield {
        let (bytes, byte_offset) = container(sized(ty)?, bit_offset, member.bitfield_size.into())?;
        (bytes, byte_offset, u32::from(member.bitfield_size))
    } else {
        let bytes = sized(ty)?;
        (bytes, bit_offset / 8, bytes.wrapping_mul(8))
    };
    let free = if bitfield { Check::Any } else { Check::Exact };
    let signed = match resolved.shape {
        Shape::Int(int) => int.encoding & SIGNED != 0,
        Shape::Enum(_, signedness) | Shape::Enum64(_, signedness) => {
            signedness == Signedness::Signed
        }
        _ => false,
    };
    let past = bit_offset
        .wrapping_add(bits)
        .wrapping_sub(byte_offset.wrapping_mul(8));
    let (value, check) = match question {
        Question::FieldByteSize => (bytes, free),
        Question::FieldSigned => (signed.into(), Check::Exact),
        // Little-endian: the bits above the field are shifted out, then those below.
        Question::FieldLshift => (64u32.wrapping_sub(past), free),
        Question::FieldRshift => (64u32.wrapping_sub(bits), Check::Exact),
        Question::FieldByteOffset
        | Question::FieldExists
        | Question::TypeIdLocal
        | Question::TypeIdTarget
        | Question::TypeExists
        | Question::TypeSize
        | Question::TypeMatches
        | Question::EnumvalExists
        | Question::EnumvalValue => (byte_offset, free),
    };
    // Only where an offset is asked for can the instruction be a load, whose width may have to change.
    let loaded = question == Question::FieldByteOffset && !bitfield;
    Ok(Field {
        value: value.into(),
        size: if loaded { bytes } else { 0 },
        ty,
        check,
    })
}

/// The smallest aligned integer that holds all bits of a bitfield: its size in bytes and where it begins.
fn container(declared: u32, bit_offset: u32, bits: u32) -> Result<(u32, u32), String> {
    let mut bytes = declared;
    loop {
        let begin = bit_offset
            .checked_div(8)
            .and_then(|byte| byte.checked_div(bytes))
            .ok_or("a bitfield is of a type without a size")?
            * bytes;
        let past = u64::from(bit_offset) + u64::from(bits) - u64::from(begin) * 8;
        if past <= u64::from(bytes) * 8 {
            return Ok((bytes, begin));
        }
        if bytes >= 8 {
            return Err("a bitfield lies across more than eight bytes".into());
        }
        bytes *= 2;
    }
}
