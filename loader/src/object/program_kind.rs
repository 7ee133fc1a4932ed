//! From a section's name to the type of the program in it: one table.

use super::ObjectError;
use crate::uapi::{AttachType, ProgramType, prog_flags};

/// What kind of program the kernel is to take it for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramKind {
    /// Context, helpers and return values.
    pub program_type: ProgramType,
    /// Where it will be attached, for the types whose checks depend on it.
    pub attach_type: AttachType,
    /// `BPF_F_*` of [`crate::uapi::prog_flags`].
    pub flags: u32,
    /// What of the kernel's types the verifier has to know of it, for the types that attach to a function by its BTF id.
    pub target: AttachTarget,
}

/// What a program attaches to, as far as the kernel must know it when the program is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachTarget {
    /// Nothing: attaching says it.
    None,
    /// fentry, fexit, fmod_ret: a function of the kernel.
    Function(String),
    /// tp_btf: a raw tracepoint, whose type is the typedef `btf_trace_NAME`.
    RawTracepoint(String),
    /// A hook of the Linux security modules, the function `bpf_lsm_NAME`.
    Lsm(String),
    /// An iterator, the function `bpf_iter_NAME`.
    Iter(String),
}

/// What the name of a section says about the programs in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// They are of this kind.
    Known(ProgramKind),
    /// They are of a kind that is not loaded here.
    Unsupported {
        /// Which kind.
        what: &'static str,
        /// What it would take.
        why: &'static str,
    },
    /// Nothing.
    Unknown,
}

impl ProgramKind {
    /// A program at an interface's XDP hook.
    pub const XDP: Self = Self {
        program_type: ProgramType::XDP,
        attach_type: AttachType::XDP,
        flags: 0,
        target: AttachTarget::None,
    };

    /// The kind that a section's name asks for.
    pub fn of_section(section: &str) -> SectionKind {
        // A leading `?` means "not loaded unless asked for" to libbpf; the type is the same.
        let section = section.strip_prefix('?').unwrap_or(section);
        SECTIONS
            .iter()
            .find(|(name, _)| *name == section)
            .map_or(SectionKind::Unknown, |(_, kind)| {
                SectionKind::Known(kind.clone())
            })
    }

    /// The kind that a user names, as in `--type xdp`: a section's name or that of a program type.
    pub fn named(text: &str) -> Result<Self, ObjectError> {
        match Self::of_section(text) {
            SectionKind::Known(kind) => Ok(kind),
            SectionKind::Unsupported { what, why } => Err(ObjectError::request(format!(
                "`{text}` is a {what} program: {why}"
            ))),
            SectionKind::Unknown => Err(ObjectError::request(format!(
                "`{text}` names no type of program; known are {}",
                Self::known_sections()
            ))),
        }
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

    fn known(section: &str) -> ProgramKind {
        match ProgramKind::of_section(section) {
            SectionKind::Known(kind) => kind,
            other => panic!("{section}: {other:?}"),
        }
    }

    #[test]
    fn sections_give_type_attach_type_and_flags() {
        assert_eq!(known("xdp"), ProgramKind::XDP);
        assert_eq!(known("?xdp"), ProgramKind::XDP);
        let frags = known("xdp.frags");
        assert_eq!(
            (frags.attach_type, frags.flags),
            (AttachType::XDP, prog_flags::XDP_HAS_FRAGS)
        );
        assert_eq!(known("xdp/devmap").attach_type, AttachType::XDP_DEVMAP);
        assert_eq!(known("xdp/cpumap").attach_type, AttachType::XDP_CPUMAP);
        assert_eq!(ProgramKind::of_section("prog"), SectionKind::Unknown);
    }
}
