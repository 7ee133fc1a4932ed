//! What an object asks of the machine, read for it and for nothing else: the kernel's types for CO-RE, addresses of symbols,
//! the configuration, the version. Our own program asks for none of it, so that its start pays for none of it.

use super::{Observer, Step};
use crate::kernel;
use crate::object::{KernelTypes, ModuleTypes, Modules, Needs, Target};

/// Reads what is needed. What cannot be read is a step, is missing in the target and said in the list: the programs that depend
/// on it fail, the others load.
pub(super) fn read(needs: &Needs, observer: &mut dyn Observer) -> (Target, Vec<String>) {
    let mut target = Target {
        page_size: kernel::page_size(),
        ..Target::default()
    };
    let mut missing = Vec::new();
    let mut unread = |what: &'static str, reason: String| {
        observer.step(&Step::MachineUnread {
            what,
            reason: &reason,
        });
        missing.push(format!("{what} could not be read: {reason}"));
    };
    if needs.kernel_types {
        match kernel_types() {
            Ok(types) => {
                target.modules = modules(types.clone());
                target.types = Some(types);
            }
            Err(reason) => unread("the kernel's types", reason),
        }
    }
    match kernel::kernel_symbols(&needs.symbols) {
        Ok(symbols) => target.symbols = symbols,
        Err(error) => unread("the kernel's symbols", error.to_string()),
    }
    match kernel::kernel_config(&needs.config) {
        Ok(config) => target.config = config,
        Err(error) => unread("the kernel's configuration", error.to_string()),
    }
    if needs.version {
        target.version = kernel::kernel_version();
    }
    if *needs != Needs::default() {
        observer.step(&Step::MachineRead {
            needs,
            target: &target,
        });
    }
    (target, missing)
}

fn kernel_types() -> Result<KernelTypes, String> {
    let bytes = kernel::kernel_btf().map_err(|error| error.to_string())?;
    KernelTypes::parse(bytes).map_err(|error| format!("/sys/kernel/btf/vmlinux: {error}"))
}

/// Most objects find all they look for in the kernel's own types; the modules' are read when one does not.
fn modules(base: KernelTypes) -> Modules {
    Modules::lazily(move || {
        // Without CAP_SYS_ADMIN they cannot be listed, and then there are none to look in.
        let listed = kernel::module_btfs().unwrap_or_default();
        let parse = |module: kernel::ModuleBtf| {
            let types = KernelTypes::parse_module(&module.name, module.bytes, &base).ok()?;
            Some(ModuleTypes {
                name: module.name,
                btf_id: module.id,
                types,
            })
        };
        listed.into_iter().filter_map(parse).collect()
    })
}
