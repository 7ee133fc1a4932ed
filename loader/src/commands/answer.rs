//! PURE: what `ask` found out, stage by stage and in words.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use xdplb_prog::abi::{self, Connection, FlowKey, backend, mode, stage};
use xdplb_prog::counters::{Reason, Verdict};

use crate::balancer::ask::{Asked, Ingress};
use crate::balancer::before::state_of;
use crate::balancer::event::{ports, protocol_word, route_text, state_text};
use crate::balancer::packet::Headers;
use crate::balancer::readback::Stored;
use crate::balancer::service::{Word as _, show_mac};
use crate::balancer::settings::Settings;
use crate::balancer::tables::{backend_key, is_vacant, unpacked};
use crate::balancer::view::mode_name;

/// What is known of the balancer.
#[derive(Debug)]
pub(super) struct Known<'k> {
    pub ifname: &'k str,
    pub stored: &'k Stored,
    pub settings: &'k Settings,
    /// The record of the flow that was found, and the seconds since its last packet.
    pub flow: Option<(Connection, u32)>,
}

/// The whole answer, as `--json` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    ifname: String,
    packet: String,
    bytes: usize,
    /// As the program reads it; None for what is neither TCP nor UDP.
    parsed: Option<String>,
    flow: Option<Flow>,
    service: Option<Service>,
    picked: Option<Picked>,
    /// What the routing table said of the next hop.
    route: Option<String>,
    sent: Option<Sent>,
    reason: &'static str,
    verdict: &'static str,
    text: &'static str,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Flow {
    slot: u32,
    /// `request` or `reply`.
    direction: &'static str,
    state: String,
    idle_seconds: Option<u32>,
    backend: Option<String>,
    backend_state: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Service {
    service: String,
    mode: &'static str,
}

#[derive(Debug, Serialize)]
struct Picked {
    table_slot: u32,
    table_slots: u32,
    backend: String,
    state: &'static str,
    weight: u16,
}

#[derive(Debug, Serialize)]
struct Sent {
    packet: String,
    /// The ports of which one would be taken, of a flow that would be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ports: Option<[u16; 2]>,
    from_mac: String,
    to_mac: String,
    ttl: Option<u8>,
    vlans: Vec<u16>,
    bytes: usize,
}

impl Answer {
    /// Puts it together. `packet` is the frame that was asked about.
    pub(super) fn of(packet: &[u8], asked: &Asked, known: &Known<'_>) -> Self {
        let told = &asked.told;
        let event = &told.event;
        let backend = told.backend().and_then(|index| entry(known.stored, index));
        let service = known.stored.services.iter();
        let service = service.clone().find(|(_, s)| Some(s.id) == told.service());
        let opens = told.reached(stage::PICKED);
        let reason = match told.reason() {
            // Without a record is how a dry run does what needs none.
            Some(Reason::Stateless) if opens => Reason::Opened,
            Some(reason) => reason,
            None => Reason::Contended,
        };
        let mut answer = Self {
            ifname: known.ifname.into(),
            packet: Headers::of(packet).map_or_else(String::new, |headers| headers.to_string()),
            bytes: packet.len(),
            parsed: told.reached(stage::PARSED).then(|| flow_text(&event.key)),
            flow: flow(asked, known),
            service: service.map(|(key, entry)| Service {
                service: key.to_string(),
                mode: mode_name(entry.mode),
            }),
            picked: backend.filter(|_| opens).map(|entry| Picked {
                table_slot: event.table_slot,
                table_slots: service.map_or(0, |(_, service)| service.slots),
                backend: backend_key(entry).to_string(),
                state: shown_state(entry),
                weight: entry.weight,
            }),
            route: route(asked, backend),
            sent: None,
            reason: reason.name(),
            verdict: reason.verdict().name(),
            text: reason.text(),
            notes: Vec::new(),
        };
        if reason.verdict() == Verdict::Tx {
            let nat = service
                .map(|(_, entry)| entry)
                .filter(|s| s.mode == mode::NAT);
            answer.sent = match (nat, backend, reason) {
                (Some(nat), Some(backend), Reason::Opened) => {
                    Some(would_send(packet, nat, backend, event.mac, known.settings))
                }
                (_, _, _) => sent(&asked.frame),
            };
        }
        answer.notes = notes(asked, reason, opens);
        answer
    }
}

fn entry(stored: &Stored, index: u32) -> Option<&abi::Backend> {
    stored
        .backends
        .get(index as usize)
        .filter(|entry| !is_vacant(entry))
}

fn shown_state(entry: &abi::Backend) -> &'static str {
    match entry.flags & backend::GONE {
        0 => state_of(entry).name(),
        _ => "gone",
    }
}

fn flow(asked: &Asked, known: &Known<'_>) -> Option<Flow> {
    let told = &asked.told;
    let direction = if told.reached(stage::REQUEST) {
        "request"
    } else if told.reached(stage::REPLY) {
        "reply"
    } else {
        return None;
    };
    // Where a new flow takes its place, the event names the new one's backend.
    let number = match &known.flow {
        Some((flow, _)) => flow.backend,
        None => told.event.backend,
    };
    let backend = entry(known.stored, number);
    Some(Flow {
        slot: told.event.slot,
        direction,
        state: state_text(told.event.state),
        idle_seconds: known.flow.as_ref().map(|(_, idle)| *idle),
        backend: backend.map(|entry| backend_key(entry).to_string()),
        backend_state: backend.map(shown_state),
    })
}

fn route(asked: &Asked, backend: Option<&abi::Backend>) -> Option<String> {
    let told = &asked.told;
    let event = &told.event;
    if !told.reached(stage::ROUTED) {
        let fixed = backend.is_some_and(|entry| entry.flags & backend::FIXED_MAC != 0);
        let sent = told.reached(stage::SENT);
        return (fixed && sent).then(|| "not asked: the configuration gives the MAC".into());
    }
    let mut text = route_text(event.route);
    if event.route != 0 {
        text += match told.reached(stage::SENT) {
            true => "; the address known from before is taken",
            false => "; no address is known from before",
        };
    }
    Some(text)
}

/// `tcp 10.0.0.1:40000 -> 10.0.0.10:80`.
pub(super) fn flow_text(key: &FlowKey) -> String {
    let [from, to] = ports(key);
    let end = |addr, port| SocketAddr::new(IpAddr::from(addr), port);
    format!(
        "{} {} -> {}",
        protocol_word(key.kind),
        end(key.saddr, from),
        end(key.daddr, to)
    )
}

/// What left, by its bytes.
fn sent(frame: &[u8]) -> Option<Sent> {
    let headers = Headers::of(frame)?;
    Some(Sent {
        packet: headers.to_string(),
        source_ports: None,
        from_mac: show_mac(headers.from),
        to_mac: show_mac(headers.to),
        ttl: headers.ips.first().map(|ip| ip.hops),
        vlans: headers.vlans,
        bytes: frame.len(),
    })
}

/// What would leave of a flow whose port is not chosen, since it is not opened.
fn would_send(
    packet: &[u8],
    service: &abi::Service,
    backend: &abi::Backend,
    mac: u64,
    settings: &Settings,
) -> Sent {
    let headers = Headers::of(packet).unwrap_or_default();
    let to = IpAddr::from(backend.addr);
    let from = match to {
        IpAddr::V4(_) => IpAddr::from(settings.balancer_v4),
        IpAddr::V6(_) => IpAddr::from(settings.balancer_v6),
    };
    let (kind, own) = match headers.transport {
        Some(crate::balancer::packet::Transport::Udp(_, port)) => ("udp", port),
        Some(crate::balancer::packet::Transport::Tcp(_, port, _)) => ("tcp", port),
        Some(_) | None => ("ip", 0),
    };
    let port = match backend.port.get() {
        0 => own,
        port => port,
    };
    let bracketed = match from {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Sent {
        packet: format!(
            "{kind} {bracketed}:(a port of {}-{}) -> {}",
            service.port_low,
            service.port_high,
            SocketAddr::new(to, port)
        ),
        source_ports: Some([service.port_low, service.port_high]),
        from_mac: show_mac(settings.balancer_mac),
        to_mac: unpacked(mac).map_or_else(|| "unknown".into(), show_mac),
        ttl: headers.ips.first().map(|ip| ip.hops.saturating_sub(1)),
        vlans: headers.vlans,
        bytes: packet.len(),
    }
}

fn notes(asked: &Asked, reason: Reason, opens: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if opens && reason == Reason::Opened {
        notes.push("no flow was opened: whether a slot and a port are free shows only then".into());
    }
    if asked.ingress == Ingress::Unknown {
        notes.push(
            "this kernel cannot be told the interface (Linux 5.14): the routing table was asked as for loopback"
                .into(),
        );
    }
    if !asked.same {
        notes.push("the program that runs is of another build; asked was the built-in one".into());
    }
    notes
}

/// The answer for people.
pub(super) fn text(answer: &Answer) -> String {
    let mut text = format!(
        "{}: {}, {} bytes",
        answer.ifname, answer.packet, answer.bytes
    );
    let mut line = |name: &str, what: &str| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {name:<9}{what}");
    };
    if let Some(parsed) = &answer.parsed {
        line("parsed", parsed);
    }
    match (&answer.flow, &answer.parsed) {
        (Some(flow), _) => line("flow", &flow_line(flow)),
        (None, Some(_)) => line("flow", "none known"),
        (None, None) => {}
    }
    match (&answer.service, &answer.parsed) {
        (Some(service), _) => line(
            "service",
            &format!("{} ({})", service.service, service.mode),
        ),
        (None, Some(_)) => line("service", "none"),
        (None, None) => {}
    }
    if let Some(picked) = &answer.picked {
        let Picked {
            table_slot,
            table_slots,
            backend,
            state,
            weight,
        } = picked;
        line(
            "picked",
            &format!("{backend} ({state}, weight {weight}) by slot {table_slot} of {table_slots}"),
        );
    }
    if let Some(route) = &answer.route {
        line("route", route);
    }
    if let Some(sent) = &answer.sent {
        line("sent", &sent.packet);
        let mut frame = format!("{} -> {}, {} bytes", sent.from_mac, sent.to_mac, sent.bytes);
        if let Some(ttl) = sent.ttl {
            let _ = write!(frame, ", ttl {ttl}");
        }
        for vlan in &sent.vlans {
            let _ = write!(frame, ", vlan {vlan}");
        }
        line("frame", &frame);
    }
    line(
        "verdict",
        &format!("{}, {}: {}", answer.verdict, answer.reason, answer.text),
    );
    for note in &answer.notes {
        line("note", note);
    }
    text
}

fn flow_line(flow: &Flow) -> String {
    let of = match flow.direction {
        "reply" => "from",
        _ => "to",
    };
    let mut text = format!("slot {}, {}", flow.slot, flow.state);
    if let Some(seconds) = flow.idle_seconds {
        let _ = write!(text, ", last packet {seconds} s ago");
    }
    if let (Some(backend), Some(state)) = (&flow.backend, flow.backend_state) {
        let _ = write!(text, ", {of} {backend} ({state})");
    }
    text
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
