//! `status`: who is at which interface's XDP hook, and how its balancer does.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::interfaces::{Interface, NONE, all, no_balancer};
use super::source::count;
use super::{OneArgs, say, say_json};
use crate::balancer::lock::InterfaceLock;
use crate::balancer::program;
use crate::balancer::running::{Occupant, Running};
use crate::balancer::settings::{Machine, Settings};
use crate::balancer::tracer::is_traced;
use crate::balancer::view::{ServiceView, View};
use crate::netlink::{Link, Socket};
use crate::object::Spec;

/// The whole answer, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Status {
    interfaces: Vec<InterfaceStatus>,
}

#[derive(Debug, Serialize)]
struct InterfaceStatus {
    ifname: String,
    mode: String,
    program_id: u32,
    /// None where it may not be seen.
    program_name: Option<String>,
    /// None for somebody else's program.
    balancer: Option<BalancerStatus>,
}

#[derive(Debug, Serialize)]
struct BalancerStatus {
    program_tag: String,
    age_seconds: u64,
    loader: Loader,
    /// Whether its program tells what it does, to somebody who runs `trace` or did.
    traced: bool,
    /// The addresses that backends answer to; none where the constants cannot be read.
    balancer: Vec<String>,
    services: Vec<ServiceView>,
    connections: u64,
    connections_room: u32,
    pins: Option<PathBuf>,
}

/// Whether the command that attached it is still there.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Loader {
    Running,
    Gone,
}

/// Prints what runs on each interface, or on the named one, which must have a balancer.
pub(super) fn status(args: &OneArgs) -> Result<()> {
    let socket = Socket::open()?;
    let spec = program::parse(crate::PROGRAM)?;
    let mut interfaces = Vec::new();
    for Interface { link, occupant } in all(&socket, args.ifname.as_deref())? {
        match (&occupant, &args.ifname) {
            (Occupant::Ours(running), _) => {
                interfaces.push(of(&link, &occupant, Some(balancer(&link, running, &spec)?)));
            }
            (Occupant::Nothing | Occupant::Foreign(_), Some(name)) => {
                return Err(no_balancer(name, &occupant));
            }
            (Occupant::Foreign(_), None) => interfaces.push(of(&link, &occupant, None)),
            (Occupant::Nothing, None) => {}
        }
    }
    let interfaces: Vec<_> = interfaces.into_iter().flatten().collect();
    if args.json {
        return say_json(&Status { interfaces });
    }
    if interfaces.is_empty() {
        say(format_args!("{NONE}"));
    }
    for interface in &interfaces {
        say(format_args!("{}", text(interface)));
    }
    Ok(())
}

fn of(
    link: &Link,
    occupant: &Occupant,
    balancer: Option<BalancerStatus>,
) -> Option<InterfaceStatus> {
    let (mode, program_id, program_name) = match occupant {
        Occupant::Nothing => return None,
        Occupant::Ours(running) => (
            running.mode,
            running.info.id,
            Some(running.info.name.clone()),
        ),
        Occupant::Foreign(foreign) => (foreign.mode, foreign.id, foreign.name.clone()),
    };
    Some(InterfaceStatus {
        ifname: link.name.clone(),
        mode: mode.to_string(),
        program_id,
        program_name,
        balancer,
    })
}

fn balancer(link: &Link, running: &Running, spec: &Spec) -> Result<BalancerStatus> {
    let settings = running.settings(spec)?;
    let view = View::read(running, &Machine::ask())?;
    Ok(BalancerStatus {
        program_tag: running
            .info
            .tag
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect(),
        age_seconds: age(running.info.load_time).as_secs(),
        loader: match InterfaceLock::is_held(link.ifindex) {
            true => Loader::Running,
            false => Loader::Gone,
        },
        traced: is_traced(spec, running)?,
        balancer: settings.as_ref().map_or_else(Vec::new, addresses),
        services: view.services,
        connections: view.live,
        connections_room: running.entries("connections"),
        pins: running.pins(),
    })
}

/// The addresses that backends answer to.
fn addresses(settings: &Settings) -> Vec<String> {
    let (v4, v6) = (settings.balancer_v4, settings.balancer_v6);
    let v4 = (!v4.is_unspecified()).then(|| v4.to_string());
    let v6 = (!v6.is_unspecified()).then(|| v6.to_string());
    v4.into_iter().chain(v6).collect()
}

/// How long ago that was; `load_time` counts nanoseconds since boot, sleep included (`ktime_get_boottime_ns`).
fn age(load_time: u64) -> Duration {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    now.saturating_sub(Duration::from_nanos(load_time))
}

fn text(interface: &InterfaceStatus) -> String {
    let InterfaceStatus {
        ifname,
        mode,
        program_id,
        program_name,
        balancer,
    } = interface;
    let program = match program_name {
        Some(name) => format!("{program_id} `{}`", name.escape_debug()),
        None => format!("{program_id} (what it is takes cap_sys_admin to see)"),
    };
    let Some(balancer) = balancer else {
        return format!("{ifname}  {mode}, XDP program {program}, not a balancer of ours");
    };
    let loader = match balancer.loader {
        Loader::Running => "running",
        Loader::Gone => "gone; the balancer goes on without it",
    };
    let addresses = match balancer.balancer.join(", ") {
        none if none.is_empty() => "unknown".to_string(),
        addresses => addresses,
    };
    let mut lines = vec![
        format!("{ifname}  {mode}, XDP program {program}"),
        format!("  tag          {}", balancer.program_tag),
        format!("  attached     {} ago", show_age(balancer.age_seconds)),
        format!("  loader       {loader}"),
        format!("  balancer     {addresses}"),
        format!(
            "  connections  {} of {}",
            balancer.connections, balancer.connections_room
        ),
    ];
    if balancer.traced {
        lines.push("  traced       xdplb-load trace listens, or was killed; the next start or trace ends it".into());
    }
    if let Some(pins) = &balancer.pins {
        lines.push(format!("  pins         {}", pins.display()));
    }
    let shown = balancer.services.iter().take(SHOWN);
    lines.extend(shown.flat_map(service_lines));
    if let Some(more @ 1..) = balancer.services.len().checked_sub(SHOWN) {
        let more = count(more as u64, "more service");
        lines.push(format!("  … and {more}: xdplb-load stats {ifname}"));
    }
    lines.join("\n")
}

/// More services than these are counted, not shown.
const SHOWN: usize = 20;

fn service_lines(service: &ServiceView) -> Vec<String> {
    let name = &service.service;
    let live = count(service.live, "connection");
    let mut lines = vec![format!("  service      {name}, {}, {live}", service.mode)];
    lines.extend(service.backends.iter().map(|backend| {
        let mac = backend.mac.as_deref().unwrap_or("no MAC yet");
        format!(
            "    backend    {}, {mac}, {}, weight {}, {}",
            backend.name(),
            backend.shown_state(),
            backend.weight,
            count(backend.live, "connection")
        )
    }));
    lines
}

fn show_age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (_, _, _) => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::view::BackendView;

    fn sample() -> InterfaceStatus {
        InterfaceStatus {
            ifname: "veth6".into(),
            mode: "generic".into(),
            program_id: 42,
            program_name: Some("xdp_load_balanc".into()),
            balancer: Some(BalancerStatus {
                program_tag: "0123456789abcdef".into(),
                age_seconds: 3700,
                loader: Loader::Running,
                traced: false,
                balancer: vec!["10.0.0.10".into(), "fd00::10".into()],
                services: vec![ServiceView {
                    service: "10.0.0.10/tcp".into(),
                    mode: "nat",
                    opened: 7,
                    refused: 0,
                    live: 5,
                    backends: vec![BackendView {
                        ip: "10.0.0.2".into(),
                        port: None,
                        state: "draining",
                        live_state: true,
                        weight: 1,
                        mac: Some("de:ad:be:ef:00:02".into()),
                        live: 1,
                        new_connections: 7,
                        to_packets: 0,
                        to_bytes: 0,
                        from_packets: 0,
                        from_bytes: 0,
                    }],
                }],
                connections: 5,
                connections_room: 65_536,
                pins: Some("/sys/fs/bpf/lb/veth6".into()),
            }),
        }
    }

    #[test]
    fn a_balancer_is_told_in_full() {
        assert_eq!(
            text(&sample()),
            "\
veth6  generic, XDP program 42 `xdp_load_balanc`
  tag          0123456789abcdef
  attached     1 h 1 min ago
  loader       running
  balancer     10.0.0.10, fd00::10
  connections  5 of 65536
  pins         /sys/fs/bpf/lb/veth6
  service      10.0.0.10/tcp, nat, 5 connections
    backend    10.0.0.2, de:ad:be:ef:00:02, draining*, weight 1, 1 connection"
        );
    }

    #[test]
    fn somebody_elses_program_is_named() {
        let mut foreign = InterfaceStatus {
            balancer: None,
            ..sample()
        };
        foreign.program_name = Some("xdp_filter".into());
        assert_eq!(
            text(&foreign),
            "veth6  generic, XDP program 42 `xdp_filter`, not a balancer of ours"
        );
        foreign.program_name = None;
        assert_eq!(
            text(&foreign),
            "veth6  generic, XDP program 42 (what it is takes cap_sys_admin to see), not a balancer of ours"
        );
    }

    #[test]
    fn ages_have_two_units() {
        let ages = [5, 65, 3700, 200_000].map(show_age);
        assert_eq!(ages, ["5 s", "1 min 5 s", "1 h 1 min", "2 d 7 h"]);
    }
}
