//! The client: wrk, a turn at a time, and what the whole machine did meanwhile.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xdplb_tests::files::Folder;
use xdplb_tests::run;

use super::net::Net;
use super::process::Programs;

/// Connections at a time; and threads of wrk, each with half of them.
pub const CONNECTIONS: u32 = 32;
const THREADS: u32 = 2;
/// How long a turn lasts: wrk counts in whole seconds.
const SECONDS: u32 = 1;
const LIMIT: Duration = Duration::from_secs(20);

/// Each thread has its own address, in turns, so that without a balancer both servers have half of the work.
const SCRIPT: &str = r#"
local targets = { TARGETS }
local threads = 0
function setup(thread)
  thread.addr = wrk.lookup(targets[threads % #targets + 1], PORT)[1]
  threads = threads + 1
end
"#;

/// How connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// For all requests.
    Kept,
    /// Each for one: the server closes it with its answer.
    Once,
}

/// What a turn gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// Requests a second.
    pub rate: f64,
    /// Microseconds of CPU time a request, of all CPUs and everything that ran on them.
    pub cpu: f64,
}

/// One turn from the client to these addresses.
pub fn turn(
    net: &Net,
    programs: &Programs,
    folder: &Folder,
    kind: Use,
    to: &[SocketAddrV4],
) -> Result<Turn> {
    let first = to.first().context("nowhere to send requests")?;
    let targets: Vec<String> = to.iter().map(|to| format!("\"{}\"", to.ip())).collect();
    let script = SCRIPT
        .replace("TARGETS", &targets.join(", "))
        .replace("PORT", &first.port().to_string());
    let script = folder.file("wrk.lua", script)?;
    let mut command = programs.command("usr/bin/wrk");
    command.args([
        format!("-t{THREADS}"),
        format!("-c{CONNECTIONS}"),
        format!("-d{SECONDS}s"),
    ]);
    command.args(["-s", &script]);
    if kind == Use::Once {
        command.args(["-H", "Connection: close"]);
    }
    command.arg(format!("http://{first}/"));
    net.client.netns.enter(&mut command)?;
    let before = busy()?;
    let output = run::output(command, LIMIT)?;
    let spent = busy()?.saturating_sub(before);
    ensure!(output.code == Some(0), "wrk: {output:?}");
    let report = Report::parse(&output.stdout)
        .with_context(|| format!("not what wrk prints:\n{}", output.stdout))?;
    ensure!(report.failed == 0, "failed requests:\n{}", output.stdout);
    Ok(Turn {
        rate: report.rate,
        cpu: spent as f64 * 1e6 / ticks_per_second()? / report.requests as f64,
    })
}

/// What wrk printed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Report {
    requests: u64,
    rate: f64,
    failed: u64,
}

impl Report {
    fn parse(text: &str) -> Option<Self> {
        let requests = text
            .lines()
            .find_map(|line| line.split_once(" requests in "));
        let rate = text
            .lines()
            .find_map(|line| line.strip_prefix("Requests/sec:"));
        let errors = text.lines().filter_map(|line| {
            let line = line.trim();
            line.strip_prefix("Socket errors: ")
                .or_else(|| line.strip_prefix("Non-2xx or 3xx responses: "))
        });
        // `connect 0, read 3, write 0, timeout 0`, or a number.
        let numbers = errors.flat_map(|errors| errors.split([' ', ',']));
        Some(Self {
            requests: requests?.0.trim().parse().ok()?,
            rate: rate?.trim().parse().ok()?,
            failed: numbers.filter_map(|word| word.parse::<u64>().ok()).sum(),
        })
    }
}

/// Ticks that the machine's CPUs have been busy. Work that the kernel does for a packet where it comes in is nobody's,
/// so only the whole machine's time has it all.
fn busy() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    parse_busy(&text).context("/proc/stat: no line `cpu`")
}

/// user, nice, system, then after idle and iowait irq and softirq (proc_stat(5)). Not steal: that was another machine's.
fn parse_busy(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let busy = [0, 1, 2, 5, 6];
    busy.iter().map(|&index| numbers.get(index)).sum()
}

fn ticks_per_second() -> Result<f64> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?;
    Ok(ticks.context("no CLK_TCK")? as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read() {
        let text = "Running 1s test @ http://10.0.0.10:8000/\n  2 threads and 32 connections\n  \
                    48211 requests in 1.10s, 10.9MB read\n  Socket errors: connect 0, read 3, write 0, timeout 1\n  \
                    Non-2xx or 3xx responses: 2\nRequests/sec:  43823.84\nTransfer/sec:      9.91MB\n";
        let report = Report {
            requests: 48_211,
            rate: 43_823.84,
            failed: 6,
        };
        assert_eq!(Report::parse(text), Some(report));
        assert_eq!(Report::parse("unable to connect"), None);
    }

    #[test]
    fn busy_leaves_out_idle_and_steal() {
        let text = "cpu  1 20 300 4000 50000 600000 7000000 80000000 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(parse_busy(text), Some(7_600_321));
        assert_eq!(parse_busy("intr 1\n"), None);
        assert_eq!(parse_busy("cpu  1 2\n"), None);
    }
}
