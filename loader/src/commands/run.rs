//! The subcommand `run`.

use super::RunArgs;

/// Not there yet.
pub(super) fn run(_: &RunArgs) -> anyhow::Result<()> {
    anyhow::bail!("run: not there yet")
}
