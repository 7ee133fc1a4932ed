//! The emulator that boots other kernels: the machine's own, or Debian's unpacked under target/.

use super::toolchain;
use crate::{run, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What it is called.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// The oldest major version that will do. 7.2 of Debian 12 corrupts now and then what an emulated Linux 6.12 has in memory:
/// `BUG: kernel NULL pointer dereference … RIP: 0010:__cpa_addr`, where a pointer to the stack was, while modules load.
pub const OLDEST: u32 = 10;

/// Where Debian's packages are unpacked.
pub fn private() -> PathBuf {
    workspace::target().join("qemu")
}

/// The first that runs.
pub fn find() -> Option<PathBuf> {
    let unpacked = private().join("usr/bin").join(PROGRAM);
    run::program(PROGRAM)
        .into_iter()
        .chain([unpacked])
        .find(|path| {
            run::read(command(path).arg("--version"))
                .is_ok_and(|text| major(&text).is_some_and(|version| version >= OLDEST))
        })
}

/// `QEMU emulator version 10.0.2 (Debian …)` is 10.
fn major(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("version ")?;
    version.split('.').next()?.parse().ok()
}

/// The command, with the libraries and the firmware that were unpacked beside it.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(libraries) = toolchain::libraries_beside(program) {
        command.env("LD_LIBRARY_PATH", libraries);
        if let Some(usr) = program.parent().and_then(Path::parent) {
            command.arg("-L").arg(usr.join("share/qemu"));
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let says = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright (c)\n";
        assert_eq!(major(says), Some(10));
        assert_eq!(major("sh: not found"), None);
    }

    #[test]
    fn an_installed_one_finds_its_own_files() {
        let installed = command(Path::new("/usr/bin/qemu-system-x86_64"));
        assert_eq!(installed.get_args().count(), 0);
        assert_eq!(installed.get_envs().count(), 0);
    }
}
