//! PURE: what another configuration would change: services, backends, table slots, flows.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use serde::Serialize;

use super::before::{Before, Live};
use super::maglev::{self, Disruption, disruption};
use super::service::{
    Backend, BackendKey, Config, Service, ServiceKey, State, Word as _, show_mac,
};

/// What happens to a service or a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It is new.
    Added,
    /// It goes.
    Removed,
    /// It stays, with something else about it.
    Changed,
}

/// A backend that does not stay as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackendChange {
    /// `10.0.0.2:8000`.
    pub backend: String,
    /// What happens.
    pub what: What,
    /// What changes: `weight 1 to 5`.
    pub changes: Vec<String>,
    /// Live flows that end with it.
    pub flows_ending: u64,
}

/// A service that does not stay as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceChange {
    /// `10.0.0.10:80/tcp`.
    pub service: String,
    /// What happens.
    pub what: What,
    /// What changes beside its backends.
    pub changes: Vec<String>,
    /// Its backends that do not stay as they are.
    pub backends: Vec<BackendChange>,
    /// Which share of its table's slots goes to another backend since theirs takes part no more.
    pub slots_removed: f64,
    /// Which share goes to another backend though theirs still takes part.
    pub slots_moved: f64,
    /// Its live flows.
    pub flows: u64,
    /// Those that end.
    pub flows_ending: u64,
}

/// All that changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Diff {
    /// What is not any one service's: the source addresses of tunnels, the room for flows.
    pub changes: Vec<String>,
    /// Services, in the order of their keys.
    pub services: Vec<ServiceChange>,
}

impl Diff {
    /// How many backends are added, removed and changed.
    pub fn backends(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for change in self.services.iter().flat_map(|service| &service.backends) {
            counts[change.what as usize] += 1;
        }
        counts
    }

    /// Live flows that end.
    pub fn flows_ending(&self) -> u64 {
        self.services
            .iter()
            .map(|service| service.flows_ending)
            .sum()
    }
}

/// Compares a configuration that runs with the next one, whose states `live` goes over. `own_ports` are the source ports of a
/// service that names none.
pub fn diff(
    old: &Config,
    new: &Config,
    live: &Live,
    own_ports: &RangeInclusive<u16>,
    before: &Before,
) -> Diff {
    let mut diff = Diff {
        changes: global(old, new),
        services: Vec::new(),
    };
    let old: HashMap<ServiceKey, &Service> = by_key(old);
    let mut keys: Vec<ServiceKey> = old.keys().copied().collect();
    let new_keys = by_key(new);
    keys.extend(new_keys.keys().filter(|key| !old.contains_key(key)));
    keys.sort();
    for key in keys {
        let next = new_keys.get(&key).map(|service| with_live(service, live));
        let change = service(
            key,
            old.get(&key).copied(),
            next.as_ref(),
            own_ports,
            before,
        );
        diff.services.extend(change);
    }
    diff
}

fn by_key(config: &Config) -> HashMap<ServiceKey, &Service> {
    config
        .services
        .iter()
        .map(|service| (service.key, service))
        .collect()
}

fn with_live(service: &Service, live: &Live) -> Service {
    let mut service = service.clone();
    for backend in &mut service.backends {
        if let Some(state) = live.get(&(service.key, backend.key)) {
            backend.state = *state;
        }
    }
    service
}

fn global(old: &Config, new: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    changed(
        &mut changes,
        "connections",
        old.connections,
        new.connections,
    );
    let (old, new) = (old.encap, new.encap);
    changed(&mut changes, "encap.source4", old.source4, new.source4);
    changed(&mut changes, "encap.source6", old.source6, new.source6);
    changes
}

fn changed<T: PartialEq + std::fmt::Display>(list: &mut Vec<String>, what: &str, old: T, new: T) {
    if old != new {
        list.push(format!("{what} {old} to {new}"));
    }
}

fn service(
    key: ServiceKey,
    old: Option<&Service>,
    new: Option<&Service>,
    own_ports: &RangeInclusive<u16>,
    before: &Before,
) -> Option<ServiceChange> {
    let id = before.services.get(&key).copied();
    let backends = backends(id, old, new, before);
    let changes = match (old, new) {
        (Some(old), Some(new)) => settings(old, new, own_ports),
        (None, _) | (_, None) => Vec::new(),
    };
    let what = match (old, new) {
        (None, Some(_)) => What::Added,
        (Some(_), None) => What::Removed,
        (Some(_), Some(_)) if !backends.is_empty() || !changes.is_empty() => What::Changed,
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let slots = slots(old, new);
    Some(ServiceChange {
        service: key.to_string(),
        what,
        changes,
        slots_removed: slots.removed,
        slots_moved: slots.others,
        flows: id.map_or(0, |id| before.census.of_service(id)),
        flows_ending: backends.iter().map(|backend| backend.flows_ending).sum(),
        backends,
    })
}

fn settings(old: &Service, new: &Service, own_ports: &RangeInclusive<u16>) -> Vec<String> {
    let mut changes = Vec::new();
    changed(&mut changes, "mode", old.forward.name(), new.forward.name());
    let ports = |service: &Service| {
        let ports = service.source_ports.as_ref().unwrap_or(own_ports);
        format!("{}-{}", ports.start(), ports.end())
    };
    changed(&mut changes, "source_ports", ports(old), ports(new));
    changed(
        &mut changes,
        "table_slots",
        old.table_slots,
        new.table_slots,
    );
    changes
}

/// Tables that stay are not built.
fn slots(old: Option<&Service>, new: Option<&Service>) -> Disruption {
    let (Some(old), Some(new)) = (old, new) else {
        return Disruption::NONE;
    };
    let (before, after) = (old.members(), new.members());
    if before == after && old.table_slots == new.table_slots {
        return Disruption::NONE;
    }
    let tables = [
        maglev::build(&before, old.table_slots),
        maglev::build(&after, new.table_slots),
    ];
    disruption((&before, &tables[0]), (&after, &tables[1]))
}

fn backends(
    id: Option<u32>,
    old: Option<&Service>,
    new: Option<&Service>,
    before: &Before,
) -> Vec<BackendChange> {
    let list = |service: Option<&Service>| -> HashMap<BackendKey, Backend> {
        let backends = service
            .map(|service| service.backends.as_slice())
            .unwrap_or_default();
        backends
            .iter()
            .map(|backend| (backend.key, backend.clone()))
            .collect()
    };
    let (old, new) = (list(old), list(new));
    let mut keys: Vec<BackendKey> = old.keys().copied().collect();
    keys.extend(new.keys().filter(|key| !old.contains_key(key)));
    keys.sort_by_key(BackendKey::identity);
    let numbers = before.backend_ids();
    let flows = |key: BackendKey| {
        let number = id.and_then(|id| numbers.get(&(id, key)));
        number.map_or(0, |number| before.census.of_backend(*number))
    };
    let change = |key: BackendKey| {
        let (what, changes, ends) = match (old.get(&key), new.get(&key)) {
            (None, Some(_)) => (What::Added, Vec::new(), false),
            (Some(_), None) => (What::Removed, Vec::new(), true),
            (Some(old), Some(new)) => {
                let changes = of_backend(old, new);
                if changes.is_empty() {
                    return None;
                }
                (What::Changed, changes, new.state == State::Down)
            }
            (None, None) => return None,
        };
        Some(BackendChange {
            backend: key.to_string(),
            what,
            changes,
            flows_ending: if ends { flows(key) } else { 0 },
        })
    };
    keys.into_iter().filter_map(change).collect()
}

fn of_backend(old: &Backend, new: &Backend) -> Vec<String> {
    let mut changes = Vec::new();
    changed(&mut changes, "weight", old.weight, new.weight);
    changed(&mut changes, "state", old.state.name(), new.state.name());
    let mac = |backend: &Backend| backend.mac.map_or("asked for".into(), show_mac);
    changed(&mut changes, "mac", mac(old), mac(new));
    changes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::simple;
    use super::*;

    fn config(service: &str, words: &[&str]) -> Config {
        let backends = simple::parse_words(words).unwrap();
        backends.into_config(service.parse().unwrap()).unwrap()
    }

    fn compare(old: &Config, new: &Config) -> Diff {
        diff(old, new, &Live::new(), &(1024..=32_767), &Before::default())
    }

    #[test]
    fn nothing_changes_where_nothing_does() {
        let one = config("10.0.0.10:80", &["10.0.0.2", "10.0.0.3"]);
        let other = config("10.0.0.10:80", &["10.0.0.3", "10.0.0.2"]);
        let mut said = other.clone();
        said.services[0].source_ports = Some(1024..=32_767);
        assert_eq!(compare(&one, &other), Diff::default());
        assert_eq!(compare(&one, &said), Diff::default());
    }

    #[test]
    fn each_change_is_named() {
        let old = config("10.0.0.10:80", &["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
        let mut new = config(
            "10.0.0.10:80",
            &["10.0.0.2", "weight=5", "10.0.0.4", "10.0.0.5"],
        );
        new.connections = 7;
        new.services
            .push(config("10.0.0.11:80", &["10.0.0.2"]).services.remove(0));
        let diff = compare(&old, &new);
        assert_eq!(diff.changes, ["connections 65536 to 7"]);
        let [changed, added] = diff.services.as_slice() else {
            panic!("{diff:?}")
        };
        assert_eq!(
            (added.what, added.service.as_str()),
            (What::Added, "10.0.0.11:80/tcp")
        );
        let backends: Vec<String> = changed
            .backends
            .iter()
            .map(|b| format!("{:?} {} {}", b.what, b.backend, b.changes.join(", ")))
            .collect();
        assert_eq!(
            backends,
            [
                "Changed 10.0.0.2 weight 1 to 5",
                "Removed 10.0.0.3 ",
                "Added 10.0.0.5 "
            ]
        );
        assert!((0.32..0.35).contains(&changed.slots_removed), "{changed:?}");
        assert!(changed.slots_moved > 0.1, "{changed:?}");
        assert_eq!(diff.backends(), [2, 1, 1]);
    }

    #[test]
    fn live_states_go_over_the_files() {
        let old = config("10.0.0.10:80", &["10.0.0.2", "10.0.0.3"]);
        let place = (old.services[0].key, old.services[0].backends[1].key);
        let live = Live::from([(place, State::Down)]);
        let diff = diff(&old, &old, &live, &(1024..=32_767), &Before::default());
        assert_eq!(
            diff.services[0].backends[0].changes,
            ["state active to down"]
        );
    }
}
