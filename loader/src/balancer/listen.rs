//! PURE: what the start knows of a service: IPv4 and TCP. [`ServiceKey`] has the whole of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

use super::service::{Protocol, ServiceKey};

/// What clients connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub addr: Ipv4Addr,
    /// The TCP port; None stands for every port.
    pub port: Option<NonZeroU16>,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}/tcp", self.addr),
            None => write!(f, "{}/tcp, every port", self.addr),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let key: ServiceKey = text.parse()?;
        match (key.address, key.protocol) {
            (_, Protocol::Udp) => Err("this balancer forwards TCP, not UDP".into()),
            (IpAddr::V6(ip), Protocol::Tcp) => Err(format!(
                "{ip} is an IPv6 address; this balancer forwards IPv4"
            )),
            (IpAddr::V4(addr), Protocol::Tcp) => Ok(Self {
                addr,
                port: key.port,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = text
            .parse::<Listen>()
            .map_or_else(|error| format!("error: {error}"), |l| l.to_string());
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn what_it_takes() {
        check("10.0.0.10", "10.0.0.10/tcp, every port");
        check("10.0.0.10:80/tcp", "10.0.0.10:80/tcp");
        check(
            "10.0.0.10:80/udp",
            "error: this balancer forwards TCP, not UDP",
        );
        check(
            "[fd00::1]",
            "error: fd00::1 is an IPv6 address; this balancer forwards IPv4",
        );
    }
}
