//! A map as the kernel takes it: its type's own sizes, no types where it refuses them, a name it allows.

use xdplb_linker::btf::TypeId;

use super::MapSpec;
use crate::uapi::{MapType, OBJ_NAME_LEN};

/// Fits a definition to what the kernel takes for its type, as libbpf's `bpf_object__create_map` does.
pub(super) fn adjust(map: &mut MapSpec) {
    // These refuse BTF types with EINVAL (their `map_check_btf` is missing) and lose nothing by doing without.
    const UNTYPED: &[MapType] = &[
        MapType::PERF_EVENT_ARRAY,
        MapType::CGROUP_ARRAY,
        MapType::STACK_TRACE,
        MapType::ARRAY_OF_MAPS,
        MapType::HASH_OF_MAPS,
        MapType::DEVMAP,
        MapType::DEVMAP_HASH,
        MapType::CPUMAP,
        MapType::XSKMAP,
        MapType::SOCKMAP,
        MapType::SOCKHASH,
        MapType::QUEUE,
        MapType::STACK,
        MapType::ARENA,
    ];
    if UNTYPED.contains(&map.map_type) {
        map.key_type = TypeId::VOID;
        map.value_type = TypeId::VOID;
    }
    // A ring buffer has neither keys nor values; some definitions give it a value type all the same.
    if [MapType::RINGBUF, MapType::USER_RINGBUF].contains(&map.map_type) {
        (map.key_size, map.value_size) = (0, 0);
        (map.key_type, map.value_type) = (TypeId::VOID, TypeId::VOID);
    }
    // Queues have no keys (queue_stack_map_alloc_check, bloom_map_alloc).
    let queues = [MapType::QUEUE, MapType::STACK, MapType::BLOOM_FILTER];
    if queues.contains(&map.map_type) {
        map.key_size = 0;
        map.key_type = TypeId::VOID;
    }
    // The slots of these hold descriptors, whatever the definition says (fd_array_map_alloc_check, htab_of_maps).
    let arrays = [
        MapType::PROG_ARRAY,
        MapType::PERF_EVENT_ARRAY,
        MapType::CGROUP_ARRAY,
        MapType::ARRAY_OF_MAPS,
    ];
    if arrays.contains(&map.map_type) {
        (map.key_size, map.value_size) = (4, 4);
    }
    if map.map_type == MapType::HASH_OF_MAPS {
        map.value_size = 4;
        map.key_size = if map.key_size == 0 { 4 } else { map.key_size };
    }
}

/// A map's name in the kernel. Data sections are called after the object, as in libbpf (`internal_map_name`): eight bytes
/// of its name, then the section's. A named variant such as `.data.counters` keeps its own name.
pub(super) fn kernel_name(object: &str, map: &MapSpec) -> String {
    let name = match map.name.strip_prefix('.') {
        Some(rest) if !rest.contains('.') => {
            let room = (OBJ_NAME_LEN - 1).saturating_sub(map.name.len().max(7));
            let prefix: String = object.chars().filter(char::is_ascii).take(room).collect();
            prefix + &map.name
        }
        Some(_) | None => map.name.clone(),
    };
    let clean = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' || c == '.' {
            c
        } else {
            '_'
        }
    };
    name.chars().map(clean).take(OBJ_NAME_LEN - 1).collect()
}
