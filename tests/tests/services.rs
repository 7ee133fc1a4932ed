//! Every kind of service end to end: mode × family × protocol, in both XDP modes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use xdplb_tests::balancer::{self, Balancer};
use xdplb_tests::client::{Connection, IpOptions, Options};
use xdplb_tests::files::Folder;
use xdplb_tests::ping::{ping, silence};
use xdplb_tests::services::{Backend, Config, Forward, Protocol, Service};
use xdplb_tests::through::{Kind, Servers, connections, datagrams, services, suit};
use xdplb_tests::topology::{Family, LB, Mode, Plan, Topology, VIP, mac};
use xdplb_tests::udp::UdpClient;

/// Who computes the checksums of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sums {
    /// Nobody: veth leaves them to a card that it does not have.
    Deferred,
    /// The senders, so that what arrives is verified all the way.
    Finished,
}

/// All kinds in one network, one after the other.
fn every_kind(mode: Mode, sums: Sums) -> Result<()> {
    let topology = Topology::build(Plan::dual())?;
    topology.hold_vip()?;
    let servers = Servers::start(&topology, &Kind::ALL)?;
    if sums == Sums::Finished {
        Topology::compute_checksums(&topology.clients, "veth0")?;
        for (index, backend) in topology.backends.iter().enumerate() {
            Topology::compute_checksums(backend, Topology::backend_device(index))?;
        }
    }
    let _stub = topology.stub(mode)?;
    let config = Config::of(services(&topology, &Kind::ALL, &[0, 1]));
    let balancer = Balancer::start_file(&topology, mode, &config)?;
    let small: Vec<usize> = (0..1400).step_by(13).collect();
    let large: Vec<usize> = (0..3000).step_by(29).chain([100_000, 1_000_000]).collect();
    let case = || format!("{mode:?}, {sums:?}");
    for kind in Kind::ALL {
        suit(&topology, kind, mode)?;
        for family in kind.families() {
            connections(&topology, kind, *family, 2, &large).with_context(case)?;
            datagrams(&topology, kind, *family, 2, &small).with_context(case)?;
        }
    }
    topology.check_checksums().with_context(case)?;
    for tunnel in &servers.tunnels {
        check_sources(&tunnel.sources())?;
    }
    let output = balancer.stop(Signal::SIGTERM)?;
    ensure!(output.code == Some(0), "{output:?}");
    topology.check_detached()
}

/// The outer source addresses are from the default ranges, and vary with the flow.
fn check_sources(sources: &BTreeSet<IpAddr>) -> Result<()> {
    let v4 = sources.iter().filter(|address| address.is_ipv4()).count();
    let is_ours = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.octets().starts_with(&[172, 16]),
        IpAddr::V6(address) => address.segments()[..4] == [0x100, 0, 0, 0],
    };
    ensure!(sources.iter().all(is_ours), "{sources:?}");
    ensure!(v4 > 1 && sources.len() - v4 > 1, "{sources:?}");
    Ok(())
}

#[test]
fn every_kind_generic() -> Result<()> {
    every_kind(Mode::Generic, Sums::Deferred)
}

#[test]
fn every_kind_native() -> Result<()> {
    every_kind(Mode::Native, Sums::Deferred)
}

#[test]
fn every_kind_generic_verified() -> Result<()> {
    every_kind(Mode::Generic, Sums::Finished)
}

#[test]
fn every_kind_native_verified() -> Result<()> {
    every_kind(Mode::Native, Sums::Finished)
}

#[test]
fn options_and_missing_checksums() -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::build(Plan::dual())?;
        topology.hold_vip()?;
        let _servers = Servers::start(&topology, &Kind::ALL)?;
        let _stub = topology.stub(mode)?;
        let config = Config::of(services(&topology, &Kind::ALL, &[0, 1]));
        let _balancer = Balancer::start_file(&topology, mode, &config)?;
        for kind in Kind::ALL {
            for family in kind.families() {
                let to = topology.vip(*family, kind.port());
                let case = || format!("{mode:?}, {kind:?}, {to}");
                let options = Options {
                    ip_options: IpOptions::Nops,
                    ..Options::default()
                };
                let mut connection =
                    Connection::open_with(&topology.clients, to, options).with_context(case)?;
                for length in (0..3000).step_by(101) {
                    connection.get(length).with_context(case)?;
                    connection.echo(length).with_context(case)?;
                }
                if *family == Family::V4 {
                    let client = UdpClient::open(&topology.clients, to)?;
                    client.without_checksums()?.echo(1000).with_context(case)?;
                }
            }
        }
        topology.check_checksums()?;
    }
    Ok(())
}

#[test]
fn tags_stay_on() -> Result<()> {
    let kinds = [Kind::Nat, Kind::Dsr];
    for tags in [&[5][..], &[100, 5]] {
        for mode in Mode::ALL {
            let topology = Topology::build(Plan {
                tags,
                ..Plan::dual()
            })?;
            topology.hold_vip()?;
            let _servers = Servers::start(&topology, &kinds)?;
            // The balancer's host has no device in the VLAN and answers nobody who asks for its addresses there.
            let hosts = [
                (&topology.clients, "veth0"),
                (&topology.backends[0], "veth3"),
                (&topology.backends[1], "veth5"),
            ];
            for (namespace, device) in hosts {
                namespace.wire(|rtnl| {
                    for address in
                        [LB, VIP].map(|n| Family::ALL.map(|family| topology.host(family, n)))
                    {
                        for address in address {
                            rtnl.neighbour(device, address, mac(LB))?;
                        }
                    }
                    Ok(())
                })?;
            }
            let _stub = topology.stub(mode)?;
            let mut list = services(&topology, &kinds, &[0, 1]);
            for service in &mut list {
                for (backend, number) in service.backends.iter_mut().zip([2, 3]) {
                    *backend = std::mem::take(backend).mac(mac(number));
                }
            }
            let _balancer = Balancer::start_file(&topology, mode, &Config::of(list))?;
            for kind in kinds {
                for family in Family::ALL {
                    let case = || format!("{mode:?}, tags {tags:?}");
                    connections(&topology, kind, family, 2, &[0, 1, 1460, 3000, 300_000])
                        .with_context(case)?;
                    datagrams(&topology, kind, family, 2, &[0, 1, 1400]).with_context(case)?;
                }
            }
            topology.check_checksums()?;
        }
    }
    Ok(())
}

#[test]
fn an_echo_request_is_answered_for_a_service_only() -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::build(Plan::dual())?;
        let _stub = topology.stub(mode)?;
        // Nobody's kernel holds either address.
        let other = VIP + 1;
        for family in Family::ALL {
            topology.clients.wire(|rtnl| {
                rtnl.neighbour("veth0", topology.host(family, VIP), mac(LB))?;
                rtnl.neighbour("veth0", topology.host(family, other), mac(LB))
            })?;
        }
        let config = Config::of(services(&topology, &[Kind::Nat], &[0, 1]));
        let _balancer = Balancer::start_file(&topology, mode, &config)?;
        for family in Family::ALL {
            ping(&topology.clients, topology.host(family, VIP))?;
            ping(&topology.clients, topology.host(family, LB))?;
            silence(&topology.clients, topology.host(family, other))?;
        }
        topology.check_checksums()?;
    }
    Ok(())
}

#[test]
fn every_port_of_an_address() -> Result<()> {
    let topology = Topology::build(Plan::dual())?;
    topology.hold_vip()?;
    let at = |index: usize, port: u16| (topology.backend(Family::V6, index), port);
    let _servers = (
        xdplb_tests::server::Server::start(&topology.backends[0], at(0, 7001))?,
        xdplb_tests::server::Server::start(&topology.backends[0], at(0, 7002))?,
        xdplb_tests::udp::UdpServer::start(&topology.backends[0], at(0, 7001))?,
    );
    let address = topology.host(Family::V6, VIP);
    let mut text = String::new();
    for protocol in Protocol::ALL {
        let service = Service {
            at: (address, 0).into(),
            protocol,
            forward: Forward::Nat,
            source_ports: None,
            backends: vec![Backend::at(topology.backend(Family::V6, 0))],
        };
        text.push_str(&service.to_string());
    }
    // Without the line there is no port, and so there is every one.
    let text = text.replace("port = 0\n", "");
    let folder = Folder::new()?;
    let file = folder.file("lb.toml", &text)?;
    let arguments = ["--xdp-mode", "generic", "veth6", &file];
    let command = balancer::command(&topology.lb, &arguments)?;
    let _balancer = Balancer::spawn(&topology, command)?.ready()?;
    for port in [7001, 7002] {
        Connection::open(&topology.clients, (address, port))?.get(3000)?;
    }
    UdpClient::open(&topology.clients, (address, 7001))?.echo(1000)?;
    topology.check_checksums()
}

#[test]
fn a_file_is_checked_without_privilege() -> Result<()> {
    let topology = Topology::build(Plan::dual())?;
    let folder = Folder::new()?;
    let config = Config::of(services(&topology, &Kind::ALL, &[0, 1]));
    for (text, code) in [
        (config.to_string(), 0),
        (format!("{config}\ncolour = \"red\"\n"), 1),
    ] {
        let file = folder.file("lb.toml", &text)?;
        let mut command = balancer::copy(&folder)?;
        command.args(["--check", &file]);
        xdplb_tests::privilege::as_nobody(&mut command);
        let output = xdplb_tests::run::output(command, balancer::LIMIT)?;
        ensure!(output.code == Some(code), "{output:?}");
        ensure!((code == 0) == output.stderr.is_empty(), "{output:?}");
        if code == 1 {
            let line = text.lines().count();
            let place = format!("lb.toml:{line}:1");
            ensure!(output.stderr.contains(&place), "no {place} in {output:?}");
        }
    }
    Ok(())
}
