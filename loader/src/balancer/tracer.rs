//! Listening to a balancer that runs: while somebody does, a twin of its program that tells what it does is in its place; before and
//! after, nothing of that is there. Both share every map, and each replacement is one request, so that no packet is lost.

use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::errno::Errno;
use xdplb_prog::abi::watch;

use super::program::ENTRY;
use super::running::{Occupant, Running};
use super::twin::{self, Constant, Difference, TwinError, number};
use crate::attach::{at_hook, renamed};
use crate::kernel::{KernelError, Program, RingBuffer, page_size};
use crate::load::{LoadError, Loaded};
use crate::netlink::{Expect, Mode, Namespace, NetlinkError, Socket};
use crate::object::Spec;

/// Bytes of the ring: some thousands of records.
const RING: u32 = 4 << 20;

/// Why nobody can listen.
#[derive(Debug, thiserror::Error)]
pub enum TracerError {
    /// Somebody does already.
    #[error("another xdplb-load trace listens to it\n  try:  end that one first")]
    Taken,
    /// Whether somebody does cannot be told.
    #[error("take the lock of listeners: {0}")]
    Lock(std::io::Error),
    /// There is no twin.
    #[error(transparent)]
    Twin(#[from] TwinError),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The kernel refused to put it there.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The object lacks something.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// One listener an interface: a lock that the kernel drops with the process.
#[derive(Debug)]
pub struct Listener {
    _socket: UnixDatagram,
}

impl Listener {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`TracerError::Taken`] while another process has it.
    pub fn take(ifindex: u32) -> Result<Self, TracerError> {
        let name = SocketAddr::from_abstract_name(format!("xdplb-load/trace/{ifindex}"));
        match name.and_then(|name| UnixDatagram::bind_addr(&name)) {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(why) if why.kind() == std::io::ErrorKind::AddrInUse => Err(TracerError::Taken),
            Err(why) => Err(TracerError::Lock(why)),
        }
    }
}

/// What is told of each packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What became of it.
    Events,
    /// Its first bytes, too (Linux 5.18).
    Frames,
}

/// Whether a balancer's program tells what it does: somebody listens, or was killed while listening.
///
/// # Errors
/// The kernel's.
pub fn is_traced(spec: &Spec, running: &Running) -> Result<bool, KernelError> {
    let spec = match twin::spec_of(spec, running) {
        Ok(spec) => spec,
        Err(TwinError::Kernel(error)) => return Err(error),
        Err(_) => return Ok(false),
    };
    Ok(spec
        .global("WATCH")
        .is_ok_and(|bytes| bytes != watch::OFF.to_ne_bytes()))
}

/// Who is at the hook, seen by a listener.
#[derive(Debug)]
pub enum There {
    /// The program that tells.
    Ours,
    /// A balancer that has taken over its flows: a reload.
    Successor(Box<Running>),
    /// Nobody, or somebody else.
    Gone,
}

/// What became of the balancer in the end.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is as it was before.
    Restored,
    /// Somebody has replaced the program or taken it off meanwhile.
    Overtaken,
}

/// A listener at work. Dropped, it puts back what was there.
#[derive(Debug)]
pub struct Tracer<'t> {
    socket: &'t Socket,
    ifname: String,
    ifindex: u32,
    mode: Mode,
    /// What is put back.
    before: Program,
    loaded: Loaded,
    spec: &'t Spec,
    flows: Option<u32>,
    /// Where records come from.
    pub ring: RingBuffer,
    active: bool,
}

impl<'t> Tracer<'t> {
    /// Puts the telling program in the place of the one that runs.
    ///
    /// # Errors
    /// No twin, or the kernel's refusal; then nothing has changed.
    pub fn start(
        spec: &'t Spec,
        socket: &'t Socket,
        (ifname, ifindex): (&str, u32),
        running: Running,
        detail: Detail,
        filter: &[Constant],
    ) -> Result<Self, TracerError> {
        let detail = match detail {
            Detail::Events => watch::EVENTS,
            Detail::Frames => watch::FRAMES,
        };
        let mut constants = vec![number("WATCH", detail)];
        constants.extend_from_slice(filter);
        let twin = |constants: &[Constant], ring| {
            let difference = Difference {
                constants,
                own: &["scratch"],
                ring,
            };
            twin::load(spec, &running, &difference)
        };
        let loaded = twin(&constants, RING)?;
        let ring = RingBuffer::open(loaded.map("events")?)?;
        // A listener that was killed has left its program: in the end that, too, goes.
        let quiet = if is_traced(spec, &running)? {
            let mut quiet = twin(&[number("WATCH", watch::OFF)], page_size())?;
            quiet.programs.pop().map(|loaded| loaded.program)
        } else {
            None
        };
        let flows = running
            .map("connections")
            .map(|map| map.info())
            .transpose()?;
        let mut tracer = Self {
            socket,
            ifname: ifname.into(),
            ifindex,
            mode: running.mode,
            before: running.program,
            loaded,
            spec,
            flows: flows.map(|info| info.id),
            ring,
            active: false,
        };
        tracer.swap(&tracer.before, tracer.loaded.program(ENTRY)?)?;
        tracer.active = true;
        if let Some(quiet) = quiet {
            tracer.before = quiet;
        }
        Ok(tracer)
    }

    /// One in the other's place, if that is still there.
    fn swap(&self, old: &Program, new: &Program) -> Result<(), NetlinkError> {
        let expect = Expect::Program(old.as_fd());
        let done = self
            .socket
            .attach_xdp(self.ifindex, self.mode, new.as_fd(), expect);
        done.map_err(|error| renamed(error, format!("replace the program at {}", self.ifname)))
    }

    /// How many records found no room in the ring, or a few more.
    pub fn lost(&self) -> u64 {
        let lost = || {
            let map = self.loaded.map(".bss").ok()?;
            let bytes = map.lookup(&0u32.to_ne_bytes()).ok()??;
            let mut spec = self.spec.clone();
            spec.map_mut(".bss").ok()?.contents = Some(bytes);
            let bytes: [u8; 8] = spec.global("LOST").ok()?.try_into().ok()?;
            Some(u64::from_ne_bytes(bytes))
        };
        lost().unwrap_or(0)
    }

    /// Whether it was the very program that ran before, and not another of the same ABI.
    pub fn is_same(&self) -> bool {
        let tag = self.before.info().map(|info| info.tag);
        let program = self.loaded.programs.first();
        program.is_some_and(|program| tag.is_ok_and(|tag| tag == program.info.tag))
    }

    /// Who is at the hook now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn there(&self) -> Result<There, TracerError> {
        let Some(link) = self.socket.link(self.ifindex, Namespace::Own)? else {
            return Ok(There::Gone);
        };
        let own = self.loaded.programs.first().map(|program| program.info.id);
        if at_hook(&link).map(|(_, id)| id) == own {
            return Ok(There::Ours);
        }
        match Occupant::of(&link)? {
            Occupant::Ours(running) if running.flows() == self.flows => {
                Ok(There::Successor(running))
            }
            Occupant::Ours(_) | Occupant::Nothing | Occupant::Foreign(_) => Ok(There::Gone),
        }
    }

    /// Puts back what was there.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn stop(mut self) -> Result<Ended, TracerError> {
        self.restore()
    }

    fn restore(&mut self) -> Result<Ended, TracerError> {
        if !std::mem::take(&mut self.active) {
            return Ok(Ended::Overtaken);
        }
        match self.swap(self.loaded.program(ENTRY)?, &self.before) {
            Ok(()) => Ok(Ended::Restored),
            Err(error) => match error.errno() {
                Some(Errno::EEXIST | Errno::ENOENT | Errno::ENODEV) => Ok(Ended::Overtaken),
                _ => Err(error.into()),
            },
        }
    }
}

impl Drop for Tracer<'_> {
    fn drop(&mut self) {
        // An error is on its way out already.
        let _ = self.restore();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn there_is_one_listener() {
        let first = Listener::take(4_000_000_002).unwrap();
        assert_eq!(
            Listener::take(4_000_000_002).unwrap_err().to_string(),
            "another xdplb-load trace listens to it\n  try:  end that one first"
        );
        drop(first);
        Listener::take(4_000_000_002).unwrap();
    }
}
