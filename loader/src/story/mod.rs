//! One load as a value: what happened, in order, with every byte that went to the kernel and what it means. `--explain=json`
//! is this value as it stands; the texts and pages of `--explain` are made of it.
//!
//! A [`Recorder`] makes it: it watches the load path as an observer of its steps, and listens at the two doors to the kernel
//! (`crate::witness`). It decides nothing and knows nothing that was not said there; what a field is for comes from one table
//! (`fields`), what its value means from another (`words`).
//!
//! ```text
//!   fields     the fields of each bpf(2) command: name, place, sort, purpose
//!   words      values in words: types, flags, errnos
//!   info       the structures behind its pointers
//!   call       a command that was given → its fields, and what they point to
//!   netlink    a datagram → the tree of its messages and attributes
//!   log        the verifier's log → what it knew of the registers, by instruction
//!   lines      the steps of the load path, a line each
//!   program    instructions: object, relocated, xlated, machine code, with their lines
//!   recorder   puts it together
//!   text       the story for a terminal
//! ```
//!
//! Bytes are strings of hex digits, two a byte, in the order of memory. Offsets and widths are in bytes, instructions are
//! counted in slots of eight bytes from the program's start, lines and columns from 1.

mod call;
mod code;
mod data;
mod fields;
mod info;
mod lines;
mod log;
mod netlink;
mod program;
mod recorder;
mod text;
mod words;

pub use data::*;
pub use lines::{line, lines};
pub use recorder::{Recorder, is_done};
pub use text::{Colour, lack_line, text};

impl Story {
    /// Its commands.
    pub fn calls(&self) -> Vec<CallOf> {
        let calls = self.events.iter().filter_map(|event| match &event.what {
            What::Call(call) => Some(call.clone()),
            What::Step { .. } | What::Probe { .. } | What::Netlink(_) => None,
        });
        calls.collect()
    }

    /// Its commands, a line each.
    pub fn commands(&self) -> impl Iterator<Item = String> + '_ {
        self.events.iter().filter_map(|event| match &event.what {
            What::Call(call) => {
                let about = call.fields.iter().find(|part| {
                    part.name.ends_with("_name")
                        || part.name.ends_with("fd") && !part.words.is_empty()
                });
                let about = about.map(|part| match part.words.as_str() {
                    "" => part.value.trim_matches('"'),
                    words => words,
                });
                let (about, size) = (about.unwrap_or_default(), call.bytes.len() / 2);
                Some(
                    format!("{:<24} {size:3} bytes  {about}", call.name)
                        .trim_end()
                        .to_string(),
                )
            }
            What::Step { .. } | What::Probe { .. } | What::Netlink(_) => None,
        })
    }

    /// What the kernel that a dry run is for would make of it, a line each.
    pub fn foretold_lines(&self) -> Vec<String> {
        let Some(foretold) = &self.foretold else {
            return Vec::new();
        };
        let head = match foretold.lacks.is_empty() {
            true => format!("Linux {}", foretold.release),
            false => format!(
                "Linux {}, which refuses what it has not where the verifier gets to it",
                foretold.release
            ),
        };
        let mut lines = vec![head];
        lines.extend(
            foretold
                .lacks
                .iter()
                .map(|lack| format!("  {}", lack_line(lack))),
        );
        lines.extend(foretold.manners.iter().map(|manner| format!("  {manner}")));
        if lines.len() == 1 {
            lines.push("  has all that it asks for".into());
        }
        lines
    }
}

impl CallOf {
    /// `BPF_MAP_CREATE → descriptor 5`.
    fn in_a_line(&self) -> String {
        let purpose = self
            .purpose
            .as_ref()
            .map(|what| format!(" (to find out: {what})"));
        let result = self
            .result
            .as_ref()
            .map(|result| format!(" → {}", result.words));
        let (purpose, result) = (purpose.unwrap_or_default(), result.unwrap_or_default());
        format!("bpf({}){purpose}{result}", self.name)
    }
}

impl NetlinkOf {
    /// `netlink, loader: RTM_SETLINK, 60 bytes`.
    fn in_a_line(&self) -> String {
        let names: Vec<&str> = self
            .messages
            .iter()
            .map(|part| part.name.as_str())
            .collect();
        format!(
            "netlink, {}: {}, {} bytes",
            self.sender,
            names.join(", "),
            self.len
        )
    }
}

impl Stage {
    /// All of them, in the order of a load.
    pub const ALL: [Stage; 10] = [
        Stage::Read,
        Stage::Machine,
        Stage::Plan,
        Stage::Types,
        Stage::Maps,
        Stage::Programs,
        Stage::GivenBack,
        Stage::Fill,
        Stage::Attach,
        Stage::After,
    ];

    /// Its name, and what happens in it.
    pub fn told(self) -> (&'static str, &'static str) {
        match self {
            Stage::Read => (
                "Read the object",
                "The ELF file's sections become a specification: programs, maps, data, types. Nothing is asked of the machine.",
            ),
            Stage::Machine => (
                "Read the machine",
                "What the object asks of this kernel: its types for CO-RE, addresses of symbols, its configuration.",
            ),
            Stage::Plan => (
                "Plan",
                "Functions are put together to programs, instructions fitted to this kernel's types; what waits for a map's descriptor is noted.",
            ),
            Stage::Types => (
                "Load the types",
                "The object's types (BTF) go to the kernel, so that maps and programs can refer to them.",
            ),
            Stage::Maps => (
                "Create the maps",
                "Each map is created; data is written into its map, and constants are frozen so that the verifier knows them.",
            ),
            Stage::Programs => (
                "Load the programs",
                "Instructions get the descriptors of their maps; the verifier follows every path of the program.",
            ),
            Stage::GivenBack => (
                "What the kernel gives back",
                "The instructions as the verifier rewrote them, and the machine code that the processor runs.",
            ),
            Stage::Fill => (
                "Fill the tables",
                "What the programs look up is written before the first packet can ask for it.",
            ),
            Stage::Attach => (
                "Attach",
                "A netlink message puts the program at its interface.",
            ),
            Stage::After => ("Afterwards", "What else was asked of the kernel."),
        }
    }
}
