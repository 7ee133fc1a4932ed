//! XDP programs at interfaces: a guard that takes its program off again, and the taking off.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::kernel::Program;
use crate::netlink::{Expect, Link, Mode, Namespace, NetlinkError, Socket};

/// An XDP program at an interface's hook. Dropping this takes it off, unless somebody else has replaced it meanwhile.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use xdplb_loader::{Attachment, Mode, Object};
///
/// let loaded = Object::parse(&std::fs::read("pass.o")?)?.load()?;
/// let attached = Attachment::xdp(loaded.program("pass")?, "veth0", Mode::Generic)?;
/// // …
/// attached.detach()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Attachment {
    socket: Socket,
    ifname: String,
    ifindex: u32,
    mode: Mode,
    program: OwnedFd,
    end: End,
}

/// What becomes of it when it is dropped.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Detach,
    Stay,
}

/// What was found when a program was to be taken off.
#[derive(Debug, PartialEq, Eq)]
pub enum Detached {
    /// It was there, and is gone now.
    Done,
    /// The interface is gone, and it with that.
    InterfaceGone,
    /// Somebody had taken it off.
    Already,
    /// Another program has taken its place; it stays.
    Replaced(u32),
}

impl Attachment {
    /// Attaches a program to an interface of this thread's network namespace, in the driver or in the network stack.
    ///
    /// # Errors
    /// No such interface, another program there (EBUSY), a driver without XDP (EOPNOTSUPP), a missing CAP_NET_ADMIN.
    pub fn xdp(program: &Program, ifname: &str, mode: Mode) -> Result<Self, NetlinkError> {
        let what = || format!("attach to {ifname}");
        let refused = |errno| NetlinkError::Refused {
            what: what(),
            errno,
            extack: None,
        };
        let socket = Socket::open()?;
        let link = socket.link_by_name(ifname)?;
        let ifindex = link.ok_or_else(|| refused(Errno::ENODEV))?.ifindex;
        let program = program.as_fd().try_clone_to_owned();
        let program = program
            .map_err(|error| refused(Errno::from_raw(error.raw_os_error().unwrap_or_default())))?;
        socket
            .attach_xdp(ifindex, mode, program.as_fd(), Expect::Nothing)
            .map_err(|error| renamed(error, what()))?;
        Ok(Attachment {
            socket,
            ifname: ifname.to_string(),
            ifindex,
            mode,
            program,
            end: End::Detach,
        })
    }

    /// Takes the program off and says what was found.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn detach(mut self) -> Result<Detached, NetlinkError> {
        self.end = End::Stay;
        self.take_off()
    }

    /// Leaves the program where it is: it runs on when this process has ended.
    pub fn keep(mut self) {
        self.end = End::Stay;
    }

    fn take_off(&self) -> Result<Detached, NetlinkError> {
        take_off(
            &self.socket,
            &self.ifname,
            self.ifindex,
            self.mode,
            self.program.as_fd(),
        )
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if self.end == End::Detach {
            // Who wants to know calls `detach`.
            let _ = self.take_off();
        }
    }
}

/// Takes a program off an interface, if it is still the one there.
///
/// # Errors
/// The kernel's refusal.
pub fn take_off(
    socket: &Socket,
    ifname: &str,
    ifindex: u32,
    mode: Mode,
    program: BorrowedFd<'_>,
) -> Result<Detached, NetlinkError> {
    let error = match socket.detach_xdp(ifindex, mode, Expect::Program(program)) {
        Ok(()) => return Ok(Detached::Done),
        Err(error) => error,
    };
    match error.errno() {
        Some(Errno::ENODEV) => Ok(Detached::InterfaceGone),
        // It is not there any more: another program, or none.
        Some(Errno::EEXIST | Errno::ENOENT | Errno::EBUSY) => {
            let there = socket.link(ifindex, Namespace::Own)?;
            Ok(match there.as_ref().map(at_hook) {
                None => Detached::InterfaceGone,
                Some(None) => Detached::Already,
                Some(Some((_, id))) => Detached::Replaced(id),
            })
        }
        _ => Err(renamed(error, format!("detach from {ifname}"))),
    }
}

/// The program where ours would be. Native and generic exclude each other (`dev_xdp_attach`); one that a network card runs
/// itself is in nobody's way.
pub fn at_hook(link: &Link) -> Option<(Mode, u32)> {
    link.xdp
        .programs()
        .find(|(mode, _)| *mode != Mode::Hardware)
}

/// The same error with the interface's name in place of its number.
pub(crate) fn renamed(error: NetlinkError, what: String) -> NetlinkError {
    match error {
        NetlinkError::Refused { errno, extack, .. } => NetlinkError::Refused {
            what,
            errno,
            extack,
        },
        NetlinkError::Socket { errno, .. } => NetlinkError::Socket { what, errno },
        NetlinkError::Malformed { cause, offset, .. } => NetlinkError::Malformed {
            what,
            cause,
            offset,
        },
        NetlinkError::Unsettled { cause, .. } => NetlinkError::Unsettled { what, cause },
    }
}
