//! The load balancer's control plane. There is one way for a configuration to reach the kernel, whether it comes from a start, a
//! changed file or a command: `service::Config` → [`image`] (pure: everything that the maps will hold) → [`install`] (new maps over
//! the flows of the old ones, then one replacement).
//!
//! Pure: `service` and what reads it (`toml_file`, `simple`, `excerpt`), `maglev`, `image`, `before`, `ids`, `change`, `diff`,
//! `mode`, `program`, `settings`, `tables`, `packet`, `event`, `filter`, `pcapng`. With effects: `device`, `lock`, `watch`, `running`, `readback`, `layout`, `flows`,
//! `view`, `adopt`, `neighbour`, `pins`, `attachment`, `next`, `install`, `signals`; `twin` (the
//! running program a second time, with other constants) and on it `ask` and `tracer`.

pub mod adopt;
pub mod ask;
pub mod attachment;
pub mod before;
pub mod change;
pub mod device;
pub mod diff;
pub mod event;
pub mod excerpt;
pub mod filter;
pub mod flows;
pub mod ids;
pub mod image;
pub mod install;
pub mod layout;
pub mod lock;
pub mod maglev;
pub mod mode;
pub mod neighbour;
pub mod next;
pub mod packet;
pub mod pcapng;
pub mod pins;
pub mod program;
pub mod readback;
pub mod running;
pub mod service;
pub mod settings;
pub mod signals;
pub mod simple;
pub mod tables;
pub mod toml_file;
pub mod tracer;
pub mod twin;
pub mod view;
pub mod watch;
