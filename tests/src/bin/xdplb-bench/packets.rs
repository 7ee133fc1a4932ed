//! What a packet costs in the kernel: BPF_PROG_TEST_RUN of the program, of an empty XDP_TX, and of the C twin.

use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use xdplb_loader::kernel::{Program, TestRun, Update};
use xdplb_loader::load::{LoadOptions, Loaded, load};
use xdplb_loader::object::Spec;
use xdplb_prog::abi::{Be32, Mac};
use xdplb_prog::counters::{Reason, Verdict};
use xdplb_prog::model::Tables;
use xdplb_prog::model_tables::{TestBackend, TestService};
use xdplb_prog::world::Settings;
use xdplb_tests::frames::{Tcp, read};
use xdplb_tests::packets;
use xdplb_tests::program::OnKernel;

use crate::figures::{Goal, Table, by_turns, median, verdict};
use crate::restore::{Flow, Measured, Restored, STRIDE, empty};

/// Room for connections, the loader's default.
const SLOTS: u32 = 65_536;
/// Ethernet, IPv4, TCP, none with options.
const HEADERS: usize = 54;
/// Frames of these lengths.
const LENGTHS: [usize; 2] = [64, 1500];
/// How often each is measured.
const ROUNDS: u32 = 101;
/// 16,384 runs each time, about a millisecond: short, so that what is compared meets the same machine.
const STRIDES: u32 = 4;
/// The same for new connections, whose tables are made anew each time.
const NEW_ROUNDS: u32 = 11;
const PORT: u16 = 40_000;
const BALANCER: [u8; 4] = [10, 0, 0, 10];
const BALANCER_MAC: Mac = [0xde, 0xad, 0xbe, 0xef, 0, 0x10];
const CLIENT: [u8; 4] = [10, 0, 0, 1];

/// The twin, set up for the same client and backends.
fn twin(object: &[u8]) -> Result<Loaded> {
    let mut spec = Spec::parse(object)?;
    spec.name = "twin".into();
    let client_mac = [0xde, 0xad, 0xbe, 0xef, 0, 1];
    let globals: [(&str, &[u8]); 4] = [
        ("client_ip", &CLIENT),
        ("client_mac", &client_mac),
        ("balancer_ip", &BALANCER),
        ("balancer_mac", &BALANCER_MAC),
    ];
    for (name, bytes) in globals {
        spec.set_global(name, bytes)?;
    }
    let twin = load(&spec, LoadOptions::default(), &mut ())?;
    let backends = twin.map("backends").context("the twin has no backends")?;
    for n in [0u8, 1] {
        let mut value = [0; 12];
        value[..4].copy_from_slice(&[10, 0, 0, 2 + n]);
        value[4..10].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef, 0, 2 + n]);
        backends.update(&u32::from(n).to_ne_bytes(), &value, Update::Any)?;
    }
    Ok(twin)
}

fn only(loaded: &Loaded) -> Result<&Program> {
    Ok(&loaded.programs.first().context("no program")?.program)
}

/// A payload that makes the frame so long.
fn filler(length: usize) -> Vec<u8> {
    vec![0x55; length - HEADERS]
}

/// A packet that is restored before each run.
fn restored(frame: &[u8], flow: Flow) -> Restored {
    Restored {
        frame: frame.to_vec(),
        headers: HEADERS,
        flow,
        in_front: 0,
        verdict: Verdict::Tx,
    }
}

fn request(flags: &'static str, length: usize) -> Tcp {
    Tcp::new((CLIENT, PORT), (BALANCER, 80), flags).payload(filler(length))
}

/// The balancer with one established connection, and a packet of its backend.
fn with_connection() -> Result<(OnKernel, Tcp)> {
    let balancer = balancer()?;
    let (_, frame) = balancer.run(&request("S", HEADERS).frame())?;
    let seen = read(&frame).map_err(anyhow::Error::msg)?;
    let answer = Tcp::new(seen.to, seen.from, "A");
    let mut accepts = answer.clone();
    accepts.flags = "SA";
    balancer.run(&accepts.frame())?;
    balancer.run(&request("A", HEADERS).frame())?;
    Ok((balancer, answer))
}

/// The balancer with its usual room.
pub fn balancer() -> Result<OnKernel> {
    let settings = Settings {
        balancer_v4: Be32(BALANCER),
        balancer_mac: BALANCER_MAC.into(),
        slots: SLOTS,
        buckets: xdplb_loader::balancer::settings::buckets(SLOTS),
        ..packets::settings()
    };
    // As many as give a table full of flows ports to spare.
    let backends = [2, 3, 4, 5, 6, 7, 8, 9].map(|n| TestBackend::new([10, 0, 0, n].into(), 80));
    let service = TestService::new(BALANCER.into(), 0, &backends);
    OnKernel::load(&settings, &Tables::of(&[service]))
}

/// The kernel's own measure of an empty program, with its loop around it: whole nanoseconds.
fn loop_cost(program: &Program) -> Result<f64> {
    let data = request("A", LENGTHS[0]).frame();
    let mut samples = Vec::new();
    for _ in 0..11 {
        let run = program.test_run(&TestRun {
            data: &data,
            repeat: 16 * STRIDE,
            ..TestRun::default()
        })?;
        samples.push(run.duration.as_nanos() as f64);
    }
    Ok(median(samples))
}

/// A row of the table.
struct Row {
    name: &'static str,
    /// Nanoseconds a packet for each of [`LENGTHS`], by rounds.
    rounds: Vec<[f64; 2]>,
    /// The row to compare with.
    twin: Option<usize>,
}

impl Row {
    fn samples(&self, length: usize) -> Vec<f64> {
        self.rounds.iter().map(|round| round[length]).collect()
    }

    fn time(&self, length: usize) -> f64 {
        median(self.samples(length))
    }

    /// The median of the rounds' own ratios, since both sides of one have met the same machine; of the medians where one
    /// side was not measured in the same rounds.
    fn ratio(&self, length: usize, other: &Row, other_length: usize) -> f64 {
        if self.rounds.len() != other.rounds.len() {
            return self.time(length) / other.time(other_length);
        }
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(a, b)| a[length] / b[other_length]).collect())
    }
}

/// Packets of a connection that is there, by turns: the twin's request and answer, a known flow, its answer.
fn known_flows(object: &[u8], empty: &Program, base: f64) -> Result<[Vec<[f64; 2]>; 4]> {
    let twin = twin(object)?;
    let twin = only(&twin)?;
    let (balancer, answer) = with_connection()?;
    let ours = &balancer.program()?.program;
    let requests = LENGTHS.map(|length| request("A", length).frame());
    let answers = LENGTHS.map(|length| answer.clone().payload(filler(length)).frame());
    // What is to be compared stands side by side, so that it meets the same machine.
    let mut all = Vec::new();
    for (program, packets) in [
        (empty, &requests),
        (twin, &requests),
        (ours, &requests),
        (twin, &answers),
        (ours, &answers),
    ] {
        for packet in packets {
            let measured = Measured::new(program.as_fd(), &restored(packet, Flow::Same))?;
            let touched = measured.run(1)? != *packet;
            ensure!(all.len() < 2 || touched, "an untouched packet");
            all.push(measured);
        }
    }
    let times: [Vec<f64>; 10] = by_turns(ROUNDS, |index| all[index].time(STRIDES))?;
    let runs = 2 * (1 + u64::from(ROUNDS * (STRIDES * STRIDE + 1)));
    // One request more: the acknowledgement that confirmed the connection. And one answer: the backend's SYN.
    for reason in [Reason::Forwarded, Reason::Replied] {
        let (counted, name) = (balancer.count(reason)?.packets, reason.name());
        ensure!(counted == runs + 1, "{counted} of {} {name}", runs + 1);
    }
    // What restoring costs is subtracted; what the kernel's loop costs belongs to each.
    let of = |index: usize| {
        let cost = |round: usize, length: usize| {
            times[2 * index + length][round] - times[length][round] + base
        };
        let rounds = 0..ROUNDS as usize;
        rounds
            .map(|round| [cost(round, 0), cost(round, 1)])
            .collect()
    };
    Ok([of(1), of(3), of(2), of(4)])
}

/// One connection after another: in a table that has room, in one that is full of unconfirmed ones. Each round with
/// tables of its own.
fn new_flows(empty: &Program, base: f64) -> Result<[Vec<[f64; 2]>; 2]> {
    let packets = LENGTHS.map(|length| request("S", length).frame());
    let alone = Measured::new(empty.as_fd(), &restored(&packets[0], Flow::New))?;
    let (mut room, mut full) = (Vec::new(), Vec::new());
    for _ in 0..NEW_ROUNDS {
        let (mut with_room, mut when_full) = ([0.0; 2], [0.0; 2]);
        for (length, packet) in packets.iter().enumerate() {
            let balancer = balancer()?;
            let program = &balancer.program()?.program;
            let measured = Measured::new(program.as_fd(), &restored(packet, Flow::New))?;
            let restoring = alone.time(STRIDES)?;
            with_room[length] = measured.time(15)? - restoring + base;
            measured.run(2 * STRIDE)?;
            // From here on each one takes another's slot.
            when_full[length] = measured.time(16)? - restoring + base;
            let opened = balancer.count(Reason::Opened)?.packets;
            let runs = u64::from(STRIDE * (15 + 2 + 16) + 2);
            let others: Vec<String> = Reason::ALL
                .iter()
                .filter_map(|reason| Some((reason.name(), balancer.count(*reason).ok()?.packets)))
                .filter(|(_, packets)| *packets > 0)
                .map(|(name, packets)| format!("{name} {packets}"))
                .collect();
            // In a full table one in 50,000 finds no room in the index.
            ensure!(
                opened + runs / 1_000 >= runs,
                "{opened} of {runs} connections opened: {}",
                others.join(", ")
            );
        }
        room.push(with_room);
        full.push(when_full);
    }
    Ok([room, full])
}

/// All rows; the first is the empty program's.
fn rows(object: &[u8]) -> Result<Vec<Row>> {
    let empty = empty(Verdict::Tx)?;
    let base = loop_cost(&empty)?;
    let [twin_request, twin_answer, known, answer] = known_flows(object, &empty, base)?;
    let [room, full] = new_flows(&empty, base)?;
    let row = |name, rounds, twin| Row { name, rounds, twin };
    Ok(vec![
        row("empty XDP_TX", vec![[base; 2]], None),
        row("C twin, request", twin_request, None),
        row("C twin, answer", twin_answer, None),
        row("known flow, request", known, Some(1)),
        row("known flow, answer", answer, Some(2)),
        row("new flow, free slots", room, Some(1)),
        row("new flow, full table", full, Some(1)),
    ])
}

/// Measures and prints.
pub fn report(object: &[u8]) -> Result<String> {
    let rows = rows(object)?;
    let empty = rows[0].time(0);
    let mut table = Table::new([
        "a packet in the kernel",
        "64 bytes",
        "1,500 bytes",
        "1,500 / 64",
        "/ empty",
        "/ twin",
        "net / twin",
    ]);
    for row in &rows {
        let short = row.time(0);
        let mut cells = vec![
            row.name.to_string(),
            format!("{short:.1} ns"),
            format!("{:.1} ns", row.time(1)),
            format!("{:.2}", row.ratio(1, row, 0)),
            format!("{:.2}", short / empty),
        ];
        if let Some(twin) = row.twin.and_then(|twin| rows.get(twin)) {
            cells.push(format!("{:.2}", row.ratio(0, twin, 0)));
            let net = (short - empty) / (twin.time(0) - empty);
            cells.push(format!("{net:.2}"));
        }
        table.row(cells);
    }
    let (twin, known) = (&rows[1], &rows[3]);
    let mut goals = Table::new(["(net: less the empty program)", "measured", "goal", ""]);
    for (name, value, most) in [
        ("known flow / C twin", known.ratio(0, twin, 0), 2.5),
        (
            "known flow, 1,500 bytes / 64 bytes",
            known.ratio(1, known, 0),
            1.05,
        ),
    ] {
        goals.row(verdict(name, value, "", Goal::AtMost(most)));
    }
    Ok(table.text() + "\n" + &goals.text())
}
