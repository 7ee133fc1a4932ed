//! Commands with less privilege than the tests have.

use std::io::{Error, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `CAP_NET_ADMIN` (include/uapi/linux/capability.h).
pub const CAP_NET_ADMIN: u32 = 12;
/// `CAP_BPF`.
pub const CAP_BPF: u32 = 39;

/// The user and group that own nothing.
const NOBODY: u32 = 65_534;

/// The command starts as a plain user: with the user's id its capabilities go.
pub fn as_nobody(command: &mut Command) {
    // SAFETY: system calls without memory arguments; nothing is allocated or locked after the fork.
    unsafe {
        command.pre_exec(|| {
            // Not the C library's functions, which would speak to threads that a forked child does not have.
            check(libc::syscall(libc::SYS_setgroups, 0, 0))?;
            check(libc::syscall(libc::SYS_setgid, NOBODY))?;
            check(libc::syscall(libc::SYS_setuid, NOBODY))
        });
    }
}

/// The command starts as root with these capabilities and no others: root gains at execve(2) what the bounding
/// set holds (capabilities(7)).
pub fn with_only(command: &mut Command, kept: &'static [u32]) {
    // SAFETY: as above.
    unsafe {
        command.pre_exec(|| {
            // The kernel knows 41 of them today and answers EINVAL to what it doesn't know.
            for capability in (0..64).filter(|capability| !kept.contains(capability)) {
                let dropped = libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
                if dropped != 0 && Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
                    return Err(Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

fn check(result: libc::c_long) -> Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}
