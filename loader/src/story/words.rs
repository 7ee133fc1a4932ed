//! Values in words, as the kernel's headers name them (include/uapi/linux/bpf.h, errno.h).

use nix::errno::Errno;

use crate::uapi::{AttachType, LinkType, MapType, ProgramType};

/// The flags of one field: bit and name.
pub(super) type Flags = &'static [(u64, &'static str)];

/// `map_flags` of BPF_MAP_CREATE.
pub(super) const MAP_FLAGS: Flags = &[
    (1 << 0, "BPF_F_NO_PREALLOC"),
    (1 << 1, "BPF_F_NO_COMMON_LRU"),
    (1 << 2, "BPF_F_NUMA_NODE"),
    (1 << 3, "BPF_F_RDONLY"),
    (1 << 4, "BPF_F_WRONLY"),
    (1 << 5, "BPF_F_STACK_BUILD_ID"),
    (1 << 6, "BPF_F_ZERO_SEED"),
    (1 << 7, "BPF_F_RDONLY_PROG"),
    (1 << 8, "BPF_F_WRONLY_PROG"),
    (1 << 9, "BPF_F_CLONE"),
    (1 << 10, "BPF_F_MMAPABLE"),
    (1 << 11, "BPF_F_PRESERVE_ELEMS"),
    (1 << 12, "BPF_F_INNER_MAP"),
    (1 << 13, "BPF_F_LINK"),
    (1 << 14, "BPF_F_PATH_FD"),
    (1 << 15, "BPF_F_VTYPE_BTF_OBJ_FD"),
    (1 << 16, "BPF_F_TOKEN_FD"),
    (1 << 17, "BPF_F_SEGV_ON_FAULT"),
    (1 << 18, "BPF_F_NO_USER_CONV"),
    (1 << 19, "BPF_F_RB_OVERWRITE"),
];

/// `prog_flags` of BPF_PROG_LOAD.
pub(super) const PROG_FLAGS: Flags = &[
    (1 << 0, "BPF_F_STRICT_ALIGNMENT"),
    (1 << 1, "BPF_F_ANY_ALIGNMENT"),
    (1 << 2, "BPF_F_TEST_RND_HI32"),
    (1 << 3, "BPF_F_TEST_STATE_FREQ"),
    (1 << 4, "BPF_F_SLEEPABLE"),
    (1 << 5, "BPF_F_XDP_HAS_FRAGS"),
    (1 << 6, "BPF_F_XDP_DEV_BOUND_ONLY"),
    (1 << 7, "BPF_F_TEST_REG_INVARIANTS"),
    (1 << 16, "BPF_F_TOKEN_FD"),
];

/// `btf_flags` of BPF_BTF_LOAD.
pub(super) const BTF_FLAGS: Flags = &[(1 << 16, "BPF_F_TOKEN_FD")];

/// `log_level` of BPF_PROG_LOAD and BPF_BTF_LOAD (include/linux/bpf_verifier.h).
pub(super) const LOG_LEVEL: Flags = &[
    (1, "BPF_LOG_LEVEL1"),
    (2, "BPF_LOG_LEVEL2"),
    (4, "BPF_LOG_STATS"),
];

/// `flags` of BPF_MAP_UPDATE_ELEM.
pub(super) const UPDATE_FLAGS: Flags = &[(1, "BPF_NOEXIST"), (2, "BPF_EXIST"), (4, "BPF_F_LOCK")];

/// `IFLA_XDP_FLAGS` (include/uapi/linux/if_link.h).
pub(super) const XDP_FLAGS: Flags = &[
    (1 << 0, "XDP_FLAGS_UPDATE_IF_NOEXIST"),
    (1 << 1, "XDP_FLAGS_SKB_MODE"),
    (1 << 2, "XDP_FLAGS_DRV_MODE"),
    (1 << 3, "XDP_FLAGS_HW_MODE"),
    (1 << 4, "XDP_FLAGS_REPLACE"),
];

/// The names of the bits that are set, each bit named once, and what is left of the number.
pub(super) fn flags(names: Flags, value: u64) -> String {
    let mut left = value;
    let mut words = Vec::new();
    for (bit, name) in names {
        if left & bit == *bit {
            words.push((*name).to_string());
            left &= !bit;
        }
    }
    if left != 0 {
        words.push(format!("{left:#x}"));
    }
    words.join(" | ")
}

pub(super) fn map_type(value: u32) -> String {
    header_name("BPF_MAP_TYPE_", MapType(value).name())
}

pub(super) fn program_type(value: u32) -> String {
    header_name("BPF_PROG_TYPE_", ProgramType(value).name())
}

pub(super) fn link_type(value: u32) -> String {
    header_name("BPF_LINK_TYPE_", LinkType(value).name())
}

/// 0 is also what programs without an attach type have.
pub(super) fn attach_type(value: u32) -> String {
    match value {
        0 => "none, or BPF_CGROUP_INET_INGRESS".into(),
        value => header_name("BPF_", AttachType(value).name()),
    }
}

fn header_name(prefix: &str, name: Option<&str>) -> String {
    name.map(|name| format!("{prefix}{}", name.to_uppercase()))
        .unwrap_or_default()
}

/// `6.18.0` of a LINUX_VERSION_CODE.
pub(super) fn version(code: u32) -> String {
    match code {
        0 => String::new(),
        code => format!("{}.{}.{}", code >> 16, (code >> 8) & 0xff, code & 0xff),
    }
}

/// `EINVAL: Invalid argument`.
pub(super) fn errno(number: i32) -> String {
    match number {
        // include/linux/errno.h; user space has no name for it.
        524 => "ENOTSUPP: operation is not supported".into(),
        number => {
            let errno = Errno::from_raw(number);
            format!("{errno:?}: {}", errno.desc())
        }
    }
}

/// `struct` fields as hex digits, two a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_headers_names() {
        assert_eq!(map_type(27), "BPF_MAP_TYPE_RINGBUF");
        assert_eq!(program_type(6), "BPF_PROG_TYPE_XDP");
        assert_eq!(attach_type(37), "BPF_XDP");
        assert_eq!(map_type(999), "", "a number newer than the list");
        assert_eq!(
            flags(MAP_FLAGS, 0x80 | 0x400 | 1 << 30),
            "BPF_F_RDONLY_PROG | BPF_F_MMAPABLE | 0x40000000"
        );
        assert_eq!(flags(MAP_FLAGS, 0), "");
        assert_eq!(version(0x06_12_03), "6.18.3");
        assert_eq!(errno(22), "EINVAL: Invalid argument");
        assert_eq!(errno(524), "ENOTSUPP: operation is not supported");
        assert_eq!(hex(&[0xde, 0xad, 0x01]), "dead01");
    }
}
