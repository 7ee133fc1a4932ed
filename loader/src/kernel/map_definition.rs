//! What a map is to be, and why the kernel would not make it.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::kinds::without_map_type;
use super::{Btf, Capability, KernelError, Map, Token, permission};
use crate::uapi::MapType;

/// What maps ask of the process.
const NEEDED: &[Capability] = &[Capability::Bpf];

/// The properties by which two maps are the same kind of map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MapShape {
    pub map_type: MapType,
    /// Bytes.
    pub key_size: u32,
    /// Bytes; for a per-CPU map, of one CPU's value.
    pub value_size: u32,
    pub max_entries: u32,
    /// `BPF_F_*` of [`crate::uapi::map_flags`].
    pub map_flags: u32,
    /// Bloom filter: number of hash functions; arena: address; else 0 (Linux 5.16).
    pub map_extra: u64,
}

/// Where a map's types stand in BTF, so that tools print its entries typed.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct TypeIds<'a> {
    pub btf: &'a Btf,
    pub key: u32,
    pub value: u32,
}

/// The kernel's own types of a map's values: a struct_ops map holds a `bpf_struct_ops_X` of vmlinux or of a module.
#[derive(Clone, Copy, Debug)]
pub struct KernelValue<'a> {
    /// `btf_vmlinux_value_type_id`.
    pub type_id: u32,
    /// The module's BTF in which the number counts; `None`: vmlinux (Linux 6.9 for modules).
    pub module: Option<BorrowedFd<'a>>,
}

/// A map to create. `..MapDefinition::default()` leaves out what a map has no use for.
#[derive(Clone, Copy, Debug)]
pub struct MapDefinition<'a> {
    /// Cut and cleaned to what the kernel takes.
    pub name: &'a str,
    /// Type, sizes and flags.
    pub shape: MapShape,
    /// Node for `BPF_F_NUMA_NODE`.
    pub numa_node: u32,
    /// BTF types of key and value; left out for maps without them.
    pub types: Option<TypeIds<'a>>,
    /// For a map of maps: a map like the ones it will hold.
    pub inner: Option<&'a Map>,
    /// For struct_ops: the kernel's type of the value.
    pub kernel_value: Option<KernelValue<'a>>,
    /// The network card that shall hold it; 0: none, main memory does.
    pub ifindex: u32,
    /// A delegated right to create it (Linux 6.9); `None` finds one where it is needed, see [`Token`].
    pub token: Option<&'a Token>,
}

impl Default for MapDefinition<'_> {
    fn default() -> Self {
        MapDefinition {
            name: "",
            shape: MapShape {
                map_type: MapType::UNSPEC,
                key_size: 0,
                value_size: 0,
                max_entries: 0,
                map_flags: 0,
                map_extra: 0,
            },
            numa_node: 0,
            types: None,
            inner: None,
            kernel_value: None,
            ifindex: 0,
            token: None,
        }
    }
}

/// Says what the kernel objected to where the errno and the definition tell.
pub(super) fn create_error(
    definition: &MapDefinition<'_>,
    errno: Errno,
    token: Option<&Token>,
) -> KernelError {
    let what = format!("create map `{}`", definition.name);
    let MapShape {
        map_type,
        key_size,
        value_size,
        max_entries,
        map_flags,
        ..
    } = definition.shape;
    let error = match errno {
        Errno::EINVAL if max_entries == 0 && map_type != MapType::CGROUP_STORAGE => {
            KernelError::because(what, "it has no entries (max_entries is 0)", errno)
        }
        Errno::EINVAL => match without_map_type(map_type) {
            Some(why) => KernelError::because(what, why, errno),
            None => KernelError::refused(what, errno),
        },
        Errno::E2BIG | Errno::ENOMEM => {
            KernelError::because(what, "it is larger than the kernel allows", errno)
        }
        Errno::EPERM => permission::error(what, NEEDED, token),
        errno => KernelError::refused(what, errno),
    };
    match error {
        KernelError::Refused {
            what,
            why,
            errno,
            evidence,
        } => KernelError::Refused {
            what,
            why,
            errno,
            evidence: std::iter::once(format!(
                "type {map_type}, key {key_size} bytes, value {value_size} bytes, {max_entries} entries, flags {map_flags:#x}"
            ))
            .chain(evidence)
            .collect(),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(max_entries: u32) -> MapDefinition<'static> {
        MapDefinition {
            name: "flows",
            shape: MapShape {
                map_type: MapType::HASH,
                key_size: 16,
                value_size: 4,
                max_entries,
                map_flags: 0,
                map_extra: 0,
            },
            ..MapDefinition::default()
        }
    }

    #[test]
    fn create_errors_show_the_shape() {
        assert_eq!(
            create_error(&definition(0), Errno::EINVAL, None).to_string(),
            "create map `flows`: it has no entries (max_entries is 0) (EINVAL)\n  type hash, key 16 bytes, value 4 bytes, 0 entries, flags 0x0"
        );
        assert_eq!(
            create_error(&definition(u32::MAX), Errno::E2BIG, None).to_string(),
            "create map `flows`: it is larger than the kernel allows (E2BIG)\n  type hash, key 16 bytes, value 4 bytes, 4294967295 entries, flags 0x0"
        );
    }
}
