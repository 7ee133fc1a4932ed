//! What a user can get wrong on the command line and in a file: each with its own text, its exit code, and
//! nothing left in the kernel.

use std::fmt::Write;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use xdplb_tests::balancer::{self, Balancer};
use xdplb_tests::files::Folder;
use xdplb_tests::refusal::{FAILED, USAGE, refused};
use xdplb_tests::topology::{Plan, Topology};

const MAC: &str = "de:ad:be:ef:00:02";

#[test]
fn interfaces() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let backend = topology.address(2).to_string();
    refused(
        &topology,
        &["nosuch0", &backend, MAC],
        FAILED,
        &["error: nosuch0: no such interface (ENODEV)\n", "try:"],
    )?;
    refused(
        &topology,
        &["an-interface-name-that-is-too-long", &backend, MAC],
        FAILED,
        &["error: an-interface-name-that-is-too-long: no such interface (ENODEV)\n"],
    )?;
    topology.lb.ip("link set dev veth6 down")?;
    refused(
        &topology,
        &["veth6", &backend, MAC],
        FAILED,
        &[
            "error: veth6: the interface is down",
            "try:  ip link set dev veth6 up",
        ],
    )?;
    topology
        .lb
        .ip("link set dev veth6 up\naddress flush dev veth6")?;
    refused(
        &topology,
        &["veth6", &backend, MAC],
        FAILED,
        &[
            "error: veth6: the interface has no IPv4 address",
            "try:  ip address add",
        ],
    )
}

#[test]
fn addresses_on_the_command_line() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let (first, second) = (
        topology.address(2).to_string(),
        topology.address(3).to_string(),
    );
    for (backends, text) in [
        (
            &["10.0.0.300"][..],
            "command line: `10.0.0.300` is not an IPv4 or IPv6 address",
        ),
        (
            &["fd00::2"],
            &format!(
                "command line: fd00::2 is an IPv6 address, and mode nat keeps the family of {}/tcp",
                topology.address(10)
            ),
        ),
        (
            &["127.0.0.1"],
            "command line: 127.0.0.1 is no other host's address",
        ),
        (
            &[&*first, "de:ad:be:ef:00:0g"],
            "command line: `de:ad:be:ef:00:0g` is not a MAC address",
        ),
        (
            &[&*first, "de:ad:be:ef:00"],
            "command line: `de:ad:be:ef:00` is not a MAC address",
        ),
        (
            &[&*first, "ff:ff:ff:ff:ff:ff"],
            "command line: ff:ff:ff:ff:ff:ff is no single host's MAC address",
        ),
        (
            &[&*first, MAC, MAC],
            "command line: MAC de:ad:be:ef:00:02 follows no IP address",
        ),
        (
            &[&*first, MAC, &*second, &*first],
            &format!("command line: backend {first} is listed twice, first on the command line"),
        ),
        (
            &[&*first, ""],
            "command line: `` is not an IPv4 or IPv6 address",
        ),
    ] {
        let arguments = [&["veth6"], backends].concat();
        refused(&topology, &arguments, FAILED, &[&format!("error: {text}")])?;
    }
    Ok(())
}

#[test]
fn the_service() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let backend = topology.address(2).to_string();
    for (service, text) in [
        ("10.0.0", "`10.0.0` is not an IPv4 or IPv6 address"),
        ("10.0.0.10:0", "`0` is not a port (1 to 65535)"),
        ("10.0.0.10:80/sctp", "`sctp` is not a protocol (tcp, udp)"),
        (
            "127.0.0.1:80",
            "127.0.0.1 is no address that clients reach over a network",
        ),
    ] {
        let arguments = ["--listen", service, "veth6", &backend, MAC];
        refused(&topology, &arguments, USAGE, &[text])?;
    }
    Ok(())
}

#[test]
fn lines_of_a_file() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let folder = Folder::new()?;
    for (text, expected) in [
        (
            "# servers\n10.0.0.2\n\n10.0.0.300 de:ad:be:ef:00:03\n",
            ":4: `10.0.0.300` is not an IPv4 or IPv6 address
  4 | 10.0.0.300 de:ad:be:ef:00:03
    | ^^^^^^^^^^\n",
        ),
        (
            "10.0.0.2 de:ad:be:ef:00:0g\n",
            ":1: `de:ad:be:ef:00:0g` is not a MAC address (six hexadecimal bytes, de:ad:be:ef:00:02)
  1 | 10.0.0.2 de:ad:be:ef:00:0g
    |          ^^^^^^^^^^^^^^^^^\n",
        ),
        (
            "10.0.0.2\n10.0.0.3\n10.0.0.2 # again\n",
            ":3: backend 10.0.0.2 is listed twice, first in line 1
  3 | 10.0.0.2 # again
    | ^^^^^^^^\n",
        ),
        (
            "10.0.0.2 de:ad:be:ef:00:02 wieght=3\n",
            ":1: unknown key `wieght`: did you mean `weight`?
  1 | 10.0.0.2 de:ad:be:ef:00:02 wieght=3
    |                            ^^^^^^^^\n",
        ),
        (
            "10.0.0.2 de:ad:be:ef:00:02 de:ad:be:ef:00:03\n",
            ":1: `de:ad:be:ef:00:03` is one word too many (a line is `IP [MAC] [key=value…]`)
  1 | 10.0.0.2 de:ad:be:ef:00:02 de:ad:be:ef:00:03
    |                            ^^^^^^^^^^^^^^^^^\n",
        ),
        ("", ": no backend in it (wanted: a backend a line, `IP [MAC]`)\n"),
        ("# none yet\n\n", ": no backend in it (wanted: a backend a line, `IP [MAC]`)\n"),
    ] {
        let file = folder.file("backends", text)?;
        let expected = format!("error: {file}{expected}");
        refused(&topology, &["veth6", &file], FAILED, &[&expected])?;
    }
    let file = folder.file("backends", b"10.0.0.2\n\xff\xfe\n")?;
    let expected = format!("error: {file}: not a text file: byte 9 is not UTF-8");
    refused(&topology, &["veth6", &file], FAILED, &[&expected])
}

#[test]
fn no_backend() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    refused(&topology, &["veth6"], USAGE, &["required", "Usage:"])?;
    refused(
        &topology,
        &["veth6", "/nonexistent/backends"],
        FAILED,
        &["error: /nonexistent/backends: ", "(ENOENT)"],
    )?;
    refused(
        &topology,
        &["veth6", "/proc"],
        FAILED,
        &["error: /proc: ", "(EISDIR)"],
    )?;
    refused(
        &topology,
        &["--no-such-option", "veth6", "x"],
        USAGE,
        &["--no-such-option"],
    )?;
    let modes = ["--xdp-mode", "offload", "veth6", "x"];
    refused(
        &topology,
        &modes,
        USAGE,
        &["offload", "auto", "native", "generic"],
    )?;
    let connections = ["--connections", "0", "veth6", "x"];
    refused(&topology, &connections, USAGE, &["--connections"])
}

/// A file of this many backends in the test's own net, with MACs.
fn crowd(topology: &Topology, count: u32) -> String {
    // The first has to be the topology's own, by which leftovers are recognized.
    let mut text = format!("{} {MAC}\n", topology.address(2));
    for number in 1..count {
        let [_, a, b, c] = number.to_be_bytes();
        let _ = writeln!(text, "11.{a}.{b}.{c} {MAC}");
    }
    text
}

#[test]
fn as_many_backends_as_possible_and_one_more() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let folder = Folder::new()?;
    let file = folder.file("backends", crowd(&topology, 65_536))?;
    let expected = format!(
        "error: {file}:65536: one backend too many: at most 65535 are possible\n  65536 | 11.0.255.255"
    );
    refused(&topology, &["veth6", &file], FAILED, &[&expected])?;

    let file = folder.file("backends", crowd(&topology, 65_535))?;
    let command = balancer::command(&topology.lb, &["veth6", &file])?;
    let output = Balancer::spawn(&topology, command)?
        .ready()?
        .stop(Signal::SIGTERM)?;
    ensure!(output.code == Some(0), "{}", output.stderr);
    ensure!(
        output
            .stdout
            .contains("\nBackend 65535 - IP: 11.0.255.254, MAC: ")
    );
    topology.check_nothing_left()
}

#[test]
fn a_backend_that_nobody_knows() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let (known, unknown) = (
        topology.address(2).to_string(),
        topology.address(77).to_string(),
    );
    refused(
        &topology,
        &["veth6", &known, &unknown],
        FAILED,
        &[&format!("error: backend {unknown}: "), "MAC", "try:"],
    )?;
    // In a net that is not the interface's, and without a route.
    refused(
        &topology,
        &["veth6", "192.0.2.1"],
        FAILED,
        &["error: backend 192.0.2.1: "],
    )
}

#[test]
fn the_balancer_itself_as_a_backend() -> Result<()> {
    let topology = Topology::build(Plan::apart())?;
    let own = topology.address(10).to_string();
    let text = format!("error: command line: {own} is the service's own address");
    refused(&topology, &["veth6", &own, MAC], FAILED, &[&text])?;
    // Of a service that is elsewhere, too: what is sent to it would come back for ever.
    let service = topology.address(20).to_string();
    let arguments = ["--listen", &service, "veth6", &own, MAC];
    let text = format!("error: backend {own}: it is veth6's own address");
    refused(&topology, &arguments, FAILED, &[&text])
}
