//! PURE: the bytes of a BPF object → [`Spec`] (what it says) → [`Plan`] (what to ask of the kernel).
//!
//! Nothing here opens a file, reads the machine or makes a system call: the same bytes give the same `Spec`, on any machine.
//! File descriptors reach this module as plain numbers ([`MapFds`]), when a plan's instructions are wanted with the maps
//! filled in. The formats themselves (ELF, instructions, BTF) are `xdplb_linker`'s.
//!
//! **Invariant.** Any byte string gives a `Spec` or an [`ObjectError`] that names section, offset and cause; the work and the
//! memory are bounded by the size of the input.

mod aim;
mod arena;
mod btf;
#[cfg(test)]
#[path = "../../tests/support/build.rs"]
pub(crate) mod build;
pub mod core;
mod data;
mod error;
#[cfg(test)]
mod errors_tests;
mod externs;
mod functions;
mod identify;
mod kconfig;
mod kernel_names;
#[cfg(test)]
mod kernel_names_tests;
mod kernel_references;
mod kernel_types;
mod layout;
mod legacy;
#[cfg(test)]
mod legacy_tests;
mod map_plan;
mod map_spec;
mod maps;
mod outline;
mod plan;
mod program_kind;
mod records;
mod relocate;
mod sections;
mod similar;
mod simplify;
mod spec;
mod struct_ops;
mod target;
#[cfg(test)]
mod tests;
mod type_names;
mod values;
#[cfg(test)]
mod values_tests;

pub(crate) use aim::Aim;
pub(crate) use core::question as core_question;
pub use error::ObjectError;
pub use kernel_types::{KernelTypes, ModuleTypes, Modules};
pub use map_spec::{Freeze, MapSpec, Pinning, SlotValue};
pub(crate) use outline::{FunctionOutline, Wanted, file_types};
pub use plan::{FittedInsn, MapFds, MapPlan, Original, Patch, PatchTarget, Plan, ProgramPlan};
pub use program_kind::{AttachTarget, ProgramKind, SectionKind};
pub use records::SourceLine;
pub use simplify::{BtfKinds, Known, simplify};
pub use spec::{ProgramSpec, Spec};
pub use target::{Needs, Target};
