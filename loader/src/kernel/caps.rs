//! Which capabilities this process has, so that an EPERM can be answered with what is missing.
//!
//! Source: `CapEff` of /proc/self/status (proc(5)), numbers from include/uapi/linux/capability.h.

use std::fmt;

use crate::uapi::ProgramType;

/// The capabilities that loading and attaching ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `CAP_NET_ADMIN` (12): XDP programs, attaching.
    NetAdmin,
    /// `CAP_SYS_ADMIN` (21): stands for the finer ones.
    SysAdmin,
    /// `CAP_PERFMON` (38): tracing programs, pointers in logs.
    Perfmon,
    /// `CAP_BPF` (39, Linux 5.8): maps, programs, BTF.
    Bpf,
}

impl Capability {
    const ALL: [Capability; 4] = [
        Capability::NetAdmin,
        Capability::SysAdmin,
        Capability::Perfmon,
        Capability::Bpf,
    ];

    /// What loading a program of this type asks for: CAP_BPF, and one more for programs that see the network's packets or
    /// the kernel's memory (`is_net_admin_prog_type`, `is_perfmon_prog_type` in kernel/bpf/syscall.c).
    pub fn for_program(program_type: ProgramType) -> &'static [Capability] {
        match program_type {
            ProgramType::KPROBE
            | ProgramType::TRACEPOINT
            | ProgramType::PERF_EVENT
            | ProgramType::RAW_TRACEPOINT
            | ProgramType::RAW_TRACEPOINT_WRITABLE
            | ProgramType::TRACING
            | ProgramType::LSM
            | ProgramType::STRUCT_OPS => &[Capability::Bpf, Capability::Perfmon],
            ProgramType::EXT => &[Capability::Bpf, Capability::Perfmon, Capability::NetAdmin],
            ProgramType::SOCKET_FILTER
            | ProgramType::CGROUP_SKB
            | ProgramType::SK_REUSEPORT
            | ProgramType::SYSCALL => &[Capability::Bpf],
            _ => &[Capability::Bpf, Capability::NetAdmin],
        }
    }

    fn bit(self) -> u32 {
        match self {
            Capability::NetAdmin => 12,
            Capability::SysAdmin => 21,
            Capability::Perfmon => 38,
            Capability::Bpf => 39,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Capability::NetAdmin => "cap_net_admin",
            Capability::SysAdmin => "cap_sys_admin",
            Capability::Perfmon => "cap_perfmon",
            Capability::Bpf => "cap_bpf",
        })
    }
}

/// A set of capabilities as the kernel's 64-bit mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// The effective set of this process; `None` when /proc does not tell.
    pub fn effective() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let hex = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(hex.trim(), 16).ok().map(Capabilities)
    }

    /// Whether the set holds this capability, or `CAP_SYS_ADMIN`, which the kernel takes in place of `CAP_BPF` and
    /// `CAP_PERFMON` (`bpf_capable()`), but not in place of `CAP_NET_ADMIN`.
    pub fn grants(self, capability: Capability) -> bool {
        let has = |c: Capability| self.0 & (1 << c.bit()) != 0;
        match capability {
            Capability::Bpf | Capability::Perfmon => has(capability) || has(Capability::SysAdmin),
            Capability::NetAdmin | Capability::SysAdmin => has(capability),
        }
    }

    /// Those of `needed` that are missing.
    pub fn missing(self, needed: &[Capability]) -> Vec<Capability> {
        needed
            .iter()
            .copied()
            .filter(|&c| !self.grants(c))
            .collect()
    }

    /// The evidence line of a permission error: what this process has of the capabilities that matter, and what it needs.
    pub fn evidence(self, needed: &[Capability]) -> String {
        let have: Vec<_> = Capability::ALL
            .into_iter()
            .filter(|c| self.0 & (1 << c.bit()) != 0)
            .map(|c| c.to_string())
            .collect();
        let have = if have.is_empty() {
            "none of these".to_string()
        } else {
            have.join(", ")
        };
        format!("have: {have}   need: {}", list(needed))
    }
}

/// `cap_bpf, cap_net_admin`.
pub(super) fn list(capabilities: &[Capability]) -> String {
    capabilities
        .iter()
        .map(Capability::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const NEED: &[Capability] = &[Capability::Bpf, Capability::NetAdmin];

    #[test]
    fn missing_capabilities_are_named() {
        let set = Capabilities::parse("Name:\tx\nCapEff:\t0000000000001000\n").unwrap();
        assert_eq!(set.missing(NEED), [Capability::Bpf]);
        assert_eq!(
            set.evidence(NEED),
            "have: cap_net_admin   need: cap_bpf, cap_net_admin"
        );
        assert_eq!(
            Capabilities(0).evidence(NEED),
            "have: none of these   need: cap_bpf, cap_net_admin"
        );
    }

    #[test]
    fn sys_admin_stands_for_cap_bpf_only() {
        let set = Capabilities(1 << 21);
        assert!(set.grants(Capability::Bpf) && !set.grants(Capability::NetAdmin));
        assert!(Capabilities(u64::MAX).missing(NEED).is_empty());
    }

    #[test]
    fn programs_ask_for_what_they_see() {
        let asks = |program_type| list(Capability::for_program(program_type));
        assert_eq!(asks(ProgramType::XDP), "cap_bpf, cap_net_admin");
        assert_eq!(asks(ProgramType::KPROBE), "cap_bpf, cap_perfmon");
        assert_eq!(asks(ProgramType::SOCKET_FILTER), "cap_bpf");
    }

    #[test]
    fn odd_status_files_are_no_answer() {
        assert_eq!(Capabilities::parse(""), None);
        assert_eq!(Capabilities::parse("CapEff:\tzz"), None);
    }
}
