//! Makes a story of a load: an observer of its steps that also listens at the doors to the kernel. What it heard between two
//! steps belongs to the later one.

use std::os::fd::{AsFd, AsRawFd};

use super::call::{self, Answers, Descriptors};
use super::program::{self, Sources};
use super::words::{self, hex};
use super::{
    Event, FORMAT, Foretold, Kernel, LackOf, MapOf, Object, Outcome, ProgramOf, Stage, StageOf,
    Story, What, log, netlink,
};
use crate::kernel::{self, Map, Release, VerifierLog};
use crate::load::{MANNERS, Need, Observer, Step, User};
use crate::object::{Freeze, MapPlan, PatchTarget, Plan, ProgramPlan};
use crate::witness::{self, Call, Listener, Said};

/// Why the recorder asks the kernel something itself.
const OURS: &str = "what to tell here";

/// Watches a load and listens.
#[derive(Debug)]
pub struct Recorder {
    listener: Listener,
    story: Story,
    descriptors: Descriptors,
    sources: Sources,
    stage: Stage,
    answers: Answers,
    /// Whether each instruction is told.
    code: bool,
}

impl Recorder {
    /// Begins; `path` is the object's, empty for the program that is built in.
    pub fn new(path: &str) -> Self {
        Recorder {
            listener: Listener::new(),
            story: Story {
                format: FORMAT,
                teller: concat!("xdplb-load ", env!("CARGO_PKG_VERSION")).into(),
                kernel: this_kernel(),
                object: Object {
                    path: path.into(),
                    ..Object::default()
                },
                ..Story::default()
            },
            descriptors: Descriptors::default(),
            sources: Sources::default(),
            stage: Stage::Read,
            answers: Answers::Real,
            code: true,
        }
    }

    /// The same without the programs' instructions, for who shows none: of the balancer's program they are a tenth of a second.
    pub fn without_code(self) -> Self {
        Self {
            code: false,
            ..self
        }
    }

    /// Begins for a dry run: nothing is done, so that answers are left out.
    pub fn of_rehearsal(path: &str) -> Self {
        let mut recorder = Self::new(path);
        recorder.answers = Answers::Rehearsed;
        recorder.story.dry_run = true;
        recorder
    }

    /// Notes what a kernel of this release would make of a plan.
    pub fn foretell(&mut self, release: Release, needs: &[Need]) {
        let differently = |event: &&Event| {
            let What::Step { step, .. } = &event.what else {
                return false;
            };
            ["btf_simplified", "btf_left_out"].contains(step)
        };
        self.hear(None);
        let events = self.story.events.iter().filter(differently);
        let events: Vec<String> = events.map(|event| event.text.clone()).collect();
        let lacks = |need: &&Need| need.since.is_none_or(|since| since > release);
        self.story.foretold = Some(Foretold {
            release: release.to_string(),
            lacks: needs.iter().filter(lacks).map(lack).collect(),
            manners: events
                .into_iter()
                .chain(
                    MANNERS
                        .iter()
                        .filter(|manner| release < manner.before)
                        .map(|manner| manner.what.to_string()),
                )
                .collect(),
        });
    }

    /// The story, once the load has ended; `errors` are what failed.
    pub fn finish(mut self, errors: Vec<String>) -> Story {
        self.hear(None);
        self.story.outcome = Outcome {
            ok: errors.is_empty(),
            errors,
        };
        for stage in Stage::ALL {
            let events = self.story.events.iter();
            let events: Vec<usize> = events
                .filter(|event| event.stage == stage)
                .map(|event| event.number)
                .collect();
            if !events.is_empty() {
                let (title, about) = stage.told();
                self.story.stages.push(StageOf {
                    stage,
                    title,
                    about,
                    events,
                });
            }
        }
        self.story
    }

    /// Writes down what was said since the last time. `stage` is that of the step which it led to; without one it follows from
    /// what was said.
    fn hear(&mut self, stage: Option<Stage>) {
        for said in self.listener.take() {
            let (text, what) = match &said {
                Said::Call(call) => {
                    let told = call::call(call, &self.descriptors, self.answers);
                    self.note_rejection(call);
                    self.descriptors.learn(call);
                    self.stage = stage.unwrap_or_else(|| self.stage_of(call));
                    (told.in_a_line(), What::Call(told))
                }
                Said::Datagram(datagram) => {
                    self.stage = stage.unwrap_or(Stage::Attach);
                    let mut told = netlink::datagram(datagram);
                    self.descriptors.name_in(&mut told.messages);
                    (told.in_a_line(), What::Netlink(told))
                }
                Said::Asked { question, answer } => {
                    let yes = if *answer { "yes" } else { "no" };
                    let what = What::Probe {
                        question: (*question).into(),
                        answer: *answer,
                    };
                    (format!("probe: {question}? {yes}"), what)
                }
            };
            self.tell(text, None, None, what);
        }
    }

    /// Keeps what the verifier says about a program that it rejects.
    fn note_rejection(&mut self, call: &Call) {
        let log = call.pointed.iter().find(|pointed| pointed.offset == 32);
        let (5, Err(_), None, Some(log)) = (call.command, call.result, call.purpose, log) else {
            return;
        };
        let name = call::text(call.attr.get(48..64).unwrap_or_default());
        let told = self
            .story
            .programs
            .iter_mut()
            .find(|told| told.loaded.is_none() && kernel::object_name(&told.name) == name);
        if let Some(told) = told.filter(|_| !log.bytes.is_empty()) {
            told.verifier = Some(log::verifier(&VerifierLog {
                text: String::from_utf8_lossy(&log.bytes).into_owned(),
                len: log.bytes.len(),
                whole: log.bytes.len() < crate::witness::KEPT,
            }));
        }
    }

    /// The stage of a call that no step follows.
    fn stage_of(&self, call: &Call) -> Stage {
        match (call.command, self.stage) {
            (2 | 26, stage) if stage >= Stage::Programs => Stage::Fill,
            (_, stage) if stage >= Stage::Attach => Stage::After,
            (_, stage) => stage,
        }
    }

    fn tell(&mut self, text: String, program: Option<usize>, map: Option<usize>, what: What) {
        self.story.events.push(Event {
            number: self.story.events.len(),
            stage: self.stage,
            text,
            program,
            map,
            what,
        });
    }

    fn program_at(&self, program: &ProgramPlan) -> Option<usize> {
        let mut programs = self.story.programs.iter();
        programs.position(|told| told.name == program.name && told.section == program.section)
    }

    fn map_at(&self, map: &MapPlan) -> Option<usize> {
        let mut maps = self.story.maps.iter();
        maps.position(|told| told.name == map.spec.name)
    }

    fn opened(&mut self, plan: &MapPlan, map: &Map) {
        let at = self.map_at(plan);
        if let Some(told) = at.and_then(|at| self.story.maps.get_mut(at)) {
            told.fd = Some(map.as_fd().as_raw_fd());
            let info = witness::on_behalf(OURS, || map.info());
            told.id = info.ok().map(|info| info.id);
        }
    }

    /// A step in a line. The number of a map is known already, and need not be asked for again.
    fn line(&self, step: &Step<'_>, map: Option<usize>) -> Option<String> {
        let told = map.and_then(|at| self.story.maps.get(at));
        match (step, told) {
            (Step::MapCreated { map, .. }, Some(told)) => {
                Some(opened(&map.spec.name, "created", told))
            }
            (Step::MapReused { map, .. }, Some(told)) => {
                Some(opened(&map.spec.name, "reused", told))
            }
            _ => super::lines::line(step),
        }
    }
}

impl Observer for Recorder {
    fn step(&mut self, step: &Step<'_>) {
        let (name, stage) = kind(step);
        self.hear(Some(stage));
        self.stage = stage;
        let (mut program, mut map, mut insn) = (None, None, None);
        match step {
            Step::ObjectRead { spec } => {
                // A second attempt, in another mode, has a plan of its own.
                self.story.maps.clear();
                self.story.programs.clear();
                self.story.object.license = spec.license.clone();
            }
            Step::BtfPlanned { types } => self.story.object.types = Some(*types),
            Step::MapPlanned { map: planned } => {
                self.story.maps.push(planned_map(planned));
                map = self.map_at(planned);
            }
            Step::ProgramPlanned {
                spec,
                plan,
                program: planned,
            } => {
                let told = if self.code {
                    program::planned(spec, plan, planned, &mut self.sources)
                } else {
                    program::named(planned)
                };
                self.story
                    .programs
                    .push(numbered(told, plan, &self.story.maps));
                program = self.program_at(planned);
            }
            Step::MapCreated {
                map: plan,
                created: there,
            }
            | Step::MapReused {
                map: plan,
                existing: there,
            } => {
                map = self.map_at(plan);
                if self.answers == Answers::Real {
                    self.opened(plan, there);
                }
            }
            Step::MapFitted { map: plan, fitted } => {
                map = self.map_at(plan);
                if let Some(told) = map.and_then(|at| self.story.maps.get_mut(at)) {
                    told.max_entries = fitted.to;
                }
            }
            Step::MapTypesLeftOut { map: plan }
            | Step::MapFilled { map: plan, .. }
            | Step::MapFrozen { map: plan }
            | Step::MapPinned { map: plan, .. }
            | Step::SlotFilled { map: plan, .. } => map = self.map_at(plan),
            Step::Relocated {
                program: planned,
                patch,
                fds,
            } => {
                program = self.program_at(planned);
                insn = Some(patch.at.0);
                let (PatchTarget::Map(at) | PatchTarget::MapValue { map: at, .. }) = patch.target;
                // The plan's numbers of maps count those that cannot be created too.
                let name = self
                    .story
                    .programs
                    .get(program.unwrap_or(usize::MAX))
                    .and_then(|told| {
                        let of = |r: &&super::RelocationOf| r.insn == patch.at.0 && r.map.is_some();
                        told.relocations.iter().find(of)?.map
                    });
                map = name.or(Some(at));
                let name = map
                    .and_then(|at| self.story.maps.get(at))
                    .map(|map| map.name.clone());
                if let Some(told) = program.and_then(|at| self.story.programs.get_mut(at))
                    && self.answers == Answers::Real
                {
                    program::relocated(told, name.as_deref(), planned, patch, fds);
                }
            }
            Step::RecordsLeftOut {
                program: planned, ..
            } => program = self.program_at(planned),
            Step::ProgramLoaded {
                program: planned, ..
            } => program = self.program_at(planned),
            Step::MachineRead { .. }
            | Step::MachineUnread { .. }
            | Step::Probed { .. }
            | Step::BtfSimplified { .. }
            | Step::BtfLoaded { .. }
            | Step::BtfLeftOut { .. } => {}
        }
        if self.answers == Answers::Rehearsed && is_done(step) {
            return;
        }
        if let Some(text) = self.line(step, map) {
            self.tell(text, program, map, What::Step { step: name, insn });
        }
        if let Step::ProgramLoaded { .. } = step {
            self.give_back(step, program);
        }
        self.hear(None);
    }
}

impl Recorder {
    /// Asks the kernel what became of a program.
    fn give_back(&mut self, step: &Step<'_>, at: Option<usize>) {
        let Step::ProgramLoaded {
            plan,
            program: planned,
            loaded,
            log,
            info,
            elapsed,
        } = step
        else {
            return;
        };
        self.stage = Stage::GivenBack;
        let code = witness::on_behalf(OURS, || loaded.code());
        self.hear(Some(Stage::GivenBack));
        let Some(told) = at.and_then(|at| self.story.programs.get_mut(at)) else {
            return;
        };
        told.verifier = log.map(log::verifier);
        let mut there = match &code {
            Ok(code) => program::loaded(told, plan, planned, code),
            Err(error) => super::LoadedOf {
                hidden: vec![error.to_string()],
                ..super::LoadedOf::default()
            },
        };
        there.id = info.id;
        there.fd = loaded.as_fd().as_raw_fd();
        there.tag = info.tag_text();
        there.map_ids = info.map_ids.clone();
        there.btf_id = info.btf_id;
        there.verified_insns = info.verified_insns;
        there.elapsed_us = elapsed.as_micros() as u64;
        told.loaded = Some(there);
    }
}

/// A map's numbers in relocations count the plan's maps; in the story they count those that can be created.
fn numbered(mut told: ProgramOf, plan: &Plan, maps: &[MapOf]) -> ProgramOf {
    for relocation in &mut told.relocations {
        let name = relocation
            .map
            .and_then(|at| plan.maps.get(at))
            .map(|map| map.spec.name.as_str());
        relocation.map = maps.iter().position(|map| Some(map.name.as_str()) == name);
    }
    told
}

fn planned_map(map: &MapPlan) -> MapOf {
    MapOf {
        name: map.spec.name.clone(),
        kernel_name: map.kernel_name.clone(),
        r#type: words::map_type(map.spec.map_type.0),
        key_size: map.spec.key_size,
        value_size: map.spec.value_size,
        max_entries: map.spec.max_entries,
        flags: words::flags(words::MAP_FLAGS, map.spec.map_flags.into()),
        contents: map.spec.contents.as_deref().map(hex),
        frozen: map.spec.freeze == Freeze::BeforePrograms,
        ..MapOf::default()
    }
}

/// ``map `flows` created: map 17, descriptor 4``.
fn opened(name: &str, how: &str, told: &MapOf) -> String {
    let id = told.id.map(|id| format!("map {id}, ")).unwrap_or_default();
    let fd = told.fd.unwrap_or(-1);
    format!("map `{name}` {how}: {id}descriptor {fd}")
}

fn lack(need: &Need) -> LackOf {
    let (map, program) = match &need.by {
        User::Map(name) => (Some(name.clone()), None),
        User::Program(name) => (None, Some(name.clone())),
    };
    LackOf {
        what: need.what.clone(),
        since: need.since.map(|since| since.to_string()),
        map,
        program,
        insn: need.at.as_ref().map(|(insn, _)| *insn),
        line: need.at.as_ref().and_then(|(_, line)| line.clone()),
    }
}

/// Whether the step says that something was done in the kernel, which is not so in a rehearsal.
pub fn is_done(step: &Step<'_>) -> bool {
    match step {
        Step::BtfLoaded { .. }
        | Step::MapCreated { .. }
        | Step::MapTypesLeftOut { .. }
        | Step::MapReused { .. }
        | Step::MapFilled { .. }
        | Step::MapFrozen { .. }
        | Step::MapPinned { .. }
        | Step::SlotFilled { .. }
        | Step::RecordsLeftOut { .. }
        | Step::ProgramLoaded { .. } => true,
        Step::ObjectRead { .. }
        | Step::MachineRead { .. }
        | Step::MachineUnread { .. }
        | Step::BtfPlanned { .. }
        | Step::MapPlanned { .. }
        | Step::ProgramPlanned { .. }
        | Step::Probed { .. }
        | Step::BtfSimplified { .. }
        | Step::BtfLeftOut { .. }
        | Step::MapFitted { .. }
        | Step::Relocated { .. } => false,
    }
}

/// A step's name, and the stage it belongs to.
fn kind(step: &Step<'_>) -> (&'static str, Stage) {
    match step {
        Step::ObjectRead { .. } => ("object_read", Stage::Read),
        Step::MachineRead { .. } => ("machine_read", Stage::Machine),
        Step::MachineUnread { .. } => ("machine_unread", Stage::Machine),
        Step::BtfPlanned { .. } => ("btf_planned", Stage::Plan),
        Step::MapPlanned { .. } => ("map_planned", Stage::Plan),
        Step::ProgramPlanned { .. } => ("program_planned", Stage::Plan),
        Step::Probed { .. } => ("probed", Stage::Types),
        Step::BtfSimplified { .. } => ("btf_simplified", Stage::Types),
        Step::BtfLoaded { .. } => ("btf_loaded", Stage::Types),
        Step::BtfLeftOut { .. } => ("btf_left_out", Stage::Types),
        Step::MapFitted { .. } => ("map_fitted", Stage::Maps),
        Step::MapCreated { .. } => ("map_created", Stage::Maps),
        Step::MapTypesLeftOut { .. } => ("map_types_left_out", Stage::Maps),
        Step::MapReused { .. } => ("map_reused", Stage::Maps),
        Step::MapFilled { .. } => ("map_filled", Stage::Maps),
        Step::MapFrozen { .. } => ("map_frozen", Stage::Maps),
        Step::MapPinned { .. } => ("map_pinned", Stage::Maps),
        Step::SlotFilled { .. } => ("slot_filled", Stage::Fill),
        Step::Relocated { .. } => ("relocated", Stage::Programs),
        Step::RecordsLeftOut { .. } => ("records_left_out", Stage::Programs),
        Step::ProgramLoaded { .. } => ("program_loaded", Stage::Programs),
    }
}

/// The kernel that runs.
fn this_kernel() -> Kernel {
    let name = nix::sys::utsname::uname().ok();
    let text =
        |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let jit = std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok();
    Kernel {
        release: text(name.as_ref().map(|name| name.release())),
        machine: text(name.as_ref().map(|name| name.machine())),
        jit: jit.and_then(|text| text.trim().parse().ok()),
    }
}
