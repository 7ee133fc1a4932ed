//! Word of a file's changes. Editors write a new file and move it over the old one, so it is the folder that is watched.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// A file that is watched.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    /// Its name in the folder; None where every change there counts, since the file is a link to who knows where.
    name: Option<OsString>,
}

impl Watch {
    /// Watches it.
    ///
    /// # Errors
    /// The kernel's: there is no such folder, or it watches too much already.
    pub fn of(file: &Path) -> Result<Self, Errno> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(&folder(file), events)?;
        let linked = file.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        let name = file.file_name().filter(|_| !linked);
        Ok(Self {
            inotify,
            name: name.map(OsStr::to_os_string),
        })
    }

    /// Readable when something happened in the folder.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Takes what happened; whether it may be a change of the file.
    pub fn took_place(&self) -> bool {
        let mut changed = false;
        while let Ok(events) = self.inotify.read_events() {
            changed |= events.iter().any(|event| match (&self.name, &event.name) {
                (Some(own), Some(name)) => own == name,
                // The queue ran over, or any name counts.
                (None, _) | (_, None) => true,
            });
        }
        changed
    }
}

/// The folder that a file is in.
fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        Some(_) | None => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::fs;

    #[test]
    fn writing_and_moving_over_are_seen_and_others_are_not() {
        let dir = std::env::temp_dir().join(format!("xdplb-watch-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("lb.toml");
        fs::write(&file, "a").unwrap();
        let watch = Watch::of(&file).unwrap();
        assert!(!watch.took_place());
        fs::write(dir.join("other"), "a").unwrap();
        assert!(!watch.took_place());
        fs::write(&file, "b").unwrap();
        assert!(watch.took_place());
        fs::rename(dir.join("other"), &file).unwrap();
        assert!(watch.took_place() && !watch.took_place());
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(Watch::of(&file).unwrap_err(), Errno::ENOENT);
        assert_eq!(folder(Path::new("lb.toml")), Path::new("."));
    }
}
