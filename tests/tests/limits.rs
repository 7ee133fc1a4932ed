//! What there is no room for, and what is passed on as it came: told to the client, counted, and harmless to the rest.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use xdplb_prog::state::REST_SECONDS;
use xdplb_tests::balancer::Balancer;
use xdplb_tests::client::Connection;
use xdplb_tests::load::{open_many, use_all};
use xdplb_tests::services::{Config, Protocol};
use xdplb_tests::through::{Kind, Servers};
use xdplb_tests::topology::{Family, Mode, Plan, Topology};
use xdplb_tests::udp::UdpClient;

/// Source ports of each service towards its one backend.
const PORTS: usize = 20;

/// An error when a connection is made, or fails otherwise than by an RST.
fn refused(topology: &Topology, to: std::net::SocketAddr) -> Result<()> {
    let error = Connection::open(&topology.clients, to)
        .err()
        .context("connected")?;
    let code = error.root_cause().downcast_ref::<Errno>();
    ensure!(code == Some(&Errno::ECONNREFUSED), "{error:#}");
    Ok(())
}

fn source_ports_run_out(mode: Mode, family: Family) -> Result<()> {
    let topology = Topology::build(Plan::dual())?;
    topology.hold_vip()?;
    let _servers = Servers::start(&topology, &[Kind::Nat])?;
    let _stub = topology.stub(mode)?;
    let services = Protocol::ALL.map(|protocol| {
        let mut service = Kind::Nat.service(&topology, family, protocol, &[0]);
        service.source_ports = Some(5000..=5000 + PORTS as u16 - 1);
        service
    });
    let to = services[0].at;
    let balancer = Balancer::start_file(&topology, mode, &Config::of(services.to_vec()))?;

    let mut connections = open_many(&topology.clients, to, PORTS)?;
    let mut ports: Vec<u16> = connections
        .iter()
        .map(|(seen, _)| seen.peer.port())
        .collect();
    ports.sort_unstable();
    ensure!(
        ports.iter().copied().eq(5000..5000 + PORTS as u16),
        "{ports:?}"
    );
    for _ in 0..3 {
        refused(&topology, to)?;
    }
    ensure!(
        balancer.counted("no_port_reset")? == 3,
        "{}",
        balancer.counts()
    );
    use_all(&mut connections, 3000).context("after others were refused")?;
    // What has been closed for a while gives its port to the next.
    let (seen, last) = connections.pop().context("a connection")?;
    last.close()?;
    refused(&topology, to).context("just after one was closed")?;
    std::thread::sleep(Duration::from_secs(u64::from(REST_SECONDS)) + Duration::from_millis(200));
    let (next, _connection) = open_many(&topology.clients, to, 1)?.pop().context("one")?;
    ensure!(next.peer == seen.peer, "{next:?}, not {seen:?}");

    let clients: Vec<UdpClient> = (0..PORTS)
        .map(|_| UdpClient::open(&topology.clients, to))
        .collect::<Result<_>>()?;
    // Twice each, at once: who was heard only once gives way to the next.
    for client in clients.iter().flat_map(|client| [client; 2]) {
        client.echo(100)?;
    }
    let one_more = UdpClient::open(&topology.clients, to)?;
    one_more.socket().send(b"who?")?;
    let silent = one_more
        .socket()
        .recv(&mut [0; 64])
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    ensure!(
        silent && balancer.counted("no_port")? == 1,
        "{}",
        balancer.counts()
    );
    clients.iter().try_for_each(|client| client.echo(100))?;
    use_all(&mut connections, 3000)?;
    topology.check_checksums()
}

#[test]
fn a_client_without_a_source_port_is_refused() -> Result<()> {
    for (mode, family) in [(Mode::Generic, Family::V6), (Mode::Native, Family::V4)] {
        source_ports_run_out(mode, family).with_context(|| format!("{mode:?}, {family:?}"))?;
    }
    Ok(())
}

#[test]
fn a_full_table_refuses_and_keeps_what_it_has() -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::build(Plan::dual())?;
        topology.hold_vip()?;
        let _servers = Servers::start(&topology, &[Kind::Nat])?;
        let _stub = topology.stub(mode)?;
        let service = Kind::Nat.service(&topology, Family::V4, Protocol::Tcp, &[0, 1]);
        let to = service.at;
        let mut config = Config::of(vec![service]);
        config.connections = Some(32);
        let balancer = Balancer::start_file(&topology, mode, &config)?;
        let mut connections = Vec::new();
        let refusal = loop {
            ensure!(
                connections.len() <= 32,
                "more connections than there is room for"
            );
            match open_many(&topology.clients, to, 1) {
                Ok(opened) => connections.extend(opened),
                Err(error) => break error,
            }
        };
        let code = refusal.root_cause().downcast_ref::<Errno>();
        ensure!(code == Some(&Errno::ECONNREFUSED), "{refusal:#}");
        ensure!(!connections.is_empty());
        ensure!(
            balancer.counted("table_full_reset")? == 1,
            "{}",
            balancer.counts()
        );
        use_all(&mut connections, 3000)?;
        topology.check_checksums()?;
    }
    Ok(())
}

#[test]
fn fragments_are_passed_on_and_counted() -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::build(Plan::dual())?;
        topology.hold_vip()?;
        let _servers = Servers::start(&topology, &[Kind::Nat])?;
        let _stub = topology.stub(mode)?;
        let services =
            Family::ALL.map(|family| Kind::Nat.service(&topology, family, Protocol::Udp, &[0]));
        let balancer = Balancer::start_file(&topology, mode, &Config::of(services.to_vec()))?;
        let mut fragments = 0;
        for family in Family::ALL {
            let to = topology.vip(family, Kind::Nat.port());
            let client = UdpClient::open(&topology.clients, to)?;
            client.echo(100)?;
            client.socket().send(&[7; 4000])?;
            fragments += 3;
            // They reach the balancer's own host, where nobody listens.
            let answer = client.socket().recv(&mut [0; 64]);
            let refused = answer.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
            ensure!(refused, "{mode:?}, {to}");
            client.echo(100)?;
        }
        ensure!(
            balancer.counted("fragment")? == fragments,
            "{}",
            balancer.counts()
        );
        topology.check_checksums()?;
    }
    Ok(())
}
