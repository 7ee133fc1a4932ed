//! Which release of Linux brought what: helpers, instructions, flags, kernel functions. From the history of
//! include/uapi/linux/bpf.h; the bcc project's docs/kernel-versions.md and the eBPF docs' feature list agree with it.

use xdplb_linker::insn::{
    BPF_ALU, BPF_ALU64, BPF_ATOMIC, BPF_JA, BPF_JMP, BPF_JMP32, BPF_LDX, BPF_PSEUDO_BTF_ID,
    BPF_PSEUDO_FUNC, BPF_PSEUDO_MAP_IDX, BPF_PSEUDO_MAP_IDX_VALUE, BPF_PSEUDO_MAP_VALUE, BPF_STX,
    BPF_X, Insn,
};

use crate::kernel::Release;
use crate::uapi::{AttachType, map_flags, prog_flags};

const fn v(major: u32, minor: u32) -> Release {
    Release::new(major, minor)
}

/// The last helper that each release had: numbers are given out in order, and none was taken back.
const HELPERS: [(i32, Release); 32] = [
    (11, v(4, 1)),
    (16, v(4, 2)),
    (22, v(4, 3)),
    (25, v(4, 4)),
    (26, v(4, 5)),
    (30, v(4, 6)),
    (36, v(4, 8)),
    (41, v(4, 9)),
    (44, v(4, 10)),
    (45, v(4, 11)),
    (47, v(4, 12)),
    (50, v(4, 13)),
    (53, v(4, 14)),
    (57, v(4, 15)),
    (59, v(4, 16)),
    (64, v(4, 17)),
    (80, v(4, 18)),
    (83, v(4, 19)),
    (90, v(4, 20)),
    (92, v(5, 0)),
    (98, v(5, 1)),
    (108, v(5, 2)),
    (109, v(5, 3)),
    (110, v(5, 4)),
    (115, v(5, 5)),
    (118, v(5, 6)),
    (124, v(5, 7)),
    (135, v(5, 8)),
    (141, v(5, 9)),
    (155, v(5, 10)),
    (162, v(5, 11)),
    (163, v(5, 12)),
];

/// The same, from 5.13 to the release that closed the list.
const LATER_HELPERS: [(i32, Release); 10] = [
    (165, v(5, 13)),
    (168, v(5, 14)),
    (175, v(5, 15)),
    (179, v(5, 16)),
    (185, v(5, 17)),
    (193, v(5, 18)),
    (203, v(5, 19)),
    (207, v(6, 0)),
    (209, v(6, 1)),
    (211, v(6, 2)),
];

/// The release that brought a helper. Helpers up to 11 came with 4.1 or before.
pub(super) fn helper_since(number: i32) -> Option<Release> {
    let all = HELPERS.iter().chain(&LATER_HELPERS);
    let found = all.clone().find(|(last, _)| number <= *last);
    found.filter(|_| number > 0).map(|(_, since)| *since)
}

/// What an instruction needs beyond those of the first releases, if anything.
pub(super) fn instruction_since(insn: Insn) -> Option<(&'static str, Release)> {
    const MEMSX: u8 = 0x80;
    const MOV: u8 = 0xb0;
    const DIV: u8 = 0x30;
    const MOD: u8 = 0x90;
    const END: u8 = 0xd0;
    const JCOND: u8 = 0xe0;
    let operation = insn.opcode & 0xf0;
    match insn.class() {
        BPF_JMP32 if operation == BPF_JA => Some(("jumps of 32 bits (gotol, cpu v4)", v(6, 6))),
        BPF_JMP32 => Some(("comparisons of 32 bits (cpu v3)", v(5, 1))),
        BPF_JMP if operation == JCOND => Some(("may_goto", v(6, 9))),
        BPF_JMP if operation == BPF_JA && insn.opcode & BPF_X != 0 => {
            Some(("jumps to an address (gotox)", v(6, 19)))
        }
        BPF_ALU64 if operation == END => Some(("swaps of bytes (bswap, cpu v4)", v(6, 6))),
        BPF_ALU | BPF_ALU64 if matches!(operation, DIV | MOD) && insn.off == 1 => {
            Some(("signed divisions (cpu v4)", v(6, 6)))
        }
        BPF_ALU64 if operation == MOV && insn.off == 1 => {
            Some(("casts between address spaces (arena)", v(6, 9)))
        }
        BPF_ALU | BPF_ALU64 if operation == MOV && matches!(insn.off, 8 | 16 | 32) => {
            Some(("copies that extend the sign (movsx, cpu v4)", v(6, 6)))
        }
        BPF_LDX if insn.opcode & 0xe0 == MEMSX => {
            Some(("loads that extend the sign (cpu v4)", v(6, 6)))
        }
        BPF_STX if insn.opcode & 0xe0 == BPF_ATOMIC => match insn.imm {
            0 => None,
            0x100 | 0x110 => Some(("atomic loads and stores (cpu v4)", v(6, 15))),
            _ => Some((
                "atomics beyond add, or that give the old value (cpu v3)",
                v(5, 12),
            )),
        },
        _ if insn.is_ld_imm64() => match insn.src {
            BPF_PSEUDO_MAP_VALUE => {
                Some(("addresses in a map's value (global variables)", v(5, 2)))
            }
            BPF_PSEUDO_BTF_ID => Some(("addresses of kernel variables", v(5, 10))),
            BPF_PSEUDO_FUNC => Some(("callbacks (the address of a function)", v(5, 13))),
            BPF_PSEUDO_MAP_IDX | BPF_PSEUDO_MAP_IDX_VALUE => Some(("fd_array", v(5, 14))),
            _ => None,
        },
        _ if insn.is_kfunc_call() && insn.off != 0 => {
            Some(("calls of modules' functions", v(5, 16)))
        }
        _ if insn.is_kfunc_call() => Some(("calls of kernel functions (kfuncs)", v(5, 13))),
        _ => None,
    }
}

/// Bits of `map_flags`.
pub(super) const MAP_FLAGS: [(u32, &str, Release); 8] = [
    (1 << 6, "BPF_F_ZERO_SEED", v(5, 0)),
    (
        map_flags::RDONLY_PROG,
        "BPF_F_RDONLY_PROG, so that constants are constants to the verifier",
        v(5, 2),
    ),
    (1 << 8, "BPF_F_WRONLY_PROG", v(5, 2)),
    (1 << 9, "BPF_F_CLONE", v(5, 4)),
    (map_flags::MMAPABLE, "BPF_F_MMAPABLE", v(5, 5)),
    (1 << 11, "BPF_F_PRESERVE_ELEMS", v(5, 10)),
    (1 << 12, "BPF_F_INNER_MAP", v(5, 10)),
    (map_flags::SEGV_ON_FAULT, "BPF_F_SEGV_ON_FAULT", v(6, 9)),
];

/// Bits of `prog_flags`.
pub(super) const PROG_FLAGS: [(u32, &str, Release); 2] = [
    (prog_flags::SLEEPABLE, "programs that sleep", v(5, 10)),
    (
        prog_flags::XDP_HAS_FRAGS,
        "XDP programs for packets in several buffers (xdp.frags)",
        v(5, 18),
    ),
];

/// Attach types that the kernel checks when a program is loaded (`bpf_prog_load_check_attach`).
pub(super) fn attach_type_since(attach_type: AttachType) -> Option<Release> {
    let since = match attach_type {
        AttachType::CGROUP_UDP4_RECVMSG | AttachType::CGROUP_UDP6_RECVMSG => v(5, 2),
        AttachType::CGROUP_GETSOCKOPT | AttachType::CGROUP_SETSOCKOPT => v(5, 3),
        AttachType::TRACE_RAW_TP | AttachType::TRACE_FENTRY | AttachType::TRACE_FEXIT => v(5, 5),
        AttachType::MODIFY_RETURN | AttachType::LSM_MAC => v(5, 7),
        AttachType::TRACE_ITER
        | AttachType::CGROUP_INET4_GETPEERNAME
        | AttachType::CGROUP_INET6_GETPEERNAME
        | AttachType::CGROUP_INET4_GETSOCKNAME
        | AttachType::CGROUP_INET6_GETSOCKNAME => v(5, 8),
        AttachType::CGROUP_INET_SOCK_RELEASE | AttachType::SK_LOOKUP => v(5, 9),
        AttachType::SK_REUSEPORT_SELECT_OR_MIGRATE => v(5, 14),
        AttachType::TRACE_KPROBE_MULTI => v(5, 18),
        AttachType::LSM_CGROUP => v(6, 0),
        AttachType::NETFILTER => v(6, 4),
        AttachType::TRACE_UPROBE_MULTI => v(6, 6),
        AttachType::CGROUP_UNIX_CONNECT
        | AttachType::CGROUP_UNIX_SENDMSG
        | AttachType::CGROUP_UNIX_RECVMSG
        | AttachType::CGROUP_UNIX_GETPEERNAME
        | AttachType::CGROUP_UNIX_GETSOCKNAME => v(6, 7),
        AttachType::TRACE_KPROBE_SESSION => v(6, 10),
        AttachType::TRACE_UPROBE_SESSION => v(6, 13),
        _ => return None,
    };
    Some(since)
}

/// Kernel functions; there are hundreds, and these are the ones that objects of the field use most.
const KFUNCS: [(&str, Release); 45] = [
    ("bpf_skb_ct_lookup", v(5, 18)),
    ("bpf_xdp_ct_lookup", v(5, 18)),
    ("bpf_ct_release", v(5, 18)),
    ("bpf_xdp_ct_alloc", v(6, 0)),
    ("bpf_skb_ct_alloc", v(6, 0)),
    ("bpf_ct_insert_entry", v(6, 0)),
    ("bpf_ct_set_timeout", v(6, 0)),
    ("bpf_ct_set_status", v(6, 0)),
    ("bpf_ct_set_nat_info", v(6, 1)),
    ("bpf_obj_new_impl", v(6, 2)),
    ("bpf_obj_drop_impl", v(6, 2)),
    ("bpf_task_acquire", v(6, 2)),
    ("bpf_task_release", v(6, 2)),
    ("bpf_task_from_pid", v(6, 2)),
    ("bpf_cgroup_acquire", v(6, 2)),
    ("bpf_cgroup_release", v(6, 2)),
    ("bpf_cast_to_kern_ctx", v(6, 2)),
    ("bpf_rdonly_cast", v(6, 2)),
    ("bpf_rcu_read_lock", v(6, 2)),
    ("bpf_rcu_read_unlock", v(6, 2)),
    ("bpf_cpumask_create", v(6, 3)),
    ("bpf_cpumask_release", v(6, 3)),
    ("bpf_cpumask_set_cpu", v(6, 3)),
    ("bpf_xdp_metadata_rx_timestamp", v(6, 3)),
    ("bpf_xdp_metadata_rx_hash", v(6, 3)),
    ("bpf_rbtree_remove", v(6, 3)),
    ("bpf_rbtree_first", v(6, 3)),
    ("bpf_dynptr_from_skb", v(6, 4)),
    ("bpf_dynptr_from_xdp", v(6, 4)),
    ("bpf_dynptr_slice", v(6, 4)),
    ("bpf_dynptr_slice_rdwr", v(6, 4)),
    ("bpf_iter_num_new", v(6, 4)),
    ("bpf_iter_num_next", v(6, 4)),
    ("bpf_iter_num_destroy", v(6, 4)),
    ("bpf_dynptr_adjust", v(6, 5)),
    ("bpf_dynptr_size", v(6, 5)),
    ("bpf_dynptr_clone", v(6, 5)),
    ("bpf_sock_destroy", v(6, 5)),
    ("bpf_throw", v(6, 7)),
    ("bpf_xdp_metadata_rx_vlan_tag", v(6, 8)),
    ("bpf_xdp_get_xfrm_state", v(6, 8)),
    ("bpf_arena_alloc_pages", v(6, 9)),
    ("bpf_arena_free_pages", v(6, 9)),
    ("bpf_preempt_disable", v(6, 10)),
    ("bpf_wq_start", v(6, 10)),
];

/// The release that brought a kernel function; `None` for those that are not listed here.
pub(super) fn kfunc_since(name: &str) -> Option<Release> {
    let found = KFUNCS.iter().find(|(known, _)| *known == name);
    found.map(|(_, since)| *since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xdplb_linker::insn::helper_name;

    #[test]
    fn every_helper_has_its_release() {
        let of = |name: &str| {
            let number = (1..=211).find(|number| helper_name(*number) == Some(name));
            helper_since(number.unwrap_or_default())
        };
        for (name, since) in [
            ("bpf_map_delete_elem", v(4, 1)),
            ("bpf_xdp_adjust_head", v(4, 10)),
            ("bpf_redirect_map", v(4, 14)),
            ("bpf_fib_lookup", v(4, 18)),
            ("bpf_spin_lock", v(5, 1)),
            ("bpf_probe_read_kernel", v(5, 5)),
            ("bpf_jiffies64", v(5, 6)),
            ("bpf_read_branch_records", v(5, 7)),
            ("bpf_sk_assign", v(5, 7)),
            ("bpf_ringbuf_output", v(5, 8)),
            ("bpf_csum_level", v(5, 8)),
            ("bpf_get_task_stack", v(5, 9)),
            ("bpf_redirect_peer", v(5, 10)),
            ("bpf_ktime_get_coarse_ns", v(5, 11)),
            ("bpf_check_mtu", v(5, 12)),
            ("bpf_for_each_map_elem", v(5, 13)),
            ("bpf_snprintf", v(5, 13)),
            ("bpf_timer_init", v(5, 15)),
            ("bpf_task_pt_regs", v(5, 15)),
            ("bpf_loop", v(5, 17)),
            ("bpf_xdp_load_bytes", v(5, 18)),
            ("bpf_dynptr_data", v(5, 19)),
            ("bpf_tcp_raw_check_syncookie_ipv6", v(6, 0)),
            ("bpf_user_ringbuf_drain", v(6, 1)),
            ("bpf_cgrp_storage_delete", v(6, 2)),
        ] {
            assert_eq!(of(name), Some(since), "{name}");
        }
        assert!((1..=211).all(|number| helper_since(number).is_some()));
        assert_eq!(
            (helper_since(0), helper_since(212), helper_since(-1)),
            (None, None, None)
        );
    }

    #[test]
    fn instructions_have_theirs() {
        let insn = |bytes: [u8; 8]| instruction_since(Insn::decode(bytes)).map(|(_, since)| since);
        assert_eq!(insn([0xb7, 0, 0, 0, 2, 0, 0, 0]), None, "r0 = 2");
        assert_eq!(
            insn([0x16, 0, 1, 0, 2, 0, 0, 0]),
            Some(v(5, 1)),
            "if w0 == 2"
        );
        assert_eq!(insn([0xdb, 0x10, 0, 0, 0, 0, 0, 0]), None, "lock +=");
        assert_eq!(
            insn([0xdb, 0x10, 0, 0, 1, 0, 0, 0]),
            Some(v(5, 12)),
            "atomic_fetch_add"
        );
        assert_eq!(insn([0x06, 0, 0, 0, 5, 0, 0, 0]), Some(v(6, 6)), "gotol");
        assert_eq!(
            insn([0xbf, 0x10, 32, 0, 0, 0, 0, 0]),
            Some(v(6, 6)),
            "movsx"
        );
        assert_eq!(insn([0x91, 0x10, 0, 0, 0, 0, 0, 0]), Some(v(6, 6)), "ldxsb");
        assert_eq!(insn([0x3f, 0x10, 1, 0, 0, 0, 0, 0]), Some(v(6, 6)), "sdiv");
        assert_eq!(
            insn([0x18, 0x41, 0, 0, 0, 0, 0, 0]),
            Some(v(5, 13)),
            "a callback"
        );
        assert_eq!(
            insn([0x85, 0x20, 0, 0, 9, 0, 0, 0]),
            Some(v(5, 13)),
            "a kfunc"
        );
    }
}
