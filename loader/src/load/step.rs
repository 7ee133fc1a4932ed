//! The steps of a load, typed, for whoever watches it.

use std::path::Path;
use std::time::Duration;

use super::fit::Fitted;
use crate::kernel::{Feature, Map, Program, ProgramInfo, VerifierLog};
use crate::object::{MapFds, MapPlan, Needs, Patch, Plan, ProgramPlan, Spec, Target};

/// Watches a load.
pub trait Observer {
    /// Called when the step has succeeded.
    fn step(&mut self, step: &Step<'_>);
}

/// Nobody watches.
impl Observer for () {
    fn step(&mut self, _: &Step<'_>) {}
}

impl<F: FnMut(&Step<'_>)> Observer for F {
    fn step(&mut self, step: &Step<'_>) {
        self(step);
    }
}

/// One step. Those named `…Planned`, `…Read` and [`Step::MachineUnread`] come before the first bpf(2), in a dry run too.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// The object's bytes were understood.
    ObjectRead {
        /// What they say.
        spec: &'a Spec,
    },
    /// What the object asks of the machine was read.
    MachineRead {
        /// The questions.
        needs: &'a Needs,
        /// The answers.
        target: &'a Target,
    },
    /// Something that the object asks of the machine could not be read.
    MachineUnread {
        /// What.
        what: &'static str,
        /// Why.
        reason: &'a str,
    },
    /// The object has types, which will be loaded first.
    BtfPlanned {
        /// How many.
        types: usize,
    },
    /// This map will be created.
    MapPlanned {
        /// With these properties.
        map: &'a MapPlan,
    },
    /// This program will be loaded, made of these functions and with these places to fill in.
    ProgramPlanned {
        /// The object that it is of.
        spec: &'a Spec,
        /// Everything that will be loaded.
        plan: &'a Plan,
        /// Its instructions, patches and records.
        program: &'a ProgramPlan,
    },
    /// The kernel was asked what it can do.
    Probed {
        /// This.
        feature: Feature,
        /// Its answer.
        supported: bool,
    },
    /// The kernel is too old for some kinds of types; they were replaced.
    BtfSimplified {
        /// Which.
        kinds: &'a [String],
    },
    /// The types are in the kernel.
    BtfLoaded {
        /// The kernel's number for them.
        id: u32,
        /// Our descriptor.
        fd: i32,
        /// Their size in the kernel.
        bytes: u32,
    },
    /// The load goes on without types.
    BtfLeftOut {
        /// The kernel's objection.
        reason: &'a str,
    },
    /// A size that the object leaves to the machine, or that the kernel would refuse.
    MapFitted {
        /// The map's plan.
        map: &'a MapPlan,
        /// Entries before and after, and the rule.
        fitted: &'a Fitted,
    },
    /// A map was created.
    MapCreated {
        /// Its plan.
        map: &'a MapPlan,
        /// The map, to ask about it: its number costs a system call, which nobody pays who does not watch.
        created: &'a Map,
    },
    /// The map exists without its types, which the kernel refused.
    MapTypesLeftOut {
        /// Its plan.
        map: &'a MapPlan,
    },
    /// An existing map is used.
    MapReused {
        /// The plan it fits.
        map: &'a MapPlan,
        /// The map.
        existing: &'a Map,
    },
    /// The object's data was written into its map.
    MapFilled {
        /// Its plan.
        map: &'a MapPlan,
        /// How many bytes.
        bytes: usize,
    },
    /// The map is read-only now.
    MapFrozen {
        /// Its plan.
        map: &'a MapPlan,
    },
    /// The map has a name in the BPF file system now.
    MapPinned {
        /// Its plan.
        map: &'a MapPlan,
        /// The name.
        path: &'a Path,
    },
    /// A slot of the map got its initial value.
    SlotFilled {
        /// The map's plan.
        map: &'a MapPlan,
        /// Which slot.
        slot: u32,
        /// The map or program in it.
        value: &'a str,
    },
    /// An instruction got its map's descriptor.
    Relocated {
        /// The program.
        program: &'a ProgramPlan,
        /// The place, and what the object called the map.
        patch: &'a Patch,
        /// The descriptors, by the plan's map numbers.
        fds: &'a MapFds,
    },
    /// The kernel refused records of .BTF.ext; the program is loaded without them.
    RecordsLeftOut {
        /// The program.
        program: &'a ProgramPlan,
        /// Which: `line_info`, or `func_info and line_info`.
        records: &'static str,
        /// The kernel's objection.
        reason: &'a str,
    },
    /// The verifier accepted the program.
    ProgramLoaded {
        /// Everything that is loaded.
        plan: &'a Plan,
        /// Its plan.
        program: &'a ProgramPlan,
        /// The program, to ask about it: what it answers costs system calls, which nobody pays who does not watch.
        loaded: &'a Program,
        /// The verifier's log, where [`super::LoadOptions::log`] asks for it.
        log: Option<&'a VerifierLog>,
        /// What the kernel says about it.
        info: &'a ProgramInfo,
        /// How long it took.
        elapsed: Duration,
    },
}
