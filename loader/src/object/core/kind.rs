//! What a relocation asks for: `enum bpf_core_relo_kind` of include/uapi/linux/bpf.h.

/// The thirteen questions that a relocation can ask of the kernel's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// 0: how many bytes into the struct does the field begin?
    FieldByteOffset,
    /// 1: how many bytes does it take?
    FieldByteSize,
    /// 2: is there such a field?
    FieldExists,
    /// 3: is it signed?
    FieldSigned,
    /// 4: by how much must a bitfield, loaded as 64 bits, be shifted left?
    FieldLshift,
    /// 5: and then right?
    FieldRshift,
    /// 6: what is the number of the type in the object's own BTF?
    TypeIdLocal,
    /// 7: and in the kernel's?
    TypeIdTarget,
    /// 8: is there such a type?
    TypeExists,
    /// 9: how many bytes does it take?
    TypeSize,
    /// 10: does the enumeration have this value?
    EnumvalExists,
    /// 11: what number is it?
    EnumvalValue,
    /// 12: is there a type that has all that the object's has?
    TypeMatches,
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A member of a struct or union, or an element of an array.
    Field,
    /// A type as a whole.
    Type,
    /// A value of an enumeration.
    EnumValue,
}

impl Question {
    /// All of them, in the order of their numbers.
    const ALL: [(Question, &'static str, Subject); 13] = [
        (Question::FieldByteOffset, "byte_off", Subject::Field),
        (Question::FieldByteSize, "byte_sz", Subject::Field),
        (Question::FieldExists, "field_exists", Subject::Field),
        (Question::FieldSigned, "signed", Subject::Field),
        (Question::FieldLshift, "lshift_u64", Subject::Field),
        (Question::FieldRshift, "rshift_u64", Subject::Field),
        (Question::TypeIdLocal, "local_type_id", Subject::Type),
        (Question::TypeIdTarget, "target_type_id", Subject::Type),
        (Question::TypeExists, "type_exists", Subject::Type),
        (Question::TypeSize, "type_size", Subject::Type),
        (
            Question::EnumvalExists,
            "enumval_exists",
            Subject::EnumValue,
        ),
        (Question::EnumvalValue, "enumval_value", Subject::EnumValue),
        (Question::TypeMatches, "type_matches", Subject::Type),
    ];

    /// By its number.
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).map(|entry| entry.0)
    }

    /// What libbpf's messages call it.
    pub fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// What it is about.
    pub fn subject(self) -> Subject {
        Self::ALL[self as usize].2
    }
}
