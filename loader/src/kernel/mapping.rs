//! The unsafe door to mmap(2): a file's pages, read where the kernel has them; an arena's pages, shared with programs.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
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

/// Pages that programs and this process share. Dropping it unmaps them.
#[derive(Debug)]
pub(super) struct Shared {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the pages are written to through `&mut` only, and nothing hands out a reference to them.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps `len` bytes of a map, at the address if it is not 0.
    pub(super) fn new(map: BorrowedFd<'_>, len: usize, address: u64) -> io::Result<Self> {
        let fixed = if address == 0 {
            0
        } else {
            libc::MAP_FIXED_NOREPLACE
        };
        // SAFETY: a new mapping, which replaces nothing: at an address of the kernel's choice, or at one where nothing is.
        let at = unsafe {
            libc::mmap(
                ptr::without_provenance_mut(address as usize),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | fixed,
                map.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(at.cast::<u8>()) {
            Some(start) if at != libc::MAP_FAILED => Ok(Shared { at: start, len }),
            Some(_) | None => Err(io::Error::last_os_error()),
        }
    }

    /// Copies bytes to a place inside; says whether they fit.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let fits = offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= self.len);
        if fits {
            // SAFETY: the place was just found to lie inside of what is mapped for writing, and no reference to it exists.
            unsafe {
                ptr::copy_nonoverlapping(bytes.as_ptr(), self.at.as_ptr().add(offset), bytes.len())
            };
        }
        fits
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped is unmapped.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}
