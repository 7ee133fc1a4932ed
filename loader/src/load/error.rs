//! Why a load failed.

use thiserror::Error;

use crate::kernel::KernelError;
use crate::object::ObjectError;
use crate::uapi::MapType;

/// An error of the object, of the kernel, or of what joins them.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The object cannot be what it should be.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A map that exists is not the map that the object defines.
    #[error(
        "map `{map}`: the existing one cannot be used: {field} is {has}, the program needs {wants}"
    )]
    Incompatible {
        /// The object's name for it.
        map: String,
        /// The first field that differs.
        field: &'static str,
        /// What the existing map has.
        has: String,
        /// What the object defines.
        wants: String,
    },
    /// The program needs something of the kernel's types that this kernel has not, in a place that can be reached.
    #[error(
        "load program `{program}`: it needs what this kernel does not have{}\n  {reason}",
        .location.as_ref().map(|place| format!("\n  {place}")).unwrap_or_default()
    )]
    Unrelocated {
        /// The program.
        program: String,
        /// Where in the source.
        location: Option<String>,
        /// Which relocation it is, and what there is in its place.
        reason: String,
        /// What the verifier said when it came there.
        error: Box<KernelError>,
    },
    /// A map of maps of which nothing says what the maps in it look like; the kernel must know.
    #[error(
        "create map `{map}`: the object does not say what the maps in this {map_type} look like\n  \
         try:  --inner {map}=MAP, a map of the object that is like them"
    )]
    NoTemplate {
        /// The map of maps.
        map: String,
        /// Which of the two types it is of.
        map_type: MapType,
    },
    /// A program uses a map that could not be created.
    #[error("load program `{program}`: its map `{map}` was not created")]
    MapMissing {
        /// The program.
        program: String,
        /// The map, which has an error of its own.
        map: String,
    },
    /// A slot's initial value is not among the maps and programs of the object.
    #[error("map `{map}`: slot {slot} is to hold `{value}`, which was not loaded")]
    Slot {
        /// The map with slots.
        map: String,
        /// Which slot.
        slot: u32,
        /// What it should hold.
        value: String,
    },
    /// The object was loaded, but has nothing of that name.
    #[error("there is no {what} `{name}`: the object has {known}")]
    NoSuch {
        /// `map` or `program`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// It failed, and something had gone wrong before, which may be why.
    #[error("{error}{}", .notes.iter().map(|note| format!("\n  {note}")).collect::<String>())]
    Noted {
        /// The failure.
        error: Box<LoadError>,
        /// What had gone wrong before.
        notes: Vec<String>,
    },
}

impl LoadError {
    /// The same with these notes, where there are any.
    pub(super) fn noting(self, notes: &[String]) -> Self {
        if notes.is_empty() {
            return self;
        }
        LoadError::Noted {
            error: Box::new(self),
            notes: notes.to_vec(),
        }
    }

    pub(super) fn no_such(what: &'static str, name: &str, known: Vec<&str>) -> Self {
        let known = match known.as_slice() {
            [] => format!("no {what}s"),
            known => known.join(", "),
        };
        LoadError::NoSuch {
            what,
            name: name.to_string(),
            known,
        }
    }

    /// The kernel's error at the bottom of this one, if there is one.
    pub fn kernel(&self) -> Option<&KernelError> {
        match self {
            LoadError::Kernel(error) => Some(error),
            LoadError::Unrelocated { error, .. } => Some(error),
            LoadError::Noted { error, .. } => error.kernel(),
            LoadError::Object(_)
            | LoadError::Incompatible { .. }
            | LoadError::NoTemplate { .. }
            | LoadError::MapMissing { .. }
            | LoadError::Slot { .. }
            | LoadError::NoSuch { .. } => None,
        }
    }

    /// The verifier's whole log, where it wrote one.
    pub fn log(&self) -> Option<&str> {
        match self.kernel()? {
            KernelError::Rejected(rejection) => Some(&rejection.log),
            KernelError::Refused { .. }
            | KernelError::Permission { .. }
            | KernelError::Usage { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    fn check(error: LoadError, text: &str) {
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn what_failed_is_a_sentence() {
        check(
            LoadError::MapMissing {
                program: "count".into(),
                map: "hits".into(),
            },
            "load program `count`: its map `hits` was not created",
        );
        check(
            LoadError::NoTemplate {
                map: "ports".into(),
                map_type: MapType::HASH_OF_MAPS,
            },
            "create map `ports`: the object does not say what the maps in this hash_of_maps look like\n  \
             try:  --inner ports=MAP, a map of the object that is like them",
        );
        check(
            LoadError::Slot {
                map: "jumps".into(),
                slot: 1,
                value: "second".into(),
            },
            "map `jumps`: slot 1 is to hold `second`, which was not loaded",
        );
        check(
            LoadError::no_such("map", "hits", vec!["flows", "backends"]),
            "there is no map `hits`: the object has flows, backends",
        );
        check(
            LoadError::no_such("program", "main", vec![]),
            "there is no program `main`: the object has no programs",
        );
    }

    #[test]
    fn what_went_wrong_before_is_noted_below() {
        let error = LoadError::no_such("map", "m", vec![]);
        check(
            error.noting(&["the kernel's types could not be read: none".into()]),
            "there is no map `m`: the object has no maps\n  the kernel's types could not be read: none",
        );
    }

    #[test]
    fn what_a_kernel_lacks_is_named_in_place_of_the_poison() {
        let error = KernelError::Refused {
            what: "load program `trace`".into(),
            why: "invalid argument".into(),
            errno: Errno::EINVAL,
            evidence: Vec::new(),
        };
        check(
            LoadError::Unrelocated {
                program: "trace".into(),
                location: Some("trace.c:7".into()),
                reason: "CO-RE relocation `struct s.gone (0:1)` byte_off finds nothing".into(),
                error: Box::new(error),
            },
            "load program `trace`: it needs what this kernel does not have\n  trace.c:7\n  \
             CO-RE relocation `struct s.gone (0:1)` byte_off finds nothing",
        );
    }
}
