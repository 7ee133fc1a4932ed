//! A BPF file system of a test's own: mounted in a mount namespace that only a descriptor holds.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::files::Folder;
use crate::netns::on_thread;

/// The file system. With it go its pins.
#[derive(Debug)]
pub struct BpfFs {
    folder: Folder,
    mounts: OwnedFd,
}

impl BpfFs {
    /// Mounts one.
    pub fn new() -> Result<Self> {
        let folder = Folder::new()?;
        let mounts = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace")?;
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
                .context("keep mounts private")?;
            mount(
                Some("bpf"),
                folder.path(),
                Some("bpf"),
                MsFlags::empty(),
                none,
            )
            .context("mount a BPF file system")?;
            Ok(OwnedFd::from(File::open("/proc/thread-self/ns/mnt")?))
        })?;
        Ok(Self { folder, mounts })
    }

    /// Where it is mounted, for a command that [`enter`](Self::enter)s.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Lets `command` see it.
    pub fn enter(&self, command: &mut Command) -> Result<()> {
        let mounts = self.mounts.try_clone()?;
        // SAFETY: one system call on a value made before the fork.
        unsafe {
            command.pre_exec(move || Ok(setns(&mounts, CloneFlags::CLONE_NEWNS)?));
        }
        Ok(())
    }

    /// Does something where it is mounted.
    pub fn within<T: Send>(&self, action: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread(|| {
            // A thread shares its root and working directory with the others; only one that doesn't may move.
            unshare(CloneFlags::CLONE_FS)?;
            setns(&self.mounts, CloneFlags::CLONE_NEWNS).context("enter the mount namespace")?;
            action()
        })
    }

    /// Every file in it, but for `maps.debug` and `progs.debug`, which the kernel puts into each.
    pub fn pins(&self) -> Result<Vec<PathBuf>> {
        self.within(|| {
            let mut found = Vec::new();
            let mut folders = vec![self.path().to_path_buf()];
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(&folder)? {
                    let entry = entry?;
                    if entry.path().extension().is_some_and(|name| name == "debug") {
                        continue;
                    }
                    if entry.file_type()?.is_dir() {
                        folders.push(entry.path())
                    } else {
                        found.push(entry.path())
                    }
                }
            }
            Ok(found)
        })
    }
}
