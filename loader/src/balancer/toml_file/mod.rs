//! PURE: the configuration file.
//!
//! ```toml
//! connections = 1000000              # room for flows
//!
//! [[service]]
//! address = "10.0.0.10"
//! port = 80                          # left out: every port
//! protocol = "tcp"                   # or udp
//! mode = "nat"                       # or dsr, ipip
//!
//! [[service.backend]]
//! address = "10.0.0.2"
//! port = 8000                        # left out: the packet's own
//! weight = 2
//! state = "active"                   # or draining, down
//! ```

mod service;
mod values;

use std::collections::HashMap;

use toml::de::DeTable;

use super::excerpt::{ConfigError, Place, Source};
use super::maglev::{MAX_SLOTS, Slots};
use super::service::{CONNECTIONS, Config, Encap, MAX_CONNECTIONS, Service};
use values::{Entry, Table, Wrong};

const KEYS: [&str; 4] = ["connections", "table_slots", "encap", "service"];
const ENCAP_KEYS: [&str; 2] = ["source4", "source6"];

/// Reads a configuration file; `name` is what errors call it.
///
/// # Errors
/// The first thing that is wrong, with line, column and mark.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Config, ConfigError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        ConfigError::of(name, format!("not a text file: byte {at} is not UTF-8"))
    })?;
    let source = Source {
        name,
        text,
        place: Place::Column,
    };
    let root = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        source.error(span, format!("not TOML: {}", error.message()))
    })?;
    config(&Table::root(&root)).map_err(|Wrong { span, what, first }| {
        let first = first.map(|at| format!(", first in line {}", source.line(at)));
        match span.is_empty() && first.is_none() {
            // About the file, not about a place in it.
            true => ConfigError::of(name, what),
            false => source.error(span, what + &first.unwrap_or_default()),
        }
    })
}

/// Whether a file is one of these rather than a list of backends: by its name, or by what it begins with.
pub fn is_toml(name: &str, bytes: &[u8]) -> bool {
    let extension = std::path::Path::new(name).extension();
    if extension.is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
        return true;
    }
    let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let code = |line: &&[u8]| !line.is_empty() && !line.starts_with(b"#");
    lines.filter(code).take(1).any(|line| {
        let mut words = line.splitn(2, |&byte| byte == b'=');
        let key = words.next().unwrap_or_default().trim_ascii();
        let assigned = words.next().is_some() && KEYS.iter().any(|known| known.as_bytes() == key);
        let header = |name: &str| {
            let rest = line.strip_prefix(b"[").unwrap_or_default();
            let rest = rest.strip_prefix(b"[").unwrap_or(rest).trim_ascii_start();
            rest.starts_with(name.as_bytes())
        };
        assigned || KEYS.into_iter().any(header)
    })
}

fn config(root: &Table<'_>) -> Result<Config, Wrong> {
    let mut config = Config {
        services: Vec::new(),
        connections: CONNECTIONS,
        encap: Encap::default(),
    };
    let mut size = Slots::DEFAULT;
    let mut services = None;
    for entry in root.entries() {
        match entry.name() {
            "connections" => config.connections = entry.number(1..=MAX_CONNECTIONS)?,
            "table_slots" => size = slots(&entry)?,
            "encap" => config.encap = encap(&entry.table()?)?,
            "service" => services = Some(entry.tables("[[service]]")?),
            _ => return Err(entry.unknown("at the top", &KEYS)),
        }
    }
    // From here on the size that services have by default is known, wherever it was written.
    let services = services.filter(|services| !services.is_empty());
    let services = services
        .ok_or_else(|| Wrong::new(0..0, "no service in it (wanted: [[service]])".into()))?;
    let mut seen = HashMap::with_capacity(services.len());
    for table in &services {
        let service: Service = service::read(table, size)?;
        if let Some(first) = seen.insert(service.key, table.span.start) {
            let what = format_args!("service {}", service.key).to_string();
            return Err(Wrong::again(table.span.clone(), what, first));
        }
        config.services.push(service);
    }
    Ok(config)
}

fn encap(table: &Table<'_>) -> Result<Encap, Wrong> {
    let mut encap = Encap::default();
    for entry in table.entries() {
        match entry.name() {
            "source4" => encap.source4 = entry.parsed(r#""172.16.0.0/16""#, str::parse)?,
            "source6" => encap.source6 = entry.parsed(r#""100::/64""#, str::parse)?,
            _ => return Err(entry.unknown("in [encap]", &ENCAP_KEYS)),
        }
    }
    Ok(encap)
}

/// The size of a Maglev table.
fn slots(entry: &Entry<'_>) -> Result<Slots, Wrong> {
    let count = entry.number(2..=MAX_SLOTS)?;
    Slots::new(count).ok_or_else(|| {
        let near = match Slots::around(count) {
            (Some(below), Some(above)) => format!("{below} or {above}"),
            (Some(only), None) | (None, Some(only)) => only.to_string(),
            (None, None) => String::new(),
        };
        entry.wrong(format!(
            "`table_slots` must be a prime, such as {near}, not {count}"
        ))
    })
}

#[cfg(test)]
mod tests;
