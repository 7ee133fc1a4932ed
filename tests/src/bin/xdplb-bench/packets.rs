//! What a packet costs in the kernel: BPF_PROG_TEST_RUN of the program, of an empty XDP_TX, and of the C twin.

use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use xdplb_loader::kernel::{Program, TestRun, Update};
use xdplb_loader::load::{LoadOptions, Loaded, load};
use xdplb_loader::object::Spec;
use xdplb_prog::counters::Reason;
use xdplb_prog::world::Settings;
use xdplb_tests::frames::{Tcp, read};
use xdplb_tests::program::OnKernel;
use xdplb_tests::scenarios::{self, BALANCER, BALANCER_MAC, CLIENT};

use crate::figures::{Goal, Table, by_turns, median, verdict};
use crate::restore::{Flow, HEADERS, Measured, STRIDE, empty};

/// Room for connections, the loader's default.
const SLOTS: u32 = 65_536;
/// Frames of these lengths.
const LENGTHS: [usize; 2] = [64, 1500];
/// How often each is measured.
const ROUNDS: u32 = 31;
/// 65,536 runs each time.
const STRIDES: u32 = 16;
const PORT: u16 = 40_000;

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

fn request(flags: &'static str, length: usize) -> Tcp {
    Tcp::new((CLIENT, PORT), (BALANCER, 80), flags).payload(vec![0x55; length - HEADERS])
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
    let settings: Settings = scenarios::settings(2, SLOTS);
    OnKernel::load(&settings, &scenarios::backends(2))
}

/// The kernel's own measure of an empty program, with its loop around it: whole nanoseconds.
fn loop_cost(program: &Program) -> Result<f64> {
    let data = request("A", LENGTHS[0]).frame();
    let run = || {
        program.test_run(&TestRun {
            data: &data,
            repeat: STRIDES * STRIDE,
            ..TestRun::default()
        })
    };
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        samples.push(run()?.duration.as_nanos() as f64);
    }
    Ok(median(samples))
}

/// One connection after another, in a table that has room and in one that is full of unconfirmed ones.
fn new_flows(length: usize, empty: &Program) -> Result<(f64, f64)> {
    let packet = request("S", length).frame();
    let alone = Measured::new(empty.as_fd(), &packet, Flow::New)?;
    let (mut first, mut full) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let balancer = balancer()?;
        let program = &balancer.program()?.program;
        let measured = Measured::new(program.as_fd(), &packet, Flow::New)?;
        let before = alone.time(STRIDES)?;
        first.push(measured.time(STRIDES - 1)? - before);
        measured.run(2 * STRIDE)?;
        full.push(measured.time(2 * STRIDES)? - before);
        let opened = balancer.count(Reason::Opened)?[0];
        let runs = STRIDE * ((STRIDES - 1) + 2 + 2 * STRIDES) + 2;
        ensure!(
            opened == u64::from(runs),
            "{opened} of {runs} connections opened"
        );
    }
    Ok((median(first), median(full)))
}

/// What a packet costs, for each of [`LENGTHS`], the kernel's loop included.
struct Costs {
    request_twin: [f64; 2],
    answer_twin: [f64; 2],
    known: [f64; 2],
    answer: [f64; 2],
    first: [f64; 2],
    full: [f64; 2],
}

fn costs(object: &[u8], empty: &Program, base: f64) -> Result<Costs> {
    let twin = twin(object)?;
    let (balancer, mut answer) = with_connection()?;
    let ours = &balancer.program()?.program;
    let mut all = Vec::new();
    for length in LENGTHS {
        let request = request("A", length).frame();
        answer.payload = vec![0x55; length - HEADERS];
        let answer = answer.frame();
        let twin = only(&twin)?;
        for (program, packet) in [
            (empty, &request),
            (twin, &request),
            (twin, &answer),
            (ours, &request),
            (ours, &answer),
        ] {
            let measured = Measured::new(program.as_fd(), packet, Flow::Same)?;
            let touched = measured.run(1)? != *packet;
            ensure!(all.len() % 5 == 0 || touched, "an untouched packet");
            all.push(measured);
        }
    }
    let times: [f64; 10] = by_turns(ROUNDS, |index| all[index].time(STRIDES))?;
    let runs = 2 * u64::from(ROUNDS * (STRIDES * STRIDE + 1)) + 3;
    for reason in [Reason::Forwarded, Reason::Replied] {
        let counted = balancer.count(reason)?[0];
        let name = reason.name();
        ensure!(counted.abs_diff(runs) <= 1, "{counted} of {runs} {name}");
    }
    // Each length by itself: what restoring costs is subtracted, what the kernel's loop costs added.
    let of = |index: usize| [0, 5].map(|length| times[index + length] - times[length] + base);
    let [short, long] = LENGTHS.map(|length| new_flows(length, empty));
    let (short, long) = (short?, long?);
    Ok(Costs {
        request_twin: of(1),
        answer_twin: of(2),
        known: of(3),
        answer: of(4),
        first: [short.0 + base, long.0 + base],
        full: [short.1 + base, long.1 + base],
    })
}

/// Measures and prints.
pub fn report(object: &[u8]) -> Result<String> {
    let empty = empty()?;
    let base = loop_cost(&empty)?;
    let costs = costs(object, &empty, base)?;
    let mut table = Table::new([
        "a packet in the kernel",
        "64 bytes",
        "1,500 bytes",
        "1,500 / 64",
        "/ empty",
        "/ twin",
        "less empty",
    ]);
    let mut row = |name: &str, [short, long]: [f64; 2], twin: Option<[f64; 2]>| {
        let ratio = |ratio: f64| format!("{ratio:.2}");
        table.row([
            name.to_string(),
            format!("{short:.1} ns"),
            format!("{long:.1} ns"),
            ratio(long / short),
            ratio(short / base),
            twin.map_or(String::new(), |[twin, _]| ratio(short / twin)),
            twin.map_or(String::new(), |[twin, _]| {
                ratio((short - base) / (twin - base))
            }),
        ]);
    };
    let (request_twin, answer_twin) = (costs.request_twin, costs.answer_twin);
    row("empty XDP_TX", [base; 2], None);
    row("C twin, request", request_twin, None);
    row("C twin, answer", answer_twin, None);
    row("known flow", costs.known, Some(request_twin));
    row("answer", costs.answer, Some(answer_twin));
    row("new flow, free slots", costs.first, Some(request_twin));
    row("new flow, full table", costs.full, Some(request_twin));
    let [short, long] = costs.known;
    let mut goals = Table::new(["", "measured", "goal", ""]);
    goals.row(verdict(
        "known flow / C twin",
        short / request_twin[0],
        "",
        Goal::AtMost(2.5),
    ));
    goals.row(verdict(
        "known flow, 1,500 bytes / 64 bytes",
        long / short,
        "",
        Goal::AtMost(1.05),
    ));
    Ok(table.text() + "\n" + &goals.text())
}
