//! The kernel's own types, searchable without unpacking them.
//!
//! A kernel has a hundred thousand types in five megabytes. Here they stay the bytes they are (which may be a mapping of
//! `/sys/kernel/btf/vmlinux`); all that is kept beside them is where every 64th type starts. A type is found by walking
//! at most 63 records from there, names are looked up many at a time in one walk over all.
//!
//! A module's types continue those of the kernel: type numbers and string offsets count on from the kernel's.

mod modules;
mod record;
#[cfg(test)]
mod tests;
mod view;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use xdplb_linker::btf::{StrId, TypeId};

use super::ObjectError;
use super::core::{TypeKind, essential};
use record::{OF_BASE, Part, Prefixes, RECORD, Record, kind_of, record_at, u16_at, u32_at};

pub use modules::{ModuleTypes, Modules};

/// Every how many types the index has an entry.
const STRIDE: u32 = 64;
/// Bytes of `struct btf_header` without the layout table of later kernels.
const HEADER: usize = 24;
/// The longest name that is looked at: the kernel's `KSYM_NAME_LEN`. It bounds the work that strings without end make.
const MAX_NAME: usize = 512;

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
