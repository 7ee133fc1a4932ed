//! Clients and backends in other subnets, a narrow hop on the way, and the ICMP errors that routers send.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xdplb_tests::balancer::Balancer;
use xdplb_tests::client::Connection;
use xdplb_tests::load::open_many;
use xdplb_tests::probe::{Probe, Trouble, connect_with_hops, send_with_hops};
use xdplb_tests::services::{Config, Protocol};
use xdplb_tests::through::{Kind, Servers, connections, datagrams, services, suit};
use xdplb_tests::topology::{Family, Mode, NARROW, Place, Plan, Topology};
use xdplb_tests::udp::UdpClient;

/// Services of these kinds over both backends, and what is asked of each.
fn through(plan: Plan, mode: Mode, kinds: &[Kind], forwarding: &str) -> Result<()> {
    let topology = Topology::build(plan)?;
    topology.know_the_ways()?;
    topology.hold_vip()?;
    topology.lb.sysctl(&[
        ("net/ipv4/ip_forward", forwarding),
        ("net/ipv6/conf/all/forwarding", forwarding),
    ])?;
    let _servers = Servers::start(&topology, kinds)?;
    let _stub = topology.stub(mode)?;
    let config = Config::of(services(&topology, kinds, &[0, 1]));
    let _balancer = Balancer::start_file(&topology, mode, &config)?;
    for kind in kinds {
        suit(&topology, *kind, mode)?;
        for family in kind.families() {
            connections(
                &topology,
                *kind,
                *family,
                2,
                &[0, 1, 1400, 1460, 3000, 300_000],
            )?;
            datagrams(&topology, *kind, *family, 2, &[0, 1, 1100])?;
        }
    }
    topology.check_checksums()
}

/// Both XDP modes, with and without forwarding on the balancer's host: without it the kernel's own lookup has no answer
/// for the program.
fn in_every_way(plan: &Plan, kinds: &[Kind]) -> Result<()> {
    for mode in Mode::ALL {
        for forwarding in ["0", "1"] {
            through(plan.clone(), mode, kinds, forwarding)
                .with_context(|| format!("{mode:?}, forwarding {forwarding}, {plan:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_client_behind_a_router() -> Result<()> {
    let plan = Plan {
        place: Place::Routed,
        ..Plan::dual()
    };
    in_every_way(&plan, &Kind::ALL)
}

#[test]
fn a_backend_behind_a_router() -> Result<()> {
    let plan = Plan {
        second: Place::Routed,
        ..Plan::dual()
    };
    in_every_way(&plan, &[Kind::Nat, Kind::Ipip, Kind::Ipip4In6])
}

#[test]
fn a_narrow_hop_before_the_balancer() -> Result<()> {
    // The client's way is narrow in both directions; errors about what servers send go to the service's address, and the
    // balancer knows whose they are.
    let plan = Plan {
        place: Place::Narrow,
        ..Plan::dual()
    };
    in_every_way(&plan, &Kind::ALL)
}

#[test]
fn a_narrow_hop_behind_the_balancer() -> Result<()> {
    // Not by tunnel: there the error is about the outer packet, whose source is nobody.
    let plan = Plan {
        second: Place::Narrow,
        ..Plan::dual()
    };
    in_every_way(&plan, &[Kind::Nat])
}

#[test]
fn errors_reach_the_client_in_its_own_terms() -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::build(Plan {
            second: Place::Narrow,
            ..Plan::dual()
        })?;
        topology.know_the_ways()?;
        topology.hold_vip()?;
        Topology::compute_checksums(&topology.clients, "veth0")?;
        let _stub = topology.stub(mode)?;
        // Nobody listens.
        let config = Config::of(services(&topology, &[Kind::Nat], &[1]));
        let _balancer = Balancer::start_file(&topology, mode, &config)?;
        for family in Family::ALL {
            let to = topology.vip(family, Kind::Nat.port());
            let probe = Probe::listen(&topology.clients, to.ip())?;
            let client = UdpClient::open(&topology.clients, to)?;
            let about = (17, client.socket().local_addr()?, to);
            let refused = match family {
                Family::V4 => 3,
                Family::V6 => 4,
            };
            // The balancer is a hop too.
            for (hops, size, trouble) in [
                (64, 9, Trouble::Unreachable(refused)),
                (2, 9, Trouble::Expired),
                (3, 8, Trouble::Expired),
                (64, 1300, Trouble::TooBig(NARROW)),
            ] {
                let case = || format!("{mode:?}, {to}, {hops} hops, {size} bytes");
                // An error of an earlier datagram is told at the next send.
                let _ = client.socket().take_error()?;
                send_with_hops(&client, hops, &vec![7; size])?;
                let error = probe.next(Duration::from_secs(10)).with_context(case)?;
                ensure!(
                    error.trouble == trouble && error.about == about,
                    "{}: {error:?}",
                    case()
                );
            }
            let (_stream, from) = connect_with_hops(&topology.clients, to, 2)?;
            let error = probe.next(Duration::from_secs(10))?;
            let about = (6, from, to);
            ensure!(
                error.trouble == Trouble::Expired && error.about == about,
                "{error:?}"
            );
            // A refused connection is told at once, not after a timeout.
            let error = Connection::open(&topology.clients, to)
                .err()
                .context("connected")?;
            let code = error.root_cause().downcast_ref::<nix::errno::Errno>();
            ensure!(code == Some(&nix::errno::Errno::ECONNREFUSED), "{error:#}");
        }
        topology.check_checksums()?;
    }
    Ok(())
}

#[test]
fn what_is_too_long_for_a_tunnel_is_said_so() -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::build(Plan::dual())?;
        topology.hold_vip()?;
        Topology::compute_checksums(&topology.clients, "veth0")?;
        let kinds = [Kind::Ipip, Kind::Ipip4In6];
        let _servers = Servers::start(&topology, &kinds)?;
        let _stub = topology.stub(mode)?;
        let config = Config::of(services(&topology, &kinds, &[0, 1]));
        let _balancer = Balancer::start_file(&topology, mode, &config)?;
        for (kind, family, fits) in [
            (Kind::Ipip, Family::V4, 1480),
            (Kind::Ipip4In6, Family::V4, 1460),
            (Kind::Ipip, Family::V6, 1460),
        ] {
            let service = kind.service(&topology, family, Protocol::Udp, &[0]);
            let probe = Probe::listen(&topology.clients, service.at.ip())?;
            let client = UdpClient::open(&topology.clients, service.at)?;
            let about = (17, client.socket().local_addr()?, service.at);
            // Headers of IP and UDP: 28 bytes, 48 in IPv6. The longest that fits arrives, the next is too long.
            let headers = if family == Family::V4 { 28 } else { 48 };
            client.echo(fits as usize - headers)?;
            send_with_hops(&client, 64, &vec![7; fits as usize - headers + 1])?;
            let error = probe.next(Duration::from_secs(10))?;
            let case = format!("{mode:?}, {kind:?}, {family:?}: {error:?}");
            ensure!(
                error.trouble == Trouble::TooBig(fits) && error.about == about,
                "{case}"
            );
            // TCP learns it by itself.
            for (_, mut connection) in open_many(&topology.clients, service.at, 8)? {
                connection.echo(200_000)?;
            }
        }
        topology.check_checksums()?;
    }
    Ok(())
}
