//! A program that runs while the demo plays: started, waited for, ended by its id, and never left behind.

use crate::{interrupt, run};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// A running program whose stdout is shown line by line.
pub struct Actor {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Actor {
    /// Starts it. Its stderr goes where ours goes.
    pub fn start(name: &'static str, command: &mut Command) -> Result<Actor> {
        let mut child = bound_to_us(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // A group of its own: a Ctrl+C comes to us alone, and we end the cast in the right order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name}: `{}` cannot be started", run::shown(command)))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Actor { name, child, lines })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it prints a line that begins with `sign`, showing the lines on the way if they are
    /// more than the sign alone.
    pub fn wait_for(&mut self, sign: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            interrupt::check()?;
            match self.lines.recv_timeout(PAUSE) {
                Ok(line) => {
                    if line != sign {
                        println!("{line}");
                    }
                    if line.starts_with(sign) {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.wait(limit)?;
                    bail!("{}: it ended before it was ready: {status}", self.name);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    bail!("{}: not ready after {} s", self.name, limit.as_secs());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Asks it to end, as Ctrl+C does, shows its last lines, and fails if it does not end well.
    pub fn end(mut self, limit: Duration) -> Result<()> {
        kill(self.pid()?, Signal::SIGINT).with_context(|| format!("{}: SIGINT", self.name))?;
        let status = self.wait(limit)?;
        for line in self.lines.iter() {
            println!("{line}");
        }
        if !status.success() {
            bail!("{}: it ended with {status} after SIGINT", self.name);
        }
        Ok(())
    }

    fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "{}: still running {} s after it should have ended",
                    self.name,
                    limit.as_secs()
                );
            }
            thread::sleep(PAUSE);
        }
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Already ended and waited for: its id may be another's by now.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // SIGTERM first, as the balancer detaches on it.
        if let Ok(pid) = self.pid() {
            let _ = kill(pid, Signal::SIGTERM);
        }
        if self.wait(Duration::from_secs(5)).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The same command, ended by the kernel should we be killed before we can end it ourselves
/// (setpriv is part of util-linux, which every Debian has).
fn bound_to_us(command: &mut Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound
        .args(["--pdeathsig", "TERM", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    bound
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Actor {
        Actor::start("actor", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn it_is_waited_for_and_ended() {
        let mut actor =
            shell("trap 'echo bye; exit 0' INT; echo ready; while :; do sleep 0.05; done");
        actor.wait_for("ready", LIMIT).unwrap();
        actor.end(LIMIT).unwrap();
    }

    #[test]
    fn one_that_ends_too_soon_is_reported() {
        let error = shell("exit 3").wait_for("ready", LIMIT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "actor: it ended before it was ready: exit status: 3"
        );
    }

    #[test]
    fn one_that_is_never_ready_is_reported_and_gone() {
        let mut actor = shell("exec sleep 60");
        let error = actor
            .wait_for("ready", Duration::from_millis(60))
            .unwrap_err();
        assert_eq!(error.to_string(), "actor: not ready after 0 s");
        let pid = actor.pid().unwrap();
        drop(actor);
        assert!(kill(pid, None).is_err());
    }

    #[test]
    fn a_bad_end_is_an_error() {
        let mut actor = shell("trap 'exit 7' INT; echo ready; while :; do sleep 0.05; done");
        actor.wait_for("ready", LIMIT).unwrap();
        assert_eq!(
            actor.end(LIMIT).unwrap_err().to_string(),
            "actor: it ended with exit status: 7 after SIGINT"
        );
    }
}
