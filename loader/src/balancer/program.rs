//! PURE: whether an object is our program: its entry, its maps, its constants, all of the layout that `xdplb_prog` gives.

use xdplb_prog::abi::{
    Backend, BackendCount, Block, Bucket, Connection, Count, Scratch, Service, ServiceCount,
    ServiceKey,
};
use xdplb_prog::counters::Reason;

use crate::kernel::MapShape;
use crate::object::{ObjectError, SectionKind, Spec};
use crate::uapi::{MapType, ProgramType};

/// The entry, as the object calls it; the kernel keeps 15 bytes of it.
pub const ENTRY: &str = "xdp_load_balancer";

/// The constants of `.rodata` and their sizes.
const GLOBALS: &[(&str, usize)] = &[
    ("BALANCER_V4", 4),
    ("BALANCER_V6", 16),
    ("BALANCER_MAC", 6),
    ("SLOTS", 4),
    ("BUCKETS", 4),
    ("SEED", 8),
    ("TICKS_PER_SECOND", 4),
    ("MTU", 4),
    ("TUNNEL_V4", 8),
    ("TUNNEL_V6", 8),
    ("DEFERRED", 4),
    ("PERFMON", 4),
    ("FRAGS", 4),
    ("TRACE", 4),
    ("WATCH", 4),
    ("DRY", 4),
];

/// A map that the loader and the program share.
pub struct Shared {
    /// Its name in the object.
    pub name: &'static str,
    map_type: MapType,
    key_size: usize,
    value_size: usize,
}

const fn shared<K, V>(name: &'static str, map_type: MapType) -> Shared {
    Shared {
        name,
        map_type,
        key_size: size_of::<K>(),
        value_size: size_of::<V>(),
    }
}

/// All of them.
pub const MAPS: &[Shared] = &[
    shared::<ServiceKey, Service>("services", MapType::HASH),
    shared::<u32, Block>("tables", MapType::ARRAY),
    shared::<u32, u32>("members", MapType::ARRAY),
    shared::<u32, Backend>("backends", MapType::ARRAY),
    shared::<u32, Bucket>("index", MapType::ARRAY),
    shared::<u32, Connection>("connections", MapType::ARRAY),
    shared::<u32, Count>("counters", MapType::PERCPU_ARRAY),
    shared::<u32, BackendCount>("backend_counters", MapType::PERCPU_ARRAY),
    shared::<u32, ServiceCount>("service_counters", MapType::PERCPU_ARRAY),
    shared::<u32, Scratch>("scratch", MapType::PERCPU_ARRAY),
];

impl Shared {
    /// The first thing that differs from what the program's layout asks for.
    fn difference(&self, map_type: MapType, key: u32, value: u32) -> Option<String> {
        let sizes = [
            ("key", key as usize, self.key_size),
            ("value", value as usize, self.value_size),
        ];
        if map_type != self.map_type {
            return Some(format!("its type is {map_type}, not {}", self.map_type));
        }
        sizes
            .into_iter()
            .find(|(_, has, wants)| has != wants)
            .map(|(part, has, wants)| format!("its {part} has {has} bytes, not {wants}"))
    }

    /// How a map of the kernel differs from that layout: "map `services`: its key has 12 bytes, not 24".
    pub fn misfit(&self, shape: MapShape) -> Option<String> {
        let difference = self.difference(shape.map_type, shape.key_size, shape.value_size)?;
        Some(format!("map `{}`: {difference}", self.name))
    }
}

/// Why an object cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// It is a readable object, but not the load balancer's.
    #[error("not the load balancer's program: {0}")]
    Other(String),
}

/// Reads an object and checks it against the layout that this loader was built with.
///
/// # Errors
/// What cannot be read, or the first thing that is missing or different.
pub fn parse(bytes: &[u8]) -> Result<Spec, ProgramError> {
    let mut spec = Spec::parse(bytes)?;
    // The kernel shows the maps of its data sections as `xdplb.rodata`.
    spec.name = "xdplb".into();
    check_entry(&spec)?;
    check_maps(&spec)?;
    for (name, size) in GLOBALS {
        let has = spec.global(name)?.len();
        if has != *size {
            let what = format!("constant `{name}` has {has} bytes, not {size}");
            return Err(ProgramError::Other(what));
        }
    }
    Ok(spec)
}

fn check_entry(spec: &Spec) -> Result<(), ProgramError> {
    let names: Vec<&str> = spec.programs.iter().map(|p| p.name.as_str()).collect();
    let what = match spec.programs.as_slice() {
        [only] if only.name == ENTRY => match &only.kind {
            SectionKind::Known(kind) if kind.program_type == ProgramType::XDP => return Ok(()),
            SectionKind::Known(_) | SectionKind::Unsupported { .. } | SectionKind::Unknown => {
                format!(
                    "`{ENTRY}` is in section `{}`, not in `xdp`",
                    only.section.escape_debug()
                )
            }
        },
        [] => format!("it has no programs, `{ENTRY}` is wanted"),
        _ => format!(
            "it has {}, `{ENTRY}` alone is wanted",
            names.join(", ").escape_debug()
        ),
    };
    Err(ProgramError::Other(what))
}

fn check_maps(spec: &Spec) -> Result<(), ProgramError> {
    for shared in MAPS {
        let Some(map) = spec.map(shared.name) else {
            return Err(ProgramError::Other(format!("no map `{}`", shared.name)));
        };
        if let Some(difference) = shared.difference(map.map_type, map.key_size, map.value_size) {
            let what = format!("map `{}`: {difference}", shared.name);
            return Err(ProgramError::Other(what));
        }
    }
    let reasons = spec.map("counters").map_or(0, |map| map.max_entries);
    if reasons as usize != Reason::COUNT {
        return Err(ProgramError::Other(format!(
            "map `counters` has {reasons} entries, not {}",
            Reason::COUNT
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_built_in_program_is_ours() {
        let spec = parse(crate::PROGRAM).unwrap();
        assert_eq!(spec.license, "GPL");
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for length in [0, 1, 63, 64, 200, crate::PROGRAM.len() - 1] {
            assert!(parse(&crate::PROGRAM[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_map_of_another_layout_is_named() {
        let counters = &MAPS[6];
        let differs = |map_type, key, value| counters.difference(map_type, key, value);
        assert_eq!(differs(MapType::PERCPU_ARRAY, 4, 16), None);
        assert_eq!(
            differs(MapType::ARRAY, 4, 16).as_deref(),
            Some("its type is array, not percpu_array")
        );
        assert_eq!(
            differs(MapType::PERCPU_ARRAY, 4, 8).as_deref(),
            Some("its value has 8 bytes, not 16")
        );
        let mut spec = parse(crate::PROGRAM).unwrap();
        spec.map_mut("services").unwrap().key_size = 12;
        assert_eq!(
            check_maps(&spec).unwrap_err().to_string(),
            "not the load balancer's program: map `services`: its key has 12 bytes, not 24"
        );
        spec.map_mut("services").unwrap().name = "streams".into();
        assert_eq!(
            check_maps(&spec).unwrap_err().to_string(),
            "not the load balancer's program: no map `services`"
        );
    }

    #[test]
    fn another_program_is_named() {
        let mut spec = parse(crate::PROGRAM).unwrap();
        spec.programs[0].name = "xdp_filter".into();
        assert_eq!(
            check_entry(&spec).unwrap_err().to_string(),
            "not the load balancer's program: it has xdp_filter, `xdp_load_balancer` alone is wanted"
        );
        spec.programs.clear();
        assert_eq!(
            check_entry(&spec).unwrap_err().to_string(),
            "not the load balancer's program: it has no programs, `xdp_load_balancer` is wanted"
        );
    }
}
