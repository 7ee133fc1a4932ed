//! The end-to-end tests: what they share. The tests themselves are in `tests/tests`.

pub mod balancer;
pub mod bpffs;
pub mod client;
pub mod content;
pub mod damage;
pub mod decap;
pub mod files;
pub mod frames;
pub mod netns;
pub mod objects;
pub mod ping;
pub mod privilege;
pub mod program;
pub mod refusal;
pub mod rtnl;
pub mod run;
pub mod scenarios;
pub mod server;
pub mod tags;
pub mod tap;
pub mod topology;
pub mod trace;
pub mod xdp;
