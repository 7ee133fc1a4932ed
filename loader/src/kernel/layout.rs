//! The members of `union bpf_attr` that are too long to count by hand (include/uapi/linux/bpf.h, Linux 6.18), declared so
//! that a field's offset is computed and asserted, not remembered. Nothing has these types: `syscall::Attr` is bytes, since a
//! command ends after the last field that is set.

#![allow(dead_code)]

use std::mem::offset_of;

/// `BPF_MAP_CREATE`.
#[repr(C)]
pub(super) struct MapCreate {
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
    pub(super) inner_map_fd: u32,
    pub(super) numa_node: u32,
    pub(super) map_name: [u8; 16],
    pub(super) map_ifindex: u32,
    pub(super) btf_fd: u32,
    pub(super) btf_key_type_id: u32,
    pub(super) btf_value_type_id: u32,
    pub(super) btf_vmlinux_value_type_id: u32,
    pub(super) map_extra: u64,
    pub(super) value_type_btf_obj_fd: i32,
    pub(super) map_token_fd: i32,
}

const _: () = {
    assert!(offset_of!(MapCreate, map_ifindex) == 44);
    assert!(offset_of!(MapCreate, btf_fd) == 48);
    assert!(offset_of!(MapCreate, btf_vmlinux_value_type_id) == 60);
    assert!(offset_of!(MapCreate, map_extra) == 64);
    assert!(offset_of!(MapCreate, value_type_btf_obj_fd) == 72);
    assert!(offset_of!(MapCreate, map_token_fd) == 76);
};

/// `BPF_PROG_LOAD`.
#[repr(C)]
pub(super) struct ProgLoad {
    pub(super) prog_type: u32,
    pub(super) insn_cnt: u32,
    pub(super) insns: u64,
    pub(super) license: u64,
    pub(super) log_level: u32,
    pub(super) log_size: u32,
    pub(super) log_buf: u64,
    pub(super) kern_version: u32,
    pub(super) prog_flags: u32,
    pub(super) prog_name: [u8; 16],
    pub(super) prog_ifindex: u32,
    pub(super) expected_attach_type: u32,
    pub(super) prog_btf_fd: u32,
    pub(super) func_info_rec_size: u32,
    pub(super) func_info: u64,
    pub(super) func_info_cnt: u32,
    pub(super) line_info_rec_size: u32,
    pub(super) line_info: u64,
    pub(super) line_info_cnt: u32,
    pub(super) attach_btf_id: u32,
    /// Also `attach_btf_obj_fd`: the kernel looks which of the two the descriptor is (Linux 5.11).
    pub(super) attach_prog_fd: u32,
    pub(super) core_relo_cnt: u32,
    pub(super) fd_array: u64,
    pub(super) core_relos: u64,
    pub(super) core_relo_rec_size: u32,
    pub(super) log_true_size: u32,
    pub(super) prog_token_fd: i32,
    pub(super) fd_array_cnt: u32,
}

const _: () = {
    assert!(offset_of!(ProgLoad, prog_ifindex) == 64);
    assert!(offset_of!(ProgLoad, prog_btf_fd) == 72);
    assert!(offset_of!(ProgLoad, line_info_cnt) == 104);
    assert!(offset_of!(ProgLoad, attach_btf_id) == 108);
    assert!(offset_of!(ProgLoad, attach_prog_fd) == 112);
    assert!(offset_of!(ProgLoad, fd_array) == 120);
    assert!(offset_of!(ProgLoad, log_true_size) == 140);
    assert!(offset_of!(ProgLoad, prog_token_fd) == 144);
    assert!(size_of::<ProgLoad>() == super::syscall::MAX_SIZE);
};

/// `BPF_BTF_LOAD`.
#[repr(C)]
pub(super) struct BtfLoad {
    pub(super) btf: u64,
    pub(super) btf_log_buf: u64,
    pub(super) btf_size: u32,
    pub(super) btf_log_size: u32,
    pub(super) btf_log_level: u32,
    pub(super) btf_log_true_size: u32,
    pub(super) btf_flags: u32,
    pub(super) btf_token_fd: i32,
}

const _: () = {
    assert!(offset_of!(BtfLoad, btf_size) == 16);
    assert!(offset_of!(BtfLoad, btf_log_true_size) == 28);
    assert!(offset_of!(BtfLoad, btf_token_fd) == 36);
};
