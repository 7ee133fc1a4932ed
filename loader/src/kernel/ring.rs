//! A ring buffer read from user space: its pages mapped into this process, as the kernel's kernel/bpf/ringbuf.c lays them out.
//!
//! ```text
//!   offset 0          one page    the consumer's position: ours to write
//!   offset page       one page    the producer's position: read only
//!   offset 2 pages    the data, twice in a row, so that a record that wraps around is whole
//! ```
//!
//! A record is eight bytes of header (its length; bit 31: still being written; bit 30: thrown away), then its data, padded to
//! eight bytes.

use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::mapping::{Access, RingPages};
use super::{KernelError, Map, page_size};
use crate::uapi::MapType;

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEADER: usize = 8;

/// The reading end of a `BPF_MAP_TYPE_RINGBUF` map (Linux 5.8). A map has one reader: two would take each other's records.
#[derive(Debug)]
pub struct RingBuffer {
    fd: OwnedFd,
    consumer: RingPages,
    /// The producer's page and the data after it.
    producer: RingPages,
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
        let refused = |error: std::io::Error| KernelError::io(what(), &error);
        let (page, size) = (page_size() as usize, shape.max_entries as usize);
        let fd = map.as_fd().try_clone_to_owned().map_err(refused)?;
        let consumer = RingPages::new(fd.as_fd(), page, 0, Access::Write).map_err(refused)?;
        let producer =
            RingPages::new(fd.as_fd(), page + 2 * size, page, Access::Read).map_err(refused)?;
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
