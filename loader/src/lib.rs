//! Loads BPF objects into the kernel and attaches them, with raw bpf(2) and netlink, and runs the load balancer on top.
//!
//! The library in one breath: [`Object::parse`] reads an ELF object and touches nothing; what it says may be changed (sizes,
//! constants, types of programs); [`Object::load`] or [`load`](fn@load) puts every map and program into the kernel, or
//! nothing; the [`Loaded`] holds them by name: [`Map`] to read and write, [`Program`] to run or attach; an [`Attachment`] is a
//! program at an interface until it is dropped.
//!
//! ```no_run
//! use xdplb_loader::{Attachment, Mode, Object};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut object = Object::parse(&std::fs::read("counter.o")?)?;
//!     object.set_max_entries("packets", 256)?; // before it exists
//!     object.set_value("SAMPLE_RATE", "100")?; // a constant to the verifier
//!     let loaded = object.load()?;
//!     let attached = Attachment::xdp(loaded.program("count")?, "eth0", Mode::Native)?;
//!     let packets = loaded.map("packets")?.lookup(&0u32.to_ne_bytes())?;
//!     println!("{packets:?}");
//!     attached.detach()?; // so would dropping it; `keep` leaves it there
//!     Ok(())
//! }
//! ```
//!
//! Runnable: `cargo run --example counter`, `tail_calls`, `ring`. [`load::load_each`] loads what can be loaded of an object and
//! reports the rest; a [`Plan`] says beforehand what would be asked of the kernel; an observer of [`load::Step`]s watches.
//!
//! Inside, `object` is pure (bytes → `Spec` → `Plan`), `kernel` and `netlink` are the two places with effects; the three never
//! import each other. `load` joins them, `balancer` and `commands` build on `load`. `uapi` holds the numbers all agree on;
//! `witness` hears what the two say to the kernel.

pub mod attach;
pub mod balancer;
pub mod commands;
pub mod inspect;
pub mod kernel;
pub mod load;
pub mod netlink;
pub mod object;
pub mod page;
pub mod story;
pub mod uapi;
pub mod witness;

pub use attach::{Attachment, Detached};
pub use balancer::signals::Stop;
pub use kernel::{Map, Program, RingBuffer, Update};
pub use load::{LoadError, LoadOptions, Loaded, load};
pub use netlink::Mode;
/// A BPF object as its file says it, before anything is asked of the kernel.
pub use object::Spec as Object;
pub use object::{ObjectError, Plan};

/// The XDP program that `build.rs` compiled and linked: an ELF object, which [`Object::parse`] reads. Its entry is
/// `xdp_load_balancer`; maps, constants and layouts are those of `xdplb_prog`.
pub static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/prog.o"));
