//! The machine an object is planned for, as plain data: what must be asked of it ([`Needs`]), and the answers ([`Target`]).

use std::collections::{BTreeSet, HashMap};

use super::{KernelTypes, Modules};

/// What must be read of the machine before an object can be planned for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The kernel's types: for CO-RE, for what attaches by a BTF id, for typed kernel symbols.
    pub kernel_types: bool,
    /// Addresses of these kernel symbols.
    pub symbols: BTreeSet<String>,
    /// These options of the kernel's configuration, as `CONFIG_HZ`.
    pub config: BTreeSet<String>,
    /// The kernel's version.
    pub version: bool,
}

/// What is known of the machine that an object is planned for. [`Target::default`] knows nothing.
#[derive(Debug, Default)]
pub struct Target {
    /// The kernel's own types.
    pub types: Option<KernelTypes>,
    /// Those of its modules.
    pub modules: Modules,
    /// Addresses of kernel symbols; one that was asked for and is not here does not exist.
    pub symbols: HashMap<String, u64>,
    /// Options of the kernel's configuration that are set: `CONFIG_HZ` to `1000`, strings in quotes.
    pub config: HashMap<String, String>,
    /// `LINUX_VERSION_CODE`, or 0.
    pub version: u32,
    /// Bytes, or 0.
    pub page_size: u32,
}
