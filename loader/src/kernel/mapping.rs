//! The one unsafe door to mmap(2): a file's pages, read where the kernel has them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::{io, ptr, slice};

/// The bytes of a mapped file. Dropping it unmaps them.
#[derive(Debug)]
pub(super) struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the pages are mapped read-only and privately, and nothing hands out anything but shared slices of them.
unsafe impl Send for Mapping {}
// SAFETY: as above; reading from several threads at once changes nothing.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of a file of the kernel's own (in sysfs), whose contents never change and never shrink:
    /// a file that somebody can cut short would end the process with SIGBUS.
    pub(super) fn of_kernel_file(file: &File, len: usize) -> io::Result<Self> {
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours; the descriptor is open.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(at.cast::<u8>()) {
            Some(start) if at != libc::MAP_FAILED => Ok(Mapping { at: start, len }),
            Some(_) | None => Err(io::Error::last_os_error()),
        }
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `len` bytes from `at` on are mapped for as long as `self` lives, and the kernel does not change them.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped is unmapped, and every slice of it borrowed `self`.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}
