//! What the kernel says about a map, program, BTF object or link (BPF_OBJ_GET_INFO_BY_FD).
//!
//! Offsets follow `struct bpf_map_info`, `bpf_prog_info`, `bpf_btf_info` and `bpf_link_info` of include/uapi/linux/bpf.h.
//! A kernel older than a field leaves it zero.

use std::os::fd::BorrowedFd;

use super::syscall::{Attr, Command, bpf};
use super::{KernelError, name_from_bytes};
use crate::uapi::{LinkType, MapType, ProgramType};

/// A map as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MapInfo {
    pub map_type: MapType,
    pub id: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub map_flags: u32,
    pub name: String,
    pub btf_id: u32,
    pub btf_key_type_id: u32,
    pub btf_value_type_id: u32,
    pub map_extra: u64,
}

/// A program as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ProgramInfo {
    pub program_type: ProgramType,
    pub id: u32,
    /// A hash of the instructions, which bpftool prints as sixteen hex digits.
    pub tag: [u8; 8],
    pub name: String,
    /// Length in bytes of the instructions after the verifier's rewrites.
    pub xlated_len: u32,
    /// Length in bytes of the machine code; 0 where the JIT is off.
    pub jited_len: u32,
    pub map_ids: Vec<u32>,
    pub btf_id: u32,
    /// Nanoseconds since boot at which it was loaded.
    pub load_time: u64,
    /// Time spent and number of runs, counted while `kernel.bpf_stats_enabled` is 1.
    pub run_time_ns: u64,
    pub run_cnt: u64,
    /// Instructions that the verifier walked through (Linux 5.16).
    pub verified_insns: u32,
    /// Who loaded it.
    pub created_by_uid: u32,
    /// Where it attaches: the type, and the BTF object that it is of (Linux 5.17).
    pub attach_btf_id: u32,
    pub attach_btf_obj_id: u32,
    /// Runs that did not happen because the program was running already on that CPU (Linux 5.12).
    pub recursion_misses: u64,
}

/// A BTF object as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct BtfInfo {
    pub id: u32,
    pub size: u32,
}

/// A link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LinkInfo {
    pub link_type: LinkType,
    pub id: u32,
    pub program_id: u32,
    /// For an XDP link: the interface it holds; 0 once that interface is gone.
    pub ifindex: Option<u32>,
}

const MAP_INFO_SIZE: usize = 88;
pub(super) const PROG_INFO_SIZE: usize = 232;
const BTF_INFO_SIZE: usize = 32;
const LINK_INFO_SIZE: usize = 24;

/// Fills `info` for the object behind `fd`.
pub(super) fn get_info(what: &str, fd: BorrowedFd<'_>, info: &mut [u8]) -> Result<(), KernelError> {
    let len = info.len() as u32;
    let mut attr = Attr::new(16);
    attr.fd("info.bpf_fd", 0, fd)
        .u32("info.info_len", 4, len)
        .output("info.info", 8, info);
    bpf(Command::ObjGetInfoByFd, &mut attr)
        .map_err(|errno| KernelError::refused(format!("{what}: ask the kernel about it"), errno))?;
    Ok(())
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut value = [0u8; 4];
    if let Some(bytes) = bytes.get(offset..offset + 4) {
        value.copy_from_slice(bytes);
    }
    u32::from_ne_bytes(value)
}

pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut value = [0u8; 8];
    if let Some(bytes) = bytes.get(offset..offset + 8) {
        value.copy_from_slice(bytes);
    }
    u64::from_ne_bytes(value)
}

pub(super) fn put(info: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = info.get_mut(offset..offset + value.len()) {
        place.copy_from_slice(value);
    }
}

impl MapInfo {
    pub(super) fn of(what: &str, fd: BorrowedFd<'_>) -> Result<Self, KernelError> {
        let mut info = [0u8; MAP_INFO_SIZE];
        get_info(what, fd, &mut info)?;
        Ok(Self::from_bytes(&info))
    }

    fn from_bytes(info: &[u8; MAP_INFO_SIZE]) -> Self {
        MapInfo {
            map_type: MapType(u32_at(info, 0)),
            id: u32_at(info, 4),
            key_size: u32_at(info, 8),
            value_size: u32_at(info, 12),
            max_entries: u32_at(info, 16),
            map_flags: u32_at(info, 20),
            name: name_from_bytes(&info[24..40]),
            btf_id: u32_at(info, 64),
            btf_key_type_id: u32_at(info, 68),
            btf_value_type_id: u32_at(info, 72),
            map_extra: u64_at(info, 80),
        }
    }
}

impl ProgramInfo {
    pub(super) fn of(what: &str, fd: BorrowedFd<'_>) -> Result<Self, KernelError> {
        // The ids of its maps come through a pointer. Few programs have more than there is room for here, and then it is
        // asked again with room for as many as there are.
        let mut few = [0u8; 64 * 4];
        let (info, map_count) = Self::ask(what, fd, &mut few)?;
        let mut many = Vec::new();
        let ids = match few.get(..map_count * 4) {
            Some(ids) => ids,
            None => {
                many.resize(map_count.min(1 << 16) * 4, 0);
                Self::ask(what, fd, &mut many)?;
                &many
            }
        };
        let map_ids = ids.chunks_exact(4).map(|id| u32_at(id, 0)).collect();
        Ok(Self::from_bytes(&info, map_ids))
    }

    /// The kernel's answer with as many of its maps' ids as there is room for, and how many there are.
    fn ask(
        what: &str,
        fd: BorrowedFd<'_>,
        ids: &mut [u8],
    ) -> Result<([u8; PROG_INFO_SIZE], usize), KernelError> {
        let mut info = [0u8; PROG_INFO_SIZE];
        put(&mut info, 52, &((ids.len() / 4) as u32).to_ne_bytes());
        get_info_with(what, fd, &mut info, 56, ids)?;
        Ok((info, u32_at(&info, 52) as usize))
    }

    fn from_bytes(info: &[u8; PROG_INFO_SIZE], map_ids: Vec<u32>) -> Self {
        let mut tag = [0u8; 8];
        tag.copy_from_slice(&info[8..16]);
        ProgramInfo {
            program_type: ProgramType(u32_at(info, 0)),
            id: u32_at(info, 4),
            tag,
            jited_len: u32_at(info, 16),
            xlated_len: u32_at(info, 20),
            load_time: u64_at(info, 40),
            name: name_from_bytes(&info[64..80]),
            map_ids,
            btf_id: u32_at(info, 128),
            run_time_ns: u64_at(info, 192),
            run_cnt: u64_at(info, 200),
            verified_insns: u32_at(info, 216),
            created_by_uid: u32_at(info, 48),
            attach_btf_obj_id: u32_at(info, 220),
            attach_btf_id: u32_at(info, 224),
            recursion_misses: u64_at(info, 208),
        }
    }

    /// The tag as bpftool prints it.
    pub fn tag_text(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.tag))
    }
}

/// Asks with one pointer set inside the info block: `buffer` at `offset`; its length was put into `info` by the caller from
/// the kernel's own answer, in the unit the field counts in.
fn get_info_with(
    what: &str,
    fd: BorrowedFd<'_>,
    info: &mut [u8],
    offset: usize,
    buffer: &mut [u8],
) -> Result<(), KernelError> {
    put(
        info,
        offset,
        &(buffer.as_mut_ptr().expose_provenance() as u64).to_ne_bytes(),
    );
    let result = get_info(what, fd, info);
    // The borrow of `buffer` reaches past the call: its address was used until here.
    std::hint::black_box(buffer);
    result
}

impl BtfInfo {
    pub(super) fn of(what: &str, fd: BorrowedFd<'_>) -> Result<Self, KernelError> {
        let mut info = [0u8; BTF_INFO_SIZE];
        get_info(what, fd, &mut info)?;
        Ok(BtfInfo {
            size: u32_at(&info, 8),
            id: u32_at(&info, 12),
        })
    }

    /// The types themselves, as they were loaded.
    pub(super) fn bytes_of(what: &str, fd: BorrowedFd<'_>) -> Result<Vec<u8>, KernelError> {
        let size = Self::of(what, fd)?.size;
        let mut bytes = vec![0u8; size as usize];
        let mut info = [0u8; BTF_INFO_SIZE];
        put(&mut info, 8, &size.to_ne_bytes());
        get_info_with(what, fd, &mut info, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// The name of a BTF object of the kernel itself (`vmlinux`, or a module's); `None` where a program brought it.
    pub(super) fn of_kernel(what: &str, fd: BorrowedFd<'_>) -> Result<Option<String>, KernelError> {
        // Modules' names have at most 56 bytes (MODULE_NAME_LEN).
        let mut name = [0u8; 64];
        let mut info = [0u8; BTF_INFO_SIZE];
        put(&mut info, 24, &(name.len() as u32).to_ne_bytes());
        get_info_with(what, fd, &mut info, 16, &mut name)?;
        let of_kernel = u32_at(&info, 28) != 0;
        Ok(of_kernel.then(|| name_from_bytes(&name)))
    }
}

impl LinkInfo {
    pub(super) fn of(what: &str, fd: BorrowedFd<'_>) -> Result<Self, KernelError> {
        let mut info = [0u8; LINK_INFO_SIZE];
        get_info(what, fd, &mut info)?;
        let link_type = LinkType(u32_at(&info, 0));
        Ok(LinkInfo {
            link_type,
            id: u32_at(&info, 4),
            program_id: u32_at(&info, 8),
            ifindex: (link_type == LinkType::XDP).then(|| u32_at(&info, 16)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_at_the_headers_offsets() {
        let mut info = [0u8; PROG_INFO_SIZE];
        put(&mut info, 0, &6u32.to_ne_bytes());
        put(&mut info, 4, &42u32.to_ne_bytes());
        put(&mut info, 8, &[0xde, 0xad, 0, 1, 2, 3, 4, 5]);
        put(&mut info, 64, b"xdp_filter\0");
        put(&mut info, 216, &77u32.to_ne_bytes());
        let info = ProgramInfo::from_bytes(&info, vec![7]);
        assert_eq!(
            (info.program_type, info.id, info.verified_insns),
            (ProgramType::XDP, 42, 77)
        );
        assert_eq!(
            (info.name.as_str(), info.tag_text().as_str()),
            ("xdp_filter", "dead000102030405")
        );

        let mut info = [0u8; MAP_INFO_SIZE];
        put(&mut info, 16, &1024u32.to_ne_bytes());
        put(&mut info, 80, &9u64.to_ne_bytes());
        let info = MapInfo::from_bytes(&info);
        assert_eq!((info.max_entries, info.map_extra), (1024, 9));
    }
}
