//! PURE: the backends, from a file or from the command line.
//!
//! ```text
//! # a backend a line: IP [MAC]
//! 10.0.0.2 de:ad:be:ef:00:02
//! 10.0.0.3                    # its MAC is asked of the neighbour table
//! ```

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use xdplb_prog::abi::{MAX_BACKENDS, Mac};

/// A backend as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Where its frames go; None: to be asked of the neighbour table.
    pub mac: Option<Mac>,
}

/// What is wrong with a list of backends, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}{excerpt}")]
pub struct ConfigError {
    /// `FILE:LINE`, or `command line`.
    place: String,
    what: String,
    excerpt: Excerpt,
}

/// The line and a mark under the word in question; nothing for the command line.
#[derive(Debug, PartialEq, Eq)]
struct Excerpt(Option<(usize, String, usize, usize)>);

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((number, line, column, width)) = &self.0 else {
            return Ok(());
        };
        let gutter = number.to_string();
        let indent = " ".repeat(gutter.len());
        let carets = "^".repeat((*width).max(1));
        write!(
            f,
            "\n  {gutter} | {line}\n  {indent} | {}{carets}",
            " ".repeat(*column)
        )
    }
}

/// A word and where it stands.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    source: Source<'a>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    CommandLine,
    File {
        name: &'a str,
        number: usize,
        line: &'a str,
        column: usize,
    },
}

impl Word<'_> {
    fn error(&self, what: String) -> ConfigError {
        match self.source {
            Source::CommandLine => ConfigError {
                place: "command line".into(),
                what,
                excerpt: Excerpt(None),
            },
            Source::File {
                name,
                number,
                line,
                column,
            } => ConfigError {
                place: format!("{name}:{number}"),
                what,
                // A terminal would run control characters, and a tab would shift the mark.
                excerpt: Excerpt(Some((
                    number,
                    line.chars()
                        .map(|c| if c.is_control() { ' ' } else { c })
                        .collect(),
                    column,
                    self.text.chars().count(),
                ))),
            },
        }
    }

    fn place(&self) -> String {
        match self.source {
            Source::CommandLine => "on the command line".into(),
            Source::File { number, .. } => format!("in line {number}"),
        }
    }

    fn shown(&self) -> String {
        self.text.escape_debug().to_string()
    }
}

/// Reads `IP [MAC] IP [MAC] …` as it stands on the command line.
///
/// # Errors
/// The first word that is neither, a duplicate, an address no backend can have, none or too many.
pub fn parse_words<S: AsRef<str>>(words: &[S]) -> Result<Vec<Backend>, ConfigError> {
    let mut list = List::default();
    for text in words {
        let word = Word {
            text: text.as_ref(),
            source: Source::CommandLine,
        };
        if looks_like_mac(word.text) {
            list.add_mac(word)?;
        } else {
            list.add_ip(word)?;
        }
    }
    list.finish("command line")
}

/// Reads a backends file; `name` is what errors call it.
///
/// # Errors
/// As [`parse_words`], with line and mark.
pub fn parse_file(name: &str, bytes: &[u8]) -> Result<Vec<Backend>, ConfigError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ConfigError {
        place: name.into(),
        what: format!(
            "not a text file: byte {} is not UTF-8 (wanted: a backend a line, `IP [MAC]`)",
            error.valid_up_to()
        ),
        excerpt: Excerpt(None),
    })?;
    let mut list = List::default();
    for (index, line) in text.lines().enumerate() {
        let code = line.split('#').next().unwrap_or_default();
        let words = split(name, index + 1, line, code);
        let Some((first, rest)) = words.split_first() else {
            continue;
        };
        list.add_ip(*first)?;
        for (index, word) in rest.iter().enumerate() {
            if index == 0 && !word.text.contains('=') {
                list.add_mac(*word)?;
            } else if let Some((key, _)) = word.text.split_once('=') {
                let key = key.escape_debug();
                return Err(word.error(format!("unknown key `{key}` (a line is `IP [MAC]`)")));
            } else {
                return Err(word.error(format!(
                    "`{}` is one word too many (a line is `IP [MAC]`)",
                    word.shown()
                )));
            }
        }
    }
    list.finish(name)
}

fn split<'a>(name: &'a str, number: usize, line: &'a str, code: &'a str) -> Vec<Word<'a>> {
    let mut words = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
        let word = &rest[start..];
        let end = word.find(char::is_whitespace).unwrap_or(word.len());
        let text = &word[..end];
        let column = code[..code.len() - word.len()].chars().count();
        words.push(Word {
            text,
            source: Source::File {
                name,
                number,
                line,
                column,
            },
        });
        rest = &word[end..];
    }
    words
}

#[derive(Default)]
struct List {
    backends: Vec<Backend>,
    seen: HashMap<Ipv4Addr, String>,
}

impl List {
    fn add_ip(&mut self, word: Word<'_>) -> Result<(), ConfigError> {
        let ip = parse_ip(&word)?;
        if let Some(place) = self.seen.get(&ip) {
            return Err(word.error(format!("backend {ip} is listed twice, first {place}")));
        }
        if self.backends.len() >= MAX_BACKENDS as usize {
            return Err(word.error(format!(
                "one backend too many: at most {MAX_BACKENDS} are possible"
            )));
        }
        self.seen.insert(ip, word.place());
        self.backends.push(Backend { ip, mac: None });
        Ok(())
    }

    fn add_mac(&mut self, word: Word<'_>) -> Result<(), ConfigError> {
        let mac = parse_mac(word.text).ok_or_else(|| {
            word.error(format!(
                "`{}` is not a MAC address (six hexadecimal bytes, de:ad:be:ef:00:02)",
                word.shown()
            ))
        })?;
        if mac[0] & 1 != 0 || mac == [0; 6] {
            return Err(word.error(format!("{} is no single host's MAC address", show_mac(mac))));
        }
        match self.backends.last_mut() {
            Some(backend) if backend.mac.is_none() => backend.mac = Some(mac),
            _ => return Err(word.error(format!("MAC {} follows no IP address", show_mac(mac)))),
        }
        Ok(())
    }

    fn finish(self, place: &str) -> Result<Vec<Backend>, ConfigError> {
        if self.backends.is_empty() {
            return Err(ConfigError {
                place: place.into(),
                what: "no backend in it (wanted: a backend a line, `IP [MAC]`)".into(),
                excerpt: Excerpt(None),
            });
        }
        Ok(self.backends)
    }
}

fn parse_ip(word: &Word<'_>) -> Result<Ipv4Addr, ConfigError> {
    let ip = match word.text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip,
        Ok(IpAddr::V6(ip)) => {
            return Err(word.error(format!(
                "{ip} is an IPv6 address; this balancer forwards IPv4"
            )));
        }
        Err(_) => {
            return Err(word.error(format!("`{}` is not an IPv4 or IPv6 address", word.shown())));
        }
    };
    if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_loopback() {
        return Err(word.error(format!("{ip} is no other host's address")));
    }
    Ok(ip)
}

/// Whether a word is meant as a MAC rather than an IP: colons, but not as in IPv6.
fn looks_like_mac(text: &str) -> bool {
    text.contains(':') && text.parse::<IpAddr>().is_err() || text.matches('-').count() == 5
}

/// Whether a word is an address, and not a file's name.
pub fn looks_like_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || looks_like_mac(text)
        || text
            .chars()
            .all(|c| c.is_ascii_digit() || c == '.' || c == ':')
            && !text.is_empty()
}

/// Six hexadecimal bytes of one or two digits, as the seed's `sscanf("%hhx:…")` takes them, with `:` or `-`.
pub fn parse_mac(text: &str) -> Option<Mac> {
    let separator = if text.contains(':') { ':' } else { '-' };
    let mut mac = Mac::default();
    let mut bytes = text.split(separator);
    for byte in &mut mac {
        let digits = bytes.next()?;
        if !(1..=2).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    bytes.next().is_none().then_some(mac)
}

/// `de:ad:be:ef:00:02`.
pub fn show_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn check_file(text: &str, expected: &str) {
        let found = match parse_file("backends", text.as_bytes()) {
            Ok(backends) => backends
                .iter()
                .map(|b| format!("{} {}", b.ip, b.mac.map_or("?".into(), show_mac)))
                .collect::<Vec<_>>()
                .join("\n"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_is_a_backend_a_line() {
        check_file(
            "# web\n\n10.0.0.2 de:ad:be:ef:00:02\n\t10.0.0.3  # asked\r\n10.0.0.4 0:1:2:A:b:c#x",
            "10.0.0.2 de:ad:be:ef:00:02\n10.0.0.3 ?\n10.0.0.4 00:01:02:0a:0b:0c",
        );
    }

    #[test]
    fn errors_say_where_and_what() {
        check_file(
            "\n\n\n\n\n\n10.0.0.300 de:ad:be:ef:00:03",
            "backends:7: `10.0.0.300` is not an IPv4 or IPv6 address\n  7 | 10.0.0.300 de:ad:be:ef:00:03\n    | ^^^^^^^^^^",
        );
        check_file(
            "10.0.0.2 de:ad:be:ef:00",
            "backends:1: `de:ad:be:ef:00` is not a MAC address (six hexadecimal bytes, de:ad:be:ef:00:02)\n  \
             1 | 10.0.0.2 de:ad:be:ef:00\n    |          ^^^^^^^^^^^^^^",
        );
        check_file(
            "10.0.0.2\n10.0.0.3\n10.0.0.2",
            "backends:3: backend 10.0.0.2 is listed twice, first in line 1\n  3 | 10.0.0.2\n    | ^^^^^^^^",
        );
        check_file(
            "10.0.0.2 weight=3",
            "backends:1: unknown key `weight` (a line is `IP [MAC]`)\n  1 | 10.0.0.2 weight=3\n    |          ^^^^^^^^",
        );
        check_file(
            "10.0.0.2 de:ad:be:ef:00:02 extra",
            "backends:1: `extra` is one word too many (a line is `IP [MAC]`)\n  \
             1 | 10.0.0.2 de:ad:be:ef:00:02 extra\n    |                            ^^^^^",
        );
        check_file(
            "# nothing\n",
            "backends: no backend in it (wanted: a backend a line, `IP [MAC]`)",
        );
        check_file(
            "fd00::2",
            "backends:1: fd00::2 is an IPv6 address; this balancer forwards IPv4\n  1 | fd00::2\n    | ^^^^^^^",
        );
        check_file(
            "224.0.0.1",
            "backends:1: 224.0.0.1 is no other host's address\n  1 | 224.0.0.1\n    | ^^^^^^^^^",
        );
        check_file(
            "10.0.0.2 ff:ff:ff:ff:ff:ff",
            "backends:1: ff:ff:ff:ff:ff:ff is no single host's MAC address\n  \
             1 | 10.0.0.2 ff:ff:ff:ff:ff:ff\n    |          ^^^^^^^^^^^^^^^^^",
        );
        assert_eq!(
            parse_file("backends", b"\x7fELF\xff")
                .unwrap_err()
                .to_string(),
            "backends: not a text file: byte 4 is not UTF-8 (wanted: a backend a line, `IP [MAC]`)"
        );
    }

    #[test]
    fn words_are_the_seeds_pairs_with_macs_optional() {
        let words = [
            "10.0.0.2",
            "de:ad:be:ef:00:02",
            "10.0.0.3",
            "10.0.0.4",
            "de-ad-be-ef-00-04",
        ];
        let backends = parse_words(&words).unwrap();
        let macs: Vec<_> = backends.iter().map(|b| b.mac.map(|m| m[5])).collect();
        assert_eq!(macs, [Some(2), None, Some(4)]);
    }

    #[test]
    fn wrong_words_are_named() {
        for (words, expected) in [
            (
                &["10.0.0.300"][..],
                "command line: `10.0.0.300` is not an IPv4 or IPv6 address",
            ),
            (
                &["de:ad:be:ef:00:02"],
                "command line: MAC de:ad:be:ef:00:02 follows no IP address",
            ),
            (
                &["10.0.0.2", "10.0.0.2"],
                "command line: backend 10.0.0.2 is listed twice, first on the command line",
            ),
            (
                &["10.0.0.2", "de:ad:be:ef:00:zz"],
                "command line: `de:ad:be:ef:00:zz` is not a MAC address (six hexadecimal bytes, de:ad:be:ef:00:02)",
            ),
        ] {
            assert_eq!(parse_words(words).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn there_is_room_for_65_536_backends_and_no_more() {
        let mut text: String = (0..65_536u32)
            .map(|i| format!("10.{}.{}.1\n", i / 256, i % 256))
            .collect();
        assert_eq!(
            parse_file("backends", text.as_bytes()).unwrap().len(),
            65_536
        );
        text.push_str("11.0.0.1\n");
        let error = parse_file("backends", text.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("backends:65537: one backend too many: at most 65536 are possible"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_give_backends_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_file("backends", &bytes);
        }

        #[test]
        fn any_text_gives_backends_or_an_error(text in "[0-9a-f:.# \t\r\nß=]{0,200}") {
            if let Err(error) = parse_file("backends", text.as_bytes()) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
