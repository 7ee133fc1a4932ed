//! The subcommand `detach`.

use super::DetachArgs;

/// Not there yet.
pub(super) fn detach(_: &DetachArgs) -> anyhow::Result<()> {
    anyhow::bail!("detach: not there yet")
}
