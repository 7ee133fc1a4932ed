//! Programs that run as long as the bench needs them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xdplb_tests::files::Folder;
use xdplb_tests::netns::Netns;
use xdplb_tests::run;

/// How long one may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Debian's programs: on the machine, or in a tree of their own.
#[derive(Debug)]
pub struct Programs(PathBuf);

impl Programs {
    /// XDPLB_PEERS names the root of the tree; default: the machine's own.
    pub fn find() -> Self {
        Self(std::env::var_os("XDPLB_PEERS").map_or_else(|| "/".into(), PathBuf::from))
    }

    /// Where a file lies.
    pub fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// A program with the libraries of its tree.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.path(program));
        if self.0 != Path::new("/") {
            let name = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
            command.env("LD_LIBRARY_PATH", self.path(&name));
        }
        command
    }

    /// nginx with this configuration, in the foreground. A pid file of its own is what it takes away when it ends.
    pub fn nginx(&self, folder: &Folder, name: &str, configuration: &str) -> Result<Command> {
        let place = folder.path().display();
        let text =
            format!("daemon off; error_log stderr; pid {place}/{name}.pid;\n{configuration}");
        let file = folder.file(&format!("{name}.conf"), text)?;
        let mut command = self.command("usr/sbin/nginx");
        command.args(["-e", "stderr", "-p"]).arg(folder.path());
        command.arg("-c").arg(file);
        Ok(command)
    }
}

/// One that was started. Dropping it ends it; if this process is killed, it is killed too.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: PathBuf,
}

impl Running {
    /// Starts it in a namespace, from the thread that lasts: it dies with it.
    pub fn start(netns: &Netns, folder: &Folder, mut command: Command) -> Result<Self> {
        let output = folder.path().join(format!("{}.log", netns.name()));
        let log = std::fs::File::create(&output).with_context(|| output.display().to_string())?;
        netns.enter(&mut command)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        Ok(Self { child, output })
    }

    /// What it printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where the first fails, the second kills; there is nobody to tell.
        let id = self.child.id();
        let asked = child_of(id).unwrap_or(id);
        let _ = kill(Pid::from_raw(asked.cast_signed()), Signal::SIGTERM);
        let _ = run::wait(&mut self.child, PATIENCE);
    }
}

/// The process that a process has started and waits for, as unshare(1) does with `--fork`; it ends when that one has.
fn child_of(id: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
    children.split(' ').next()?.parse().ok()
}
