//! The real `xdplb-load`, run as a user runs it.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xdplb_loader::netlink;

use crate::files::Folder;
use crate::netns::Netns;
use crate::rtnl;
use crate::run::{self, Output};
use crate::services::Config;
use crate::topology::{Mode, Topology};

/// The last line that it prints when it is ready.
pub const READY: &str = "Press Ctrl+C to exit...\n";

/// The name of the configuration file.
const FILE: &str = "lb.toml";

/// How long it may take to start, to fail or to stop, on a machine that does other things too.
pub const LIMIT: Duration = Duration::from_secs(180);

/// The file of the command: XDPLB_LOAD, else what `cargo xtask build` made.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("XDPLB_LOAD") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "XDPLB_LOAD: {} is no file", path.display());
        return Ok(path);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace's root")?;
    let places = ["target/x86_64-unknown-linux-gnu/release", "target/release"];
    places
        .iter()
        .map(|place| root.join(place).join("xdplb-load"))
        .find(|path| path.is_file())
        .with_context(|| format!("xdplb-load is in none of {places:?}\n  try: cargo xtask build"))
}

/// A copy of it in `folder`, for users who may not look where it lies.
pub fn copy(folder: &Folder) -> Result<Command> {
    let copy = folder.path().join("xdplb-load");
    // Not by ourselves: a test beside us that forks just now would hold the file open for writing, and what is
    // open for writing cannot be executed (ETXTBSY).
    let mut cp = Command::new("cp");
    cp.arg(binary()?).arg(&copy);
    let output = run::output(cp, LIMIT)?;
    ensure!(output.code == Some(0), "cp: {}", output.stderr);
    Ok(Command::new(copy))
}

/// The command with arguments, to be run inside a namespace.
pub fn command<S: AsRef<str>>(namespace: &Netns, arguments: &[S]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments.iter().map(AsRef::as_ref));
    namespace.enter(&mut command)?;
    Ok(command)
}

/// Runs it to its end.
pub fn output<S: AsRef<str>>(namespace: &Netns, arguments: &[S]) -> Result<Output> {
    run::output(command(namespace, arguments)?, LIMIT)
}

/// A text that another thread adds to.
#[derive(Debug, Default)]
struct Growing {
    text: Mutex<(String, End)>,
    grown: Condvar,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Closed,
}

impl Growing {
    fn read(pipe: impl Read + Send + 'static) -> (Arc<Self>, JoinHandle<()>) {
        let growing = Arc::new(Self::default());
        let writer = Arc::clone(&growing);
        let thread = std::thread::spawn(move || writer.fill(pipe));
        (growing, thread)
    }

    fn fill(&self, mut pipe: impl Read) {
        let mut buffer = [0; 4096];
        loop {
            let read = pipe.read(&mut buffer).unwrap_or(0);
            let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.0.push_str(&String::from_utf8_lossy(&buffer[..read]));
            if read == 0 {
                text.1 = End::Closed;
            }
            self.grown.notify_all();
            if read == 0 {
                return;
            }
        }
    }

    /// Waits until it holds `needle`. False when the time is over or the writer has ended without it.
    fn wait_for(&self, needle: &str, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if text.0.contains(needle) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || text.1 == End::Closed {
                return false;
            }
            text = match self.grown.wait_timeout(text, left) {
                Ok((text, _)) => text,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn text(&self) -> String {
        self.text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }
}

/// A balancer that runs. Dropping it kills it and takes its program off.
#[derive(Debug)]
pub struct Balancer<'t> {
    topology: &'t Topology,
    child: Child,
    stdout: Arc<Growing>,
    stderr: Arc<Growing>,
    readers: Vec<JoinHandle<()>>,
    /// Where `lb.toml` is, when it has one.
    folder: Option<Folder>,
}

impl<'t> Balancer<'t> {
    /// Starts one in `lb` with the seed's arguments and waits until it is ready.
    pub fn start(topology: &'t Topology, mode: Mode) -> Result<Self> {
        Self::start_with(topology, &["--xdp-mode", mode.word()])
    }

    /// The same with these options in front of the seed's arguments.
    pub fn start_with(topology: &'t Topology, options: &[&str]) -> Result<Self> {
        let mut arguments: Vec<String> = options.iter().map(|option| option.to_string()).collect();
        arguments.extend(topology.arguments());
        Self::spawn(topology, command(&topology.lb, &arguments)?)?.ready()
    }

    /// Starts `command`, without waiting for anything.
    pub fn spawn(topology: &'t Topology, mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let (stdout, first) = Growing::read(child.stdout.take().context("its stdout")?);
        let (stderr, second) = Growing::read(child.stderr.take().context("its stderr")?);
        Ok(Self {
            topology,
            child,
            stdout,
            stderr,
            readers: vec![first, second],
            folder: None,
        })
    }

    /// Starts one with a configuration file and waits until it is ready.
    pub fn start_file(topology: &'t Topology, mode: Mode, config: &Config) -> Result<Self> {
        Self::start_file_with(topology, mode, config, &[])
    }

    /// The same with more options.
    pub fn start_file_with(
        topology: &'t Topology,
        mode: Mode,
        config: &Config,
        options: &[&str],
    ) -> Result<Self> {
        let folder = Folder::new()?;
        let file = folder.file(FILE, config.to_string())?;
        let mut arguments = vec!["--xdp-mode", mode.word()];
        arguments.extend(options);
        arguments.extend(["veth6", &file]);
        let mut balancer = Self::spawn(topology, command(&topology.lb, &arguments)?)?;
        balancer.folder = Some(folder);
        balancer.ready().with_context(|| config.to_string())
    }

    /// Writes the configuration file anew, as editors do: another file takes its name.
    pub fn write(&self, text: &str) -> Result<()> {
        let folder = self.folder.as_ref().context("it has no file")?;
        let new = folder.file("lb.toml.new", text)?;
        std::fs::rename(&new, folder.path().join(FILE)).context(new)
    }

    /// Runs a subcommand beside it, which must succeed.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let output = output(&self.topology.lb, arguments)?;
        ensure!(output.code == Some(0), "{arguments:?}: {output:?}");
        Ok(output)
    }

    /// What it has counted, or why that cannot be said.
    pub fn counts(&self) -> String {
        match self.command(&["stats", "veth6"]) {
            Ok(output) => output.stdout,
            Err(error) => format!("{error:#}"),
        }
    }

    /// How many packets it has counted for that reason.
    pub fn counted(&self, reason: &str) -> Result<u64> {
        let text = self.command(&["stats", "--json", "veth6"])?.stdout;
        let stats: serde_json::Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let counters = stats["interfaces"][0]["counters"]
            .as_array()
            .with_context(|| text.clone())?;
        let found = counters.iter().find(|counter| counter["reason"] == reason);
        Ok(found
            .and_then(|counter| counter["packets"].as_u64())
            .unwrap_or(0))
    }

    /// Writes the file anew and has it applied.
    pub fn reload(&self, config: &Config) -> Result<()> {
        self.write(&config.to_string())?;
        self.command(&["reload", "veth6"]).map(drop)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("send {signal}"))
    }

    /// Waits until it is ready; an error shows what it said instead.
    pub fn ready(self) -> Result<Self> {
        if self.stdout.wait_for(READY, LIMIT) {
            return Ok(self);
        }
        bail!(
            "xdplb-load is not ready:\n{}{}",
            self.stdout.text(),
            self.stderr.text()
        );
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends a signal and waits for the end.
    pub fn stop(mut self, signal: Signal) -> Result<Output> {
        kill(self.pid(), signal).with_context(|| format!("send {signal}"))?;
        let status = run::wait(&mut self.child, LIMIT)?;
        let status =
            status.with_context(|| format!("{signal}: still running after {LIMIT:?}, killed"))?;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if status.signal().is_some() {
            ensure!(status.signal() == Some(signal as i32), "ended by {status}");
        }
        Ok(Output {
            code: status.code(),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Balancer<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Nothing here may fail the test a second time; the namespace takes the rest with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.topology.lb.run(|| {
            let (socket, ifindex) = (netlink::Socket::open()?, rtnl::index("veth6")?);
            for mode in [netlink::Mode::Generic, netlink::Mode::Native] {
                // In one of the two there is nothing.
                let _ = socket.detach_xdp(ifindex, mode, netlink::Expect::Anything);
            }
            Ok(())
        });
    }
}
