//! Which types of maps and programs this kernel has, and since when Linux has them: what an error says instead of EINVAL.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::log::{Buffer, Level};
use super::program::{self, ProgramDefinition};
use super::rehearsal;
use super::{Map, MapDefinition, MapShape, Release, page_size, permission};
use crate::uapi::{AttachType, MapType, ProgramType, map_flags};

/// The release that brought each type of map, in the header's order (the merge commits of each release).
const MAPS: [(MapType, Release); 34] = [
    (MapType::HASH, Release::new(3, 19)),
    (MapType::ARRAY, Release::new(3, 19)),
    (MapType::PROG_ARRAY, Release::new(4, 2)),
    (MapType::PERF_EVENT_ARRAY, Release::new(4, 3)),
    (MapType::PERCPU_HASH, Release::new(4, 6)),
    (MapType::PERCPU_ARRAY, Release::new(4, 6)),
    (MapType::STACK_TRACE, Release::new(4, 6)),
    (MapType::CGROUP_ARRAY, Release::new(4, 8)),
    (MapType::LRU_HASH, Release::new(4, 10)),
    (MapType::LRU_PERCPU_HASH, Release::new(4, 10)),
    (MapType::LPM_TRIE, Release::new(4, 11)),
    (MapType::ARRAY_OF_MAPS, Release::new(4, 12)),
    (MapType::HASH_OF_MAPS, Release::new(4, 12)),
    (MapType::DEVMAP, Release::new(4, 14)),
    (MapType::SOCKMAP, Release::new(4, 14)),
    (MapType::CPUMAP, Release::new(4, 15)),
    (MapType::XSKMAP, Release::new(4, 18)),
    (MapType::SOCKHASH, Release::new(4, 18)),
    (MapType::CGROUP_STORAGE, Release::new(4, 19)),
    (MapType::REUSEPORT_SOCKARRAY, Release::new(4, 19)),
    (MapType::PERCPU_CGROUP_STORAGE, Release::new(4, 20)),
    (MapType::QUEUE, Release::new(4, 20)),
    (MapType::STACK, Release::new(4, 20)),
    (MapType::SK_STORAGE, Release::new(5, 2)),
    (MapType::DEVMAP_HASH, Release::new(5, 4)),
    (MapType::STRUCT_OPS, Release::new(5, 6)),
    (MapType::RINGBUF, Release::new(5, 8)),
    (MapType::INODE_STORAGE, Release::new(5, 10)),
    (MapType::TASK_STORAGE, Release::new(5, 11)),
    (MapType::BLOOM_FILTER, Release::new(5, 16)),
    (MapType::USER_RINGBUF, Release::new(6, 1)),
    (MapType::CGRP_STORAGE, Release::new(6, 2)),
    (MapType::ARENA, Release::new(6, 9)),
    (MapType::INSN_ARRAY, Release::new(6, 19)),
];

/// The release that brought each type of program.
const PROGRAMS: [(ProgramType, Release); 32] = [
    (ProgramType::SOCKET_FILTER, Release::new(3, 19)),
    (ProgramType::KPROBE, Release::new(4, 1)),
    (ProgramType::SCHED_CLS, Release::new(4, 1)),
    (ProgramType::SCHED_ACT, Release::new(4, 1)),
    (ProgramType::TRACEPOINT, Release::new(4, 7)),
    (ProgramType::XDP, Release::new(4, 8)),
    (ProgramType::PERF_EVENT, Release::new(4, 9)),
    (ProgramType::CGROUP_SKB, Release::new(4, 10)),
    (ProgramType::CGROUP_SOCK, Release::new(4, 10)),
    (ProgramType::LWT_IN, Release::new(4, 10)),
    (ProgramType::LWT_OUT, Release::new(4, 10)),
    (ProgramType::LWT_XMIT, Release::new(4, 10)),
    (ProgramType::SOCK_OPS, Release::new(4, 13)),
    (ProgramType::SK_SKB, Release::new(4, 14)),
    (ProgramType::CGROUP_DEVICE, Release::new(4, 15)),
    (ProgramType::SK_MSG, Release::new(4, 17)),
    (ProgramType::RAW_TRACEPOINT, Release::new(4, 17)),
    (ProgramType::CGROUP_SOCK_ADDR, Release::new(4, 17)),
    (ProgramType::LWT_SEG6LOCAL, Release::new(4, 18)),
    (ProgramType::LIRC_MODE2, Release::new(4, 18)),
    (ProgramType::SK_REUSEPORT, Release::new(4, 19)),
    (ProgramType::FLOW_DISSECTOR, Release::new(4, 20)),
    (ProgramType::CGROUP_SYSCTL, Release::new(5, 2)),
    (ProgramType::RAW_TRACEPOINT_WRITABLE, Release::new(5, 2)),
    (ProgramType::CGROUP_SOCKOPT, Release::new(5, 3)),
    (ProgramType::TRACING, Release::new(5, 5)),
    (ProgramType::STRUCT_OPS, Release::new(5, 6)),
    (ProgramType::EXT, Release::new(5, 6)),
    (ProgramType::LSM, Release::new(5, 7)),
    (ProgramType::SK_LOOKUP, Release::new(5, 9)),
    (ProgramType::SYSCALL, Release::new(5, 14)),
    (ProgramType::NETFILTER, Release::new(6, 4)),
];

/// The release that brought maps of this type.
pub fn map_type_since(map_type: MapType) -> Option<Release> {
    MAPS.iter()
        .find(|(known, _)| *known == map_type)
        .map(|(_, since)| *since)
}

/// The release that brought programs of this type.
pub fn program_type_since(program_type: ProgramType) -> Option<Release> {
    PROGRAMS
        .iter()
        .find(|(known, _)| *known == program_type)
        .map(|(_, since)| *since)
}

/// Why the kernel would not make a map of this type, if that is because it has no such type.
pub(super) fn without_map_type(map_type: MapType) -> Option<String> {
    if has_map_type(map_type) {
        return None;
    }
    let name = map_type.to_string();
    Some(lacks("map type", &name, map_type_since(map_type)))
}

/// The same for a program.
pub(super) fn without_program_type(program_type: ProgramType) -> Option<String> {
    if has_program_type(program_type) {
        return None;
    }
    let name = program_type.to_string();
    Some(lacks(
        "program type",
        &name,
        program_type_since(program_type),
    ))
}

fn lacks(what: &str, name: &str, since: Option<Release>) -> String {
    let running = Release::running();
    sentence(what, name, since, running)
}

fn sentence(what: &str, name: &str, since: Option<Release>, running: Option<Release>) -> String {
    match since {
        None => format!("this kernel has no {what} `{name}`"),
        Some(since) if running.is_some_and(|running| running >= since) => {
            format!("this kernel was built without {what} `{name}`")
        }
        Some(since) => format!("this kernel has no {what} `{name}` (Linux {since})"),
    }
}

/// Whether this kernel has maps of this type: makes the smallest one. Only EINVAL says no; anything else comes from code that
/// knows the type (the shapes are those that each type's `map_alloc_check` asks for).
pub fn has_map_type(map_type: MapType) -> bool {
    if let Some(release) = rehearsal::release() {
        return map_type_since(map_type).is_some_and(|since| release >= since);
    }
    let mut shape = MapShape {
        map_type,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        map_flags: 0,
        map_extra: 0,
    };
    match map_type {
        MapType::STACK_TRACE => shape.value_size = 8,
        MapType::LPM_TRIE => (shape.key_size, shape.map_flags) = (8, map_flags::NO_PREALLOC),
        MapType::CGROUP_STORAGE | MapType::PERCPU_CGROUP_STORAGE => {
            (shape.key_size, shape.max_entries) = (8, 0);
        }
        MapType::QUEUE | MapType::STACK | MapType::BLOOM_FILTER => shape.key_size = 0,
        MapType::RINGBUF | MapType::USER_RINGBUF => {
            (shape.key_size, shape.value_size, shape.max_entries) = (0, 0, page_size());
        }
        MapType::ARENA => {
            (shape.key_size, shape.value_size, shape.map_flags) = (0, 0, map_flags::MMAPABLE);
        }
        MapType::INSN_ARRAY => shape.value_size = 16,
        // These want types of their own, which say more than a probe could: they have been there since 5.10 or 6.2.
        MapType::SK_STORAGE
        | MapType::INODE_STORAGE
        | MapType::TASK_STORAGE
        | MapType::CGRP_STORAGE
        | MapType::STRUCT_OPS => return known_by_release(map_type),
        _ => {}
    }
    let inner = map_type
        .is_map_of_maps()
        .then(|| {
            let array = MapShape {
                map_type: MapType::ARRAY,
                ..shape
            };
            create(array, None).ok()
        })
        .flatten();
    !matches!(create(shape, inner.as_ref()), Err(Errno::EINVAL))
}

fn create(shape: MapShape, inner: Option<&OwnedFd>) -> Result<OwnedFd, Errno> {
    let definition = MapDefinition {
        name: "probe",
        shape,
        ..MapDefinition::default()
    };
    Map::command(&definition, inner, permission::token_for_probes())
}

fn known_by_release(map_type: MapType) -> bool {
    match (map_type_since(map_type), Release::running()) {
        (Some(since), Some(running)) => running >= since,
        (None, _) => false,
        (_, None) => true,
    }
}

/// Whether this kernel has programs of this type: loads the smallest one. `find_prog_type` answers EINVAL before anything is
/// verified, so a word in the log, like any other answer, comes from a kernel that knows the type.
pub fn has_program_type(program_type: ProgramType) -> bool {
    if let Some(release) = rehearsal::release() {
        return program_type_since(program_type).is_some_and(|since| release >= since);
    }
    // r0 = 0; exit
    const NOTHING: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    // These are refused without the attach type, whatever else they are (`bpf_prog_load_check_attach`).
    let expected_attach_type = AttachType(match program_type {
        ProgramType::CGROUP_SOCK_ADDR => 10,
        ProgramType::CGROUP_SOCKOPT => 21,
        ProgramType::SK_LOOKUP => 36,
        ProgramType::NETFILTER => 45,
        _ => 0,
    });
    let definition = ProgramDefinition {
        name: "probe",
        program_type,
        expected_attach_type,
        flags: match program_type {
            ProgramType::SYSCALL => crate::uapi::prog_flags::SLEEPABLE,
            _ => 0,
        },
        license: "GPL",
        instructions: &NOTHING,
        token: permission::token_for_probes(),
        ..ProgramDefinition::default()
    };
    let mut log = [0u8; 256];
    let buffer = Buffer {
        bytes: &mut log,
        level: Level::All,
    };
    let answer = program::logged(&definition, b"GPL\0", buffer);
    !(matches!(answer.result, Err(Errno::EINVAL)) && log[0] == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_release() {
        let maps: Vec<MapType> = MAPS.iter().map(|(map_type, _)| *map_type).collect();
        assert_eq!(maps, MapType::ALL[1..]);
        let programs: Vec<ProgramType> = PROGRAMS.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(programs, ProgramType::ALL[1..]);
    }

    #[test]
    fn what_is_lacking_is_said_with_its_release() {
        let say = |running| sentence("map type", "arena", Some(Release::new(6, 9)), running);
        assert_eq!(
            say(Some(Release::new(6, 1))),
            "this kernel has no map type `arena` (Linux 6.9)"
        );
        assert_eq!(say(None), "this kernel has no map type `arena` (Linux 6.9)");
        assert_eq!(
            say(Some(Release::new(6, 18))),
            "this kernel was built without map type `arena`"
        );
        assert_eq!(
            sentence("map type", "unknown (99)", None, Some(Release::new(6, 18))),
            "this kernel has no map type `unknown (99)`"
        );
    }
}
