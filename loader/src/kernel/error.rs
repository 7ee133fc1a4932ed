//! What can go wrong behind the door, told as *what failed: why (ERRNO)* with the evidence on lines of its own.

use nix::errno::Errno;
use thiserror::Error;

use super::caps::{self, Capability};
use super::permission;
use super::rejection::Rejection;

/// An error of the kernel, or of what was about to be asked of it.
#[derive(Debug, Error)]
pub enum KernelError {
    /// A command was refused.
    #[error("{what}: {why} ({errno:?}){}", indent(.evidence))]
    Refused {
        /// The operation, such as ``create map `flows` ``.
        what: String,
        /// The reason in words.
        why: String,
        /// The kernel's answer.
        errno: Errno,
        /// Lines that support the reason.
        evidence: Vec<String>,
    },
    /// Capabilities are missing.
    #[error("{what}: missing {} ({errno:?}){}", upper(.missing), indent(.evidence))]
    Permission {
        /// The operation.
        what: String,
        /// What this process lacks.
        missing: Vec<Capability>,
        /// EPERM or EACCES.
        errno: Errno,
        /// The line `have: …   need: …`.
        evidence: Vec<String>,
    },
    /// The verifier (or the BTF checker) rejected what was loaded and wrote a log.
    #[error(transparent)]
    Rejected(Box<Rejection>),
    /// What was asked makes no sense before any kernel is involved (a key of the wrong size, a name with a zero byte).
    #[error("{what}: {why}")]
    Usage {
        /// The operation.
        what: String,
        /// The reason in words.
        why: String,
    },
}

impl KernelError {
    /// An error for `what` that the kernel answered with `errno`, explained in the kernel's own words.
    pub(super) fn refused(what: impl Into<String>, errno: Errno) -> Self {
        KernelError::Refused {
            what: what.into(),
            why: lower_first(errno.desc()),
            errno,
            evidence: Vec::new(),
        }
    }

    /// An error of a file operation that belongs to a command.
    pub(super) fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        Self::refused(
            what,
            Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        )
    }

    /// The same with a reason that says more than the errno does.
    pub(super) fn because(what: impl Into<String>, why: impl Into<String>, errno: Errno) -> Self {
        KernelError::Refused {
            what: what.into(),
            why: why.into(),
            errno,
            evidence: Vec::new(),
        }
    }

    /// Like [`KernelError::refused`]; an EPERM is explained with the capabilities, read at this moment.
    pub(super) fn privileged(what: impl Into<String>, errno: Errno, needed: &[Capability]) -> Self {
        match errno {
            Errno::EPERM => permission::error(what.into(), needed, None),
            errno => Self::refused(what, errno),
        }
    }

    /// The kernel's answer, where there was one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            KernelError::Refused { errno, .. } | KernelError::Permission { errno, .. } => {
                Some(*errno)
            }
            KernelError::Rejected(rejection) => Some(rejection.errno),
            KernelError::Usage { .. } => None,
        }
    }
}

/// The evidence as lines below the first, indented by two.
fn indent(evidence: &[String]) -> String {
    evidence.iter().map(|line| format!("\n  {line}")).collect()
}

/// `CAP_BPF, CAP_NET_ADMIN`: in the sentence the capabilities are written as in capabilities(7).
fn upper(missing: &[Capability]) -> String {
    caps::list(missing).to_uppercase()
}

/// Errno texts begin with a capital letter; our errors don't.
pub(super) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), second) if !second.is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_what_why_errno() {
        assert_eq!(
            KernelError::refused("freeze map `.rodata`", Errno::EBUSY).to_string(),
            "freeze map `.rodata`: device or resource busy (EBUSY)"
        );
        assert_eq!(
            KernelError::because("create map `m`", "unknown map type 99", Errno::EINVAL)
                .to_string(),
            "create map `m`: unknown map type 99 (EINVAL)"
        );
        assert_eq!(lower_first("RFS specific error"), "RFS specific error");
    }

    #[test]
    fn missing_capabilities_are_said_with_evidence() {
        let error = KernelError::Permission {
            what: "load program `xdp_load_balancer`".into(),
            missing: vec![Capability::Bpf],
            errno: Errno::EPERM,
            evidence: vec!["have: cap_net_admin   need: cap_bpf, cap_net_admin".into()],
        };
        assert_eq!(
            error.to_string(),
            "load program `xdp_load_balancer`: missing CAP_BPF (EPERM)\n  have: cap_net_admin   need: cap_bpf, cap_net_admin"
        );
    }
}
