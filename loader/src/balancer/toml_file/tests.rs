//! Tests of the configuration file: what is read, and the text of every error.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::balancer::service::{Backend, Forward, State, Word};

/// The text of an error of this file.
fn check(text: &str, expected: &str) {
    let found = parse("lb.toml", text.as_bytes())
        .map(|_| ())
        .map_err(|error| error.to_string());
    assert_eq!(found, Err(expected.to_string()), "{text}");
}

const WHOLE: &str = r#"
connections = 1_000_000
table_slots = 0x10001

[encap]
source4 = "172.20.0.0/16"

[[service]]
address = "10.0.0.10"
port = 80
source_ports = "1024-32767"
table_slots = 251

[[service.backend]]
address = "10.0.0.2"
port = 8000
mac = "de:ad:be:ef:00:02"
weight = 1000
state = "draining"

[[service.backend]]
address = "10.0.0.3"

[[service]]
address = "fd00::10"
protocol = "udp"
mode = "dsr"
backend = [{ address = "fd00::2" }, { address = "10.0.0.2", state = "down" }]
"#;

#[test]
fn a_whole_file() {
    let config = parse("lb.toml", WHOLE.as_bytes()).unwrap();
    assert_eq!(config.connections, 1_000_000);
    assert_eq!(config.encap.source4.to_string(), "172.20.0.0/16");
    assert_eq!(config.encap.source6.to_string(), "100::/64");
    let [web, dns] = &config.services[..] else {
        panic!("{config:?}");
    };
    assert_eq!(web.key.to_string(), "10.0.0.10:80/tcp");
    assert_eq!(web.forward, Forward::Nat);
    assert_eq!(web.source_ports, Some(1024..=32767));
    assert_eq!(web.table_slots.get(), 251);
    assert_eq!(
        web.backends,
        [
            Backend {
                key: "10.0.0.2:8000".parse().unwrap(),
                mac: Some([0xde, 0xad, 0xbe, 0xef, 0, 2]),
                weight: 1000.try_into().unwrap(),
                state: State::Draining,
            },
            Backend::new("10.0.0.3".parse().unwrap()),
        ]
    );
    assert_eq!(dns.key.to_string(), "[fd00::10]/udp");
    assert_eq!(dns.forward, Forward::Dsr);
    assert_eq!(dns.table_slots.get(), 65_537);
    assert_eq!(dns.source_ports, None);
    let states: Vec<&str> = dns.backends.iter().map(|b| b.state.name()).collect();
    assert_eq!(states, ["active", "down"]);
}

/// A service of these lines, with a backend.
fn service(lines: &str) -> String {
    format!("[[service]]\n{lines}\n[[service.backend]]\naddress = \"10.0.0.2\"\n")
}

/// A service in this mode at this address with a backend of these lines.
fn backend(mode: &str, address: &str, lines: &str) -> String {
    format!(
        "[[service]]\naddress = \"{address}\"\nmode = \"{mode}\"\n[[service.backend]]\n{lines}\n"
    )
}

#[test]
fn what_is_no_toml() {
    check(
        "port = ",
        "lb.toml:1:8: not TOML: string values must be quoted, expected literal string\n  1 | port = \n    |        ^",
    );
    check(
        "connections = 1\nconnections = 2\n",
        "lb.toml:2:1: not TOML: duplicate key\n  2 | connections = 2\n    | ^^^^^^^^^^^",
    );
    check(
        "[[service]\n",
        "lb.toml:1:11: not TOML: unclosed array table, expected `]`\n  1 | [[service]\n    |           ^",
    );
    assert_eq!(
        parse("lb.toml", b"a = \xff").unwrap_err().to_string(),
        "lb.toml: not a text file: byte 4 is not UTF-8"
    );
}

#[test]
fn keys_that_are_not_there() {
    check(
        "connection = 7\n",
        "lb.toml:1:1: unknown key `connection` at the top: did you mean `connections`?\n  1 | connection = 7\n    | ^^^^^^^^^^",
    );
    check(
        "[[services]]\n",
        "lb.toml:1:3: unknown key `services` at the top: did you mean `service`?\n  1 | [[services]]\n    |   ^^^^^^^^",
    );
    check(
        "colour = \"red\"\n",
        "lb.toml:1:1: unknown key `colour` at the top (there are connections, table_slots, encap, service)\n  1 | colour = \"red\"\n    | ^^^^^^",
    );
    check(
        "[encap]\nsource = 1\n",
        "lb.toml:2:1: unknown key `source` in [encap]: did you mean `source4`?\n  2 | source = 1\n    | ^^^^^^",
    );
    check(
        &service("adress = \"10.0.0.10\""),
        "lb.toml:2:1: unknown key `adress` in [[service]]: did you mean `address`?\n  2 | adress = \"10.0.0.10\"\n    | ^^^^^^",
    );
    check(
        &backend("nat", "10.0.0.10", "address = \"10.0.0.2\"\n  wait = 2"),
        "lb.toml:6:3: unknown key `wait` in [[service.backend]] (there are address, port, mac, weight, state)\n  6 |   wait = 2\n    |   ^^^^",
    );
}

#[test]
fn values_of_another_kind() {
    check(
        "connections = \"many\"\n",
        "lb.toml:1:15: `connections` must be a whole number from 1 to 16777216, not a string\n  1 | connections = \"many\"\n    |               ^^^^^^",
    );
    check(
        "connections = 0\n",
        "lb.toml:1:15: `connections` must be a whole number from 1 to 16777216, not 0\n  1 | connections = 0\n    |               ^",
    );
    check(
        "connections = 99_999_999_999_999_999_999\n",
        "lb.toml:1:15: `connections` must be a whole number from 1 to 16777216, not 99999999999999999999\n  1 | connections = 99_999_999_999_999_999_999\n    |               ^^^^^^^^^^^^^^^^^^^^^^^^^^",
    );
    check(
        "connections = 0xffff_ffff\n",
        "lb.toml:1:15: `connections` must be a whole number from 1 to 16777216, not this one\n  1 | connections = 0xffff_ffff\n    |               ^^^^^^^^^^^",
    );
    check(
        "encap = 1.5\n",
        "lb.toml:1:9: `encap` must be a table, not a number with a point\n  1 | encap = 1.5\n    |         ^^^",
    );
    check(
        "[service]\naddress = \"10.0.0.10\"\n",
        "lb.toml:1:1: `service` must be a list of tables, [[service]], not a table\n  1 | [service]\n    | ^^^^^^^^^",
    );
    check(
        "service = [1979-05-27]\n",
        "lb.toml:1:12: `service` must be a list of tables, [[service]], not of a date\n  1 | service = [1979-05-27]\n    |            ^^^^^^^^^^",
    );
    check(
        &service("address = [10, 0, 0, 10]"),
        "lb.toml:2:11: `address` must be a string (\"10.0.0.10\" or \"fd00::10\"), not a list\n  2 | address = [10, 0, 0, 10]\n    |           ^^^^^^^^^^^^^^",
    );
    check(
        &service("address = \"10.0.0.10\"\nprotocol = \"tpc\""),
        "lb.toml:3:12: `protocol` must be tcp or udp, not `tpc`\n  3 | protocol = \"tpc\"\n    |            ^^^^^",
    );
    check(
        &service("address = \"10.0.0.10\"\nmode = true"),
        "lb.toml:3:8: `mode` must be nat, dsr or ipip, not true or false\n  3 | mode = true\n    |        ^^^^",
    );
    check(
        &service("address = \"10.0.0.10\"\nport = 65536"),
        "lb.toml:3:8: `port` must be a whole number from 1 to 65535, not 65536\n  3 | port = 65536\n    |        ^^^^^",
    );
}

#[test]
fn values_out_of_order() {
    check(
        &service("address = \"10.0.0\""),
        "lb.toml:2:11: `10.0.0` is not an IPv4 or IPv6 address\n  2 | address = \"10.0.0\"\n    |           ^^^^^^^^",
    );
    check(
        &service("address = \"255.255.255.255\""),
        "lb.toml:2:11: 255.255.255.255 is no address that clients reach over a network\n  2 | address = \"255.255.255.255\"\n    |           ^^^^^^^^^^^^^^^^^",
    );
    check(
        &backend("nat", "10.0.0.10", "address = \"127.0.0.1\""),
        "lb.toml:5:11: 127.0.0.1 is no other host's address\n  5 | address = \"127.0.0.1\"\n    |           ^^^^^^^^^^^",
    );
    check(
        "table_slots = 65536\n",
        "lb.toml:1:15: `table_slots` must be a prime, such as 65521 or 65537, not 65536\n  1 | table_slots = 65536\n    |               ^^^^^",
    );
    check(
        "table_slots = 655374\n",
        "lb.toml:1:15: `table_slots` must be a whole number from 2 to 655373, not 655374\n  1 | table_slots = 655374\n    |               ^^^^^^",
    );
    check(
        "[encap]\nsource4 = \"172.16.1.0/16\"\n",
        "lb.toml:2:11: 172.16.1.0/16 has bits set behind its first 16\n  2 | source4 = \"172.16.1.0/16\"\n    |           ^^^^^^^^^^^^^^^",
    );
    for (ports, why) in [
        (
            "2000-1000",
            "`2000-1000` runs backwards (lowest port first, as in \"1024-32767\")",
        ),
        (
            "0-1000",
            "`0-1000` is not a range of ports (\"1024-32767\")",
        ),
        ("1024", "`1024` is not a range of ports (\"1024-32767\")"),
    ] {
        let mark = "^".repeat(ports.len() + 2);
        check(
            &service(&format!(
                "address = \"10.0.0.10\"\nsource_ports = \"{ports}\""
            )),
            &format!(
                "lb.toml:3:16: {why}\n  3 | source_ports = \"{ports}\"\n    |                {mark}"
            ),
        );
    }
    for (line, why) in [
        (
            "mac = \"de:ad\"",
            "`de:ad` is not a MAC address (six hexadecimal bytes, de:ad:be:ef:00:02)",
        ),
        (
            "mac = 1     ",
            "`mac` must be a string (\"de:ad:be:ef:00:02\"), not a whole number",
        ),
        (
            "weight = 0",
            "`weight` must be a whole number from 1 to 1000, not 0",
        ),
        (
            "weight = 1001",
            "`weight` must be a whole number from 1 to 1000, not 1001",
        ),
        (
            "state = \"drain\"",
            "`state` must be active, draining or down, not `drain`",
        ),
    ] {
        let found = parse("lb.toml", backend("nat", "10.0.0.10", line).as_bytes());
        let found = found.unwrap_err().to_string();
        let column = line.find('=').unwrap() + 3;
        assert_eq!(
            found.lines().next(),
            Some(&*format!("lb.toml:5:{column}: {why}"))
        );
    }
}

#[test]
fn what_a_mode_does_not_allow() {
    check(
        &backend("nat", "10.0.0.10", "address = \"fd00::2\""),
        "lb.toml:5:11: fd00::2 is an IPv6 address, and mode nat keeps the family of 10.0.0.10/tcp\n  5 | address = \"fd00::2\"\n    |           ^^^^^^^^^",
    );
    check(
        &backend("ipip", "fd00::10", "address = \"10.0.0.2\""),
        "lb.toml:5:11: 10.0.0.2 is an IPv4 address, and mode ipip puts no IPv6 ([fd00::10]/tcp) into IPv4\n  5 | address = \"10.0.0.2\"\n    |           ^^^^^^^^^^",
    );
    check(
        &backend("dsr", "10.0.0.10", "address = \"10.0.0.2\"\nport = 80"),
        "lb.toml:6:8: `port` is for mode nat; mode dsr keeps ports as they are\n  6 | port = 80\n    |        ^^",
    );
    check(
        &service("address = \"10.0.0.10\"\nsource_ports = \"1024-2000\"\nmode = \"ipip\""),
        "lb.toml:3:16: `source_ports` is for mode nat; mode ipip keeps ports as they are\n  3 | source_ports = \"1024-2000\"\n    |                ^^^^^^^^^^^",
    );
    check(
        &backend("nat", "10.0.0.10", "address = \"10.0.0.10\""),
        "lb.toml:5:11: 10.0.0.10 is the service's own address\n  5 | address = \"10.0.0.10\"\n    |           ^^^^^^^^^^^",
    );
}

#[test]
fn what_is_missing() {
    check("", "lb.toml: no service in it (wanted: [[service]])");
    check(
        "service = []\n",
        "lb.toml: no service in it (wanted: [[service]])",
    );
    check(
        &service("port = 80"),
        "lb.toml:1:1: `address` is missing (address = \"10.0.0.10\")\n  1 | [[service]]\n    | ^^^^^^^^^^^",
    );
    check(
        "[[service]]\naddress = \"10.0.0.10\"\n",
        "lb.toml:1:1: service 10.0.0.10/tcp has no backend (wanted: [[service.backend]])\n  1 | [[service]]\n    | ^^^^^^^^^^^",
    );
    check(
        &backend("nat", "fd00::10", "weight = 2"),
        "lb.toml:4:1: `address` is missing (address = \"fd00::2\")\n  4 | [[service.backend]]\n    | ^^^^^^^^^^^^^^^^^^^",
    );
}

#[test]
fn what_is_there_twice() {
    let one = service("address = \"10.0.0.10\"\nport = 80");
    check(
        &format!("{one}{one}"),
        "lb.toml:6:1: service 10.0.0.10:80/tcp is listed twice, first in line 1\n  6 | [[service]]\n    | ^^^^^^^^^^^",
    );
    check(
        &format!("{one}[[service.backend]]\naddress = \"10.0.0.2\"\nport = 80\n"),
        "lb.toml:6:1: backend 10.0.0.2:80 of service 10.0.0.10:80/tcp is listed twice, first in line 4\n  6 | [[service.backend]]\n    | ^^^^^^^^^^^^^^^^^^^",
    );
    let other = service("address = \"10.0.0.10\"\nprotocol = \"udp\"\nport = 80");
    let every = service("address = \"10.0.0.10\"");
    assert!(parse("lb.toml", format!("{one}{other}{every}").as_bytes()).is_ok());
}

/// A service with this many backends.
fn crowd(count: u32) -> String {
    let backend = |i: u32| {
        let [_, a, b, c] = i.to_be_bytes();
        format!("[[service.backend]]\naddress = \"11.{a}.{b}.{c}\"\n")
    };
    let backends: String = (1..=count).map(backend).collect();
    format!("[[service]]\naddress = \"10.0.0.10\"\ntable_slots = 65537\n{backends}")
}

#[test]
fn too_many_backends() {
    let config = parse("lb.toml", crowd(65_535).as_bytes()).unwrap();
    assert_eq!(config.services[0].backends.len(), 65_535);
    check(
        &crowd(65_536),
        "lb.toml:131074:1: one backend too many: at most 65535 are possible\n  131074 | [[service.backend]]\n         | ^^^^^^^^^^^^^^^^^^^",
    );
    check(
        &crowd(200).replace("65537", "199"),
        "lb.toml:3:15: service 10.0.0.10/tcp has 200 backends, too many for a table of 199 slots (`table_slots = 211` holds them)\n  3 | table_slots = 199\n    |               ^^^",
    );
}

#[test]
fn files_are_told_apart() {
    for (name, text) in [
        ("lb.TOML", ""),
        ("lb", "# web\n\n[[ service ]]"),
        ("lb", "[encap]\n"),
        ("lb", "connections=1"),
    ] {
        assert!(is_toml(name, text.as_bytes()), "{name} {text}");
    }
    for text in [
        "",
        "10.0.0.2\n",
        "fd00::2 weight=2",
        "[fd00::2]:80",
        "# x\n10.0.0.2\n[service]",
    ] {
        assert!(!is_toml("backends", text.as_bytes()), "{text}");
    }
}

/// Some nesting is too much for a parser that calls itself; it has to say so.
#[test]
fn nesting_ends_in_an_error() {
    let text = format!("service = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let error = parse("lb.toml", text.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("lb.toml:1:"), "{error}");
    let dots = format!("a{} = 1", ".a".repeat(100_000));
    assert!(parse("lb.toml", dots.as_bytes()).is_err());
}

proptest! {
    #[test]
    fn any_bytes_give_a_configuration_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse("lb.toml", &bytes);
        let _ = is_toml("lb", &bytes);
    }

    #[test]
    fn any_damage_gives_a_configuration_or_an_error(
        at in 0..WHOLE.len(),
        length in 0usize..40,
        with in "[a-z0-9\"=.\\[\\]{}, \n\tß-]{0,12}",
    ) {
        // It is ASCII, so every byte is a boundary.
        let end = (at + length).min(WHOLE.len());
        let text = format!("{}{with}{}", &WHOLE[..at], &WHOLE[end..]);
        if let Err(error) = parse("lb.toml", text.as_bytes()) {
            prop_assert!(error.to_string().starts_with("lb.toml:"));
        }
    }
}
