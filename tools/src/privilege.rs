//! Who we are, and how what needs root gets it: as root by running it, as a plain user through sudo.

use crate::run;
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use std::ffi::OsStr;
use std::process::Command;

/// How a command comes to run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// We are root.
    Root,
    /// We are a plain user and sudo is here.
    Sudo,
    /// We are a plain user and sudo is not here.
    None,
}

impl Privilege {
    /// Ours.
    pub fn of_this_process() -> Privilege {
        if nix::unistd::geteuid().is_root() {
            Privilege::Root
        } else if run::program("sudo").is_some() {
            Privilege::Sudo
        } else {
            Privilege::None
        }
    }

    /// The command `program`, run as root. `what` is what for, as said to the user beforehand and in the error.
    pub fn command(self, program: impl AsRef<OsStr>, what: &str) -> Result<Command> {
        match self {
            Privilege::Root => Ok(Command::new(program)),
            Privilege::Sudo => {
                println!("   sudo, for this only: {what}");
                let mut command = Command::new("sudo");
                if std::env::var_os("CI").is_some() {
                    // Nobody is there to type a password: fail at once instead of waiting for one.
                    command.arg("-n");
                }
                // The machine's variables stay behind; what the program is to see is named.
                command.arg("--").arg(program);
                Ok(command)
            }
            Privilege::None => bail!(
                "{what}: needs root (EPERM), and there is no sudo here\n  try: as root: cargo xtask …"
            ),
        }
    }
}

/// A capability that kernel and namespace tests need: its bit in `CapEff` (linux/capability.h) and what for.
struct Capability {
    bit: u32,
    name: &'static str,
    why: &'static str,
}

const NEEDED: [Capability; 3] = [
    Capability {
        bit: 12,
        name: "cap_net_admin",
        why: "attaching XDP programs, building veth pairs",
    },
    Capability {
        bit: 21,
        name: "cap_sys_admin",
        why: "making network and mount namespaces",
    },
    Capability {
        bit: 39,
        name: "cap_bpf",
        why: "loading BPF programs and maps",
    },
];

/// Says which of what the tests need the kernel withholds. Run as root, before anything slow begins.
pub fn check() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let missing = missing(&status);
    if !missing.is_empty() {
        bail!(
            "kernel tests: missing privilege (EPERM){}\n  try:  run as root on the machine itself, or give the container these capabilities",
            missing.concat()
        );
    }
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context(
        "namespace tests: the kernel refuses new namespaces, though all capabilities are there (a seccomp filter?)",
    )?;
    // Present whenever the kernel was built with CONFIG_BPF_SYSCALL (kernel/bpf/syscall.c).
    std::fs::metadata("/proc/sys/kernel/unprivileged_bpf_disabled")
        .context("kernel tests: this kernel has no bpf(2) (CONFIG_BPF_SYSCALL)")?;
    let filesystems = std::fs::read_to_string("/proc/filesystems").context("/proc/filesystems")?;
    if !filesystems.lines().any(|line| line.ends_with("\tbpf")) {
        bail!("kernel tests: this kernel has no bpf filesystem to pin in");
    }
    Ok(())
}

/// A line of evidence for each needed capability that `CapEff` in this /proc/PID/status lacks.
fn missing(status: &str) -> Vec<String> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    NEEDED
        .iter()
        .filter(|capability| effective & (1 << capability.bit) == 0)
        .map(|capability| format!("\n  missing: {:<14} {}", capability.name, capability.why))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_mask() {
        assert!(missing("Name:\tx\nCapEff:\t000001ffffffffff\n").is_empty());
        // Docker's default set: chown … net_raw, no net_admin, no sys_admin, no bpf.
        let lines = missing("CapEff:\t00000000a80425fb\n");
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[2],
            "\n  missing: cap_bpf        loading BPF programs and maps"
        );
    }

    #[test]
    fn without_a_mask_everything_is_missing() {
        assert_eq!(missing("").len(), 3);
    }

    #[test]
    fn without_root_and_sudo_the_error_says_so() {
        let error = Privilege::None
            .command("ip", "network namespaces")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "network namespaces: needs root (EPERM), and there is no sudo here\n  try: as root: cargo xtask …"
        );
    }

    #[test]
    fn root_runs_it_plainly() {
        let command = Privilege::Root.command("ip", "network namespaces").unwrap();
        assert_eq!(run::shown(&command), "ip");
    }
}
