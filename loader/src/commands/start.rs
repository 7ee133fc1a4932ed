//! The part of `run` that changes the kernel: load, fill, pin, attach. What fails undoes what came before.

use std::net::Ipv4Addr;

use xdplb_prog::abi::Mac;

use super::run::first_mode;
use super::{RunArgs, note};
use crate::balancer::adopt::{self, Kinship};
use crate::balancer::attachment::{AttachError, Attachment};
use crate::balancer::device::Device;
use crate::balancer::mode::{Choice, Why};
use crate::balancer::pins::{self, NewPins};
use crate::balancer::running::{Occupant, Running};
use crate::balancer::settings::{Machine, Settings, Trace};
use crate::balancer::{program, tables};
use crate::kernel::{Capabilities, Capability, Feature, KernelError, Map, supports};
use crate::load::{self, LoadError, LoadOptions, Loaded};
use crate::netlink::{Mode, Socket};
use crate::object::{ObjectError, Spec};

/// Why a balancer did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(
        "load program `{}`: missing {missing} (EPERM)\n  {evidence}",
        program::ENTRY
    )]
    MissingCapability { missing: String, evidence: String },
    #[error(transparent)]
    Load(LoadError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("{0}")]
    Pins(std::io::Error),
}

/// Everything a start needs, read and checked.
pub(super) struct Prepared<'a> {
    pub args: &'a RunArgs,
    pub spec: &'a Spec,
    pub socket: &'a Socket,
    pub device: &'a Device,
    pub settings: &'a Settings,
    pub backends: &'a [(Ipv4Addr, Mac)],
    pub trace: Trace,
    pub machine: Machine,
}

/// What goes on of an earlier balancer.
enum Legacy<'o> {
    /// There was none.
    None,
    /// It is replaced, and its connections with it.
    Replaced(&'o Running),
    /// Its connections go on.
    Adopted(&'o Running),
}

impl<'a> Prepared<'a> {
    /// Starts in the mode that was chosen; where the driver has no XDP and the choice allows it, in generic mode.
    pub(super) fn start(
        &self,
        choice: Choice,
        occupant: &Occupant,
    ) -> Result<Attachment<'a>, StartError> {
        let legacy = self.legacy(occupant)?;
        let mut reason = match choice {
            Choice::Generic(why) => Some(why),
            Choice::Native | Choice::NativeFirst => None,
        };
        let mut done = self.attempt(first_mode(choice), occupant, &legacy);
        if let (Choice::NativeFirst, Err(StartError::Attach(AttachError::NoDriverSupport(_)))) =
            (choice, &done)
        {
            reason = Some(Why::NoDriverSupport);
            // Loaded anew: the program treats deferred checksums differently there.
            done = self.attempt(Mode::Generic, occupant, &legacy);
        }
        let attachment = done?;
        if let Some(why) = reason.filter(|why| *why != Why::Asked) {
            note(format_args!("{}: {why}", self.device.name));
        }
        self.report(&legacy)?;
        Ok(attachment)
    }

    fn legacy<'o>(&self, occupant: &'o Occupant) -> Result<Legacy<'o>, StartError> {
        let Occupant::Ours(running) = occupant else {
            return Ok(Legacy::None);
        };
        let kinship = adopt::compare(running, self.spec, self.settings, self.backends)?;
        Ok(match kinship {
            Kinship::Same => Legacy::Adopted(running),
            Kinship::Other => Legacy::Replaced(running),
        })
    }

    /// Loads for one mode, fills, pins and attaches.
    fn attempt(
        &self,
        mode: Mode,
        occupant: &Occupant,
        legacy: &Legacy<'_>,
    ) -> Result<Attachment<'a>, StartError> {
        let mut spec = self.spec.clone();
        self.settings
            .apply(&mut spec, mode, self.trace, self.machine)?;
        let loaded = load::load(&spec, options(legacy)?, &mut ()).map_err(missing_capability)?;
        fill(&loaded, self.backends)?;
        let pins = match &self.args.pin {
            Some(folder) => Some(NewPins::make(folder, &self.device.name, &loaded)?),
            None => None,
        };
        // A predecessor's pins are found by its program, so before that goes.
        let old_pins = match legacy {
            Legacy::None => None,
            Legacy::Adopted(running) | Legacy::Replaced(running) => {
                running.pins().map(|folder| (folder, &running.info))
            }
        };
        let attachment = Attachment::attach(self.socket, self.device, mode, loaded, occupant)?;
        let kept = pins
            .as_ref()
            .and_then(|pins| pins.folder().canonicalize().ok());
        if let Some(pins) = pins {
            pins.keep().map_err(StartError::Pins)?;
        }
        if let Some((folder, info)) = old_pins
            && folder.canonicalize().ok() != kept
        {
            pins::remove(&folder, info)?;
        }
        Ok(attachment)
    }

    fn report(&self, legacy: &Legacy<'_>) -> Result<(), StartError> {
        let running = match legacy {
            Legacy::None => return Ok(()),
            Legacy::Adopted(running) | Legacy::Replaced(running) => running,
        };
        let (live, _) = running.live_connections()?;
        let text = show_legacy(legacy, live);
        note(format_args!("{}: {text}", self.device.name));
        Ok(())
    }
}

/// What became of the connections of an earlier run.
fn show_legacy(legacy: &Legacy<'_>, live: u32) -> String {
    match (legacy, live) {
        (Legacy::None, _) => "no earlier run".into(),
        (Legacy::Adopted(_), 1) => "adopted from an earlier run, 1 connection goes on".into(),
        (Legacy::Adopted(_), _) => {
            format!("adopted from an earlier run, {live} connections go on")
        }
        (Legacy::Replaced(_), _) => {
            format!("replaced an earlier run with other settings; connections that end: {live}")
        }
    }
}

fn options(legacy: &Legacy<'_>) -> Result<LoadOptions, KernelError> {
    let reuse = match legacy {
        Legacy::Adopted(running) => adopt::maps(running)?,
        Legacy::None | Legacy::Replaced(_) => Default::default(),
    };
    Ok(LoadOptions { reuse, pins: None })
}

/// Writes the backends before the first packet can ask for one.
fn fill(loaded: &Loaded, backends: &[(Ipv4Addr, Mac)]) -> Result<(), KernelError> {
    let pairs: Vec<_> = (0..)
        .zip(backends)
        .map(|(index, (ip, mac))| {
            let key = tables::index_key(index).to_vec();
            (key, tables::encode_backend(*ip, *mac).to_vec())
        })
        .collect();
    // Whether there is one was checked when the object was read.
    let map: Option<&Map> = loaded.map("backends").ok();
    map.map_or(Ok(()), |map| map.update_all(&pairs))
}

/// Whichever command was the first to be refused: what is missing is missing for the whole load.
fn missing_capability(error: LoadError) -> StartError {
    const NEEDED: &[Capability] = &[Capability::Bpf, Capability::NetAdmin];
    let refused = matches!(error.kernel(), Some(KernelError::Permission { .. }));
    match Capabilities::effective() {
        Some(set) if refused && !set.missing(NEEDED).is_empty() => {
            let missing = set.missing(NEEDED);
            let names: Vec<_> = missing
                .iter()
                .map(|c| c.to_string().to_uppercase())
                .collect();
            StartError::MissingCapability {
                missing: names.join(", "),
                evidence: set.evidence(NEEDED),
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
            StartError::MissingCapability {
                missing: "CAP_PERFMON".into(),
                evidence: format!("{}\n  {why}", set.evidence(WITH_PERFMON)),
            }
        }
        Some(_) | None => StartError::Load(error),
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
        let error = StartError::MissingCapability {
            missing: "CAP_BPF".into(),
            evidence: "have: cap_net_admin   need: cap_bpf, cap_net_admin".into(),
        };
        assert_eq!(
            error.to_string(),
            "load program `xdp_load_balancer`: missing CAP_BPF (EPERM)\n  have: cap_net_admin   need: cap_bpf, cap_net_admin"
        );
    }
}
