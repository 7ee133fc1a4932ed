//! What goes with balancing: the service's address, counters, dry runs, taking it off.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use xdplb_tests::balancer::{self, Balancer};
use xdplb_tests::client::Connection;
use xdplb_tests::privilege::as_nobody;
use xdplb_tests::run::{self, Output};
use xdplb_tests::server::Server;
use xdplb_tests::topology::{Mode, Plan, Topology};

/// Runs a subcommand in `lb` that must succeed.
fn succeed(topology: &Topology, arguments: &[&str]) -> Result<Output> {
    let output = balancer::output(&topology.lb, arguments)?;
    ensure!(output.code == Some(0), "{arguments:?}: {output:?}");
    Ok(output)
}

/// What `stats --json` says about the one interface.
fn stats(topology: &Topology) -> Result<Value> {
    let text = succeed(topology, &["stats", "--json"])?.stdout;
    let mut stats: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let interfaces = stats["interfaces"].as_array_mut().context(text)?;
    ensure!(interfaces.len() == 1, "{interfaces:?}");
    Ok(interfaces.remove(0))
}

/// The number at `field` of the entry of `list` whose `key` is `name`.
fn number(list: &Value, key: &str, name: &str, field: &str) -> Result<u64> {
    let entries = list.as_array().context("a list")?;
    let entry = entries.iter().find(|entry| entry[key] == name);
    let entry = entry.with_context(|| format!("no {key} {name} in {list}"))?;
    entry[field]
        .as_u64()
        .with_context(|| format!("{field} in {entry}"))
}

#[test]
fn counters_add_up() -> Result<()> {
    let topology = Topology::seed()?;
    let _servers = topology.serve()?;
    let _balancer = Balancer::start(&topology, Mode::Generic)?;
    let mut opened = BTreeMap::from([("h2".to_string(), 0), ("h3".to_string(), 0)]);
    for _ in 0..40 {
        let mut connection = Connection::open(&topology.clients, topology.service())?;
        *opened.entry(connection.get(100)?.backend).or_default() += 1;
        connection.close()?;
    }
    let stats = stats(&topology)?;
    ensure!(stats["ifname"] == "veth6", "{stats}");
    let counted = |reason| number(&stats["counters"], "reason", reason, "packets");
    let of_backend = |ip, field| number(&stats["services"][0]["backends"], "ip", ip, field);
    for (ip, name) in [("10.0.0.2", "h2"), ("10.0.0.3", "h3")] {
        ensure!(
            of_backend(ip, "new_connections")? == opened[name],
            "{opened:?}: {stats}"
        );
    }
    ensure!(counted("opened")? == 40, "{stats}");
    let both = |field| {
        Ok::<u64, anyhow::Error>(of_backend("10.0.0.2", field)? + of_backend("10.0.0.3", field)?)
    };
    ensure!(
        counted("opened")? + counted("forwarded")? == both("to_packets")?,
        "{stats}"
    );
    ensure!(counted("replied")? == both("from_packets")?, "{stats}");
    // A request, its answer and two ends each way are more than three segments.
    ensure!(
        counted("forwarded")? > 3 * 40 && counted("replied")? > 3 * 40,
        "{stats}"
    );
    ensure!(both("from_bytes")? > 40 * 100, "{stats}");

    let text = succeed(&topology, &["stats"])?.stdout;
    for word in [
        "veth6",
        "opened",
        "forwarded",
        "replied",
        "10.0.0.2",
        "10.0.0.3",
    ] {
        ensure!(text.contains(word), "no {word} in:\n{text}");
    }
    let text = succeed(&topology, &["status"])?.stdout;
    for word in ["veth6", "generic", "xdp_load_balanc"] {
        ensure!(text.contains(word), "no {word} in:\n{text}");
    }
    Ok(())
}

#[test]
fn one_port_of_the_interfaces_address() -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::seed()?;
        let _servers = topology.serve()?;
        let own = SocketAddrV4::new(topology.address(10), 9000);
        let _own = Server::start(&topology.lb, own)?;
        let _stub = topology.stub(mode)?;
        let options = ["--listen", "10.0.0.10:8000/tcp", "--xdp-mode", mode.word()];
        let _balancer = Balancer::start_with(&topology, &options)?;
        let answer = Connection::open(&topology.clients, topology.service())?.get(3000)?;
        ensure!(answer.backend != "lb", "{answer:?}");
        // Every other port is the host's own.
        let answer = Connection::open(&topology.clients, own)?.get(3000)?;
        ensure!(
            answer.backend == "lb" && answer.peer.ip() == topology.address(1),
            "{answer:?}"
        );
    }
    Ok(())
}

#[test]
fn a_service_address_of_its_own() -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::seed()?;
        let _servers = topology.serve()?;
        let _stub = topology.stub(mode)?;
        // The host answers ARP for it; backends see the interface's own address.
        topology.lb.ip("address add 10.0.0.20/32 dev lo")?;
        let options = ["--listen", "10.0.0.20:8000", "--xdp-mode", mode.word()];
        let _balancer = Balancer::start_with(&topology, &options)?;
        let service = SocketAddrV4::new(topology.address(20), 8000);
        for _ in 0..10 {
            let mut connection = Connection::open(&topology.clients, service)?;
            let answer = connection.get(3000)?;
            ensure!(answer.peer.ip() == topology.address(10), "{answer:?}");
            connection.echo(3000)?;
        }
    }
    Ok(())
}

#[test]
fn a_dry_run_does_nothing_and_needs_no_privilege() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let folder = xdplb_tests::files::Folder::new()?;
    for json in [&[][..], &["--json"]] {
        let mut command = balancer::copy(&folder)?;
        command
            .arg("--dry-run")
            .args(json)
            .args(topology.arguments());
        topology.lb.enter(&mut command)?;
        as_nobody(&mut command);
        let output = run::output(command, balancer::LIMIT)?;
        ensure!(output.code == Some(0), "{output:?}");
        for word in ["backends", "connections", "xdp_load_balancer", "veth6"] {
            ensure!(
                output.stdout.contains(word),
                "no {word} in:\n{}",
                output.stdout
            );
        }
        if !json.is_empty() {
            serde_json::from_str::<Value>(&output.stdout).context(output.stdout)?;
        }
    }
    topology.check_nothing_left()
}

#[test]
fn what_a_killed_balancer_left_is_taken_off() -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::build(Plan::apart())?;
        let _stub = topology.stub(mode)?;
        Balancer::start(&topology, mode)?.stop(Signal::SIGKILL)?;
        let output = succeed(&topology, &["detach"])?;
        ensure!(output.stdout == "Detached from veth6\n", "{output:?}");
        topology.check_nothing_left()?;
    }
    Ok(())
}

#[test]
fn another_program_is_not_taken_off() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let program = xdplb_tests::xdp::pass("xdp_filter")?;
    let id = xdplb_tests::xdp::attach_by_netlink(&topology.lb, "veth6", &program, Mode::Generic)?;
    let output = balancer::output(&topology.lb, &["detach", "veth6"])?;
    ensure!(output.code == Some(1), "{output:?}");
    ensure!(
        output.stderr.contains(&format!("{id} `xdp_filter`")),
        "{output:?}"
    );
    ensure!(topology.lb.link("veth6")?["xdp"]["prog"]["id"] == id);
    Ok(())
}
