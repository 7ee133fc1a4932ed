//! BTF in the kernel: load, open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::info::BtfInfo;
use super::log::{self, Rejection};
use super::syscall::{Attr, Command, bpf_fd};
use super::{Capability, KernelError, memlock};

/// A BTF object in the kernel. Dropping it closes the descriptor.
#[derive(Debug)]
pub struct Btf {
    fd: OwnedFd,
}

impl Btf {
    /// Loads the bytes of a `.BTF` section: without a log first, and when they are refused once more with one, so that the
    /// error says which type the kernel objects to.
    pub fn load(bytes: &[u8]) -> Result<Self, KernelError> {
        let errno = match memlock::retry(|| Self::command(bytes, None)) {
            Ok(fd) => return Ok(Btf { fd }),
            Err(errno) => errno,
        };
        match errno {
            Errno::EPERM => Err(KernelError::privileged(
                "load BTF",
                errno,
                &[Capability::Bpf],
            )),
            Errno::EINVAL | Errno::E2BIG | Errno::ENOSPC => Err(rejection(bytes, errno)),
            errno => Err(KernelError::refused("load BTF", errno)),
        }
    }

    /// Opens the BTF object with this id.
    pub fn from_id(id: u32) -> Result<Self, KernelError> {
        let mut attr = Attr::new(12);
        attr.u32("btf_id", 0, id);
        let fd = bpf_fd(Command::BtfGetFdById, &mut attr).map_err(|errno| {
            KernelError::privileged(format!("open BTF {id}"), errno, &[Capability::SysAdmin])
        })?;
        Ok(Btf { fd })
    }

    /// What the kernel says about it.
    pub fn info(&self) -> Result<BtfInfo, KernelError> {
        BtfInfo::of("BTF", self.fd.as_fd())
    }

    /// The command itself; also what the feature probes use.
    pub(super) fn command(bytes: &[u8], log: Option<&mut [u8]>) -> Result<OwnedFd, Errno> {
        let mut attr = Attr::new(28);
        attr.input("btf", 0, bytes)
            .u32("btf_size", 16, bytes.len() as u32);
        if let Some(log) = log {
            attr.u32("btf_log_size", 20, log.len() as u32)
                .output("btf_log_buf", 8, log)
                .u32("btf_log_level", 24, 1);
        }
        bpf_fd(Command::BtfLoad, &mut attr)
    }
}

impl AsFd for Btf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn rejection(bytes: &[u8], errno: Errno) -> KernelError {
    let (log, second) = log::collect(|log| Btf::command(bytes, Some(log)));
    KernelError::Rejected(Box::new(Rejection::of_btf(
        second.err().unwrap_or(errno),
        log,
    )))
}
