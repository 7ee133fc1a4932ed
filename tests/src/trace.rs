//! The kernel's trace, where `bpf_trace_printk` writes: one pipe for the whole machine.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::netns::on_thread;

/// An open trace_pipe; it gives what is written from now on, and what nobody has read yet.
#[derive(Debug)]
pub struct TracePipe {
    file: File,
    text: String,
}

impl TracePipe {
    /// Opens it. tracefs is mounted where only the opening thread sees it, whether or not the machine has it mounted.
    pub fn open() -> Result<Self> {
        let file = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace")?;
            let none = None::<&str>;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(none, "/", none, private, none).context("keep mounts private")?;
            let folder = "/sys/kernel/tracing";
            mount(
                Some("tracefs"),
                folder,
                Some("tracefs"),
                MsFlags::empty(),
                none,
            )
            .or_else(|error| {
                if std::fs::exists(format!("{folder}/trace_pipe"))? {
                    Ok(())
                } else {
                    Err(error.into())
                }
            })
            .map_err(|error: anyhow::Error| error.context("mount tracefs"))?;
            let path = format!("{folder}/trace_pipe");
            OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
                .context(path)
        })?;
        Ok(Self {
            file,
            text: String::new(),
        })
    }

    /// Reads until `enough` says so of the messages of one CPU, in order; false when the time is over.
    /// CPUs write side by side, so only the order within one means something.
    pub fn wait_for(&mut self, limit: Duration, enough: impl Fn(&[&str]) -> bool) -> Result<bool> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            let mut buffer = [0; 1 << 16];
            match self.file.read(&mut buffer) {
                Ok(read) => self
                    .text
                    .push_str(&String::from_utf8_lossy(&buffer[..read])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error).context("read trace_pipe"),
            }
            if by_cpu(&self.text).iter().any(|messages| enough(messages)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All that was read.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The messages of each CPU. A line is `task-pid [cpu] flags time: bpf_trace_printk: message`.
fn by_cpu(text: &str) -> Vec<Vec<&str>> {
    let mut cpus: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        let Some((head, message)) = line.split_once("bpf_trace_printk: ") else {
            continue;
        };
        let Some(cpu) = head
            .split_once('[')
            .and_then(|(_, rest)| rest.split(']').next())
        else {
            continue;
        };
        match cpus.iter_mut().find(|(name, _)| *name == cpu) {
            Some((_, messages)) => messages.push(message),
            None => cpus.push((cpu, vec![message])),
        }
    }
    cpus.into_iter().map(|(_, messages)| messages).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_by_cpu() {
        let text = "  <idle>-0  [001] ..s2. 1.5: bpf_trace_printk: one\n curl-7 [000] b..1 1.6: bpf_trace_printk: two\n\
                    junk\n  <idle>-0  [001] ..s2. 1.7: bpf_trace_printk: three: 0x1\n";
        assert_eq!(by_cpu(text), [vec!["one", "three: 0x1"], vec!["two"]]);
    }
}
