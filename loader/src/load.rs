//! The load path, the only one: `Spec` → `Plan` → kernel objects. It reports each typed [`Step`] to an [`Observer`]; whatever
//! explains, counts or prints a load is an observer of this function (design.md, invariant 1). A dry run is [`prepare`]:
//! the same code up to the first system call.
//!
//! [`load`] is all or nothing, for who needs the whole object. [`load_each`] takes every map and program for itself, so that a
//! bad one costs only what depends on it. Both are [`carry_out`], which asks its [`Tolerance`] after each failure.

mod error;
mod fit;
mod foretell;
mod history;
mod loaded;
mod machine;
mod maps;
mod programs;
mod report;
mod slots;
mod step;
mod types;

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};

use crate::kernel::{BpfFs, Map};
use crate::object::{Plan, Spec};
use maps::NewPins;
use types::Types;

pub use error::LoadError;
pub use fit::Fitted;
pub use foretell::{MANNERS, Manner, Need, User, needs, rehearse};
pub use loaded::{Loaded, LoadedProgram};
pub use report::Report;
pub use step::{Observer, Step};

/// What a load is to do beside what the object says.
#[derive(Debug, Default)]
pub struct LoadOptions {
    /// Maps that exist already, by the object's name for them: they are checked and used instead of created, and neither
    /// filled nor frozen.
    pub reuse: HashMap<String, Map>,
    /// Where maps that ask for it are pinned by name; a fitting map that is pinned there already is used.
    pub pins: Option<BpfFs>,
    /// Whether the verifier writes a log of programs that it accepts, for [`Step::ProgramLoaded`].
    pub log: VerifierLogs,
}

/// Of which programs the verifier writes a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifierLogs {
    /// Of those that it rejects: quickest.
    #[default]
    OfRejected,
    /// Of all, with the state of the registers at each instruction.
    Always,
}

/// Everything up to the first bpf(2): reads of the machine what the object asks for, plans the load and reports it. A map or
/// program that cannot be loaded is an error.
pub fn prepare(spec: &Spec, observer: &mut dyn Observer) -> Result<Plan, LoadError> {
    let (plan, missing) = plan_here(spec, observer);
    let failed = plan.failed.first().map(|(_, error)| error);
    let first = plan.failed_maps().map(|(_, error)| error).next().or(failed);
    match first.cloned() {
        Some(error) => Err(LoadError::from(error).noting(&missing)),
        None => Ok(plan),
    }
}

/// The same for [`load_each`]: what cannot be loaded is in [`Plan::failed_maps`] and [`Plan::failed`].
pub fn prepare_each(spec: &Spec, observer: &mut dyn Observer) -> Plan {
    plan_here(spec, observer).0
}

/// The plan for this machine, and what of the machine could not be read.
fn plan_here(spec: &Spec, observer: &mut dyn Observer) -> (Plan, Vec<String>) {
    let (target, missing) = machine::read(&spec.needs(), observer);
    let plan = spec.plan(&target);
    announce(spec, &plan, observer);
    (plan, missing)
}

fn announce(spec: &Spec, plan: &Plan, observer: &mut dyn Observer) {
    observer.step(&Step::ObjectRead { spec });
    if let Some(btf) = &plan.btf {
        observer.step(&Step::BtfPlanned { types: btf.len() });
    }
    for map in plan.maps.iter().filter(|map| map.broken().is_none()) {
        observer.step(&Step::MapPlanned { map });
    }
    for program in &plan.programs {
        observer.step(&Step::ProgramPlanned {
            spec,
            plan,
            program,
        });
    }
}

impl Spec {
    /// Loads every map and program of the object, or nothing: [`load`] without options.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        load(self, LoadOptions::default(), &mut ())
    }
}

/// Loads every map and program of the object, or nothing.
pub fn load(
    spec: &Spec,
    options: LoadOptions,
    observer: &mut dyn Observer,
) -> Result<Loaded, LoadError> {
    let plan = prepare(spec, observer)?;
    load_plan(&plan, options, observer)
}

/// Loads what was planned. When it fails nothing stays behind: descriptors are closed, pins made on the way removed.
pub fn load_plan(
    plan: &Plan,
    options: LoadOptions,
    observer: &mut dyn Observer,
) -> Result<Loaded, LoadError> {
    carry_out(plan, options, Tolerance::Nothing, observer)?.into_loaded(plan)
}

/// Loads what can be loaded of the plan: a map that cannot be created fails the programs that use it, a program that is
/// rejected fails itself. What was loaded lives as long as the [`Report`], new pins too.
///
/// # Errors
/// What would be the same for everything: this process may not use BPF.
pub fn load_each(
    plan: &Plan,
    options: LoadOptions,
    observer: &mut dyn Observer,
) -> Result<Report, LoadError> {
    carry_out(plan, options, Tolerance::EachForItself, observer)
}

/// What one failure means for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tolerance {
    /// The load ends.
    Nothing,
    /// The load goes on, unless the rest would fail in the same way.
    EachForItself,
}

impl Tolerance {
    /// The outer error ends the load.
    fn judge<T>(
        self,
        types: &Types,
        result: Result<T, LoadError>,
    ) -> Result<Result<T, LoadError>, LoadError> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(error) if self == Tolerance::Nothing || error.is_everyones() => {
                Err(types.explain(error))
            }
            // Why the types were left out is a step of its own, and need not be said with each.
            Err(error) => Ok(Err(error)),
        }
    }
}

fn carry_out(
    plan: &Plan,
    mut options: LoadOptions,
    tolerance: Tolerance,
    observer: &mut dyn Observer,
) -> Result<Report, LoadError> {
    let types = types::load(plan, observer)?;
    let mut pins = NewPins::default();
    let mut maps = Vec::with_capacity(plan.maps.len());
    for map in &plan.maps {
        let map = maps::obtain(map, &types, &mut options, &mut pins, observer);
        maps.push(tolerance.judge(&types, map)?);
    }
    // From here on every map exists that can, and constants are frozen: programs may be verified.
    let mut slots = slots::fill_maps(plan, &maps, observer);
    let fds = plan.map_fds(maps.iter().map(number).collect())?;
    let mut programs = Vec::with_capacity(plan.programs.len());
    for program in &plan.programs {
        let loaded = programs::missing_map(plan, program, &maps)
            .and_then(|()| programs::load(plan, program, &fds, &types, options.log, observer));
        programs.push(tolerance.judge(&types, loaded)?);
    }
    slots.extend(slots::fill_programs(plan, &maps, &programs, observer));
    if tolerance == Tolerance::Nothing
        && let Some((_, error)) = slots.pop()
    {
        return Err(types.explain(error));
    }
    Ok(Report {
        maps,
        programs,
        slots,
        pins,
    })
}

/// A descriptor's number; -1 for a map that there is none of, whose users are not loaded.
fn number(map: &Result<Map, LoadError>) -> i32 {
    map.as_ref().map_or(-1, |map| map.as_fd().as_raw_fd())
}
