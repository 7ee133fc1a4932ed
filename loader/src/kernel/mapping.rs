//! The unsafe door to mmap(2), the only one: a file's pages, read where the kernel has them; an arena's pages, shared with
//! programs; a ring buffer's, which the kernel writes.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::{io, ptr, slice};

/// Mapped pages: having them means that `len` bytes from `at` are mapped, with the access asked for, until they are
/// dropped. What may be done with them is for the types around this one to say.
#[derive(Debug)]
struct Pages {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: memory that is mapped belongs to the process, not to a thread; all access is through the types below.
unsafe impl Send for Pages {}
// SAFETY: as above; a shared borrow of these gives no access by itself.
unsafe impl Sync for Pages {}

/// What this process does with mapped pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing but reading.
    Read,
    /// Both.
    Write,
}

/// Who sees what is written, and where the pages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// This process alone, anywhere.
    Private,
    /// Everybody; anywhere.
    Shared,
    /// Everybody; at this address, where nothing may be yet.
    SharedAt(u64),
}

impl Pages {
    fn map(fd: i32, offset: usize, len: usize, access: Access, place: Place) -> io::Result<Self> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        let (address, flags) = match place {
            Place::Private => (0, libc::MAP_PRIVATE),
            Place::Shared => (0, libc::MAP_SHARED),
            Place::SharedAt(address) => (address, libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE),
        };
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping, which replaces nothing: at an address of the kernel's choice, or at one where nothing is.
        let at = unsafe {
            libc::mmap(
                ptr::without_provenance_mut(address as usize),
                len,
                protection,
                flags,
                fd,
                offset,
            )
        };
        match NonNull::new(at.cast::<u8>()) {
            Some(start) if at != libc::MAP_FAILED => Ok(Pages { at: start, len }),
            Some(_) | None => Err(io::Error::last_os_error()),
        }
    }

    /// Where so many bytes lie, if they are inside.
    fn inside(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        let fits = offset.checked_add(len)? <= self.len;
        // SAFETY: the sum was just found to lie within what is mapped.
        fits.then(|| unsafe { self.at.add(offset) })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped is unmapped, and every slice of it borrowed `self`.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// The bytes of a mapped file. Dropping it unmaps them.
#[derive(Debug)]
pub(super) struct Mapping(Pages);

impl Mapping {
    /// Maps the first `len` bytes of a file of the kernel's own (in sysfs), whose contents never change and never shrink:
    /// a file that somebody can cut short would end the process with SIGBUS.
    pub(super) fn of_kernel_file(file: &File, len: usize) -> io::Result<Self> {
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Pages::map(file.as_raw_fd(), 0, len, Access::Read, Place::Private).map(Mapping)
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: all that is mapped, read-only, for as long as `self` lives; the kernel does not change it.
        unsafe { slice::from_raw_parts(self.0.at.as_ptr(), self.0.len) }
    }
}

/// Pages that programs and this process share. Dropping it unmaps them.
#[derive(Debug)]
pub(super) struct Shared(Pages);

impl Shared {
    /// Maps `len` bytes of a map, at the address if it is not 0.
    pub(super) fn new(map: BorrowedFd<'_>, len: usize, address: u64) -> io::Result<Self> {
        let place = match address {
            0 => Place::Shared,
            address => Place::SharedAt(address),
        };
        Pages::map(map.as_raw_fd(), 0, len, Access::Write, place).map(Shared)
    }

    /// Copies bytes to a place inside; says whether they fit.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let Some(place) = self.0.inside(offset, bytes.len()) else {
            return false;
        };
        // SAFETY: so many bytes from the place on are mapped for writing, and no reference to them exists.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len()) };
        true
    }
}

/// Pages of a ring buffer.
#[derive(Debug)]
pub(super) struct RingPages(Pages);

impl RingPages {
    /// Maps `len` bytes of a map from `offset` on.
    pub(super) fn new(
        map: BorrowedFd<'_>,
        len: usize,
        offset: usize,
        access: Access,
    ) -> io::Result<Self> {
        Pages::map(map.as_raw_fd(), offset, len, access, Place::Shared).map(RingPages)
    }

    /// A position.
    pub(super) fn u64_at(&self, offset: usize) -> Option<&AtomicU64> {
        let place = self
            .0
            .inside(offset, 8)
            .filter(|_| offset.is_multiple_of(8))?;
        // SAFETY: eight mapped bytes, aligned as mappings begin at a page, borrowed no longer than the mapping; the kernel
        // changes them at the same time, which atomics allow, and one that is stored to belongs to a writable mapping.
        Some(unsafe { place.cast().as_ref() })
    }

    /// A record's header.
    pub(super) fn u32_at(&self, offset: usize) -> Option<&AtomicU32> {
        let place = self
            .0
            .inside(offset, 4)
            .filter(|_| offset.is_multiple_of(4))?;
        // SAFETY: as above, with four bytes.
        Some(unsafe { place.cast().as_ref() })
    }

    /// Bytes that nobody changes: those of a submitted record, as long as the consumer's position stands before it.
    pub(super) fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        let place = self.0.inside(offset, len)?;
        // SAFETY: mapped bytes, borrowed no longer than the mapping; the kernel does not write to a submitted record, and
        // its room is given back only when the record is dropped.
        Some(unsafe { slice::from_raw_parts(place.as_ptr(), len) })
    }
}
