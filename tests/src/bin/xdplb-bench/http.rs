//! Requests a second: clients, balancer and servers in the tutorial's network on this machine, with the balancer in both
//! modes and without it.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use xdplb_tests::balancer::Balancer;
use xdplb_tests::topology::{Mode, Topology};

use crate::figures::{Table, by_turns, median};

/// Clients at a time.
const CLIENTS: usize = 8;
/// How long each turn lasts.
const TURN: Duration = Duration::from_millis(700);
const ROUNDS: u32 = 7;
/// Bytes of an answer's body.
const BODY: usize = 100;
/// No step of a connection takes longer.
const LIMIT: Duration = Duration::from_secs(10);

/// How connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// All requests over one.
    KeptOpen,
    /// One request over each.
    Once,
}

/// What stands between clients and servers.
const WAYS: [Option<Mode>; 3] = [None, Some(Mode::Generic), Some(Mode::Native)];

fn open(to: SocketAddrV4) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).with_context(|| format!("connect to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Ends a connection with a RST, so that its port is free at once: 30,000 in TIME_WAIT are all there are.
fn reset(stream: &TcpStream) -> Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    Ok(setsockopt(stream, sockopt::Linger, &linger)?)
}

/// One request and its whole answer.
fn get(mut stream: &TcpStream) -> Result<()> {
    stream.write_all(format!("GET /{BODY} HTTP/1.1\r\n\r\n").as_bytes())?;
    let mut answer = [0; 1024];
    let mut length = 0;
    loop {
        let read = stream.read(&mut answer[length..])?;
        ensure!(read > 0, "closed in an answer");
        length += read;
        let end = answer[..length]
            .windows(4)
            .position(|four| four == b"\r\n\r\n");
        if end.is_some_and(|end| length == end + 4 + BODY) {
            ensure!(answer.starts_with(b"HTTP/1.1 200 "), "not an answer");
            return Ok(());
        }
    }
}

/// What one client gets done until `end`.
fn client(to: SocketAddrV4, kind: Use, end: Instant) -> Result<u32> {
    let mut stream = open(to)?;
    let mut done = 0;
    while Instant::now() < end {
        if kind == Use::Once && done > 0 {
            reset(&stream)?;
            drop(stream);
            stream = open(to)?;
        }
        get(&stream)?;
        done += 1;
    }
    reset(&stream)?;
    Ok(done)
}

/// Requests a second of all clients, each to the address that it is given.
fn rate(topology: &Topology, kind: Use, to: impl Fn(usize) -> SocketAddrV4 + Sync) -> Result<f64> {
    topology.clients.run(|| {
        let begun = Instant::now();
        let end = begun + TURN;
        let done: Result<Vec<u32>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let to = to(number);
                    scope.spawn(move || client(to, kind, end))
                })
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .map(|done| done.unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked"))))
                .collect()
        });
        Ok(f64::from(done?.iter().sum::<u32>()) / begun.elapsed().as_secs_f64())
    })
}

/// One turn, with a balancer of its own.
fn turn(topology: &Topology, kind: Use, mode: Option<Mode>) -> Result<f64> {
    let Some(mode) = mode else {
        return rate(topology, kind, |number| topology.server(number % 2));
    };
    let _stub = topology.stub(mode)?;
    let balancer = Balancer::start(topology, mode)?;
    let rate = rate(topology, kind, |_| topology.service())?;
    let output = balancer.stop(Signal::SIGTERM)?;
    ensure!(output.code == Some(0), "{output:?}");
    Ok(rate)
}

/// Measures and prints.
pub fn report() -> Result<String> {
    let topology = Topology::seed()?;
    let _servers = topology.serve()?;
    let measure = |kind| by_turns::<3>(ROUNDS, |way| turn(&topology, kind, WAYS[way]));
    let kept = measure(Use::KeptOpen)?;
    let once = measure(Use::Once)?;
    let mut table = Table::new([
        format!("requests a second, {CLIENTS} clients"),
        "kept open".into(),
        "ratio".into(),
        "new connections".into(),
        "ratio".into(),
    ]);
    for (index, way) in WAYS.iter().enumerate() {
        let name = match way {
            None => "to the servers themselves",
            Some(Mode::Generic) => "balanced, generic mode",
            Some(Mode::Native) => "balanced, native mode",
        };
        let mut cells = vec![name.to_string()];
        for rounds in [&kept, &once] {
            let pairs = rounds[index].iter().zip(&rounds[0]);
            let ratios = pairs.map(|(rate, without)| rate / without).collect();
            cells.push(format!("{:.0}", median(rounds[index].clone())));
            cells.push(format!("{:.2}", median(ratios)));
        }
        table.row(cells);
    }
    Ok(table.text())
}
