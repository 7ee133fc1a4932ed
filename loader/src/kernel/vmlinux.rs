//! The running kernel's types as it shows them: its own in `/sys/kernel/btf/vmlinux`, those of its modules beside it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;

use super::info::BtfInfo;
use super::mapping::Mapping;
use super::{Btf, KernelError, btf_ids};

const DIRECTORY: &str = "/sys/kernel/btf";
/// More bytes than any kernel has types.
const MOST: u64 = 512 << 20;

/// The bytes of a .BTF section of the kernel.
#[derive(Debug)]
pub struct KernelBtf(Bytes);

#[derive(Debug)]
enum Bytes {
    Mapped(Mapping),
    Read(Vec<u8>),
}

impl AsRef<[u8]> for KernelBtf {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(mapping) => mapping.as_ref(),
            Bytes::Read(bytes) => bytes,
        }
    }
}

/// The types of a module, and how the kernel numbers them.
#[derive(Debug)]
pub struct ModuleBtf {
    /// The module's name.
    pub name: String,
    /// The id of the BTF object ([`Btf::from_id`]).
    pub id: u32,
    /// The bytes of its .BTF section, which goes on from the kernel's.
    pub bytes: KernelBtf,
}

/// The kernel's own types. Where the kernel allows it (Linux 6.16) they are mapped: nothing is copied, and the pages are
/// nobody's but the kernel's.
pub fn kernel_btf() -> Result<KernelBtf, KernelError> {
    open(&Path::new(DIRECTORY).join("vmlinux"))
        .map_err(|error| missing(&error, Path::new(DIRECTORY)))
}

/// The types of all loaded modules. What cannot be read is left out: a module may go at any time.
pub fn module_btfs() -> Result<Vec<ModuleBtf>, KernelError> {
    let mut modules = Vec::new();
    for id in btf_ids()? {
        let Ok(info) = Btf::from_id(id).and_then(|btf| BtfInfo::of_kernel("BTF", btf.as_fd()))
        else {
            continue;
        };
        let Some(name) = info.filter(|name| name != "vmlinux" && is_module_name(name)) else {
            continue;
        };
        if let Ok(bytes) = open(&Path::new(DIRECTORY).join(&name)) {
            modules.push(ModuleBtf { name, id, bytes });
        }
    }
    Ok(modules)
}

/// A name that leads to no other folder.
fn is_module_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

fn open(path: &Path) -> io::Result<KernelBtf> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    if len > MOST {
        return Err(Errno::EFBIG.into());
    }
    if let Ok(mapping) = Mapping::of_kernel_file(&file, len as usize) {
        return Ok(KernelBtf(Bytes::Mapped(mapping)));
    }
    let mut bytes = Vec::with_capacity(len as usize + 1);
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(KernelBtf(Bytes::Read(bytes)))
}

/// Why there are no types: no sysfs, or a kernel that was built without them.
fn missing(error: &io::Error, directory: &Path) -> KernelError {
    let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let what = "read the kernel's types (/sys/kernel/btf/vmlinux)";
    if errno != Errno::ENOENT {
        return KernelError::refused(what, errno);
    }
    // The folder is there in every kernel since 5.4 that has BTF, its parent in every mounted sysfs.
    if directory.parent().is_some_and(Path::exists) {
        return KernelError::because(
            what,
            "this kernel has none, it was built without CONFIG_DEBUG_INFO_BTF",
            errno,
        );
    }
    KernelError::Refused {
        what: what.into(),
        why: "sysfs is not mounted".into(),
        errno,
        evidence: vec!["try:  mount -t sysfs sysfs /sys".into()],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn absence_is_explained() {
        let error = io::Error::from(Errno::ENOENT);
        assert_eq!(
            missing(&error, Path::new("/proc/btf")).to_string(),
            "read the kernel's types (/sys/kernel/btf/vmlinux): this kernel has none, it was built without CONFIG_DEBUG_INFO_BTF (ENOENT)"
        );
        assert_eq!(
            missing(&error, Path::new("/nowhere/at/all")).to_string(),
            "read the kernel's types (/sys/kernel/btf/vmlinux): sysfs is not mounted (ENOENT)\n  try:  mount -t sysfs sysfs /sys"
        );
        assert_eq!(
            missing(&Errno::EACCES.into(), Path::new("/proc/btf")).to_string(),
            "read the kernel's types (/sys/kernel/btf/vmlinux): permission denied (EACCES)"
        );
    }

    #[test]
    fn a_module_is_a_plain_file_name() {
        assert!(is_module_name("nf_tables"));
        for name in ["", ".", "..", "a/b", "../vmlinux"] {
            assert!(!is_module_name(name), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_read() {
        let file = open(Path::new("/proc/self/status")).unwrap();
        assert!(matches!(file.0, Bytes::Read(_)));
        assert!(file.as_ref().starts_with(b"Name:"));
    }

    #[test]
    fn the_running_kernels_types_begin_with_the_magic() {
        // A kernel without BTF is as good a machine to test on.
        if let Ok(btf) = kernel_btf() {
            assert_eq!(btf.as_ref().get(..2), Some(&[0x9f, 0xeb][..]));
        }
    }
}
