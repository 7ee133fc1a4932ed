//! A machine without disk and network: qemu's `microvm`, emulated, with a kernel, an initial file system, and a serial
//! line that carries what the guest says.
//!
//! qemu ends with 33 when the guest says that everything held, and 35 when it says that something did not. A kernel that
//! panics ends it with 0, and one that hangs is ended here; so the verdict is the number *and* the guest's closing line.

use crate::setup::qemu;
use crate::{interrupt, run};
use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What every line of the guest begins with.
pub const PREFIX: &str = "xdplb-guest: ";
/// qemu's exit code when the guest wrote 16 to its port: twice that, plus one (hw/misc/debugexit.c).
const PASSED: i32 = 33;
/// A machine takes seconds, on a slow host minutes; beyond this it hangs.
const PATIENCE: Duration = Duration::from_secs(900);
/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// A machine's parts.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The emulator.
    pub qemu: &'a Path,
    /// The kernel.
    pub kernel: &'a Path,
    /// The initial file system.
    pub initrd: &'a Path,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Whether everything held; else in a few words what happened.
    pub verdict: Result<(), String>,
    /// Everything that came over the serial line.
    pub serial: String,
    /// From start to end.
    pub took: Duration,
}

impl Outcome {
    /// What the guest said, line by line, without the kernel's own messages.
    pub fn said(&self) -> impl Iterator<Item = &str> {
        said(&self.serial)
    }
}

fn said(serial: &str) -> impl Iterator<Item = &str> {
    serial.lines().filter_map(|line| {
        // A message of the kernel may stand before it in the same line.
        line.split_once(PREFIX)
            .map(|(_, words)| words.trim_end_matches('\r'))
    })
}

/// A started qemu; dropping it ends it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine<'_> {
    /// Boots it and waits for its end. An interrupt (Ctrl+C) ends it too.
    pub fn run(&self) -> Result<Outcome> {
        let begin = Instant::now();
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = Running(
            command
                .spawn()
                .with_context(|| format!("{}: cannot be started", self.qemu.display()))?,
        );
        let serial = running.0.stdout.take().map(reader);
        let complaints = running.0.stderr.take().map(reader);
        let ended = loop {
            if let Some(status) = running.0.try_wait()? {
                break Some(status);
            }
            interrupt::check()?;
            if begin.elapsed() > PATIENCE {
                break None;
            }
            thread::sleep(PAUSE);
        };
        drop(running);
        // Ctrl+C goes to the whole group, and qemu may have been first to heed it.
        interrupt::check()?;
        let serial = collect(serial);
        let complaints = collect(complaints);
        Ok(Outcome {
            verdict: verdict(ended, &serial, &complaints),
            serial,
            took: begin.elapsed(),
        })
    }

    fn command(&self) -> Command {
        let mut command = qemu::command(self.qemu);
        command.args([
            "-M",
            "microvm,acpi=off,pit=on,pic=on,rtc=on,isa-serial=on",
            // Emulated even where /dev/kvm opens: inside many virtual machines it opens and does not work.
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-smp",
            "1",
            "-m",
            "512M",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-chardev",
            "stdio,id=c,signal=off",
            "-serial",
            "chardev:c",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
        ]);
        command.arg("-kernel").arg(self.kernel);
        command.arg("-initrd").arg(self.initrd);
        // What the kernel does not know goes to the first process, as its environment.
        command.arg("-append").arg(
            "console=ttyS0 panic=-1 reboot=t loglevel=4 mitigations=off nokaslr \
             random.trust_cpu=on XDPLB_LOAD=/xdplb-load",
        );
        // SAFETY: one system call between fork and exec; nothing is allocated or locked.
        unsafe {
            // However we end, and even when killed: it does not outlive the thread that started it.
            command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
        }
        command
    }
}

type Reader = thread::JoinHandle<Vec<u8>>;

fn reader(mut pipe: impl Read + Send + 'static) -> Reader {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error still counts.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn collect(reader: Option<Reader>) -> String {
    let bytes = reader.and_then(|reader| reader.join().ok());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// Both the number and the closing line must say so.
fn verdict(ended: Option<ExitStatus>, serial: &str, complaints: &str) -> Result<(), String> {
    let last = said(serial).last();
    let Some(status) = ended else {
        return Err(format!(
            "no end after {} s, ended by us",
            PATIENCE.as_secs()
        ));
    };
    match (status.code(), last) {
        (Some(PASSED), Some("passed")) => Ok(()),
        (_, Some(words)) if words.starts_with("failed") => Err(words.to_owned()),
        (Some(0), _) => Err("the kernel panicked".to_owned()),
        (Some(code), _) => Err(format!(
            "qemu ended with {code}{}",
            run::evidence(complaints.as_bytes())
        )),
        (None, _) => Err(format!("qemu was ended by signal {:?}", status.signal())),
    }
}

/// A file that goes when this does.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Writes one.
    pub fn write(path: PathBuf, bytes: &[u8]) -> Result<Self> {
        // From here on it is removed, also where the disk is full.
        let scratch = Self(path);
        std::fs::write(&scratch.0, bytes).with_context(|| scratch.0.display().to_string())?;
        Ok(scratch)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is inside target/; the next run writes it anew.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn ended(code: i32, serial: &str) -> String {
        let status = ExitStatus::from_raw(code << 8);
        match verdict(Some(status), serial, "qemu: no such device\n") {
            Ok(()) => "passed".into(),
            Err(words) => words,
        }
    }

    #[test]
    fn the_number_and_the_closing_line_must_both_say_so() {
        let passed = "[ 0.1] x\r\nxdplb-guest: kernel 6.1\r\nxdplb-guest: passed\r\n";
        assert_eq!(ended(33, passed), "passed");
        assert_eq!(ended(0, passed), "the kernel panicked");
        assert_eq!(
            ended(33, "xdplb-guest: kernel 6.1\n"),
            "qemu ended with 33\n  qemu: no such device"
        );
        assert_eq!(
            ended(35, "[ 2.1] BUG: xdplb-guest: failed: native: EINVAL\r\n"),
            "failed: native: EINVAL"
        );
        assert!(verdict(None, passed, "").unwrap_err().starts_with("no end"));
    }

    #[test]
    fn a_scratch_file_goes() {
        let path = std::env::temp_dir().join(format!("xdplb-scratch-{}", std::process::id()));
        let scratch = Scratch::write(path.clone(), b"x").unwrap();
        assert!(path.exists());
        drop(scratch);
        assert!(!path.exists());
    }
}
