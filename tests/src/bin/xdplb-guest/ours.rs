//! Our own program: started, used and stopped by the static `xdplb-load`, as on a host that has nothing else.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use xdplb_tests::balancer::{self, Balancer};
use xdplb_tests::client::Connection;
use xdplb_tests::objects;
use xdplb_tests::run::{self, Output};
use xdplb_tests::services::Config;
use xdplb_tests::through::{Kind, Servers, connections, datagrams, services, suit};
use xdplb_tests::topology::{Mode, Plan, Topology};

use crate::leftovers;

/// Bodies around what fits a segment, and one of many segments.
const LENGTHS: [usize; 9] = [0, 1, 2, 3, 1447, 1448, 1449, 3000, 100_000];

/// Who computes the checksums of what clients and servers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checksums {
    /// Nobody, as veth has it by default: fields hold the pseudo-header's sum, and receivers do not look.
    Deferred,
    /// The sender, so that receivers look.
    Computed,
}

/// All of it in one mode.
pub fn check(mode: Mode) -> Result<()> {
    for checksums in [Checksums::Deferred, Checksums::Computed] {
        leftovers::none(|| forward(mode, checksums)).with_context(|| format!("{checksums:?}"))?;
    }
    leftovers::none(|| every_kind(mode)).context("every kind of service")?;
    leftovers::none(|| pinned(mode)).context("with --pin")?;
    leftovers::none(|| without_perfmon(mode)).context("without CAP_PERFMON")
}

/// The first kernel known to take our program from a process without CAP_PERFMON.
const WITHOUT_PERFMON: (u32, u32) = (6, 12);

/// With CAP_BPF and CAP_NET_ADMIN alone it works on newer kernels, and says on older ones what it lacks.
fn without_perfmon(mode: Mode) -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let _servers = topology.serve()?;
    let _stub = topology.stub(mode)?;
    let mut arguments = vec!["--xdp-mode".to_owned(), mode.word().to_owned()];
    arguments.extend(topology.arguments());
    let mut command = balancer::command(&topology.lb, &arguments)?;
    // What root gets by exec(2) is what the bounding set leaves, capabilities(7).
    const CAP_SYS_ADMIN: libc::c_ulong = 21;
    const CAP_PERFMON: libc::c_ulong = 38;
    // SAFETY: two system calls between fork and exec, on numbers; nothing is allocated or locked.
    unsafe {
        command.pre_exec(|| {
            for capability in [CAP_SYS_ADMIN, CAP_PERFMON] {
                Errno::result(libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0))?;
            }
            Ok(())
        });
    }
    if objects::running_kernel()? < WITHOUT_PERFMON {
        let output = run::output(command, balancer::LIMIT)?;
        ensure!(
            output.code == Some(1) && output.stderr.contains("missing CAP_PERFMON"),
            "{output:?}"
        );
        return topology.check_nothing_left();
    }
    let balancer = Balancer::spawn(&topology, command)?.ready()?;
    drop(both(&topology)?);
    ensure!(balancer.stop(Signal::SIGTERM)?.code == Some(0));
    topology.check_nothing_left()
}

/// Requests go through to both servers until a signal ends the balancer.
fn forward(mode: Mode, checksums: Checksums) -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    if checksums == Checksums::Computed {
        Topology::compute_checksums(&topology.clients, "veth0")?;
        Topology::compute_checksums(&topology.backends[0], "veth3")?;
        Topology::compute_checksums(&topology.backends[1], "veth5")?;
    }
    let _servers = topology.serve()?;
    let _stub = topology.stub(mode)?;
    let balancer = Balancer::start(&topology, mode)?;
    let connections = both(&topology)?;
    done(balancer::output(&topology.lb, &["status", "--json"])?)?;
    let stats = done(balancer::output(&topology.lb, &["stats"])?)?;
    ensure!(!stats.is_empty(), "stats says nothing");
    for connection in connections {
        connection.close()?;
    }
    let output = balancer.stop(Signal::SIGTERM)?;
    ensure!(output.code == Some(0), "{output:?}");
    topology.check_checksums()?;
    topology.check_nothing_left()
}

/// Each mode in each family and protocol, to both servers and back.
fn every_kind(mode: Mode) -> Result<()> {
    let topology = Topology::build(Plan::dual())?;
    topology.hold_vip()?;
    let _servers = Servers::start(&topology, &Kind::ALL)?;
    let _stub = topology.stub(mode)?;
    let config = Config::of(services(&topology, &Kind::ALL, &[0, 1]));
    let balancer = Balancer::start_file(&topology, mode, &config)?;
    for kind in Kind::ALL {
        suit(&topology, kind, mode)?;
        for family in kind.families() {
            connections(&topology, kind, *family, 2, &LENGTHS)?;
            datagrams(&topology, kind, *family, 2, &[0, 1, 2, 1400])?;
        }
    }
    let output = balancer.stop(Signal::SIGTERM)?;
    ensure!(output.code == Some(0), "{output:?}");
    topology.check_checksums()?;
    topology.check_nothing_left()
}

/// It outlives its command, a second one adopts its connections, `detach` ends it.
fn pinned(mode: Mode) -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let _servers = topology.serve()?;
    let _stub = topology.stub(mode)?;
    let options = ["--xdp-mode", mode.word(), "--pin", "/sys/fs/bpf/xdplb"];
    let first = Balancer::start_with(&topology, &options)?;
    let mut connections = both(&topology)?;
    ensure!(first.stop(Signal::SIGINT)?.code == Some(0));
    let second = Balancer::start_with(&topology, &options)?;
    says(&second, "adopted from an earlier run")?;
    for connection in &mut connections {
        connection.get(3000).context("after it was adopted")?;
    }
    ensure!(second.stop(Signal::SIGINT)?.code == Some(0));
    done(balancer::output(&topology.lb, &["detach", "veth6"])?)?;
    ensure!(
        !Path::new("/sys/fs/bpf/xdplb/veth6").exists(),
        "the pins are still there"
    );
    drop(connections);
    topology.check_nothing_left()
}

/// What goes to standard error is read beside what goes to standard output, and may come a little later.
fn says(balancer: &Balancer<'_>, words: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(5);
    while !balancer.stderr().contains(words) {
        ensure!(
            Instant::now() < end,
            "`{words}` is not in what it said: {:?}",
            balancer.stderr()
        );
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A connection to each server, on which bodies of every interesting length went both ways. The hash of 64 source
/// ports misses one of two servers once in 2⁶³ runs.
fn both(topology: &Topology) -> Result<Vec<Connection>> {
    let mut found = Vec::new();
    let mut names = Vec::new();
    for _ in 0..64 {
        let mut connection = Connection::open(&topology.clients, topology.service())?;
        let answer = connection.get(1)?;
        ensure!(
            answer.peer.ip() == topology.address(10),
            "a server saw {} and not the balancer",
            answer.peer
        );
        if names.contains(&answer.backend) {
            connection.close()?;
            continue;
        }
        for length in LENGTHS {
            ensure!(connection.get(length)? == answer);
            ensure!(connection.echo(length)? == answer);
        }
        names.push(answer.backend);
        found.push(connection);
        if found.len() == 2 {
            return Ok(found);
        }
    }
    anyhow::bail!("64 connections reached only {names:?}")
}

fn done(output: Output) -> Result<String> {
    ensure!(output.code == Some(0), "{output:?}");
    Ok(output.stdout)
}
