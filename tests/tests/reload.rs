//! A new configuration while connections are used: nothing is lost, nobody moves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use xdplb_tests::balancer::Balancer;
use xdplb_tests::client::Connection;
use xdplb_tests::load::{Load, open_many, use_all};
use xdplb_tests::server::Server;
use xdplb_tests::services::{Backend, Config, Protocol, Service};
use xdplb_tests::through::{BACKEND_PORT, Kind};
use xdplb_tests::topology::{Family, Mode, Plan, Topology};

/// A NAT service, and servers behind it.
fn with_servers(action: impl Fn(&Topology, &[Server; 2], Mode) -> Result<()>) -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::build(Plan::dual())?;
        topology.hold_vip()?;
        // Tens of thousands of connections, one after the other: the client's own ports must last.
        topology.clients.sysctl(&[
            ("net/ipv4/ip_local_port_range", "1024 65535"),
            ("net/ipv4/tcp_tw_reuse", "1"),
        ])?;
        let start = |index: usize| {
            let at = (topology.backend(Family::V4, index), BACKEND_PORT);
            Server::start(&topology.backends[index], at)
        };
        let servers = [start(0)?, start(1)?];
        let _stub = topology.stub(mode)?;
        action(&topology, &servers, mode).with_context(|| format!("{mode:?}"))?;
        topology.check_checksums()?;
    }
    Ok(())
}

fn nat(topology: &Topology, backends: &[usize]) -> Service {
    Kind::Nat.service(topology, Family::V4, Protocol::Tcp, backends)
}

/// Configurations that differ in all that may differ while both backends go on.
fn variants(topology: &Topology) -> [Config; 4] {
    let base = nat(topology, &[0, 1]);
    let swapped = nat(topology, &[1, 0]);
    let mut weighted = base.clone();
    weighted.backends[0].weight = Some(3);
    let mut third = base.clone();
    // Listed and out of service: it takes part in nothing.
    third
        .backends
        .push(Backend::at(topology.address(4)).state("down"));
    let more = |from: Service, count: u16| {
        let mut services = vec![from];
        for number in 0..count {
            let mut other = nat(topology, &[0, 1]);
            other.at.set_port(20_000 + number);
            services.push(other);
        }
        Config::of(services)
    };
    [
        more(base, 0),
        more(swapped, 20),
        more(weighted, 3),
        more(third, 0),
    ]
}

#[test]
fn two_hundred_reloads_under_load() -> Result<()> {
    with_servers(|topology, _, mode| {
        let variants = variants(topology);
        let balancer = Balancer::start_file(topology, mode, &variants[0])?;
        let to = topology.vip(Family::V4, Kind::Nat.port());
        let mut idle = open_many(&topology.clients, to, 20)?;
        // Half a second of a CPU goes into a reload: the generic mode, which differs in how it is attached, gets fewer.
        let count = match mode {
            Mode::Native => 200,
            Mode::Generic => 20,
        };
        // A hundred thousand requests, as from clients with time of their own. As fast as two threads can, one of a million is reset;
        // why is not known yet.
        let load = Load::paced(&topology.clients, to, 2, 4, Duration::from_millis(10))?;
        let started = Instant::now();
        for (number, config) in (1..=count).zip(variants.iter().cycle().skip(1)) {
            balancer
                .reload(config)
                .with_context(|| format!("reload {number}"))?;
            // Now and then, lest the servers lose patience with them.
            if number % 25 == 0 {
                use_all(&mut idle, 3000).with_context(|| format!("after reload {number}"))?;
            }
        }
        let rounds = load.rounds();
        let report = load.stop();
        println!(
            "{mode:?}: {count} reloads in {:?}, {} requests",
            started.elapsed(),
            report.good
        );
        report.check().with_context(|| balancer.counts())?;
        // Enough was asked while it was reloaded for the answer to mean something.
        ensure!(rounds > count, "{rounds} rounds during {count} reloads");
        use_all(&mut idle, 3000)
    })
}

/// Waits for connections to reach exactly these backends.
fn wait_for(topology: &Topology, wanted: &[&str]) -> Result<()> {
    let to = topology.vip(Family::V4, Kind::Nat.port());
    let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        // One to a backend that just now goes is reset, as it shall be.
        let found = open_many(&topology.clients, to, 40).unwrap_or_default();
        let names: BTreeSet<&str> = found.iter().map(|(answer, _)| &*answer.backend).collect();
        if names == wanted {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{names:?} and not {wanted:?} after 10 s");
        }
    }
}

#[test]
fn a_signal_or_a_changed_file_is_enough() -> Result<()> {
    with_servers(|topology, _, mode| {
        let config = |backends: &[usize]| Config::of(vec![nat(topology, backends)]);
        let balancer = Balancer::start_file(topology, mode, &config(&[0]))?;
        let to = topology.vip(Family::V4, Kind::Nat.port());
        let mut kept = open_many(&topology.clients, to, 10)?;
        wait_for(topology, &["h2"])?;
        // The file alone.
        balancer.write(&config(&[0, 1]).to_string())?;
        wait_for(topology, &["h2", "h3"])?;
        // The signal, after a file that is not a configuration has changed nothing.
        balancer.write("[[service]]\naddress = \"nowhere\"\n")?;
        balancer.signal(Signal::SIGHUP)?;
        let end = Instant::now() + Duration::from_secs(10);
        while !balancer.stderr().contains("lb.toml:2") {
            ensure!(
                Instant::now() < end,
                "nothing is said: {}",
                balancer.stderr()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        wait_for(topology, &["h2", "h3"])?;
        balancer.write(&config(&[0]).to_string())?;
        balancer.signal(Signal::SIGHUP)?;
        wait_for(topology, &["h2"])?;
        use_all(&mut kept, 1000)?;
        let output = balancer.stop(Signal::SIGTERM)?;
        ensure!(output.code == Some(0), "{output:?}");
        Ok(())
    })
}

#[test]
fn a_drained_backend_keeps_what_it_has() -> Result<()> {
    with_servers(|topology, servers, mode| {
        let config = Config::of(vec![nat(topology, &[0, 1])]);
        let balancer = Balancer::start_file(topology, mode, &config)?;
        let service = nat(topology, &[0]);
        let name = format!("{}/tcp", service.at);
        let backend = format!("{}:{BACKEND_PORT}", topology.backend(Family::V4, 0));
        let mut kept = open_many(&topology.clients, service.at, 100)?;
        let load = Load::start(&topology.clients, service.at, 4, 8)?;
        balancer.command(&["backend", "veth6", "drain", &name, &backend])?;
        // What was on its way when the command ended has arrived after a moment.
        std::thread::sleep(Duration::from_millis(200));
        let before = [servers[0].accepted(), servers[1].accepted()];
        let rounds = load.rounds();
        while load.rounds() < rounds + 200 {
            use_all(&mut kept, 500)?;
        }
        let now = [servers[0].accepted(), servers[1].accepted()];
        ensure!(
            now[0] == before[0],
            "{} new on the drained backend",
            now[0] - before[0]
        );
        ensure!(now[1] >= before[1] + 200, "{before:?} to {now:?}");
        use_all(&mut kept, 3000)?;
        balancer.command(&["backend", "veth6", "activate", &name, &backend])?;
        wait_for(topology, &["h2", "h3"])?;
        load.stop().check().with_context(|| balancer.counts())?;
        use_all(&mut kept, 3000)
    })
}

#[test]
fn connections_of_a_backend_that_is_down_are_reset() -> Result<()> {
    with_servers(|topology, _, mode| {
        let config = Config::of(vec![nat(topology, &[0, 1])]);
        let balancer = Balancer::start_file(topology, mode, &config)?;
        let to = topology.vip(Family::V4, Kind::Nat.port());
        let kept = open_many(&topology.clients, to, 40)?;
        let mut changed = nat(topology, &[0, 1]);
        changed.backends[0].state = Some("down");
        balancer.reload(&Config::of(vec![changed]))?;
        let mut reset = 0;
        for (first, mut connection) in kept {
            let result = connection.get(100);
            if first.backend == "h3" {
                ensure!(result? == first);
                continue;
            }
            reset += 1;
            let error = result.err().context("a backend that is down answered")?;
            let code = error.root_cause().downcast_ref::<std::io::Error>();
            let is_reset = code.is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset);
            ensure!(is_reset, "{error:#}");
        }
        ensure!(reset > 0);
        wait_for(topology, &["h3"])
    })
}

#[test]
fn no_backend_means_refused() -> Result<()> {
    with_servers(|topology, _, mode| {
        let mut service = nat(topology, &[0, 1]);
        service.backends[0].state = Some("draining");
        service.backends[1].state = Some("down");
        let to = service.at;
        let _balancer = Balancer::start_file(topology, mode, &Config::of(vec![service]))?;
        let error = Connection::open(&topology.clients, to)
            .err()
            .context("connected")?;
        let code = error.root_cause().downcast_ref::<nix::errno::Errno>();
        ensure!(code == Some(&nix::errno::Errno::ECONNREFUSED), "{error:#}");
        Ok(())
    })
}

#[test]
fn a_killed_balancer_is_adopted_with_its_connections() -> Result<()> {
    with_servers(|topology, _, mode| {
        let variants = variants(topology);
        let balancer = Balancer::start_file(topology, mode, &variants[0])?;
        let to = topology.vip(Family::V4, Kind::Nat.port());
        let mut kept = open_many(&topology.clients, to, 50)?;
        let load = Load::start(&topology.clients, to, 2, 4)?;
        balancer.stop(Signal::SIGKILL)?;
        use_all(&mut kept, 1000)?;
        // With another file: what is in the kernel is taken over and changed at once.
        let balancer = Balancer::start_file(topology, mode, &variants[1])?;
        use_all(&mut kept, 1000)?;
        balancer.reload(&variants[2])?;
        use_all(&mut kept, 1000)?;
        load.stop().check()
    })
}

/// With so few ports that each comes round many times a second: who gets one has it for itself, the rest are told so.
#[test]
fn ports_that_come_round_quickly_break_nobody() -> Result<()> {
    with_servers(|topology, _, mode| {
        topology
            .clients
            .sysctl(&[("net/ipv4/ip_local_port_range", "1024 6000")])?;
        let mut service = nat(topology, &[0, 1]);
        service.source_ports = Some(2000..=2059);
        let to = service.at;
        let balancer = Balancer::start_file(topology, mode, &Config::of(vec![service]))?;
        let load = Load::start(&topology.clients, to, 4, 4)?;
        std::thread::sleep(Duration::from_secs(8));
        let report = load.stop();
        let counts = balancer.counts();
        ensure!(report.failed == report.refused, "{report:?}\n{counts}");
        // They did come round, and there were too few.
        ensure!(report.opened > 500 && report.refused > 0, "{report:?}");
        // No packet was of a flow whose place another one had taken.
        ensure!(!counts.contains("no_connection"), "{counts}");
        Ok(())
    })
}
