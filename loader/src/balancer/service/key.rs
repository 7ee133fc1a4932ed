//! PURE: how services and backends are named: `10.0.0.10:80/tcp`, `[fd00::1]:53/udp`, `10.0.0.10/tcp` (every port);
//! `10.0.0.2`, `[fd00::2]:8000`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

use super::super::excerpt::brief;
use super::super::maglev::Identity;
use super::{Protocol, Word, is_host};

/// What clients connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// The address.
    pub address: IpAddr,
    /// The port; None stands for every port.
    pub port: Option<NonZeroU16>,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Where a service's packets can go. Within a service no two backends have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendKey {
    /// The address.
    pub address: IpAddr,
    /// The port; None stands for the packet's own.
    pub port: Option<NonZeroU16>,
}

impl BackendKey {
    /// What it is in a Maglev table.
    pub fn identity(&self) -> Identity {
        Identity::new(self.address, self.port)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            // `fd00::1/64` would be a subnet, so a slash follows only brackets.
            (IpAddr::V6(ip), None) => write!(f, "[{ip}]")?,
            (address, port) => BackendKey { address, port }.fmt(f)?,
        }
        write!(f, "/{}", self.protocol.name())
    }
}

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (ip, None) => write!(f, "{ip}"),
            (IpAddr::V4(ip), Some(port)) => write!(f, "{ip}:{port}"),
            (IpAddr::V6(ip), Some(port)) => write!(f, "[{ip}]:{port}"),
        }
    }
}

impl FromStr for ServiceKey {
    type Err = String;

    /// `ADDR[:PORT][/tcp|udp]`, an IPv6 address with a port in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let (place, protocol) = match text.split_once('/') {
            Some((place, name)) => (place, Protocol::find(name)),
            None => (text, Some(Protocol::Tcp)),
        };
        let Some(protocol) = protocol else {
            let name = &text[place.len() + 1..];
            return Err(format!("`{}` is not a protocol (tcp, udp)", brief(name)));
        };
        let (address, port) = parse_place(place)?;
        if !is_host(address) {
            return Err(format!(
                "{address} is no address that clients reach over a network"
            ));
        }
        Ok(Self {
            address,
            port,
            protocol,
        })
    }
}

impl FromStr for BackendKey {
    type Err = String;

    /// `ADDR[:PORT]`, an IPv6 address with a port in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, port) = parse_place(text)?;
        if !is_host(address) {
            return Err(format!("{address} is no other host's address"));
        }
        Ok(Self { address, port })
    }
}

fn parse_place(text: &str) -> Result<(IpAddr, Option<NonZeroU16>), String> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (address, port) = match bracketed {
        Some((address, rest)) => {
            let ip: Option<Ipv6Addr> = address.parse().ok();
            let port = match rest {
                "" => Some(None),
                rest => rest.strip_prefix(':').map(Some),
            };
            match (ip, port) {
                (Some(ip), Some(port)) => (ip.into(), port),
                (None, _) | (_, None) => return Err(no_address(text)),
            }
        }
        None => match (text.parse(), text.split_once(':')) {
            (Ok(ip), _) => (ip, None),
            (Err(_), Some((address, port))) if !port.contains(':') => {
                let ip = address.parse().map_err(|_| no_address(address))?;
                (ip, Some(port))
            }
            (Err(_), Some(_) | None) => return Err(no_address(text)),
        },
    };
    Ok((address, port.map(parse_port).transpose()?))
}

/// Reads an address.
///
/// # Errors
/// That it is none.
pub fn parse_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| no_address(text))
}

/// Reads a port.
///
/// # Errors
/// That it is none.
pub fn parse_port(text: &str) -> Result<NonZeroU16, String> {
    // The library would take a plus sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|_| digits);
    port.ok_or_else(|| format!("`{}` is not a port (1 to 65535)", brief(text)))
}

fn no_address(text: &str) -> String {
    format!("`{}` is not an IPv4 or IPv6 address", brief(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check<T: FromStr<Err = String> + fmt::Display>(text: &str, expected: &str) {
        let found = match text.parse::<T>() {
            Ok(key) => key.to_string(),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn services_are_named_by_address_port_and_protocol() {
        check::<ServiceKey>("10.0.0.10", "10.0.0.10/tcp");
        check::<ServiceKey>("10.0.0.10:80", "10.0.0.10:80/tcp");
        check::<ServiceKey>("10.0.0.10:53/udp", "10.0.0.10:53/udp");
        check::<ServiceKey>("10.0.0.10/udp", "10.0.0.10/udp");
        check::<ServiceKey>("[fd00::1]:53/udp", "[fd00::1]:53/udp");
        check::<ServiceKey>("[fd00::1]:80", "[fd00::1]:80/tcp");
        check::<ServiceKey>("fd00::1", "[fd00::1]/tcp");
        check::<ServiceKey>("[fd00:0::1]/udp", "[fd00::1]/udp");
    }

    #[test]
    fn backends_are_named_by_address_and_port() {
        check::<BackendKey>("10.0.0.2", "10.0.0.2");
        check::<BackendKey>("10.0.0.2:8000", "10.0.0.2:8000");
        check::<BackendKey>("fd00::2", "fd00::2");
        check::<BackendKey>("[fd00::2]", "fd00::2");
        check::<BackendKey>("[fd00::2]:8000", "[fd00::2]:8000");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("10.0.0.10/sctp", "`sctp` is not a protocol (tcp, udp)"),
            ("10.0.0.10/", "`` is not a protocol (tcp, udp)"),
            ("10.0.0.10:0", "`0` is not a port (1 to 65535)"),
            ("10.0.0.10:65536", "`65536` is not a port (1 to 65535)"),
            ("10.0.0.10:+80", "`+80` is not a port (1 to 65535)"),
            ("[fd00::1]:", "`` is not a port (1 to 65535)"),
            ("10.0.0", "`10.0.0` is not an IPv4 or IPv6 address"),
            ("web:80", "`web` is not an IPv4 or IPv6 address"),
            ("", "`` is not an IPv4 or IPv6 address"),
            ("[fd00::1", "`[fd00::1` is not an IPv4 or IPv6 address"),
            (
                "[fd00::1]80",
                "`[fd00::1]80` is not an IPv4 or IPv6 address",
            ),
            (
                "[10.0.0.1]:80",
                "`[10.0.0.1]:80` is not an IPv4 or IPv6 address",
            ),
            ("\u{1b}[m", "`\\u{1b}[m` is not an IPv4 or IPv6 address"),
            (
                "127.0.0.1:80",
                "127.0.0.1 is no address that clients reach over a network",
            ),
            (
                "[::ffff:10.0.0.1]:80",
                "::ffff:10.0.0.1 is no address that clients reach over a network",
            ),
        ] {
            check::<ServiceKey>(text, &format!("error: {expected}"));
        }
        check::<BackendKey>("224.0.0.1", "error: 224.0.0.1 is no other host's address");
        check::<BackendKey>("[ff02::1]:80", "error: ff02::1 is no other host's address");
        check::<BackendKey>(
            "10.0.0.2/tcp",
            "error: `10.0.0.2/tcp` is not an IPv4 or IPv6 address",
        );
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_what_it_names(
            address in prop_oneof![
                any::<[u8; 4]>().prop_map(IpAddr::from),
                any::<[u8; 16]>().prop_map(IpAddr::from),
            ],
            port in any::<u16>(),
            protocol in prop::sample::select(Protocol::ALL),
        ) {
            prop_assume!(is_host(address));
            let key = ServiceKey { address, port: NonZeroU16::new(port), protocol };
            prop_assert_eq!(key.to_string().parse(), Ok(key));
            let key = BackendKey { address, port: NonZeroU16::new(port) };
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }
    }
}
