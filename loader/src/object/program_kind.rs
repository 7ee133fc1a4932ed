//! From a section's name to the type of the program in it: one table.

use crate::uapi::{AttachType, ProgramType, prog_flags};

/// What kind of program the kernel is to take it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramKind {
    /// Context, helpers and return values.
    pub program_type: ProgramType,
    /// Where it will be attached, for the types whose checks depend on it.
    pub attach_type: AttachType,
    /// `BPF_F_*` of [`crate::uapi::prog_flags`].
    pub flags: u32,
}

impl ProgramKind {
    /// A program at an interface's XDP hook.
    pub const XDP: Self = Self {
        program_type: ProgramType::XDP,
        attach_type: AttachType::XDP,
        flags: 0,
    };

    /// The kind that a section's name asks for; `None` for names that are not (yet) known.
    pub fn of_section(section: &str) -> Option<Self> {
        // A leading `?` means "not loaded unless asked for" to libbpf; the type is the same.
        let section = section.strip_prefix('?').unwrap_or(section);
        SECTIONS
            .iter()
            .find(|(name, _)| *name == section)
            .map(|(_, kind)| *kind)
    }

    /// The section names of [`ProgramKind::of_section`], for messages.
    pub(super) fn known_sections() -> String {
        SECTIONS
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Names and meaning follow libbpf's `section_defs` (src/libbpf.c).
const SECTIONS: &[(&str, ProgramKind)] = &[
    ("xdp", ProgramKind::XDP),
    (
        "xdp.frags",
        ProgramKind {
            flags: prog_flags::XDP_HAS_FRAGS,
            ..ProgramKind::XDP
        },
    ),
    (
        "xdp/devmap",
        ProgramKind {
            attach_type: AttachType::XDP_DEVMAP,
            ..ProgramKind::XDP
        },
    ),
    (
        "xdp.frags/devmap",
        ProgramKind {
            attach_type: AttachType::XDP_DEVMAP,
            flags: prog_flags::XDP_HAS_FRAGS,
            ..ProgramKind::XDP
        },
    ),
    (
        "xdp/cpumap",
        ProgramKind {
            attach_type: AttachType::XDP_CPUMAP,
            ..ProgramKind::XDP
        },
    ),
    (
        "xdp.frags/cpumap",
        ProgramKind {
            attach_type: AttachType::XDP_CPUMAP,
            flags: prog_flags::XDP_HAS_FRAGS,
            ..ProgramKind::XDP
        },
    ),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn sections_give_type_attach_type_and_flags() {
        assert_eq!(ProgramKind::of_section("xdp"), Some(ProgramKind::XDP));
        assert_eq!(ProgramKind::of_section("?xdp"), Some(ProgramKind::XDP));
        let frags = ProgramKind::of_section("xdp.frags").unwrap();
        assert_eq!(
            (frags.attach_type, frags.flags),
            (AttachType::XDP, prog_flags::XDP_HAS_FRAGS)
        );
        assert_eq!(
            ProgramKind::of_section("xdp/devmap").unwrap().attach_type,
            AttachType::XDP_DEVMAP
        );
        assert_eq!(
            ProgramKind::of_section("xdp/cpumap").unwrap().attach_type,
            AttachType::XDP_CPUMAP
        );
        assert_eq!(ProgramKind::of_section("kprobe/x"), None);
    }
}
