//! Maps: create, read, write, freeze.

use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::uapi::{MapType, map_flags};

use super::info::MapInfo;
use super::layout::MapCreate;
use super::map_definition::create_error;
use super::mapping::Shared;
use super::syscall::{Attr, Command, bpf, bpf_fd};
use super::token::token_flag;
use super::{
    Capability, KernelError, MapDefinition, MapShape, Token, page_size, permission, possible_cpus,
};

/// What an update expects to find under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// `BPF_ANY`: create or replace.
    Any,
    /// `BPF_NOEXIST`: create only.
    Create,
    /// `BPF_EXIST`: replace only.
    Replace,
}

impl Update {
    fn flags(self) -> u64 {
        match self {
            Update::Any => 0,
            Update::Create => 1,
            Update::Replace => 2,
        }
    }
}

/// A map in the kernel. Dropping it closes the descriptor; the map lives on while a program, pin or other holder has it.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    name: String,
    shape: MapShape,
    /// An arena's pages in this process: programs that use the arena are verified for the address that it has here.
    pages: Option<Shared>,
}

impl Map {
    /// Creates a map. EPERM is tried again with what can help: a higher RLIMIT_MEMLOCK (before 5.11), a token (6.9).
    pub fn create(definition: &MapDefinition<'_>) -> Result<Self, KernelError> {
        let shape = definition.shape;
        let inner = definition.inner.map(|inner| &inner.fd);
        let (result, token) = permission::retry(definition.token, |token| {
            Self::command(definition, inner, token)
        });
        let fd = result.map_err(|errno| create_error(definition, errno, token))?;
        let pages = match shape.map_type {
            MapType::ARENA => Some(arena_pages(definition, fd.as_fd())?),
            _ => None,
        };
        Ok(Map {
            fd,
            name: definition.name.to_string(),
            shape,
            pages,
        })
    }

    /// The command itself; also what the probes use.
    pub(super) fn command(
        definition: &MapDefinition<'_>,
        inner: Option<&OwnedFd>,
        token: Option<&Token>,
    ) -> Result<OwnedFd, Errno> {
        let shape = definition.shape;
        let mut attr = Attr::new(offset_of!(MapCreate, map_ifindex));
        attr.u32("map_type", 0, shape.map_type.0)
            .u32("key_size", 4, shape.key_size)
            .u32("value_size", 8, shape.value_size)
            .u32("max_entries", 12, shape.max_entries)
            .u32("map_flags", 16, shape.map_flags | token_flag(token))
            .u32("numa_node", 24, definition.numa_node)
            .name("map_name", 28, definition.name)
            .u32(
                "map_ifindex",
                offset_of!(MapCreate, map_ifindex),
                definition.ifindex,
            )
            .u64(
                "map_extra",
                offset_of!(MapCreate, map_extra),
                shape.map_extra,
            );
        if let Some(inner) = inner {
            attr.fd("inner_map_fd", 20, inner.as_fd());
        }
        if let Some(types) = definition.types {
            attr.fd("btf_fd", 48, types.btf.as_fd())
                .u32("btf_key_type_id", 52, types.key)
                .u32("btf_value_type_id", 56, types.value);
        }
        if let Some(value) = definition.kernel_value {
            attr.u32(
                "btf_vmlinux_value_type_id",
                offset_of!(MapCreate, btf_vmlinux_value_type_id),
                value.type_id,
            );
            if let Some(module) = value.module {
                attr.u32(
                    "map_flags",
                    16,
                    shape.map_flags | token_flag(token) | map_flags::VTYPE_BTF_OBJ_FD,
                )
                .fd(
                    "value_type_btf_obj_fd",
                    offset_of!(MapCreate, value_type_btf_obj_fd),
                    module,
                );
            }
        }
        if let Some(token) = token {
            attr.fd(
                "map_token_fd",
                offset_of!(MapCreate, map_token_fd),
                token.as_fd(),
            );
        }
        bpf_fd(Command::MapCreate, &mut attr)
    }

    /// Takes over a descriptor that someone else opened.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, KernelError> {
        let info = MapInfo::of("map", fd.as_fd())?;
        let shape = MapShape {
            map_type: info.map_type,
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
            map_flags: info.map_flags,
            map_extra: info.map_extra,
        };
        Ok(Map {
            fd,
            name: info.name,
            shape,
            pages: None,
        })
    }

    /// Opens the map with this id.
    pub fn from_id(id: u32) -> Result<Self, KernelError> {
        let mut attr = Attr::new(12);
        attr.u32("map_id", 0, id);
        let fd = bpf_fd(Command::MapGetFdById, &mut attr).map_err(|errno| {
            KernelError::privileged(format!("open map {id}"), errno, &[Capability::SysAdmin])
        })?;
        Self::from_fd(fd)
    }

    /// The name it was created with (the kernel keeps 15 bytes of it).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Type, sizes and flags.
    pub fn shape(&self) -> MapShape {
        self.shape
    }

    /// What the kernel says about it now.
    pub fn info(&self) -> Result<MapInfo, KernelError> {
        MapInfo::of(&self.what("map"), self.fd.as_fd())
    }

    /// How many bytes user space reads or writes for one key.
    pub(super) fn value_bytes(&self) -> Result<usize, KernelError> {
        let size = self.shape.value_size as usize;
        Ok(if self.shape.map_type.is_per_cpu() {
            size.next_multiple_of(8) * possible_cpus()?
        } else {
            size
        })
    }

    /// The value under `key`; for a per-CPU map the values of all possible CPUs, each padded to 8 bytes
    /// ([`Map::lookup_per_cpu`] splits them).
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        self.check("look up in", "key", key, self.shape.key_size as usize)?;
        let mut value = vec![0u8; self.value_bytes()?];
        let mut attr = Attr::new(32);
        attr.fd("map_fd", 0, self.fd.as_fd())
            .input("key", 8, key)
            .output("value", 16, &mut value);
        match bpf(Command::MapLookupElem, &mut attr) {
            Ok(_) => Ok(Some(value)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.refused("look up in", errno)),
        }
    }

    /// The value of each possible CPU under `key`.
    pub fn lookup_per_cpu(&self, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>, KernelError> {
        let size = self.shape.value_size as usize;
        let Some(all) = self.lookup(key)? else {
            return Ok(None);
        };
        Ok(Some(
            all.chunks_exact(size.next_multiple_of(8).max(8))
                .map(|value| value[..size].to_vec())
                .collect(),
        ))
    }

    /// Writes `value` under `key`; for a per-CPU map, `value` is one CPU's value and every CPU gets it.
    pub fn update(&self, key: &[u8], value: &[u8], update: Update) -> Result<(), KernelError> {
        self.check("write to", "value", value, self.shape.value_size as usize)?;
        if self.shape.map_type.is_per_cpu() {
            let all = padded(value).repeat(possible_cpus()?);
            return self.update_bytes(key, &all, update);
        }
        self.update_bytes(key, value, update)
    }

    /// Writes the value of each possible CPU under `key`.
    pub fn update_per_cpu(
        &self,
        key: &[u8],
        values: &[Vec<u8>],
        update: Update,
    ) -> Result<(), KernelError> {
        let cpus = possible_cpus()?;
        if !self.shape.map_type.is_per_cpu() || values.len() != cpus {
            return Err(KernelError::Usage {
                what: self.what("write to"),
                why: format!(
                    "{} values for {cpus} possible CPUs of a map of the type {}",
                    values.len(),
                    self.shape.map_type
                ),
            });
        }
        let mut all = Vec::new();
        for value in values {
            self.check("write to", "value", value, self.shape.value_size as usize)?;
            all.extend(padded(value));
        }
        self.update_bytes(key, &all, update)
    }

    fn update_bytes(&self, key: &[u8], value: &[u8], update: Update) -> Result<(), KernelError> {
        self.check("write to", "key", key, self.shape.key_size as usize)?;
        let mut attr = Attr::new(32);
        attr.fd("map_fd", 0, self.fd.as_fd())
            .input("key", 8, key)
            .input("value", 16, value);
        attr.u64("flags", 24, update.flags());
        match bpf(Command::MapUpdateElem, &mut attr) {
            Ok(_) => Ok(()),
            Err(Errno::E2BIG) => Err(self.full(Errno::E2BIG)),
            Err(errno) => Err(self.refused("write to", errno)),
        }
    }

    /// Puts a descriptor's number under `key`: a program into a program array, a map into a map of maps.
    pub fn update_fd(
        &self,
        key: &[u8],
        value: BorrowedFd<'_>,
        update: Update,
    ) -> Result<(), KernelError> {
        use std::os::fd::AsRawFd;
        self.update(key, &value.as_raw_fd().to_ne_bytes(), update)
    }

    /// Removes `key`; says whether it was there.
    pub fn delete(&self, key: &[u8]) -> Result<bool, KernelError> {
        self.check("delete from", "key", key, self.shape.key_size as usize)?;
        let mut attr = Attr::new(32);
        attr.fd("map_fd", 0, self.fd.as_fd()).input("key", 8, key);
        match bpf(Command::MapDeleteElem, &mut attr) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.refused("delete from", errno)),
        }
    }

    /// The key after `key`, the first one for `None`; `None` at the end. Of a hash that changes meanwhile a key can be
    /// missed or seen twice.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, KernelError> {
        if let Some(key) = key {
            self.check("walk", "key", key, self.shape.key_size as usize)?;
        }
        let mut next = vec![0u8; self.shape.key_size as usize];
        let mut attr = Attr::new(32);
        attr.fd("map_fd", 0, self.fd.as_fd())
            .output("next_key", 16, &mut next);
        if let Some(key) = key {
            attr.input("key", 8, key);
        }
        match bpf(Command::MapGetNextKey, &mut attr) {
            Ok(_) => Ok(Some(next)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.refused("walk", errno)),
        }
    }

    /// All keys, at most twice `max_entries` of them: a hash that is written to meanwhile can send the walk back to its
    /// beginning, and this must end.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>, KernelError> {
        let bound = (self.shape.max_entries as usize).saturating_mul(2);
        let mut keys: Vec<Vec<u8>> = Vec::new();
        while keys.len() < bound {
            match self.next_key(keys.last().map(Vec::as_slice))? {
                Some(key) => keys.push(key),
                None => break,
            }
        }
        Ok(keys)
    }

    /// Makes the map read-only for user space for ever. With `BPF_F_RDONLY_PROG` its values are then constants to the
    /// verifier, which removes the branches they decide.
    pub fn freeze(&self) -> Result<(), KernelError> {
        let mut attr = Attr::new(4);
        attr.fd("map_fd", 0, self.fd.as_fd());
        bpf(Command::MapFreeze, &mut attr)
            .map(drop)
            .map_err(|errno| self.refused("freeze", errno))
    }

    /// Writes to an arena's pages, which this process has since it made the map (Linux 6.9).
    pub fn write_pages(&mut self, offset: usize, bytes: &[u8]) -> Result<(), KernelError> {
        let what = self.what("write to the pages of");
        let why = match &mut self.pages {
            None => "it is no arena, or was made by another process".to_string(),
            // A page that was not touched before would end the process, instead of being made.
            Some(_) if self.shape.map_flags & map_flags::SEGV_ON_FAULT != 0 => {
                "its pages are made by programs only (BPF_F_SEGV_ON_FAULT)".to_string()
            }
            Some(pages) => {
                if pages.write(offset, bytes) {
                    return Ok(());
                }
                format!("{} bytes at {offset} reach past its end", bytes.len())
            }
        };
        Err(KernelError::Usage { what, why })
    }

    /// A second descriptor of the same map.
    pub fn try_clone(&self) -> Result<Self, KernelError> {
        let fd = self.fd.try_clone().map_err(|e| {
            KernelError::refused(
                self.what("duplicate"),
                Errno::from_raw(e.raw_os_error().unwrap_or_default()),
            )
        })?;
        Ok(Map {
            fd,
            name: self.name.clone(),
            shape: self.shape,
            pages: None,
        })
    }

    pub(super) fn what(&self, verb: &str) -> String {
        format!("{verb} map `{}`", self.name)
    }

    pub(super) fn refused(&self, verb: &str, errno: Errno) -> KernelError {
        KernelError::refused(self.what(verb), errno)
    }

    pub(super) fn full(&self, errno: Errno) -> KernelError {
        let why = format!(
            "it is full or the key is past its {} entries",
            self.shape.max_entries
        );
        KernelError::because(self.what("write to"), why, errno)
    }

    pub(super) fn check(
        &self,
        verb: &str,
        part: &str,
        bytes: &[u8],
        size: usize,
    ) -> Result<(), KernelError> {
        if bytes.len() == size {
            return Ok(());
        }
        Err(KernelError::Usage {
            what: self.what(verb),
            why: format!(
                "the {part} has {} bytes, the map's have {size}",
                bytes.len()
            ),
        })
    }
}

/// One CPU's value as it lies among the others': to a multiple of eight bytes.
fn padded(value: &[u8]) -> Vec<u8> {
    let mut padded = value.to_vec();
    padded.resize(value.len().next_multiple_of(8), 0);
    padded
}

/// Maps an arena where its definition wants it, or anywhere: the verifier asks for an address (`arena's user address must be
/// set via map_extra or mmap()`).
fn arena_pages(definition: &MapDefinition<'_>, fd: BorrowedFd<'_>) -> Result<Shared, KernelError> {
    let shape = definition.shape;
    let len = (shape.max_entries as usize).saturating_mul(page_size() as usize);
    Shared::new(fd, len, shape.map_extra).map_err(|error| {
        KernelError::io(
            format!(
                "map the {len} bytes of arena `{}` into memory",
                definition.name
            ),
            &error,
        )
    })
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
