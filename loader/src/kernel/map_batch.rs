//! Many pairs of a map with few calls, where the kernel has batch commands for its type (Linux 5.6), one by one where not.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::syscall::{Attr, Command, bpf};
use super::{KernelError, Map, Update};

/// A key and its value, as bytes.
pub type Pair = (Vec<u8>, Vec<u8>);

/// How many bytes of keys and values a batch command is asked for at first.
const BATCH: usize = 1 << 18;

impl Map {
    /// All pairs; of a hash that changes meanwhile a pair can be missed or come twice. For a per-CPU map a value is what
    /// [`Map::lookup`] gives.
    pub fn entries(&self) -> Result<Vec<Pair>, KernelError> {
        if let Some(pairs) = self.lookup_batch()? {
            return Ok(pairs);
        }
        let mut pairs = Vec::new();
        for key in self.keys()? {
            // Gone since the walk saw it.
            if let Some(value) = self.lookup(&key)? {
                pairs.push((key, value));
            }
        }
        Ok(pairs)
    }

    /// `BPF_MAP_LOOKUP_BATCH` until the end; `None` where the kernel does not have it for this type.
    fn lookup_batch(&self) -> Result<Option<Vec<Pair>>, KernelError> {
        let shape = self.shape();
        let (key_size, value_size) = (shape.key_size as usize, self.value_bytes()?);
        if key_size == 0 || value_size == 0 {
            return Ok(None);
        }
        // A hash gives whole buckets: one that is larger than the room is ENOSPC, answered with more room.
        let most = (shape.max_entries as usize).max(1);
        let mut room = (BATCH / (key_size + value_size)).clamp(1, most);
        let mut pairs = Vec::new();
        // The place to go on from: as long as a key, and no shorter than a hash's bucket number.
        let mut place: Option<Vec<u8>> = None;
        // A hash that is written to meanwhile must not keep this going for ever.
        while pairs.len() <= most.saturating_mul(2) {
            let mut keys = vec![0u8; key_size * room];
            let mut values = vec![0u8; value_size * room];
            let mut next = vec![0u8; key_size.max(8)];
            let mut attr = Attr::new(BATCH_SIZE);
            if let Some(place) = &place {
                attr.input("batch.in_batch", 0, place);
            }
            attr.output("batch.out_batch", 8, &mut next)
                .output("batch.keys", 16, &mut keys)
                .output("batch.values", 24, &mut values)
                .u32("batch.count", 32, room as u32)
                .fd("batch.map_fd", 36, self.as_fd());
            let answer = bpf(Command::MapLookupBatch, &mut attr);
            let count = (attr.get(32) as usize).min(room);
            match answer {
                Err(Errno::ENOSPC) if room < most => {
                    room = (room * 4).min(most);
                    continue;
                }
                Ok(_) | Err(Errno::ENOENT) => {}
                Err(_) if pairs.is_empty() => return Ok(None),
                Err(errno) => return Err(self.refused("read", errno)),
            }
            pairs.extend(
                keys.chunks_exact(key_size)
                    .zip(values.chunks_exact(value_size))
                    .take(count)
                    .map(|(key, value)| (key.to_vec(), value.to_vec())),
            );
            if answer.is_err() {
                // ENOENT: this was the end.
                break;
            }
            place = Some(next);
        }
        Ok(Some(pairs))
    }

    /// Writes many pairs with few calls: `BPF_MAP_UPDATE_BATCH` where the kernel has it for this type of map (Linux 5.6),
    /// one by one where not. Not for per-CPU maps.
    pub fn update_all(&self, pairs: &[Pair]) -> Result<(), KernelError> {
        let mut done = 0;
        if pairs.len() > 1 && !self.shape().map_type.is_per_cpu() {
            done = self.update_batch(pairs)?;
        }
        pairs[done..]
            .iter()
            .try_for_each(|(key, value)| self.update(key, value, Update::Any))
    }

    /// How many of the pairs one batch command wrote: all, or none where the kernel has no such command.
    fn update_batch(&self, pairs: &[Pair]) -> Result<usize, KernelError> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (key, value) in pairs {
            self.check("write to", "key", key, self.shape().key_size as usize)?;
            self.check("write to", "value", value, self.shape().value_size as usize)?;
            keys.extend_from_slice(key);
            values.extend_from_slice(value);
        }
        let mut attr = Attr::new(BATCH_SIZE);
        attr.input("batch.keys", 16, &keys)
            .input("batch.values", 24, &values)
            .u32("batch.count", 32, pairs.len() as u32)
            .fd("batch.map_fd", 36, self.as_fd());
        match bpf(Command::MapUpdateBatch, &mut attr) {
            Ok(_) => Ok(pairs.len()),
            Err(Errno::E2BIG) => Err(self.full(Errno::E2BIG)),
            // EINVAL: no such command before 5.6; ENOTSUPP (524), which has no name in user space: not for this type. What
            // was written until an error is written again below; that does no harm.
            Err(_) => Ok(0),
        }
    }

    /// Removes the pairs of these keys; says how many were there.
    pub fn delete_all(&self, keys: &[Vec<u8>]) -> Result<usize, KernelError> {
        let mut there = 0;
        for key in keys {
            there += usize::from(self.delete(key)?);
        }
        Ok(there)
    }
}

/// `union bpf_attr`'s `batch` up to `flags`.
const BATCH_SIZE: usize = 56;
