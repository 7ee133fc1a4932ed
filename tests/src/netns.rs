//! Network namespaces without a name: they live while this process holds their descriptor.
//!
//! A name under /run/netns outlives a test runner that is killed; a descriptor does not, so nothing of a
//! test can be left behind, and tests that run side by side cannot meet. `ip` takes the path of a
//! descriptor wherever it takes a name.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::rtnl::{self, Change, Device, Rtnl};
use crate::run;

/// Which families of addresses hosts have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4, as in the tutorial; IPv6 is switched off.
    V4,
    /// Both.
    Both,
}

/// A network namespace. Dropping it takes down all that is in it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    handle: OwnedFd,
}

impl Netns {
    /// Makes one with its loopback up and without IPv6. `name` is what errors call it.
    pub fn new(name: &str) -> Result<Self> {
        Self::with(name, Families::V4)
    }

    /// Makes one with its loopback up. No duplicate address detection and no router solicitations: they would be waited
    /// for, and be frames that no test asked for. Link-local addresses stay: a host asks from them for a neighbour when the
    /// packet's own source is not on that device, as a router and a backend with the address on `lo` do.
    pub fn with(name: &str, families: Families) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!(
                "network namespace {name}: needs root (EPERM)\n  try: sudo -E cargo test -p xdplb-tests, or cargo xtask test"
            );
        }
        let handle = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).with_context(|| {
                format!("network namespace {name}: cannot be made, though we are root\n  try: give the container CAP_SYS_ADMIN")
            })?;
            for conf in ["all", "default"] {
                quieten(conf, families)?;
            }
            Rtnl::open()?.set("lo", Change::Up)?;
            let path = "/proc/thread-self/ns/net";
            Ok(OwnedFd::from(File::open(path).context(path)?))
        })?;
        Ok(Self {
            name: name.into(),
            handle,
        })
    }

    /// Sets variables inside, `net/ipv4/ip_forward` and the like.
    pub fn sysctl(&self, variables: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            variables
                .iter()
                .try_for_each(|(name, value)| set_variable(name, value))
        })
        .with_context(|| format!("network namespace {}", self.name))
    }

    /// Its descriptor.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Changes its network, by a socket that is inside.
    pub fn wire(&self, action: impl FnOnce(&Rtnl) -> Result<()> + Send) -> Result<()> {
        self.run(|| action(&Rtnl::open()?))
            .with_context(|| format!("network namespace {}", self.name))
    }

    /// The devices inside.
    pub fn devices(&self) -> Result<Vec<Device>> {
        self.run(|| Rtnl::open()?.devices())
            .with_context(|| format!("network namespace {}", self.name))
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path that `ip` and other processes of ours can open for as long as this value lives.
    pub fn path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.handle.as_raw_fd()
        )
    }

    /// Runs `action` inside, on a thread of its own. Sockets made there stay there wherever they are used.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread(|| {
            setns(&self.handle, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("enter network namespace {}", self.name))?;
            action()
        })
    }

    /// Makes `command` start inside. The child dies with the thread that spawns it: spawn it from a thread
    /// that lasts, such as the test's own.
    pub fn enter(&self, command: &mut Command) -> Result<()> {
        let handle = self.handle.try_clone()?;
        // SAFETY: two system calls on values made before the fork; nothing is allocated or locked.
        unsafe {
            command.pre_exec(move || {
                set_pdeathsig(Signal::SIGKILL)?;
                setns(&handle, CloneFlags::CLONE_NEWNET)?;
                Ok(())
            });
        }
        Ok(())
    }

    /// Runs lines of `ip` commands inside, as `ip -batch` reads them.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped());
        self.enter(&mut command)?;
        let feed = run::feed_all(lines.as_bytes());
        let output = run::with_input(command, Duration::from_secs(20), feed)?;
        ensure!(
            output.code == Some(0),
            "ip in {}: {}{}\n  {}",
            self.name,
            output.stderr,
            output.stdout,
            lines.trim().replace('\n', "\n  ")
        );
        Ok(())
    }

    /// What `ip -json -details link show` says about the devices inside.
    pub fn links(&self) -> Result<Vec<serde_json::Value>> {
        let mut command = Command::new("ip");
        command.args(["-json", "-details", "link", "show"]);
        self.enter(&mut command)?;
        let output = run::output(command, Duration::from_secs(20))?;
        ensure!(
            output.code == Some(0),
            "ip in {}: {}",
            self.name,
            output.stderr
        );
        serde_json::from_str(&output.stdout).context("ip -json link show")
    }

    /// The device `ifname`, as [`links`](Self::links) gives it.
    pub fn link(&self, ifname: &str) -> Result<serde_json::Value> {
        self.links()?
            .into_iter()
            .find(|link| link["ifname"] == ifname)
            .with_context(|| format!("no device {ifname} in {}", self.name))
    }

    /// The index of a device inside.
    pub fn ifindex(&self, ifname: &str) -> Result<u32> {
        self.run(|| rtnl::index(ifname))
            .with_context(|| format!("network namespace {}", self.name))
    }
}

/// What new devices do by themselves, in the namespace of this thread.
fn quieten(conf: &str, families: Families) -> Result<()> {
    // IPv4's variables are those of the first namespace, where somebody may have set them.
    set_variable(&format!("net/ipv4/conf/{conf}/rp_filter"), "0")?;
    let folder = format!("net/ipv6/conf/{conf}");
    if !std::fs::exists(format!("/proc/sys/{folder}"))? {
        ensure!(families == Families::V4, "this kernel has no IPv6");
        return Ok(());
    }
    let variables: &[_] = match families {
        Families::V4 => &[("disable_ipv6", "1")],
        Families::Both => &[
            ("accept_dad", "0"),
            ("dad_transmits", "0"),
            ("accept_ra", "0"),
            ("autoconf", "0"),
            ("router_solicitations", "0"),
        ],
    };
    variables
        .iter()
        .try_for_each(|(name, value)| set_variable(&format!("{folder}/{name}"), value))
}

/// Sets a variable in the namespace of this thread.
fn set_variable(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    std::fs::write(&path, value).with_context(|| format!("{path} = {value}"))
}

/// Runs `action` on a thread that ends with it, so that a namespace it enters stays the thread's own.
pub fn on_thread<T: Send>(action: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(action)
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_panic_inside_is_the_callers() {
        let panic = std::panic::catch_unwind(|| on_thread(|| -> Result<()> { panic!("inside") }));
        assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "inside");
    }
}
