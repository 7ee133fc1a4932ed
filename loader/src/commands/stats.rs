//! `stats`: what the balancer counted, by reason, service and backend; with `--watch`, how much of it a second.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use xdplb_prog::counters::Reason;

use super::interfaces::{NONE, balancers, table};
use super::{StatsArgs, say, say_json};
use crate::balancer::settings::Machine;
use crate::balancer::view::{BackendView, ReasonView, ServiceView, View};
use crate::netlink::Socket;

/// The whole answer, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Stats {
    /// With `--watch`: over how long the counts are; they are what came in that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    interfaces: Vec<InterfaceStats>,
}

#[derive(Debug, Clone, Serialize)]
struct InterfaceStats {
    ifname: String,
    #[serde(flatten)]
    view: View,
}

/// Prints the counters of each balancer, or of the one at the named interface.
pub(super) fn stats(args: &StatsArgs) -> Result<()> {
    let socket = Socket::open()?;
    let ifname = args.ifname.as_deref();
    let mut interfaces = read(&socket, ifname)?;
    let Some(seconds) = args.watch else {
        return show(args, None, interfaces);
    };
    let pause = Duration::from_secs_f64(seconds);
    let mut since = Instant::now();
    loop {
        std::thread::sleep(pause);
        let now = read(&socket, ifname)?;
        let elapsed = since.elapsed().as_secs_f64();
        since = Instant::now();
        let rates = now.iter().map(|now| {
            let before = interfaces.iter().find(|before| before.ifname == now.ifname);
            before.map_or_else(|| now.clone(), |before| difference(before, now))
        });
        show(args, Some(elapsed), rates.collect())?;
        interfaces = now;
    }
}

fn read(socket: &Socket, ifname: Option<&str>) -> Result<Vec<InterfaceStats>> {
    let machine = Machine::ask();
    let mut interfaces = Vec::new();
    for (link, running) in balancers(socket, ifname)? {
        interfaces.push(InterfaceStats {
            ifname: link.name,
            view: View::read(&running, &machine)?,
        });
    }
    Ok(interfaces)
}

fn show(args: &StatsArgs, seconds: Option<f64>, interfaces: Vec<InterfaceStats>) -> Result<()> {
    if args.json {
        let stats = Stats {
            seconds,
            interfaces,
        };
        if seconds.is_some() {
            // A line each, for who reads along.
            say(format_args!("{}", serde_json::to_string(&stats)?));
            return Ok(());
        }
        return say_json(&stats);
    }
    if interfaces.is_empty() {
        say(format_args!("{NONE}"));
    }
    for interface in &interfaces {
        say(format_args!("{}", text(interface, seconds)?));
    }
    Ok(())
}

/// What came between two looks. Live flows are as they are now.
fn difference(before: &InterfaceStats, now: &InterfaceStats) -> InterfaceStats {
    let mut new = now.clone();
    for (count, old) in new.view.counters.iter_mut().zip(&before.view.counters) {
        count.packets = count.packets.saturating_sub(old.packets);
        count.bytes = count.bytes.saturating_sub(old.bytes);
    }
    for service in &mut new.view.services {
        let old = before.view.services.iter();
        let Some(old) = old.into_iter().find(|old| old.service == service.service) else {
            continue;
        };
        service.opened = service.opened.saturating_sub(old.opened);
        service.refused = service.refused.saturating_sub(old.refused);
        for backend in &mut service.backends {
            let mut old = old.backends.iter();
            let same = |old: &&BackendView| old.ip == backend.ip && old.port == backend.port;
            if let Some(old) = old.find(same).cloned() {
                subtract(backend, &old);
            }
        }
    }
    new
}

fn subtract(backend: &mut BackendView, old: &BackendView) {
    for (new, old) in [
        (&mut backend.new_connections, old.new_connections),
        (&mut backend.to_packets, old.to_packets),
        (&mut backend.to_bytes, old.to_bytes),
        (&mut backend.from_packets, old.from_packets),
        (&mut backend.from_bytes, old.from_bytes),
    ] {
        *new = new.saturating_sub(old);
    }
}

/// Numbers as they are, or a second.
struct Rate(Option<f64>);

impl Rate {
    fn show(&self, number: u64) -> String {
        match self.0 {
            Some(seconds) if seconds > 0.0 => format!("{:.0}", number as f64 / seconds),
            Some(_) | None => number.to_string(),
        }
    }
}

/// The tables, without the reasons for which no packet left.
fn text(interface: &InterfaceStats, seconds: Option<f64>) -> Result<String> {
    let rate = Rate(seconds);
    let title = match seconds {
        Some(seconds) => format!("{}  a second, over {seconds:.1} s", interface.ifname),
        None => interface.ifname.clone(),
    };
    let view = &interface.view;
    Ok(format!(
        "{title}\n{}\n\n{}\n\n{}",
        reasons(&view.counters, &rate)?,
        services(&view.services, &rate)?,
        backends(&view.services, &rate)?
    ))
}

fn head<const N: usize>(names: [&str; N]) -> Vec<Vec<String>> {
    vec![names.map(String::from).to_vec()]
}

fn reasons(counters: &[ReasonView], rate: &Rate) -> Result<String> {
    let mut rows = head(["reason", "verdict", "packets", "bytes", ""]);
    for (count, reason) in counters.iter().zip(Reason::ALL) {
        if count.packets > 0 {
            rows.push(vec![
                count.reason.into(),
                count.verdict.into(),
                rate.show(count.packets),
                rate.show(count.bytes),
                reason.text().into(),
            ]);
        }
    }
    match (rows.len(), rate.0) {
        (1, None) => Ok("  no packet yet".into()),
        (1, Some(_)) => Ok("  no packet".into()),
        _ => table(&rows),
    }
}

fn services(services: &[ServiceView], rate: &Rate) -> Result<String> {
    let mut rows = head(["service", "mode", "opened", "refused", "live"]);
    rows.extend(services.iter().map(|service| {
        vec![
            service.service.clone(),
            service.mode.into(),
            rate.show(service.opened),
            rate.show(service.refused),
            service.live.to_string(),
        ]
    }));
    table(&rows)
}

fn backends(services: &[ServiceView], rate: &Rate) -> Result<String> {
    let mut rows = head([
        "service",
        "backend",
        "state",
        "opened",
        "live",
        "packets to",
        "bytes to",
        "packets from",
        "bytes from",
    ]);
    for service in services {
        rows.extend(service.backends.iter().map(|backend| {
            vec![
                service.service.clone(),
                backend.name(),
                backend.shown_state(),
                rate.show(backend.new_connections),
                backend.live.to_string(),
                rate.show(backend.to_packets),
                rate.show(backend.to_bytes),
                rate.show(backend.from_packets),
                rate.show(backend.from_bytes),
            ]
        }));
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn sample(packets: u64) -> InterfaceStats {
        let counters = Reason::ALL.iter().map(|reason| {
            let packets = if *reason == Reason::Opened {
                packets
            } else {
                0
            };
            ReasonView {
                reason: reason.name(),
                verdict: reason.verdict().name(),
                packets,
                bytes: packets * 74,
            }
        });
        let backend = BackendView {
            ip: "10.0.0.2".into(),
            port: Some(8000),
            state: "active",
            live_state: false,
            weight: 1,
            mac: Some("de:ad:be:ef:00:02".into()),
            live: 6,
            new_connections: packets,
            to_packets: 2,
            to_bytes: 3,
            from_packets: 4,
            from_bytes: 5,
        };
        InterfaceStats {
            ifname: "veth6".into(),
            view: View {
                counters: counters.collect(),
                services: vec![ServiceView {
                    service: "10.0.0.10:80/tcp".into(),
                    mode: "nat",
                    opened: packets,
                    refused: 1,
                    live: 6,
                    backends: vec![backend],
                }],
                live: 6,
            },
        }
    }

    #[test]
    fn text_leaves_out_what_did_not_happen() {
        assert_eq!(
            text(&sample(12), None).unwrap(),
            "\
veth6
  reason  verdict  packets  bytes
  opened  tx            12    888  A client's packet that opened a flow, sent to the backend picked for it

  service           mode  opened  refused  live
  10.0.0.10:80/tcp  nat       12        1     6

  service           backend        state   opened  live  packets to  bytes to  packets from  bytes from
  10.0.0.10:80/tcp  10.0.0.2:8000  active      12     6           2         3             4           5"
        );
        let text = text(&sample(0), None).unwrap();
        assert!(text.starts_with("veth6\n  no packet yet\n\n"));
    }

    #[test]
    fn rates_are_what_came_a_second() {
        let rates = difference(&sample(12), &sample(32));
        assert_eq!(rates.view.services[0].backends[0].to_packets, 0);
        let text = text(&rates, Some(2.0)).unwrap();
        assert!(
            text.starts_with("veth6  a second, over 2.0 s\n  reason  verdict  packets  bytes\n  opened  tx            10    740  "),
            "{text}"
        );
        assert!(text.contains("nat       10        0     6"), "{text}");
    }

    #[test]
    fn json_has_every_reason() {
        let stats = Stats {
            seconds: None,
            interfaces: vec![sample(12)],
        };
        let value = serde_json::to_value(&stats).unwrap();
        assert!(value.get("seconds").is_none());
        let interface = &value["interfaces"][0];
        assert_eq!(interface["ifname"], "veth6");
        let counters = interface["counters"].as_array().unwrap();
        assert_eq!(counters.len(), Reason::COUNT);
        assert_eq!(
            interface["counters"][1],
            serde_json::json!({"reason": "opened", "verdict": "tx", "packets": 12, "bytes": 888})
        );
        assert_eq!(
            interface["services"][0]["backends"][0]["new_connections"],
            12
        );
    }
}
