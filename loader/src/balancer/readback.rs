//! The configuration of a running balancer, read from its maps: so a command needs nobody's memory but the kernel's.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use serde::Serialize;
use xdplb_prog::abi::{self, backend, mode};
use xdplb_prog::counters::Reason;

use super::before::{Before, state_of};
use super::flows;
use super::maglev::Slots;
use super::running::Running;
use super::service::{Backend, Config, Forward, Service, ServiceKey};
use super::settings::{Machine, Settings};
use super::tables::{
    self, add_up, backend_key, decode_backend, decode_key, decode_service, is_vacant, unpacked,
};
use crate::kernel::{KernelError, Map};

/// The services of a running balancer, by their keys, and its backends, by number.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// As in the map, sorted by key.
    pub services: Vec<(ServiceKey, abi::Service)>,
    /// As in the map, without the vacant ones at its end.
    pub backends: Vec<abi::Backend>,
}

impl Stored {
    /// Reads them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(running: &Running) -> Result<Self, KernelError> {
        let mut stored = Self::default();
        visit(running.map("services"), &mut |key, value| {
            let key = decode_key(key).and_then(|key| tables::service_key(&key));
            if let (Some(key), Some(service)) = (key, decode_service(value)) {
                stored.services.push((key, service));
            }
        })?;
        stored.services.sort_by_key(|(key, _)| *key);
        visit(running.map("backends"), &mut |_, value| {
            stored
                .backends
                .push(decode_backend(value).unwrap_or(tables::NO_BACKEND));
        })?;
        let used = stored.backends.iter().rposition(|entry| !is_vacant(entry));
        stored.backends.truncate(used.map_or(0, |last| last + 1));
        Ok(stored)
    }

    /// The configuration that would give them. `settings` are the running program's, `own_ports` the source ports of a
    /// service that names none.
    pub fn config(&self, settings: &Settings, own_ports: &RangeInclusive<u16>) -> Config {
        let mut backends: HashMap<u32, Vec<Backend>> = HashMap::new();
        for entry in self.backends.iter().filter(|entry| is_configured(entry)) {
            let fixed = entry.flags & backend::FIXED_MAC != 0;
            let backend = Backend {
                key: backend_key(entry),
                mac: unpacked(entry.mac).filter(|_| fixed),
                weight: NonZeroU16::new(entry.weight).unwrap_or(NonZeroU16::MIN),
                state: state_of(entry),
            };
            backends.entry(entry.service).or_default().push(backend);
        }
        let services = self.services.iter().map(|(key, stored)| {
            let mut backends = backends.remove(&stored.id).unwrap_or_default();
            backends.sort_by_key(|backend| backend.key.identity());
            let forward = forward(stored.mode);
            let ports = stored.port_low..=stored.port_high;
            Service {
                key: *key,
                forward,
                source_ports: (forward == Forward::Nat && ports != *own_ports).then_some(ports),
                table_slots: Slots::new(stored.slots).unwrap_or(Slots::DEFAULT),
                backends,
            }
        });
        Config {
            services: services.collect(),
            connections: settings.connections,
            encap: settings.encap,
        }
    }
}

/// Whether it is of the configuration, and not kept for its flows' sake.
pub fn is_configured(entry: &abi::Backend) -> bool {
    !is_vacant(entry) && entry.flags & backend::GONE == 0
}

fn forward(stored: u32) -> Forward {
    match stored {
        mode::DSR => Forward::Dsr,
        mode::IPIP => Forward::Ipip,
        _ => Forward::Nat,
    }
}

fn visit(map: Option<&Map>, visitor: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), KernelError> {
    map.map_or(Ok(()), |map| map.visit(visitor))
}

/// What the next configuration has to know of a running balancer.
///
/// # Errors
/// The kernel's.
pub fn before(running: &Running, machine: &Machine) -> Result<Before, KernelError> {
    let stored = Stored::read(running)?;
    Ok(Before {
        services: stored
            .services
            .iter()
            .map(|(key, service)| (*key, service.id))
            .collect(),
        backends: stored.backends,
        service_room: running.entries("service_counters"),
        backend_room: running.entries("backend_counters"),
        census: flows::census(running, machine)?,
    })
}

/// Frames and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Frames.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a backend got and gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackendCount {
    /// Flows opened to it.
    pub opened: u64,
    /// Sent to it.
    pub sent: Count,
    /// Answered by it.
    pub received: Count,
}

/// What became of a service's new flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceCount {
    /// Flows that got a backend.
    pub opened: u64,
    /// Packets that would have opened one, and could not.
    pub refused: u64,
}

/// What a balancer counted.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// By reason, in their order.
    pub reasons: Vec<Count>,
    /// By backend number.
    pub backends: Vec<BackendCount>,
    /// By service number.
    pub services: Vec<ServiceCount>,
}

impl Counters {
    /// Reads them, and adds up the CPUs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(running: &Running) -> Result<Self, KernelError> {
        let mut counters = Self::default();
        visit(running.map("counters"), &mut |_, cpus| {
            let [packets, bytes] = add_up(cpus);
            counters.reasons.push(Count { packets, bytes });
        })?;
        counters.reasons.resize(Reason::COUNT, Count::default());
        visit(running.map("backend_counters"), &mut |_, cpus| {
            counters.backends.push(backend_count(cpus));
        })?;
        visit(running.map("service_counters"), &mut |_, cpus| {
            let [opened, refused] = add_up(cpus);
            counters.services.push(ServiceCount { opened, refused });
        })?;
        Ok(counters)
    }

    /// A backend's.
    pub fn of_backend(&self, number: u32) -> BackendCount {
        self.backends
            .get(number as usize)
            .copied()
            .unwrap_or_default()
    }

    /// A service's.
    pub fn of_service(&self, number: u32) -> ServiceCount {
        self.services
            .get(number as usize)
            .copied()
            .unwrap_or_default()
    }
}

fn backend_count(cpus: &[u8]) -> BackendCount {
    let [
        opened,
        sent_packets,
        sent_bytes,
        received_packets,
        received_bytes,
    ] = add_up(cpus);
    BackendCount {
        opened,
        sent: Count {
            packets: sent_packets,
            bytes: sent_bytes,
        },
        received: Count {
            packets: received_packets,
            bytes: received_bytes,
        },
    }
}

const _: () = assert!(
    size_of::<abi::BackendCount>() == 5 * 8
        && size_of::<abi::Count>() == 2 * 8
        && size_of::<abi::ServiceCount>() == 2 * 8
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::before::Live;
    use super::super::image::{self, Facts};
    use super::super::service::State;
    use super::super::settings::tests::settings;
    use super::super::simple;
    use super::*;

    #[test]
    fn a_configuration_is_read_back_from_what_was_stored() {
        let words = [
            "10.0.0.2",
            "weight=3",
            "10.0.0.3",
            "de:ad:be:ef:00:03",
            "port=8000",
        ];
        let key: ServiceKey = "10.0.0.10:80".parse().unwrap();
        let mut config = simple::parse_words(&words)
            .unwrap()
            .into_config(key)
            .unwrap();
        config.connections = settings().connections;
        config.services[0].backends[1].state = State::Draining;
        let own = 1024..=32_767;
        let facts = Facts {
            source_ports: own.clone(),
            macs: &HashMap::new(),
        };
        let image = image::build(&config, &Live::new(), &facts, &Before::default()).unwrap();
        let services = image.services.iter();
        let stored = Stored {
            services: services
                .filter_map(|(key, service)| Some((tables::service_key(key)?, *service)))
                .collect(),
            backends: image.backends.clone(),
        };
        assert_eq!(stored.services.len(), 1);
        assert_eq!(stored.config(&settings(), &own), config);
        let other = stored.config(&settings(), &(1024..=2000));
        assert_eq!(other.services[0].source_ports, Some(own));
    }
}
