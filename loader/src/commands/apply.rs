//! A configuration in the place of the one that runs: what a reload, a changed file and a command about a backend come to.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Context, Result, anyhow, bail};

use super::interfaces::no_balancer;
use super::source::{count, summary};
use crate::balancer::adopt::Kinship;
use crate::balancer::attachment::Attachment;
use crate::balancer::before::Live;
use crate::balancer::change::Change;
use crate::balancer::device::{self, Device};
use crate::balancer::diff::{Diff, diff};
use crate::balancer::install::{Ground, Order};
use crate::balancer::neighbour::{self, Found, Outlook};
use crate::balancer::next::{self, Next, States};
use crate::balancer::readback::Stored;
use crate::balancer::running::{Occupant, Running};
use crate::balancer::service::Config;
use crate::balancer::settings::Settings;
use crate::netlink::Socket;

/// More than these are counted, not named.
const NAMED: usize = 5;

/// What runs at an interface, and the configuration in it.
pub(super) struct Site {
    pub device: Device,
    occupant: Occupant,
    pub settings: Settings,
    pub stored: Stored,
    pub config: Config,
}

impl Site {
    /// Looks. There has to be a balancer that this program can take over from.
    pub(super) fn find(ground: &Ground<'_>, ifname: &str) -> Result<Self> {
        let device = Device::find(ground.socket, ifname)?;
        let occupant = occupant(ground.socket, ifname)?;
        let running = match &occupant {
            Occupant::Ours(running) => running,
            Occupant::Nothing | Occupant::Foreign(_) => return Err(no_balancer(ifname, &occupant)),
        };
        let settings = running.settings(ground.spec)?.ok_or_else(|| {
            anyhow!("{ifname}: its balancer is of another version, whose constants cannot be read")
        })?;
        let stored = Stored::read(running)?;
        let config = stored.config(&settings, &device::own_ports());
        Ok(Self {
            device,
            occupant,
            settings,
            stored,
            config,
        })
    }

    /// The balancer.
    pub(super) fn running(&self) -> Option<&Running> {
        match &self.occupant {
            Occupant::Ours(running) => Some(running),
            Occupant::Nothing | Occupant::Foreign(_) => None,
        }
    }
}

/// Who is at an interface.
pub(super) fn occupant(socket: &Socket, ifname: &str) -> Result<Occupant> {
    let link = device::link(socket, ifname)?;
    Occupant::of(&link).with_context(|| ifname.to_string())
}

/// A configuration that could take the place of the one that runs.
pub(super) struct Proposal {
    pub next: Next,
    pub diff: Diff,
    pub missing: Found,
}

/// Decides everything, changes nothing. An error if flows would end for another reason than a backend's end.
pub(super) fn propose(
    ground: &Ground<'_>,
    site: &Site,
    config: &Config,
    states: &States,
    patience: std::time::Duration,
) -> Result<Proposal> {
    site.device.check(config)?;
    let ifname = &site.device.name;
    let patience = if has_strangers(site, config) {
        patience
    } else {
        std::time::Duration::ZERO
    };
    let mut missing = neighbour::resolve(ground.socket, &site.device, config, patience)?;
    if let Some(never) = missing
        .missing
        .iter()
        .find(|one| one.outlook == Outlook::Never)
    {
        bail!("{never}");
    }
    let macs = std::mem::take(&mut missing.macs);
    let trace = site.settings.trace;
    let next = next::decide(
        ground,
        &site.device,
        config,
        trace,
        states,
        &site.occupant,
        &macs,
    )?;
    if let Kinship::Other(why) | Kinship::Version(why) = &next.kinship {
        bail!(
            "{ifname}: this cannot be changed while it runs, its connections would end: {why}\n  try:  stop it, and start it anew"
        );
    }
    let ports = device::own_ports();
    let diff = diff(&site.config, config, &next.live, &ports, &next.before);
    Ok(Proposal {
        next,
        diff,
        missing,
    })
}

/// Whether a backend has to be asked for that was not there before: who did not answer then is not waited for again.
fn has_strangers(site: &Site, config: &Config) -> bool {
    let known: HashSet<IpAddr> = site
        .stored
        .backends
        .iter()
        .map(|one| one.addr.into())
        .collect();
    let backends = config.services.iter().flat_map(|service| &service.backends);
    let mut asked = backends.filter(|backend| backend.mac.is_none());
    asked.any(|backend| !known.contains(&backend.key.address))
}

/// Puts it in its place: the new attachment, and what is to be said.
pub(super) fn carry_out<'a>(
    ground: &Ground<'a>,
    site: &Site,
    config: &Config,
    proposal: &Proposal,
) -> Result<(Attachment<'a>, String)> {
    let running = site.running().context("no balancer")?;
    let order = Order {
        device: &site.device,
        settings: &proposal.next.settings,
        image: &proposal.next.image,
        occupant: &site.occupant,
        kinship: &proposal.next.kinship,
    };
    let attachment = ground.install(&order, running.mode)?;
    Ok((attachment, report(&site.device.name, config, proposal)))
}

/// What came of a reload, in words.
fn report(ifname: &str, config: &Config, proposal: &Proposal) -> String {
    let Proposal {
        next,
        diff,
        missing,
    } = proposal;
    let [added, removed, changed] = diff.backends();
    let mut parts = Vec::new();
    for (number, what) in [(added, "added"), (removed, "removed"), (changed, "changed")] {
        if number > 0 {
            parts.push(format!("{} {what}", count(number, "backend")));
        }
    }
    if diff.services.is_empty() && diff.changes.is_empty() {
        parts.push("nothing changed".into());
    } else if parts.is_empty() {
        parts.push("settings changed".into());
    }
    let live = next.before.census.all.live;
    let ending = diff.flows_ending();
    let goes_on = count(live.saturating_sub(ending), "connection");
    let mut text = format!(
        "{ifname}: {}; {}; {goes_on} go on, {ending} end",
        summary(config),
        parts.join(", ")
    );
    if !next.live.is_empty() {
        text += &format!(
            "\n{ifname}: {} by command over what the file says",
            count(next.live.len() as u64, "state")
        );
    }
    for one in missing.missing.iter().take(NAMED) {
        text += &format!("\nwarning: {one}");
    }
    if let Some(more @ 1..) = missing.missing.len().checked_sub(NAMED) {
        text += &format!("\nwarning: {more} more like these");
    }
    text
}

/// A change of one backend in what runs.
pub(super) fn changed(site: &Site, change: &Change) -> Result<(Config, Live)> {
    let mut config = site.config.clone();
    let running = crate::balancer::before::Before {
        services: site
            .stored
            .services
            .iter()
            .map(|(key, service)| (*key, service.id))
            .collect(),
        backends: site.stored.backends.clone(),
        ..Default::default()
    };
    let mut live = running.live();
    change
        .apply(&mut config, &mut live)
        .map_err(|why| anyhow!("{}: {why}", site.device.name))?;
    Ok((config, live))
}
