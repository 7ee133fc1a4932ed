//! PURE: what is decided before the program is loaded, written into the object's constants and map sizes, and read back
//! from a program that runs.

use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use nix::time::{ClockId, clock_getres};
use xdplb_prog::abi::{Mac, deferred};

use super::listen::Listen;
use super::tables::flow_entries;
use crate::kernel::{Capabilities, Capability};
use crate::netlink::Mode;
use crate::object::{ObjectError, Spec};

/// The section of the constants.
const CONSTANTS: &str = ".rodata";

/// Whether the program writes to the kernel's trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// No, and the verifier removes the calls.
    Off,
    /// The seed's nine lines for each packet.
    On,
}

/// Everything that a start decides, but for the mode. Two balancers with equal settings and backends can take over each
/// other's connections, whether they trace or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What clients connect to.
    pub service: Listen,
    /// The address that backends see.
    pub balancer_addr: Ipv4Addr,
    /// The interface's Ethernet address.
    pub balancer_mac: Mac,
    /// How many backends there are.
    pub backends: u32,
    /// How many connections there is room for.
    pub connections: u32,
}

/// What only the machine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    ticks_per_second: u32,
    /// Whether the verifier allows this process what it asks CAP_PERFMON for: 0 or 1.
    perfmon: u32,
}

impl Machine {
    /// Asks it.
    pub fn ask() -> Self {
        // CONFIG_HZ, by which jiffies count: the coarse clock advances once a jiffy.
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |tick| tick.tv_nsec());
        let perfmon = Capabilities::effective().is_some_and(|set| set.grants(Capability::Perfmon));
        Self {
            ticks_per_second: hertz(tick),
            perfmon: perfmon.into(),
        }
    }
}

impl Settings {
    /// Writes them into an object, with what the mode and the machine decide.
    ///
    /// # Errors
    /// An object that has no such map or constant.
    pub fn apply(
        &self,
        spec: &mut Spec,
        mode: Mode,
        trace: Trace,
        machine: Machine,
    ) -> Result<(), ObjectError> {
        let sizes = [
            ("backends", self.backends),
            ("backend_counters", self.backends),
            ("connections", self.connections),
            ("flows", flow_entries(self.connections)),
        ];
        for (map, entries) in sizes {
            spec.map_mut(map)?.max_entries = entries;
        }
        let deferred = match mode {
            Mode::Native | Mode::Hardware => deferred::COMPLETE,
            Mode::Generic => deferred::KEEP,
        };
        let trace: u32 = match trace {
            Trace::Off => 0,
            Trace::On => 1,
        };
        let port = self.service.port.map_or(0, NonZeroU16::get);
        // Addresses and ports lie as in a packet, everything else as the machine has it.
        let constants: [(&str, &[u8]); 10] = [
            ("SERVICE_ADDR", &self.service.addr.octets()),
            ("SERVICE_PORT", &port.to_be_bytes()),
            ("BALANCER_ADDR", &self.balancer_addr.octets()),
            ("BALANCER_MAC", &self.balancer_mac),
            ("BACKENDS", &self.backends.to_ne_bytes()),
            ("SLOTS", &self.connections.to_ne_bytes()),
            ("TICKS_PER_SECOND", &machine.ticks_per_second.to_ne_bytes()),
            ("DEFERRED", &deferred.to_ne_bytes()),
            ("PERFMON", &machine.perfmon.to_ne_bytes()),
            ("TRACE", &trace.to_ne_bytes()),
        ];
        constants
            .into_iter()
            .try_for_each(|(name, bytes)| spec.set_global(name, bytes))
    }

    /// Reads them back from the bytes of a running program's `.rodata`; `spec` says where each lies. None where the bytes
    /// are not of this object's size, so of another version of the program.
    pub fn read(spec: &Spec, rodata: &[u8]) -> Option<Self> {
        let mut spec = spec.clone();
        let map = spec.map_mut(CONSTANTS).ok()?;
        if map.value_size as usize != rodata.len() {
            return None;
        }
        map.contents = Some(rodata.to_vec());
        let number = |name| Some(u32::from_ne_bytes(constant(&spec, name)?));
        Some(Self {
            service: Listen {
                addr: Ipv4Addr::from(constant::<4>(&spec, "SERVICE_ADDR")?),
                port: NonZeroU16::new(u16::from_be_bytes(constant(&spec, "SERVICE_PORT")?)),
            },
            balancer_addr: Ipv4Addr::from(constant::<4>(&spec, "BALANCER_ADDR")?),
            balancer_mac: constant(&spec, "BALANCER_MAC")?,
            backends: number("BACKENDS")?,
            connections: number("SLOTS")?,
        })
    }
}

fn constant<const N: usize>(spec: &Spec, name: &str) -> Option<[u8; N]> {
    spec.global(name).ok()?.try_into().ok()
}

/// The frequency of a tick of that many nanoseconds; Debian's where the answer makes no sense.
fn hertz(nanoseconds: i64) -> u32 {
    match u64::try_from(nanoseconds) {
        Ok(tick @ 100_000..=100_000_000) => ((1_000_000_000 + tick / 2) / tick) as u32,
        Ok(_) | Err(_) => 250,
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "service {}, balancer {}, {} backends, room for {} connections",
            self.service, self.balancer_addr, self.backends, self.connections
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn settings() -> Settings {
        Settings {
            service: "10.0.0.20:80".parse().unwrap(),
            balancer_addr: Ipv4Addr::new(10, 0, 0, 10),
            balancer_mac: [0xde, 0xad, 0xbe, 0xef, 0, 0x10],
            backends: 3,
            connections: 1000,
        }
    }

    #[test]
    fn settings_go_into_the_object_and_come_back() {
        let mut spec = super::super::program::parse(crate::PROGRAM).unwrap();
        settings()
            .apply(&mut spec, Mode::Generic, Trace::On, Machine::ask())
            .unwrap();
        assert_eq!(spec.global("SERVICE_ADDR").unwrap(), [10, 0, 0, 20]);
        assert_eq!(spec.global("SERVICE_PORT").unwrap(), [0, 80]);
        assert_eq!(
            spec.global("DEFERRED").unwrap(),
            deferred::KEEP.to_ne_bytes()
        );
        assert_eq!(spec.global("TRACE").unwrap(), 1u32.to_ne_bytes());
        for (map, entries) in [
            ("backends", 3),
            ("backend_counters", 3),
            ("connections", 1000),
            ("flows", 2000),
        ] {
            assert_eq!(spec.map(map).unwrap().max_entries, entries, "{map}");
        }
        let rodata = spec.map(CONSTANTS).unwrap().contents.clone().unwrap();
        let fresh = super::super::program::parse(crate::PROGRAM).unwrap();
        assert_eq!(Settings::read(&fresh, &rodata), Some(settings()));
        assert_eq!(Settings::read(&fresh, &rodata[1..]), None);
    }

    #[test]
    fn ticks_of_the_usual_kernels() {
        let found: Vec<u32> = [1_000_000, 3_333_333, 4_000_000, 10_000_000, 0, -1, 1]
            .map(hertz)
            .to_vec();
        assert_eq!(found, [1000, 300, 250, 100, 250, 250, 250]);
    }
}
