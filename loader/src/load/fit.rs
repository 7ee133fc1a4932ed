//! What only the machine knows of a map: how many CPUs it has, how large a page is.

use super::{LoadError, Observer, Step};
use crate::kernel::{self, MapShape};
use crate::object::{MapPlan, MapSpec};
use crate::uapi::MapType;

/// A size that the machine decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// What the object says.
    pub from: u32,
    /// What the map gets.
    pub to: u32,
    /// The kernel's rule.
    pub why: &'static str,
}

/// The map's shape with its entries fitted to the machine; says so where that changed them.
pub(super) fn shape(
    plan: &MapPlan,
    spec: &MapSpec,
    observer: &mut dyn Observer,
) -> Result<MapShape, LoadError> {
    let mut max_entries = spec.max_entries;
    if let Some(fitted) = entries(spec)? {
        max_entries = fitted.to;
        observer.step(&Step::MapFitted {
            map: plan,
            fitted: &fitted,
        });
    }
    Ok(MapShape {
        map_type: spec.map_type,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries,
        map_flags: spec.map_flags,
        map_extra: match spec.map_type {
            MapType::ARENA if spec.map_extra == 0 => ARENA_ADDRESS,
            _ => spec.map_extra,
        },
    })
}

/// Where user space would map an arena that names no address. The verifier must know one, and refuses programs until it
/// does (kernel/bpf/arena.c, "arena's user address must be set via map_extra or mmap()"). It lies below what processes
/// get by themselves, and at a multiple of 4 GiB, which no arena may cross.
const ARENA_ADDRESS: u64 = 1 << 44;

fn entries(spec: &MapSpec) -> Result<Option<Fitted>, LoadError> {
    let from = spec.max_entries;
    let (to, why) = match spec.map_type {
        MapType::PERF_EVENT_ARRAY if from == 0 => (possible_cpus()?, "one buffer a possible CPU"),
        // More than the kernel was built for is E2BIG (cpu_map_alloc), and no entry past the last CPU can be used.
        MapType::CPUMAP if from == 0 || from > possible_cpus()? => {
            (possible_cpus()?, "one entry a possible CPU")
        }
        // A power of two that is a multiple of a page (ringbuf_map_alloc).
        MapType::RINGBUF | MapType::USER_RINGBUF if from != 0 => (
            whole_pages(from, kernel::page_size()),
            "a power of two of whole pages",
        ),
        _ => return Ok(None),
    };
    Ok((to != from).then_some(Fitted { from, to, why }))
}

fn possible_cpus() -> Result<u32, LoadError> {
    Ok(kernel::possible_cpus()? as u32)
}

/// A size that no power of two of 32 bits reaches stays, for the kernel to refuse.
fn whole_pages(bytes: u32, page: u32) -> u32 {
    bytes.max(page).checked_next_power_of_two().unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_buffers_are_rounded_up() {
        let sizes = [1, 4096, 5000, 65_536, 0x8000_0001];
        assert_eq!(
            sizes.map(|size| whole_pages(size, 4096)),
            [4096, 4096, 8192, 65_536, 0x8000_0001]
        );
        assert_eq!(whole_pages(4096, 65_536), 65_536);
    }
}
