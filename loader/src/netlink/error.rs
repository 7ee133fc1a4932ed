//! What can go wrong on the netlink socket. The kernel's own sentence (extack) is shown where it gives one.

use nix::errno::Errno;
use thiserror::Error;

/// An error of the kernel's answer or of the way to it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NetlinkError {
    /// The kernel refused the request.
    #[error("{what}: {} ({errno:?})", reason(.extack.as_deref(), *.errno))]
    Refused {
        /// The operation, such as `attach to interface 5 (native)`.
        what: String,
        /// The kernel's answer.
        errno: Errno,
        /// The kernel's sentence about it (NLMSGERR_ATTR_MSG).
        extack: Option<String>,
    },
    /// The socket itself failed.
    #[error("{what}: netlink: {} ({errno:?})", reason(None, *.errno))]
    Socket {
        /// The operation.
        what: String,
        /// Why.
        errno: Errno,
    },
    /// The answer could not be understood.
    #[error("{what}: netlink: malformed answer: {cause} at byte {offset}")]
    Malformed {
        /// The operation.
        what: String,
        /// What was wrong.
        cause: &'static str,
        /// Where in the datagram.
        offset: usize,
    },
    /// The kernel's tables kept changing, or the answer had no end.
    #[error("{what}: netlink: {cause}")]
    Unsettled {
        /// The operation.
        what: String,
        /// What did not end.
        cause: &'static str,
    },
}

impl NetlinkError {
    /// The kernel's answer, where there was one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            NetlinkError::Refused { errno, .. } | NetlinkError::Socket { errno, .. } => {
                Some(*errno)
            }
            NetlinkError::Malformed { .. } | NetlinkError::Unsettled { .. } => None,
        }
    }

    /// The kernel's sentence, where there was one.
    pub fn extack(&self) -> Option<&str> {
        match self {
            NetlinkError::Refused { extack, .. } => extack.as_deref(),
            NetlinkError::Socket { .. }
            | NetlinkError::Malformed { .. }
            | NetlinkError::Unsettled { .. } => None,
        }
    }
}

/// The extack's sentence as it is, or the errno's in lower case.
fn reason(extack: Option<&str>, errno: Errno) -> String {
    let text = extack.unwrap_or_else(|| errno.desc()).trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), text.chars().nth(1)) {
        // `XDP program …` keeps its capitals, `Device …` does not.
        (Some(first), second) if !second.is_some_and(|c| c.is_uppercase()) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_sentence_comes_first() {
        let mut error = NetlinkError::Refused {
            what: "attach to interface 5 (native)".into(),
            errno: Errno::EBUSY,
            extack: Some("XDP program already attached".into()),
        };
        assert_eq!(
            error.to_string(),
            "attach to interface 5 (native): XDP program already attached (EBUSY)"
        );
        error = NetlinkError::Refused {
            what: "attach".into(),
            errno: Errno::EOPNOTSUPP,
            extack: None,
        };
        assert_eq!(
            error.to_string(),
            "attach: operation not supported on transport endpoint (EOPNOTSUPP)"
        );
        error = NetlinkError::Refused {
            what: "attach".into(),
            errno: Errno::ERANGE,
            extack: Some("Peer MTU is too large to set XDP.".into()),
        };
        assert_eq!(
            error.to_string(),
            "attach: peer MTU is too large to set XDP (ERANGE)"
        );
    }

    #[test]
    fn other_failures_say_netlink() {
        assert_eq!(
            NetlinkError::Malformed {
                what: "list links".into(),
                cause: "attribute past the end",
                offset: 40
            }
            .to_string(),
            "list links: netlink: malformed answer: attribute past the end at byte 40"
        );
        assert_eq!(
            NetlinkError::Socket {
                what: "list links".into(),
                errno: Errno::EPERM
            }
            .to_string(),
            "list links: netlink: operation not permitted (EPERM)"
        );
        assert_eq!(
            NetlinkError::Unsettled {
                what: "list links".into(),
                cause: "no answer within five seconds"
            }
            .to_string(),
            "list links: netlink: no answer within five seconds"
        );
    }
}
