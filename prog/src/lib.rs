//! The data plane of xdplb: a one-arm, full-NAT load balancer for TCP over IPv4, at the XDP hook.
//!
//! Plain Rust without `std`, allocation or panics, compiled twice: for BPF, where `main.rs` binds
//! it to maps and helpers, and for the host, where [`model`] binds it to standard collections and
//! the tests run it. Start reading at [`balance`].
#![cfg_attr(feature = "bpf", no_std)]

pub mod abi;
pub mod balance;
pub mod checksum;
pub mod counters;
pub mod flow;
#[cfg(feature = "bpf")]
pub mod helpers;
#[cfg(not(feature = "bpf"))]
pub mod model;
pub mod packet;
pub mod pick;
pub mod rewrite;
pub mod world;
