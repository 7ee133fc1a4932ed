//! Tables for the [model](crate::model), written down as a test thinks of them.
//!
//! The loader builds Maglev tables; here backends take turns, slot by slot, so that a test can tell what a table says.

use std::net::IpAddr;

use crate::abi::{
    Addr, BLOCK, Backend, Be16, Block, Mac, MacWords, Service, ServiceKey, backend, mode, protocol,
};
use crate::model::Tables;

/// Slots of a service's table: a prime, larger than the backends of any test.
pub const TABLE_SLOTS: u32 = 97;

/// A service as a test describes it.
#[derive(Clone, Debug)]
pub struct TestService {
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 stands for every port.
    pub port: u16,
    /// Its protocol's number.
    pub protocol: u8,
    /// One of [`mode`].
    pub mode: u32,
    /// Source ports towards its backends, first and last.
    pub source_ports: (u16, u16),
    /// Its backends.
    pub backends: Vec<TestBackend>,
}

/// One of its backends.
#[derive(Clone, Copy, Debug)]
pub struct TestBackend {
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 stands for the packet's own.
    pub port: u16,
    /// Where its frames go.
    pub mac: Mac,
    /// Bits of [`backend`].
    pub flags: u32,
}

impl TestBackend {
    /// One that takes flows, whose Ethernet address ends as its IP address does.
    pub fn new(address: IpAddr, port: u16) -> Self {
        let last = Addr::from(address).bytes()[15];
        Self {
            address,
            port,
            mac: [2, 0, 0, 0, 0, last],
            flags: backend::UP | backend::FIXED_MAC,
        }
    }
}

impl TestService {
    /// A TCP service in NAT mode.
    pub fn new(address: IpAddr, port: u16, backends: &[TestBackend]) -> Self {
        Self {
            address,
            port,
            protocol: protocol::TCP,
            mode: mode::NAT,
            source_ports: (1024, 32_767),
            backends: backends.to_vec(),
        }
    }
    /// The same in another mode.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }
    /// The same for UDP.
    pub fn udp(mut self) -> Self {
        self.protocol = protocol::UDP;
        self
    }
    /// The same with these source ports.
    pub fn source_ports(mut self, low: u16, high: u16) -> Self {
        self.source_ports = (low, high);
        self
    }
}

impl Tables {
    /// What the loader would make of these services, but for the order in which backends are picked.
    pub fn of(services: &[TestService]) -> Self {
        let mut tables = Self::default();
        for (id, service) in services.iter().enumerate() {
            tables.add(id as u32, service);
        }
        tables
    }

    fn add(&mut self, id: u32, test: &TestService) {
        let addr = Addr::from(test.address);
        let table = self.tables.len() as u32;
        let members = self.members.len() as u32;
        let first = self.backends.len() as u32;
        for test in &test.backends {
            self.members.push(self.backends.len() as u32);
            self.backends.push(Backend {
                addr: Addr::from(test.address),
                mac: MacWords::from(test.mac).packed(),
                routed_at: 0,
                flags: test.flags,
                service: id,
                port: Be16::new(test.port),
                weight: 1,
            });
        }
        let takes_new =
            |backend: &Backend| backend.flags & (backend::UP | backend::DRAINING) == backend::UP;
        let active: Vec<u16> = (0u16..)
            .zip(&self.backends[first as usize..])
            .filter(|(_, backend)| takes_new(backend))
            .map(|(member, _)| member)
            .collect();
        let slots = if active.is_empty() { 0 } else { TABLE_SLOTS };
        for block in 0..slots.div_ceil(BLOCK) {
            let turn = |slot: u32| active[slot as usize % active.len()];
            let block: Block = core::array::from_fn(|at| turn(block * BLOCK + at as u32));
            self.tables.push(block);
        }
        let service = Service {
            id,
            mode: test.mode,
            table,
            slots,
            members,
            count: test.backends.len() as u32,
            port_low: test.source_ports.0,
            port_high: test.source_ports.1,
            reserved: 0,
        };
        let key = ServiceKey::new(addr, Be16::new(test.port), test.protocol);
        self.services.insert(key, service);
        let address = Service {
            mode: mode::ADDRESS,
            table: 0,
            slots: 0,
            members: 0,
            count: 0,
            port_low: 0,
            port_high: 0,
            ..service
        };
        self.services
            .insert(ServiceKey::new(addr, Be16([0; 2]), 0), address);
    }
}
