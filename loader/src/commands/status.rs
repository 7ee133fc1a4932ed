//! The subcommand `status`.

use super::OneArgs;

/// Not there yet.
pub(super) fn status(_: &OneArgs) -> anyhow::Result<()> {
    anyhow::bail!("status: not there yet")
}
