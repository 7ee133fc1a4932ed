//! What a load leaves in the kernel, held by its descriptors.

use std::collections::BTreeMap;
use std::time::Duration;

use super::LoadError;
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
    ///
    /// # Errors
    /// There is none; the error says which there are.
    pub fn map(&self, name: &str) -> Result<&Map, LoadError> {
        let known = || self.maps.keys().map(String::as_str).collect();
        self.maps
            .get(name)
            .ok_or_else(|| LoadError::no_such("map", name, known()))
    }

    /// The program with this name.
    ///
    /// # Errors
    /// There is none; the error says which there are.
    pub fn program(&self, name: &str) -> Result<&Program, LoadError> {
        let known = || self.programs.iter().map(|p| p.name.as_str()).collect();
        self.programs
            .iter()
            .find(|program| program.name == name)
            .map(|program| &program.program)
            .ok_or_else(|| LoadError::no_such("program", name, known()))
    }
}
