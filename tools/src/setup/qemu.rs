//! The emulator that boots other kernels: the machine's own, or Debian's unpacked under target/.

use super::toolchain;
use crate::{run, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What it is called.
pub const PROGRAM: &str = "qemu-system-x86_64";

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
        .find(|path| run::read(command(path).arg("--version")).is_ok())
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
    fn an_installed_one_finds_its_own_files() {
        let installed = command(Path::new("/usr/bin/qemu-system-x86_64"));
        assert_eq!(installed.get_args().count(), 0);
        assert_eq!(installed.get_envs().count(), 0);
    }
}
