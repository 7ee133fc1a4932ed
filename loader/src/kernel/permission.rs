//! EPERM, and what is done about it before it becomes an error: the memory limit of old kernels, the token of a user
//! namespace. Nothing of this is looked at while commands succeed.

use std::fs;
use std::sync::OnceLock;

use nix::errno::Errno;

use super::memlock::{self, Limit};
use super::{Capabilities, Capability, KernelError, Token, token};

/// The user namespace that the machine started with: `USER_NS_INIT_INO` of include/uapi/linux/nsfs.h.
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// Runs a command that creates something; after EPERM once more, if there is reason to think that it helps. A token that
/// the caller has is used from the start. Also says which token the last try had.
pub(super) fn retry<'a, T>(
    token: Option<&'a Token>,
    mut call: impl FnMut(Option<&'a Token>) -> Result<T, Errno>,
) -> (Result<T, Errno>, Option<&'a Token>) {
    let result = call(token);
    if token.is_some() || !matches!(result, Err(Errno::EPERM)) {
        return (result, token);
    }
    match remedy() {
        Remedy::None => (result, None),
        Remedy::Again => (call(None), None),
        Remedy::Token(token) => (call(Some(token)), Some(token)),
    }
}

/// The token that a probe should use.
pub(super) fn token_for_probes() -> Option<&'static Token> {
    in_user_namespace().then(token::delegated)?.ok()
}

enum Remedy {
    None,
    Again,
    Token(&'static Token),
}

fn remedy() -> Remedy {
    if in_user_namespace() {
        return match token::delegated() {
            Ok(token) => Remedy::Token(token),
            Err(_) => Remedy::None,
        };
    }
    if !Capabilities::effective().is_some_and(|set| set.grants(Capability::Bpf)) {
        return Remedy::None;
    }
    match memlock::raise() {
        Limit::Raised => Remedy::Again,
        Limit::NotInTheWay | Limit::Stuck { .. } => Remedy::None,
    }
}

/// Whether this process is in a user namespace of its own, where its capabilities do not count for bpf(2).
fn in_user_namespace() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        fs::read_link("/proc/self/ns/user")
            .is_ok_and(|name| name.as_os_str() != FIRST_USER_NAMESPACE)
    })
}

/// The error for EPERM of a command that had this token: what is missing, read at this moment.
pub(super) fn error(what: String, needed: &[Capability], token: Option<&Token>) -> KernelError {
    let errno = Errno::EPERM;
    if in_user_namespace() {
        let token = match token {
            Some(token) => Ok(token),
            None => token::delegated(),
        };
        let (why, evidence) = without_rights(token);
        return KernelError::Refused {
            what,
            why: why.into(),
            errno,
            evidence,
        };
    }
    match Capabilities::effective() {
        Some(set) if !set.missing(needed).is_empty() => KernelError::Permission {
            what,
            missing: set.missing(needed),
            errno,
            evidence: vec![set.evidence(needed)],
        },
        Some(_) => with_rights(what, memlock::raise(), &security_modules()),
        None => KernelError::refused(what, errno),
    }
}

/// EPERM to a process that has every capability: the memory limit, or a security module.
fn with_rights(what: String, limit: Limit, modules: &str) -> KernelError {
    let mut evidence = memlock::evidence(limit);
    let mut why = "operation not permitted";
    if evidence.is_empty() && !modules.is_empty() {
        why = "the capabilities are there, but a security module may forbid it";
        evidence.push(format!("active: {modules}"));
    }
    KernelError::Refused {
        what,
        why: why.into(),
        errno: Errno::EPERM,
        evidence,
    }
}

/// The security modules that the kernel asks, separated by commas; empty where it does not tell.
fn security_modules() -> String {
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    modules.trim().to_string()
}

/// Why a process in a user namespace may not: it has no token, or one that does not reach so far.
fn without_rights(token: Result<&Token, &str>) -> (&'static str, Vec<String>) {
    match token {
        Ok(token) => (
            "the BPF token of this user namespace does not allow it",
            vec![token.evidence()],
        ),
        Err(reason) => (
            "capabilities of a user namespace don't count here, and there is no BPF token",
            vec![
                reason.to_string(),
                "try:  in the namespace, mount a BPF file system that the host gave delegate_cmds, _maps, _progs and _attachs (Linux 6.9)".into(),
            ],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_errors_are_not_retried() {
        let mut calls = 0;
        let (result, _): (Result<(), _>, _) = retry(None, |_| {
            calls += 1;
            Err(Errno::EINVAL)
        });
        assert_eq!((result, calls), (Err(Errno::EINVAL), 1));
    }

    #[test]
    fn a_security_module_is_named() {
        let say = |modules| {
            with_rights("load program `p`".into(), Limit::NotInTheWay, modules).to_string()
        };
        assert_eq!(
            say("lockdown,bpf"),
            "load program `p`: the capabilities are there, but a security module may forbid it (EPERM)\n  active: lockdown,bpf"
        );
        assert_eq!(say(""), "load program `p`: operation not permitted (EPERM)");
    }

    #[test]
    fn no_token_says_how_to_get_one() {
        let (why, evidence) = without_rights(Err("/sys/fs/bpf: nothing is delegated"));
        let error = KernelError::Refused {
            what: "create map `flows`".into(),
            why: why.into(),
            errno: Errno::EPERM,
            evidence,
        };
        assert_eq!(
            error.to_string(),
            "create map `flows`: capabilities of a user namespace don't count here, and there is no BPF token (EPERM)
  /sys/fs/bpf: nothing is delegated
  try:  in the namespace, mount a BPF file system that the host gave delegate_cmds, _maps, _progs and _attachs (Linux 6.9)"
        );
    }
}
