//! Taking over from a balancer that an earlier command left: its connections go on if the new one balances just the same.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use xdplb_prog::abi::Mac;

use super::running::Running;
use super::settings::Settings;
use crate::kernel::{KernelError, Map};
use crate::object::Spec;

/// What the new balancer shares with the old one.
const SHARED: [&str; 4] = ["flows", "connections", "counters", "backend_counters"];

/// Whether the old balancer's connections make sense to the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinship {
    /// The same service, address, backends and size.
    Same,
    /// A connection's record would mean something else.
    Other,
}

/// Compares what the two balance.
///
/// # Errors
/// The kernel's.
pub fn compare(
    running: &Running,
    spec: &Spec,
    settings: &Settings,
    backends: &[(Ipv4Addr, Mac)],
) -> Result<Kinship, KernelError> {
    let same = running.settings(spec)?.as_ref() == Some(settings)
        && running.entries("backends") as usize == backends.len()
        && running.backends()? == backends;
    Ok(if same { Kinship::Same } else { Kinship::Other })
}

/// The maps that go on, by the object's names for them.
///
/// # Errors
/// The kernel's.
pub fn maps(running: &Running) -> Result<HashMap<String, Map>, KernelError> {
    let shared = SHARED
        .iter()
        .filter_map(|name| Some((name, running.map(name)?)));
    shared
        .map(|(name, map)| Ok((name.to_string(), map.try_clone()?)))
        .collect()
}
