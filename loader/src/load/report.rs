//! What became of each map and program of a plan.

use super::maps::NewPins;
use super::{LoadError, Loaded, LoadedProgram};
use crate::kernel::{KernelError, Map};
use crate::object::Plan;

/// The outcome of [`super::load_each`]. Dropping it unloads everything and removes the pins that the load made.
#[derive(Debug)]
pub struct Report {
    /// In the order of [`Plan::maps`].
    pub maps: Vec<Result<Map, LoadError>>,
    /// In the order of [`Plan::programs`].
    pub programs: Vec<Result<LoadedProgram, LoadError>>,
    /// Slots that could not be filled, each with the number of its map.
    pub slots: Vec<(usize, LoadError)>,
    pub(super) pins: NewPins,
}

impl Report {
    /// Whether everything that was planned is in the kernel as planned.
    pub fn is_whole(&self) -> bool {
        self.slots.is_empty()
            && self.maps.iter().all(Result::is_ok)
            && self.programs.iter().all(Result::is_ok)
    }

    /// Unloads everything, but the pins stay, and what they hold.
    pub fn keep_pins(self) {
        self.pins.keep();
    }

    /// Everything by its name, pins kept; or the first thing that failed.
    pub(super) fn into_loaded(self, plan: &Plan) -> Result<Loaded, LoadError> {
        let names = plan.maps.iter().map(|map| map.spec.name.clone());
        let loaded = Loaded {
            maps: names
                .zip(self.maps)
                .map(|(name, map)| map.map(|map| (name, map)))
                .collect::<Result<_, _>>()?,
            programs: self.programs.into_iter().collect::<Result<_, _>>()?,
        };
        self.pins.keep();
        Ok(loaded)
    }
}

impl LoadError {
    /// Whether every other map and program would be refused for the same reason: no map and no program can be made
    /// without CAP_BPF.
    pub(super) fn is_everyones(&self) -> bool {
        use crate::kernel::Capability;
        match self.kernel() {
            Some(KernelError::Permission { missing, .. }) => missing.contains(&Capability::Bpf),
            Some(
                KernelError::Refused { .. } | KernelError::Rejected(_) | KernelError::Usage { .. },
            )
            | None => false,
        }
    }
}
