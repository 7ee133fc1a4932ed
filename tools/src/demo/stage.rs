//! The part of the demo that needs root: topology, servers, balancer, requests, counters, and all of
//! it gone again however it ends.

use super::cast::Actor;
use super::tally::{Answer, Tally};
use crate::{interrupt, run, workspace};
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const REQUESTS: usize = 20;
const SERVERS: [(&str, &str, &str); 2] = [
    ("h2", "10.0.0.2", "de:ad:be:ef:00:02"),
    ("h3", "10.0.0.3", "de:ad:be:ef:00:03"),
];
const URL: &str = "http://10.0.0.10:8000/";

/// How long anything may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays it with this balancer.
pub fn play(binary: &Path) -> Result<()> {
    interrupt::watch()?;
    run::step("topology");
    let topology = Topology::build()?;

    // From here on every value takes down what it stands for when it goes out of scope, last first.
    run::step("servers");
    let mut servers = Vec::new();
    for (name, address, _) in SERVERS {
        let mut server = Actor::start(
            name,
            in_namespace(name, "python3").args(["-c", include_str!("answer.py"), name]),
        )?;
        server.wait_for("ready", PATIENCE)?;
        println!("{name} listens on {address}:8000");
        servers.push(server);
    }

    run::step("balancer");
    let mut arguments = vec!["veth6"];
    for (_, address, mac) in SERVERS {
        arguments.extend([address, mac]);
    }
    println!(
        "$ ip netns exec lb {} {}",
        binary.display(),
        arguments.join(" ")
    );
    let mut balancer = Actor::start("xdplb-load", in_namespace("lb", binary).args(&arguments))?;
    balancer.wait_for("Press Ctrl+C", PATIENCE)?;

    run::step("requests");
    let tally = requests()?;

    run::step("counters");
    println!("$ ip netns exec lb {} stats veth6", binary.display());
    print!(
        "{}",
        run::read(in_namespace("lb", binary).args(["stats", "veth6"]))?
    );

    run::step("end");
    println!("$ kill -INT {}", balancer.id());
    balancer.end(PATIENCE)?;
    drop(servers);
    topology.remove()?;

    print!("{tally}");
    tally.verdict(SERVERS.map(|(name, ..)| name))
}

fn in_namespace(name: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", name]).arg(program);
    command
}

/// Each request is a connection of its own, as a balancer sees many clients.
fn requests() -> Result<Tally> {
    println!("$ ip netns exec h1 curl {URL}   ({REQUESTS} times)");
    let mut tally = Tally::default();
    for number in 1..=REQUESTS {
        interrupt::check()?;
        let mut curl = in_namespace("h1", "curl");
        // --noproxy: a proxy set for the machine cannot be reached from a namespace.
        let answer =
            match run::read(curl.args(["-sS", "--fail", "--max-time", "5", "--noproxy", "*", URL]))
            {
                Ok(body) => Answer::Body(body.trim_end().to_owned()),
                Err(error) => Answer::Failed(format!("{error:#}")),
            };
        println!("{number:>3}  {answer}");
        tally.add(answer);
    }
    Ok(tally)
}

/// The namespaces of tools/setup.sh, removed when this goes.
struct Topology {
    standing: bool,
}

impl Topology {
    fn build() -> Result<Topology> {
        in_use()?;
        // What an earlier demo left behind goes first, so that every demo begins alike.
        script("teardown.sh")?;
        let topology = Topology { standing: true };
        script("setup.sh")?;
        Ok(topology)
    }

    fn remove(mut self) -> Result<()> {
        self.standing = false;
        script("teardown.sh")
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        if self.standing
            && let Err(error) = script("teardown.sh")
        {
            eprintln!("note: {error:#}");
        }
    }
}

/// Somebody may be at work in a topology of their own making; it is not ours to remove.
fn in_use() -> Result<()> {
    for name in ["sw", "h1", "h2", "h3", "lb"] {
        let pids = Command::new("ip")
            .args(["netns", "pids", name])
            .output()
            .context("`ip netns pids`")?;
        let pids = String::from_utf8_lossy(&pids.stdout)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        if !pids.is_empty() {
            bail!(
                "demo: the topology is in use: process {pids} runs in namespace {name}\n  try: end it, or wait for it to end"
            );
        }
    }
    Ok(())
}

/// In a group of its own, so that a Ctrl+C does not stop it halfway; it takes a fraction of a second.
fn script(name: &str) -> Result<()> {
    run::ok(Command::new(workspace::root().join("tools").join(name)).process_group(0))
}
