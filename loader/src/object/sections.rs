//! From a section's name to the kind of the programs in it: one table.
//!
//! Names and meanings are those of libbpf's `section_defs` (src/libbpf.c), which takes a name as a whole, or up to a `/`.
//! Objects of the field are older or looser than that: `xdp_icmp_echo`, `xdp/hook`, `socket1`, `classifier/x` name their
//! type by how they begin, and loaders before libbpf 1.0, iproute2, aya, redbpf, gobpf and cilium/ebpf read them so. Here
//! the longest word of the table that the name begins with decides.

use super::{AttachTarget, ProgramKind, SectionKind};
use crate::uapi::{AttachType as A, ProgramType as P, prog_flags};

/// What may follow the word in the section's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Anything.
    Any,
    /// Nothing, or anything that does not continue the word: no letter.
    Word,
    /// Nothing, or a `/` and more.
    Path,
    /// As `Path`; what follows the `/` is a function of the kernel.
    Function,
    /// As `Path`; a raw tracepoint.
    RawTracepoint,
    /// As `Path`; a hook of the security modules.
    Lsm,
    /// As `Path`; an iterator.
    Iter,
}

type Row = (&'static str, Rest, P, A, u32);

const FRAGS: u32 = prog_flags::XDP_HAS_FRAGS;
const SLEEP: u32 = prog_flags::SLEEPABLE;

#[rustfmt::skip]
const SECTIONS: &[Row] = {
    use Rest::{Any, Function, Iter, Lsm, Path, RawTracepoint, Word};
    &[
    ("xdp",                    Any,  P::XDP, A::XDP, 0),
    ("xdp.frags",              Word, P::XDP, A::XDP, FRAGS),
    ("xdp/devmap",             Word, P::XDP, A::XDP_DEVMAP, 0),
    ("xdp_devmap",             Word, P::XDP, A::XDP_DEVMAP, 0),
    ("xdp/cpumap",             Word, P::XDP, A::XDP_CPUMAP, 0),
    ("xdp_cpumap",             Word, P::XDP, A::XDP_CPUMAP, 0),
    ("xdp.frags/devmap",       Word, P::XDP, A::XDP_DEVMAP, FRAGS),
    ("xdp.frags_devmap",       Word, P::XDP, A::XDP_DEVMAP, FRAGS),
    ("xdp.frags/cpumap",       Word, P::XDP, A::XDP_CPUMAP, FRAGS),
    ("xdp.frags_cpumap",       Word, P::XDP, A::XDP_CPUMAP, FRAGS),

    ("tc",                     Word, P::SCHED_CLS, A::NONE, 0),
    ("tc/ingress",             Path, P::SCHED_CLS, A::TCX_INGRESS, 0),
    ("tc/egress",              Path, P::SCHED_CLS, A::TCX_EGRESS, 0),
    ("tcx/ingress",            Path, P::SCHED_CLS, A::TCX_INGRESS, 0),
    ("tcx/egress",             Path, P::SCHED_CLS, A::TCX_EGRESS, 0),
    ("netkit/primary",         Path, P::SCHED_CLS, A::NETKIT_PRIMARY, 0),
    ("netkit/peer",            Path, P::SCHED_CLS, A::NETKIT_PEER, 0),
    ("classifier",             Any,  P::SCHED_CLS, A::NONE, 0),
    ("sched_cls",              Word, P::SCHED_CLS, A::NONE, 0),
    // tc takes any name that it is told; these are the usual ones.
    ("cls",                    Word, P::SCHED_CLS, A::NONE, 0),
    ("ingress",                Word, P::SCHED_CLS, A::NONE, 0),
    ("egress",                 Word, P::SCHED_CLS, A::NONE, 0),
    ("action",                 Word, P::SCHED_ACT, A::NONE, 0),
    ("act",                    Word, P::SCHED_ACT, A::NONE, 0),
    ("sched_act",              Word, P::SCHED_ACT, A::NONE, 0),

    ("socket",                 Any,  P::SOCKET_FILTER, A::NONE, 0),
    ("seccomp",                Word, P::SOCKET_FILTER, A::NONE, 0),
    ("sk_reuseport",           Word, P::SK_REUSEPORT, A::SK_REUSEPORT_SELECT, 0),
    ("sk_reuseport/migrate",   Word, P::SK_REUSEPORT, A::SK_REUSEPORT_SELECT_OR_MIGRATE, 0),
    ("sk_lookup",              Word, P::SK_LOOKUP, A::SK_LOOKUP, 0),
    ("sk_msg",                 Word, P::SK_MSG, A::SK_MSG_VERDICT, 0),
    ("sk_skb",                 Word, P::SK_SKB, A::NONE, 0),
    ("sk_skb/stream_parser",   Word, P::SK_SKB, A::SK_SKB_STREAM_PARSER, 0),
    ("sk_skb/stream_verdict",  Word, P::SK_SKB, A::SK_SKB_STREAM_VERDICT, 0),
    ("sk_skb/verdict",         Word, P::SK_SKB, A::SK_SKB_VERDICT, 0),
    ("streamparser",           Path, P::SK_SKB, A::SK_SKB_STREAM_PARSER, 0),
    ("streamverdict",          Path, P::SK_SKB, A::SK_SKB_STREAM_VERDICT, 0),
    ("sockops",                Any,  P::SOCK_OPS, A::CGROUP_SOCK_OPS, 0),
    ("sock_ops",               Word, P::SOCK_OPS, A::CGROUP_SOCK_OPS, 0),
    ("flow_dissector",         Word, P::FLOW_DISSECTOR, A::FLOW_DISSECTOR, 0),
    ("netfilter",              Word, P::NETFILTER, A::NETFILTER, 0),
    ("lirc_mode2",             Word, P::LIRC_MODE2, A::LIRC_MODE2, 0),
    ("lwt_in",                 Word, P::LWT_IN, A::NONE, 0),
    ("lwt_out",                Word, P::LWT_OUT, A::NONE, 0),
    ("lwt_xmit",               Word, P::LWT_XMIT, A::NONE, 0),
    ("lwt_seg6local",          Word, P::LWT_SEG6LOCAL, A::NONE, 0),

    ("cgroup/skb",             Word, P::CGROUP_SKB, A::NONE, 0),
    ("cgroup_skb",             Word, P::CGROUP_SKB, A::NONE, 0),
    ("cgroup_skb/ingress",     Word, P::CGROUP_SKB, A::CGROUP_INET_INGRESS, 0),
    ("cgroup_skb/egress",      Word, P::CGROUP_SKB, A::CGROUP_INET_EGRESS, 0),
    ("cgroup/skb/ingress",     Word, P::CGROUP_SKB, A::CGROUP_INET_INGRESS, 0),
    ("cgroup/skb/egress",      Word, P::CGROUP_SKB, A::CGROUP_INET_EGRESS, 0),
    ("cgroup/sock",            Word, P::CGROUP_SOCK, A::CGROUP_INET_SOCK_CREATE, 0),
    ("cgroup/sock_create",     Word, P::CGROUP_SOCK, A::CGROUP_INET_SOCK_CREATE, 0),
    ("cgroup/sock_release",    Word, P::CGROUP_SOCK, A::CGROUP_INET_SOCK_RELEASE, 0),
    ("cgroup/post_bind4",      Word, P::CGROUP_SOCK, A::CGROUP_INET4_POST_BIND, 0),
    ("cgroup/post_bind6",      Word, P::CGROUP_SOCK, A::CGROUP_INET6_POST_BIND, 0),
    ("cgroup/bind4",           Word, P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_BIND, 0),
    ("cgroup/bind6",           Word, P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_BIND, 0),
    ("cgroup/connect4",        Word, P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_CONNECT, 0),
    ("cgroup/connect6",        Word, P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_CONNECT, 0),
    ("cgroup/connect_unix",    Word, P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_CONNECT, 0),
    ("cgroup/sendmsg4",        Word, P::CGROUP_SOCK_ADDR, A::CGROUP_UDP4_SENDMSG, 0),
    ("cgroup/sendmsg6",        Word, P::CGROUP_SOCK_ADDR, A::CGROUP_UDP6_SENDMSG, 0),
    ("cgroup/sendmsg_unix",    Word, P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_SENDMSG, 0),
    ("cgroup/recvmsg4",        Word, P::CGROUP_SOCK_ADDR, A::CGROUP_UDP4_RECVMSG, 0),
    ("cgroup/recvmsg6",        Word, P::CGROUP_SOCK_ADDR, A::CGROUP_UDP6_RECVMSG, 0),
    ("cgroup/recvmsg_unix",    Word, P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_RECVMSG, 0),
    ("cgroup/getpeername4",    Word, P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_GETPEERNAME, 0),
    ("cgroup/getpeername6",    Word, P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_GETPEERNAME, 0),
    ("cgroup/getpeername_unix", Word, P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_GETPEERNAME, 0),
    ("cgroup/getsockname4",    Word, P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_GETSOCKNAME, 0),
    ("cgroup/getsockname6",    Word, P::CGROUP_SOCK_ADDR, A::CGROUP_INET6_GETSOCKNAME, 0),
    ("cgroup/getsockname_unix", Word, P::CGROUP_SOCK_ADDR, A::CGROUP_UNIX_GETSOCKNAME, 0),
    ("cgroup/sysctl",          Word, P::CGROUP_SYSCTL, A::CGROUP_SYSCTL, 0),
    ("cgroup/getsockopt",      Word, P::CGROUP_SOCKOPT, A::CGROUP_GETSOCKOPT, 0),
    ("cgroup/setsockopt",      Word, P::CGROUP_SOCKOPT, A::CGROUP_SETSOCKOPT, 0),
    ("cgroup/dev",             Any,  P::CGROUP_DEVICE, A::CGROUP_DEVICE, 0),

    ("kprobe",                 Word, P::KPROBE, A::NONE, 0),
    ("kretprobe",              Word, P::KPROBE, A::NONE, 0),
    ("kprobe.multi",           Path, P::KPROBE, A::TRACE_KPROBE_MULTI, 0),
    ("kretprobe.multi",        Path, P::KPROBE, A::TRACE_KPROBE_MULTI, 0),
    ("kprobe.session",         Path, P::KPROBE, A::TRACE_KPROBE_SESSION, 0),
    ("ksyscall",               Word, P::KPROBE, A::NONE, 0),
    ("kretsyscall",            Word, P::KPROBE, A::NONE, 0),
    ("uprobe",                 Word, P::KPROBE, A::NONE, 0),
    ("uprobe.s",               Path, P::KPROBE, A::NONE, SLEEP),
    ("uretprobe",              Word, P::KPROBE, A::NONE, 0),
    ("uretprobe.s",            Path, P::KPROBE, A::NONE, SLEEP),
    ("uprobe.multi",           Path, P::KPROBE, A::TRACE_UPROBE_MULTI, 0),
    ("uprobe.multi.s",         Path, P::KPROBE, A::TRACE_UPROBE_MULTI, SLEEP),
    ("uretprobe.multi",        Path, P::KPROBE, A::TRACE_UPROBE_MULTI, 0),
    ("uretprobe.multi.s",      Path, P::KPROBE, A::TRACE_UPROBE_MULTI, SLEEP),
    ("uprobe.session",         Path, P::KPROBE, A::TRACE_UPROBE_SESSION, 0),
    ("uprobe.session.s",       Path, P::KPROBE, A::TRACE_UPROBE_SESSION, SLEEP),
    ("usdt",                   Word, P::KPROBE, A::NONE, 0),
    ("usdt.s",                 Path, P::KPROBE, A::NONE, SLEEP),
    ("tracepoint",             Word, P::TRACEPOINT, A::NONE, 0),
    ("tp",                     Word, P::TRACEPOINT, A::NONE, 0),
    ("raw_tracepoint",         Word, P::RAW_TRACEPOINT, A::NONE, 0),
    ("raw_tp",                 Word, P::RAW_TRACEPOINT, A::NONE, 0),
    ("raw_tracepoint.w",       Path, P::RAW_TRACEPOINT_WRITABLE, A::NONE, 0),
    ("raw_tp.w",               Path, P::RAW_TRACEPOINT_WRITABLE, A::NONE, 0),
    ("perf_event",             Word, P::PERF_EVENT, A::NONE, 0),
    ("syscall",                Word, P::SYSCALL, A::NONE, SLEEP),

    ("tp_btf",                 RawTracepoint, P::TRACING, A::TRACE_RAW_TP, 0),
    ("fentry",                 Function, P::TRACING, A::TRACE_FENTRY, 0),
    ("fentry.s",               Function, P::TRACING, A::TRACE_FENTRY, SLEEP),
    ("fexit",                  Function, P::TRACING, A::TRACE_FEXIT, 0),
    ("fexit.s",                Function, P::TRACING, A::TRACE_FEXIT, SLEEP),
    ("fmod_ret",               Function, P::TRACING, A::MODIFY_RETURN, 0),
    ("fmod_ret.s",             Function, P::TRACING, A::MODIFY_RETURN, SLEEP),
    ("lsm",                    Lsm,  P::LSM, A::LSM_MAC, 0),
    ("lsm.s",                  Lsm,  P::LSM, A::LSM_MAC, SLEEP),
    ("lsm_cgroup",             Lsm,  P::LSM, A::LSM_CGROUP, 0),
    ("iter",                   Iter, P::TRACING, A::TRACE_ITER, 0),
    ("iter.s",                 Iter, P::TRACING, A::TRACE_ITER, SLEEP),
    ]
};

/// Kinds that need more than their own instructions to be loaded. What a struct_ops program is for, the object's data say
/// (`struct_ops`).
const UNSUPPORTED: &[(&str, &str, &str)] = &[
    (
        "struct_ops",
        "struct_ops",
        "no struct in section `.struct_ops` says what it is for",
    ),
    (
        "struct_ops.s",
        "struct_ops",
        "no struct in section `.struct_ops` says what it is for",
    ),
    (
        "freplace",
        "freplace",
        "it replaces a function of a program that must be loaded already",
    ),
];

/// The kind that a section's name asks for.
pub(super) fn kind_of(section: &str) -> SectionKind {
    // A leading `?` means "not loaded unless asked for" to libbpf; the type is the same.
    let section = section.strip_prefix('?').unwrap_or(section);
    let path = |word: &str| {
        let rest = section.strip_prefix(word)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(())
    };
    for (word, what, why) in UNSUPPORTED {
        if path(word).is_some() {
            return SectionKind::Unsupported { what, why };
        }
    }
    SECTIONS
        .iter()
        .filter_map(|row| Some((row, follows(row.1, section.strip_prefix(row.0)?)?)))
        .max_by_key(|(row, _)| row.0.len())
        .map_or(SectionKind::Unknown, |(row, target)| {
            let (_, _, program_type, attach_type, flags) = *row;
            SectionKind::Known(ProgramKind {
                program_type,
                attach_type,
                flags,
                target,
            })
        })
}

/// What follows the word, where it may.
fn follows(rule: Rest, rest: &str) -> Option<AttachTarget> {
    let path = || match rest.strip_prefix('/') {
        Some(name) => Some(name.to_string()),
        None => rest.is_empty().then(String::new),
    };
    match rule {
        Rest::Any => Some(AttachTarget::None),
        Rest::Word => {
            (!rest.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(AttachTarget::None)
        }
        Rest::Path => path().map(|_| AttachTarget::None),
        Rest::Function => path().map(AttachTarget::Function),
        Rest::RawTracepoint => path().map(AttachTarget::RawTracepoint),
        Rest::Lsm => path().map(AttachTarget::Lsm),
        Rest::Iter => path().map(AttachTarget::Iter),
    }
}

#[cfg(test)]
#[path = "sections_tests.rs"]
mod tests;
