//! BTF in the kernel: load, open.

use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::info::BtfInfo;
use super::layout::BtfLoad;
use super::log::{self, Answer, Buffer};
use super::rejection::Rejection;
use super::syscall::{Attr, Command, bpf_fd};
use super::token::token_flag;
use super::{Capability, KernelError, Token, permission};

/// A BTF object in the kernel. Dropping it closes the descriptor.
#[derive(Debug)]
pub struct Btf {
    fd: OwnedFd,
}

impl Btf {
    /// Loads the bytes of a `.BTF` section, with a token where one is needed and found: without a log first, and when they are refused once more with one, so that the
    /// error says which type the kernel objects to.
    pub fn load(bytes: &[u8]) -> Result<Self, KernelError> {
        let (result, token) = permission::retry(None, |token| Self::command(bytes, token));
        match result {
            Ok(fd) => Ok(Btf { fd }),
            Err(errno) => Err(Self::unloadable(bytes, token, errno)),
        }
    }

    fn unloadable(bytes: &[u8], token: Option<&Token>, errno: Errno) -> KernelError {
        match errno {
            Errno::EPERM => permission::error("load BTF".into(), &[Capability::Bpf], token),
            Errno::EINVAL | Errno::E2BIG | Errno::ENOSPC => rejection(bytes, token, errno),
            errno => KernelError::refused("load BTF", errno),
        }
    }

    /// Loads the bytes where the kernel takes them; `None` where it objects to them, which [`Btf::load`] says more about, and
    /// takes longer to.
    pub fn try_load(bytes: &[u8]) -> Result<Option<Self>, KernelError> {
        let (result, token) = permission::retry(None, |token| Self::command(bytes, token));
        match result {
            Ok(fd) => Ok(Some(Btf { fd })),
            Err(Errno::EINVAL | Errno::E2BIG | Errno::ENOSPC) => Ok(None),
            Err(errno) => Err(Self::unloadable(bytes, token, errno)),
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

    /// The types themselves, as they were loaded.
    pub fn bytes(&self) -> Result<Vec<u8>, KernelError> {
        BtfInfo::bytes_of("BTF", self.fd.as_fd())
    }

    /// The command itself; also what the feature probes use.
    pub(super) fn command(bytes: &[u8], token: Option<&Token>) -> Result<OwnedFd, Errno> {
        let mut attr = Self::attr(bytes, token);
        bpf_fd(Command::BtfLoad, &mut attr)
    }

    fn logged(bytes: &[u8], token: Option<&Token>, log: Buffer<'_>) -> Answer {
        let mut attr = Self::attr(bytes, token);
        attr.u32("btf_log_size", 20, log.bytes.len() as u32)
            .output("btf_log_buf", 8, log.bytes)
            .u32("btf_log_level", 24, log.level as u32);
        let result = bpf_fd(Command::BtfLoad, &mut attr);
        Answer {
            result,
            true_size: attr.get(offset_of!(BtfLoad, btf_log_true_size)),
        }
    }

    fn attr<'a>(bytes: &'a [u8], token: Option<&'a Token>) -> Attr<'a> {
        let mut attr = Attr::new(offset_of!(BtfLoad, btf_flags));
        attr.input("btf", 0, bytes)
            .u32("btf_size", 16, bytes.len() as u32);
        if let Some(token) = token {
            attr.u32(
                "btf_flags",
                offset_of!(BtfLoad, btf_flags),
                token_flag(Some(token)),
            )
            .fd(
                "btf_token_fd",
                offset_of!(BtfLoad, btf_token_fd),
                token.as_fd(),
            );
        }
        attr
    }
}

impl AsFd for Btf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn rejection(bytes: &[u8], token: Option<&Token>, errno: Errno) -> KernelError {
    let log = log::collect(|log| Btf::logged(bytes, token, log));
    // The first answer is the checker's; the second can be ENOSPC, which is the log's.
    KernelError::Rejected(Box::new(Rejection::of_btf(errno, log.text)))
}
