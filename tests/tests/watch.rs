//! Asking changes nothing, and listening leaves no trace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use xdplb_loader::balancer::program::MAPS;
use xdplb_loader::balancer::running::{Occupant, Running};
use xdplb_loader::netlink::Socket;
use xdplb_tests::balancer::{self, Balancer, LIMIT};
use xdplb_tests::client::{Connection, Options};
use xdplb_tests::files::Folder;
use xdplb_tests::run::Output;
use xdplb_tests::services::Config;
use xdplb_tests::through::{Kind, Servers, services};
use xdplb_tests::topology::{Family, Mode, Plan, Topology};

/// The port of the connection that is there already.
const KNOWN: u16 = 40_001;

/// Every kind of service; few connections, which are read often.
fn config(topology: &Topology, backends: &[usize]) -> Config {
    Config {
        connections: Some(1000),
        services: services(topology, &Kind::ALL, backends),
    }
}

/// Runs `action` with a balancer over every kind of service, and a connection through it.
fn with_balancer(
    mode: Mode,
    action: impl FnOnce(&Topology, Balancer<'_>, &mut Connection) -> Result<()>,
) -> Result<()> {
    let topology = Topology::build(Plan::dual())?;
    topology.hold_vip()?;
    let _servers = Servers::start(&topology, &Kind::ALL)?;
    let _stub = topology.stub(mode)?;
    let config = config(&topology, &[0, 1]);
    let balancer = Balancer::start_file(&topology, mode, &config)?;
    let options = Options {
        from: Some((topology.client(Family::V4), KNOWN).into()),
        ..Options::default()
    };
    let to = topology.vip(Family::V4, Kind::Nat.port());
    let mut connection = Connection::open_with(&topology.clients, to, options)?;
    connection.get(1000)?;
    action(&topology, balancer, &mut connection).with_context(|| format!("{mode:?}"))?;
    topology.check_checksums()
}

/// The balancer at veth6.
fn running(topology: &Topology) -> Result<Box<Running>> {
    topology.lb.run(|| {
        let link = Socket::open()?.link_by_name("veth6")?.context("no veth6")?;
        match Occupant::of(&link)? {
            Occupant::Ours(running) => Ok(running),
            other => bail!("{other:?}"),
        }
    })
}

/// The entries of maps, by their names.
type Contents = BTreeMap<String, Vec<(Vec<u8>, Vec<u8>)>>;

/// All that its maps hold, by their names.
fn contents(topology: &Topology) -> Result<Contents> {
    let running = running(topology)?;
    let maps = MAPS.iter().map(|shared| shared.name);
    let mut contents = BTreeMap::new();
    // What a packet hands from one function to the next is no state.
    for name in maps.filter(|name| *name != "scratch") {
        let mut entries = running.map(name).context(name)?.entries()?;
        entries.sort();
        contents.insert(name.to_string(), entries);
    }
    for section in [".rodata", ".bss"] {
        let bytes = running.section(section)?.context(section)?;
        contents.insert(section.into(), vec![(Vec::new(), bytes)]);
    }
    Ok(contents)
}

fn ask(balancer: &Balancer<'_>, packet: &str) -> Result<Value> {
    let output = balancer.command(&["ask", "veth6", packet, "--json"])?;
    serde_json::from_str(&output.stdout).with_context(|| output.stdout.clone())
}

/// Asks, and wants nothing to be different afterwards. A neighbour's own packets are counted at any time, so another try is
/// granted.
fn ask_quietly(topology: &Topology, balancer: &Balancer<'_>, packet: &str) -> Result<Value> {
    let mut changed = Vec::new();
    for _ in 0..5 {
        let before = contents(topology)?;
        let answer = ask(balancer, packet)?;
        let after = contents(topology)?;
        if before == after {
            return Ok(answer);
        }
        let differs = before
            .iter()
            .filter(|(name, entries)| after.get(*name) != Some(entries));
        changed = differs.map(|(name, _)| name.clone()).collect();
        ensure!(
            changed.iter().all(|name| name == "counters"),
            "{packet}: {changed:?}"
        );
    }
    bail!("{packet}: {changed:?} change each time");
}

#[test]
fn asking_changes_nothing() -> Result<()> {
    for mode in Mode::ALL {
        with_balancer(mode, |topology, balancer, connection| {
            let client = |family, port| SocketAddr::new(topology.client(family), port);
            for kind in Kind::ALL {
                for family in kind.families() {
                    let to = topology.vip(*family, kind.port());
                    for protocol in ["tcp", "udp"] {
                        let packet = format!("{protocol} {} -> {to}", client(*family, 50_000));
                        let answer = ask_quietly(topology, &balancer, &packet)?;
                        ensure!(answer["reason"] == "opened", "{packet}: {answer}");
                        let own = answer["sent"]["source_ports"].is_array();
                        ensure!(own == (kind == Kind::Nat), "{packet}: {answer}");
                    }
                }
            }
            let (from, to) = (
                client(Family::V4, KNOWN),
                topology.vip(Family::V4, Kind::Nat.port()),
            );
            for (words, reason) in [
                (format!("tcp {from} -> {to} ack"), "forwarded"),
                (format!("tcp {from} -> {to} fin ack"), "forwarded"),
                (
                    format!("tcp {from} -> {to} rst vlan 7 len 100"),
                    "forwarded",
                ),
                (format!("tcp {from} -> {to} ack ttl 1"), "ttl_expired"),
                (
                    format!("tcp {} -> {to} ack", client(Family::V4, 50_000)),
                    "no_connection",
                ),
                (format!("icmp {} -> {}", from.ip(), to.ip()), "echo_replied"),
            ] {
                let answer = ask_quietly(topology, &balancer, &words)?;
                ensure!(answer["reason"] == reason, "{words}: {answer}");
            }
            let answer = ask(&balancer, &format!("tcp {from} -> {to} ack"))?;
            ensure!(answer["flow"]["state"] == "established", "{answer}");
            connection.get(1000).map(drop)
        })?;
    }
    Ok(())
}

/// Runs `trace` beside `action`, which begins when the trace does and ends it.
fn traced<T>(
    topology: &Topology,
    arguments: &[&str],
    action: impl FnOnce() -> Result<T>,
) -> Result<(Output, T)> {
    let command = balancer::command(&topology.lb, &[&["trace", "veth6"], arguments].concat())?;
    let tracer = Balancer::spawn(topology, command)?;
    wait_until(topology, true)?;
    let done = action();
    let output = tracer.stop(Signal::SIGINT)?;
    let done = done.with_context(|| format!("{output:?}"))?;
    Ok((output, done))
}

fn is_traced(topology: &Topology) -> Result<bool> {
    let output = balancer::output(&topology.lb, &["status", "veth6", "--json"])?;
    let status: Value =
        serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))?;
    let traced = status["interfaces"][0]["balancer"]["traced"].as_bool();
    traced.with_context(|| output.stdout)
}

fn wait_until(topology: &Topology, traced: bool) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while is_traced(topology)? != traced {
        ensure!(Instant::now() < end, "traced is not {traced} in time");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn listening_shows_packets_and_leaves_no_trace() -> Result<()> {
    for mode in Mode::ALL {
        with_balancer(mode, |topology, balancer, connection| {
            let before = running(topology)?.info.id;
            let to = topology.vip(Family::V4, Kind::Nat.port());
            let service = format!("{to}/tcp");
            let filter = ["service", service.as_str(), "--json", "--count", "6"];
            let (output, ()) = traced(topology, &filter, || {
                connection.get(100_000)?;
                Connection::open(&topology.clients, to)?
                    .get(100_000)
                    .map(drop)
            })?;
            ensure!(output.code == Some(0), "{output:?}");
            let lines: Vec<Value> = output
                .stdout
                .lines()
                .map(serde_json::from_str)
                .collect::<Result<_, _>>()
                .with_context(|| output.stdout.clone())?;
            ensure!(lines.len() == 6, "{output:?}");
            let known = SocketAddr::new(topology.client(Family::V4), KNOWN).to_string();
            for line in &lines {
                ensure!(line["service"] == service.as_str(), "{line}");
                ensure!(line["vip"] == to.to_string(), "{line}");
            }
            ensure!(
                lines[0]["client"] == known && lines[0]["reason"] == "forwarded",
                "{output:?}"
            );
            ensure!(
                lines.iter().any(|line| line["reason"] == "replied"),
                "{output:?}"
            );
            ensure!(
                running(topology)?.info.id == before,
                "another program is there"
            );

            let folder = Folder::new()?;
            let file = folder.path().join("trace.pcapng");
            let file = file.to_str().context("a path")?;
            let filter = ["port", "1", "--pcap", file];
            let (output, _) = traced(topology, &filter, || connection.get(1000))?;
            ensure!(output.stderr.contains("0 packets"), "{output:?}");
            let capture = std::fs::read(file)?;
            ensure!(
                capture.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]),
                "{capture:?}"
            );
            ensure!(
                running(topology)?.info.id == before,
                "another program is there"
            );
            drop(balancer);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_balancer_ends_while_somebody_listens() -> Result<()> {
    with_balancer(Mode::Generic, |topology, balancer, connection| {
        let (output, ended) = traced(topology, &[], || {
            connection.get(1000)?;
            balancer.stop(Signal::SIGINT)
        })?;
        ensure!(
            ended.code == Some(0) && ended.stdout.contains("Detached from veth6"),
            "{ended:?}"
        );
        ensure!(output.code == Some(0), "{output:?}");
        ensure!(output.stderr.contains("taken off"), "{output:?}");
        topology.check_detached()
    })
}

#[test]
fn a_listener_that_is_killed_leaves_a_working_balancer() -> Result<()> {
    with_balancer(Mode::Generic, |topology, balancer, connection| {
        let kill = || -> Result<()> {
            let command = balancer::command(&topology.lb, &["trace", "veth6"])?;
            let listener = Balancer::spawn(topology, command)?;
            wait_until(topology, true)?;
            listener.stop(Signal::SIGKILL).map(drop)
        };
        kill()?;
        ensure!(is_traced(topology)?, "nothing is left of it");
        connection.get(1000)?;
        let (output, _) = traced(topology, &["--count", "1"], || {
            connection.get(1000)?;
            wait_until(topology, false)
        })?;
        ensure!(output.code == Some(0), "{output:?}");
        ensure!(!is_traced(topology)?, "the next one leaves it there");
        connection.get(1000)?;

        kill()?;
        let config = config(topology, &[1, 0]);
        balancer.reload(&config)?;
        ensure!(!is_traced(topology)?, "a reload leaves it there");
        connection.get(1000)?;
        let ended = balancer.stop(Signal::SIGTERM)?;
        ensure!(ended.code == Some(0), "{ended:?}");
        topology.check_detached()
    })
}

#[test]
fn a_reload_goes_on_being_listened_to() -> Result<()> {
    with_balancer(Mode::Generic, |topology, balancer, connection| {
        let config = config(topology, &[1, 0]);
        let (output, ()) = traced(topology, &["--json"], || {
            connection.get(1000)?;
            balancer.reload(&config)?;
            wait_until(topology, true)?;
            connection.get(1000).map(drop)
        })?;
        ensure!(output.code == Some(0), "{output:?}");
        ensure!(
            output.stderr.matches("Tracing veth6").count() == 2,
            "{output:?}"
        );
        ensure!(!is_traced(topology)?, "it is still traced");
        connection.get(1000).map(drop)
    })
}
