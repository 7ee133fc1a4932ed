//! PURE: a change of one backend, as a command asks for it.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::before::Live;
use super::service::{
    Backend, BackendKey, Config, MAX_BACKENDS, MAX_WEIGHT, Service, ServiceKey, State, host_mac,
};

/// What to do with the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// No new flows; old ones go on
    Drain,
    /// New flows again
    Activate,
    /// No flows: old ones are reset
    Down,
    /// A new backend
    Add,
    /// No longer a backend: its flows are reset
    Remove,
}

/// The change, in words: so it travels from a command to the one that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What to do.
    pub action: Action,
    /// `10.0.0.10:80/tcp`.
    pub service: String,
    /// `10.0.0.2:8000`.
    pub backend: String,
    /// For a new one.
    pub weight: Option<u16>,
    /// For a new one.
    pub mac: Option<String>,
}

impl Change {
    /// Makes it in a configuration and the states that go over it.
    ///
    /// # Errors
    /// Why it makes no sense there.
    pub fn apply(&self, config: &mut Config, live: &mut Live) -> Result<(), String> {
        let key: ServiceKey = self.service.parse()?;
        let backend: BackendKey = self.backend.parse()?;
        if self.action != Action::Add && (self.weight.is_some() || self.mac.is_some()) {
            return Err("a weight and a MAC are for a backend that is added".into());
        }
        let known: Vec<String> = config.services.iter().map(|s| s.key.to_string()).collect();
        let service = config
            .services
            .iter_mut()
            .find(|service| service.key == key);
        let service = service.ok_or_else(|| no_such(&format!("service {key}"), &known))?;
        let found = service.backends.iter().position(|one| one.key == backend);
        let state = match (self.action, found) {
            (Action::Add, Some(_)) => {
                return Err(format!("{key} has backend {backend} already"));
            }
            (Action::Add, None) => {
                service.backends.push(self.new_backend(service, backend)?);
                return Ok(());
            }
            (_, None) => {
                let known: Vec<String> = service
                    .backends
                    .iter()
                    .map(|one| one.key.to_string())
                    .collect();
                return Err(no_such(&format!("{key}: backend {backend}"), &known));
            }
            (Action::Remove, Some(_)) if service.backends.len() == 1 => {
                return Err(format!(
                    "{backend} is the last backend of {key}, which cannot be without\n  try:  down in place of remove"
                ));
            }
            (Action::Remove, Some(index)) => {
                service.backends.remove(index);
                live.remove(&(key, backend));
                return Ok(());
            }
            (Action::Drain, Some(_)) => State::Draining,
            (Action::Activate, Some(_)) => State::Active,
            (Action::Down, Some(_)) => State::Down,
        };
        live.insert((key, backend), state);
        Ok(())
    }

    fn new_backend(&self, service: &Service, key: BackendKey) -> Result<Backend, String> {
        service.forward.check(&service.key, key.address)?;
        if service.backends.len() >= MAX_BACKENDS {
            return Err(format!(
                "{} has {MAX_BACKENDS} backends, the most there can be",
                service.key
            ));
        }
        let mut backend = Backend::new(key);
        if let Some(weight) = self.weight {
            let weight = NonZeroU16::new(weight).filter(|weight| weight.get() <= MAX_WEIGHT);
            backend.weight = weight.ok_or_else(|| format!("a weight is from 1 to {MAX_WEIGHT}"))?;
        }
        backend.mac = self.mac.as_deref().map(host_mac).transpose()?;
        Ok(backend)
    }
}

/// More names than these are not listed.
const LISTED: usize = 10;

fn no_such(what: &str, known: &[String]) -> String {
    let more = match known.len().checked_sub(LISTED) {
        Some(more @ 1..) => format!(" and {more} more"),
        Some(0) | None => String::new(),
    };
    let known = known[..known.len().min(LISTED)].join(", ");
    format!("{what}: there is none\n  have: {known}{more}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::simple;
    use super::*;

    fn apply(action: Action, service: &str, backend: &str) -> Result<(Config, Live), String> {
        let backends = simple::parse_words(&["10.0.0.2", "10.0.0.3"]).unwrap();
        let mut config = backends
            .into_config("10.0.0.10:80".parse().unwrap())
            .unwrap();
        let mut live = Live::new();
        let change = Change {
            action,
            service: service.into(),
            backend: backend.into(),
            weight: (action == Action::Add).then_some(5),
            mac: None,
        };
        change.apply(&mut config, &mut live)?;
        Ok((config, live))
    }

    #[test]
    fn states_go_over_the_configuration_and_backends_into_it() {
        let (config, live) = apply(Action::Drain, "10.0.0.10:80/tcp", "10.0.0.3").unwrap();
        let place = (config.services[0].key, config.services[0].backends[1].key);
        assert_eq!(live, Live::from([(place, State::Draining)]));
        assert_eq!(config.services[0].backends[1].state, State::Active);
        let (config, _) = apply(Action::Add, "10.0.0.10:80", "10.0.0.4:8000").unwrap();
        assert_eq!(config.services[0].backends[2].weight.get(), 5);
        let (config, _) = apply(Action::Remove, "10.0.0.10:80", "10.0.0.2").unwrap();
        assert_eq!(config.services[0].backends.len(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let text = |action, service, backend| apply(action, service, backend).unwrap_err();
        assert_eq!(
            text(Action::Drain, "10.0.0.11:80", "10.0.0.2"),
            "service 10.0.0.11:80/tcp: there is none\n  have: 10.0.0.10:80/tcp"
        );
        assert_eq!(
            text(Action::Drain, "10.0.0.10:80", "10.0.0.4"),
            "10.0.0.10:80/tcp: backend 10.0.0.4: there is none\n  have: 10.0.0.2, 10.0.0.3"
        );
        assert_eq!(
            text(Action::Add, "10.0.0.10:80", "10.0.0.2"),
            "10.0.0.10:80/tcp has backend 10.0.0.2 already"
        );
        assert_eq!(
            text(Action::Add, "10.0.0.10:80", "fd00::2"),
            "fd00::2 is an IPv6 address, and mode nat keeps the family of 10.0.0.10:80/tcp"
        );
        let mut alone = simple::parse_words(&["10.0.0.2"])
            .unwrap()
            .into_config("10.0.0.10:80".parse().unwrap())
            .unwrap();
        let change = Change {
            action: Action::Remove,
            service: "10.0.0.10:80".into(),
            backend: "10.0.0.2".into(),
            weight: None,
            mac: None,
        };
        assert_eq!(
            change.apply(&mut alone, &mut Live::new()).unwrap_err(),
            "10.0.0.2 is the last backend of 10.0.0.10:80/tcp, which cannot be without\n  try:  down in place of remove"
        );
        let weighed = Change {
            action: Action::Drain,
            weight: Some(3),
            ..change
        };
        assert_eq!(
            weighed.apply(&mut alone, &mut Live::new()).unwrap_err(),
            "a weight and a MAC are for a backend that is added"
        );
    }
}
