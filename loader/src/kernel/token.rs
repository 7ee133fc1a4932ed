//! BPF tokens (Linux 6.9): a right to use parts of bpf(2) that the host delegates to a user namespace by a BPF file system.
//!
//! A process in a user namespace finds its token by itself when the kernel says EPERM: in the file system that
//! `LIBBPF_BPF_TOKEN_PATH` names (libbpf's variable; empty means none), or in /sys/fs/bpf.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;

use super::KernelError;
use super::syscall::{Attr, Command, bpf_fd};

/// `BPF_F_TOKEN_FD`: the descriptor of a token is set. The same bit for maps, programs and BTF.
const BPF_F_TOKEN_FD: u32 = 1 << 16;
/// libbpf's name for it.
const VARIABLE: &str = "LIBBPF_BPF_TOKEN_PATH";
const PLACE: &str = "/sys/fs/bpf";

/// A right that was delegated to this process. Dropping it closes the descriptor.
#[derive(Debug)]
pub struct Token {
    fd: OwnedFd,
    bpffs: PathBuf,
}

impl Token {
    /// Makes a token from a BPF file system that the host mounted for this user namespace with `delegate_cmds` and the like.
    pub fn create(bpffs: &Path) -> Result<Self, KernelError> {
        let what = || format!("{}: create a BPF token", bpffs.display());
        let directory =
            std::fs::File::open(bpffs).map_err(|error| KernelError::io(what(), &error))?;
        let mut attr = Attr::new(8);
        attr.fd("token_create.bpffs_fd", 4, directory.as_fd());
        match bpf_fd(Command::TokenCreate, &mut attr) {
            Ok(fd) => Ok(Token {
                fd,
                bpffs: bpffs.to_path_buf(),
            }),
            Err(errno) => Err(match why(errno) {
                Some(why) => KernelError::because(what(), why, errno),
                None => KernelError::refused(what(), errno),
            }),
        }
    }

    /// What is delegated, as the mount's options say.
    pub(super) fn evidence(&self) -> String {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        match delegations(&mounts, &self.bpffs) {
            Some(options) => format!("{}: {options}", self.bpffs.display()),
            None => format!("{}: its mount options cannot be read", self.bpffs.display()),
        }
    }
}

impl AsFd for Token {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What `bpf_token_create` in kernel/bpf/token.c means by its answers.
fn why(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::ENOENT => Some("nothing is delegated there"),
        Errno::EPERM => Some("it is not of this user namespace, or CAP_BPF is missing in it"),
        Errno::EINVAL => Some("no BPF file system, or this kernel has no BPF tokens (Linux 6.9)"),
        Errno::EOPNOTSUPP => Some("only user namespaces have tokens"),
        _ => None,
    }
}

/// The token for this process, looked for once; or why there is none.
pub(super) fn delegated() -> Result<&'static Token, &'static str> {
    static TOKEN: OnceLock<Result<Token, String>> = OnceLock::new();
    TOKEN
        .get_or_init(|| {
            let place = std::env::var_os(VARIABLE).unwrap_or_else(|| PLACE.into());
            if place.is_empty() {
                return Err(format!("{VARIABLE} is empty"));
            }
            Token::create(Path::new(&place)).map_err(|error| error.to_string())
        })
        .as_ref()
        .map_err(String::as_str)
}

/// The options `delegate_…` of the mount at this path.
fn delegations(mounts: &str, path: &Path) -> Option<String> {
    let line = mounts.lines().rev().find(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next().is_some_and(|place| Path::new(place) == path) && fields.next() == Some("bpf")
    })?;
    let options: Vec<&str> = line
        .split(' ')
        .nth(3)?
        .split(',')
        .filter(|option| option.starts_with("delegate_"))
        .collect();
    Some(options.join(","))
}

/// The flag that goes with a token.
pub(super) fn token_flag(token: Option<&Token>) -> u32 {
    token.map_or(0, |_| BPF_F_TOKEN_FD)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_is_delegated_stands_in_the_mount_options() {
        let mounts = "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw,relatime,delegate_cmds=map_create:prog_load,delegate_maps=any 0 0\n";
        assert_eq!(
            delegations(mounts, Path::new("/sys/fs/bpf")).as_deref(),
            Some("delegate_cmds=map_create:prog_load,delegate_maps=any")
        );
        assert_eq!(delegations(mounts, Path::new("/sys")), None);
    }

    #[test]
    fn a_place_without_a_file_system_is_an_error() {
        assert_eq!(
            Token::create(Path::new("/nowhere"))
                .unwrap_err()
                .to_string(),
            "/nowhere: create a BPF token: no such file or directory (ENOENT)"
        );
    }
}
