//! SIGKILL at any moment: what is left either works or is nothing, and the next start takes over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use xdplb_tests::balancer::{self, Balancer};
use xdplb_tests::bpffs::BpfFs;
use xdplb_tests::client::Connection;
use xdplb_tests::run;
use xdplb_tests::topology::{Mode, Plan, Topology};

/// Delays before the kill: around the milliseconds in which it loads and attaches, and later.
fn delays() -> impl Iterator<Item = Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut state = now.map_or(1, |now| now.subsec_nanos()) | 1;
    (0..20).map(move |turn| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let most = if turn % 2 == 0 { 20_000 } else { 200_000 };
        Duration::from_micros(u64::from(state) % most)
    })
}

fn kill_and_start_again(mode: Mode) -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let _servers = topology.serve()?;
    let _stub = topology.stub(mode)?;
    let seed = topology.arguments();
    let mut arguments = vec!["--xdp-mode", mode.word()];
    arguments.extend(seed.iter().map(String::as_str));
    for delay in delays() {
        let command = balancer::command(&topology.lb, &arguments)?;
        let victim = Balancer::spawn(&topology, command)?;
        std::thread::sleep(delay);
        victim.stop(Signal::SIGKILL)?;

        let balancer = Balancer::start(&topology, mode)
            .with_context(|| format!("{mode:?}, after a kill {delay:?} from the start"))?;
        Connection::open(&topology.clients, topology.service())?.get(1000)?;
        let output = balancer.stop(Signal::SIGTERM)?;
        ensure!(output.code == Some(0), "{delay:?}: {output:?}");
        topology
            .check_nothing_left()
            .with_context(|| format!("{mode:?}, killed {delay:?} from the start"))?;
    }
    Ok(())
}

#[test]
fn killed_at_any_moment_generic() -> Result<()> {
    kill_and_start_again(Mode::Generic)
}

#[test]
fn killed_at_any_moment_native() -> Result<()> {
    kill_and_start_again(Mode::Native)
}

#[test]
fn a_killed_balancer_goes_on_or_is_gone() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let _servers = topology.serve()?;
    let balancer = Balancer::start(&topology, Mode::Generic)?;
    let mut connection = Connection::open(&topology.clients, topology.service())?;
    let first = connection.get(1000)?;
    balancer.stop(Signal::SIGKILL)?;
    if topology.lb.link("veth6")?.get("xdp").is_none() {
        return topology.check_nothing_left();
    }
    // Still attached: then it works, for old connections and new ones, and the next start keeps them.
    ensure!(connection.get(1000)? == first);
    let mut orphan = Connection::open(&topology.clients, topology.service())?;
    let second = orphan.get(1000)?;
    let balancer = Balancer::start(&topology, Mode::Generic)?;
    ensure!(connection.get(1000)? == first);
    ensure!(orphan.get(1000)? == second);
    Connection::open(&topology.clients, topology.service())?.get(1000)?;
    let output = balancer.stop(Signal::SIGINT)?;
    let note = "note: veth6: adopted from an earlier run, 2 connections go on\n";
    ensure!(output.stderr.contains(note), "{output:?}");
    topology.check_nothing_left()
}

#[test]
fn killed_while_it_pins() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let _servers = topology.serve()?;
    let pins = BpfFs::new()?;
    let folder = pins.path().join("lb").display().to_string();
    let seed = topology.arguments();
    let mut arguments = vec!["--xdp-mode", "generic", "--pin", &folder];
    arguments.extend(seed.iter().map(String::as_str));
    let spawn = || -> Result<Balancer<'_>> {
        let mut command = balancer::command(&topology.lb, &arguments)?;
        pins.enter(&mut command)?;
        Balancer::spawn(&topology, command)
    };
    for delay in delays() {
        let victim = spawn()?;
        std::thread::sleep(delay);
        victim.stop(Signal::SIGKILL)?;
        let balancer = spawn()?
            .ready()
            .with_context(|| format!("after a kill {delay:?} from the start"))?;
        Connection::open(&topology.clients, topology.service())?.get(1000)?;
        let output = balancer.stop(Signal::SIGTERM)?;
        ensure!(output.code == Some(0), "{delay:?}: {output:?}");
    }
    // Pinned, it goes on without its command, and with the next.
    let mut connection = Connection::open(&topology.clients, topology.service())?;
    let first = connection.get(1000)?;
    let output = spawn()?.ready()?.stop(Signal::SIGINT)?;
    let said = "veth6 goes on balancing; xdplb-load detach veth6 takes it off\n";
    ensure!(output.stdout.ends_with(said), "{output:?}");
    ensure!(connection.get(1000)? == first);

    let mut command = balancer::command(&topology.lb, &["detach", "veth6"])?;
    pins.enter(&mut command)?;
    let output = run::output(command, balancer::LIMIT)?;
    ensure!(output.code == Some(0), "{output:?}");
    ensure!(output.stdout == "Detached from veth6\n", "{output:?}");
    let left = pins.pins()?;
    ensure!(left.is_empty(), "{left:?}");
    topology.check_nothing_left()
}
