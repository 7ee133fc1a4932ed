//! The kernel's own types, searchable without unpacking them.
//!
//! A kernel has a hundred thousand types in five megabytes. Here they stay the bytes they are (which may be a mapping of
//! `/sys/kernel/btf/vmlinux`); all that is kept beside them is where every 64th type starts. A type is found by walking
//! at most 63 records from there, names are looked up many at a time in one walk over all.
//!
//! A module's types continue those of the kernel: type numbers and string offsets count on from the kernel's.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use xdplb_linker::btf::{Array, EnumValue, FwdKind, Int, Member, Param, Signedness, StrId, TypeId};

use super::ObjectError;
use super::core::{Count, Shape, Ty, TypeKind, Types, essential};

/// Every how many types the index has an entry.
const STRIDE: u32 = 64;
/// Bytes of `struct btf_header` without the layout table of later kernels.
const HEADER: usize = 24;
/// Bytes of `struct btf_type`.
const RECORD: usize = 12;
/// The longest name that is looked at: the kernel's `KSYM_NAME_LEN`. It bounds the work that strings without end make.
const MAX_NAME: usize = 512;

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

/// The types of a kernel or of one of its modules. Having one proves that the records fill their section exactly.
#[derive(Clone)]
pub struct KernelTypes {
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    name: Arc<str>,
    base: Option<Arc<KernelTypes>>,
    types: Part,
    strings: Part,
    layout: Part,
    /// How many types there are, those of the base included, `void` not.
    count: u32,
    /// Where type 1, 65, 129… (counted from the base's last) starts, from the start of the type section.
    index: Arc<[u32]>,
}

/// A stretch of the bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    start: usize,
    len: usize,
}

/// The types of a module, and the number of its BTF object in the kernel.
#[derive(Clone, Debug)]
pub struct ModuleTypes {
    /// The module's name.
    pub name: String,
    /// The id of the BTF object (`BPF_BTF_GET_FD_BY_ID`).
    pub btf_id: u32,
    /// Its types; numbers up to the kernel's last are the kernel's.
    pub types: KernelTypes,
}

/// The modules' types, read when they are first asked for: most objects find everything in the kernel's own.
#[derive(Clone, Default)]
pub struct Modules {
    read: Option<Arc<dyn Fn() -> Vec<ModuleTypes> + Send + Sync>>,
    all: Arc<OnceLock<Vec<ModuleTypes>>>,
}

impl Modules {
    /// Modules whose types `read` gives, which is called once at most.
    pub fn lazily(read: impl Fn() -> Vec<ModuleTypes> + Send + Sync + 'static) -> Self {
        Modules {
            read: Some(Arc::new(read)),
            all: Arc::default(),
        }
    }

    /// All of them.
    pub fn all(&self) -> &[ModuleTypes] {
        let read = || self.read.as_ref().map_or_else(Vec::new, |read| read());
        self.all.get_or_init(read)
    }
}

impl fmt::Debug for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.all.get() {
            Some(all) => write!(f, "Modules({})", all.len()),
            None => f.write_str("Modules(not read)"),
        }
    }
}

/// One record, its members not yet looked at.
#[derive(Clone, Copy)]
struct Record {
    at: usize,
    name: u32,
    info: u32,
    word: u32,
    len: usize,
}

impl Record {
    /// Linux 7.1 counts members in 24 bits and kinds in 7; earlier ones have zeros there.
    fn vlen(self) -> u32 {
        self.info & 0x00ff_ffff
    }
    fn kind(self) -> u8 {
        ((self.info >> 24) & 0x7f) as u8
    }
    fn flag(self) -> bool {
        self.info >> 31 != 0
    }
}

impl fmt::Debug for KernelTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelTypes({}, {} types)", self.name, self.count)
    }
}

impl KernelTypes {
    /// Reads a kernel's .BTF. The bytes are kept, not copied.
    pub fn parse(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self, ObjectError> {
        Self::build(Arc::new(bytes), "vmlinux", None)
    }

    /// Reads the .BTF of a module of the kernel whose types are `base`.
    pub fn parse_module(
        name: &str,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        base: &KernelTypes,
    ) -> Result<Self, ObjectError> {
        Self::build(Arc::new(bytes), name, Some(Arc::new(base.clone())))
    }

    fn build(
        bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
        name: &str,
        base: Option<Arc<KernelTypes>>,
    ) -> Result<Self, ObjectError> {
        let fail = |offset: usize, cause: String| {
            ObjectError::at(&format!("BTF of {name}"), offset as u64, cause)
        };
        let data: &[u8] = (*bytes).as_ref();
        let field = |at: usize| u32_at(data, at).map(|value| value as usize);
        let (Some(0x0001_eb9f), Some(header)) = (
            u32_at(data, 0).map(|word| word & 0x00ff_ffff),
            field(4).filter(|&header| header >= HEADER),
        ) else {
            return Err(fail(
                0,
                "this is no BTF of version 1 in this machine's byte order".into(),
            ));
        };
        let part = |at: usize, what: &str| {
            let (offset, len) = (field(at), field(at + 4));
            let part = Part {
                start: header.saturating_add(offset.unwrap_or(usize::MAX)),
                len: len.unwrap_or(usize::MAX),
            };
            match part.of(data) {
                Some(_) => Ok(part),
                None => Err(fail(
                    at,
                    format!("the {what} end past the {} bytes there are", data.len()),
                )),
            }
        };
        let types = part(8, "types")?;
        let strings = part(16, "strings")?;
        // Since Linux 7.1 the header may tell how long the records of each kind are.
        let layout = if header >= HEADER + 8 {
            part(24, "layouts")?
        } else {
            Part::default()
        };
        let mut built = KernelTypes {
            name: name.into(),
            count: base.as_ref().map_or(0, |base| base.count),
            base,
            types,
            strings,
            layout,
            index: Arc::new([]),
            bytes: bytes.clone(),
        };
        let mut index = Vec::with_capacity(types.len / RECORD / STRIDE as usize / 2);
        let records = types.of(data).unwrap_or_default();
        let layouts = layout.of(data).unwrap_or_default();
        let mut at = 0;
        let mut number = 0u32;
        while at < records.len() {
            let Some(record) = record_at(records, layouts, at) else {
                let kind = u32_at(records, at + 4).map_or(0, |info| (info >> 24) & 0x7f);
                let id = built.count + number + 1;
                return Err(fail(
                    types.start + at,
                    format!("type {id} (kind {kind}) is unknown or ends past the type section"),
                ));
            };
            if number.is_multiple_of(STRIDE) {
                index.push(at as u32);
            }
            number += 1;
            at = record.at + record.len;
        }
        built.count += number;
        built.index = index.into();
        Ok(built)
    }

    /// `vmlinux`, or the module's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many types there are, `void` not counted; a module counts on from its kernel.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// True when there is no type.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first number of its own: 1, or for a module the one after the kernel's last.
    pub fn first(&self) -> TypeId {
        TypeId(self.base.as_ref().map_or(0, |base| base.count) + 1)
    }

    /// The first type of this kind and name. One walk over all types; for several names there is [`Self::find_all`].
    pub fn find(&self, kind: TypeKind, name: &str) -> Option<TypeId> {
        self.find_all(&[(kind, name)]).pop().flatten()
    }

    /// The first types of these kinds and names, in that order, in one walk over all types (of a module: its own).
    pub fn find_all(&self, wanted: &[(TypeKind, &str)]) -> Vec<Option<TypeId>> {
        let mut found = vec![None; wanted.len()];
        let mut names: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (at, (_, name)) in wanted.iter().enumerate() {
            names.entry(name.as_bytes()).or_default().push(at);
        }
        let mut filter = Prefixes::default();
        names.keys().for_each(|name| filter.add(name));
        self.walk(&filter, &mut |id, kind, name| {
            for &at in names.get(name).map_or(&[][..], Vec::as_slice) {
                if wanted[at].0 as u8 == kind && found[at].is_none() {
                    found[at] = Some(id);
                }
            }
        });
        found
    }

    /// Shows every type (of a module: its own) whose name without flavour is among `names`: which of them, its number
    /// and its kind. One walk over all types.
    pub fn visit_named(
        &self,
        names: &HashMap<&[u8], usize>,
        visit: &mut dyn FnMut(usize, TypeId, TypeKind),
    ) {
        let mut filter = Prefixes::default();
        names.keys().for_each(|name| filter.add(name));
        self.walk(&filter, &mut |id, kind, name| {
            if let Some(&at) = names.get(essential(name)) {
                visit(at, id, kind_of(kind));
            }
        });
    }

    /// Walks over all types of its own whose names may be wanted.
    fn walk(&self, filter: &Prefixes, visit: &mut dyn FnMut(TypeId, u8, &[u8])) {
        let data: &[u8] = (*self.bytes).as_ref();
        let records = self.types.of(data).unwrap_or_default();
        let layouts = self.layout.of(data).unwrap_or_default();
        let strings = self.strings.of(data).unwrap_or_default();
        let base = self.base.as_deref();
        let base_strings = base.map_or(0, |base| base.strings_end());
        let mut id = self.first();
        let mut at = 0;
        while let Some(record) = record_at(records, layouts, at) {
            if record.name != 0 {
                let own = record.name.checked_sub(base_strings);
                let prefix = match (own, base) {
                    (Some(own), _) => u16_at(strings, own as usize),
                    (None, Some(base)) => base.prefix(record.name),
                    (None, None) => None,
                };
                if prefix.is_none_or(|prefix| filter.has(prefix))
                    && let Some(name) = self.bytes_of(StrId(record.name))
                {
                    visit(id, record.kind(), name);
                }
            }
            at = record.at + record.len;
            id.0 += 1;
        }
    }

    /// The offset at which a module's strings go on.
    pub(super) fn strings_end(&self) -> u32 {
        let before = self.base.as_ref().map_or(0, |base| base.strings_end());
        before.saturating_add(self.strings.len as u32)
    }

    fn prefix(&self, name: u32) -> Option<u16> {
        let data: &[u8] = (*self.bytes).as_ref();
        u16_at(self.strings.of(data)?, name as usize)
    }

    /// A name without its NUL; `None` where there is none, or one that is longer than any name of a kernel.
    fn bytes_of(&self, name: StrId) -> Option<&[u8]> {
        let own = match &self.base {
            Some(base) if name.0 < base.strings_end() => return base.bytes_of(name),
            Some(base) => name.0 - base.strings_end(),
            None => name.0,
        };
        let data: &[u8] = (*self.bytes).as_ref();
        let tail = self.strings.of(data)?.get(own as usize..)?;
        let end = tail.iter().take(MAX_NAME).position(|&byte| byte == 0)?;
        tail.get(..end)
    }

    /// The record of a type of its own.
    fn record(&self, id: TypeId) -> Option<Record> {
        let own = id.0.checked_sub(self.first().0)?;
        let data: &[u8] = (*self.bytes).as_ref();
        let records = self.types.of(data)?;
        let layouts = self.layout.of(data).unwrap_or_default();
        let mut at = *self.index.get((own / STRIDE) as usize)? as usize;
        for _ in 0..own % STRIDE {
            let record = record_at(records, layouts, at)?;
            at = record.at + record.len;
        }
        record_at(records, layouts, at)
    }

    /// A word behind a record of its own.
    fn word(&self, at: u32, index: u32) -> Option<u32> {
        let data: &[u8] = (*self.bytes).as_ref();
        let at = (at as usize).checked_add((index as usize).checked_mul(4)?)?;
        u32_at(self.types.of(data)?, at)
    }

    /// Whose a type is, so that its members are read from the right bytes.
    fn owner(&self, rest: u32) -> (&KernelTypes, u32) {
        match &self.base {
            Some(base) if rest & OF_BASE != 0 => (base, rest & !OF_BASE),
            Some(_) | None => (self, rest & !OF_BASE),
        }
    }
}

/// Marks, in [`Ty::rest`], a type of the base. A type section is below 2 GiB: see [`record_at`].
const OF_BASE: u32 = 1 << 31;

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

impl Part {
    fn of(self, data: &[u8]) -> Option<&[u8]> {
        data.get(self.start..self.start.checked_add(self.len)?)
    }
}

/// A record, where it and all that belongs to it lies within the section (and the section's first 2 GiB).
fn record_at(records: &[u8], layouts: &[u8], at: usize) -> Option<Record> {
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

fn kind_of(number: u8) -> TypeKind {
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

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*word))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*word))
}

/// Which first two bytes a wanted name can have: nearly all names are ruled out by one look.
struct Prefixes(Box<[u64; 1024]>);

impl Default for Prefixes {
    fn default() -> Self {
        Prefixes(Box::new([0; 1024]))
    }
}

impl Prefixes {
    fn add(&mut self, name: &[u8]) {
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

    fn has(&self, prefix: u16) -> bool {
        self.0[usize::from(prefix) / 64] & (1 << (prefix % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;
    use xdplb_linker::btf::{Btf, Composite, Enum, Kind};

    /// `int`, 200 typedefs of it, `struct sk_buff { int len; int cloned:1; }`, `enum e { A = -1 }`, `sk_buff___2`.
    fn sample() -> Btf {
        let mut btf = Btf::new();
        let int = btf.add(
            "int",
            Kind::Int(Int {
                size: 4,
                encoding: 1,
                bit_offset: 0,
                bits: 32,
            }),
        );
        for number in 0..200 {
            btf.add(&format!("t{number}"), Kind::Typedef(int));
        }
        let member = |name, bit_offset, bitfield_size| Member {
            name,
            ty: int,
            bit_offset,
            bitfield_size,
        };
        let (len, cloned) = (btf.strings.intern("len"), btf.strings.intern("cloned"));
        let members = vec![member(len, 0, 0), member(cloned, 32, 1)];
        btf.add("sk_buff", Kind::Struct(Composite { size: 8, members }));
        let a = btf.strings.intern("A");
        btf.add(
            "e",
            Kind::Enum(Enum {
                size: 4,
                signedness: Signedness::Signed,
                values: vec![EnumValue { name: a, value: -1 }],
            }),
        );
        let members = vec![member(len, 0, 0)];
        btf.add("sk_buff___2", Kind::Struct(Composite { size: 4, members }));
        btf
    }

    #[test]
    fn types_are_found_by_name_and_number() {
        let btf = sample();
        let kernel = KernelTypes::parse(btf.encode()).unwrap();
        assert_eq!(kernel.len(), btf.len() as u32);
        assert_eq!(
            kernel.find_all(&[
                (TypeKind::Typedef, "t199"),
                (TypeKind::Struct, "sk_buff"),
                (TypeKind::Union, "sk_buff"),
                (TypeKind::Int, "int"),
            ]),
            [Some(TypeId(201)), Some(TypeId(202)), None, Some(TypeId(1))]
        );
        let mut seen = Vec::new();
        let names = HashMap::from([(&b"sk_buff"[..], 7)]);
        kernel.visit_named(&names, &mut |at, id, kind| seen.push((at, id.0, kind)));
        assert_eq!(
            seen,
            [(7, 202, TypeKind::Struct), (7, 204, TypeKind::Struct)]
        );
    }

    #[test]
    fn both_views_show_the_same_types() {
        let btf = sample();
        let kernel = KernelTypes::parse(btf.encode()).unwrap();
        let (local, kernel): (&dyn Types, &dyn Types) = (&btf, &kernel);
        for id in (0..=205).map(TypeId) {
            let (a, b) = (local.ty(id), kernel.ty(id));
            assert_eq!(a.map(|t| (t.name, t.shape)), b.map(|t| (t.name, t.shape)));
            assert_eq!(local.size_of(id), kernel.size_of(id));
            assert_eq!(local.title(id), kernel.title(id));
            let (Some(a), Some(b)) = (a, b) else { continue };
            for index in 0..3 {
                assert_eq!(local.member(&a, index), kernel.member(&b, index));
                assert_eq!(local.enumerator(&a, index), kernel.enumerator(&b, index));
            }
        }
    }

    #[test]
    fn a_modules_types_go_on_from_the_kernels() {
        let base = KernelTypes::parse(sample().encode()).unwrap();
        let strings = base.strings_end();
        // typedef sk_buff *name*; struct mod_state { len }: names before `strings` are the kernel's.
        let mut bytes = Vec::new();
        let types = [
            [strings + 1, 8 << 24, 202],
            [0, 4 << 24 | 1 | 1 << 31, 4],
            [1, 1, 3 << 24 | 5],
        ];
        let text = b"\0mod_skb\0";
        for word in [0x0001_eb9f, 24, 0, 36, 36, text.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        types
            .iter()
            .flatten()
            .for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend(text);
        let module = KernelTypes::parse_module("m", bytes, &base).unwrap();
        assert_eq!(module.find(TypeKind::Typedef, "mod_skb"), Some(TypeId(205)));
        let view: &dyn Types = &module;
        assert_eq!(view.resolve(TypeId(205)).unwrap().0, TypeId(202));
        assert_eq!(view.title(TypeId(202)), "struct sk_buff");
        let skb = view.ty(TypeId(202)).unwrap();
        assert_eq!(view.member(&skb, 1).unwrap().bitfield_size, 1);
        let own = view.ty(TypeId(206)).unwrap();
        let member = view.member(&own, 0).unwrap();
        assert_eq!((member.bit_offset, member.bitfield_size), (5, 3));
        assert_eq!(view.text(member.name), "int");
    }

    #[test]
    fn broken_sections_are_told() {
        let error = |bytes: Vec<u8>| KernelTypes::parse(bytes).unwrap_err().to_string();
        let mut bytes = sample().encode();
        assert_eq!(
            error(bytes[..3].to_vec()),
            "BTF of vmlinux+0x0: this is no BTF of version 1 in this machine's byte order"
        );
        assert_eq!(
            error(bytes[..100].to_vec()),
            "BTF of vmlinux+0x8: the types end past the 100 bytes there are"
        );
        bytes[24 + 7] = 30; // the first type's kind
        assert_eq!(
            error(bytes),
            "BTF of vmlinux+0x18: type 1 (kind 30) is unknown or ends past the type section"
        );
    }

    #[test]
    fn kinds_of_later_kernels_are_skipped_by_their_layout() {
        let mut bytes = Vec::new();
        let layouts = 21 * 4;
        for word in [0x0001_eb9f, 32, 0, 40, 40, 5, 45, layouts] {
            bytes.extend(u32::to_le_bytes(word));
        }
        // Kind 20 with two members of four bytes and eight bytes before them; then `int`.
        for word in [0, 20 << 24 | 2, 0, 1, 2, 3, 4] {
            bytes.extend(u32::to_le_bytes(word));
        }
        for word in [1, 8 << 24, 0] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(b"\0int\0");
        bytes.extend(vec![0; 20 * 4]);
        bytes.extend([8, 4, 0, 0]);
        let kernel = KernelTypes::parse(bytes).unwrap();
        assert_eq!(kernel.find(TypeKind::Typedef, "int"), Some(TypeId(2)));
        assert_eq!(kernel.ty(TypeId(1)).unwrap().shape, Shape::Newer(20));
    }

    proptest! {
        #[test]
        fn any_bytes_give_types_or_an_error(
            flips in proptest::collection::vec((0usize..3000, any::<u8>()), 0..8),
            cut in 0usize..3000,
        ) {
            let mut bytes = sample().encode();
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if cut > 1500 {
                bytes.truncate(cut);
            }
            if let Ok(kernel) = KernelTypes::parse(bytes) {
                let view: &dyn Types = &kernel;
                for id in (0..=kernel.len() + 1).map(TypeId) {
                    let _ = (view.resolve(id), view.size_of(id), view.title(id));
                    let Some(ty) = view.ty(id) else { continue };
                    for index in 0..3 {
                        let _ = (view.member(&ty, index), view.enumerator(&ty, index), view.param(&ty, index));
                    }
                }
                let _ = kernel.find(TypeKind::Struct, "sk_buff");
            }
        }
    }
}
