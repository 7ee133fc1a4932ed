//! What became of an object, as `--json` shows it; the tables are another view of the same.

use serde::Serialize;

use super::Seen;
use super::failure::{Failure, Kind};
use crate::kernel::Map;
use crate::load::{LoadError, LoadedProgram, Report};
use crate::object::{MapPlan, ObjectError, Plan, ProgramPlan, ProgramSpec, SectionKind};

/// One object.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// The file.
    pub(super) path: String,
    /// Whether all of it was loaded.
    pub(super) ok: bool,
    /// What is wrong with the file as a whole, or would be with all that is in it.
    #[serde(flatten)]
    pub(super) failure: Failed,
    /// The text of section `license`.
    pub(super) license: String,
    /// What became of its types.
    pub(super) types: Types,
    /// What it asks of the machine and did not get, with the reason.
    pub(super) unread: Vec<String>,
    pub(super) maps: Vec<MapOutcome>,
    pub(super) programs: Vec<ProgramOutcome>,
}

/// `error`, `kind` and `log`; null where nothing failed.
#[derive(Debug, Serialize)]
pub(super) struct Failed {
    error: Option<String>,
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

/// The object's BTF in this kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Types {
    /// The object has none.
    #[default]
    None,
    Loaded,
    /// With these kinds replaced by ones that the kernel knows.
    Simplified(Vec<String>),
    /// For this reason.
    LeftOut(String),
}

/// One map.
#[derive(Debug, Serialize)]
pub(super) struct MapOutcome {
    pub(super) name: String,
    pub(super) kernel_name: String,
    pub(super) r#type: String,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    /// As fitted to the machine.
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
    /// A pinned map was used.
    pub(super) reused: bool,
    pub(super) ok: bool,
    #[serde(flatten)]
    pub(super) failure: Failed,
}

/// One program.
#[derive(Debug, Serialize)]
pub(super) struct ProgramOutcome {
    pub(super) name: String,
    pub(super) section: String,
    /// Null where nothing says it.
    pub(super) r#type: Option<String>,
    pub(super) attach_type: Option<String>,
    /// As loaded: its functions with those they call.
    pub(super) instructions: Option<usize>,
    /// The kernel's hash of the instructions, as bpftool prints it.
    pub(super) tag: Option<String>,
    pub(super) xlated_bytes: Option<u32>,
    pub(super) jited_bytes: Option<u32>,
    pub(super) verified_instructions: Option<u32>,
    pub(super) time_ns: Option<u64>,
    pub(super) ok: bool,
    #[serde(flatten)]
    pub(super) failure: Failed,
}

impl Outcome {
    /// A file that is no object.
    pub(super) fn unread(path: String, failure: Failure) -> Self {
        Outcome {
            path,
            ok: false,
            failure: Failed::from(Some(failure)),
            license: String::new(),
            types: Types::None,
            unread: Vec::new(),
            maps: Vec::new(),
            programs: Vec::new(),
        }
    }

    /// An object of which nothing could be tried.
    pub(super) fn refused(path: String, plan: &Plan, failure: Failure) -> Self {
        Outcome {
            license: plan.license.clone(),
            ..Self::unread(path, failure)
        }
    }

    /// What a load reported, in the order of the object's programs.
    pub(super) fn new(
        path: String,
        order: &[ProgramSpec],
        plan: &Plan,
        report: &Report,
        seen: &Seen,
    ) -> Self {
        let maps = plan.maps.iter().zip(&report.maps).enumerate();
        let maps: Vec<MapOutcome> = maps
            .map(|(at, (map, result))| {
                let mut slots = report.slots.iter().filter(|(number, _)| *number == at);
                let slots: Vec<&LoadError> = slots.by_ref().map(|(_, error)| error).collect();
                MapOutcome::new(map, result, &slots, &path, seen)
            })
            .collect();
        let mut programs: Vec<ProgramOutcome> = plan
            .programs
            .iter()
            .zip(&report.programs)
            .map(|(program, result)| ProgramOutcome::new(program, result, &path))
            .collect();
        programs.extend(
            plan.failed
                .iter()
                .map(|(program, error)| ProgramOutcome::unplanned(program, error, &path)),
        );
        let place = |program: &ProgramOutcome| {
            order
                .iter()
                .position(|other| other.name == program.name && other.section == program.section)
        };
        programs.sort_by_cached_key(place);
        Outcome {
            ok: maps.iter().all(|map| map.ok) && programs.iter().all(|program| program.ok),
            path,
            failure: Failed::from(None),
            license: plan.license.clone(),
            types: seen.types.clone(),
            unread: seen.unread.clone(),
            maps,
            programs,
        }
    }

    /// Whether other objects would fail in the same way.
    pub(super) fn is_everyones(&self) -> bool {
        self.failure.kind == Some(Kind::Permission)
    }

    /// Everything that failed, in the order of the tables.
    pub(super) fn failures(&self) -> impl Iterator<Item = Shown<'_>> {
        let maps = self.maps.iter().map(|map| &map.failure);
        let programs = self.programs.iter().map(|program| &program.failure);
        std::iter::once(&self.failure)
            .chain(maps)
            .chain(programs)
            .filter_map(|failed| {
                Some(Shown {
                    error: failed.error.as_deref()?,
                    log: failed.log.as_deref(),
                })
            })
    }
}

/// A failure as it is printed.
pub(super) struct Shown<'a> {
    pub(super) error: &'a str,
    pub(super) log: Option<&'a str>,
}

impl From<Option<Failure>> for Failed {
    fn from(failure: Option<Failure>) -> Self {
        let (error, kind, log) = match failure {
            Some(failure) => (Some(failure.error), Some(failure.kind), failure.log),
            None => (None, None, None),
        };
        Failed { error, kind, log }
    }
}

impl MapOutcome {
    fn new(
        plan: &MapPlan,
        result: &Result<Map, LoadError>,
        slots: &[&LoadError],
        path: &str,
        seen: &Seen,
    ) -> Self {
        let failure = match result {
            Err(error) => Some(Failure::of_map(error, path, plan)),
            Ok(_) => Failure::of_slots(slots, path),
        };
        MapOutcome {
            name: plan.spec.name.clone(),
            kernel_name: plan.kernel_name.clone(),
            r#type: plan.spec.map_type.to_string(),
            key_size: plan.spec.key_size,
            value_size: plan.spec.value_size,
            max_entries: match result {
                Ok(map) => map.shape().max_entries,
                Err(_) => plan.spec.max_entries,
            },
            map_flags: plan.spec.map_flags,
            reused: seen.reused.contains(&plan.spec.name),
            ok: failure.is_none(),
            failure: Failed::from(failure),
        }
    }
}

impl ProgramOutcome {
    fn new(plan: &ProgramPlan, result: &Result<LoadedProgram, LoadError>, path: &str) -> Self {
        let loaded = result.as_ref().ok();
        ProgramOutcome {
            name: plan.name.clone(),
            section: plan.section.clone(),
            r#type: Some(plan.kind.program_type.to_string()),
            attach_type: Some(plan.kind.attach_type.to_string()),
            instructions: Some(plan.unpatched().len()),
            tag: loaded.map(|loaded| loaded.info.tag_text()),
            xlated_bytes: loaded.map(|loaded| loaded.info.xlated_len),
            jited_bytes: loaded.map(|loaded| loaded.info.jited_len),
            verified_instructions: loaded.map(|loaded| loaded.info.verified_insns),
            time_ns: loaded.map(|loaded| loaded.elapsed.as_nanos() as u64),
            ok: loaded.is_some(),
            failure: Failed::from(
                result
                    .as_ref()
                    .err()
                    .map(|error| Failure::of_load(error, path)),
            ),
        }
    }

    fn unplanned(program: &ProgramSpec, error: &ObjectError, path: &str) -> Self {
        let kind = match &program.kind {
            SectionKind::Known(kind) => Some(kind),
            SectionKind::Unsupported { .. } | SectionKind::Unknown => None,
        };
        ProgramOutcome {
            name: program.name.clone(),
            section: program.section.clone(),
            r#type: kind.map(|kind| kind.program_type.to_string()),
            attach_type: kind.map(|kind| kind.attach_type.to_string()),
            instructions: None,
            tag: None,
            xlated_bytes: None,
            jited_bytes: None,
            verified_instructions: None,
            time_ns: None,
            ok: false,
            failure: Failed::from(Some(Failure::new(
                Kind::Object,
                format!("{path}: load program `{}`: {error}", program.name),
            ))),
        }
    }
}
