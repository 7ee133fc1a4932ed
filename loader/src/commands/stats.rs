//! The subcommand `stats`.

use super::OneArgs;

/// Not there yet.
pub(super) fn stats(_: &OneArgs) -> anyhow::Result<()> {
    anyhow::bail!("stats: not there yet")
}
