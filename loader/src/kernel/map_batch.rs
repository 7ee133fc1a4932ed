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
        let mut pairs = Vec::new();
        self.visit(&mut |key, value| pairs.push((key.to_vec(), value.to_vec())))?;
        Ok(pairs)
    }

    /// The same, each pair to a visitor, without room for all of them.
    pub fn visit(&self, visitor: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KernelError> {
        if self.visit_batch(visitor)? {
            return Ok(());
        }
        for key in self.keys()? {
            // Gone since the walk saw it.
            if let Some(value) = self.lookup(&key)? {
                visitor(&key, &value);
            }
        }
        Ok(())
    }

    /// `BPF_MAP_LOOKUP_BATCH` until the end; false where the kernel does not have it for this type.
    fn visit_batch(&self, visitor: &mut dyn FnMut(&[u8], &[u8])) -> Result<bool, KernelError> {
        let shape = self.shape();
        let (key_size, value_size) = (shape.key_size as usize, self.value_bytes()?);
        if key_size == 0 || value_size == 0 {
            return Ok(false);
        }
        // A hash gives whole buckets: one that is larger than the room is ENOSPC, answered with more room.
        let most = (shape.max_entries as usize).max(1);
        let mut room = (BATCH / (key_size + value_size)).clamp(1, most);
        let mut visited = 0;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        // The place to go on from: as long as a key, and no shorter than a hash's bucket number.
        let mut place: Option<Vec<u8>> = None;
        // A hash that is written to meanwhile must not keep this going for ever.
        while visited <= most.saturating_mul(2) {
            keys.resize(key_size * room, 0u8);
            values.resize(value_size * room, 0u8);
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
                Err(_) if visited == 0 => return Ok(false),
                Err(errno) => return Err(self.refused("read", errno)),
            }
            let pairs = keys
                .chunks_exact(key_size)
                .zip(values.chunks_exact(value_size));
            pairs
                .take(count)
                .for_each(|(key, value)| visitor(key, value));
            visited += count;
            if answer.is_err() {
                // ENOENT: this was the end.
                break;
            }
            place = Some(next);
        }
        Ok(true)
    }

    /// Writes the values of an array from its first entry on, one behind the other in `values`.
    pub fn fill(&self, values: &[u8]) -> Result<(), KernelError> {
        let size = self.shape().value_size as usize;
        let room = (BATCH / (size + 4)).max(1);
        let mut index = 0u32;
        for chunk in values.chunks(room * size) {
            let pairs: Vec<Pair> = (index..)
                .zip(chunk.chunks(size))
                .map(|(index, value)| (index.to_ne_bytes().to_vec(), value.to_vec()))
                .collect();
            self.update_all(&pairs)?;
            index += pairs.len() as u32;
        }
        Ok(())
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
