//! What a load leaves in the kernel, held by its descriptors.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::kernel::{Map, Program, ProgramInfo};

/// The maps and programs of an object in the kernel. Dropping it closes their descriptors.
#[derive(Debug)]
pub struct Loaded {
    /// By the object's names.
    pub maps: BTreeMap<String, Map>,
    /// In the order of the object.
    pub programs: Vec<LoadedProgram>,
}

/// A loaded program.
#[derive(Debug)]
pub struct LoadedProgram {
    /// The function's name, in full.
    pub name: String,
    /// Its descriptor.
    pub program: Program,
    /// What the kernel said about it right after loading.
    pub info: ProgramInfo,
    /// How long the kernel took to verify and compile it.
    pub elapsed: Duration,
}

impl Loaded {
    /// The map with this name.
    pub fn map(&self, name: &str) -> Option<&Map> {
        self.maps.get(name)
    }

    /// The program with this name.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs
            .iter()
            .find(|program| program.name == name)
            .map(|program| &program.program)
    }
}
