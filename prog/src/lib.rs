//! The data plane of xdplb: a one-arm load balancer for TCP and UDP over IPv4 and IPv6, at the XDP hook.
//!
//! Plain Rust without `std`, allocation or panics, compiled twice: for BPF, where `main.rs` binds
//! it to maps and helpers, and for the host, where [`model`] binds it to standard collections and
//! the tests run it. Start reading at [`balance`].
#![cfg_attr(feature = "bpf", no_std, feature(asm_experimental_arch))]

pub mod abi;
pub mod balance;
pub mod checksum;
pub mod claim;
pub mod counters;
pub mod family;
pub mod flow;
#[cfg(feature = "bpf")]
pub mod helpers;
pub mod icmp;
pub mod index;
#[cfg(not(feature = "bpf"))]
pub mod model;
#[cfg(not(feature = "bpf"))]
pub mod model_tables;
pub mod opaque;
pub mod open;
pub mod packet;
pub mod pick;
pub mod place;
pub mod reset;
pub mod rewrite;
pub mod route;
pub mod service;
pub mod slot;
pub mod state;
pub mod step;
pub mod too_big;
pub mod tunnel;
pub mod watch;
pub mod world;
