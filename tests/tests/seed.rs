//! The tutorial's own commands, and what the balancer's host does besides.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use xdplb_tests::balancer::{self, Balancer};
use xdplb_tests::client::Connection;
use xdplb_tests::ping::ping;
use xdplb_tests::run;
use xdplb_tests::topology::{Mode, Topology};
use xdplb_tests::trace::TracePipe;

const FOUR_LINES: &str = "\
XDP load balancer configured with backends:
Backend 1 - IP: 10.0.0.2, MAC: de:ad:be:ef:00:02
Backend 2 - IP: 10.0.0.3, MAC: de:ad:be:ef:00:03
Press Ctrl+C to exit...
";

/// The seed's command line, whole, in a network like the seed's.
#[test]
fn the_seeds_command_and_how_it_ends() -> Result<()> {
    let topology = Topology::seed()?;
    let _servers = topology.serve()?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let command = balancer::command(
            &topology.lb,
            &[
                "veth6",
                "10.0.0.2",
                "de:ad:be:ef:00:02",
                "10.0.0.3",
                "de:ad:be:ef:00:03",
            ],
        )?;
        let balancer = Balancer::spawn(&topology, command)?.ready()?;
        ensure!(
            topology.lb.link("veth6")?.get("xdp").is_some(),
            "nothing attached"
        );
        Connection::open(&topology.clients, topology.service())?.get(1000)?;

        let output = balancer.stop(signal)?;
        ensure!(output.code == Some(0), "{signal}: {output:?}");
        let expected = format!("{FOUR_LINES}Detached from veth6\n");
        ensure!(output.stdout == expected, "{signal}: {}", output.stdout);
        // Which mode it took where it could not see veth6's peer, and nothing else.
        let notes: Vec<&str> = output.stderr.lines().collect();
        ensure!(
            notes.len() == 1 && notes[0].starts_with("note: ") && notes[0].contains("generic"),
            "{}",
            output.stderr
        );
        topology.check_detached()?;
    }
    Ok(())
}

#[test]
fn auto_takes_generic_mode_on_a_veth_whose_peer_it_cannot_see() -> Result<()> {
    let topology = Topology::seed()?;
    let balancer = Balancer::start_with(&topology, &["--xdp-mode", "auto"])?;
    let xdp = topology.lb.link("veth6")?["xdp"].clone();
    // if_link.h: XDP_ATTACHED_SKB.
    ensure!(xdp["mode"] == 2, "{xdp}");
    drop(balancer);
    topology.check_detached()
}

#[test]
fn a_backends_file_without_macs() -> Result<()> {
    let topology = Topology::seed()?;
    let _servers = topology.serve()?;
    let folder = xdplb_tests::files::Folder::new()?;
    let file = folder.file(
        "backends",
        "# the tutorial's\n10.0.0.2\n10.0.0.3 # no MAC\n",
    )?;
    let command = balancer::command(&topology.lb, &["veth6", &file])?;
    let balancer = Balancer::spawn(&topology, command)?.ready()?;
    for _ in 0..10 {
        Connection::open(&topology.clients, topology.service())?.get(100)?;
    }
    let output = balancer.stop(Signal::SIGINT)?;
    ensure!(output.stdout.starts_with(FOUR_LINES), "{}", output.stdout);
    Ok(())
}

#[test]
fn the_hosts_own_traffic_goes_on() -> Result<()> {
    for mode in Mode::ALL {
        let topology = Topology::seed()?;
        let _servers = topology.serve()?;
        let _stub = topology.stub(mode)?;
        let _balancer = Balancer::start(&topology, mode)?;
        for _ in 0..3 {
            // With an empty neighbour table the echo request waits for an answer to ARP.
            topology.clients.ip("neigh flush dev veth0")?;
            ping(&topology.clients, topology.address(10))?;
        }
        ping(&topology.lb, topology.address(2))?;
        // The balancer's own connection to a server, while a client's goes there too.
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(Connection::open(&topology.clients, topology.service())?);
        }
        for index in 0..2 {
            let mut own = Connection::open(&topology.lb, topology.server(index))?;
            for length in [0, 1, 3000, 200_000] {
                own.get(length)?;
                own.echo(length)?;
            }
            own.close()?;
        }
        for client in &mut clients {
            client.get(3000)?;
        }
    }
    Ok(())
}

/// One test, since there is one trace for the whole machine.
#[test]
fn the_trace_has_the_seeds_nine_lines() -> Result<()> {
    let topology = Topology::seed()?;
    let _servers = topology.serve()?;
    let mut pipe = TracePipe::open()?;
    let _balancer = Balancer::start_with(&topology, &["--trace", "--xdp-mode", "generic"])?;
    let mut connection = Connection::open(&topology.clients, topology.service())?;
    let backend = connection.get(1)?.backend.replace('h', "");

    let from_client = [
        "xdp_load_balancer received packet",
        "Received Source IP: 0xa000001",
        "Received Destination IP: 0xa00000a",
        "Received Source MAC: de:ad:be:ef:0:1",
        "Received Destination MAC: de:ad:be:ef:0:10",
        "Packet from client",
        &format!("Redirecting packet to new IP 0xa00000{backend} from IP 0xa00000a"),
        &format!("New Dest MAC: de:ad:be:ef:0:{backend}"),
        "New Source MAC: de:ad:be:ef:0:10",
    ];
    let from_backend = [
        "xdp_load_balancer received packet",
        &format!("Received Source IP: 0xa00000{backend}"),
        "Received Destination IP: 0xa00000a",
        &format!("Received Source MAC: de:ad:be:ef:0:{backend}"),
        "Received Destination MAC: de:ad:be:ef:0:10",
        "Packet from backend",
        "Redirecting packet to new IP 0xa000001 from IP 0xa00000a",
        "New Dest MAC: de:ad:be:ef:0:1",
        "New Source MAC: de:ad:be:ef:0:10",
    ];
    for expected in [from_client, from_backend] {
        let found = pipe.wait_for(Duration::from_secs(10), |messages| {
            messages.windows(9).any(|window| window == expected)
        })?;
        ensure!(found, "not in the trace: {expected:#?}\n{}", pipe.text());
    }
    // What the next test looks for in vain is there to be found.
    let program = instructions(&topology)?;
    ensure!(program.contains("trace"), "{program}");
    Ok(())
}

/// The program on veth6 as the kernel runs it, disassembled.
fn instructions(topology: &Topology) -> Result<String> {
    let id = topology.lb.link("veth6")?["xdp"]["prog"]["id"].to_string();
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["prog", "dump", "xlated", "id", &id]);
    let dump = run::output(bpftool, Duration::from_secs(20))?;
    ensure!(dump.code == Some(0), "{dump:?}");
    Ok(dump.stdout)
}

#[test]
fn without_the_option_nothing_is_traced() -> Result<()> {
    let topology = Topology::seed()?;
    let _balancer = Balancer::start(&topology, Mode::Generic)?;
    // The verifier removes what a constant switches off, so the program does not even call the helper.
    let program = instructions(&topology)?;
    let mut calls = program.lines().filter(|line| line.contains(" call "));
    ensure!(calls.clone().count() > 0, "{program}");
    let traces = calls.find(|line| line.contains("trace"));
    ensure!(traces.is_none(), "{traces:?} in {program}");
    Ok(())
}
