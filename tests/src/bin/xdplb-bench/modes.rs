//! What a packet costs in each mode and family, above an empty XDP_TX: of a known flow, its answer, a new flow, a miss; with few and
//! many services, few and many flows.

use std::os::fd::AsFd;

use anyhow::{Result, ensure};
use xdplb_loader::balancer::settings::buckets;
use xdplb_prog::abi::{Backend, Bucket, Connection, Service, ServiceKey};
use xdplb_prog::counters::Verdict;

use crate::configured::{Configured, MAC, config};
use crate::figures::{Goal, Table, median, verdict};
use crate::restore::{Flow, Measured, Restored, empty, growing};

/// How often each is measured.
const ROUNDS: u32 = 31;
/// The same for new flows, whose tables are made anew each time.
const NEW_ROUNDS: u32 = 5;
/// 16,384 runs each time.
const STRIDES: u32 = 4;
/// Bytes of a frame.
const LENGTH: usize = 100;
const PORT: u16 = 80;
/// Few flows, and many.
const FLOWS: [u32; 2] = [1 << 10, 1 << 20];
/// Few services, and many.
const SERVICES: [u32; 2] = [1, 10_000];
const MODES: [&str; 3] = ["nat", "dsr", "ipip"];

const SYN: u8 = 2;
const ACK: u8 = 0x10;

/// The addresses of a family, as sixteen bytes.
struct Family {
    v6: bool,
    vip: [u8; 16],
    client: [u8; 16],
}

const fn v4(bytes: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = bytes;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

const FAMILIES: [Family; 2] = [
    Family {
        v6: false,
        vip: v4([10, 1, 0, 0]),
        client: v4([10, 3, 0, 1]),
    },
    Family {
        v6: true,
        vip: [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        client: [0xfd, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    },
];

impl Family {
    /// Of the headers in front of TCP's data.
    fn headers(&self) -> usize {
        if self.v6 { 74 } else { 54 }
    }

    /// A TCP segment. Its checksum is any: what is updated costs what it costs.
    fn frame(&self, from: ([u8; 16], u16), to: ([u8; 16], u16), flags: u8) -> Vec<u8> {
        let mut frame = MAC.to_vec();
        frame.extend([0xde, 0xad, 0xbe, 0xef, 0, 1]);
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(((LENGTH - 54) as u16).to_be_bytes());
            frame.extend([6, 64]);
            frame.extend(from.0);
            frame.extend(to.0);
        } else {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend(((LENGTH - 14) as u16).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, 6, 0x12, 0x34]);
            frame.extend(&from.0[12..]);
            frame.extend(&to.0[12..]);
        }
        frame.extend(from.1.to_be_bytes());
        frame.extend(to.1.to_be_bytes());
        frame.extend([
            1, 2, 3, 4, 5, 6, 7, 8, 0x50, flags, 0x20, 0, 0x55, 0x66, 0, 0,
        ]);
        frame.resize(LENGTH, 0x55);
        frame
    }

    /// Where a frame that was sent went, and whence: the answer to it.
    fn answer(&self, sent: &[u8], flags: u8) -> Vec<u8> {
        let (source, destination, ports) = if self.v6 {
            (22..38, 38..54, 54)
        } else {
            (26..30, 30..34, 34)
        };
        let address = |range: std::ops::Range<usize>| {
            let mut address = v4([0; 4]);
            let own = address.len() - range.len();
            address[own..].copy_from_slice(&sent[range]);
            address
        };
        let port = |at: usize| u16::from_be_bytes([sent[at], sent[at + 1]]);
        self.frame(
            (address(destination), port(ports + 2)),
            (address(source), port(ports)),
            flags,
        )
    }
}

/// What is measured, and what a program that does nothing costs in its place.
struct Case {
    measured: Measured,
    alone: Measured,
    samples: Vec<f64>,
}

impl Case {
    fn new(program: std::os::fd::BorrowedFd<'_>, packet: &Restored) -> Result<Self> {
        let nothing = match packet.in_front {
            0 => empty(packet.verdict)?,
            in_front => growing(in_front)?,
        };
        Ok(Self {
            measured: Measured::new(program, packet)?,
            alone: Measured::new(nothing.as_fd(), packet)?,
            samples: Vec::new(),
        })
    }

    /// One sample: nanoseconds above the program that does nothing, measured right before.
    fn measure(&mut self) -> Result<()> {
        let alone = self.alone.time(STRIDES)?;
        self.samples.push(self.measured.time(STRIDES)? - alone);
        Ok(())
    }

    fn time(&self) -> f64 {
        median(self.samples.clone())
    }
}

/// A balancer with flows, and the packets that are measured on it.
struct Bench {
    _balancer: Configured,
    known: Case,
    reply: Option<Case>,
    miss: Case,
    among: Case,
}

fn in_front(mode: &str, family: &Family) -> usize {
    match (mode, family.v6) {
        ("ipip", false) => 20,
        ("ipip", true) => 40,
        _ => 0,
    }
}

impl Bench {
    fn new(mode: &str, family: &Family, services: u32, flows: u32) -> Result<Self> {
        let slots = (flows / 8 * 9).max(65_536);
        let balancer = Configured::load(&config(mode, family.v6, services, slots))?;
        let program = balancer.program()?.as_fd();
        let front = in_front(mode, family);
        let packet = |frame, flow, in_front, verdict| Restored {
            frame,
            headers: family.headers(),
            flow,
            in_front,
            verdict,
        };
        let to = (family.vip, PORT);
        let from = |port| (family.client, port);
        // Each of another client.
        let syn = packet(
            family.frame(from(40_000), to, SYN),
            Flow::New,
            front,
            Verdict::Tx,
        );
        Measured::new(program, &syn)?.run(flows)?;
        let one = |flags| {
            let frame = family.frame(from(40_001), to, flags);
            packet(frame, Flow::Same, front, Verdict::Tx)
        };
        let sent = Measured::new(program, &one(SYN))?.run(1)?;
        let mut reply = None;
        if mode == "nat" {
            let answer = |flags| packet(family.answer(&sent, flags), Flow::Same, 0, Verdict::Tx);
            Measured::new(program, &answer(SYN | ACK))?.run(1)?;
            reply = Some(Case::new(program, &answer(ACK))?);
        }
        Measured::new(program, &one(ACK))?.run(1)?;
        let mut elsewhere = family.vip;
        elsewhere[14] ^= 0x77;
        let miss = family.frame(from(40_001), (elsewhere, PORT), ACK);
        let among = family.frame(from(40_000), to, ACK);
        Ok(Self {
            known: Case::new(program, &one(ACK))?,
            reply,
            miss: Case::new(program, &packet(miss, Flow::Same, 0, Verdict::Pass))?,
            among: Case::new(
                program,
                &packet(among, Flow::Among(flows), front, Verdict::Tx),
            )?,
            _balancer: balancer,
        })
    }

    fn round(&mut self) -> Result<()> {
        self.known.measure()?;
        if let Some(reply) = &mut self.reply {
            reply.measure()?;
        }
        self.miss.measure()?;
        self.among.measure()
    }
}

/// A new flow in a table that has room, made anew each time.
fn new_flow(mode: &str, family: &Family) -> Result<f64> {
    let front = in_front(mode, family);
    let mut samples = Vec::new();
    for _ in 0..NEW_ROUNDS {
        let balancer = Configured::load(&config(mode, family.v6, 1, 131_072))?;
        let packet = Restored {
            frame: family.frame((family.client, 40_002), (family.vip, PORT), SYN),
            headers: family.headers(),
            flow: Flow::New,
            in_front: front,
            verdict: Verdict::Tx,
        };
        let mut case = Case::new(balancer.program()?.as_fd(), &packet)?;
        case.measure()?;
        samples.extend(case.samples);
    }
    Ok(median(samples))
}

fn nanoseconds(time: f64) -> String {
    format!("{time:.1} ns")
}

/// Measures and prints.
pub fn report() -> Result<String> {
    let mut table = Table::new([
        "above an empty XDP_TX",
        "known flow",
        "its answer",
        "new flow",
        "no service",
        "new / known",
    ]);
    let mut goals = Table::new(["", "", "goal", ""]);
    for family in &FAMILIES {
        let name = |mode: &str| format!("{mode}, IPv{}", if family.v6 { 6 } else { 4 });
        let mut benches = Vec::new();
        for mode in MODES {
            benches.push(Bench::new(mode, family, SERVICES[0], FLOWS[0])?);
        }
        for _ in 0..ROUNDS {
            benches.iter_mut().try_for_each(Bench::round)?;
        }
        for (mode, bench) in MODES.into_iter().zip(&benches) {
            let (known, new) = (bench.known.time(), new_flow(mode, family)?);
            let reply = bench.reply.as_ref().map(Case::time);
            let whole = new / known;
            table.row([
                name(mode),
                nanoseconds(known),
                reply.map_or(String::new(), nanoseconds),
                nanoseconds(new),
                nanoseconds(bench.miss.time()),
                format!("{whole:.1}"),
            ]);
            let most = match mode {
                "nat" => Goal::AtMost(60.0),
                "dsr" => Goal::AtMost(35.0),
                _ => Goal::None,
            };
            goals.row(verdict(
                &format!("known flow, {}", name(mode)),
                known,
                " ns",
                most,
            ));
            goals.row(verdict(
                &format!("new / known, {}", name(mode)),
                whole,
                "",
                Goal::AtMost(3.0),
            ));
        }
    }
    let sizes = sizes(&mut goals)?;
    Ok(format!("{}\n{}\n{}", table.text(), sizes, goals.text()))
}

/// nat over IPv4 with few and many services, few and many flows, by turns.
fn sizes(goals: &mut Table) -> Result<String> {
    let family = &FAMILIES[0];
    let mut benches = Vec::new();
    for (services, flows) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let (services, flows) = (SERVICES[services], FLOWS[flows]);
        benches.push((services, flows, Bench::new("nat", family, services, flows)?));
    }
    for _ in 0..ROUNDS {
        benches
            .iter_mut()
            .try_for_each(|(_, _, bench)| bench.round())?;
    }
    let mut table = Table::new([
        "nat, IPv4",
        "one known flow",
        "all flows by chance",
        "no service",
    ]);
    for (services, flows, bench) in &benches {
        table.row([
            format!("{services} services, {flows} flows"),
            nanoseconds(bench.known.time()),
            nanoseconds(bench.among.time()),
            nanoseconds(bench.miss.time()),
        ]);
    }
    ensure!(benches.len() == 4, "four sizes");
    let ratio = benches[1].2.known.time() / benches[0].2.known.time();
    goals.row(verdict(
        "10,000 services / 1",
        ratio,
        "",
        Goal::AtMost(1.15),
    ));
    let flow = size_of::<Connection>() as f64
        + size_of::<Bucket>() as f64 * f64::from(buckets(1_000_000)) / 1e6;
    goals.row(verdict("1,000,000 flows", flow, " MB", Goal::AtMost(128.0)));
    // A hash map's element is 48 bytes beside key and value (kernel/bpf/hashtab.c, `struct htab_elem`).
    let service = 48 + size_of::<ServiceKey>() + size_of::<Service>();
    goals.row(verdict(
        "a service, but for its table",
        service as f64,
        " bytes",
        Goal::None,
    ));
    let backend = size_of::<Backend>() + 8;
    goals.row(verdict(
        "a backend, but for its counters",
        backend as f64,
        " bytes",
        Goal::None,
    ));
    Ok(table.text())
}
