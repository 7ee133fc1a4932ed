//! Section names and the kinds that they mean.

use super::*;

/// `type attach_type flags target` of a section's name.
fn check(section: &str, expect: &str) {
    let text = match kind_of(section) {
        SectionKind::Known(kind) => {
            let target = match &kind.target {
                AttachTarget::None => String::new(),
                other => format!(" {other:?}"),
            };
            let flags = match kind.flags {
                0 => "",
                FRAGS => " frags",
                SLEEP => " sleepable",
                _ => " ?",
            };
            format!("{} {}{flags}{target}", kind.program_type, kind.attach_type)
        }
        SectionKind::Unsupported { what, .. } => format!("unsupported {what}"),
        SectionKind::Unknown => "unknown".to_string(),
    };
    assert_eq!(text, expect, "{section}");
}

#[test]
fn a_name_that_begins_with_a_types_word_is_that_type() {
    for name in [
        "xdp",
        "?xdp",
        "xdp_icmp_echo",
        "xdp/hook",
        "xdp1",
        "xdp-foo",
        "xdp/",
        "xdpfilter",
        "xdp_md",
        "xdp:drop",
    ] {
        check(name, "xdp xdp");
    }
    for name in [
        "xdp/devmap",
        "xdp_devmap/egress",
        "xdp_devmap",
        "xdp/devmap_egress",
    ] {
        check(name, "xdp xdp_devmap");
    }
    check("xdp_cpumap/x", "xdp xdp_cpumap");
    check("xdp.frags", "xdp xdp frags");
    check("xdp.frags/hook", "xdp xdp frags");
    check("xdp.frags/cpumap", "xdp xdp_cpumap frags");
    check("xdp.frags_devmap/x", "xdp xdp_devmap frags");
    for name in [
        "tc",
        "tc_ingress",
        "tc/x",
        "tc1",
        "classifier",
        "classifier/ingress",
        "cls",
        "cls_main",
        "ingress",
        "egress/x",
        "sched_cls/x",
        "tc_action/x",
    ] {
        check(name, "sched_cls none");
    }
    check("tc/ingress", "sched_cls tcx_ingress");
    check("tcx/egress", "sched_cls tcx_egress");
    check("netkit/peer", "sched_cls netkit_peer");
    check("action", "sched_act none");
    check("act/drop", "sched_act none");
    for name in [
        "socket",
        "socket1",
        "socket/filter",
        "socketfilter/x",
        "socket_filter",
    ] {
        check(name, "socket_filter none");
    }
    for name in [
        "kprobe/tcp_v4_rcv",
        "kprobe__x",
        "kretprobe/x",
        "uprobe",
        "uretprobe//bin/sh:main",
        "ksyscall/read",
        "usdt/x",
    ] {
        check(name, "kprobe none");
    }
}

#[test]
fn libbpfs_names_mean_what_they_mean_there() {
    check("kprobe.multi/tcp_*", "kprobe trace_kprobe_multi");
    check("kprobe.session/x", "kprobe trace_kprobe_session");
    check("uprobe.multi.s/x", "kprobe trace_uprobe_multi sleepable");
    check("uprobe.s/x", "kprobe none sleepable");
    check("tp/sched/sched_switch", "tracepoint none");
    check("tracepoint/x/y", "tracepoint none");
    check("raw_tp/x", "raw_tracepoint none");
    check("raw_tracepoint.w/x", "raw_tracepoint_writable none");
    check("raw_tp.w", "raw_tracepoint_writable none");
    check("perf_event", "perf_event none");
    check("syscall", "syscall none sleepable");
    check(
        "tp_btf/sched_switch",
        "tracing trace_raw_tp RawTracepoint(\"sched_switch\")",
    );
    check(
        "fentry.s/do_unlinkat",
        "tracing trace_fentry sleepable Function(\"do_unlinkat\")",
    );
    check("fexit/mod:fn", "tracing trace_fexit Function(\"mod:fn\")");
    check("fmod_ret/x", "tracing modify_return Function(\"x\")");
    check("lsm.s/bpf", "lsm lsm_mac sleepable Lsm(\"bpf\")");
    check(
        "lsm_cgroup/socket_post_create",
        "lsm lsm_cgroup Lsm(\"socket_post_create\")",
    );
    check("iter/task", "tracing trace_iter Iter(\"task\")");
    check("cgroup/skb", "cgroup_skb none");
    check("cgroup_skb/egress", "cgroup_skb cgroup_inet_egress");
    check("cgroup/sock1", "cgroup_sock cgroup_inet_sock_create");
    check(
        "cgroup/sock_release",
        "cgroup_sock cgroup_inet_sock_release",
    );
    check("cgroup/connect6", "cgroup_sock_addr cgroup_inet6_connect");
    check(
        "cgroup/getsockname_unix",
        "cgroup_sock_addr cgroup_unix_getsockname",
    );
    check("cgroup/setsockopt", "cgroup_sockopt cgroup_setsockopt");
    check("cgroup/dev", "cgroup_device cgroup_device");
    check("cgroup/device", "cgroup_device cgroup_device");
    check("cgroup/sysctl", "cgroup_sysctl cgroup_sysctl");
    check("sockops", "sock_ops cgroup_sock_ops");
    check("sk_skb1", "sk_skb none");
    check("sk_skb/stream_verdict/x", "sk_skb sk_skb_stream_verdict");
    check("sk_msg", "sk_msg sk_msg_verdict");
    check("sk_lookup/x", "sk_lookup sk_lookup");
    check("sk_reuseport", "sk_reuseport sk_reuseport_select");
    check(
        "sk_reuseport/migrate",
        "sk_reuseport sk_reuseport_select_or_migrate",
    );
    check("flow_dissector", "flow_dissector flow_dissector");
    check("lwt_seg6local", "lwt_seg6local none");
    check("lirc_mode2", "lirc_mode2 lirc_mode2");
    check("netfilter", "netfilter netfilter");
}

#[test]
fn names_that_say_nothing_stay_unknown() {
    for name in [
        "prog",
        "",
        "?",
        "tcp_bpf",
        "tpx",
        "classy",
        "acting",
        "2/7",
        "from-netdev",
        "fentry_x",
        "iterate",
        ".text",
        "lsmx",
        "filter",
    ] {
        check(name, "unknown");
    }
    check("struct_ops/init", "unsupported struct_ops");
    check("struct_ops.s/init", "unsupported struct_ops");
    check("freplace/xdp_pass", "unsupported freplace");
}

#[test]
fn no_word_stands_twice() {
    for (index, row) in SECTIONS.iter().enumerate() {
        assert!(
            !SECTIONS[..index].iter().any(|other| other.0 == row.0),
            "{}",
            row.0
        );
    }
}
