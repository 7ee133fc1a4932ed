//! A record of a type section: where it is, how long it is, what its words say. And the cheap look at a name by which
//! nearly all records are passed over.

use super::super::core::TypeKind;

/// Bytes of `struct btf_type`.
pub(super) const RECORD: usize = 12;
/// Bytes that follow a record, and bytes for each of its members, by `BTF_KIND_*`.
const SIZES: [(u8, u8); 20] = [
    (0, 0),  // 0: no kind
    (4, 0),  // INT
    (0, 0),  // PTR
    (12, 0), // ARRAY
    (0, 12), // STRUCT
    (0, 12), // UNION
    (0, 8),  // ENUM
    (0, 0),  // FWD
    (0, 0),  // TYPEDEF
    (0, 0),  // VOLATILE
    (0, 0),  // CONST
    (0, 0),  // RESTRICT
    (0, 0),  // FUNC: its count is a linkage
    (0, 8),  // FUNC_PROTO
    (4, 0),  // VAR
    (0, 12), // DATASEC
    (0, 0),  // FLOAT
    (4, 0),  // DECL_TAG
    (0, 0),  // TYPE_TAG
    (0, 12), // ENUM64
];

/// Marks, in [`Ty::rest`], a type of the base. A type section is below 2 GiB: see [`record_at`].
pub(super) const OF_BASE: u32 = 1 << 31;

/// A stretch of the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Part {
    pub(super) fn of(self, data: &[u8]) -> Option<&[u8]> {
        data.get(self.start..self.start.checked_add(self.len)?)
    }
}

/// One record, its members not yet looked at.
#[derive(Clone, Copy)]
pub(super) struct Record {
    pub(super) at: usize,
    pub(super) name: u32,
    info: u32,
    pub(super) word: u32,
    pub(super) len: usize,
}

impl Record {
    /// Linux 7.1 counts members in 24 bits and kinds in 7; earlier ones have zeros there.
    pub(super) fn vlen(self) -> u32 {
        self.info & 0x00ff_ffff
    }
    pub(super) fn kind(self) -> u8 {
        ((self.info >> 24) & 0x7f) as u8
    }
    pub(super) fn flag(self) -> bool {
        self.info >> 31 != 0
    }
}

/// A record, where it and all that belongs to it lies within the section (and the section's first 2 GiB).
pub(super) fn record_at(records: &[u8], layouts: &[u8], at: usize) -> Option<Record> {
    let head = records.get(at..at.checked_add(RECORD)?)?;
    let info = u32_at(head, 4)?;
    let mut record = Record {
        at,
        name: u32_at(head, 0)?,
        info,
        word: u32_at(head, 8)?,
        len: RECORD,
    };
    let kind = usize::from(record.kind());
    let (fixed, each) = match (kind, SIZES.get(kind)) {
        (0, _) => return None,
        (_, Some(&sizes)) => sizes,
        (_, None) => {
            let layout = layouts.get(kind * 4..kind * 4 + 2)?;
            (layout[0], layout[1])
        }
    };
    record.len += usize::from(fixed) + usize::from(each) * record.vlen() as usize;
    let end = at.checked_add(record.len)?;
    (end <= records.len() && end < OF_BASE as usize && record.len.is_multiple_of(4))
        .then_some(record)
}

pub(super) fn kind_of(number: u8) -> TypeKind {
    const KINDS: [TypeKind; 20] = [
        TypeKind::Void,
        TypeKind::Int,
        TypeKind::Ptr,
        TypeKind::Array,
        TypeKind::Struct,
        TypeKind::Union,
        TypeKind::Enum,
        TypeKind::Fwd,
        TypeKind::Typedef,
        TypeKind::Volatile,
        TypeKind::Const,
        TypeKind::Restrict,
        TypeKind::Func,
        TypeKind::FuncProto,
        TypeKind::Var,
        TypeKind::Datasec,
        TypeKind::Float,
        TypeKind::DeclTag,
        TypeKind::TypeTag,
        TypeKind::Enum64,
    ];
    KINDS
        .get(usize::from(number))
        .copied()
        .unwrap_or(TypeKind::Newer)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*word))
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*word))
}

/// Which first two bytes a wanted name can have: nearly all names are ruled out by one look.
pub(super) struct Prefixes(Box<[u64; 1024]>);

impl Default for Prefixes {
    fn default() -> Self {
        Prefixes(Box::new([0; 1024]))
    }
}

impl Prefixes {
    pub(super) fn add(&mut self, name: &[u8]) {
        let mut set = |second: u8| {
            if let Some(&first) = name.first() {
                let prefix = u16::from_le_bytes([first, second]);
                self.0[usize::from(prefix) / 64] |= 1 << (prefix % 64);
            }
        };
        match name.get(1) {
            Some(&second) => set(second),
            // A name of one letter ends here, or its flavour begins.
            None => {
                set(0);
                set(b'_');
            }
        }
    }

    pub(super) fn has(&self, prefix: u16) -> bool {
        self.0[usize::from(prefix) / 64] & (1 << (prefix % 64)) != 0
    }
}
