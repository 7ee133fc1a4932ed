//! The maps of a load: taken over, opened from a pin, or created, filled and frozen.

use std::path::PathBuf;

use xdplb_linker::btf::TypeId;

use super::types::Types;
use super::{LoadError, LoadOptions, Observer, Step, fit};
use crate::kernel::{self, KernelError, Map, MapDefinition, MapShape, TypeIds, Update};
use crate::object::{Freeze, MapPlan, MapSpec, Pinning};
use crate::uapi::{MapType, map_flags};

/// Takes over, opens or creates one map; a created one is filled and frozen as planned.
pub(super) fn obtain(
    plan: &MapPlan,
    types: &Types,
    options: &mut LoadOptions,
    pins: &mut NewPins,
    observer: &mut dyn Observer,
) -> Result<Map, LoadError> {
    if let Some(why) = plan.broken() {
        return Err(why.clone().into());
    }
    let spec = &plan.spec;
    let shape = fit::shape(plan, spec, observer)?;
    let pin = options
        .pins
        .as_ref()
        .filter(|_| spec.pinning == Pinning::ByName);
    let existing = match (options.reuse.remove(&spec.name), pin) {
        (Some(map), _) => Some(map),
        (None, Some(pins)) => kernel::open_map(&pins.path(&spec.name))?,
        (None, None) => None,
    };
    if let Some(map) = existing {
        check_fits(&spec.name, shape, map.shape())?;
        observer.step(&Step::MapReused {
            map: plan,
            existing: &map,
        });
        return Ok(map);
    }
    let mut map = create_map(plan, shape, types, observer)?;
    observer.step(&Step::MapCreated {
        map: plan,
        created: &map,
    });
    if let Some(contents) = &spec.contents {
        match spec.map_type {
            MapType::ARENA => map.write_pages(spec.contents_at as usize, contents)?,
            _ => map.update(&0u32.to_ne_bytes(), contents, Update::Any)?,
        }
        observer.step(&Step::MapFilled {
            map: plan,
            bytes: contents.len(),
        });
    }
    if spec.freeze == Freeze::BeforePrograms {
        map.freeze()?;
        observer.step(&Step::MapFrozen { map: plan });
    }
    if let Some(directory) = pin {
        let path = directory.pin_map(&spec.name, &map)?;
        observer.step(&Step::MapPinned {
            map: plan,
            path: &path,
        });
        pins.0.push(path);
    }
    Ok(map)
}

/// An existing map must be what the program was compiled for.
fn check_fits(map: &str, wants: MapShape, has: MapShape) -> Result<(), LoadError> {
    let mut has = has;
    if [MapType::DEVMAP, MapType::DEVMAP_HASH].contains(&has.map_type) {
        // The kernel sets this flag itself (dev_map_alloc).
        has.map_flags =
            has.map_flags & !map_flags::RDONLY_PROG | wants.map_flags & map_flags::RDONLY_PROG;
    }
    let number =
        |has: u32, wants: u32| (has != wants).then(|| (has.to_string(), wants.to_string()));
    let fields = [
        (
            "type",
            (has.map_type != wants.map_type)
                .then(|| (has.map_type.to_string(), wants.map_type.to_string())),
        ),
        ("key_size", number(has.key_size, wants.key_size)),
        ("value_size", number(has.value_size, wants.value_size)),
        ("max_entries", number(has.max_entries, wants.max_entries)),
        ("map_flags", number(has.map_flags, wants.map_flags)),
        (
            "map_extra",
            (has.map_extra != wants.map_extra)
                .then(|| (has.map_extra.to_string(), wants.map_extra.to_string())),
        ),
    ];
    for (field, difference) in fields {
        if let Some((has, wants)) = difference {
            return Err(LoadError::Incompatible {
                map: map.to_string(),
                field,
                has,
                wants,
            });
        }
    }
    Ok(())
}

fn create_map(
    plan: &MapPlan,
    shape: MapShape,
    types: &Types,
    observer: &mut dyn Observer,
) -> Result<Map, LoadError> {
    let spec = &plan.spec;
    let inner = match &spec.inner {
        Some(inner) => {
            let definition = MapDefinition {
                name: &plan.kernel_name,
                shape: fit::shape(plan, inner, observer)?,
                numa_node: inner.numa_node,
                types: type_ids(inner, types),
                ..MapDefinition::default()
            };
            Some(with_types_or_without(plan, definition, observer)?)
        }
        None if spec.map_type.is_map_of_maps() => {
            return Err(LoadError::NoTemplate {
                map: spec.name.clone(),
                map_type: spec.map_type,
            });
        }
        None => None,
    };
    let definition = MapDefinition {
        name: &plan.kernel_name,
        shape,
        numa_node: spec.numa_node,
        types: type_ids(spec, types),
        inner: inner.as_ref(),
        ..MapDefinition::default()
    };
    Ok(with_types_or_without(plan, definition, observer)?)
}

/// Some map types refuse types that others take, and some kernels refuse some types: the map itself works without them.
fn with_types_or_without(
    plan: &MapPlan,
    mut definition: MapDefinition<'_>,
    observer: &mut dyn Observer,
) -> Result<Map, KernelError> {
    let error = match Map::create(&definition) {
        Ok(map) => return Ok(map),
        Err(error) => error,
    };
    if definition.types.is_none() || matches!(error, KernelError::Permission { .. }) {
        return Err(error);
    }
    definition.types = None;
    // Where that does not help the types were not what was wrong.
    let map = Map::create(&definition).map_err(|_| error)?;
    observer.step(&Step::MapTypesLeftOut { map: plan });
    Ok(map)
}

/// The value's type and, where the object says it, the key's: a value can have a lock or a timer in it, which programs may
/// use only where the kernel knows the type. Which maps may do without a key's type is the kernel's to say (`map_check_btf`).
fn type_ids<'a>(spec: &MapSpec, types: &'a Types) -> Option<TypeIds<'a>> {
    let btf = types.btf()?;
    (spec.value_type != TypeId::VOID).then_some(TypeIds {
        btf,
        key: spec.key_type.0,
        value: spec.value_type.0,
    })
}

/// Pins made by this load: removed again unless it succeeds.
#[derive(Debug, Default)]
pub(super) struct NewPins(Vec<PathBuf>);

impl NewPins {
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for NewPins {
    fn drop(&mut self) {
        for path in &self.0 {
            // Nothing can be done about a pin that cannot be removed, and the error that led here matters more.
            let _ = kernel::unpin(path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const SHAPE: MapShape = MapShape {
        map_type: MapType::HASH,
        key_size: 16,
        value_size: 4,
        max_entries: 1024,
        map_flags: 0,
        map_extra: 0,
    };

    #[test]
    fn a_map_that_differs_is_refused_by_the_field() {
        assert!(check_fits("flows", SHAPE, SHAPE).is_ok());
        let other = |change: fn(&mut MapShape)| {
            let mut shape = SHAPE;
            change(&mut shape);
            check_fits("flows", SHAPE, shape).unwrap_err().to_string()
        };
        assert_eq!(
            other(|shape| shape.max_entries = 4096),
            "map `flows`: the existing one cannot be used: max_entries is 4096, the program needs 1024"
        );
        assert_eq!(
            other(|shape| shape.map_type = MapType::LRU_HASH),
            "map `flows`: the existing one cannot be used: type is lru_hash, the program needs hash"
        );
    }
}
