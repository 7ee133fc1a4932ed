//! What a running balancer has and does, as commands print it.

use std::collections::HashMap;

use serde::Serialize;
use xdplb_prog::abi::{self, backend, mode};
use xdplb_prog::counters::Reason;

use super::before::{Census, state_of};
use super::flows;
use super::readback::{Counters, Stored, is_configured};
use super::running::Running;
use super::service::{Forward, ServiceKey, Word as _, show_mac};
use super::settings::Machine;
use super::tables::{backend_key, is_vacant, unpacked};
use crate::kernel::KernelError;

/// One line of the reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonView {
    /// [`Reason::name`].
    pub reason: &'static str,
    /// What became of the frames.
    pub verdict: &'static str,
    /// Frames.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A service and its backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceView {
    /// `10.0.0.10:80/tcp`.
    pub service: String,
    /// `nat`, `dsr` or `ipip`.
    pub mode: &'static str,
    /// Flows that got a backend.
    pub opened: u64,
    /// Packets that would have opened one, and could not.
    pub refused: u64,
    /// Flows now.
    pub live: u64,
    /// Its backends, sorted, those that are gone behind the others.
    pub backends: Vec<BackendView>,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackendView {
    /// Its address.
    pub ip: String,
    /// Its port; None stands for the packet's own.
    pub port: Option<u16>,
    /// `active`, `draining`, `down`, or `gone`: no longer configured, but named by flows.
    pub state: &'static str,
    /// Whether a command set the state, over what the file says.
    pub live_state: bool,
    /// Its weight.
    pub weight: u16,
    /// Where its frames go; None while nobody knows.
    pub mac: Option<String>,
    /// Flows now.
    pub live: u64,
    /// Flows opened to it.
    pub new_connections: u64,
    /// Frames sent to it.
    pub to_packets: u64,
    /// Their bytes.
    pub to_bytes: u64,
    /// Frames it answered with.
    pub from_packets: u64,
    /// Their bytes.
    pub from_bytes: u64,
}

impl BackendView {
    /// `10.0.0.2`, `10.0.0.2:8000`, `[fd00::2]:8000`.
    pub fn name(&self) -> String {
        match self.port {
            Some(port) if self.ip.contains(':') => format!("[{}]:{port}", self.ip),
            Some(port) => format!("{}:{port}", self.ip),
            None => self.ip.clone(),
        }
    }

    /// The state, with a star where a command set it.
    pub fn shown_state(&self) -> String {
        format!("{}{}", self.state, if self.live_state { "*" } else { "" })
    }
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct View {
    /// By reason, in their order.
    pub counters: Vec<ReasonView>,
    /// By service, sorted.
    pub services: Vec<ServiceView>,
    /// All live flows.
    pub live: u64,
}

impl View {
    /// Reads it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(running: &Running, machine: &Machine) -> Result<Self, KernelError> {
        let stored = Stored::read(running)?;
        let counters = Counters::read(running)?;
        let census = flows::census(running, machine)?;
        Ok(Self::of(&stored, &counters, &census))
    }

    /// PURE: puts it together.
    pub fn of(stored: &Stored, counters: &Counters, census: &Census) -> Self {
        let reasons = Reason::ALL.iter().zip(&counters.reasons);
        let reasons = reasons.map(|(reason, count)| ReasonView {
            reason: reason.name(),
            verdict: reason.verdict().name(),
            packets: count.packets,
            bytes: count.bytes,
        });
        let mut backends: HashMap<u32, Vec<(u32, &abi::Backend)>> = HashMap::new();
        for (number, entry) in (0..).zip(&stored.backends).filter(|(_, e)| !is_vacant(e)) {
            backends
                .entry(entry.service)
                .or_default()
                .push((number, entry));
        }
        let mut services: Vec<ServiceView> = Vec::with_capacity(stored.services.len());
        for (key, service) in &stored.services {
            let mut own = backends.remove(&service.id).unwrap_or_default();
            own.sort_by_key(|(_, entry)| (!is_configured(entry), backend_key(entry).identity()));
            let view = |(number, entry): &(u32, &abi::Backend)| {
                backend_view(*number, entry, counters, census)
            };
            let counted = counters.of_service(service.id);
            services.push(ServiceView {
                service: key.to_string(),
                mode: mode_name(service.mode),
                opened: counted.opened,
                refused: counted.refused,
                live: census.of_service(service.id),
                backends: own.iter().map(view).collect(),
            });
        }
        Self {
            counters: reasons.collect(),
            services,
            live: census.all.live,
        }
    }
}

/// The names of numbers, for who shows flows.
pub fn names(stored: &Stored) -> HashMap<u32, ServiceKey> {
    let services = stored.services.iter();
    services.map(|(key, service)| (service.id, *key)).collect()
}

fn backend_view(
    number: u32,
    entry: &abi::Backend,
    counters: &Counters,
    census: &Census,
) -> BackendView {
    let key = backend_key(entry);
    let counted = counters.of_backend(number);
    BackendView {
        ip: key.address.to_string(),
        port: key.port.map(std::num::NonZeroU16::get),
        state: match entry.flags & backend::GONE {
            0 => state_of(entry).name(),
            _ => "gone",
        },
        live_state: entry.flags & backend::LIVE != 0,
        weight: entry.weight,
        mac: unpacked(entry.mac).map(show_mac),
        live: census.of_backend(number),
        new_connections: counted.opened,
        to_packets: counted.sent.packets,
        to_bytes: counted.sent.bytes,
        from_packets: counted.received.packets,
        from_bytes: counted.received.bytes,
    }
}

/// The word for a mode of map `services`.
pub fn mode_name(stored: u32) -> &'static str {
    match stored {
        mode::DSR => Forward::Dsr.name(),
        mode::IPIP => Forward::Ipip.name(),
        _ => Forward::Nat.name(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::before::Tally;
    use super::super::readback::{BackendCount, Count, ServiceCount};
    use super::super::tables::{NO_BACKEND, packed};
    use super::*;
    use xdplb_prog::abi::{Addr, Be16, Be32};

    #[test]
    fn counters_and_flows_come_to_their_names() {
        let entry = |last: u8, flags: u32| abi::Backend {
            addr: Addr::v4(Be32([10, 0, 0, last])),
            flags,
            service: 4,
            port: Be16::new(8000),
            weight: 1,
            ..NO_BACKEND
        };
        let service = abi::Service {
            id: 4,
            mode: mode::NAT,
            table: 0,
            slots: 7,
            members: 0,
            count: 1,
            port_low: 1024,
            port_high: 2000,
            reserved: 0,
        };
        let mut up = entry(3, backend::UP | backend::LIVE);
        up.mac = packed(Some([2, 0, 0, 0, 0, 3]));
        let stored = Stored {
            services: vec![("10.0.0.10:80".parse().unwrap(), service)],
            backends: vec![entry(2, backend::GONE), NO_BACKEND, up],
        };
        let mut counters = Counters::default();
        counters.reasons.push(Count {
            packets: 5,
            bytes: 300,
        });
        counters.backends = vec![
            BackendCount::default(),
            BackendCount::default(),
            BackendCount {
                opened: 9,
                ..BackendCount::default()
            },
        ];
        counters.services = vec![ServiceCount::default(); 5];
        counters.services[4].refused = 2;
        let mut census = Census::default();
        census.backends.insert(
            2,
            Tally {
                records: 7,
                live: 6,
            },
        );
        let view = View::of(&stored, &counters, &census);
        assert_eq!(
            (view.counters[0].reason, view.counters[0].packets),
            ("forwarded", 5)
        );
        let service = &view.services[0];
        assert_eq!((service.mode, service.refused), ("nat", 2));
        let [up, gone] = service.backends.as_slice() else {
            panic!("{service:?}")
        };
        assert_eq!(up.name(), "10.0.0.3:8000");
        assert_eq!((up.live, up.new_connections), (6, 9));
        assert_eq!(up.shown_state(), "active*");
        assert_eq!(up.mac.as_deref(), Some("02:00:00:00:00:03"));
        assert_eq!((gone.shown_state(), &gone.mac), ("gone".into(), &None));
    }
}
