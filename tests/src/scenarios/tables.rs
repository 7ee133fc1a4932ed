//! The two tables of flows against each other: no entry leads nowhere, no flow lacks one.

use std::collections::HashMap;

use xdplb_prog::abi::{Connection, Direction, Entry, FlowKey};
use xdplb_prog::family::{V4, V6};
use xdplb_prog::index::Hash;
use xdplb_prog::state::State;
use xdplb_prog::world::Settings;

use super::Surroundings;
use xdplb_prog::abi::{Addr, Bucket};

/// The keys by which a live flow is found.
fn keys(flow: &Connection, settings: &Settings) -> Vec<(Direction, FlowKey)> {
    let request = FlowKey {
        saddr: flow.client,
        daddr: flow.vip,
        ports: flow.request_ports,
        kind: flow.kind,
    };
    let reply = FlowKey {
        saddr: flow.target,
        daddr: if flow.kind.is_v6() {
            settings.balancer_v6
        } else {
            Addr::v4(settings.balancer_v4)
        },
        ports: flow.reply_ports,
        kind: flow.kind,
    };
    let mut keys = vec![(Direction::Request, request)];
    if flow.state & State::ONE_WAY == 0 {
        keys.push((Direction::Reply, reply));
    }
    keys
}

fn hash(key: &FlowKey, seed: u64) -> Hash {
    if key.kind.is_v6() {
        Hash::of::<V6>(key, seed)
    } else {
        Hash::of::<V4>(key, seed)
    }
}

/// The two buckets that index.rs describes.
fn homes(Hash(hash): Hash, buckets: u32) -> [u32; 2] {
    let share = |word: u32, of: u32| ((u64::from(word) * u64::from(of)) >> 32) as u32;
    let home = share(hash as u32, buckets);
    let distance = 1 + share((hash >> 25) as u32, buckets - 1);
    [home, (home + distance) % buckets]
}

/// What is wrong with the tables, if anything. While no packet is under way every generation is even, every live flow has its
/// entries where its keys' hashes lead, one each, every entry is such a one, each bucket counts those that it sent elsewhere,
/// and no key belongs to two flows.
pub fn check_tables(
    settings: &Settings,
    slots: &[Connection],
    buckets: &[Bucket],
) -> Result<(), String> {
    let mut entries: HashMap<(u32, u32), usize> = HashMap::new();
    for (number, bucket) in (0u32..).zip(buckets) {
        for entry in bucket
            .entries
            .iter()
            .filter(|entry| **entry != Entry::EMPTY.0)
        {
            *entries.entry((number, *entry)).or_default() += 1;
        }
    }
    let mut overflow = vec![0u32; buckets.len()];
    let mut seen: HashMap<FlowKey, u32> = HashMap::new();
    for (slot, flow) in (0u32..).zip(slots) {
        if flow.generation % 2 != 0 {
            return Err(format!("slot {slot} is being rewritten by nobody"));
        }
        if flow.state == State::FREE {
            continue;
        }
        for (direction, key) in keys(flow, settings) {
            if let Some(other) = seen.insert(key, slot) {
                return Err(format!("slots {other} and {slot} share {key:?}"));
            }
            let hash = hash(&key, settings.seed);
            let entry = Entry::new(slot, direction, hash.tag());
            let [home, other] = homes(hash, settings.buckets);
            if take(&mut entries, (home, entry.0)) {
                continue;
            }
            if !take(&mut entries, (other, entry.0)) {
                return Err(format!("slot {slot}, {direction:?}: no entry for {key:?}"));
            }
            overflow[home as usize] += 1;
        }
    }
    if let Some(((bucket, entry), _)) = entries.iter().find(|(_, count)| **count > 0) {
        let entry = Entry(*entry);
        let (slot, direction) = (entry.slot(), entry.direction());
        return Err(format!(
            "bucket {bucket}: an entry for slot {slot}, {direction:?}, leads nowhere"
        ));
    }
    for (number, (bucket, expected)) in buckets.iter().zip(&overflow).enumerate() {
        if bucket.overflow != *expected {
            let counted = bucket.overflow;
            return Err(format!(
                "bucket {number}: {counted} elsewhere, of {expected}"
            ));
        }
    }
    Ok(())
}

fn take(entries: &mut HashMap<(u32, u32), usize>, key: (u32, u32)) -> bool {
    match entries.get_mut(&key) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

/// The same of a balancer.
#[track_caller]
pub fn sound(balancer: &dyn Surroundings) {
    let (slots, buckets) = (balancer.slots(), balancer.buckets_now());
    if let Err(what) = check_tables(&balancer.settings(), &slots, &buckets) {
        panic!("{what}");
    }
}
