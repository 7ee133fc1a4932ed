//! SIGINT and SIGTERM as a flag, so that whoever is in the middle of something can clean up first.

use anyhow::{Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: nix::libc::c_int) {
    ASKED.store(true, Ordering::SeqCst);
}

/// From here on SIGINT and SIGTERM end nothing by themselves; `check` reports them.
pub fn watch() -> Result<()> {
    // No SA_RESTART: a blocking call returns, and the flag is looked at.
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe (signal-safety(7)).
        unsafe { sigaction(signal, &action)? };
    }
    Ok(())
}

/// Fails once one of the two came.
pub fn check() -> Result<()> {
    if ASKED.load(Ordering::SeqCst) {
        bail!("interrupted; everything that was started is taken down again");
    }
    Ok(())
}
