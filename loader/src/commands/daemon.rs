//! What a balancer's command does while the balancer runs: wait for signals.

use anyhow::{Context, Result};

use super::source::Source;
use crate::balancer::attachment::Attachment;
use crate::balancer::device::Device;
use crate::balancer::install::Ground;
use crate::balancer::lock::InterfaceLock;
use crate::balancer::service::Config;
use crate::balancer::settings::Trace;
use crate::balancer::signals::Stop;

/// A balancer at its interface, and what it was made from.
pub(super) struct Daemon<'d, 'a> {
    ground: &'d Ground<'a>,
    device: &'d Device,
    source: Source,
    config: Config,
    trace: Trace,
    attachment: Attachment<'a>,
}

impl<'d, 'a> Daemon<'d, 'a> {
    pub(super) fn new(
        ground: &'d Ground<'a>,
        device: &'d Device,
        source: Source,
        config: Config,
        trace: Trace,
        attachment: Attachment<'a>,
    ) -> Self {
        Self {
            ground,
            device,
            source,
            config,
            trace,
            attachment,
        }
    }

    /// Serves until a signal ends it; the balancer is still at its place then.
    pub(super) fn serve(self, stop: &Stop, _lock: &InterfaceLock) -> Result<Attachment<'a>> {
        stop.wait().context("wait for a signal")?;
        let _ = (
            self.ground,
            self.device,
            self.source,
            self.config,
            self.trace,
        );
        Ok(self.attachment)
    }
}
