//! `cargo xtask demo`: the tutorial from its first command to its last, in one.
//!
//! Installing and building happen as the user who asks; only the stage (namespaces, BPF) needs root,
//! and as a plain user only that is run through sudo.

mod cast;
pub mod stage;
mod tally;

use crate::privilege::Privilege;
use crate::setup::{self, Need};
use crate::{build, interrupt, run};
use anyhow::{Context, Result};
use std::path::Path;

/// Installs, builds, plays.
pub fn demo() -> Result<()> {
    setup::setup(Need::Demo)?;
    let binary = build::build()?;
    match Privilege::of_this_process() {
        Privilege::Root => stage::play(&binary),
        privilege @ (Privilege::Sudo | Privilege::None) => play_as_root(privilege, &binary),
    }
}

/// Runs the stage in a process of its own. A Ctrl+C reaches that one too, and it takes everything down
/// before it ends; until then we wait.
fn play_as_root(privilege: Privilege, binary: &Path) -> Result<()> {
    interrupt::watch()?;
    let ourselves = std::env::current_exe().context("our own path")?;
    let mut command =
        privilege.command(ourselves, "network namespaces and the balancer in them")?;
    // It says itself what went wrong.
    run::ok_as(
        "demo: the part run through sudo",
        command.arg("demo-stage").arg(binary),
    )
}
