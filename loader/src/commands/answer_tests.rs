//! The sentences of `ask`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use xdplb_prog::abi::{Addr, Be16, Be32, Event, Kind, Ports, protocol};
use xdplb_prog::state::State;

use super::*;
use crate::balancer::event::Told;
use crate::balancer::packet::Packet;
use crate::balancer::settings::Trace;
use crate::balancer::tables::{NO_BACKEND, packed};

fn settings() -> Settings {
    Settings {
        balancer_v4: [10, 0, 0, 10].into(),
        balancer_v6: "fd00::10".parse().unwrap(),
        balancer_mac: [0xde, 0xad, 0xbe, 0xef, 0, 0x10],
        mtu: 1500,
        connections: 1000,
        seed: 1,
        encap: Default::default(),
        trace: Trace::Off,
    }
}

fn stored(mode: u32, flags: u32) -> Stored {
    let service = abi::Service {
        id: 3,
        mode,
        table: 0,
        slots: 65_537,
        members: 0,
        count: 1,
        port_low: 1024,
        port_high: 32_767,
        reserved: 0,
    };
    let entry = abi::Backend {
        addr: Addr::v4(Be32([10, 0, 0, 2])),
        flags,
        service: 3,
        port: Be16::new(8000),
        weight: 2,
        ..NO_BACKEND
    };
    Stored {
        services: vec![("10.0.0.10:80".parse().unwrap(), service)],
        backends: vec![NO_BACKEND, entry],
    }
}

fn key() -> FlowKey {
    FlowKey {
        saddr: Addr::v4(Be32([10, 0, 0, 1])),
        daddr: Addr::v4(Be32([10, 0, 0, 10])),
        ports: Ports::new(Be16::new(40_000), Be16::new(80)),
        kind: Kind::v4(protocol::TCP),
    }
}

const OPENING: u32 = stage::PARSED | stage::SERVICE | stage::PICKED | stage::ROUTED | stage::SENT;

fn check(words: &str, stored: &Stored, event: Event, frame: Option<&str>, expected: &str) {
    let macs = [[2, 0, 0, 0, 0, 1], settings().balancer_mac];
    let packet = Packet::parse(words).unwrap().frame(macs[0], macs[1]);
    let frame = frame.map(|words| Packet::parse(words).unwrap().frame(macs[1], macs[0]));
    let asked = Asked {
        frame: frame.unwrap_or_else(|| packet.clone()),
        told: Told {
            event,
            before: Vec::new(),
            after: Vec::new(),
        },
        ingress: Ingress::Known,
        same: true,
    };
    let known = Known {
        ifname: "veth6",
        stored,
        settings: &settings(),
        flow: None,
    };
    let answer = Answer::of(&packet, &asked, &known);
    assert_eq!(text(&answer), expected);
}

#[test]
fn a_new_flow_is_not_opened() {
    let event = Event {
        reason: Reason::Opened as u32,
        stages: OPENING,
        key: key(),
        service: 3,
        backend: 1,
        table_slot: 17,
        mac: packed(Some([0xde, 0xad, 0xbe, 0xef, 0, 2])),
        ..Event::default()
    };
    let words = "tcp 10.0.0.1:40000 -> 10.0.0.10:80 ttl 9";
    check(
        words,
        &stored(mode::NAT, backend::UP),
        event,
        None,
        "\
veth6: tcp 10.0.0.1:40000 -> 10.0.0.10:80 syn, 54 bytes
  parsed   tcp 10.0.0.1:40000 -> 10.0.0.10:80
  flow     none known
  service  10.0.0.10:80/tcp (nat)
  picked   10.0.0.2:8000 (active, weight 2) by slot 17 of 65537
  route    a neighbour's address
  sent     tcp 10.0.0.10:(a port of 1024-32767) -> 10.0.0.2:8000
  frame    de:ad:be:ef:00:10 -> de:ad:be:ef:00:02, 54 bytes, ttl 8
  verdict  tx, opened: A client's packet that opened a flow, sent to the backend picked for it
  note     no flow was opened: whether a slot and a port are free shows only then",
    );
    let direct = Event {
        reason: Reason::Stateless as u32,
        stages: OPENING & !stage::ROUTED,
        ..event
    };
    check(
        words,
        &stored(mode::DSR, backend::UP | backend::FIXED_MAC),
        direct,
        Some("tcp 10.0.0.1:40000 -> 10.0.0.10:80 vlan 7"),
        "\
veth6: tcp 10.0.0.1:40000 -> 10.0.0.10:80 syn, 54 bytes
  parsed   tcp 10.0.0.1:40000 -> 10.0.0.10:80
  flow     none known
  service  10.0.0.10:80/tcp (dsr)
  picked   10.0.0.2:8000 (active, weight 2) by slot 17 of 65537
  route    not asked: the configuration gives the MAC
  sent     tcp 10.0.0.1:40000 -> 10.0.0.10:80 syn
  frame    de:ad:be:ef:00:10 -> 02:00:00:00:00:01, 58 bytes, ttl 64, vlan 7
  verdict  tx, opened: A client's packet that opened a flow, sent to the backend picked for it
  note     no flow was opened: whether a slot and a port are free shows only then",
    );
    let nowhere = Event {
        reason: Reason::NoRoute as u32,
        stages: OPENING & !stage::SENT,
        route: 7,
        ..event
    };
    check(
        words,
        &stored(mode::NAT, backend::UP),
        nowhere,
        None,
        "\
veth6: tcp 10.0.0.1:40000 -> 10.0.0.10:80 syn, 54 bytes
  parsed   tcp 10.0.0.1:40000 -> 10.0.0.10:80
  flow     none known
  service  10.0.0.10:80/tcp (nat)
  picked   10.0.0.2:8000 (active, weight 2) by slot 17 of 65537
  route    the neighbour is not resolved (BPF_FIB_LKUP_RET_NO_NEIGH); no address is known from before
  verdict  drop, no_route: No Ethernet address is known for the next hop",
    );
}

#[test]
fn a_known_flow_is_shown_with_its_backend() {
    let event = Event {
        reason: Reason::Forwarded as u32,
        stages: stage::PARSED | stage::REQUEST | stage::SENT,
        key: key(),
        service: 3,
        backend: 1,
        slot: 99,
        state: State::OPEN | State::ANSWERED | State::CONFIRMED,
        ..Event::default()
    };
    check(
        "tcp 10.0.0.1:40000 -> 10.0.0.10:80 ack",
        &stored(mode::NAT, backend::UP | backend::DRAINING),
        event,
        Some("tcp 10.0.0.10:1024 -> 10.0.0.2:8000 ack"),
        "\
veth6: tcp 10.0.0.1:40000 -> 10.0.0.10:80 ack, 54 bytes
  parsed   tcp 10.0.0.1:40000 -> 10.0.0.10:80
  flow     slot 99, established, to 10.0.0.2:8000 (draining)
  service  10.0.0.10:80/tcp (nat)
  sent     tcp 10.0.0.10:1024 -> 10.0.0.2:8000 ack
  frame    de:ad:be:ef:00:10 -> 02:00:00:00:00:01, 54 bytes, ttl 64
  verdict  tx, forwarded: A client's packet of a known flow, sent on to its backend",
    );
}

#[test]
fn what_is_not_ours_says_so() {
    let event = Event {
        reason: Reason::OtherDestination as u32,
        stages: stage::PARSED,
        key: key(),
        ..Event::default()
    };
    check(
        "tcp 10.0.0.1:40000 -> 10.0.0.10:80",
        &stored(mode::NAT, backend::UP),
        event,
        None,
        "\
veth6: tcp 10.0.0.1:40000 -> 10.0.0.10:80 syn, 54 bytes
  parsed   tcp 10.0.0.1:40000 -> 10.0.0.10:80
  flow     none known
  service  none
  verdict  pass, other_destination: For no service",
    );
    let echo = Event {
        reason: Reason::EchoReplied as u32,
        ..Event::default()
    };
    check(
        "icmp 10.0.0.1 -> 10.0.0.10",
        &stored(mode::NAT, backend::UP),
        echo,
        None,
        "\
veth6: icmp 10.0.0.1 -> 10.0.0.10 echo request, 42 bytes
  sent     icmp 10.0.0.1 -> 10.0.0.10 echo request
  frame    02:00:00:00:00:01 -> de:ad:be:ef:00:10, 42 bytes, ttl 64
  verdict  tx, echo_replied: An echo request to a service's address, answered",
    );
}

#[test]
fn what_the_answer_lacks_is_noted() {
    let asked = |ingress, same| Asked {
        frame: Vec::new(),
        told: Told {
            event: Event::default(),
            before: Vec::new(),
            after: Vec::new(),
        },
        ingress,
        same,
    };
    assert_eq!(
        notes(&asked(Ingress::Unknown, false), Reason::Forwarded, false),
        [
            "this kernel cannot be told the interface (Linux 5.14): the routing table was asked as for loopback",
            "the program that runs is of another build; asked was the built-in one",
        ]
    );
    assert_eq!(
        notes(&asked(Ingress::Known, true), Reason::NotIp, false),
        [""; 0]
    );
}
