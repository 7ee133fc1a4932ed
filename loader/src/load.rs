//! The load path, the only one: `Spec` → `Plan` → kernel objects. It reports each typed [`Step`] to an [`Observer`]; whatever
//! explains, counts or prints a load is an observer of this function (design.md, invariant 1). A dry run is [`prepare`]:
//! the same code up to the first system call.

mod error;
mod loaded;
mod step;

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::Instant;

use xdplb_linker::btf::TypeId;
use xdplb_linker::insn::{self, InsnIndex};

use crate::kernel::{
    self, BpfFs, Btf, Feature, KernelError, Map, MapDefinition, MapShape, Program,
    ProgramDefinition, Records, TypeIds, Update,
};
use crate::object::{
    BtfKinds, Freeze, MapPlan, MapSpec, Pinning, Plan, ProgramPlan, SlotValue, Spec, simplify,
};
use crate::uapi::{MapType, map_flags};

pub use error::LoadError;
pub use loaded::{Loaded, LoadedProgram};
pub use step::{Observer, Step};

/// What a load is to do beside what the object says.
#[derive(Debug, Default)]
pub struct LoadOptions {
    /// Maps that exist already, by the object's name for them: they are checked and used instead of created, and neither
    /// filled nor frozen.
    pub reuse: HashMap<String, Map>,
    /// Where maps that ask for it are pinned by name; a fitting map that is pinned there already is used.
    pub pins: Option<BpfFs>,
}

/// Everything up to the first system call: plans the load and reports it.
pub fn prepare(spec: &Spec, observer: &mut dyn Observer) -> Result<Plan, LoadError> {
    let plan = spec.plan()?;
    observer.step(&Step::ObjectRead { spec });
    if let Some(btf) = &plan.btf {
        observer.step(&Step::BtfPlanned { types: btf.len() });
    }
    for map in &plan.maps {
        observer.step(&Step::MapPlanned { map });
    }
    for program in &plan.programs {
        observer.step(&Step::ProgramPlanned { program });
    }
    Ok(plan)
}

/// Loads every map and program of the object.
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
    let types = load_types(plan, observer)?;
    let result = load_objects(plan, &types, options, observer);
    match (result, types) {
        // Without its types an object can fail in ways that only the missing types explain.
        (Err(error), Types::LeftOut(reason)) => Err(LoadError::WithoutTypes {
            error: Box::new(error),
            reason,
        }),
        (result, Types::None | Types::LeftOut(_) | Types::Loaded(_)) => result,
    }
}

fn load_objects(
    plan: &Plan,
    types: &Types,
    mut options: LoadOptions,
    observer: &mut dyn Observer,
) -> Result<Loaded, LoadError> {
    let mut pins = NewPins::default();
    let mut maps = Vec::with_capacity(plan.maps.len());
    for map in &plan.maps {
        maps.push(obtain_map(map, types, &mut options, &mut pins, observer)?);
    }
    let fds = plan.map_fds(maps.iter().map(|map| map.as_fd().as_raw_fd()).collect())?;
    // From here on every map exists and constants are frozen: programs may be verified.
    let mut programs = Vec::with_capacity(plan.programs.len());
    for program in &plan.programs {
        for patch in &program.patches {
            observer.step(&Step::Relocated {
                program,
                patch,
                fds: &fds,
            });
        }
        let instructions = insn::encode_all(&program.instructions(&fds));
        programs.push(load_program(plan, program, types, &instructions, observer)?);
    }
    fill_slots(plan, &maps, &programs)?;
    pins.keep();
    let maps = plan
        .maps
        .iter()
        .map(|map| map.spec.name.clone())
        .zip(maps)
        .collect();
    Ok(Loaded { maps, programs })
}

/// The object's types in the kernel.
enum Types {
    /// The object has none.
    None,
    Loaded(Btf),
    /// This kernel does not take them.
    LeftOut(String),
}

impl Types {
    fn btf(&self) -> Option<&Btf> {
        match self {
            Types::Loaded(btf) => Some(btf),
            Types::None | Types::LeftOut(_) => None,
        }
    }
}

/// Loads BTF as it is; where the kernel refuses, again without the kinds that it doesn't know; else goes on without.
fn load_types(plan: &Plan, observer: &mut dyn Observer) -> Result<Types, LoadError> {
    let Some(btf) = &plan.btf else {
        return Ok(Types::None);
    };
    let mut result = Btf::load(&btf.encode());
    if matches!(&result, Err(KernelError::Permission { .. })) {
        return result.map(Types::Loaded).map_err(LoadError::from);
    }
    if result.is_err() {
        let (simple, replaced) = simplify(btf, &known_kinds());
        if !replaced.is_empty() {
            observer.step(&Step::BtfSimplified { kinds: &replaced });
            result = Btf::load(&simple.encode());
        }
    }
    match result {
        Ok(btf) => {
            let info = btf.info()?;
            observer.step(&Step::BtfLoaded {
                id: info.id,
                fd: btf.as_fd().as_raw_fd(),
                bytes: info.size,
            });
            Ok(Types::Loaded(btf))
        }
        Err(error) => {
            let reason = error.to_string();
            observer.step(&Step::BtfLeftOut { reason: &reason });
            Ok(Types::LeftOut(reason))
        }
    }
}

fn known_kinds() -> BtfKinds {
    BtfKinds {
        func: kernel::supports(Feature::BtfFunc).into(),
        func_global: kernel::supports(Feature::BtfFuncGlobal).into(),
        datasec: kernel::supports(Feature::BtfDatasec).into(),
        float: kernel::supports(Feature::BtfFloat).into(),
        decl_tag: kernel::supports(Feature::BtfDeclTag).into(),
        type_tag: kernel::supports(Feature::BtfTypeTag).into(),
        enum64: kernel::supports(Feature::BtfEnum64).into(),
    }
}

/// Takes over, opens or creates one map; a created one is filled and frozen as planned.
fn obtain_map(
    plan: &MapPlan,
    types: &Types,
    options: &mut LoadOptions,
    pins: &mut NewPins,
    observer: &mut dyn Observer,
) -> Result<Map, LoadError> {
    let spec = &plan.spec;
    let shape = fit_machine(spec)?;
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
        let id = map.info()?.id;
        observer.step(&Step::MapReused {
            map: plan,
            fd: map.as_fd().as_raw_fd(),
            id,
        });
        return Ok(map);
    }
    let map = create_map(plan, shape, types, observer)?;
    let id = map.info()?.id;
    observer.step(&Step::MapCreated {
        map: plan,
        fd: map.as_fd().as_raw_fd(),
        id,
    });
    if let Some(contents) = &spec.contents {
        map.update(&0u32.to_ne_bytes(), contents, Update::Any)?;
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
        pins.0.push(directory.pin_map(&spec.name, &map)?);
    }
    Ok(map)
}

/// What only the machine knows: how many CPUs it has, how large a page is.
fn fit_machine(spec: &MapSpec) -> Result<MapShape, LoadError> {
    let mut max_entries = spec.max_entries;
    if spec.map_type == MapType::PERF_EVENT_ARRAY && max_entries == 0 {
        max_entries = kernel::possible_cpus()? as u32;
    }
    if [MapType::RINGBUF, MapType::USER_RINGBUF].contains(&spec.map_type) && max_entries != 0 {
        // The kernel wants a power of two that is a multiple of a page (ringbuf_map_alloc).
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .ok()
            .flatten()
            .unwrap_or(4096) as u32;
        max_entries = max_entries
            .max(page)
            .checked_next_power_of_two()
            .unwrap_or(max_entries);
    }
    Ok(MapShape {
        map_type: spec.map_type,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries,
        map_flags: spec.map_flags,
        map_extra: spec.map_extra,
    })
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
                shape: fit_machine(inner)?,
                numa_node: inner.numa_node,
                types: type_ids(inner, types),
                inner: None,
            };
            Some(Map::create(&definition)?)
        }
        None => None,
    };
    let mut definition = MapDefinition {
        name: &plan.kernel_name,
        shape,
        numa_node: spec.numa_node,
        types: type_ids(spec, types),
        inner: inner.as_ref(),
    };
    match Map::create(&definition) {
        // Some map types refuse types that others take: the map itself works without them.
        Err(error)
            if definition.types.is_some() && error.errno() == Some(nix::errno::Errno::EINVAL) =>
        {
            definition.types = None;
            let map = Map::create(&definition).map_err(|_| error)?;
            observer.step(&Step::MapTypesLeftOut { map: plan });
            Ok(map)
        }
        result => Ok(result?),
    }
}

/// Both ids or none; only an array with one value (global data) may have a value type alone (`array_map_check_btf`).
fn type_ids<'a>(spec: &MapSpec, types: &'a Types) -> Option<TypeIds<'a>> {
    let btf = types.btf()?;
    let value = spec.value_type != TypeId::VOID;
    let key = spec.key_type != TypeId::VOID
        || (spec.map_type == MapType::ARRAY && spec.name.starts_with('.'));
    (key && value).then_some(TypeIds {
        btf,
        key: spec.key_type.0,
        value: spec.value_type.0,
    })
}

fn load_program(
    plan: &Plan,
    program: &ProgramPlan,
    types: &Types,
    instructions: &[u8],
    observer: &mut dyn Observer,
) -> Result<LoadedProgram, LoadError> {
    let (func_info, line_info) = (program.func_info_bytes(), program.line_info_bytes());
    let definition = ProgramDefinition {
        name: &program.name,
        program_type: program.kind.program_type,
        expected_attach_type: program.kind.attach_type,
        flags: program.kind.flags,
        license: &plan.license,
        kernel_version: plan.kernel_version,
        instructions,
        btf: types
            .btf()
            .filter(|_| func_info.is_some() || line_info.is_some()),
        func_info: func_info.as_ref().map(|(bytes, record_size)| Records {
            record_size: *record_size,
            bytes,
        }),
        line_info: line_info.as_ref().map(|(bytes, record_size)| Records {
            record_size: *record_size,
            bytes,
        }),
    };
    let started = Instant::now();
    let loaded = Program::load(&definition).map_err(|error| locate(plan, program, error))?;
    let elapsed = started.elapsed();
    let info = loaded.info()?;
    observer.step(&Step::ProgramLoaded {
        program,
        fd: loaded.as_fd().as_raw_fd(),
        info: &info,
        elapsed,
    });
    Ok(LoadedProgram {
        name: program.name.clone(),
        program: loaded,
        info,
        elapsed,
    })
}

/// Adds the source line to a rejection whose log does not have it.
fn locate(plan: &Plan, program: &ProgramPlan, mut error: KernelError) -> KernelError {
    if let (KernelError::Rejected(rejection), Some(btf)) = (&mut error, &plan.btf) {
        rejection.locate(|insn| {
            program
                .source_line(btf, InsnIndex(insn))
                .map(|line| line.to_string())
        });
    }
    error
}

/// Puts maps and programs into the slots that the object fills.
fn fill_slots(plan: &Plan, maps: &[Map], programs: &[LoadedProgram]) -> Result<(), LoadError> {
    for (planned, map) in plan.maps.iter().zip(maps) {
        for (slot, value) in &planned.spec.values {
            let fd = match value {
                SlotValue::Map(name) => plan
                    .maps
                    .iter()
                    .position(|map| map.spec.name == *name)
                    .map(|index| maps[index].as_fd()),
                SlotValue::Program(name) => programs
                    .iter()
                    .find(|p| p.name == *name)
                    .map(|p| p.program.as_fd()),
            };
            let (SlotValue::Map(name) | SlotValue::Program(name)) = value;
            let fd = fd.ok_or_else(|| LoadError::Slot {
                map: planned.spec.name.clone(),
                slot: *slot,
                value: name.clone(),
            })?;
            map.update_fd(&slot.to_ne_bytes(), fd, Update::Any)?;
        }
    }
    Ok(())
}

/// Pins made by this load: removed again unless it succeeds.
#[derive(Default)]
struct NewPins(Vec<PathBuf>);

impl NewPins {
    fn keep(mut self) {
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
