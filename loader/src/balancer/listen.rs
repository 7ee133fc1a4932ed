//! PURE: the service, `ADDR[:PORT][/tcp]`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

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
        let (service, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        match protocol {
            "tcp" => {}
            "udp" => return Err("this balancer forwards TCP, not UDP".into()),
            other => return Err(format!("`{other}` is not a protocol (tcp)")),
        }
        if let Ok(IpAddr::V6(ip)) = service.trim_matches(['[', ']']).parse() {
            return Err(format!(
                "{ip} is an IPv6 address; this balancer forwards IPv4"
            ));
        }
        let (addr, port) = match service.split_once(':') {
            Some((addr, port)) => (addr, Some(port)),
            None => (service, None),
        };
        let addr: Ipv4Addr = addr
            .parse()
            .map_err(|_| format!("`{addr}` is not an IPv4 address"))?;
        if addr.is_unspecified() || addr.is_multicast() || addr.is_broadcast() || addr.is_loopback()
        {
            return Err(format!(
                "{addr} is no address that clients reach over a network"
            ));
        }
        let port = port
            .map(|port| {
                port.parse()
                    .map_err(|_| format!("`{port}` is not a port (1 to 65535)"))
            })
            .transpose()?;
        Ok(Self { addr, port })
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
    fn address_port_and_protocol() {
        check("10.0.0.10", "10.0.0.10/tcp, every port");
        check("10.0.0.10:80", "10.0.0.10:80/tcp");
        check("10.0.0.10:80/tcp", "10.0.0.10:80/tcp");
        check("10.0.0.10/tcp", "10.0.0.10/tcp, every port");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(
            "10.0.0.10:80/udp",
            "error: this balancer forwards TCP, not UDP",
        );
        check("10.0.0.10/sctp", "error: `sctp` is not a protocol (tcp)");
        check("10.0.0.10:0", "error: `0` is not a port (1 to 65535)");
        check(
            "10.0.0.10:65536",
            "error: `65536` is not a port (1 to 65535)",
        );
        check("10.0.0", "error: `10.0.0` is not an IPv4 address");
        check("", "error: `` is not an IPv4 address");
        check(
            "[fd00::1]",
            "error: fd00::1 is an IPv6 address; this balancer forwards IPv4",
        );
        check(
            "127.0.0.1:80",
            "error: 127.0.0.1 is no address that clients reach over a network",
        );
    }
}
