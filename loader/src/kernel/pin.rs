//! Pins: names in a BPF file system that keep maps and programs alive without a process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{FsType, statfs};

use super::syscall::{Attr, Command, bpf, bpf_fd};
use super::{Capability, KernelError, Map, Program, c_string};

/// `BPF_FS_MAGIC`, include/uapi/linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// A directory inside a mounted BPF file system. Having one means that pins can be made below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpfFs {
    directory: PathBuf,
}

impl BpfFs {
    /// Checks that `directory` exists in a BPF file system.
    pub fn open(directory: &Path) -> Result<Self, KernelError> {
        let what = || format!("{}: use as a pin directory", directory.display());
        let stat = statfs(directory).map_err(|errno| KernelError::refused(what(), errno))?;
        if stat.filesystem_type() != FsType(BPF_FS_MAGIC as _) {
            return Err(KernelError::Usage {
                what: what(),
                why: "it is not in a BPF file system\n  try:  mount -t bpf bpf /sys/fs/bpf".into(),
            });
        }
        Ok(BpfFs {
            directory: directory.to_path_buf(),
        })
    }

    /// Creates `directory` (its parent must be in a BPF file system) and opens it; one that exists is opened as it is.
    pub fn create(directory: &Path) -> Result<Self, KernelError> {
        match std::fs::create_dir(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                return Err(KernelError::refused(
                    format!("{}: create pin directory", directory.display()),
                    errno,
                ));
            }
        }
        let opened = Self::open(directory);
        if opened.is_err() {
            // The directory that was just made on another file system is of no use; one with content stays.
            let _ = std::fs::remove_dir(directory);
        }
        opened
    }

    /// The path of a pin named `name`. Dots cannot be in a pin's name (`bpf_lookup` in kernel/bpf/inode.c), so `.rodata`
    /// becomes `_rodata`, as libbpf does.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name.replace('.', "_"))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Pins a map under `name`.
    pub fn pin_map(&self, name: &str, map: &Map) -> Result<PathBuf, KernelError> {
        self.pin(name, map.as_fd(), &format!("map `{}`", map.name()))
    }

    /// Pins a program under `name`.
    pub fn pin_program(&self, name: &str, program: &Program) -> Result<PathBuf, KernelError> {
        self.pin(
            name,
            program.as_fd(),
            &format!("program `{}`", program.name()),
        )
    }

    fn pin(&self, name: &str, fd: BorrowedFd<'_>, object: &str) -> Result<PathBuf, KernelError> {
        let path = self.path(name);
        let c_path = c_string("path", path.as_os_str().as_bytes())?;
        let mut attr = Attr::new(16);
        attr.input("pathname", 0, c_path.as_bytes_with_nul())
            .fd("bpf_fd", 8, fd);
        match bpf(Command::ObjPin, &mut attr) {
            Ok(_) => Ok(path),
            Err(errno) => {
                let what = format!("pin {object} as {}", path.display());
                Err(KernelError::privileged(what, errno, &[Capability::Bpf]))
            }
        }
    }
}

fn get(path: &Path) -> Result<Option<OwnedFd>, KernelError> {
    let c_path = c_string("path", path.as_os_str().as_bytes())?;
    let mut attr = Attr::new(16);
    attr.input("pathname", 0, c_path.as_bytes_with_nul());
    match bpf_fd(Command::ObjGet, &mut attr) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(KernelError::privileged(
            format!("open pin {}", path.display()),
            errno,
            &[Capability::Bpf],
        )),
    }
}

/// The map pinned at `path`; `None` where nothing is.
pub fn open_map(path: &Path) -> Result<Option<Map>, KernelError> {
    get(path)?.map(Map::from_fd).transpose()
}

/// The program pinned at `path`; `None` where nothing is.
pub fn open_program(path: &Path) -> Result<Option<Program>, KernelError> {
    get(path)?.map(Program::from_fd).transpose()
}

/// Removes the pin at `path`; one that is gone already is no error.
pub fn unpin(path: &Path) -> Result<(), KernelError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
            Err(KernelError::refused(
                format!("remove pin {}", path.display()),
                errno,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn another_file_system_is_refused_with_what_to_do() {
        assert_eq!(
            BpfFs::open(Path::new("/proc")).unwrap_err().to_string(),
            "/proc: use as a pin directory: it is not in a BPF file system\n  try:  mount -t bpf bpf /sys/fs/bpf"
        );
        assert_eq!(
            BpfFs::open(Path::new("/nowhere/at/all"))
                .unwrap_err()
                .to_string(),
            "/nowhere/at/all: use as a pin directory: no such file or directory (ENOENT)"
        );
    }

    #[test]
    fn dots_do_not_go_into_pin_names() {
        let fs = BpfFs {
            directory: "/sys/fs/bpf/x".into(),
        };
        assert_eq!(fs.path(".rodata"), Path::new("/sys/fs/bpf/x/_rodata"));
    }
}
