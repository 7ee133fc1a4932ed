//! Every program, map, BTF object and link of the kernel by its id (BPF_*_GET_NEXT_ID).

use nix::errno::Errno;

use super::syscall::{Attr, Command, bpf};
use super::{Capability, KernelError};

/// More ids than any machine has: the walk must end.
const BOUND: usize = 1 << 20;

/// The ids of all loaded programs, ascending.
pub fn program_ids() -> Result<Vec<u32>, KernelError> {
    walk(Command::ProgGetNextId, "list programs")
}

/// The ids of all maps, ascending.
pub fn map_ids() -> Result<Vec<u32>, KernelError> {
    walk(Command::MapGetNextId, "list maps")
}

/// The ids of all BTF objects, ascending.
pub fn btf_ids() -> Result<Vec<u32>, KernelError> {
    walk(Command::BtfGetNextId, "list BTF objects")
}

/// The ids of all links, ascending (Linux 5.8).
pub fn link_ids() -> Result<Vec<u32>, KernelError> {
    walk(Command::LinkGetNextId, "list links")
}

fn walk(command: Command, what: &str) -> Result<Vec<u32>, KernelError> {
    let mut ids = Vec::new();
    while ids.len() < BOUND {
        let mut attr = Attr::new(12);
        attr.u32("start_id", 0, ids.last().copied().unwrap_or(0));
        match bpf(command, &mut attr) {
            Ok(_) => ids.push(attr.get(4)),
            Err(Errno::ENOENT) => break,
            Err(errno) => {
                return Err(KernelError::privileged(
                    what,
                    errno,
                    &[Capability::SysAdmin],
                ));
            }
        }
    }
    Ok(ids)
}
