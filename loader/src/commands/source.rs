//! Where a balancer's configuration comes from: words of the command line, a file of backends, or a TOML file.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{RunArgs, UsageError, files};
use crate::balancer::device::Device;
use crate::balancer::service::{Config, ServiceKey};
use crate::balancer::simple::{self, looks_like_address};
use crate::balancer::toml_file;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One service and its backends.
    Simple,
    /// A TOML file.
    Toml,
}

/// A place to read a configuration from, again when it changes.
#[derive(Debug, Clone)]
pub(super) struct Source {
    place: Place,
    listen: Option<ServiceKey>,
    connections: Option<u32>,
    /// What a list of backends leaves open is as it is in what runs.
    beside: Option<(ServiceKey, u32)>,
}

#[derive(Debug, Clone)]
enum Place {
    Words(Vec<String>),
    File(PathBuf),
}

/// A configuration as it was read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub config: Config,
    pub form: Form,
}

impl Source {
    /// One word that is no address is a file.
    pub(super) fn of(args: &RunArgs) -> Self {
        let place = match args.backends.as_slice() {
            [file] if !file.is_empty() && !looks_like_address(file) => Place::File(file.into()),
            words => Place::Words(words.to_vec()),
        };
        Self {
            place,
            listen: args.listen,
            connections: args.connections,
            beside: None,
        }
    }

    /// A file, with nothing said beside it.
    pub(super) fn file(path: &Path) -> Self {
        Self {
            place: Place::File(path.to_path_buf()),
            listen: None,
            connections: None,
            beside: None,
        }
    }

    /// A file that is to take the place of this configuration.
    pub(super) fn beside(path: &Path, config: &Config) -> Self {
        let beside = match config.services.as_slice() {
            [only] => Some((only.key, config.connections)),
            _ => None,
        };
        Self {
            beside,
            ..Self::file(path)
        }
    }

    /// The file, where it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Words(_) => None,
        }
    }

    /// Another file in place of this one; what the command line said stays.
    pub(super) fn moved(&self, path: PathBuf) -> Self {
        Self {
            place: Place::File(path),
            ..self.clone()
        }
    }

    /// Reads it. The service of the simple form is the interface's own address unless the command line names one.
    pub(super) fn read(&self, device: Option<&Device>) -> Result<Read> {
        let mut read = match &self.place {
            Place::Words(words) => self.simple(simple::parse_words(words)?, device)?,
            Place::File(path) => {
                let bytes = files::read(path)?;
                let name = path.to_string_lossy();
                if toml_file::is_toml(&name, &bytes) {
                    self.toml(&name, &bytes)?
                } else {
                    self.simple(simple::parse_file(&name, &bytes)?, device)?
                }
            }
        };
        if let Some(connections) = self.connections {
            read.config.connections = connections;
        }
        Ok(read)
    }

    fn toml(&self, name: &str, bytes: &[u8]) -> Result<Read> {
        let config = toml_file::parse(name, bytes)?;
        if let Some(listen) = self.listen {
            let what = format!("--listen {listen}: {name} names its services itself");
            return Err(UsageError(what).into());
        }
        Ok(Read {
            config,
            form: Form::Toml,
        })
    }

    fn simple(&self, backends: simple::Backends<'_>, device: Option<&Device>) -> Result<Read> {
        let listen = self.listen.or(self.beside.map(|(service, _)| service));
        let service = match (listen, device) {
            (Some(service), _) => service,
            (None, Some(device)) => ServiceKey {
                address: device.needed_v4()?.into(),
                port: None,
                protocol: crate::balancer::service::Protocol::Tcp,
            },
            (None, None) => return Err(UsageError(NO_SERVICE.into()).into()),
        };
        let mut config = backends.into_config(service)?;
        if let Some((_, connections)) = self.beside {
            config.connections = connections;
        }
        Ok(Read {
            config,
            form: Form::Simple,
        })
    }
}

const NO_SERVICE: &str = "a list of backends does not say what they are backends of\n  try:  --listen ADDR[:PORT][/tcp|/udp]";

/// `2 services, 5 backends`.
pub(super) fn summary(config: &Config) -> String {
    let backends: usize = config.services.iter().map(|s| s.backends.len()).sum();
    format!(
        "{}, {}",
        count(config.services.len() as u64, "service"),
        count(backends as u64, "backend")
    )
}

/// `1 backend`, `2 backends`.
pub(super) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// `--check`: reads a file, and says what is in it. Of a list of backends each line is checked, and together if it is known
/// what they are backends of.
pub(super) fn check(path: &Path, listen: Option<ServiceKey>) -> Result<String> {
    let bytes = files::read(path)?;
    let name = path.to_string_lossy();
    let source = Source {
        listen,
        ..Source::file(path)
    };
    let summary = if toml_file::is_toml(&name, &bytes) {
        summary(&source.toml(&name, &bytes)?.config)
    } else {
        let backends = simple::parse_file(&name, &bytes)?;
        let number = backends.list().len() as u64;
        if listen.is_some() {
            source.simple(backends, None)?;
        }
        count(number, "backend")
    };
    Ok(format!("{name}: {summary}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn source(words: &[&str], listen: Option<&str>) -> Source {
        let words = words
            .iter()
            .map(|word| word.to_string())
            .collect::<Vec<_>>();
        let place = match words.as_slice() {
            [file] if !looks_like_address(file) => Place::File(file.into()),
            _ => Place::Words(words),
        };
        Source {
            place,
            listen: listen.map(|text| text.parse().unwrap()),
            connections: None,
            beside: None,
        }
    }

    #[test]
    fn words_and_files() {
        let text = |words: &[&str], listen| match source(words, listen).read(None) {
            Ok(read) => summary(&read.config),
            Err(error) => format!("{error:#}"),
        };
        assert_eq!(
            text(&["10.0.0.2", "10.0.0.3"], Some("10.0.0.10")),
            "1 service, 2 backends"
        );
        assert_eq!(
            text(&["/nonexistent"], None),
            "/nonexistent: read: no such file or directory (ENOENT)"
        );
        assert_eq!(
            text(&["10.0.0.300"], None),
            "command line: `10.0.0.300` is not an IPv4 or IPv6 address"
        );
        assert_eq!(text(&["10.0.0.2"], None), NO_SERVICE);
    }

    #[test]
    fn a_file_is_checked_alone() {
        let folder = std::env::temp_dir().join(format!("xdplb-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            let shown = path.display().to_string();
            let answer = match check(&path, None) {
                Ok(text) => text,
                Err(error) => format!("{error:#}"),
            };
            answer.replace(&shown, name)
        };
        let toml =
            "[[service]]\naddress = \"10.0.0.10\"\n[[service.backend]]\naddress = \"10.0.0.2\"\n";
        assert_eq!(file("lb.toml", toml), "lb.toml: 1 service, 1 backend");
        assert_eq!(
            file("backends", "10.0.0.2\n10.0.0.3\n"),
            "backends: 2 backends"
        );
        let wrong = file("lb.toml", "services = 1\n");
        assert!(wrong.starts_with("lb.toml:1:1: "), "{wrong}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
