//! The load balancer's control plane: a start is a list of steps (`commands::run`), and each step is a file here. What goes
//! into the kernel goes through `crate::load`, what is asked of the network through `crate::netlink`.
//!
//! Pure: `service` and what reads it (`toml_file`, `simple`, `excerpt`), `maglev`, `config`, `listen`, `mode`, `program`,
//! `settings`, `tables`. With effects: `device`, `lock`, `running`, `adopt`, `neighbour`, `pins`, `attachment`, `signals`.

pub mod adopt;
pub mod attachment;
pub mod config;
pub mod device;
pub mod excerpt;
pub mod listen;
pub mod lock;
pub mod maglev;
pub mod mode;
pub mod neighbour;
pub mod pins;
pub mod program;
pub mod running;
pub mod service;
pub mod settings;
pub mod signals;
pub mod simple;
pub mod tables;
pub mod toml_file;
