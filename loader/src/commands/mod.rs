//! The command line, a file a subcommand. Errors rise to [`main`], which is the one place that prints them.

mod answer;
mod apply;
mod ask;
mod columns;
mod command_line;
mod daemon;
mod detach;
mod dry_run;
mod explain;
mod files;
mod flows;
mod inspect;
mod interfaces;
mod pager;
mod plan;
mod reload;
mod run;
mod source;
mod start;
mod stats;
mod status;
mod trace;
mod trace_line;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::balancer::change::Action;
use crate::balancer::mode::Wish;
use crate::balancer::service::ServiceKey;

/// A layer-4 load balancer at the XDP hook.
#[derive(Debug, Parser)]
#[command(
    name = "xdplb-load",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example:\n  xdplb-load veth6 10.0.0.2 de:ad:be:ef:00:02 10.0.0.3 de:ad:be:ef:00:03"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<RunArgs>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Balance connections that come in at an interface, until Ctrl+C (the default)
    Run(RunArgs),
    /// What is attached to an interface, or to each
    Status(OneArgs),
    /// What the balancer counted, by reason, service and backend
    Stats(StatsArgs),
    /// The connections of a balancer, each with its client, service, backend and state
    Flows(flows::FlowsArgs),
    /// Read a balancer's file again, or another one, without losing a packet or a connection
    Reload(ReloadArgs),
    /// What another file would change, before it does
    Plan(PlanArgs),
    /// Drain, activate, take down, add or remove one backend of a balancer that runs
    Backend(BackendArgs),
    /// What the balancer would do with a packet, and why; nothing is sent, counted or changed
    Ask(AskArgs),
    /// What becomes of packets, as it happens
    Trace(TraceArgs),
    /// Whether a file of backends or services is right, without looking at anything else
    Check(CheckArgs),
    /// Take the balancer off an interface
    Detach(DetachArgs),
    /// Load every map and program of BPF objects into this kernel, say how each went, and unload
    Verify(verify::VerifyArgs),
    /// A BPF object, explained: sections, programs, maps, types, relocations, instructions; needs no privilege
    Inspect(inspect::InspectArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The interface that clients and backends are reached through
    ifname: String,
    /// A TOML file of services, a file with a backend a line (`IP [MAC] [key=value…]`), or `IP [MAC] IP [MAC] …`
    #[arg(required = true, num_args = 1..)]
    backends: Vec<String>,
    /// The service of a list of backends; default: every TCP port of the interface's own IPv4 address
    #[arg(long, value_name = "ADDR[:PORT][/tcp|/udp]")]
    listen: Option<ServiceKey>,
    /// Where the program runs: in the driver, in the network stack, or wherever it works
    #[arg(long, value_enum, default_value = "auto", value_name = "MODE")]
    xdp_mode: Wish,
    /// Take the place of another XDP program
    #[arg(long)]
    replace: bool,
    /// Pin maps and program below DIR in a BPF file system; the balancer then outlives this command
    #[arg(long, value_name = "DIR")]
    pin: Option<std::path::PathBuf>,
    /// Write the program's steps to /sys/kernel/tracing/trace_pipe (slow)
    #[arg(long)]
    trace: bool,
    /// Say what would be created, patched and attached, and do none of it
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// With --dry-run: for this release of Linux in place of the one that runs (5.10, 6.1, …)
    #[arg(long, value_name = "RELEASE", requires = "dry_run")]
    kernel: Option<crate::kernel::Release>,
    /// Tell the start: short, a line a step; full, every command, message and instruction; both on standard error. json: the same
    /// as data, into a file
    #[arg(long, value_name = explain::LEVELS, num_args = 0..=1, require_equals = true, default_missing_value = "short")]
    explain: Option<explain::Explain>,
    /// Only say whether the file is right
    #[arg(long)]
    check: bool,
    /// How many connections there is room for; default: what the file says, or 65536
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    connections: Option<u32>,
    /// Load this object instead of the built-in program
    #[arg(long, value_name = "FILE")]
    object: Option<std::path::PathBuf>,
    /// When the verifier rejects the program, show its whole log
    #[arg(long)]
    verifier_log: bool,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// The interface; default: each
    ifname: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct StatsArgs {
    /// The interface; default: each
    ifname: Option<String>,
    /// How much came a second, again and again, every so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = seconds)]
    watch: Option<f64>,
    /// As JSON; with --watch, a line each time
    #[arg(long)]
    json: bool,
}

/// A time to wait: not none, and no more than a day.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_string())?;
    if (0.05..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("from 0.05 to 86400 seconds".into())
    }
}

#[derive(Debug, Args)]
struct ReloadArgs {
    /// The interface
    ifname: String,
    /// The file; default: the one that it was started with
    file: Option<std::path::PathBuf>,
}

#[derive(Debug, Args)]
struct PlanArgs {
    /// The interface
    ifname: String,
    /// The file
    file: std::path::PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct BackendArgs {
    /// The interface
    ifname: String,
    /// What to do
    action: Action,
    /// The service: `10.0.0.10:80/tcp`
    service: String,
    /// The backend: `10.0.0.2` or `10.0.0.2:8000`
    backend: String,
    /// With add: how many new connections it gets, beside the others
    #[arg(long, value_name = "N")]
    weight: Option<u16>,
    /// With add: its Ethernet address; default: what the neighbour table says
    #[arg(long, value_name = "MAC")]
    mac: Option<String>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The file
    file: std::path::PathBuf,
    /// What a list of backends is a list of
    #[arg(long, value_name = "ADDR[:PORT][/tcp|/udp]")]
    listen: Option<ServiceKey>,
}

#[derive(Debug, Args)]
struct DetachArgs {
    /// The interface; default: each that a balancer runs on
    ifname: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  xdplb-load ask veth6 'tcp 10.0.0.1:40000 -> 10.0.0.10:80'
  xdplb-load ask veth6 'udp [fd00::1]:40000 -> [fd00::10]:53 vlan 100 ttl 3 len 200'
  xdplb-load ask veth6 'icmp 10.0.0.1 -> 10.0.0.10'")]
struct AskArgs {
    /// The interface that a balancer runs on
    ifname: String,
    /// `tcp|udp SOURCE:PORT -> DESTINATION:PORT` or `icmp SOURCE -> DESTINATION`, then in any order TCP flags (syn unless others
    /// are named; ack, fin, rst, psh), `vlan N` (twice for QinQ), `ttl N`, `len BYTES`
    packet: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  xdplb-load trace veth6 client 10.0.0.0/24 port 443
  xdplb-load trace veth6 service 10.0.0.10:80/tcp reason opened,no_port --seconds 10
  xdplb-load trace veth6 1/1000 --pcap - | wireshark -k -i -")]
struct TraceArgs {
    /// The interface that a balancer runs on
    ifname: String,
    /// Conditions, all of which a packet has to meet: `client ADDR[/BITS]` and `port PORT` (either end, as it came or as it left),
    /// `service ADDR:PORT[/udp]`, `backend ADDR[:PORT]`, `reason NAME[,NAME]` (as in stats), `1/N` (one in N)
    filter: Vec<String>,
    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<f64>,
    /// A line of JSON for each packet
    #[arg(long, conflicts_with = "pcap")]
    json: bool,
    /// Write packets as they came and as they left for Wireshark, instead of lines; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pcap: Option<std::path::PathBuf>,
}

/// Runs the command line. 0 done, 1 failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(with_check(std::env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let done = match (cli.command, cli.run) {
        (Some(Command::Run(args)), _) | (None, Some(args)) => run::run(&args).map(success),
        (Some(Command::Status(args)), _) => status::status(&args).map(success),
        (Some(Command::Stats(args)), _) => stats::stats(&args).map(success),
        (Some(Command::Flows(args)), _) => flows::flows(&args).map(success),
        (Some(Command::Reload(args)), _) => reload::reload(&args).map(success),
        (Some(Command::Plan(args)), _) => plan::plan(&args).map(success),
        (Some(Command::Backend(args)), _) => reload::backend(&args).map(success),
        (Some(Command::Ask(args)), _) => ask::run(&args).map(success),
        (Some(Command::Trace(args)), _) => trace::run(&args).map(success),
        (Some(Command::Check(args)), _) => check(&args).map(success),
        (Some(Command::Detach(args)), _) => detach::detach(&args).map(success),
        (Some(Command::Verify(args)), _) => verify::verify(&args),
        (Some(Command::Inspect(args)), _) => inspect::inspect(&args).map(success),
        (None, None) => {
            let _ = <Cli as clap::CommandFactory>::command().print_help();
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            match error.is::<UsageError>() {
                true => ExitCode::from(2),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// `--check FILE` alone is the subcommand: no interface is needed to read a file.
fn with_check(mut words: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    if let [_, option, _] = words.as_mut_slice()
        && option == "--check"
    {
        *option = "check".into();
    }
    words
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    say(format_args!("{}", source::check(&args.file, args.listen)?));
    Ok(())
}

fn success(_: ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// A command line that makes no sense, which shows only once files are read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Text from a file, made safe for a terminal: only line breaks and tabs are left of the control characters.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => clean.push(c),
            c if c.is_control() => clean.extend(c.escape_default()),
            c => clean.push(c),
        }
    }
    clean
}

/// Prints data, as one write: a line, or several. A reader that went away is no error of ours.
fn say(text: std::fmt::Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(format!("{text}\n").as_bytes());
    let _ = stdout.flush();
}

/// Prints what a script may want to parse.
fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(format_args!("{}", serde_json::to_string_pretty(value)?));
    Ok(())
}

/// Prints a remark.
fn note(text: std::fmt::Arguments<'_>) {
    remark(format_args!("note: {text}"));
}

/// Prints to standard error as it is.
fn remark(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn no_file_can_write_to_the_terminal() {
        assert_eq!(
            clean("a\u{1b}[2Jb\r\n\tc größe"),
            "a\\u{1b}[2Jb\\r\n\tc größe"
        );
    }

    #[test]
    fn run_is_the_default() {
        let seed = "xdplb-load veth6 10.0.0.2 de:ad:be:ef:00:02 10.0.0.3 de:ad:be:ef:00:03";
        let cli = Cli::try_parse_from(seed.split(' ')).unwrap();
        let run = cli.run.unwrap();
        assert_eq!((run.ifname.as_str(), run.backends.len()), ("veth6", 4));
        let cli = Cli::try_parse_from(["xdplb-load", "run", "status", "backends"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Run(args)) if args.ifname == "status"));
        assert!(Cli::try_parse_from(["xdplb-load", "veth6"]).is_err());
    }
}
