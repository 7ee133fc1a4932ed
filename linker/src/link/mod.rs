//! A link, as a list of passes.
//!
//! ```text
//! inputs ─ read ─▶ modules ─ split ─▶ atoms ─ resolve ─▶ references ─ live ─▶ what stays
//!                                                                              │
//!                     bytes ◀─ write ─ image ◀─ assemble, types ◀─ layout ◀─ check, place
//! ```
//!
//! Each pass takes values and returns a new one; what holds after it stands beside its call in [`link`].
//!
//! **Invariants.** Equal inputs give equal bytes. Debug information (DWARF) never reaches the output. Nothing in the
//! output is there that no root reaches: roots are the programs (functions in sections other than `.text`), what the
//! loader looks up by section (`.maps`, `license`, `version`, and sections this linker does not know), and the
//! exported variables.

mod advice;
mod agree;
mod assemble;
mod atoms;
mod bitcode;
mod calls;
mod check;
mod error;
mod explain;
mod flow;
pub mod frames;
mod inputs;
mod live;
mod place;
mod problem;
mod records;
mod refusal;
mod resolve;
mod source;
mod symbols;
mod types;
mod types_found;
mod view;

use std::collections::BTreeSet;

pub use error::{Caller, LinkError, Site};
pub use explain::Report;
pub use problem::{Check, Problem};
pub use refusal::Refusal;
pub use source::{SourceLine, is_library_file, readable};
use view::View;

/// One file to link: an object or an archive of objects.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What errors call it, usually its path.
    pub name: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What a link is to do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which variables stay although no instruction refers to them.
    pub exports: Exports,
    /// Functions that stay although nothing calls them. What rustc exports is not among them: it names every
    /// `#[no_mangle]` function of every crate.
    pub functions: BTreeSet<String>,
    /// Checks that warn instead of refusing.
    pub allow: BTreeSet<Check>,
    /// What to tell about the link.
    pub reports: Vec<Report>,
}

/// Variables that someone outside looks up by name, such as the loader that sets a constant before the load.
///
/// A function that is named stays global, if anything calls it: the kernel then verifies it alone, once, for every
/// argument it could be given, instead of anew at every call. It may take and return scalars only, and the context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Exports {
    /// Every global variable.
    #[default]
    All,
    /// Those with these names (rustc's `--export-symbols`: what is `#[no_mangle]`).
    Named(BTreeSet<String>),
}

/// A linked object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The ELF file.
    pub bytes: Vec<u8>,
    /// What some kernels would refuse, or what looks wrong without being certain.
    pub warnings: Vec<Refusal>,
    /// What was left aside without harm, a line each.
    pub notes: Vec<String>,
    /// The texts of the reports, in the order in which they were asked for.
    pub reports: Vec<String>,
}

/// Links objects and archives into one loadable object.
pub fn link(inputs: &[Input<'_>], options: &Options) -> Result<Output, LinkError> {
    let inputs::Inputs {
        mut modules,
        bitcode,
    } = inputs::read(inputs)?;
    // From here on every module is a well-formed BPF object, and no module is added.
    symbols::settle(&mut modules)?;
    // From here on every name that modules share has one definition.
    agree::types(&modules)?;
    agree::sections(&modules)?;
    // And they mean the same by it, and have the same license.
    let atoms = atoms::split(&modules);
    // Every byte that may reach the output belongs to exactly one atom, which stays or goes as a whole.
    let references = resolve::references(&modules, &atoms)?;
    // Every relocation, and every call that needed none, leads to an atom or to a symbol nobody defines.
    let live = live::mark(&modules, &atoms, &references, options)?;
    let view = View::new(&modules, &atoms, &references, &live, options);
    explain::check_names(&view)?;
    let warnings =
        check::code(&view).map_err(|error| bitcode::explain(error, &modules, &bitcode))?;
    // What is live is defined, jumps only within itself, cannot panic, and fits the kernel's limits.
    let layout = place::layout(&atoms, &live)?;
    // Every live atom has its place in the output.
    let mut image = assemble::image(&modules, &atoms, &references, &layout, options)?;
    let reports = if options.reports.is_empty() {
        // Nobody asks the modules for their types any more.
        drop(view);
        let types = modules.iter_mut().map(|module| module.types.take());
        let types = types.collect();
        let debug = types::describe(&modules, types, &atoms, &layout, &image, options)?;
        image.sections.extend(debug);
        Vec::new()
    } else {
        let types = modules.iter().map(|module| module.types.clone());
        let types = types.collect();
        let debug = types::describe(&modules, types, &atoms, &layout, &image, options)?;
        image.sections.extend(debug);
        explain::reports(&view, &layout, &image)?
    };
    // The types describe the live functions and variables, each at its final place, as the kernel wants them.
    let bytes = crate::elf::write::write(&image).map_err(LinkError::Write)?;
    let notes = bitcode::notes(&bitcode);
    Ok(Output {
        bytes,
        warnings,
        notes,
        reports,
    })
}
