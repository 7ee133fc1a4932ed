//! PURE: the backends of one service, from a file or from the command line: `IP [MAC] [key=value…]`.
//!
//! ```text
//! # a backend a line
//! 10.0.0.2 de:ad:be:ef:00:02
//! 10.0.0.3                    # its MAC is asked of the neighbour table
//! fd00::4 port=8000 weight=2 state=draining
//! ```

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

use super::excerpt::{ConfigError, Place, Source, brief, nearest};
use super::service::{
    Backend, BackendKey, CONNECTIONS, Config, Encap, Forward, MAX_BACKENDS, MAX_WEIGHT, Service,
    ServiceKey, State, Word as _, host_mac, is_host, parse_address, parse_port,
};

/// What the command line is called in errors.
const COMMAND_LINE: &str = "command line";
/// What a line is, as errors say it.
const LINE: &str = "a line is `IP [MAC] [key=value…]`";
/// The keys there are.
const KEYS: [&str; 3] = ["weight", "port", "state"];

/// Backends and where each was written: what they are backends of is known only later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backends<'t> {
    backends: Vec<Backend>,
    /// Where each begins, in the file.
    places: Vec<Range<usize>>,
    origin: Origin<'t>,
}

/// Where words come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin<'t> {
    CommandLine,
    File { name: &'t str, text: &'t str },
}

impl Origin<'_> {
    fn error(&self, span: Range<usize>, what: String) -> ConfigError {
        match self {
            Self::CommandLine => ConfigError::of(COMMAND_LINE, what),
            Self::File { name, text } => source(name, text).error(span, what),
        }
    }

    fn place(&self, at: usize) -> String {
        match self {
            Self::CommandLine => "on the command line".into(),
            Self::File { name, text } => format!("in line {}", source(name, text).line(at)),
        }
    }
}

fn source<'t>(name: &'t str, text: &'t str) -> Source<'t> {
    Source {
        name,
        text,
        place: Place::Line,
    }
}

impl Backends<'_> {
    /// In the order they were written in; never none.
    pub fn list(&self) -> &[Backend] {
        &self.backends
    }

    /// No two of them may be the same in this sense.
    fn check_twice(&self, target: impl Fn(&BackendKey) -> BackendKey) -> Result<(), ConfigError> {
        let mut seen = HashMap::with_capacity(self.backends.len());
        for (backend, place) in self.backends.iter().zip(&self.places) {
            let target = target(&backend.key);
            if let Some(first) = seen.insert(target, place.start) {
                let first = self.origin.place(first);
                let what = format!("backend {target} is listed twice, first {first}");
                return Err(self.origin.error(place.clone(), what));
            }
        }
        Ok(())
    }

    /// An error about one of them, by its place in the list.
    pub fn error(&self, index: usize, what: String) -> ConfigError {
        let place = self.places.get(index).cloned();
        self.origin.error(place.unwrap_or_default(), what)
    }

    /// Makes them the backends of a service, in mode nat.
    ///
    /// # Errors
    /// The first that this service cannot have: it is of another family, the service itself, or one that it has.
    pub fn into_config(self, service: ServiceKey) -> Result<Config, ConfigError> {
        for (backend, place) in self.backends.iter().zip(&self.places) {
            Forward::Nat
                .check(&service, backend.key.address)
                .map_err(|why| self.origin.error(place.clone(), why))?;
        }
        self.check_twice(|key| Forward::Nat.target(&service, key))?;
        Ok(Config {
            services: vec![Service::new(service, self.backends)],
            connections: CONNECTIONS,
            encap: Encap::default(),
        })
    }
}

/// A word and where it stands.
#[derive(Clone)]
struct Word<'t> {
    text: &'t str,
    span: Range<usize>,
    origin: Origin<'t>,
}

impl Word<'_> {
    fn error(&self, what: String) -> ConfigError {
        self.origin.error(self.span.clone(), what)
    }

    fn shown(&self) -> String {
        brief(self.text)
    }
}

/// Reads `IP [MAC] [key=value…] IP …` as it stands on the command line.
///
/// # Errors
/// The first word that is none of these, a duplicate, an address no backend can have, none or too many.
pub fn parse_words<S: AsRef<str>>(words: &[S]) -> Result<Backends<'static>, ConfigError> {
    let mut list = List::default();
    for text in words {
        let text = text.as_ref();
        let word = Word {
            text,
            span: 0..0,
            origin: Origin::CommandLine,
        };
        if text.contains('=') {
            list.set(&word)?;
        } else if looks_like_mac(text) {
            list.add_mac(&word)?;
        } else {
            list.add_ip(&word)?;
        }
    }
    list.finish(Origin::CommandLine, COMMAND_LINE)
}

/// Reads a backends file; `name` is what errors call it.
///
/// # Errors
/// As [`parse_words`], with line and mark.
pub fn parse_file<'t>(name: &'t str, bytes: &'t [u8]) -> Result<Backends<'t>, ConfigError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let what = format!(
            "not a text file: byte {} is not UTF-8 (wanted: a backend a line, `IP [MAC]`)",
            error.valid_up_to()
        );
        ConfigError::of(name, what)
    })?;
    let origin = Origin::File { name, text };
    let mut list = List::default();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or_default();
        for (index, word) in split(origin, at, code).iter().enumerate() {
            match index {
                0 => list.add_ip(word)?,
                _ if word.text.contains('=') => list.set(word)?,
                1 => list.add_mac(word)?,
                _ => {
                    let what = format!("`{}` is one word too many ({LINE})", word.shown());
                    return Err(word.error(what));
                }
            }
        }
        at += line.len();
    }
    list.finish(origin, name)
}

/// The words of a line that begins at that byte of the file.
fn split<'t>(origin: Origin<'t>, at: usize, code: &'t str) -> Vec<Word<'t>> {
    let word = |text: &'t str| {
        let start = at + (text.as_ptr() as usize - code.as_ptr() as usize);
        let span = start..start + text.len();
        Word { text, span, origin }
    };
    code.split_whitespace().map(word).collect()
}

/// The backends so far; what follows an address is the last one's.
#[derive(Default)]
struct List {
    backends: Vec<Backend>,
    places: Vec<Range<usize>>,
}

impl List {
    fn add_ip(&mut self, word: &Word<'_>) -> Result<(), ConfigError> {
        let address = parse_ip(word)?;
        if self.backends.len() >= MAX_BACKENDS {
            return Err(word.error(format!(
                "one backend too many: at most {MAX_BACKENDS} are possible"
            )));
        }
        let key = BackendKey {
            address,
            port: None,
        };
        self.backends.push(Backend::new(key));
        self.places.push(word.span.clone());
        Ok(())
    }

    fn add_mac(&mut self, word: &Word<'_>) -> Result<(), ConfigError> {
        let mac = host_mac(word.text).map_err(|why| word.error(why))?;
        match self.backends.last_mut() {
            Some(backend) if backend.mac.is_none() => backend.mac = Some(mac),
            _ => return Err(word.error(format!("MAC {} follows no IP address", word.shown()))),
        }
        Ok(())
    }

    fn set(&mut self, word: &Word<'_>) -> Result<(), ConfigError> {
        let (key, value) = word.text.split_once('=').unwrap_or((word.text, ""));
        let shown = brief(value);
        let Some(backend) = self.backends.last_mut() else {
            return Err(word.error(format!("`{}` follows no IP address", word.shown())));
        };
        let done = match key {
            "weight" => weight(value).map(|weight| backend.weight = weight),
            "port" => parse_port(value).map(|port| backend.key.port = Some(port)),
            "state" => State::find(value)
                .map(|state| backend.state = state)
                .ok_or_else(|| format!("`{shown}` is not a state (active, draining, down)")),
            _ => Err(unknown(key)),
        };
        done.map_err(|why| word.error(why))
    }

    fn finish<'t>(self, origin: Origin<'t>, name: &str) -> Result<Backends<'t>, ConfigError> {
        if self.backends.is_empty() {
            let what = "no backend in it (wanted: a backend a line, `IP [MAC]`)";
            return Err(ConfigError::of(name, what.into()));
        }
        let backends = Backends {
            backends: self.backends,
            places: self.places,
            origin,
        };
        // Only now, since a port may follow its address.
        backends.check_twice(|key| *key)?;
        Ok(backends)
    }
}

fn weight(text: &str) -> Result<std::num::NonZeroU16, String> {
    let weight = parse_port(text).ok().filter(|w| w.get() <= MAX_WEIGHT);
    weight.ok_or_else(|| format!("`{}` is not a weight (1 to {MAX_WEIGHT})", brief(text)))
}

fn unknown(key: &str) -> String {
    let shown = brief(key);
    match nearest(key, &KEYS) {
        Some(name) => format!("unknown key `{shown}`: did you mean `{name}`?"),
        None => format!("unknown key `{shown}` (there are {})", KEYS.join(", ")),
    }
}

fn parse_ip(word: &Word<'_>) -> Result<IpAddr, ConfigError> {
    let address = parse_address(word.text).map_err(|why| {
        let key: Option<BackendKey> = word.text.parse().ok();
        let hint =
            key.and_then(|key| Some(format!(": write `{} port={}`", key.address, key.port?)));
        word.error(why + &hint.unwrap_or_default())
    })?;
    if !is_host(address) {
        return Err(word.error(format!("{address} is no other host's address")));
    }
    Ok(address)
}

/// Whether a word is meant as a MAC rather than an IP: colons or dashes between bytes.
fn looks_like_mac(text: &str) -> bool {
    let bytes = |separator| {
        text.split(separator)
            .all(|byte| (1..=2).contains(&byte.len()))
    };
    text.parse::<IpAddr>().is_err() && text.contains(':') && bytes(':')
        || text.matches('-').count() == 5
}

/// Whether a word is an address, and not a file's name.
pub fn looks_like_address(text: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
    text.parse::<BackendKey>().is_ok()
        || text.parse::<IpAddr>().is_ok()
        || looks_like_mac(text)
        || !text.is_empty() && text.chars().all(digits)
}

#[cfg(test)]
mod tests;
