//! PURE: what runs now, as far as the next configuration depends on it: who has which number, and which numbers flows name.

use std::collections::HashMap;

use xdplb_prog::abi::{Backend, Connection, backend};

use super::service::{BackendKey, Config, ServiceKey, State};
use super::tables::{backend_key, is_vacant, service_key};

/// A backend of a service.
pub type Place = (ServiceKey, BackendKey);

/// States that were set by a command, over what the file says.
pub type Live = HashMap<Place, State>;

/// How many records of the flow table name a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them: also what is expired leads packets until its slot is taken.
    pub records: u64,
    /// Those that are neither expired nor closed.
    pub live: u64,
}

impl Tally {
    fn add(&mut self, live: bool) {
        self.records += 1;
        self.live += u64::from(live);
    }
}

/// The flow table, counted.
#[derive(Debug, Clone, Default)]
pub struct Census {
    /// All flows.
    pub all: Tally,
    /// By service number.
    pub services: HashMap<u32, Tally>,
    /// By backend number.
    pub backends: HashMap<u32, Tally>,
    /// One of each service's flows: what it was opened to.
    pub samples: HashMap<u32, ServiceKey>,
}

impl Census {
    /// Counts one.
    pub fn add(&mut self, flow: &Connection, live: bool) {
        self.all.add(live);
        self.services.entry(flow.service).or_default().add(live);
        self.backends.entry(flow.backend).or_default().add(live);
        self.samples.entry(flow.service).or_insert_with(|| {
            let port = flow.request_ports.destination;
            let key = xdplb_prog::abi::ServiceKey::new(flow.vip, port, flow.kind.protocol());
            // Only TCP and UDP have flows.
            service_key(&key).unwrap_or(NOBODY)
        });
    }

    /// The live flows of a service.
    pub fn of_service(&self, id: u32) -> u64 {
        self.services.get(&id).map_or(0, |tally| tally.live)
    }

    /// The live flows of a backend.
    pub fn of_backend(&self, id: u32) -> u64 {
        self.backends.get(&id).map_or(0, |tally| tally.live)
    }
}

/// A service that nobody can ask for.
const NOBODY: ServiceKey = ServiceKey {
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    port: None,
    protocol: super::service::Protocol::Tcp,
};

/// A balancer that runs, or nothing.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// The numbers of its services.
    pub services: HashMap<ServiceKey, u32>,
    /// Its backends by number, with those that are gone.
    pub backends: Vec<Backend>,
    /// How many service numbers its counters have room for.
    pub service_room: u32,
    /// How many backend numbers.
    pub backend_room: u32,
    /// Its flows.
    pub census: Census,
}

impl Before {
    /// The number of a service: its own, or that of flows which were opened to it before it was taken out of the file.
    pub fn service_id(&self, key: &ServiceKey) -> Option<u32> {
        if let Some(id) = self.services.get(key) {
            return Some(*id);
        }
        let mut orphans = self.census.samples.iter();
        let every = ServiceKey { port: None, ..*key };
        let (id, _) = orphans.find(|(id, opened)| {
            let fits = **opened == *key
                || (every == *key
                    && every
                        == ServiceKey {
                            port: None,
                            ..**opened
                        });
            fits && !self.services.values().any(|taken| taken == *id)
        })?;
        Some(*id)
    }

    /// The numbers of the backends by service number and place.
    pub fn backend_ids(&self) -> HashMap<(u32, BackendKey), u32> {
        let entries = (0..).zip(&self.backends);
        let entries = entries.filter(|(_, backend)| !is_vacant(backend));
        entries
            .map(|(id, backend)| ((backend.service, backend_key(backend)), id))
            .collect()
    }

    /// The states that were set by commands.
    pub fn live(&self) -> Live {
        let keys: HashMap<u32, ServiceKey> =
            self.services.iter().map(|(key, id)| (*id, *key)).collect();
        let set = self.backends.iter().filter(|entry| {
            !is_vacant(entry)
                && entry.flags & backend::LIVE != 0
                && entry.flags & backend::GONE == 0
        });
        set.filter_map(|entry| {
            let place = (*keys.get(&entry.service)?, backend_key(entry));
            Some((place, state_of(entry)))
        })
        .collect()
    }
}

/// A backend's state by its flags.
pub fn state_of(entry: &Backend) -> State {
    match (entry.flags & backend::UP, entry.flags & backend::DRAINING) {
        (0, _) => State::Down,
        (_, 0) => State::Active,
        (_, _) => State::Draining,
    }
}

/// What is left of the live states when a file is read again: one that says the same as the file has done its work, one of a
/// backend that the file no longer has is void. Any other goes on: who drains a backend by hand wants it drained, whatever
/// else changes in the file.
pub fn settle(config: &Config, mut live: Live) -> Live {
    let file: HashMap<Place, State> = config
        .services
        .iter()
        .flat_map(|service| {
            let backends = service.backends.iter();
            backends.map(|backend| ((service.key, backend.key), backend.state))
        })
        .collect();
    live.retain(|place, state| file.get(place).is_some_and(|says| says != state));
    live
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::tables::NO_BACKEND;
    use super::*;
    use xdplb_prog::abi::{Addr, Be32};

    #[test]
    fn a_live_state_holds_until_the_file_agrees() {
        let backends = super::super::simple::parse_words(&["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
        let service: ServiceKey = "10.0.0.10:80".parse().unwrap();
        let mut config = backends.unwrap().into_config(service).unwrap();
        config.services[0].backends[1].state = State::Draining;
        let place = |text: &str| (service, text.parse::<BackendKey>().unwrap());
        let live = Live::from([
            (place("10.0.0.2"), State::Draining),
            (place("10.0.0.3"), State::Draining),
            (place("10.0.0.9"), State::Down),
        ]);
        let left = settle(&config, live);
        assert_eq!(left, Live::from([(place("10.0.0.2"), State::Draining)]));
    }

    #[test]
    fn numbers_and_states_are_read_from_the_entries() {
        let service: ServiceKey = "10.0.0.10:80".parse().unwrap();
        let entry = |last: u8, flags: u32| Backend {
            addr: Addr::v4(Be32([10, 0, 0, last])),
            flags,
            service: 3,
            ..NO_BACKEND
        };
        let before = Before {
            services: HashMap::from([(service, 3)]),
            backends: vec![
                NO_BACKEND,
                entry(2, backend::UP),
                entry(3, backend::UP | backend::DRAINING | backend::LIVE),
                entry(4, backend::GONE | backend::LIVE),
            ],
            ..Before::default()
        };
        let place = |text: &str| text.parse::<BackendKey>().unwrap();
        assert_eq!(before.backend_ids()[&(3, place("10.0.0.4"))], 3);
        assert_eq!(before.backend_ids().len(), 3);
        let live = Live::from([((service, place("10.0.0.3")), State::Draining)]);
        assert_eq!(before.live(), live);
    }

    #[test]
    fn a_service_that_comes_back_finds_its_flows() {
        let mut before = Before::default();
        before
            .census
            .samples
            .insert(7, "10.0.0.10:80".parse().unwrap());
        let id = |text: &str| before.service_id(&text.parse().unwrap());
        assert_eq!(id("10.0.0.10:80"), Some(7));
        assert_eq!(id("10.0.0.10"), Some(7));
        assert_eq!(id("10.0.0.10:81"), None);
        assert_eq!(id("10.0.0.10:80/udp"), None);
    }
}
