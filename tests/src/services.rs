//! The balancer's configuration, written as a user writes it.

use std::fmt::{Display, Formatter, Result};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// How packets reach a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Addresses and ports change, and back.
    Nat,
    /// Only the Ethernet addresses change.
    Dsr,
    /// The packet goes inside another.
    Ipip,
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// Both.
    pub const ALL: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

    /// As in `10.0.0.10:80/tcp`.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl Forward {
    /// As in the file.
    pub fn word(self) -> &'static str {
        match self {
            Forward::Nat => "nat",
            Forward::Dsr => "dsr",
            Forward::Ipip => "ipip",
        }
    }
}

/// A service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Where clients connect to.
    pub at: SocketAddr,
    /// Of which protocol.
    pub protocol: Protocol,
    /// How backends get it.
    pub forward: Forward,
    /// The source ports that backends see, where they are not the default.
    pub source_ports: Option<RangeInclusive<u16>>,
    /// Who serves it.
    pub backends: Vec<Backend>,
}

/// A backend of a service.
#[derive(Debug, Clone, Default)]
pub struct Backend {
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its port, where it is another than the service's.
    pub port: Option<u16>,
    /// Its Ethernet address; left out, it is looked up.
    pub mac: Option<[u8; 6]>,
    /// Its state, where it is not active.
    pub state: Option<&'static str>,
    /// Its weight, where it is not 1.
    pub weight: Option<u16>,
}

impl Backend {
    /// One on the service's port, whose Ethernet address is looked up.
    pub fn at(address: impl Into<IpAddr>) -> Self {
        Self {
            address: Some(address.into()),
            ..Self::default()
        }
    }

    /// On that port.
    pub fn port(self, port: u16) -> Self {
        Self {
            port: Some(port),
            ..self
        }
    }

    /// With that Ethernet address.
    pub fn mac(self, mac: [u8; 6]) -> Self {
        Self {
            mac: Some(mac),
            ..self
        }
    }

    /// In that state.
    pub fn state(self, state: &'static str) -> Self {
        Self {
            state: Some(state),
            ..self
        }
    }
}

/// The whole file.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Room for connections, where it is not the default.
    pub connections: Option<u32>,
    /// Its services.
    pub services: Vec<Service>,
}

impl Config {
    /// One with these services.
    pub fn of(services: Vec<Service>) -> Self {
        Self {
            connections: None,
            services,
        }
    }
}

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(connections) = self.connections {
            writeln!(f, "connections = {connections}")?;
        }
        for service in &self.services {
            write!(f, "{service}")?;
        }
        Ok(())
    }
}

impl Display for Service {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "\n[[service]]")?;
        writeln!(f, "address = \"{}\"", self.at.ip())?;
        writeln!(f, "port = {}", self.at.port())?;
        writeln!(f, "protocol = \"{}\"", self.protocol.word())?;
        writeln!(f, "mode = \"{}\"", self.forward.word())?;
        if let Some(ports) = &self.source_ports {
            writeln!(f, "source_ports = \"{}-{}\"", ports.start(), ports.end())?;
        }
        self.backends
            .iter()
            .try_for_each(|backend| write!(f, "{backend}"))
    }
}

impl Display for Backend {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "\n[[service.backend]]")?;
        if let Some(address) = self.address {
            writeln!(f, "address = \"{address}\"")?;
        }
        if let Some(port) = self.port {
            writeln!(f, "port = {port}")?;
        }
        if let Some([a, b, c, d, e, g]) = self.mac {
            writeln!(
                f,
                "mac = \"{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}\""
            )?;
        }
        if let Some(weight) = self.weight {
            writeln!(f, "weight = {weight}")?;
        }
        if let Some(state) = self.state {
            writeln!(f, "state = \"{state}\"")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn it_reads_as_a_user_writes_it() {
        let address: IpAddr = "10.0.0.2".parse().unwrap();
        let service = Service {
            at: "10.0.0.20:80".parse().unwrap(),
            protocol: Protocol::Tcp,
            forward: Forward::Nat,
            source_ports: Some(5000..=5019),
            backends: vec![
                Backend::at(address)
                    .port(8000)
                    .mac([0xde, 0xad, 0xbe, 0xef, 0, 2])
                    .state("down"),
            ],
        };
        let expected = r#"
[[service]]
address = "10.0.0.20"
port = 80
protocol = "tcp"
mode = "nat"
source_ports = "5000-5019"

[[service.backend]]
address = "10.0.0.2"
port = 8000
mac = "de:ad:be:ef:00:02"
state = "down"
"#;
        assert_eq!(Config::of(vec![service]).to_string(), expected);
    }
}
