//! Loads BPF objects into the kernel and attaches them, with raw bpf(2) and netlink, and runs the load balancer on top.
//!
//! `object` is pure (bytes → `Spec` → `Plan`), `kernel` and `netlink` are the two places with effects; the three never
//! import each other. `load` joins them, `balancer` and `commands` build on `load`. `uapi` holds the numbers all agree on.

pub mod balancer;
pub mod commands;
pub mod kernel;
pub mod load;
pub mod netlink;
pub mod object;
pub mod uapi;

/// The XDP program that `build.rs` compiled and linked: an ELF object, which [`object::Spec::parse`] reads. Its entry is
/// `xdp_load_balancer`; maps, constants and layouts are those of `xdplb_prog`.
pub static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/prog.o"));
