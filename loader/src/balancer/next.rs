//! From a configuration to everything that the kernel gets, over what runs now. Nothing changes here.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xdplb_prog::abi::Mac;

use super::adopt::{self, Kinship};
use super::before::{Before, Live, settle};
use super::device::{self, Device};
use super::image::{self, Facts, Image, ImageError};
use super::install::Ground;
use super::layout;
use super::readback;
use super::running::{Occupant, Running};
use super::service::Config;
use super::settings::{Settings, Trace};
use crate::kernel::KernelError;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum NextError {
    /// What runs could not be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No maps can hold it.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Which states go over those of the configuration.
#[derive(Debug, Clone)]
pub enum States {
    /// Those that commands set, until the file says the same.
    OfRunning,
    /// These.
    These(Live),
}

/// Everything decided.
#[derive(Debug)]
pub struct Next {
    /// The constants.
    pub settings: Settings,
    /// The maps.
    pub image: Image,
    /// Whether flows go on.
    pub kinship: Kinship,
    /// What runs, where its flows go on.
    pub before: Before,
    /// The states that go over those of the configuration.
    pub live: Live,
}

/// Decides.
///
/// # Errors
/// What runs cannot be read, or no maps can hold the configuration.
pub fn decide(
    ground: &Ground<'_>,
    device: &Device,
    config: &Config,
    trace: Trace,
    states: &States,
    occupant: &Occupant,
    macs: &HashMap<IpAddr, Mac>,
) -> Result<Next, NextError> {
    let running = match occupant {
        Occupant::Ours(running) => Some(&**running),
        Occupant::Nothing | Occupant::Foreign(_) => None,
    };
    let old = match running {
        Some(running) => running.settings(ground.spec)?,
        None => None,
    };
    let settings = settings(device, config, trace, old.as_ref());
    let difference = running.and_then(|running| layout::difference(running, ground.spec));
    let kinship = match (running, difference) {
        (_, Some(difference)) => Kinship::Version(difference),
        (Some(_), None) => adopt::compare(old.as_ref(), &settings),
        // Nobody's flows end.
        (None, None) => Kinship::Same,
    };
    let before = match (running, &kinship) {
        (Some(running), Kinship::Same) => readback::before(running, &ground.machine)?,
        (Some(_), Kinship::Other(_) | Kinship::Version(_)) | (None, _) => Before::default(),
    };
    let live = match states {
        States::OfRunning => settle(config, before.live()),
        States::These(live) => live.clone(),
    };
    let facts = Facts {
        source_ports: device::own_ports(),
        macs,
    };
    let image = image::build(config, &live, &facts, &before)?;
    Ok(Next {
        settings,
        image,
        kinship,
        before,
        live,
    })
}

/// PURE but for a first seed: the constants of the next program. An address that backends answer to stays while the interface
/// has it, and so does the seed, since the flows' place in the index depends on it.
fn settings(device: &Device, config: &Config, trace: Trace, old: Option<&Settings>) -> Settings {
    let stays = |ip: IpAddr| device.addresses.contains(&ip);
    let v4 = old
        .map(|old| old.balancer_v4)
        .filter(|ip| stays((*ip).into()));
    let v6 = old
        .map(|old| old.balancer_v6)
        .filter(|ip| stays((*ip).into()));
    let (first_v4, first_v6) = device.sources(&config.services);
    Settings {
        balancer_v4: v4.or(first_v4).unwrap_or(Ipv4Addr::UNSPECIFIED),
        balancer_v6: v6.or(first_v6).unwrap_or(Ipv6Addr::UNSPECIFIED),
        balancer_mac: device.mac,
        mtu: device.mtu,
        connections: config.connections,
        seed: old.map_or_else(random, |old| old.seed),
        encap: config.encap,
        trace,
    }
}

/// From the system's randomness, by which the standard library keys its hash maps.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Counts the flows of a balancer that ends, or goes on.
///
/// # Errors
/// The kernel's.
pub fn live_flows(ground: &Ground<'_>, running: &Running) -> Result<u64, KernelError> {
    Ok(super::flows::census(running, &ground.machine)?.all.live)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::device::tests::device;
    use super::super::settings::tests::settings as old;
    use super::super::simple;
    use super::*;

    #[test]
    fn what_flows_depend_on_stays_where_it_can() {
        let backends = simple::parse_words(&["10.0.0.2"]).unwrap();
        let config = backends
            .into_config("10.0.0.20:80".parse().unwrap())
            .unwrap();
        let mut device = device();
        device
            .addresses
            .insert(0, Ipv4Addr::new(10, 0, 0, 9).into());
        let found = settings(&device, &config, Trace::Off, Some(&old()));
        assert_eq!(found.balancer_v4, Ipv4Addr::new(10, 0, 0, 10));
        assert_eq!(found.balancer_v6, Ipv6Addr::UNSPECIFIED);
        assert_eq!(found.seed, old().seed);
        let found = settings(&device, &config, Trace::Off, None);
        assert_eq!(found.balancer_v4, Ipv4Addr::new(10, 0, 0, 9));
    }
}
