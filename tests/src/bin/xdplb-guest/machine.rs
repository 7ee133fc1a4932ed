//! What an init has to do before anything else can be done, and how a machine of the matrix ends.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};

/// The port of qemu's isa-debug-exit: qemu ends with twice the byte plus one.
const EXIT_PORT: u16 = 0xf4;

/// How the machine ends, as the byte for that port: qemu's exit codes are 33 and 35.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// Everything held.
    Passed = 16,
    /// Something did not.
    Failed = 17,
}

/// Mounts what the kernel offers as file systems. A kernel hands its first process an empty tree.
pub fn mount_all() -> Result<()> {
    let all = [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("bpf", "/sys/fs/bpf"),
        ("tracefs", "/sys/kernel/tracing"),
        ("tmpfs", "/tmp"),
    ];
    for (kind, place) in all {
        fs::create_dir_all(place).with_context(|| format!("make {place}"))?;
        mount(
            Some(kind),
            place,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("mount {kind} on {place}"))?;
    }
    Ok(())
}

/// Inserts the kernel modules of a folder, in the order of their names, and removes the files.
pub fn insert_modules(folder: &Path) -> Result<()> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for file in files {
        let image = fs::read(&file).with_context(|| file.display().to_string())?;
        nix::kmod::init_module(&image, &CString::default())
            .with_context(|| format!("insert {}", file.display()))?;
    }
    fs::remove_dir_all(folder).with_context(|| folder.display().to_string())
}

/// Puts the kernel's configuration where distributions have it.
pub fn place_config() -> Result<()> {
    fs::create_dir_all("/boot").context("make /boot")?;
    let place = format!("/boot/config-{}", release()?);
    fs::rename("/config", &place).with_context(|| place.clone())
}

/// Removes this program's own file and makes sure that `program` is the only one left.
pub fn leave_only(program: &str) -> Result<()> {
    fs::remove_file("/init").context("remove /init")?;
    let mut found = Vec::new();
    executables(Path::new("/"), &mut found)?;
    ensure!(
        found == [Path::new(program)],
        "programs in the image: {found:?}, and only {program} was to be there"
    );
    Ok(())
}

/// The executable files below a folder, on its own file system.
fn executables(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let device = fs::metadata(folder)?.dev();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let data = fs::symlink_metadata(&path)?;
        // The tree is the image's, three folders deep; what is mounted in it is the kernel's.
        if data.is_dir() && data.dev() == device {
            executables(&path, found)?;
        } else if data.is_file() && data.permissions().mode() & 0o111 != 0 {
            found.push(path);
        }
    }
    Ok(())
}

/// The running kernel's release.
pub fn release() -> Result<String> {
    let name = nix::sys::utsname::uname().context("uname")?;
    Ok(name.release().to_string_lossy().into_owned())
}

/// Ends the machine.
pub fn end(how: End) -> ! {
    // The serial line holds what was written last for a while.
    std::thread::sleep(Duration::from_millis(50));
    // SAFETY: asks for the one port; without it the next instruction would be a fault, which ends this process
    // and with it the machine, as a panic of the kernel.
    if unsafe { libc::ioperm(EXIT_PORT.into(), 1, 1) } == 0 {
        // SAFETY: writes one byte to a port of the emulator; no memory is touched.
        unsafe {
            std::arch::asm!("out dx, al", in("dx") EXIT_PORT, in("al") how as u8, options(nomem, nostack));
        }
        // The emulator ends a moment later; an init that ends before that is a panic in the log.
        std::thread::sleep(Duration::from_secs(5));
    }
    // Not under qemu, or without the device: whoever waits sees neither of the two codes.
    std::process::exit(how as i32)
}
