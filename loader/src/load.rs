//! The load path, the only one: `Spec` → `Plan` → kernel objects. It reports each typed [`Step`] to an [`Observer`]; whatever
//! explains, counts or prints a load is an observer of this function (design.md, invariant 1). A dry run is [`prepare`]:
//! the same code up to the first system call.

mod error;
mod loaded;
mod maps;
mod step;

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use xdplb_linker::insn::{self, InsnIndex};

use crate::kernel::{
    self, BpfFs, Btf, Feature, KernelError, Map, Program, ProgramDefinition, Records, Update,
};
use crate::object::{BtfKinds, Plan, ProgramPlan, SlotValue, Spec, simplify};
use maps::{NewPins, obtain_map};

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
        ..ProgramDefinition::default()
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
