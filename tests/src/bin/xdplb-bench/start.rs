//! What a start costs: time from the command to the attached program, memory, sizes.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xdplb_loader::kernel::Program;
use xdplb_loader::netlink::{Expect, Mode, Socket};
use xdplb_tests::balancer::READY;
use xdplb_tests::run;
use xdplb_tests::topology::Topology;

use crate::figures::{Goal, Table, median, verdict};
use crate::{packets, restore};

/// How many starts.
const STARTS: u32 = 20;
/// A start that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// A started command that is ended whatever happens.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // Only after an error is it still there; the namespace takes its program with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Started {
    fn end(mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM)?;
        let status = run::wait(&mut self.0, LIMIT)?.context("it does not end")?;
        ensure!(status.success(), "it ended by {status}");
        Ok(())
    }

    /// The most memory it has had, in KB. The kernel's other such figure, wait4's `ru_maxrss`, begins with what the process
    /// had before it became this program: with ours (fs/exec.c, `exec_mmap`).
    fn peak(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(number.context("no VmHWM")?.trim().parse()?)
    }
}

/// One start, in milliseconds, and its peak of memory in KB.
fn start(topology: &Topology, binary: &Path) -> Result<(f64, f64)> {
    let mut command = Command::new(binary);
    command.args(topology.arguments());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    topology.lb.enter(&mut command)?;
    let begun = Instant::now();
    let mut started = Started(command.spawn().context("start xdplb-load")?);
    let mut output = BufReader::new(started.0.stdout.take().context("its stdout")?);
    let mut line = String::new();
    while line != READY {
        line.clear();
        let read = output.read_line(&mut line)?;
        ensure!(read > 0, "xdplb-load ended before it was ready");
    }
    let elapsed = begun.elapsed();
    let peak = started.peak()?;
    started.end()?;
    Ok((elapsed.as_secs_f64() * 1e3, peak))
}

/// Where the time goes, in milliseconds: maps and types; verifying and compiling; attaching; and attaching an empty
/// program, most of which is the wait for every CPU to have left the list of attached programs that the kernel then
/// writes anew (kernel/bpf/dispatcher.c, `bpf_dispatcher_update`).
fn parts(topology: &Topology) -> Result<[f64; 4]> {
    let begun = Instant::now();
    let balancer = packets::balancer()?;
    let loading = begun.elapsed();
    let program = balancer.program()?;
    let ifindex = topology.lb.ifindex("veth6")?;
    let attach = |program: &Program| {
        topology.lb.run(|| {
            let socket = Socket::open()?;
            let begun = Instant::now();
            socket.attach_xdp(ifindex, Mode::Generic, program.as_fd(), Expect::Nothing)?;
            let elapsed = begun.elapsed();
            socket.detach_xdp(ifindex, Mode::Generic, Expect::Program(program.as_fd()))?;
            Ok(elapsed)
        })
    };
    let parts = [
        loading.saturating_sub(program.elapsed),
        program.elapsed,
        attach(&program.program)?,
        attach(&restore::empty(xdplb_prog::counters::Verdict::Tx)?)?,
    ];
    Ok(parts.map(|part| part.as_secs_f64() * 1e3))
}

/// Measures and prints.
pub fn report(binary: &Path) -> Result<String> {
    let topology = Topology::seed()?;
    start(&topology, binary)?; // from here on the file is in the page cache
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    let mut all_parts = [const { Vec::new() }; 4];
    for _ in 0..STARTS {
        let (time, peak) = start(&topology, binary)?;
        times.push(time);
        peaks.push(peak);
        for (samples, part) in all_parts.iter_mut().zip(parts(&topology)?) {
            samples.push(part);
        }
    }
    let [maps, verifying, attaching, attaching_empty] = all_parts.map(median);
    let size = std::fs::metadata(binary)?.len() as f64;
    let balancer = packets::balancer()?;
    let info = &balancer.program()?.info;
    let mut table = Table::new(["start", "measured", "goal", ""]);
    let most = Goal::AtMost;
    for (name, value, unit, goal) in [
        ("exec to attached", median(times), " ms", most(10.0)),
        (
            "  creating maps for 65,536 connections",
            maps,
            " ms",
            Goal::None,
        ),
        ("  verifying and compiling", verifying, " ms", Goal::None),
        ("  attaching, generic mode", attaching, " ms", Goal::None),
        (
            "  attaching an empty program",
            attaching_empty,
            " ms",
            Goal::None,
        ),
        ("peak memory (RSS)", median(peaks) / 1e3, " MB", most(4.0)),
        ("static binary, stripped", size / 1e6, " MB", most(2.0)),
    ] {
        table.row(verdict(name, value, unit, goal));
    }
    for (name, value) in [
        ("instructions verified", info.verified_insns),
        ("program for the kernel (xlated), bytes", info.xlated_len),
        ("machine code (JITed), bytes", info.jited_len),
    ] {
        table.row([name.to_string(), value.to_string()]);
    }
    Ok(table.text())
}
