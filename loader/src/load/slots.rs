//! The slots that an object fills from the start: maps in maps of maps, programs in program arrays (`.values`).

use std::os::fd::AsFd;

use super::{LoadError, LoadedProgram, Observer, Step};
use crate::kernel::{Map, Update};
use crate::object::{Plan, SlotValue};

/// A slot that could not be filled, with the number of its map.
type Failure = (usize, LoadError);

/// Puts maps into maps of maps.
pub(super) fn fill_maps(
    plan: &Plan,
    maps: &[Result<Map, LoadError>],
    observer: &mut dyn Observer,
) -> Vec<Failure> {
    fill(plan, maps, observer, |value| match value {
        SlotValue::Map(name) => {
            let at = plan.maps.iter().position(|map| map.spec.name == *name);
            Some(at.and_then(|at| maps.get(at)?.as_ref().ok().map(AsFd::as_fd)))
        }
        SlotValue::Program(_) => None,
    })
}

/// Puts programs into program arrays, once they are there.
pub(super) fn fill_programs(
    plan: &Plan,
    maps: &[Result<Map, LoadError>],
    programs: &[Result<LoadedProgram, LoadError>],
    observer: &mut dyn Observer,
) -> Vec<Failure> {
    fill(plan, maps, observer, |value| match value {
        SlotValue::Program(name) => {
            let mut loaded = programs.iter().flatten();
            Some(
                loaded
                    .find(|loaded| loaded.name == *name)
                    .map(|loaded| loaded.program.as_fd()),
            )
        }
        SlotValue::Map(_) => None,
    })
}

/// Fills the slots of one sort: `find` gives None for the other sort, and Some(None) for what there is none of.
fn fill<'a>(
    plan: &Plan,
    maps: &[Result<Map, LoadError>],
    observer: &mut dyn Observer,
    find: impl Fn(&SlotValue) -> Option<Option<std::os::fd::BorrowedFd<'a>>>,
) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (number, (planned, map)) in plan.maps.iter().zip(maps).enumerate() {
        let Ok(map) = map else { continue };
        for (slot, value) in &planned.spec.values {
            let Some(found) = find(value) else { continue };
            let (SlotValue::Map(name) | SlotValue::Program(name)) = value;
            let done = match found {
                Some(fd) => map
                    .update_fd(&slot.to_ne_bytes(), fd, Update::Any)
                    .map_err(LoadError::from),
                None => Err(LoadError::Slot {
                    map: planned.spec.name.clone(),
                    slot: *slot,
                    value: name.clone(),
                }),
            };
            match done {
                Ok(()) => observer.step(&Step::SlotFilled {
                    map: planned,
                    slot: *slot,
                    value: name,
                }),
                Err(error) => failures.push((number, error)),
            }
        }
    }
    failures
}
