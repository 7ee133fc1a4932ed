//! Why a map, a program or a whole object was not loaded: the text for people, a word for scripts, and what to try.

use serde::Serialize;

use crate::commands::command_line;
use crate::kernel::KernelError;
use crate::load::LoadError;
use crate::object::MapPlan;
use crate::uapi::MapType;

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    /// What failed, and why; then evidence and advice on lines of their own.
    pub(super) error: String,
    /// One word for it.
    pub(super) kind: Kind,
    /// The verifier's whole log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log: Option<String>,
}

/// Who objected, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// The file cannot be read.
    File,
    /// The object says something that cannot be.
    Object,
    /// The verifier rejected the program.
    Verifier,
    /// The kernel's types lack what the program needs of them (CO-RE).
    Relocation,
    /// The kernel refused.
    Kernel,
    /// This process lacks capabilities.
    Permission,
    /// A map of the program's is missing.
    MissingMap,
    /// A pinned map is another than the object's.
    Incompatible,
    /// Slots of a map could not be filled.
    Slot,
}

impl Failure {
    pub(super) fn new(kind: Kind, error: String) -> Self {
        Failure {
            error,
            kind,
            log: None,
        }
    }

    /// A load's error; `path` stands before what does not name a file.
    pub(super) fn of_load(error: &LoadError, path: &str) -> Self {
        let kind = Kind::of(error);
        let advice = match kind {
            Kind::Permission => format!("\n  try:  {}", command_line::as_root()),
            _ => String::new(),
        };
        let place = match kind {
            // The same for every object.
            Kind::Permission => String::new(),
            _ => format!("{path}: "),
        };
        Failure {
            error: format!("{place}{error}{advice}"),
            kind,
            log: error.log().map(str::to_string),
        }
    }

    /// The slots of a map that hold nothing although the object says what; None where there are none.
    pub(super) fn of_slots(errors: &[&LoadError], path: &str) -> Option<Self> {
        let (first, more) = errors.split_first()?;
        let mut failure = Self::of_load(first, path);
        failure.kind = Kind::Slot;
        for error in more {
            failure.error += &format!("\n  {error}");
        }
        Some(failure)
    }

    /// A map's error, with what the map's plan tells about it.
    pub(super) fn of_map(error: &LoadError, path: &str, map: &MapPlan) -> Self {
        let mut failure = Self::of_load(error, path);
        if failure.kind == Kind::Kernel && lacks_entries(map) {
            failure.error += &format!("\n  try:  --max-entries {}=N", map.spec.name);
        }
        failure
    }
}

/// Zero entries is what some types must have, and a mistake with the others.
fn lacks_entries(map: &MapPlan) -> bool {
    const WITHOUT: &[MapType] = &[
        MapType::CGROUP_STORAGE,
        MapType::PERCPU_CGROUP_STORAGE,
        MapType::SK_STORAGE,
        MapType::INODE_STORAGE,
        MapType::TASK_STORAGE,
        MapType::CGRP_STORAGE,
        MapType::STRUCT_OPS,
    ];
    map.spec.max_entries == 0 && !WITHOUT.contains(&map.spec.map_type)
}

impl Kind {
    fn of(error: &LoadError) -> Self {
        match error {
            LoadError::Object(_) | LoadError::NoSuch { .. } | LoadError::NoTemplate { .. } => {
                Kind::Object
            }
            LoadError::Kernel(KernelError::Rejected(_)) => Kind::Verifier,
            LoadError::Kernel(KernelError::Permission { .. }) => Kind::Permission,
            LoadError::Kernel(KernelError::Refused { .. } | KernelError::Usage { .. }) => {
                Kind::Kernel
            }
            LoadError::Unrelocated { .. } => Kind::Relocation,
            LoadError::Incompatible { .. } => Kind::Incompatible,
            LoadError::MapMissing { .. } => Kind::MissingMap,
            LoadError::Slot { .. } => Kind::Slot,
            LoadError::Noted { error, .. } => Kind::of(error),
        }
    }
}
