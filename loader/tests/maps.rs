//! Maps of the running kernel: created, written, read, walked, frozen; and why some are not. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/make.rs"]
mod make;
mod support;

use std::os::fd::AsFd;

use make::map;
use support::need_root;
use xdplb_loader::kernel::{self, Map, Update};
use xdplb_loader::uapi::{MapType, map_flags};

#[test]
fn a_hash_is_written_read_walked_and_emptied() {
    need_root();
    let map = map("hash", MapType::HASH, 3, 0).unwrap();
    let key = |n: u32| n.to_ne_bytes();
    assert_eq!(map.lookup(&key(1)).unwrap(), None);
    for n in 1..=3 {
        map.update(&key(n), &u64::from(n).to_ne_bytes(), Update::Create)
            .unwrap();
    }
    assert_eq!(map.lookup(&key(2)).unwrap().unwrap(), 2u64.to_ne_bytes());
    let mut keys = map.keys().unwrap();
    keys.sort();
    assert_eq!(keys, [key(1).to_vec(), key(2).to_vec(), key(3).to_vec()]);

    assert_eq!(
        map.update(&key(1), &[0; 8], Update::Create)
            .unwrap_err()
            .to_string(),
        "write to map `hash`: file exists (EEXIST)"
    );
    assert_eq!(
        map.update(&key(4), &[0; 8], Update::Any)
            .unwrap_err()
            .to_string(),
        "write to map `hash`: it is full or the key is past its 3 entries (E2BIG)"
    );
    assert_eq!(
        map.update(&key(1), &[0; 4], Update::Any)
            .unwrap_err()
            .to_string(),
        "write to map `hash`: the value has 4 bytes, the map's have 8"
    );
    assert_eq!(
        map.lookup(&[0; 3]).unwrap_err().to_string(),
        "look up in map `hash`: the key has 3 bytes, the map's have 4"
    );
    assert!(map.delete(&key(1)).unwrap());
    assert!(!map.delete(&key(1)).unwrap());
}

#[test]
fn many_pairs_go_in_at_once() {
    need_root();
    let map = map("many", MapType::ARRAY, 1000, 0).unwrap();
    let pairs: Vec<_> = (0..1000u32)
        .map(|n| {
            (
                n.to_ne_bytes().to_vec(),
                u64::from(n).to_ne_bytes().to_vec(),
            )
        })
        .collect();
    map.update_all(&pairs).unwrap();
    assert_eq!(
        map.lookup(&999u32.to_ne_bytes()).unwrap().unwrap(),
        999u64.to_ne_bytes()
    );
}

#[test]
fn a_per_cpu_array_has_a_value_for_each_possible_cpu() {
    need_root();
    let map = map("percpu", MapType::PERCPU_ARRAY, 2, 0).unwrap();
    let key = 1u32.to_ne_bytes();
    map.update(&key, &7u64.to_ne_bytes(), Update::Any).unwrap();
    let values = map.lookup_per_cpu(&key).unwrap().unwrap();
    assert_eq!(values.len(), kernel::possible_cpus().unwrap());
    assert!(values.iter().all(|value| *value == 7u64.to_ne_bytes()));
}

#[test]
fn a_frozen_map_takes_no_writes() {
    need_root();
    let map = map("frozen", MapType::ARRAY, 1, map_flags::RDONLY_PROG).unwrap();
    map.update(&[0; 4], &[1; 8], Update::Any).unwrap();
    map.freeze().unwrap();
    assert_eq!(
        map.update(&[0; 4], &[2; 8], Update::Any)
            .unwrap_err()
            .to_string(),
        "write to map `frozen`: operation not permitted (EPERM)"
    );
    assert_eq!(map.lookup(&[0; 4]).unwrap().unwrap(), [1; 8]);
}

#[test]
fn maps_that_cannot_be_say_why() {
    need_root();
    assert_eq!(
        map("empty", MapType::HASH, 0, 0).unwrap_err().to_string(),
        "create map `empty`: it has no entries (max_entries is 0) (EINVAL)\n  type hash, key 4 bytes, value 8 bytes, 0 entries, flags 0x0"
    );
    assert_eq!(
        map("unknown", MapType(9999), 1, 0).unwrap_err().to_string(),
        "create map `unknown`: this kernel has no map type `unknown (9999)` (EINVAL)\n  type unknown (9999), key 4 bytes, value 8 bytes, 1 entries, flags 0x0"
    );
}

#[test]
fn a_descriptor_can_be_borrowed() {
    need_root();
    let map = map("borrowed", MapType::ARRAY, 1, 0).unwrap();
    let copy = Map::from_fd(map.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(copy.shape(), map.shape());
}

#[test]
fn all_pairs_come_at_once_or_one_by_one() {
    need_root();
    // More than fit into one batch, in a hash, an array, a per-CPU hash, and a map without batches.
    for (map_type, flags, count) in [
        (MapType::HASH, 0, 30_000u32),
        (MapType::ARRAY, 0, 30_000),
        (MapType::LRU_HASH, 0, 100),
        (MapType::PERCPU_HASH, 0, 100),
        (MapType::PERCPU_ARRAY, 0, 100),
        (MapType::LPM_TRIE, map_flags::NO_PREALLOC, 1),
    ] {
        let map = kernel::Map::create(&kernel::MapDefinition {
            name: "pairs",
            shape: kernel::MapShape {
                map_type,
                key_size: if map_type == MapType::LPM_TRIE { 8 } else { 4 },
                value_size: 8,
                max_entries: count,
                map_flags: flags,
                map_extra: 0,
            },
            ..Default::default()
        })
        .unwrap();
        let key = |n: u32| {
            let mut key = n.to_ne_bytes().to_vec();
            key.resize(map.shape().key_size as usize, 0);
            key
        };
        let pairs: Vec<_> = (0..count)
            .map(|n| (key(n), u64::from(n * 2).to_ne_bytes().to_vec()))
            .collect();
        map.update_all(&pairs).unwrap();
        let mut entries = map.entries().unwrap();
        entries.sort_by_key(|(key, _)| u32::from_ne_bytes(key[..4].try_into().unwrap()));
        let first: Vec<_> = entries
            .iter()
            .map(|(key, value)| (key.clone(), value[..8].to_vec()))
            .collect();
        assert_eq!(first.len(), pairs.len(), "{map_type}");
        assert!(first == pairs, "{map_type}");
        if map_type == MapType::HASH {
            let keys: Vec<_> = (0..10).map(key).collect();
            assert_eq!(map.delete_all(&keys).unwrap(), 10);
            assert_eq!(map.delete_all(&keys).unwrap(), 0);
        }
    }
    assert!(
        map("none", MapType::HASH, 4, 0)
            .unwrap()
            .entries()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn queues_and_stacks_are_taken_from() {
    need_root();
    let of = |map_type| {
        Map::create(&kernel::MapDefinition {
            name: "line",
            shape: kernel::MapShape {
                map_type,
                key_size: 0,
                value_size: 8,
                max_entries: 2,
                map_flags: 0,
                map_extra: 0,
            },
            ..Default::default()
        })
        .unwrap()
    };
    let value = |n: u64| n.to_ne_bytes().to_vec();
    let (queue, stack) = (of(MapType::QUEUE), of(MapType::STACK));
    for map in [&queue, &stack] {
        assert_eq!(map.pop().unwrap(), None);
        map.push(&value(1), Update::Any).unwrap();
        map.push(&value(2), Update::Any).unwrap();
        assert_eq!(
            map.push(&value(3), Update::Any).unwrap_err().to_string(),
            "write to map `line`: it is full or the key is past its 2 entries (E2BIG)"
        );
    }
    queue.push(&value(3), Update::Replace).unwrap();
    assert_eq!(queue.peek().unwrap(), Some(value(2)));
    assert_eq!(queue.pop().unwrap(), Some(value(2)));
    assert_eq!(stack.pop().unwrap(), Some(value(2)));
    assert_eq!(stack.pop().unwrap(), Some(value(1)));
    assert_eq!(
        queue.push(&[0; 4], Update::Any).unwrap_err().to_string(),
        "write to map `line`: the value has 4 bytes, the map's have 8"
    );
    let array = map("array", MapType::ARRAY, 1, 0).unwrap();
    assert_eq!(
        array.lookup_and_delete(&[0; 4]).unwrap_err().to_string(),
        "take from map `array`: this kernel cannot look up and delete at once in maps of the type array (EOPNOTSUPP)"
    );
}

#[test]
fn each_cpu_can_have_its_own_value() {
    need_root();
    let cpus = kernel::possible_cpus().unwrap();
    let map = map("own", MapType::PERCPU_ARRAY, 1, 0).unwrap();
    let values: Vec<Vec<u8>> = (0..cpus as u64).map(|n| n.to_ne_bytes().to_vec()).collect();
    map.update_per_cpu(&[0; 4], &values, Update::Any).unwrap();
    assert_eq!(map.lookup_per_cpu(&[0; 4]).unwrap(), Some(values));
    assert_eq!(
        map.update_per_cpu(&[0; 4], &[], Update::Any)
            .unwrap_err()
            .to_string(),
        format!(
            "write to map `own`: 0 values for {cpus} possible CPUs of a map of the type percpu_array"
        )
    );
}
