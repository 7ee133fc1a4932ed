//! The network of the data plane's tests itself, without a balancer: both families, routers, a narrow hop, tunnels, VLANs.
//! What fails here says nothing about xdplb-load.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use etherparse::PacketBuilder;
use xdplb_tests::client::{Connection, IpOptions, Options};
use xdplb_tests::flood::Flood;
use xdplb_tests::load::{self, Load};
use xdplb_tests::ping::{ping, silence};
use xdplb_tests::probe::{Probe, Trouble, connect_with_hops, send_with_hops};
use xdplb_tests::rtnl::Change;
use xdplb_tests::server::Server;
use xdplb_tests::services::Forward;
use xdplb_tests::standin::{StandIn, Way};
use xdplb_tests::tap::Tap;
use xdplb_tests::through::{Kind, Servers, connections, datagrams};
use xdplb_tests::topology::{Family, LB, Mode, NARROW, PORT, Place, Plan, Topology, mac};
use xdplb_tests::udp::{UdpClient, UdpServer};

/// Everything between the client and one address, both ways; `backend` must answer, and see the client's own address.
fn exchange(
    topology: &Topology,
    family: Family,
    to: std::net::SocketAddr,
    backend: &str,
) -> Result<()> {
    let client = topology.client(family);
    let mut connection = Connection::open(&topology.clients, to)?;
    for length in [0, 1, 1400, 3000, 200_000] {
        for answer in [connection.get(length)?, connection.echo(length)?] {
            ensure!(
                answer.backend == backend && answer.peer.ip() == client,
                "{answer:?}"
            );
        }
    }
    connection.close()?;
    let ip_options = IpOptions::Nops;
    let options = Options {
        ip_options,
        from: None,
    };
    let mut connection = Connection::open_with(&topology.clients, to, options)?;
    for length in [1, 3000, 20_000] {
        connection.echo(length)?;
    }
    if family == Family::V4 {
        let client = UdpClient::open(&topology.clients, to)?;
        client.without_checksums()?.echo(100)?;
    }
    let datagrams = UdpClient::open(&topology.clients, to)?;
    let answer = datagrams.who()?;
    ensure!(
        answer.backend == backend && answer.peer.ip() == client,
        "{answer:?}"
    );
    for length in [0, 1, 7, 1000, 1200] {
        datagrams.echo(length)?;
    }
    Ok(())
}

fn direct(plan: Plan) -> Result<()> {
    let topology = Topology::build(plan)?;
    topology.know_the_ways()?;
    for family in Family::ALL {
        ping(&topology.clients, topology.host(family, LB))?;
        silence(&topology.clients, topology.host(family, 99))?;
        for (index, backend) in topology.backends.iter().enumerate() {
            let at = (topology.backend(family, index), PORT);
            let _servers = (Server::start(backend, at)?, UdpServer::start(backend, at)?);
            exchange(&topology, family, at.into(), backend.name())?;
        }
    }
    topology.check_checksums()
}

#[test]
fn both_families_on_the_bridge() -> Result<()> {
    direct(Plan::dual())
}

#[test]
fn both_families_through_routers() -> Result<()> {
    for place in [Place::Routed, Place::Narrow] {
        direct(Plan {
            place,
            ..Plan::dual()
        })?;
        direct(Plan {
            second: place,
            ..Plan::dual()
        })?;
        direct(Plan {
            place,
            second: place,
            ..Plan::dual()
        })?;
    }
    Ok(())
}

#[test]
fn a_router_says_what_is_wrong() -> Result<()> {
    let topology = Topology::build(Plan {
        second: Place::Narrow,
        ..Plan::dual()
    })?;
    topology.know_the_ways()?;
    Topology::compute_checksums(&topology.clients, "veth0")?;
    for family in Family::ALL {
        let to = topology.backend(family, 1);
        let probe = Probe::listen(&topology.clients, to)?;
        let client = UdpClient::open(&topology.clients, (to, 9))?;
        let about = (17, client.socket().local_addr()?, (to, 9).into());
        for (hops, size, trouble) in [
            (1, 9, Trouble::Expired),
            (2, 9, Trouble::Expired),
            (64, 1300, Trouble::TooBig(NARROW)),
            (
                64,
                9,
                Trouble::Unreachable(if family == Family::V4 { 3 } else { 4 }),
            ),
        ] {
            // An error of an earlier datagram is told at the next send.
            let _ = client.socket().take_error()?;
            send_with_hops(&client, hops, &vec![7; size])?;
            let error = probe.next(Duration::from_secs(5))?;
            ensure!(
                error.trouble == trouble && error.about == about,
                "{hops} hops: {error:?}"
            );
        }
        let (_stream, from) = connect_with_hops(&topology.clients, (to, 9), 2)?;
        let error = probe.next(Duration::from_secs(5))?;
        let about = (6, from, (to, 9).into());
        ensure!(
            error.trouble == Trouble::Expired && error.about == about,
            "{error:?}"
        );
    }
    Ok(())
}

/// Services of that kind over one backend, h3, by a stand-in; the balancer's host does not hold the service address.
fn through_a_stand_in(plan: Plan, kind: Kind, hop: [u8; 6]) -> Result<()> {
    let topology = Topology::build(plan)?;
    topology.know_the_ways()?;
    let servers = Servers::start(&topology, &[kind])?;
    for family in kind.families() {
        let service = topology.vip(*family, kind.port()).ip();
        let asks = topology
            .router(0)
            .map_or((&topology.clients, "veth0"), |r| (r, "up"));
        asks.0
            .wire(|rtnl| rtnl.neighbour(asks.1, service, mac(LB)))?;
        let end = kind.backend(&topology, *family, 1);
        let outer = if end.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let from = topology.host(outer, LB);
        let way = match kind.forward() {
            Forward::Ipip => {
                // Room for the outer header, and segments that are cut and summed: nobody can cut what is inside a tunnel.
                Topology::compute_checksums(&topology.clients, "veth0")?;
                let mtu = Change::Mtu(1400);
                topology.clients.wire(|rtnl| rtnl.set("veth0", mtu))?;
                Way::Tunnel(hop, from, end)
            }
            Forward::Dsr | Forward::Nat => Way::Direct(hop),
        };
        let _stand_in = StandIn::start(&topology.lb, "veth6", service, way)?;
        connections(&topology, kind, *family, 1, &[0, 1, 1400, 3000, 200_000])?;
        datagrams(&topology, kind, *family, 1, &[0, 1, 7, 1000, 1200])?;
        if kind.forward() == Forward::Ipip {
            let sources = servers.tunnels[1].sources();
            ensure!(sources.contains(&from), "{sources:?}");
        }
    }
    topology.check_checksums()
}

#[test]
fn backends_return_directly() -> Result<()> {
    for place in [Place::Local, Place::Routed, Place::Narrow] {
        // Where the hop is narrow, what routers say about it goes to the service's address, and on to the backend.
        through_a_stand_in(
            Plan {
                place,
                ..Plan::dual()
            },
            Kind::Dsr,
            mac(3),
        )?;
    }
    Ok(())
}

#[test]
fn frames_are_in_vlans() -> Result<()> {
    for tags in [&[5][..], &[100, 5]] {
        through_a_stand_in(
            Plan {
                tags,
                ..Plan::dual()
            },
            Kind::Dsr,
            mac(3),
        )?;
    }
    Ok(())
}

#[test]
fn tunnels_end_in_backends() -> Result<()> {
    for kind in [Kind::Ipip, Kind::Ipip4In6] {
        through_a_stand_in(Plan::dual(), kind, mac(3))?;
        let second = Place::Routed;
        through_a_stand_in(
            Plan {
                second,
                ..Plan::dual()
            },
            kind,
            mac(253),
        )?;
    }
    Ok(())
}

#[test]
fn the_stub_stands_behind_the_trunk() -> Result<()> {
    let topology = Topology::build(Plan {
        tags: &[5],
        ..Plan::dual()
    })?;
    let stub = topology.stub(Mode::Native)?;
    ensure!(topology.bridge.link("veth7")?.get("xdp").is_none() && stub.is_some());
    Ok(())
}

#[test]
fn a_wrong_checksum_is_counted() -> Result<()> {
    for family in Family::ALL {
        let topology = Topology::build(Plan::dual())?;
        let (from, to) = (topology.client(family), topology.backend(family, 0));
        let ethernet = PacketBuilder::ethernet2(mac(1), mac(2));
        let builder = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
            _ => anyhow::bail!("{from} and {to}"),
        };
        let mut bytes = Vec::new();
        builder.udp(9, PORT).write(&mut bytes, b"sum")?;
        let tap = Tap::open_to_send(&topology.clients, "veth0")?;
        let _server = UdpServer::start(&topology.backends[0], (to, PORT))?;
        let send = |bytes: &[u8]| nix::unistd::write(tap.fd(), bytes);
        send(&bytes)?;
        std::thread::sleep(Duration::from_millis(50));
        topology.check_checksums()?;
        bytes.last_mut().into_iter().for_each(|byte| *byte ^= 1);
        send(&bytes)?;
        std::thread::sleep(Duration::from_millis(50));
        ensure!(topology.check_checksums().is_err(), "{family:?}");
    }
    Ok(())
}

#[test]
fn load_counts_what_fails() -> Result<()> {
    let topology = Topology::build(Plan::dual())?;
    let servers = topology.serve()?;
    let load = Load::start(&topology.clients, topology.server(0), 3, 2)?;
    while load.rounds() < 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let report = load.stop();
    report.check()?;
    ensure!(
        report.opened >= 20 + 6 && servers[0].accepted() == report.opened,
        "{report:?}"
    );
    ensure!(servers[1].accepted() == 0);

    let load = Load::start(&topology.clients, topology.server(0), 1, 2)?;
    drop(servers);
    std::thread::sleep(Duration::from_millis(100));
    let report = load.stop();
    // Both kept connections, and each new one.
    ensure!(report.failed >= 3 && report.check().is_err(), "{report:?}");
    Ok(())
}

#[test]
fn a_thousand_connections_stand_a_flood_of_another_host() -> Result<()> {
    let topology = Topology::build(Plan::dual())?;
    let servers = topology.serve()?;
    let guest = topology.guest(9)?;
    let mut connections = load::open_many(&topology.clients, topology.server(0), 1000)?;
    let flood = Flood {
        from_mac: mac(9),
        to_mac: mac(2),
        to: (topology.backend(Family::V4, 0), PORT).into(),
    };
    let started = std::time::Instant::now();
    let sent = flood.send(&guest, "eth", 100_000)?;
    println!("{sent} SYNs in {:?}", started.elapsed());
    load::use_all(&mut connections, 100)?;
    ensure!(sent == 100_000 && servers[0].accepted() == 1000);
    Ok(())
}
