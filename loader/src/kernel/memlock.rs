//! RLIMIT_MEMLOCK, for the kernels that count BPF memory against it (before 5.11; facts.md §4).
//!
//! Kernels are not asked for their version: when a command fails with EPERM although the capabilities are there, the limit
//! is raised once and the command tried again.

use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{Capabilities, Capability};

/// Runs `call`; when it says EPERM to a process that may use BPF, raises the limit and runs it once more.
pub(super) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match call() {
        Err(Errno::EPERM) if raise() => call(),
        result => result,
    }
}

/// Raises the limit, once a process, if this process may use BPF; says whether trying again could help.
fn raise() -> bool {
    static RAISED: OnceLock<()> = OnceLock::new();
    if !Capabilities::effective().is_some_and(|set| set.grants(Capability::Bpf)) {
        return false;
    }
    RAISED.get_or_init(|| {
        // A process with CAP_SYS_RESOURCE may take any limit; others get what their hard limit allows.
        let unlimited = nix::libc::RLIM_INFINITY;
        if setrlimit(Resource::RLIMIT_MEMLOCK, unlimited, unlimited).is_err()
            && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
        {
            // When this fails too the second try says EPERM again, which is then the answer.
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
        }
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_errors_are_not_retried() {
        let mut calls = 0;
        let result: Result<(), _> = retry(|| {
            calls += 1;
            Err(Errno::EINVAL)
        });
        assert_eq!((result, calls), (Err(Errno::EINVAL), 1));
    }
}
