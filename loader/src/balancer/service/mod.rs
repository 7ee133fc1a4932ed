//! PURE: what is balanced: services, each with its backends. Where it comes from (`toml_file`, `simple`) and how it gets into
//! the kernel is told elsewhere; the rules that hold for both sources are here.

mod key;
mod mac;
mod subnet;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use xdplb_prog::abi::Mac;

use super::maglev::{Member, Slots};

pub use key::{BackendKey, ServiceKey, parse_address, parse_port};
pub use mac::{host_mac, parse_mac, show_mac};
pub use subnet::Subnet;

/// How many flows there is room for unless the user says otherwise.
pub const CONNECTIONS: u32 = 65_536;
/// The most room for flows that can be asked for.
pub const MAX_CONNECTIONS: u32 = 1 << 24;
/// How many backends a service can have: a table's slot holds a number of 16 bits.
pub const MAX_BACKENDS: usize = 65_535;
/// The largest weight of a backend.
pub const MAX_WEIGHT: u16 = 1000;

/// All that is balanced at an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The services, in the order of the file; no two have the same key.
    pub services: Vec<Service>,
    /// How many flows there is room for.
    pub connections: u32,
    /// The outer source addresses of mode ipip.
    pub encap: Encap,
}

/// Where the outer source addresses of mode ipip come from; which one is taken varies by flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encap {
    /// Around IPv4.
    pub source4: Subnet<Ipv4Addr>,
    /// Around IPv6.
    pub source6: Subnet<Ipv6Addr>,
}

impl Default for Encap {
    /// 172.16.0.0/16, as Katran has it, and 100::/64, which nobody answers to (RFC 6666).
    fn default() -> Self {
        Self {
            source4: Subnet::of([172, 16, 0, 0].into(), 16),
            source6: Subnet::of([0x100, 0, 0, 0, 0, 0, 0, 0].into(), 64),
        }
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What clients connect to.
    pub key: ServiceKey,
    /// How its packets reach a backend.
    pub forward: Forward,
    /// The source ports that backends see, for mode nat; None: what the host leaves free.
    pub source_ports: Option<RangeInclusive<u16>>,
    /// The size of its Maglev table.
    pub table_slots: Slots,
    /// At least one, in the order of the file; no two have the same key.
    pub backends: Vec<Backend>,
}

/// A backend of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it is.
    pub key: BackendKey,
    /// Where its frames go; None: what the neighbour table says.
    pub mac: Option<Mac>,
    /// How many new flows it gets, beside the others: 1 to [`MAX_WEIGHT`].
    pub weight: NonZeroU16,
    /// Whether it gets any.
    pub state: State,
}

impl Backend {
    /// A backend of which nothing is known but where it is.
    pub fn new(key: BackendKey) -> Self {
        Self {
            key,
            mac: None,
            weight: NonZeroU16::MIN,
            state: State::Active,
        }
    }
}

impl Service {
    /// A service in mode nat, with everything else as it is when nothing is said.
    pub fn new(key: ServiceKey, backends: Vec<Backend>) -> Self {
        Self {
            key,
            forward: Forward::Nat,
            source_ports: None,
            table_slots: Slots::DEFAULT,
            backends,
        }
    }

    /// Those that get new flows, sorted by address and port, as every balancer does. A table's slots are indexes into this.
    pub fn active(&self) -> Vec<&Backend> {
        let active = self.backends.iter().filter(|b| b.state == State::Active);
        let mut active: Vec<&Backend> = active.collect();
        active.sort_by_key(|backend| backend.key.identity());
        active
    }

    /// [`Self::active`] as a table is built of them. Services with the same members and slots can share one table.
    pub fn members(&self) -> Vec<Member> {
        let member = |backend: &Backend| Member {
            identity: backend.key.identity(),
            weight: backend.weight,
        };
        self.active().into_iter().map(member).collect()
    }
}

/// A choice that is named by one word.
pub trait Word: Copy + 'static {
    /// Every choice there is.
    const ALL: &'static [Self];

    /// Its word.
    fn name(self) -> &'static str;

    /// The choice of that name.
    fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|word| word.name() == name)
    }
}

/// What is balanced of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Word for Protocol {
    const ALL: &'static [Self] = &[Self::Tcp, Self::Udp];

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// How packets reach a backend (`mode` in the file; `super::mode` is native or generic).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forward {
    /// Both addresses and ports change, in both directions: backends answer to the balancer.
    Nat,
    /// Only the MACs change: backends hold the service's address and answer to the client.
    Dsr,
    /// The packet goes inside another: backends unpack it, hold the service's address and answer to the client.
    Ipip,
}

impl Word for Forward {
    const ALL: &'static [Self] = &[Self::Nat, Self::Dsr, Self::Ipip];

    fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
        }
    }
}

impl Forward {
    /// Where packets to this service arrive when they go to this backend. Two backends that are one there are one.
    pub fn target(self, service: &ServiceKey, backend: &BackendKey) -> BackendKey {
        BackendKey {
            address: backend.address,
            port: match self {
                Self::Nat => backend.port.or(service.port),
                Self::Dsr | Self::Ipip => None,
            },
        }
    }

    /// Whether packets to this service can reach this backend.
    ///
    /// # Errors
    /// Why they cannot: the families, or a circle.
    pub fn check(self, service: &ServiceKey, backend: IpAddr) -> Result<(), String> {
        let (of, to) = (family(service.address), family(backend));
        match self {
            Self::Dsr => return Ok(()),
            Self::Nat if of != to => {
                return Err(format!(
                    "{backend} is an {to} address, and mode nat keeps the family of {service}"
                ));
            }
            Self::Ipip if (of, to) == ("IPv6", "IPv4") => {
                return Err(format!(
                    "{backend} is an IPv4 address, and mode ipip puts no IPv6 ({service}) into IPv4"
                ));
            }
            Self::Nat | Self::Ipip => {}
        }
        if service.address == backend {
            return Err(format!("{backend} is the service's own address"));
        }
        Ok(())
    }
}

/// Whether a backend gets packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// New flows and old ones.
    Active,
    /// Old ones only.
    Draining,
    /// None.
    Down,
}

impl Word for State {
    const ALL: &'static [Self] = &[Self::Active, Self::Draining, Self::Down];

    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

/// `IPv4` or `IPv6`.
pub fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

/// Whether this is one host's address, on a network. IPv4 inside IPv6 never is on the wire (RFC 4291, 2.5.5.2).
pub fn is_host(address: IpAddr) -> bool {
    let nobody = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    !nobody
        && match address {
            IpAddr::V4(ip) => !ip.is_broadcast(),
            IpAddr::V6(ip) => ip.to_ipv4_mapped().is_none(),
        }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn families_that_a_mode_joins() {
        let check = |forward: Forward, service: &str, backend: &str| {
            let done = forward.check(&service.parse().unwrap(), backend.parse().unwrap());
            done.err().unwrap_or_default()
        };
        for forward in Forward::ALL {
            assert_eq!(check(*forward, "10.0.0.10:80", "10.0.0.2"), "");
            assert_eq!(check(*forward, "[fd00::10]:80", "fd00::2"), "");
        }
        assert_eq!(check(Forward::Ipip, "10.0.0.10:80", "fd00::2"), "");
        assert_eq!(check(Forward::Dsr, "[fd00::10]:80", "10.0.0.2"), "");
        assert_eq!(check(Forward::Dsr, "10.0.0.10", "10.0.0.10"), "");
        assert_eq!(
            check(Forward::Nat, "10.0.0.10:80", "fd00::2"),
            "fd00::2 is an IPv6 address, and mode nat keeps the family of 10.0.0.10:80/tcp"
        );
        assert_eq!(
            check(Forward::Nat, "[fd00::10]:80", "10.0.0.2"),
            "10.0.0.2 is an IPv4 address, and mode nat keeps the family of [fd00::10]:80/tcp"
        );
        assert_eq!(
            check(Forward::Ipip, "[fd00::10]/udp", "10.0.0.2"),
            "10.0.0.2 is an IPv4 address, and mode ipip puts no IPv6 ([fd00::10]/udp) into IPv4"
        );
        assert_eq!(
            check(Forward::Nat, "10.0.0.10:80", "10.0.0.10"),
            "10.0.0.10 is the service's own address"
        );
    }

    #[test]
    fn members_are_the_active_in_everybodys_order() {
        let backend = |text: &str, state| Backend {
            state,
            ..Backend::new(text.parse().unwrap())
        };
        let lines = [
            backend("10.0.0.3", State::Active),
            backend("10.0.0.2:81", State::Active),
            backend("10.0.0.4", State::Draining),
            backend("10.0.0.2:80", State::Active),
            backend("10.0.0.1", State::Down),
        ];
        let service = Service::new("10.0.0.10".parse().unwrap(), lines.to_vec());
        let active: Vec<String> = service.active().iter().map(|b| b.key.to_string()).collect();
        assert_eq!(active, ["10.0.0.2:80", "10.0.0.2:81", "10.0.0.3"]);
        let mut sorted = service.members();
        sorted.sort();
        assert_eq!(sorted, service.members());
    }
}
