//! What the program and its loader share: the layout of every map key and value.
//!
//! Addresses and ports stand in network byte order, as they do in a packet, so a key is
//! copied from a header without a swap. Everything else is in the host's order.
//! The layouts are asserted where they are declared: a map that outlives its loader is
//! read by the next one.
//!
//! ```text
//!   services (hash)          tables (array)        members (array)      backends (array)
//!   10.0.0.10:80/tcp ──────▶ slot of the flow's ──▶ number among the ──▶ address, port, MAC, state
//!     mode, ports, where     hash                   service's own
//!     table and members are
//!
//!   index (array of buckets)                connections (array)
//!   hash of a packet's key ──────────────▶ client, service, backend, MACs, state
//! ```

mod events;
mod flows;
mod numbers;
mod services;

pub use events::*;
pub use flows::*;
pub use numbers::*;
pub use services::*;
