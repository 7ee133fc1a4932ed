//! BPF tokens (Linux 6.9): a right to use parts of bpf(2) that the host delegates to a user namespace by a BPF file system.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::syscall::{Attr, Command, bpf_fd};
use super::{Capability, KernelError};

/// `BPF_F_TOKEN_FD`: the descriptor of a token is set. The same bit for maps, programs and BTF.
const BPF_F_TOKEN_FD: u32 = 1 << 16;

/// A right that was delegated to this process. Dropping it closes the descriptor.
#[derive(Debug)]
pub struct Token {
    fd: OwnedFd,
}

impl Token {
    /// Makes a token from a BPF file system that was mounted with `delegate_cmds` and the like for this user namespace.
    pub fn create(bpffs: &Path) -> Result<Self, KernelError> {
        let what = || format!("{}: create a BPF token", bpffs.display());
        let directory =
            std::fs::File::open(bpffs).map_err(|error| KernelError::io(what(), &error))?;
        let mut attr = Attr::new(8);
        attr.fd("token_create.bpffs_fd", 4, directory.as_fd());
        bpf_fd(Command::TokenCreate, &mut attr)
            .map(|fd| Token { fd })
            .map_err(|errno| KernelError::privileged(what(), errno, &[Capability::Bpf]))
    }
}

impl AsFd for Token {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The flag that goes with a token.
pub(super) fn token_flag(token: Option<&Token>) -> u32 {
    token.map_or(0, |_| BPF_F_TOKEN_FD)
}
