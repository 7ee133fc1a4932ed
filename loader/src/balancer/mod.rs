//! The load balancer's control plane: configuration, mode, lock, tables; each a file. What it puts into the kernel goes
//! through `crate::load`, what it asks of the network through `crate::netlink`.

pub mod config;
pub mod listen;
pub mod lock;
pub mod mode;
pub mod tables;
