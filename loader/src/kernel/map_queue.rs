//! Maps that are taken from: queues and stacks, which have no keys, and looking up what is removed at once.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::syscall::{Attr, Command, bpf};
use super::{KernelError, Map, Update};

impl Map {
    /// Adds a value to a queue or stack; with [`Update::Replace`] a full one loses its oldest for it.
    pub fn push(&self, value: &[u8], update: Update) -> Result<(), KernelError> {
        self.update(&[], value, update)
    }

    /// The next value of a queue or stack, which stays; `None` of an empty one.
    pub fn peek(&self) -> Result<Option<Vec<u8>>, KernelError> {
        self.lookup(&[])
    }

    /// Takes the next value out of a queue or stack; `None` of an empty one.
    pub fn pop(&self) -> Result<Option<Vec<u8>>, KernelError> {
        self.lookup_and_delete(&[])
    }

    /// Removes a pair and gives its value, in one step: queues and stacks, hashes from Linux 5.14. For a per-CPU map the
    /// value is what [`Map::lookup`] gives.
    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        self.check("take from", "key", key, self.shape().key_size as usize)?;
        let mut value = vec![0u8; self.value_bytes()?];
        let mut attr = Attr::new(32);
        attr.fd("map_fd", 0, self.as_fd())
            .input("key", 8, key)
            .output("value", 16, &mut value);
        match bpf(Command::MapLookupAndDeleteElem, &mut attr) {
            Ok(_) => Ok(Some(value)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno @ (Errno::EOPNOTSUPP | Errno::EINVAL)) => Err(KernelError::because(
                self.what("take from"),
                format!(
                    "this kernel cannot look up and delete at once in maps of the type {}",
                    self.shape().map_type
                ),
                errno,
            )),
            Err(errno) => Err(self.refused("take from", errno)),
        }
    }
}
