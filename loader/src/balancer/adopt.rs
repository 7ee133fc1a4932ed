//! Taking over from a balancer that runs: its flows go on if their records mean the same to the new one.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::image::Image;
use super::running::Running;
use super::settings::Settings;
use crate::kernel::{KernelError, Map, Update};
use crate::load::Loaded;

/// The flows.
const FLOWS: [&str; 2] = ["connections", "index"];
/// What was counted.
const COUNTERS: [&str; 3] = ["counters", "backend_counters", "service_counters"];

/// Whether the old balancer's flows make sense to the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kinship {
    /// They go on.
    Same,
    /// They end, for this reason.
    Other(String),
    /// They end, since its program is of another version: this is the first difference.
    Version(String),
}

/// PURE: compares what the flows' records depend on. `old` is None for a program whose constants cannot be read.
pub fn compare(old: Option<&Settings>, new: &Settings) -> Kinship {
    let Some(old) = old else {
        return Kinship::Version("its constants cannot be read".into());
    };
    let why = if old.connections != new.connections {
        let (old, new) = (old.connections, new.connections);
        format!("it has room for {old} connections, not {new}")
    } else if moved(old.balancer_v4, new.balancer_v4, Ipv4Addr::UNSPECIFIED) {
        let (old, new) = (old.balancer_v4, new.balancer_v4);
        format!("its backends answer to {old}, not {new}")
    } else if moved(old.balancer_v6, new.balancer_v6, Ipv6Addr::UNSPECIFIED) {
        let (old, new) = (old.balancer_v6, new.balancer_v6);
        format!("its backends answer to {old}, not {new}")
    } else if old.seed != new.seed {
        "its flows are hashed with another seed".into()
    } else {
        return Kinship::Same;
    };
    Kinship::Other(why)
}

/// Without an address there are no flows that depend on it.
fn moved<A: PartialEq>(old: A, new: A, none: A) -> bool {
    old != none && old != new
}

/// The maps that go on, by the object's names for them: the flows, and the counters whose size stays.
///
/// # Errors
/// The kernel's.
pub fn maps(running: &Running, image: &Image) -> Result<HashMap<String, Map>, KernelError> {
    let names = FLOWS.iter().chain(&COUNTERS);
    let shared = names.filter_map(|name| Some((*name, running.map(name)?)));
    let shared = shared.filter(|(name, map)| match wanted(image, name) {
        Some(entries) => map.shape().max_entries == entries,
        None => true,
    });
    shared
        .map(|(name, map)| Ok((name.to_string(), map.try_clone()?)))
        .collect()
}

/// How many entries a map of counters is to have; None where the image has no say.
fn wanted(image: &Image, map: &str) -> Option<u32> {
    match map {
        "counters" => Some(xdplb_prog::counters::Reason::COUNT as u32),
        "backend_counters" => Some(image.backend_room),
        "service_counters" => Some(image.service_room),
        _ => None,
    }
}

/// Brings the counters to where they should be before the first packet: those of a map that had to grow are copied, those of
/// new numbers start at zero.
///
/// # Errors
/// The kernel's.
pub fn carry_counters(
    running: &Running,
    loaded: &Loaded,
    image: &Image,
) -> Result<(), KernelError> {
    for name in COUNTERS {
        let (Some(old), Ok(new)) = (running.map(name), loaded.map(name)) else {
            continue;
        };
        if old.info()?.id != new.info()?.id {
            copy(old, new)?;
        }
    }
    for (name, numbers) in [
        ("backend_counters", &image.new_backends),
        ("service_counters", &image.new_services),
    ] {
        let Ok(map) = loaded.map(name) else { continue };
        let zero = vec![0; map.shape().value_size as usize];
        for number in numbers {
            map.update(&number.to_ne_bytes(), &zero, Update::Any)?;
        }
    }
    Ok(())
}

/// Copies what two maps of counters both have.
fn copy(old: &Map, new: &Map) -> Result<(), KernelError> {
    let size = new.shape().value_size as usize;
    let room = new.shape().max_entries;
    for (key, cpus) in old.entries()? {
        let index = key
            .as_slice()
            .try_into()
            .map_or(u32::MAX, u32::from_ne_bytes);
        if index < room && cpus.iter().any(|byte| *byte != 0) {
            let padded = size.next_multiple_of(8).max(8);
            let cpus = cpus.chunks_exact(padded);
            let values: Vec<Vec<u8>> = cpus.map(|value| value[..size].to_vec()).collect();
            new.update_per_cpu(&key, &values, Update::Any)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    #[test]
    fn what_ends_the_flows_is_named() {
        let old = settings();
        let check = |change: fn(&mut Settings), expected: &str| {
            let mut new = old;
            change(&mut new);
            let found = match compare(Some(&old), &new) {
                Kinship::Same => String::new(),
                Kinship::Other(why) | Kinship::Version(why) => why,
            };
            assert_eq!(found, expected);
        };
        check(|new| new.mtu = 9000, "");
        check(
            |new| new.connections = 7,
            "it has room for 1000 connections, not 7",
        );
        check(
            |new| new.balancer_v4 = Ipv4Addr::new(10, 0, 0, 11),
            "its backends answer to 10.0.0.10, not 10.0.0.11",
        );
        check(
            |new| new.balancer_v6 = Ipv6Addr::UNSPECIFIED,
            "its backends answer to fd00::10, not ::",
        );
        check(|new| new.seed = 1, "its flows are hashed with another seed");
        let mut without = old;
        without.balancer_v6 = Ipv6Addr::UNSPECIFIED;
        assert_eq!(compare(Some(&without), &old), Kinship::Same);
        assert_eq!(
            compare(None, &old),
            Kinship::Version("its constants cannot be read".into())
        );
    }
}
