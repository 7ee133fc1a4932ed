//! PURE: a `[[service]]` and its `[[service.backend]]`s.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use super::super::excerpt::brief;
use super::super::maglev::{MAX_SLOTS, Slots};
use super::super::service::{
    Backend, BackendKey, Forward, MAX_BACKENDS, MAX_WEIGHT, Protocol, Service, ServiceKey, State,
    Word, family, host_mac, is_host, parse_address,
};
use super::values::{Entry, Table, Wrong};

const KEYS: [&str; 7] = [
    "address",
    "port",
    "protocol",
    "mode",
    "source_ports",
    "table_slots",
    "backend",
];
const BACKEND_KEYS: [&str; 5] = ["address", "port", "mac", "weight", "state"];

/// Reads a service; its table has this size unless it says otherwise.
pub fn read(table: &Table<'_>, size: Slots) -> Result<Service, Wrong> {
    let mut address = None;
    let (mut port, mut protocol, mut forward) = (None, Protocol::Tcp, Forward::Nat);
    let (mut source_ports, mut table_slots) = (None, None);
    let mut backends = Vec::new();
    for entry in table.entries() {
        match entry.name() {
            "address" => {
                address = Some(host(
                    &entry,
                    "is no address that clients reach over a network",
                )?)
            }
            "port" => port = Some(number(&entry, u16::MAX)?),
            "protocol" => protocol = entry.word()?,
            "mode" => forward = entry.word()?,
            "source_ports" => source_ports = Some((entry.parsed(PORTS, ports)?, entry)),
            "table_slots" => table_slots = Some((super::slots(&entry)?, entry)),
            "backend" => backends = entry.tables("[[service.backend]]")?,
            _ => return Err(entry.unknown("in [[service]]", &KEYS)),
        }
    }
    let address = address.ok_or_else(|| table.lacks("address", r#"address = "10.0.0.10""#))?;
    let key = ServiceKey {
        address,
        port,
        protocol,
    };
    let source_ports = match source_ports {
        Some((_, entry)) if forward != Forward::Nat => return Err(only_nat(&entry, forward)),
        Some((ports, _)) => Some(ports),
        None => None,
    };
    if backends.is_empty() {
        let what = format!("service {key} has no backend (wanted: [[service.backend]])");
        return Err(Wrong::new(table.span.clone(), what));
    }
    let place = table_slots
        .as_ref()
        .map_or(table.span.clone(), |(_, entry)| entry.span());
    let service = Service {
        key,
        forward,
        source_ports,
        table_slots: table_slots.map_or(size, |(slots, _)| slots),
        backends: self::backends(&key, forward, &backends)?,
    };
    match room(&service) {
        Ok(()) => Ok(service),
        Err(what) => Err(Wrong::new(place, what)),
    }
}

/// Every backend needs a slot.
fn room(service: &Service) -> Result<(), String> {
    let (slots, backends) = (service.table_slots, service.backends.len());
    if slots.get() as usize >= backends {
        return Ok(());
    }
    let enough = (backends as u32..=MAX_SLOTS).find_map(Slots::new);
    let enough = enough.unwrap_or(Slots::DEFAULT);
    Err(format!(
        "service {} has {backends} backends, too many for a table of {slots} slots (`table_slots = {enough}` holds them)",
        service.key
    ))
}

fn backends(
    service: &ServiceKey,
    forward: Forward,
    tables: &[Table<'_>],
) -> Result<Vec<Backend>, Wrong> {
    if let Some(table) = tables.get(MAX_BACKENDS) {
        let what = format!("one backend too many: at most {MAX_BACKENDS} are possible");
        return Err(Wrong::new(table.span.clone(), what));
    }
    let mut seen = HashMap::with_capacity(tables.len());
    let mut backends = Vec::with_capacity(tables.len());
    for table in tables {
        let backend = backend(service, forward, table)?;
        let target = forward.target(service, &backend.key);
        if let Some(first) = seen.insert(target, table.span.start) {
            let what = format!("backend {target} of service {service}");
            return Err(Wrong::again(table.span.clone(), what, first));
        }
        backends.push(backend);
    }
    Ok(backends)
}

fn backend(service: &ServiceKey, forward: Forward, table: &Table<'_>) -> Result<Backend, Wrong> {
    let (mut address, mut port, mut mac) = (None, None, None);
    let (mut weight, mut state) = (NonZeroU16::MIN, State::Active);
    for entry in table.entries() {
        match entry.name() {
            "address" => {
                let ip = host(&entry, "is no other host's address")?;
                forward.check(service, ip).map_err(|why| entry.wrong(why))?;
                address = Some(ip);
            }
            "port" if forward == Forward::Nat => port = Some(number(&entry, u16::MAX)?),
            "port" => return Err(only_nat(&entry, forward)),
            "mac" => mac = Some(entry.parsed(r#""de:ad:be:ef:00:02""#, host_mac)?),
            "weight" => weight = number(&entry, MAX_WEIGHT)?,
            "state" => state = entry.word()?,
            _ => return Err(entry.unknown("in [[service.backend]]", &BACKEND_KEYS)),
        }
    }
    let example = match family(service.address) {
        "IPv4" => r#"address = "10.0.0.2""#,
        _ => r#"address = "fd00::2""#,
    };
    let address = address.ok_or_else(|| table.lacks("address", example))?;
    Ok(Backend {
        key: BackendKey { address, port },
        mac,
        weight,
        state,
    })
}

fn only_nat(entry: &Entry<'_>, forward: Forward) -> Wrong {
    let (key, mode) = (entry.name(), forward.name());
    entry.wrong(format!(
        "`{key}` is for mode nat; mode {mode} keeps ports as they are"
    ))
}

fn host(entry: &Entry<'_>, otherwise: &str) -> Result<IpAddr, Wrong> {
    let address = entry.parsed(r#""10.0.0.10" or "fd00::10""#, parse_address)?;
    match is_host(address) {
        true => Ok(address),
        false => Err(entry.wrong(format!("{address} {otherwise}"))),
    }
}

fn number(entry: &Entry<'_>, most: u16) -> Result<NonZeroU16, Wrong> {
    let number = entry.small(1..=most)?;
    // Not zero, as its range begins with one.
    Ok(NonZeroU16::new(number).unwrap_or(NonZeroU16::MIN))
}

/// What a range of ports looks like.
const PORTS: &str = r#""1024-32767""#;

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let port = |text| {
        super::super::service::parse_port(text)
            .ok()
            .map(NonZeroU16::get)
    };
    let range = text
        .split_once('-')
        .and_then(|(low, high)| Some(port(low)?..=port(high)?));
    match range {
        Some(range) if range.is_empty() => Err(format!(
            "`{text}` runs backwards (lowest port first, as in {PORTS})"
        )),
        Some(range) => Ok(range),
        None => Err(format!(
            "`{}` is not a range of ports ({PORTS})",
            brief(text)
        )),
    }
}
