//! Real TCP connections through the real command: what the balancer must survive.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xdplb_tests::balancer::Balancer;
use xdplb_tests::client::{Answer, Connection, IpOptions, Options};
use xdplb_tests::netns::Netns;
use xdplb_tests::topology::{Mode, Place, Plan, Topology};

use nix::sys::signal::Signal;

/// A network, its servers, a balancer: `action` runs while all of them do.
fn through(
    plan: Plan,
    mode: Mode,
    action: impl FnOnce(&Topology, &Balancer<'_>) -> Result<()>,
) -> Result<()> {
    let topology = Topology::build(plan)?;
    let _servers = topology.serve()?;
    let _stub = topology.stub(mode)?;
    let balancer = Balancer::start(&topology, mode)?;
    action(&topology, &balancer).with_context(|| format!("{mode:?}"))?;
    let output = balancer.stop(Signal::SIGTERM)?;
    ensure!(output.code == Some(0), "{output:?}");
    topology
        .check_checksums()
        .with_context(|| format!("{mode:?}"))?;
    topology.check_detached()
}

/// The same in both modes, one after the other.
fn in_both_modes(
    plan: &Plan,
    action: impl Fn(&Topology, &Balancer<'_>) -> Result<()>,
) -> Result<()> {
    Mode::ALL
        .into_iter()
        .try_for_each(|mode| through(plan.clone(), mode, &action))
}

/// Opens connections until each backend has one; the hash of 64 source ports picks both of two but once in 2⁶³.
fn one_to_each(topology: &Topology) -> Result<Vec<(Answer, Connection)>> {
    let mut found = BTreeMap::new();
    for _ in 0..64 {
        let mut connection = Connection::open(&topology.clients, topology.service())?;
        let answer = connection.get(0)?;
        found
            .entry(answer.backend.clone())
            .or_insert((answer, connection));
        if found.len() == 2 {
            return Ok(found.into_values().collect());
        }
    }
    anyhow::bail!("64 connections reached only {:?}", found.keys())
}

/// Bodies of every length from 0 to 3,000 bytes, both ways, through both backends.
fn every_length(mode: Mode) -> Result<()> {
    through(Plan::default(), mode, |topology, _| {
        let mut connections = one_to_each(topology)?;
        for length in 0..=3000 {
            for (first, connection) in &mut connections {
                for answer in [connection.get(length)?, connection.echo(length)?] {
                    ensure!(
                        answer == *first,
                        "{length} bytes: {answer:?}, not {first:?}"
                    );
                }
            }
        }
        Ok(())
    })
}

#[test]
fn bodies_of_every_length_generic() -> Result<()> {
    every_length(Mode::Generic)
}

#[test]
fn bodies_of_every_length_native() -> Result<()> {
    every_length(Mode::Native)
}

/// Bodies of many lengths through the balancer after these devices began to compute checksums.
fn verified(devices: impl Fn(&Topology) -> Vec<(&Netns, &'static str)>) -> Result<()> {
    in_both_modes(&Plan::default(), |topology, _| {
        for (namespace, device) in devices(topology) {
            Topology::compute_checksums(namespace, device)?;
        }
        for (first, mut connection) in one_to_each(topology)? {
            for length in (0..3000).step_by(13).chain([100_000, 1_000_000]) {
                for answer in [connection.get(length)?, connection.echo(length)?] {
                    ensure!(answer == first, "{length} bytes: {answer:?}, not {first:?}");
                }
            }
        }
        // Enough segments for what happens to one in 65,536: a sum that equals another by chance.
        let mut connection = Connection::open(&topology.clients, topology.service())?;
        for number in 0..40_000 {
            connection.echo(1 + number % 500)?;
        }
        topology.check_checksums()
    })
}

#[test]
fn checksums_left_undone_become_right() -> Result<()> {
    // What the balancer gets is unfinished, and what it sends is finished on its way into the hosts.
    verified(|topology| {
        ["veth1", "veth2", "veth4"]
            .map(|port| (&topology.bridge, port))
            .to_vec()
    })
}

#[test]
fn finished_checksums_stay_right() -> Result<()> {
    verified(|topology| {
        let [h2, h3] = &topology.backends;
        vec![(&topology.clients, "veth0"), (h2, "veth3"), (h3, "veth5")]
    })
}

#[test]
fn two_hundred_connections_at_once_from_fifty_clients() -> Result<()> {
    let plan = Plan {
        clients: 50,
        ..Plan::default()
    };
    in_both_modes(&plan, |topology, _| {
        let mut open = Vec::new();
        for _ in 0..4 {
            for from in topology.client_addresses() {
                let mut connection =
                    Connection::open_from(&topology.clients, topology.service(), from)?;
                let answer = connection.get(100)?;
                open.push((answer, connection));
            }
        }
        ensure!(open.len() == 200);
        let distinct: BTreeSet<&Answer> = open.iter().map(|(answer, _)| answer).collect();
        ensure!(
            distinct.len() == 200,
            "two connections share backend and port"
        );
        let names: BTreeSet<&str> = distinct.iter().map(|answer| &*answer.backend).collect();
        ensure!(names == BTreeSet::from(["h2", "h3"]), "{names:?}");
        // All 200 are still open: each goes on where it began, in another order.
        for (first, connection) in open.iter_mut().rev() {
            let answer = connection.echo(1000)?;
            ensure!(answer == *first, "{answer:?}, not {first:?}");
        }
        Ok(())
    })
}

#[test]
fn a_hundred_megabytes() -> Result<()> {
    in_both_modes(&Plan::default(), |topology, _| {
        let mut connection = Connection::open(&topology.clients, topology.service())?;
        let down = connection.get(100_000_000)?;
        let up = connection.echo(1_000_000)?;
        ensure!(up == down, "{up:?}, not {down:?}");
        Ok(())
    })
}

#[test]
fn a_kept_connection_stays_with_its_backend() -> Result<()> {
    in_both_modes(&Plan::default(), |topology, _| {
        for (first, mut connection) in one_to_each(topology)? {
            for length in 0..500 {
                let answer = connection.get(length * 7)?;
                ensure!(answer == first, "{answer:?}, not {first:?}");
            }
            connection.close()?;
        }
        Ok(())
    })
}

#[test]
fn a_connection_idle_for_a_minute_goes_on() -> Result<()> {
    // Both modes at once: one wait for the two of them.
    let networks = [Topology::seed()?, Topology::seed()?];
    let mut running = Vec::new();
    for (topology, mode) in networks.iter().zip(Mode::ALL) {
        let servers = topology.serve()?;
        let stub = topology.stub(mode)?;
        let balancer = Balancer::start(topology, mode)?;
        running.push((mode, one_to_each(topology)?, balancer, stub, servers));
    }
    std::thread::sleep(Duration::from_secs(60));
    for (mode, connections, ..) in &mut running {
        for (first, connection) in connections {
            let answer = connection.echo(3000).with_context(|| format!("{mode:?}"))?;
            ensure!(answer == *first, "{mode:?}: {answer:?}, not {first:?}");
        }
    }
    Ok(())
}

#[test]
fn a_client_behind_a_router() -> Result<()> {
    let plan = Plan {
        clients: 10,
        place: Place::Routed,
        ..Plan::default()
    };
    in_both_modes(&plan, |topology, _| {
        // Neither the balancer's host nor the servers know a way to the client's net: the answers go to
        // the MAC that its frames came from.
        for from in topology.client_addresses() {
            let mut connection =
                Connection::open_from(&topology.clients, topology.service(), from)?;
            for length in [0, 1, 1459, 1460, 1461, 100_000] {
                let answer = connection.get(length)?;
                ensure!(answer.peer.ip() == topology.address(10), "{answer:?}");
                connection.echo(length)?;
            }
        }
        Ok(())
    })
}

#[test]
fn packets_with_ip_options() -> Result<()> {
    in_both_modes(&Plan::default(), |topology, _| {
        let options = Options {
            ip_options: IpOptions::Nops,
            ..Options::default()
        };
        let mut connection = Connection::open_with(&topology.clients, topology.service(), options)?;
        for length in (0..3000).step_by(101) {
            connection.get(length)?;
            connection.echo(length)?;
        }
        Ok(())
    })
}

#[test]
fn clients_with_the_same_source_port() -> Result<()> {
    let plan = Plan {
        clients: 8,
        ..Plan::default()
    };
    in_both_modes(&plan, |topology, _| {
        // Of eight clients some share a backend; there each needs a port of its own.
        let mut open = Vec::new();
        for from in topology.client_addresses() {
            let options = Options {
                from: Some((from, 40_000).into()),
                ..Options::default()
            };
            let mut connection =
                Connection::open_with(&topology.clients, topology.service(), options)?;
            let answer = connection.get(10)?;
            open.push((answer, connection));
        }
        let distinct: BTreeSet<&Answer> = open.iter().map(|(answer, _)| answer).collect();
        ensure!(distinct.len() == 8, "two clients share backend and port");
        // Where the balancer's own connections never are: outside net.ipv4.ip_local_port_range.
        let ours = |answer: &&&Answer| (1024..=32_767).contains(&answer.peer.port());
        ensure!(distinct.iter().filter(ours).count() == 8, "{distinct:?}");
        for (first, connection) in &mut open {
            ensure!(connection.echo(2000)? == *first);
        }
        Ok(())
    })
}

#[test]
fn a_source_port_used_again_at_once() -> Result<()> {
    // A client that resets its connection may use the port again in the same moment; the next SYN must not
    // be taken for a packet of the connection before.
    in_both_modes(&Plan::default(), |topology, _| {
        for _ in 0..20 {
            let options = Options {
                from: Some((topology.address(1), 41_000).into()),
                ..Options::default()
            };
            let mut connection =
                Connection::open_with(&topology.clients, topology.service(), options)?;
            connection.get(500)?;
            connection.reset()?;
        }
        Ok(())
    })
}
