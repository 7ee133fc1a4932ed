//! The signals that end a balancer, or a program of the library's. They are held back from before it is attached until it waits for them, so none can
//! come between an attachment and the one who takes it off.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals, blocked in this thread.
#[derive(Debug)]
pub struct Stop(SigSet);

impl Stop {
    /// Blocks SIGINT and SIGTERM, and SIGHUP unless it is ignored (nohup): waiting would bring it back to life.
    ///
    /// # Errors
    /// The kernel's.
    pub fn block() -> Result<Self, Errno> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        if !ignores(&status, Signal::SIGHUP) {
            set.add(Signal::SIGHUP);
        }
        set.thread_block()?;
        Ok(Self(set))
    }

    /// The same with SIGHUP in any case, for who takes it as a word and not as the end: a blocked signal comes even where it is
    /// ignored (kernel/signal.c, `sig_ignored`).
    ///
    /// # Errors
    /// The kernel's.
    pub fn block_with_hangup() -> Result<Self, Errno> {
        let mut stop = Self::block()?;
        stop.0.add(Signal::SIGHUP);
        stop.0.thread_block()?;
        Ok(stop)
    }

    /// Waits for one of them; one that came meanwhile counts.
    ///
    /// # Errors
    /// The kernel's; never EINTR.
    pub fn wait(&self) -> Result<Signal, Errno> {
        loop {
            match self.0.wait() {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }
}

impl Stop {
    /// A descriptor that is readable when one of them came, for who waits for other things too.
    ///
    /// # Errors
    /// The kernel's.
    pub fn descriptor(&self) -> Result<SignalFd, Errno> {
        SignalFd::with_flags(&self.0, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
    }

    /// The next that came; None where none did.
    ///
    /// # Errors
    /// The kernel's.
    pub fn next(descriptor: &SignalFd) -> Result<Option<Signal>, Errno> {
        let signal = descriptor.read_signal()?;
        Ok(signal.and_then(|signal| Signal::try_from(signal.ssi_signo as i32).ok()))
    }

    /// Waits for one of them for so long at most; None when none came.
    ///
    /// # Errors
    /// The kernel's; never EINTR.
    pub fn within(&self, limit: Duration) -> Result<Option<Signal>, Errno> {
        let signals = self.descriptor()?;
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], left) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Self::next(&signals)
    }
}

/// Whether `SigIgn` of /proc/self/status (proc(5)) has this signal.
fn ignores(status: &str, signal: Signal) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 << (signal as i32 - 1) != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert!(ignores(status, Signal::SIGHUP) && ignores(status, Signal::SIGPIPE));
        assert!(!ignores(status, Signal::SIGINT));
        assert!(!ignores("", Signal::SIGHUP) && !ignores("SigIgn:\tzz", Signal::SIGHUP));
    }

    #[test]
    fn a_signal_that_came_before_the_wait_counts() {
        // On a thread of its own: the mask is the thread's.
        let stop = std::thread::spawn(|| {
            let stop = Stop::block().unwrap();
            let none = stop.within(Duration::from_millis(1)).unwrap();
            nix::sys::signal::raise(Signal::SIGTERM).unwrap();
            let first = stop.wait().unwrap();
            nix::sys::signal::raise(Signal::SIGINT).unwrap();
            (none, first, stop.within(Duration::from_secs(10)).unwrap())
        });
        assert_eq!(
            stop.join().unwrap(),
            (None, Signal::SIGTERM, Some(Signal::SIGINT))
        );
    }
}
