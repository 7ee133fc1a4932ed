//! The modules' types, which are read only for names that the kernel itself does not have.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::KernelTypes;

/// The types of a module, and the number of its BTF object in the kernel.
#[derive(Clone, Debug)]
pub struct ModuleTypes {
    /// The module's name.
    pub name: String,
    /// The id of the BTF object (`BPF_BTF_GET_FD_BY_ID`).
    pub btf_id: u32,
    /// Its types; numbers up to the kernel's last are the kernel's.
    pub types: KernelTypes,
}

/// The modules' types, read when they are first asked for: most objects find everything in the kernel's own.
#[derive(Clone, Default)]
pub struct Modules {
    read: Option<Arc<dyn Fn() -> Vec<ModuleTypes> + Send + Sync>>,
    all: Arc<OnceLock<Vec<ModuleTypes>>>,
}

impl Modules {
    /// Modules whose types `read` gives, which is called once at most.
    pub fn lazily(read: impl Fn() -> Vec<ModuleTypes> + Send + Sync + 'static) -> Self {
        Modules {
            read: Some(Arc::new(read)),
            all: Arc::default(),
        }
    }

    /// All of them.
    pub fn all(&self) -> &[ModuleTypes] {
        let read = || self.read.as_ref().map_or_else(Vec::new, |read| read());
        self.all.get_or_init(read)
    }
}

impl fmt::Debug for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.all.get() {
            Some(all) => write!(f, "Modules({})", all.len()),
            None => f.write_str("Modules(not read)"),
        }
    }
}
