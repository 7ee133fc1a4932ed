//! EFFECTS: everything that is said to the kernel through bpf(2), behind one unsafe door.
//!
//! `syscall` holds the door and builds the attribute block; each other file is one concept on top of it: maps, programs,
//! BTF, links, pins, ids, information about what is loaded, feature probes. Nothing here knows ELF or netlink: file
//! descriptors, bytes and names come in, owned descriptors and typed errors go out.

mod btf;
mod caps;
mod code;
mod config;
mod cpus;
mod error;
mod features;
mod ids;
mod info;
mod kinds;
mod layout;
mod link;
mod log;
mod map;
mod map_batch;
mod map_definition;
mod map_queue;
mod mapping;
mod memlock;
mod permission;
mod pin;
mod program;
mod rehearsal;
mod rejection;
mod release;
mod ring;
mod summary;
mod symbols;
mod syscall;
mod test_run;
mod token;
mod trail;
mod vmlinux;
mod words;

pub use btf::Btf;
pub use caps::{Capabilities, Capability};
pub use code::ProgramCode;
pub use config::{kernel_config, kernel_version};
pub use cpus::{page_size, possible_cpus};
pub use error::KernelError;
pub use features::{Feature, supports};
pub use ids::{btf_ids, link_ids, map_ids, program_ids};
pub use info::{BtfInfo, LinkInfo, MapInfo, ProgramInfo};
pub use kinds::{has_map_type, has_program_type, map_type_since, program_type_since};
pub use link::{Link, XdpLinkMode};
pub use map::{Map, Update};
pub use map_batch::Pair;
pub use map_definition::{KernelValue, MapDefinition, MapShape, TypeIds};
pub use pin::{BpfFs, open_map, open_program, unpin};
pub use program::{Program, ProgramDefinition, Records, VerifierLog};
pub use rehearsal::rehearse;
pub use rejection::Rejection;
pub use release::Release;
pub use ring::{Record, RingBuffer};
pub use summary::{Located, LogSummary};
pub use symbols::kernel_symbols;
pub use test_run::{TestRun, TestRunResult};
pub use token::Token;
pub use trail::Moment;
pub use vmlinux::{KernelBtf, ModuleBtf, kernel_btf, module_btfs};
pub use words::InWords;

use std::ffi::CString;

use crate::uapi::OBJ_NAME_LEN;

/// A name as the kernel takes it: at most 15 bytes of `[A-Za-z0-9_.]`, everything else becomes `_`
/// (`bpf_obj_name_cpy` in kernel/bpf/syscall.c refuses other bytes with EINVAL).
pub fn object_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' || c == '.' {
                c
            } else {
                '_'
            }
        })
        .take(OBJ_NAME_LEN - 1)
        .collect()
}

/// A name or path as the kernel's C string. What follows a zero byte would be lost there, so it is an error here.
fn c_string(what: &str, text: &[u8]) -> Result<CString, KernelError> {
    CString::new(text).map_err(|_| KernelError::Usage {
        what: format!(
            "{what} `{}`",
            String::from_utf8_lossy(text).escape_default()
        ),
        why: "holds a zero byte".into(),
    })
}

/// The text of a fixed-size kernel name up to its terminating zero.
fn name_from_bytes(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn names_are_cut_and_cleaned() {
        assert_eq!(object_name("xdp_load_balancer"), "xdp_load_balanc");
        assert_eq!(object_name("a b-c.d"), "a_b_c.d");
        assert_eq!(object_name("größe"), "gr__e");
        assert_eq!(name_from_bytes(b"pass\0\0junk"), "pass");
        assert_eq!(
            c_string("path", b"a\0b").unwrap_err().to_string(),
            "path `a\\u{0}b`: holds a zero byte"
        );
    }
}
