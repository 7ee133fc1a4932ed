//! Tests of backends files and of words: what is read, and the text of every error.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::balancer::service::show_mac;
use proptest::prelude::*;

fn show(backends: &[Backend]) -> String {
    let line = |b: &Backend| {
        let mac = b.mac.map_or("?".into(), show_mac);
        match (b.weight.get(), b.state) {
            (1, State::Active) => format!("{} {mac}", b.key),
            (weight, state) => format!("{} {mac} {weight} {}", b.key, state.name()),
        }
    };
    backends.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn check_file(text: &str, expected: &str) {
    let found = match parse_file("backends", text.as_bytes()) {
        Ok(backends) => show(backends.list()),
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
    check_file(
        "fd00::2 0:1:2:A:b:c weight=3 port=8000\nfd00::2 state=draining port=8001\nfd00::3 state=down",
        "[fd00::2]:8000 00:01:02:0a:0b:0c 3 active\n[fd00::2]:8001 ? 1 draining\nfd00::3 ? 1 down",
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
        "fd00::2 port=80\nfd00:0::2 port=80",
        "backends:2: backend [fd00::2]:80 is listed twice, first in line 1\n  2 | fd00:0::2 port=80\n    | ^^^^^^^^^",
    );
    check_file(
        "10.0.0.2 wieght=3",
        "backends:1: unknown key `wieght`: did you mean `weight`?\n  1 | 10.0.0.2 wieght=3\n    |          ^^^^^^^^",
    );
    check_file(
        "10.0.0.2 =3",
        "backends:1: unknown key `` (there are weight, port, state)\n  1 | 10.0.0.2 =3\n    |          ^^",
    );
    check_file(
        "10.0.0.2 weight=1001",
        "backends:1: `1001` is not a weight (1 to 1000)\n  1 | 10.0.0.2 weight=1001\n    |          ^^^^^^^^^^^",
    );
    check_file(
        "10.0.0.2 port=0",
        "backends:1: `0` is not a port (1 to 65535)\n  1 | 10.0.0.2 port=0\n    |          ^^^^^^",
    );
    check_file(
        "10.0.0.2 state=drain",
        "backends:1: `drain` is not a state (active, draining, down)\n  1 | 10.0.0.2 state=drain\n    |          ^^^^^^^^^^^",
    );
    check_file(
        "10.0.0.2 de:ad:be:ef:00:02 extra",
        "backends:1: `extra` is one word too many (a line is `IP [MAC] [key=value…]`)\n  \
         1 | 10.0.0.2 de:ad:be:ef:00:02 extra\n    |                            ^^^^^",
    );
    check_file(
        "# nothing\n",
        "backends: no backend in it (wanted: a backend a line, `IP [MAC]`)",
    );
    check_file(
        "[fd00::2]:8000",
        "backends:1: `[fd00::2]:8000` is not an IPv4 or IPv6 address: write `fd00::2 port=8000`\n  \
         1 | [fd00::2]:8000\n    | ^^^^^^^^^^^^^^",
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
        "weight=2",
        "fd00::5",
        "state=down",
    ];
    assert_eq!(
        show(parse_words(&words).unwrap().list()),
        "10.0.0.2 de:ad:be:ef:00:02\n10.0.0.3 ?\n10.0.0.4 de:ad:be:ef:00:04 2 active\nfd00::5 ? 1 down"
    );
}

#[test]
fn wrong_words_are_named() {
    for (words, expected) in [
        (
            &["10.0.0.300"][..],
            "command line: `10.0.0.300` is not an IPv4 or IPv6 address",
        ),
        (
            &["fd00:::2"],
            "command line: `fd00:::2` is not an IPv4 or IPv6 address",
        ),
        (
            &["de:ad:be:ef:00:02"],
            "command line: MAC de:ad:be:ef:00:02 follows no IP address",
        ),
        (
            &["weight=2"],
            "command line: `weight=2` follows no IP address",
        ),
        (
            &["10.0.0.2", "10.0.0.2"],
            "command line: backend 10.0.0.2 is listed twice, first on the command line",
        ),
        (
            &["10.0.0.2", "de:ad:be:ef:00:zz"],
            "command line: `de:ad:be:ef:00:zz` is not a MAC address (six hexadecimal bytes, de:ad:be:ef:00:02)",
        ),
        (
            &["10.0.0.2:80"],
            "command line: `10.0.0.2:80` is not an IPv4 or IPv6 address: write `10.0.0.2 port=80`",
        ),
    ] {
        assert_eq!(parse_words(words).unwrap_err().to_string(), expected);
    }
}

#[test]
fn they_become_one_service() {
    let backends = parse_file("backends", b"10.0.0.2 port=8000\n10.0.0.3\n").unwrap();
    let list = backends.list().to_vec();
    let config = backends
        .clone()
        .into_config("10.0.0.10:80".parse().unwrap())
        .unwrap();
    assert_eq!(
        config.services,
        [Service::new("10.0.0.10:80".parse().unwrap(), list)]
    );
    assert_eq!(config.connections, 65_536);
    let text = |backends: Backends<'_>, service: &str| {
        let config = backends.into_config(service.parse().unwrap());
        config.unwrap_err().to_string()
    };
    assert_eq!(
        text(backends.clone(), "10.0.0.3/tcp"),
        "backends:2: 10.0.0.3 is the service's own address\n  2 | 10.0.0.3\n    | ^^^^^^^^"
    );
    assert_eq!(
        text(backends, "[fd00::1]:80"),
        "backends:1: 10.0.0.2 is an IPv4 address, and mode nat keeps the family of [fd00::1]:80/tcp\n  \
         1 | 10.0.0.2 port=8000\n    | ^^^^^^^^"
    );
    let same = parse_words(&["10.0.0.2", "10.0.0.2", "port=80"]).unwrap();
    assert_eq!(
        text(same, "10.0.0.1:80"),
        "command line: backend 10.0.0.2:80 is listed twice, first on the command line"
    );
    assert_eq!(
        text(parse_words(&["10.0.0.2", "fd00::2"]).unwrap(), "10.0.0.1"),
        "command line: fd00::2 is an IPv6 address, and mode nat keeps the family of 10.0.0.1/tcp"
    );
}

#[test]
fn addresses_are_told_from_files() {
    for address in [
        "10.0.0.2",
        "fd00::2",
        "10.0.0.300",
        "10.0.0.2:80",
        "[fd00::2]:80",
        "0:1:2:3:4:5",
    ] {
        assert!(looks_like_address(address), "{address}");
    }
    for file in ["backends", "lb.toml", "", "./10.0.0.2", "a-b"] {
        assert!(!looks_like_address(file), "{file}");
    }
}

#[test]
fn there_is_room_for_65_535_backends_and_no_more() {
    let mut text: String = (0..65_535u32)
        .map(|i| format!("10.{}.{}.1\n", i / 256, i % 256))
        .collect();
    let backends = parse_file("backends", text.as_bytes()).unwrap();
    assert_eq!(backends.list().len(), 65_535);
    text.push_str("11.0.0.1\n");
    let error = parse_file("backends", text.as_bytes())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("backends:65536: one backend too many: at most 65535 are possible"),
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
