//! Attaching the program to its interface, and taking it off again: one netlink request each, in which the kernel itself
//! checks that nobody came in between.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::device::Device;
use super::program::ENTRY;
use super::running::{Foreign, Occupant};
use crate::attach::{Detached, renamed, take_off};
use crate::kernel::Program;
use crate::load::Loaded;
use crate::netlink::{Expect, Mode, NetlinkError, Socket};

/// Why the program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Another program is there.
    #[error("attach to {ifname}: it already runs {program}")]
    Occupied {
        /// The interface.
        ifname: String,
        /// Who is there.
        program: String,
    },
    /// A program is there that only its holder can take off.
    #[error(
        "attach to {ifname}: it already runs {program}\n  only the owner of that link can detach it"
    )]
    Linked {
        /// The interface.
        ifname: String,
        /// Who is there.
        program: String,
    },
    /// The driver has no XDP.
    #[error(transparent)]
    NoDriverSupport(NetlinkError),
    /// The kernel refused for another reason.
    #[error(transparent)]
    Refused(NetlinkError),
    /// The object has no such program.
    #[error("attach to {0}: no program `{ENTRY}` was loaded")]
    NoProgram(String),
}

/// Whether somebody else's program may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// No.
    LeaveOthers,
    /// Yes: `--replace`.
    Replace,
}

/// Whether we may take the place of who is there.
///
/// # Errors
/// Whose program it is.
pub fn check(device: &Device, occupant: &Occupant, manners: Manners) -> Result<(), AttachError> {
    let Occupant::Foreign(foreign) = occupant else {
        return Ok(());
    };
    let (ifname, program) = (device.name.clone(), foreign.to_string());
    match (foreign.link, manners) {
        (Some(_), _) => Err(AttachError::Linked { ifname, program }),
        (None, Manners::LeaveOthers) => Err(AttachError::Occupied { ifname, program }),
        (None, Manners::Replace) => Ok(()),
    }
}

/// A balancer at its place. Dropped, it is taken off again, and everything of it goes.
#[derive(Debug)]
pub struct Attachment<'a> {
    socket: &'a Socket,
    name: String,
    ifindex: u32,
    /// Where it is attached.
    pub mode: Mode,
    /// The program and its maps.
    pub loaded: Loaded,
    end: End,
}

/// What becomes of it when it is dropped.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Detach,
    Stay,
}

impl<'a> Attachment<'a> {
    /// Attaches, in the place of who is there. Where that runs in the same mode, no packet falls between the two.
    ///
    /// # Errors
    /// The kernel's refusal; then who was there is there still.
    pub fn attach(
        socket: &'a Socket,
        device: &Device,
        mode: Mode,
        loaded: Loaded,
        occupant: &Occupant,
    ) -> Result<Self, AttachError> {
        let (before, before_mode) = match occupant {
            Occupant::Nothing => (None, mode),
            Occupant::Ours(running) => (Some(&running.program), running.mode),
            Occupant::Foreign(Foreign { program, mode, .. }) => (program.as_ref(), *mode),
        };
        let expect = match (occupant, before) {
            (Occupant::Nothing, _) => Expect::Nothing,
            (_, Some(program)) => Expect::Program(program.as_fd()),
            // We may not open it, but may replace it.
            (_, None) => Expect::Anything,
        };
        let program = program_of(&device.name, &loaded)?;
        let request = |mode, program: &Program, expect| {
            socket.attach_xdp(device.ifindex, mode, program.as_fd(), expect)
        };
        if before_mode == mode {
            request(mode, program, expect).map_err(|error| explain(device, error))?;
        } else {
            // The kernel has one mode at a time (dev_xdp_attach): the old one has to go first.
            let off = socket.detach_xdp(device.ifindex, before_mode, expect);
            off.map_err(|error| explain(device, error))?;
            if let Err(error) = request(mode, program, Expect::Nothing) {
                if let Some(before) = before {
                    let _ = request(before_mode, before, Expect::Nothing);
                }
                return Err(explain(device, error));
            }
        }
        Ok(Self {
            socket,
            name: device.name.clone(),
            ifindex: device.ifindex,
            mode,
            loaded,
            end: End::Detach,
        })
    }

    /// Leaves it there: it has pins, and outlives us.
    pub fn leave(mut self) {
        self.end = End::Stay;
    }

    /// Takes it off.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn detach(mut self) -> Result<Detached, NetlinkError> {
        self.end = End::Stay;
        self.take_off()
    }

    fn take_off(&self) -> Result<Detached, NetlinkError> {
        match program_of(&self.name, &self.loaded) {
            Ok(program) => {
                let (name, ifindex) = (&self.name, self.ifindex);
                let off = |program: &Program| {
                    take_off(self.socket, name, ifindex, self.mode, program.as_fd())
                };
                let mut done = off(program)?;
                // A listener comes and goes: each time it is another program with our flows.
                for _ in 0..3 {
                    match &done {
                        Detached::Replaced(id) => match self.kin(*id) {
                            Some(program) => done = off(&program)?,
                            None => break,
                        },
                        Detached::Done | Detached::InterfaceGone | Detached::Already => break,
                    }
                }
                Ok(done)
            }
            Err(_) => Ok(Detached::Already),
        }
    }

    /// The program of that number, if it has our flows: it is ours with a listener.
    fn kin(&self, id: u32) -> Option<Program> {
        let flows = self.loaded.map("connections").ok()?.info().ok()?.id;
        let program = Program::from_id(id).ok()?;
        let info = program.info().ok()?;
        info.map_ids.contains(&flows).then_some(program)
    }
}

impl Drop for Attachment<'_> {
    fn drop(&mut self) {
        if self.end == End::Detach {
            // An error is on its way out already.
            let _ = self.take_off();
        }
    }
}

fn program_of<'l>(ifname: &str, loaded: &'l Loaded) -> Result<&'l Program, AttachError> {
    loaded
        .program(ENTRY)
        .map_err(|_| AttachError::NoProgram(ifname.into()))
}

fn explain(device: &Device, error: NetlinkError) -> AttachError {
    let errno = error.errno();
    let error = renamed(error, format!("attach to {}", device.name));
    match errno {
        Some(Errno::EOPNOTSUPP) => AttachError::NoDriverSupport(error),
        _ => AttachError::Refused(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::device::tests::device;
    use super::*;

    fn foreign(link: Option<u32>) -> Occupant {
        Occupant::Foreign(Foreign {
            id: 42,
            name: Some("xdp_filter".into()),
            mode: Mode::Native,
            link,
            program: None,
            version: None,
        })
    }

    #[test]
    fn another_program_is_left_alone_unless_told_otherwise() {
        let text = |occupant, manners| {
            check(&device(), &occupant, manners).map_err(|error| error.to_string())
        };
        assert_eq!(text(Occupant::Nothing, Manners::LeaveOthers), Ok(()));
        assert_eq!(text(foreign(None), Manners::Replace), Ok(()));
        assert_eq!(
            text(foreign(None), Manners::LeaveOthers).unwrap_err(),
            "attach to veth6: it already runs XDP program 42 `xdp_filter` (native)"
        );
        for manners in [Manners::LeaveOthers, Manners::Replace] {
            assert_eq!(
                text(foreign(Some(7)), manners).unwrap_err(),
                "attach to veth6: it already runs XDP program 42 `xdp_filter` (native), held by bpf_link 7\n  only the owner of that link can detach it"
            );
        }
    }

    #[test]
    fn the_kernels_sentence_stands_behind_the_interfaces_name() {
        let error = NetlinkError::Refused {
            what: "attach to interface 7 (native)".into(),
            errno: Errno::EOPNOTSUPP,
            extack: Some("Underlying driver does not support XDP in native mode".into()),
        };
        let error = explain(&device(), error);
        assert!(matches!(error, AttachError::NoDriverSupport(_)));
        assert_eq!(
            error.to_string(),
            "attach to veth6: underlying driver does not support XDP in native mode (EOPNOTSUPP)"
        );
    }
}
