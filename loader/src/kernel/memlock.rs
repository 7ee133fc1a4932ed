//! RLIMIT_MEMLOCK, for the kernels that count BPF memory against it (before 5.11; facts.md §4).
//!
//! The limit is raised only where it can be what is in the way: a command failed with EPERM although the capabilities are
//! there, and the kernel lacks a helper that came with the accounting by cgroup (libbpf's `probe_memcg_account`).

use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::program::{self, ProgramDefinition};
use crate::uapi::ProgramType;
use crate::witness;

/// What became of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// This kernel counts otherwise, or the limit is unlimited as it is.
    NotInTheWay,
    /// It is as high as this process can have it.
    Raised,
    /// It is still this many bytes.
    Stuck { bytes: u64, errno: Errno },
}

/// Raises the limit where the kernel counts by it; once a process.
pub(super) fn raise() -> Limit {
    static LIMIT: OnceLock<Limit> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let question = "memory counted by cgroup, not against RLIMIT_MEMLOCK";
        decide(|| witness::asking(question, counts_by_cgroup), raise_now)
    })
}

/// What was done about the limit so far, for the error that follows: nothing is tried here.
pub(super) fn evidence(limit: Limit) -> Vec<String> {
    match limit {
        Limit::NotInTheWay | Limit::Raised => Vec::new(),
        Limit::Stuck { bytes, errno } => vec![
            format!(
                "this kernel counts BPF memory against RLIMIT_MEMLOCK, which is {bytes} bytes and could not be raised ({errno:?})"
            ),
            "try:  ulimit -l unlimited, or run with cap_sys_resource".into(),
        ],
    }
}

fn decide(by_cgroup: impl FnOnce() -> bool, raise: impl FnOnce() -> Limit) -> Limit {
    if by_cgroup() {
        Limit::NotInTheWay
    } else {
        raise()
    }
}

/// Whether the kernel counts BPF memory by cgroup: `bpf_ktime_get_coarse_ns` (helper 160) came with it in 5.11.
fn counts_by_cgroup() -> bool {
    // call bpf_ktime_get_coarse_ns; r0 = 0; exit
    const CODE: [u8; 24] = [
        0x85, 0, 0, 0, 160, 0, 0, 0, 0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0,
    ];
    let definition = ProgramDefinition {
        name: "probe",
        program_type: ProgramType::SOCKET_FILTER,
        license: "GPL",
        instructions: &CODE,
        ..ProgramDefinition::default()
    };
    program::command(&definition, b"GPL\0").is_ok()
}

/// A process with CAP_SYS_RESOURCE may take any limit; others get what their hard limit allows.
fn raise_now() -> Limit {
    let unlimited = nix::libc::RLIM_INFINITY;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) else {
        return Limit::NotInTheWay;
    };
    if soft == unlimited {
        return Limit::NotInTheWay;
    }
    let Err(errno) = setrlimit(Resource::RLIMIT_MEMLOCK, unlimited, unlimited) else {
        return Limit::Raised;
    };
    if hard > soft && setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard).is_ok() {
        return Limit::Raised;
    }
    Limit::Stuck { bytes: soft, errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_counts_by_cgroup_leaves_the_limit_alone() {
        assert_eq!(
            decide(|| true, || unreachable!("nothing is raised")),
            Limit::NotInTheWay
        );
        assert_eq!(decide(|| false, || Limit::Raised), Limit::Raised);
    }

    #[test]
    fn a_limit_that_stays_is_said() {
        let stuck = Limit::Stuck {
            bytes: 65536,
            errno: Errno::EPERM,
        };
        assert_eq!(
            evidence(stuck).join("\n"),
            "this kernel counts BPF memory against RLIMIT_MEMLOCK, which is 65536 bytes and could not be raised (EPERM)\ntry:  ulimit -l unlimited, or run with cap_sys_resource"
        );
        assert!(evidence(Limit::Raised).is_empty());
    }
}
