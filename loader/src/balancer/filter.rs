//! PURE: which packets `trace` shows, in words: `client 10.0.0.0/24 port 443 1/100`. The program itself decides.

use std::net::IpAddr;

use xdplb_prog::abi::Addr;
use xdplb_prog::counters::Reason;

use super::excerpt::{ConfigError, brief, nearest};
use super::packet::{Word, Words};
use super::readback::{Stored, is_configured};
use super::service::{BackendKey, ServiceKey, parse_address, parse_port};
use super::tables::backend_key;
use super::twin::{Constant, number};

/// What an error calls the text.
const NAME: &str = "filter";
/// The thinnest sample.
const THINNEST: u32 = 1_000_000;
/// How many services an error names.
const NAMED: usize = 5;

/// Conditions, all of which a packet has to meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Either of its addresses, as it came or as it left, begins with so many bits of this one.
    address: Option<(IpAddr, u8)>,
    /// Likewise a port.
    port: Option<u16>,
    service: Option<ServiceKey>,
    backend: Option<BackendKey>,
    /// Bits by the reasons' numbers.
    reasons: u64,
    /// One in so many.
    sample: u32,
}

/// A filter that names something that the balancer has not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter: {0}")]
pub struct FilterError(String);

impl Filter {
    /// Reads the words; no words let everything pass.
    ///
    /// # Errors
    /// The first that makes no sense, with its place.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut filter = Self {
            address: None,
            port: None,
            service: None,
            backend: None,
            reasons: u64::MAX,
            sample: 1,
        };
        let mut words = Words::of(NAME, text);
        let mut named: Vec<&str> = Vec::new();
        while let Some(word) = words.next() {
            let kind = if word.text.starts_with("1/") {
                "1/N"
            } else {
                word.text
            };
            if named.contains(&kind) {
                return Err(words.error(&word, format!("a second `{kind}`")));
            }
            match kind {
                "client" => filter.address = Some(read(&mut words, "an address", subnet)?),
                "port" => {
                    let port = |text: &str| parse_port(text).map(std::num::NonZeroU16::get);
                    filter.port = Some(read(&mut words, "a port", port)?);
                }
                "service" => filter.service = Some(read(&mut words, "a service", str::parse)?),
                "backend" => filter.backend = Some(read(&mut words, "a backend", str::parse)?),
                "reason" => filter.reasons = read(&mut words, "a reason", reasons)?,
                "1/N" => {
                    filter.sample = sample(&word).map_err(|what| words.error(&word, what))?;
                }
                other => {
                    let what = format!(
                        "`{}` is not client, port, service, backend, reason or 1/N",
                        brief(other)
                    );
                    return Err(words.error(&word, what));
                }
            }
            named.push(kind);
        }
        Ok(filter)
    }

    /// The program's constants for it. Services and backends are known there by number.
    ///
    /// # Errors
    /// A service or backend that the balancer has not.
    pub fn constants(&self, stored: &Stored) -> Result<Vec<Constant>, FilterError> {
        let service = match &self.service {
            Some(key) => Some(service_number(stored, key)?),
            None => None,
        };
        let backend = match &self.backend {
            Some(key) => backend_number(stored, key, service)?,
            None => u32::MAX,
        };
        let (address, mask) = match self.address {
            Some((ip, bits)) => {
                // An IPv4 address is the end of a longer one.
                let bits = u32::from(bits) + if ip.is_ipv4() { 96 } else { 0 };
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0).to_be_bytes();
                let address = Addr::from(ip).bytes();
                (std::array::from_fn(|at| address[at] & mask[at]), mask)
            }
            None => ([0; 16], [0; 16]),
        };
        // As it lies in a packet.
        let port = self
            .port
            .map_or(0, |port| u16::from_ne_bytes(port.to_be_bytes()));
        Ok(vec![
            ("FILTER_ADDR", address.to_vec()),
            ("FILTER_MASK", mask.to_vec()),
            number("FILTER_PORT", port.into()),
            number("FILTER_SERVICE", service.unwrap_or(u32::MAX)),
            number("FILTER_BACKEND", backend),
            ("FILTER_REASONS", self.reasons.to_ne_bytes().to_vec()),
            number("SAMPLE", self.sample),
        ])
    }
}

/// The word behind a word.
fn read<T>(
    words: &mut Words<'_>,
    what: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    let word = words.need(what)?;
    parse(word.text).map_err(|what| words.error(&word, what))
}

/// `10.0.0.1`, `10.0.0.0/24`.
fn subnet(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let ip = parse_address(address)?;
    let width = if ip.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => width,
        Some(bits) => bits
            .parse()
            .ok()
            .filter(|number| (1..=width).contains(number) && !bits.starts_with('+'))
            .ok_or_else(|| {
                format!(
                    "`{}` is not a number of bits from 1 to {width}",
                    brief(bits)
                )
            })?,
    };
    Ok((ip, bits))
}

fn reasons(text: &str) -> Result<u64, String> {
    text.split(',').try_fold(0, |bits, name| {
        let found = Reason::ALL.iter().find(|reason| reason.name() == name);
        let names = || {
            Reason::ALL
                .iter()
                .map(|reason| reason.name())
                .collect::<Vec<_>>()
        };
        match found {
            Some(reason) => Ok(bits | 1 << *reason as u32),
            None => Err(match nearest(name, &names()) {
                Some(near) => format!("`{}` is not a reason; `{near}`?", brief(name)),
                None => format!("`{}` is not a reason: {}", brief(name), names().join(", ")),
            }),
        }
    })
}
const _: () = assert!(Reason::COUNT <= 64);

fn sample(word: &Word<'_>) -> Result<u32, String> {
    let number = word.text.strip_prefix("1/").unwrap_or_default();
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let found = number.parse().ok();
    let found = found.filter(|number| digits && (1..=THINNEST).contains(number));
    let text = brief(word.text);
    found.ok_or_else(|| format!("`{text}` is not one in 1 to {THINNEST}, as in 1/100"))
}

fn service_number(stored: &Stored, key: &ServiceKey) -> Result<u32, FilterError> {
    let found = stored.services.iter().find(|(known, _)| known == key);
    found.map(|(_, service)| service.id).ok_or_else(|| {
        let names = stored.services.iter().take(NAMED);
        let mut names: Vec<String> = names.map(|(key, _)| key.to_string()).collect();
        if stored.services.len() > NAMED {
            names.push("…".into());
        }
        FilterError(format!("no service {key}\n  have: {}", names.join(", ")))
    })
}

/// A backend of one service; two may have it.
fn backend_number(
    stored: &Stored,
    key: &BackendKey,
    service: Option<u32>,
) -> Result<u32, FilterError> {
    let backends = (0..).zip(&stored.backends);
    let fits = |entry: &xdplb_prog::abi::Backend| {
        let known = backend_key(entry);
        is_configured(entry)
            && known.address == key.address
            && (key.port.is_none() || known.port == key.port)
            && service.is_none_or(|service| entry.service == service)
    };
    let found: Vec<u32> = backends
        .filter(|(_, entry)| fits(entry))
        .map(|(at, _)| at)
        .collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(FilterError(format!("no backend {key}"))),
        more => Err(FilterError(format!(
            "{} backends are {key}\n  try:  add `service …`, the backend's port, or `client {}` instead",
            more.len(),
            key.address
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::tables::NO_BACKEND;
    use super::*;
    use xdplb_prog::abi::{self, Be16, Be32};

    fn stored() -> Stored {
        let entry = |last: u8, port: u16, service: u32| abi::Backend {
            addr: Addr::v4(Be32([10, 0, 0, last])),
            port: Be16::new(port),
            service,
            ..NO_BACKEND
        };
        let service = |id| abi::Service {
            id,
            mode: 1,
            table: 0,
            slots: 0,
            members: 0,
            count: 0,
            port_low: 0,
            port_high: 0,
            reserved: 0,
        };
        Stored {
            services: vec![
                ("10.0.0.10:80".parse().unwrap(), service(4)),
                ("10.0.0.10:81".parse().unwrap(), service(5)),
            ],
            backends: vec![
                NO_BACKEND,
                entry(2, 8000, 4),
                entry(2, 8000, 5),
                entry(3, 0, 4),
            ],
        }
    }

    fn value(text: &str, name: &str) -> Vec<u8> {
        let constants = Filter::parse(text).unwrap().constants(&stored()).unwrap();
        constants
            .into_iter()
            .find(|(known, _)| *known == name)
            .unwrap()
            .1
    }

    #[test]
    fn words_become_constants() {
        let text = "client 10.0.1.7/24 port 443 service 10.0.0.10:80/tcp backend 10.0.0.2 reason opened,no_port 1/100";
        assert_eq!(value(text, "FILTER_ADDR")[10..], [0xff, 0xff, 10, 0, 1, 0]);
        assert_eq!(
            value(text, "FILTER_MASK"),
            [[0xff; 15].as_slice(), &[0]].concat()
        );
        assert_eq!(value(text, "FILTER_PORT")[..2], [1, 0xbb]);
        assert_eq!(value(text, "FILTER_SERVICE"), 4u32.to_ne_bytes());
        assert_eq!(value(text, "FILTER_BACKEND"), 1u32.to_ne_bytes());
        let reasons = 1u64 << Reason::Opened as u32 | 1 << Reason::NoPort as u32;
        assert_eq!(value(text, "FILTER_REASONS"), reasons.to_ne_bytes());
        assert_eq!(value(text, "SAMPLE"), 100u32.to_ne_bytes());
        assert_eq!(value("", "FILTER_MASK"), [0; 16]);
        assert_eq!(value("", "FILTER_SERVICE"), u32::MAX.to_ne_bytes());
        assert_eq!(
            value("backend 10.0.0.3", "FILTER_BACKEND"),
            3u32.to_ne_bytes()
        );
        assert_eq!(value("client fd00::1", "FILTER_MASK"), [0xff; 16]);
    }

    #[test]
    fn every_error_has_its_place() {
        let check = |text: &str, expected: &str| {
            let error = Filter::parse(text).unwrap_err().to_string();
            let (first, _) = error.split_once('\n').unwrap();
            assert_eq!(first, expected, "{text}");
        };
        check(
            "host 10.0.0.1",
            "filter:1:1: `host` is not client, port, service, backend, reason or 1/N",
        );
        check("client", "filter:1:7: an address is missing");
        check(
            "client 10.0.0.x",
            "filter:1:8: `10.0.0.x` is not an IPv4 or IPv6 address",
        );
        check(
            "client 10.0.0.0/33",
            "filter:1:8: `33` is not a number of bits from 1 to 32",
        );
        check("port 80 port 81", "filter:1:9: a second `port`");
        check("port 0", "filter:1:6: `0` is not a port (1 to 65535)");
        check(
            "service 10.0.0.10/sctp",
            "filter:1:9: `sctp` is not a protocol (tcp, udp)",
        );
        check(
            "backend x",
            "filter:1:9: `x` is not an IPv4 or IPv6 address",
        );
        check(
            "reason opend",
            "filter:1:8: `opend` is not a reason; `opened`?",
        );
        check(
            "1/0",
            "filter:1:1: `1/0` is not one in 1 to 1000000, as in 1/100",
        );
        let error = Filter::parse("reason qqqqqqqq").unwrap_err().to_string();
        assert!(
            error.starts_with("filter:1:8: `qqqqqqqq` is not a reason: forwarded, opened, "),
            "{error}"
        );
    }

    #[test]
    fn what_the_balancer_has_not_is_named() {
        let check = |text: &str, expected: &str| {
            let error = Filter::parse(text)
                .unwrap()
                .constants(&stored())
                .unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        };
        check(
            "service 10.0.0.10:82",
            "filter: no service 10.0.0.10:82/tcp\n  have: 10.0.0.10:80/tcp, 10.0.0.10:81/tcp",
        );
        check("backend 10.0.0.9", "filter: no backend 10.0.0.9");
        check(
            "backend 10.0.0.2:8000",
            "filter: 2 backends are 10.0.0.2:8000\n  try:  add `service …`, the backend's port, or `client 10.0.0.2` instead",
        );
    }
}
