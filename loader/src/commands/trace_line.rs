//! PURE: what `trace` says of a packet, in a line.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use xdplb_prog::abi::{FlowKey, stage};
use xdplb_prog::counters::Verdict;

use crate::balancer::event::{Told, ports, protocol_word, route_text};
use crate::balancer::packet::Headers;
use crate::balancer::readback::Stored;
use crate::balancer::service::show_mac;
use crate::balancer::tables::{backend_key, is_vacant, unpacked};
use crate::balancer::view;

/// How numbers are called.
#[derive(Debug, Default)]
pub(super) struct Names {
    services: HashMap<u32, String>,
    backends: Vec<Option<String>>,
}

impl Names {
    pub(super) fn of(stored: &Stored) -> Self {
        let services = view::names(stored).into_iter();
        let backends = stored.backends.iter();
        Self {
            services: services.map(|(id, key)| (id, key.to_string())).collect(),
            backends: backends
                .map(|entry| (!is_vacant(entry)).then(|| backend_key(entry).to_string()))
                .collect(),
        }
    }
}

/// A packet, as `--json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// Nanoseconds since 1970.
    time: u64,
    reason: &'static str,
    verdict: &'static str,
    /// `tcp` or `udp`; None for what is neither.
    protocol: Option<&'static str>,
    /// Whether it came from the client or from the backend.
    direction: Option<&'static str>,
    client: Option<String>,
    vip: Option<String>,
    service: Option<String>,
    backend: Option<String>,
    /// The balancer's port towards the backend.
    source_port: Option<u16>,
    /// What the routing table answered, where it was asked and had no address.
    route: Option<String>,
    /// Where the frame went.
    mac: Option<String>,
    bytes: u32,
    /// The headers as they came, where frames are kept.
    packet: Option<String>,
    /// As they left.
    sent: Option<String>,
}

impl Line {
    /// `offset` is what CLOCK_MONOTONIC lacks to the time since 1970.
    pub(super) fn of(told: &Told, names: &Names, offset: u64) -> Self {
        let event = &told.event;
        let reason = told.reason();
        let reply = told.reached(stage::REPLY);
        let parsed = told.reached(stage::PARSED);
        // A reply shows the client where it leaves to.
        let (client, vip) = match reply {
            true => (to(&event.sent), from(&event.sent)),
            false => (from(&event.key), to(&event.key)),
        };
        let nat = told.reached(stage::REQUEST | stage::REPLY | stage::OPENED)
            && event.sent.saddr != event.key.saddr;
        let towards = if reply { &event.key } else { &event.sent };
        let [source, destination] = ports(towards);
        let headers = |bytes: &[u8]| Headers::of(bytes).map(|headers| headers.to_string());
        let tx = reason.is_some_and(|reason| reason.verdict() == Verdict::Tx);
        let service = told.service().and_then(|id| names.services.get(&id));
        let backend = told
            .backend()
            .and_then(|index| names.backends.get(index as usize)?.clone());
        Self {
            time: event.time.wrapping_add(offset),
            reason: reason.map_or("unknown", |reason| reason.name()),
            verdict: reason.map_or("unknown", |reason| reason.verdict().name()),
            protocol: parsed.then(|| protocol_word(event.key.kind)),
            direction: parsed.then_some(if reply { "reply" } else { "request" }),
            client: parsed.then_some(client),
            vip: parsed.then_some(vip),
            service: service.cloned(),
            backend,
            source_port: nat.then_some(if reply { destination } else { source }),
            route: (told.reached(stage::ROUTED) && event.route != 0)
                .then(|| route_text(event.route)),
            mac: unpacked(event.mac).filter(|_| tx).map(show_mac),
            bytes: event.length,
            packet: headers(&told.before),
            sent: headers(&told.after).filter(|_| tx),
        }
    }

    /// What a capture says about a packet.
    pub(super) fn comment(&self, number: u64) -> String {
        let mut text = format!("#{number} {}", self.reason);
        for (what, name) in [("service", &self.service), ("backend", &self.backend)] {
            if let Some(name) = name {
                text += &format!(", {what} {name}");
            }
        }
        text
    }

    /// Whether it left the interface again.
    pub(super) fn left(&self) -> bool {
        self.verdict == Verdict::Tx.name()
    }

    /// When.
    pub(super) fn time(&self) -> u64 {
        self.time
    }
}

fn from(key: &FlowKey) -> String {
    end(key.saddr, ports(key)[0])
}

fn to(key: &FlowKey) -> String {
    end(key.daddr, ports(key)[1])
}

fn end(addr: xdplb_prog::abi::Addr, port: u16) -> String {
    SocketAddr::new(IpAddr::from(addr), port).to_string()
}

/// The line for people: `20:46:00.123456 opened  tcp 10.0.0.1:40000 -> 10.0.0.10:80 => 10.0.0.2:8000 from port 1024`. The time
/// is UTC; an answer's arrows point the other way.
pub(super) fn text(line: &Line) -> String {
    let micros = line.time / 1000;
    let (seconds, micros) = (micros / 1_000_000 % 86_400, micros % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let time = format!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06}");
    let what = match (&line.protocol, &line.client, &line.vip) {
        (Some(protocol), Some(client), Some(vip)) => {
            let reply = line.direction == Some("reply");
            let (first, second) = if reply { ("<-", "<=") } else { ("->", "=>") };
            let mut text = format!("{protocol} {client} {first} {vip}");
            if let Some(backend) = &line.backend {
                text += &format!(" {second} {backend}");
            }
            if let Some(port) = line.source_port {
                text += &format!(" {} port {port}", if reply { "to" } else { "from" });
            }
            text
        }
        _ => line.packet.clone().unwrap_or_else(|| "-".into()),
    };
    let mut text = format!("{time} {:<17} {what}", line.reason);
    // Where a packet left all the same, it took the address that was known before.
    if let Some(route) = line.route.as_ref().filter(|_| !line.left()) {
        text += &format!("; routing table: {route}");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::balancer::packet::Packet;
    use xdplb_prog::abi::{Addr, Be16, Be32, Event, Kind, Ports};
    use xdplb_prog::counters::Reason;

    fn key(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> FlowKey {
        FlowKey {
            saddr: Addr::v4(Be32(from.0)),
            daddr: Addr::v4(Be32(to.0)),
            ports: Ports::new(Be16::new(from.1), Be16::new(to.1)),
            kind: Kind::v4(6),
        }
    }

    fn line(event: Event, before: &str) -> Line {
        let names = Names {
            services: HashMap::from([(3, "10.0.0.10:80/tcp".into())]),
            backends: vec![None, Some("10.0.0.2:8000".into())],
        };
        let frame = Packet::parse(before).map(|packet| packet.frame([2; 6], [3; 6]));
        let told = Told {
            event: Event {
                time: 1_234_567_000,
                service: 3,
                backend: 1,
                ..event
            },
            before: frame.unwrap_or_default(),
            after: Vec::new(),
        };
        Line::of(&told, &names, 3_600_000_000_000)
    }

    const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
    const VIP: ([u8; 4], u16) = ([10, 0, 0, 10], 80);
    const OWN: ([u8; 4], u16) = ([10, 0, 0, 10], 1024);
    const BACKEND: ([u8; 4], u16) = ([10, 0, 0, 2], 8000);

    #[test]
    fn each_packet_is_a_line() {
        let opened = line(
            Event {
                reason: Reason::Opened as u32,
                stages: stage::PARSED | stage::SERVICE | stage::PICKED | stage::OPENED,
                key: key(CLIENT, VIP),
                sent: key(OWN, BACKEND),
                ..Event::default()
            },
            "",
        );
        assert_eq!(
            text(&opened),
            "01:00:01.234567 opened            tcp 10.0.0.1:40000 -> 10.0.0.10:80 => 10.0.0.2:8000 from port 1024"
        );
        assert_eq!(
            opened.comment(7),
            "#7 opened, service 10.0.0.10:80/tcp, backend 10.0.0.2:8000"
        );
        let replied = line(
            Event {
                reason: Reason::Replied as u32,
                stages: stage::PARSED | stage::REPLY,
                key: key(BACKEND, OWN),
                sent: key(VIP, CLIENT),
                ..Event::default()
            },
            "",
        );
        assert_eq!(
            text(&replied),
            "01:00:01.234567 replied           tcp 10.0.0.1:40000 <- 10.0.0.10:80 <= 10.0.0.2:8000 to port 1024"
        );
        let refused = line(
            Event {
                reason: Reason::NoRoute as u32,
                stages: stage::PARSED | stage::SERVICE | stage::PICKED | stage::ROUTED,
                key: key(CLIENT, VIP),
                route: 7,
                ..Event::default()
            },
            "",
        );
        assert_eq!(
            text(&refused),
            "01:00:01.234567 no_route          tcp 10.0.0.1:40000 -> 10.0.0.10:80 => 10.0.0.2:8000; routing table: the neighbour is not resolved (BPF_FIB_LKUP_RET_NO_NEIGH)"
        );
    }

    #[test]
    fn what_is_of_no_flow_is_shown_by_its_headers() {
        let echo = Event {
            reason: Reason::EchoReplied as u32,
            ..Event::default()
        };
        assert_eq!(
            text(&line(echo, "icmp 10.0.0.1 -> 10.0.0.10")),
            "01:00:01.234567 echo_replied      icmp 10.0.0.1 -> 10.0.0.10 echo request"
        );
        let echo = line(echo, "");
        assert_eq!(text(&echo), "01:00:01.234567 echo_replied      -");
        assert_eq!(echo.comment(1), "#1 echo_replied");
        let json = serde_json::to_value(&echo).unwrap();
        assert_eq!(
            (&json["reason"], &json["client"]),
            (&"echo_replied".into(), &serde_json::Value::Null)
        );
    }
}
