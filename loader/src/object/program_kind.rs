//! What kind of program the kernel is to take instructions for; which section names say so stands in `sections`.

use super::{ObjectError, sections};
use crate::uapi::{AttachType, ProgramType};

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// A function of a struct of operations.
    Member {
        /// The kernel's struct.
        ops: String,
        /// Which of its members.
        member: String,
    },
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
        sections::kind_of(section)
    }

    /// The kind that a user names, as in `--type xdp`: what a section would be called, or a program type of the kernel.
    pub fn named(text: &str) -> Result<Self, ObjectError> {
        match Self::of_section(text) {
            SectionKind::Known(kind) => return Ok(kind),
            SectionKind::Unsupported { what, why } => {
                let cause =
                    format!("`{text}` is a {what} program, which is not loaded here: {why}");
                return Err(ObjectError::request(cause));
            }
            SectionKind::Unknown => {}
        }
        let named = ProgramType::ALL.iter().find(|ty| ty.name() == Some(text));
        match named {
            Some(&program_type) if program_type != ProgramType::UNSPEC => Ok(Self {
                program_type,
                attach_type: AttachType::NONE,
                flags: 0,
                target: AttachTarget::None,
            }),
            Some(_) | None => {
                let known: Vec<&str> = ProgramType::ALL[1..]
                    .iter()
                    .filter_map(|ty| ty.name())
                    .collect();
                Err(ObjectError::request(format!(
                    "`{text}` names no type of program: the name of a section does (xdp, tc, xdp.frags, cgroup/connect4), or {}",
                    known.join(", ")
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_type_is_named_as_a_section_or_as_the_kernel_does() {
        let named = |text| ProgramKind::named(text).unwrap();
        assert_eq!(named("xdp"), ProgramKind::XDP);
        assert_eq!(named("sched_cls").program_type, ProgramType::SCHED_CLS);
        assert_eq!(
            named("socket_filter").program_type,
            ProgramType::SOCKET_FILTER
        );
        assert_eq!(
            named("cgroup/connect4").attach_type,
            AttachType::CGROUP_INET4_CONNECT
        );
        let error = |text| ProgramKind::named(text).unwrap_err().to_string();
        assert!(
            error("xpd").starts_with(
                "`xpd` names no type of program: the name of a section does (xdp, tc, xdp.frags, cgroup/connect4), or socket_filter, kprobe, sched_cls,"
            ),
            "{}",
            error("xpd")
        );
        assert_eq!(
            error("struct_ops/init"),
            "`struct_ops/init` is a struct_ops program, which is not loaded here: no struct in section `.struct_ops` says what it is for"
        );
    }
}
