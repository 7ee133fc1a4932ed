//! The BPF object format, and a static linker for it that needs no LLVM.
//!
//! Two readers: the loader, which takes objects apart with [`insn`], [`btf`], [`btf_ext`] and [`elf`], and whoever
//! wants one loadable object from what rustc or clang wrote: [`link`](mod@link), and [`command`] for the tool
//! `xdplb-ld` as a function.
//!
//! **Invariants.** Parsing is pure and total: any bytes give a value or a [`ParseError`] that names section, offset
//! and cause. The same inputs give the same output bytes. This crate knows neither the loader nor the program.

pub mod btf;
pub mod btf_ext;
mod bytes;
pub mod command;
pub mod elf;
mod error;
mod hash;
pub mod insn;
pub mod link;

pub use error::{Cause, ParseError};
