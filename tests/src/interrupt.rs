//! SIGINT and SIGTERM as a flag, so that whoever is in the middle of something takes down what it set up. The machines of
//! `cargo xtask` have the same for themselves (tools/src/interrupt.rs): tools imports nothing of ours.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    ASKED.store(true, Ordering::SeqCst);
}

/// From here on the two end nothing by themselves; [`check`] reports them. Programs that are started have them as ever:
/// execve(2) puts handlers back.
pub fn watch() -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe (signal-safety(7)).
        unsafe { sigaction(signal, &action)? };
    }
    Ok(())
}

/// Fails once one of them came.
pub fn check() -> Result<()> {
    ensure!(!ASKED.load(Ordering::SeqCst), "interrupted");
    Ok(())
}
