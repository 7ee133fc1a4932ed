//! The part that changes the kernel: load, fill, pin, attach. What fails undoes what came before, and leaves who runs alone.
//!
//! Everything of the new configuration is built beside the old one; then one request puts the new program in the old one's
//! place. A packet meets the old configuration whole or the new one whole.

use std::path::{Path, PathBuf};

use super::adopt::{self, Kinship};
use super::attachment::{AttachError, Attachment};
use super::device::Device;
use super::image::Image;
use super::pins::{self, NewPins};
use super::program;
use super::running::{Occupant, Running};
use super::settings::{Machine, Pieces, Settings};
use super::tables;
use crate::kernel::{Capabilities, Capability, Feature, KernelError, Pair, supports};
use crate::load::{self, LoadError, LoadOptions, Loaded, Observer, VerifierLogs};
use crate::netlink::{Mode, Socket};
use crate::object::{ObjectError, Spec};

/// Why a balancer did not get to its place.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// This process may not.
    #[error(
        "load program `{}`: missing {missing} (EPERM)\n  {evidence}",
        program::ENTRY
    )]
    MissingCapability {
        /// What it would need.
        missing: String,
        /// What it has.
        evidence: String,
        /// What the load said: a verifier's log may be in it.
        load: Box<LoadError>,
    },
    /// The load failed.
    #[error(transparent)]
    Load(LoadError),
    /// The object cannot take what was decided.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// It was loaded, but not attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// It is attached, but its pins could not be moved to their place.
    #[error("{0}")]
    Pins(std::io::Error),
}

/// What stays the same from one configuration to the next.
#[derive(Debug)]
pub struct Ground<'a> {
    /// The program.
    pub spec: &'a Spec,
    /// To the kernel.
    pub socket: &'a Socket,
    /// What only the machine knows.
    pub machine: Machine,
    /// Where to pin it.
    pub pins: Option<PathBuf>,
}

/// A configuration, ready for the kernel.
#[derive(Debug)]
pub struct Order<'o> {
    /// Where.
    pub device: &'o Device,
    /// Its constants.
    pub settings: &'o Settings,
    /// Its maps.
    pub image: &'o Image,
    /// Who is there.
    pub occupant: &'o Occupant,
    /// Whether that one's flows go on.
    pub kinship: &'o Kinship,
}

impl Order<'_> {
    /// The balancer whose flows go on.
    fn adopted(&self) -> Option<&Running> {
        match (self.occupant, self.kinship) {
            (Occupant::Ours(running), Kinship::Same) => Some(running),
            (Occupant::Ours(_) | Occupant::Nothing | Occupant::Foreign(_), _) => None,
        }
    }
}

impl<'a> Ground<'a> {
    /// Loads for one mode, fills, pins and attaches.
    ///
    /// # Errors
    /// The first that fails; then who was there is there still, unless it is the pins that failed last.
    pub fn install(&self, order: &Order<'_>, mode: Mode) -> Result<Attachment<'a>, InstallError> {
        self.install_watched(order, mode, VerifierLogs::OfRejected, &mut ())
    }

    /// The same, with somebody who watches.
    ///
    /// # Errors
    /// As [`Ground::install`].
    pub fn install_watched(
        &self,
        order: &Order<'_>,
        mode: Mode,
        log: VerifierLogs,
        observer: &mut dyn Observer,
    ) -> Result<Attachment<'a>, InstallError> {
        let spec = self.prepared(order, mode)?;
        let reuse = match order.adopted() {
            Some(running) => adopt::maps(running, order.image)?,
            None => Default::default(),
        };
        let options = LoadOptions {
            reuse,
            log,
            ..LoadOptions::default()
        };
        let loaded = load::load(&spec, options, observer).map_err(missing_capability)?;
        fill(&loaded, order.image)?;
        if let Some(running) = order.adopted() {
            adopt::carry_counters(running, &loaded, order.image)?;
        }
        // From here on the maps are whole.
        let pins = match &self.pins {
            Some(folder) => Some(NewPins::make(folder, &order.device.name, &loaded)?),
            None => None,
        };
        // A predecessor's pins are found by its program, so before that goes.
        let old_pins = match order.occupant {
            Occupant::Ours(running) => running.pins().map(|folder| (folder, &running.info)),
            Occupant::Nothing | Occupant::Foreign(_) => None,
        };
        let attachment =
            Attachment::attach(self.socket, order.device, mode, loaded, order.occupant)?;
        let kept = pins.as_ref().and_then(|pins| canonical(pins.folder()));
        if let Some(pins) = pins {
            pins.keep().map_err(InstallError::Pins)?;
        }
        if let Some((folder, info)) = old_pins
            && canonical(&folder) != kept
        {
            pins::remove(&folder, info)?;
        }
        Ok(attachment)
    }

    /// The object with everything in it that is decided before it is loaded.
    ///
    /// # Errors
    /// An object that has no such map or constant.
    pub fn prepared(&self, order: &Order<'_>, mode: Mode) -> Result<Spec, ObjectError> {
        let mut spec = self.spec.clone();
        // Where the kernel has no frames in pieces, the driver says whether it can do without.
        let pieces = match Pieces::of(order.settings.mtu, mode) {
            Pieces::Several if !supports(Feature::XdpFrags) => Pieces::One,
            pieces => pieces,
        };
        order
            .settings
            .apply(&mut spec, mode, pieces, self.machine)?;
        let image = order.image;
        let blocks = image.tables.len() / xdplb_prog::abi::BLOCK as usize;
        let sizes = [
            ("services", image.services.len() as u32),
            ("tables", blocks as u32),
            ("members", image.members.len() as u32),
            ("backends", image.backend_room),
            ("backend_counters", image.backend_room),
            ("service_counters", image.service_room),
        ];
        for (map, entries) in sizes {
            spec.map_mut(map)?.max_entries = entries.max(1);
        }
        Ok(spec)
    }
}

fn canonical(folder: &Path) -> Option<PathBuf> {
    folder.canonicalize().ok()
}

/// Writes the configuration before the first packet can ask for it.
fn fill(loaded: &Loaded, image: &Image) -> Result<(), InstallError> {
    let map = |name| loaded.map(name).map_err(InstallError::Load);
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let slots: Vec<u8> = image
        .tables
        .iter()
        .flat_map(|slot| slot.to_ne_bytes())
        .collect();
    map("tables")?.fill(&slots)?;
    drop(slots);
    let members: Vec<u8> = words(&image.members);
    map("members")?.fill(&members)?;
    let backends: Vec<u8> = image
        .backends
        .iter()
        .flat_map(tables::encode_backend)
        .collect();
    map("backends")?.fill(&backends)?;
    let services = image.services.iter();
    let services: Vec<Pair> = services
        .map(|(key, service)| (tables::encode_key(key), tables::encode_service(service)))
        .collect();
    Ok(map("services")?.update_all(&services)?)
}

/// Whichever command was the first to be refused: what is missing is missing for the whole load.
pub(super) fn missing_capability(error: LoadError) -> InstallError {
    const NEEDED: &[Capability] = &[Capability::Bpf, Capability::NetAdmin];
    let refused = matches!(error.kernel(), Some(KernelError::Permission { .. }));
    match Capabilities::effective() {
        Some(set) if refused && !set.missing(NEEDED).is_empty() => {
            let missing = set.missing(NEEDED);
            let names: Vec<_> = missing
                .iter()
                .map(|c| c.to_string().to_uppercase())
                .collect();
            InstallError::MissingCapability {
                missing: names.join(", "),
                evidence: set.evidence(NEEDED),
                load: Box::new(error),
            }
        }
        // A rejection of what other processes may load: without it the verifier also follows paths that only a mispredicted
        // branch would take, and older kernels lack the helper that the program then reads packets by.
        Some(set)
            if matches!(error.kernel(), Some(KernelError::Rejected(_)))
                && !set.grants(Capability::Perfmon) =>
        {
            let why = if supports(Feature::XdpLoadBytes) {
                GIVES_UP
            } else {
                NO_HELPER
            };
            InstallError::MissingCapability {
                missing: "CAP_PERFMON".into(),
                evidence: format!("{}\n  {why}", set.evidence(WITH_PERFMON)),
                load: Box::new(error),
            }
        }
        Some(_) | None => InstallError::Load(error),
    }
}

/// What a start needs where the kernel takes the program from nobody without it.
const WITH_PERFMON: &[Capability] = &[Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];
const NO_HELPER: &str = "before Linux 5.18 (bpf_xdp_load_bytes) packets are read at offsets that only CAP_PERFMON allows";
const GIVES_UP: &str =
    "without CAP_PERFMON this kernel's verifier rejects the program (seen on 6.1)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_capability_is_said_with_evidence() {
        let error = InstallError::MissingCapability {
            missing: "CAP_BPF".into(),
            evidence: "have: cap_net_admin   need: cap_bpf, cap_net_admin".into(),
            load: Box::new(LoadError::Kernel(KernelError::Usage {
                what: "load".into(),
                why: "no".into(),
            })),
        };
        assert_eq!(
            error.to_string(),
            "load program `xdp_load_balancer`: missing CAP_BPF (EPERM)\n  have: cap_net_admin   need: cap_bpf, cap_net_admin"
        );
    }
}
