//! A ring buffer read from user space: its pages mapped into this process, as the kernel's kernel/bpf/ringbuf.c lays them out.
//!
//! ```text
//!   offset 0          one page    the consumer's position: ours to write
//!   offset page       one page    the producer's position: read only
//!   offset 2 pages    the data, twice in a row, so that a record that wraps around is whole
//! ```
//!
//! A record is eight bytes of header (its length; bit 31: still being written; bit 30: thrown away), then its data, padded to
//! eight bytes. This file and `syscall` are the unsafe doors of `kernel`.

use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{KernelError, Map};
use crate::uapi::MapType;

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEADER: usize = 8;

/// The reading end of a `BPF_MAP_TYPE_RINGBUF` map (Linux 5.8). A map has one reader: two would take each other's records.
#[derive(Debug)]
pub struct RingBuffer {
    fd: OwnedFd,
    consumer: Mapping,
    /// The producer's page and the data after it.
    producer: Mapping,
    page: usize,
    /// Bytes of the ring, a power of two.
    size: usize,
}

/// A record. Its bytes stay the reader's until it is dropped; then the kernel may use their room again.
#[derive(Debug)]
pub struct Record<'r> {
    bytes: &'r [u8],
    position: &'r AtomicU64,
    next: u64,
}

impl Deref for Record<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // Release: what was read of the record is read before its room is given back.
        self.position.store(self.next, Ordering::Release);
    }
}

impl RingBuffer {
    /// Maps the ring of a map.
    pub fn open(map: &Map) -> Result<Self, KernelError> {
        let what = || format!("read ring buffer `{}`", map.name());
        let shape = map.shape();
        if shape.map_type != MapType::RINGBUF {
            return Err(KernelError::Usage {
                what: what(),
                why: format!("it is a map of type {}", shape.map_type),
            });
        }
        let refused = |errno| KernelError::refused(what(), errno);
        let (page, size) = (page_size(), shape.max_entries as usize);
        let fd = map
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| KernelError::io(what(), &error))?;
        let consumer = Mapping::new(fd.as_fd(), page, 0, Access::Write).map_err(refused)?;
        let producer =
            Mapping::new(fd.as_fd(), page + 2 * size, page, Access::Read).map_err(refused)?;
        Ok(RingBuffer {
            fd,
            consumer,
            producer,
            page,
            size,
        })
    }

    /// The next record that a program has submitted; `None` when there is none now. Those that it threw away are skipped.
    pub fn read(&mut self) -> Option<Record<'_>> {
        let position = self.consumer.u64_at(0)?;
        // Only we write it.
        let mut at = position.load(Ordering::Relaxed);
        loop {
            // Acquire: what the kernel wrote before it moved on is seen.
            if at >= self.producer.u64_at(0)?.load(Ordering::Acquire) {
                return None;
            }
            let start = self.page + (at as usize & (self.size - 1));
            let header = self.producer.u32_at(start)?.load(Ordering::Acquire);
            if header & BUSY != 0 {
                return None;
            }
            let length = (header & !DISCARDED) as usize;
            let next = at + (length + HEADER).next_multiple_of(8) as u64;
            if header & DISCARDED != 0 {
                position.store(next, Ordering::Release);
                at = next;
                continue;
            }
            // A header that says more than the ring holds is not the kernel's.
            let bytes = self.producer.bytes(start + HEADER, length)?;
            return Some(Record {
                bytes,
                position,
                next,
            });
        }
    }

    /// Waits until there is a record, for so long at most; says whether there is one. A signal ends the wait, too.
    pub fn wait(&self, limit: Duration) -> Result<bool, KernelError> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, limit) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(KernelError::refused("wait for a ring buffer", errno)),
        }
    }
}

impl AsFd for RingBuffer {
    /// Readable when there is a record, for event loops.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What this process does with mapped pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// Pages of a map in this process's memory. Having one means that `length` bytes from `start` are mapped, readable, until it
/// is dropped.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(
        fd: BorrowedFd<'_>,
        length: usize,
        offset: usize,
        access: Access,
    ) -> Result<Self, Errno> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(start.cast()).ok_or(Errno::EFAULT)?;
        Ok(Mapping { start, length })
    }

    /// A place inside the mapping for a value of that size, aligned to it.
    fn place(&self, offset: usize, size: usize) -> Option<NonNull<u8>> {
        let inside = offset.checked_add(size)? <= self.length && offset.is_multiple_of(size);
        // SAFETY: the sum was just found to lie inside the mapping.
        inside.then(|| unsafe { self.start.add(offset) })
    }

    fn u64_at(&self, offset: usize) -> Option<&AtomicU64> {
        let place = self.place(offset, 8)?;
        // SAFETY: eight mapped, aligned bytes, borrowed no longer than the mapping; the kernel changes them at the same
        // time, which atomics allow, and a value that is stored to belongs to a writable mapping.
        Some(unsafe { place.cast().as_ref() })
    }

    fn u32_at(&self, offset: usize) -> Option<&AtomicU32> {
        let place = self.place(offset, 4)?;
        // SAFETY: as above, with four bytes.
        Some(unsafe { place.cast().as_ref() })
    }

    /// Bytes that nobody changes: those of a submitted record, as long as the consumer's position stands before it.
    fn bytes(&self, offset: usize, length: usize) -> Option<&[u8]> {
        if offset.checked_add(length)? > self.length {
            return None;
        }
        // SAFETY: mapped bytes, borrowed no longer than the mapping; the kernel does not write to a submitted record, and
        // its room is given back only when the record is dropped.
        Some(unsafe { std::slice::from_raw_parts(self.start.add(offset).as_ptr(), length) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone; every borrow of it has ended.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

fn page_size() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(4096)
}
