//! The program that runs, loaded a second time: the same maps and constants but for a few. What runs is not touched.

use std::collections::HashMap;

use super::install::{InstallError, missing_capability};
use super::program::MAPS;
use super::running::Running;
use super::settings::allow_pieces;
use crate::kernel::KernelError;
use crate::load::{self, LoadOptions, Loaded};
use crate::object::{ObjectError, Spec};

/// Why there is no second one.
#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    /// Its constants cannot be read.
    #[error(
        "the balancer is of another version of this program, whose constants lie elsewhere\n  try:  the xdplb-load that started it, or start it anew with this one"
    )]
    Version,
    /// The object cannot take what was decided.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// It could not be loaded.
    #[error(transparent)]
    Load(#[from] InstallError),
}

/// A constant and its bytes.
pub type Constant = (&'static str, Vec<u8>);

/// In what it differs from the one that runs.
#[derive(Debug, Clone)]
pub struct Difference<'d> {
    /// Its constants.
    pub constants: &'d [Constant],
    /// The maps that it has for itself, of the same size. Its ring of events always is its own.
    pub own: &'d [&'d str],
    /// Bytes of that ring, a power of two and no less than a page.
    pub ring: u32,
}

/// A number as a constant.
pub fn number(name: &'static str, number: u32) -> Constant {
    (name, number.to_ne_bytes().into())
}

/// The object with the constants of the one that runs.
///
/// # Errors
/// [`TwinError::Version`] where they lie elsewhere.
pub fn spec_of(spec: &Spec, running: &Running) -> Result<Spec, TwinError> {
    let mut spec = spec.clone();
    let constants = running.section(".rodata")?.ok_or(TwinError::Version)?;
    let rodata = spec.map_mut(".rodata")?;
    if rodata.value_size as usize != constants.len() {
        return Err(TwinError::Version);
    }
    rodata.contents = Some(constants);
    if spec.global("FRAGS")? != 0u32.to_ne_bytes() {
        allow_pieces(&mut spec);
    }
    Ok(spec)
}

/// Loads it.
///
/// # Errors
/// Another version, or the kernel's refusal.
pub fn load(
    spec: &Spec,
    running: &Running,
    difference: &Difference<'_>,
) -> Result<Loaded, TwinError> {
    let mut spec = spec_of(spec, running)?;
    for (name, bytes) in difference.constants {
        spec.set_global(name, bytes)?;
    }
    spec.map_mut("events")?.max_entries = difference.ring;
    let mut reuse = HashMap::new();
    for shared in MAPS {
        let Some(map) = running.map(shared.name) else {
            continue;
        };
        spec.map_mut(shared.name)?.max_entries = map.shape().max_entries;
        if !difference.own.contains(&shared.name) {
            reuse.insert(shared.name.to_string(), map.try_clone()?);
        }
    }
    let options = LoadOptions {
        reuse,
        ..LoadOptions::default()
    };
    Ok(load::load(&spec, options, &mut ()).map_err(missing_capability)?)
}

/// Whether the program that was loaded is the very one that runs, but for constants: the kernel's tag is of the instructions
/// as they were before it put constants in.
pub fn is_same(loaded: &Loaded, running: &Running) -> bool {
    let program = loaded.programs.first();
    program.is_some_and(|program| program.info.tag == running.info.tag)
}
