//! RLIMIT_MEMLOCK, for the kernels that count BPF memory against it (before 5.11; facts.md §4).
//!
//! Kernels are not asked for their version: when a command fails with EPERM although the capabilities are there, the limit
//! is raised once and the command tried again.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{Capabilities, Capability};

static RAISED: AtomicBool = AtomicBool::new(false);

/// Runs `call`; when it says EPERM to a process that may use BPF, raises the limit and runs it once more.
pub(super) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match call() {
        Err(Errno::EPERM) if raise() => call(),
        result => result,
    }
}

/// Raises the limit if that could help and was not done before.
fn raise() -> bool {
    let may_use_bpf = Capabilities::effective().is_some_and(|set| set.grants(Capability::Bpf));
    if !may_use_bpf || RAISED.swap(true, Ordering::Relaxed) {
        return false;
    }
    // A process with CAP_SYS_RESOURCE may take any limit; others get what their hard limit allows.
    let unlimited = nix::libc::RLIM_INFINITY;
    setrlimit(Resource::RLIMIT_MEMLOCK, unlimited, unlimited).is_ok()
        || getrlimit(Resource::RLIMIT_MEMLOCK)
            .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard))
            .is_ok()
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
