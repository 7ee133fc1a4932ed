//! PURE: a configuration as the maps hold it: services, Maglev tables, members, backends. The same configuration over the same
//! running balancer gives the same image.
//!
//! Numbers stay: a service and a backend that were there keep theirs, since flows name them, and the counters. A backend that is no
//! longer in the configuration keeps its entry, as gone, while flows name it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use xdplb_prog::abi::{self, BLOCK, Backend, Be16, Mac, backend, mode};

use super::before::{Before, Live};
use super::ids::{Ids, room};
use super::maglev::{self, Member, Slots};
use super::service::{self, Config, Forward, Service, ServiceKey, State};
use super::tables::{NO_BACKEND, abi_key, be16, is_vacant, packed};

/// The most blocks of tables: 4 GiB.
const MAX_BLOCKS: u64 = 1 << 26;

/// What an image depends on beside configuration and running balancer.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The source ports of services that name none.
    pub source_ports: RangeInclusive<u16>,
    /// The Ethernet addresses that were found.
    pub macs: &'a HashMap<IpAddr, Mac>,
}

/// The contents of the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Map `services`: the services, then the addresses that have one.
    pub services: Vec<(abi::ServiceKey, abi::Service)>,
    /// Map `tables`: slots, padded to whole blocks.
    pub tables: Vec<u16>,
    /// Map `members`.
    pub members: Vec<u32>,
    /// Map `backends`, by number.
    pub backends: Vec<Backend>,
    /// How many service numbers there is room for.
    pub service_room: u32,
    /// How many backend numbers there is room for.
    pub backend_room: u32,
    /// Numbers that a service has for the first time.
    pub new_services: Vec<u32>,
    /// Numbers that a backend has for the first time.
    pub new_backends: Vec<u32>,
}

/// A configuration that no maps can hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The tables take too much memory.
    #[error(
        "the tables of {services} services take {gib} GiB, and 4 GiB is the most\n  try:  a smaller `table_slots`: 100 slots for each backend of a service are enough"
    )]
    Tables {
        /// How many services there are.
        services: usize,
        /// What their tables take.
        gib: u64,
    },
}

/// Builds it.
///
/// # Errors
/// Tables that take too much memory.
pub fn build(
    config: &Config,
    live: &Live,
    facts: &Facts<'_>,
    before: &Before,
) -> Result<Image, ImageError> {
    let services = apply_live(config, live);
    let tables = Tables::plan(&services)?;
    let service_ids = number_services(&services, before);
    let mut image = Image {
        services: Vec::with_capacity(services.len()),
        tables: tables.build(),
        members: Vec::new(),
        backends: Vec::new(),
        service_room: 0,
        backend_room: room(0, before.backend_room),
        new_services: Vec::new(),
        new_backends: Vec::new(),
    };
    let known: HashSet<u32> = before.services.values().copied().collect();
    let fresh = service_ids
        .iter()
        .filter(|id| !known.contains(id) && !before.census.services.contains_key(id));
    image.new_services = fresh.copied().collect();
    let highest = service_ids.iter().max().map_or(0, |id| id + 1);
    image.service_room = room(highest, before.service_room);
    // From here on each service has a number; backends are known by it.
    let mut numbers = Numbers::new(before);
    for ((service, id), table) in services.iter().zip(&service_ids).zip(&tables.starts) {
        let first = image.members.len() as u32;
        let mut numbered = HashMap::with_capacity(service.backends.len());
        for one in &service.backends {
            let number = numbers.of(*id, one.key);
            let old = before.backends.get(number as usize);
            let is_live = live.contains_key(&(service.key, one.key));
            let entry = entry(one, *id, is_live, facts, old);
            numbers.place(&mut image.backends, number, entry);
            numbered.insert(one.key, number);
        }
        let active = service.active();
        let members = active.iter().filter_map(|one| numbered.get(&one.key));
        image.members.extend(members.copied());
        let count = image.members.len() as u32 - first;
        let entry = service_entry(service, *id, *table, first, count, facts);
        image.services.push((abi_key(&service.key), entry));
    }
    numbers.keep_gone(&mut image.backends, before);
    image.new_backends = numbers.new;
    image.backend_room = room(image.backends.len() as u32, before.backend_room);
    image.services.extend(addresses(&services));
    Ok(image)
}

/// The services with the states that commands set.
fn apply_live(config: &Config, live: &Live) -> Vec<Service> {
    let mut services = config.services.clone();
    for service in &mut services {
        for backend in &mut service.backends {
            if let Some(state) = live.get(&(service.key, backend.key)) {
                backend.state = *state;
            }
        }
    }
    services
}

fn number_services(services: &[Service], before: &Before) -> Vec<u32> {
    let mut ids = Ids::default();
    // A number that the old configuration has, or a flow names, is nobody else's.
    let named = before
        .census
        .services
        .keys()
        .chain(before.services.values());
    named.for_each(|id| ids.take(*id));
    let gone = before.backends.iter().filter(|entry| !is_vacant(entry));
    gone.for_each(|entry| ids.take(entry.service));
    let keys: Vec<ServiceKey> = services.iter().map(|service| service.key).collect();
    let old = before.service_ids(&keys);
    old.into_iter()
        .map(|id| id.unwrap_or_else(|| ids.fresh()))
        .collect()
}

/// The numbers of backends.
struct Numbers {
    ids: Ids,
    old: HashMap<(u32, service::BackendKey), u32>,
    new: Vec<u32>,
}

impl Numbers {
    fn new(before: &Before) -> Self {
        let mut ids = Ids::default();
        let old = before.backend_ids();
        old.values().for_each(|id| ids.take(*id));
        before.census.backends.keys().for_each(|id| ids.take(*id));
        Self {
            ids,
            old,
            new: Vec::new(),
        }
    }

    fn of(&mut self, service: u32, key: service::BackendKey) -> u32 {
        if let Some(number) = self.old.get(&(service, key)) {
            return *number;
        }
        let number = self.ids.fresh();
        self.new.push(number);
        number
    }

    fn place(&self, backends: &mut Vec<Backend>, number: u32, entry: Backend) {
        let number = number as usize;
        if number >= backends.len() {
            backends.resize(number + 1, NO_BACKEND);
        }
        backends[number] = entry;
    }

    /// What is no longer configured: a backend of the configuration before may get a flow until the very moment it is
    /// replaced, an older one stays while a record names it.
    fn keep_gone(&self, backends: &mut Vec<Backend>, before: &Before) {
        for (number, old) in (0..).zip(&before.backends) {
            let taken = backends
                .get(number as usize)
                .is_some_and(|entry| !is_vacant(entry));
            let was_gone = old.flags & backend::GONE != 0;
            let named = before.census.backends.contains_key(&number);
            if is_vacant(old) || taken || (was_gone && !named) {
                continue;
            }
            let flags = backend::GONE | old.flags & backend::FIXED_MAC;
            self.place(backends, number, Backend { flags, ..*old });
        }
    }
}

fn entry(
    backend: &service::Backend,
    service: u32,
    is_live: bool,
    facts: &Facts<'_>,
    old: Option<&Backend>,
) -> Backend {
    let mut flags = match backend.state {
        State::Active => backend::UP,
        State::Draining => backend::UP | backend::DRAINING,
        State::Down => 0,
    };
    if backend.mac.is_some() {
        flags |= backend::FIXED_MAC;
    }
    if is_live {
        flags |= backend::LIVE;
    }
    let found = facts.macs.get(&backend.key.address).copied();
    // What the routing table said last is newer than nothing.
    let old = old.filter(|old| old.flags & backend::FIXED_MAC == 0 && old.mac != 0);
    let mac = match backend.mac.or(found) {
        Some(mac) => packed(Some(mac)),
        None => old.map_or(0, |old| old.mac),
    };
    Backend {
        addr: backend.key.address.into(),
        mac,
        routed_at: 0,
        flags,
        service,
        port: be16(backend.key.port),
        weight: backend.weight.get(),
    }
}

fn service_entry(
    service: &Service,
    id: u32,
    table: u32,
    members: u32,
    count: u32,
    facts: &Facts<'_>,
) -> abi::Service {
    let ports = match service.forward {
        Forward::Nat => service.source_ports.as_ref().unwrap_or(&facts.source_ports),
        Forward::Dsr | Forward::Ipip => &(0..=0),
    };
    abi::Service {
        id,
        mode: match service.forward {
            Forward::Nat => mode::NAT,
            Forward::Dsr => mode::DSR,
            Forward::Ipip => mode::IPIP,
        },
        table,
        // Without members every slot is nobody's: the size stays, for who reads it back.
        slots: service.table_slots.get(),
        members,
        count,
        port_low: *ports.start(),
        port_high: *ports.end(),
        reserved: 0,
    }
}

/// Echo requests to an address are answered if a service has it.
fn addresses(services: &[Service]) -> Vec<(abi::ServiceKey, abi::Service)> {
    let mut seen = HashSet::new();
    let own = services.iter().map(|service| service.key.address);
    own.filter(|address| seen.insert(*address))
        .map(|address| {
            let key = abi::ServiceKey::new(address.into(), Be16([0; 2]), 0);
            (key, ADDRESS)
        })
        .collect()
}

const ADDRESS: abi::Service = abi::Service {
    id: 0,
    mode: mode::ADDRESS,
    table: 0,
    slots: 0,
    members: 0,
    count: 0,
    port_low: 0,
    port_high: 0,
    reserved: 0,
};

/// The tables of all services, each different one once.
struct Tables {
    different: Vec<(Vec<Member>, Slots)>,
    /// The first block of each service's.
    starts: Vec<u32>,
    blocks: usize,
}

impl Tables {
    fn plan(services: &[Service]) -> Result<Self, ImageError> {
        let mut different = Vec::new();
        let mut places: HashMap<(Vec<Member>, Slots), u32> = HashMap::new();
        let mut blocks = 0u64;
        let mut starts = Vec::with_capacity(services.len());
        for service in services {
            let members = service.members();
            if members.is_empty() {
                starts.push(0);
                continue;
            }
            let table = (members, service.table_slots);
            let start = *places.entry(table).or_insert_with_key(|table| {
                let start = blocks;
                blocks += u64::from(table.1.get().div_ceil(BLOCK));
                different.push(table.clone());
                // More than fit are an error below.
                start as u32
            });
            starts.push(start);
        }
        if blocks > MAX_BLOCKS {
            return Err(ImageError::Tables {
                services: services.len(),
                gib: (blocks * size_of::<abi::Block>() as u64).div_ceil(1 << 30),
            });
        }
        Ok(Self {
            different,
            starts,
            blocks: blocks as usize,
        })
    }

    /// Builds them, on all CPUs.
    fn build(&self) -> Vec<u16> {
        let mut slots = vec![0; self.blocks * BLOCK as usize];
        let mut rest = slots.as_mut_slice();
        let mut jobs = Vec::with_capacity(self.different.len());
        for (members, size) in &self.different {
            let (place, behind) =
                rest.split_at_mut((size.get().next_multiple_of(BLOCK) as usize).min(rest.len()));
            jobs.push((members, *size, place));
            rest = behind;
        }
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let share = jobs.len().div_ceil(cpus).max(1);
        std::thread::scope(|scope| {
            for jobs in jobs.chunks_mut(share) {
                scope.spawn(move || {
                    for (members, size, place) in jobs {
                        let table = maglev::build(members, *size);
                        place[..table.len()].copy_from_slice(&table);
                    }
                });
            }
        });
        slots
    }
}

#[cfg(test)]
mod tests;
