//! One loader an interface: a lock that the kernel drops with the process, and that needs no file.
//!
//! It is a socket bound to a name in the abstract namespace (unix(7)), which belongs to the network
//! namespace, just as the interface does.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct InterfaceLock {
    _socket: UnixDatagram,
}

/// Another process holds it, or the kernel gave none.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another loader runs on this interface.
    #[error(
        "{ifname}: another xdplb-load is running on it\n  try:  stop it first, or look with xdplb-load status {ifname}"
    )]
    Held {
        /// The interface.
        ifname: String,
    },
    /// No socket.
    #[error("{ifname}: take the interface's lock: {why}")]
    Failed {
        /// The interface.
        ifname: String,
        /// The kernel's answer.
        why: std::io::Error,
    },
}

impl InterfaceLock {
    /// Takes the lock of an interface of this network namespace.
    ///
    /// # Errors
    /// [`LockError::Held`] while another process has it.
    pub fn take(ifname: &str, ifindex: u32) -> Result<Self, LockError> {
        let bound = name(ifindex).and_then(|name| UnixDatagram::bind_addr(&name));
        match bound {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(why) if why.kind() == std::io::ErrorKind::AddrInUse => Err(LockError::Held {
                ifname: ifname.into(),
            }),
            Err(why) => Err(LockError::Failed {
                ifname: ifname.into(),
                why,
            }),
        }
    }

    /// Whether a process holds the lock of this interface. It only knocks: a loader that starts in
    /// this moment is not in its way.
    pub fn is_held(ifindex: u32) -> bool {
        let knock = || UnixDatagram::unbound()?.connect_addr(&name(ifindex)?);
        knock().is_ok()
    }
}

fn name(ifindex: u32) -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("xdplb-load/{ifindex}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_second_one_is_told_and_the_third_may() {
        let first = InterfaceLock::take("test0", 4_000_000_001).unwrap();
        assert!(InterfaceLock::is_held(4_000_000_001));
        let second = InterfaceLock::take("test0", 4_000_000_001).unwrap_err();
        assert_eq!(
            second.to_string(),
            "test0: another xdplb-load is running on it\n  try:  stop it first, or look with xdplb-load status test0"
        );
        drop(first);
        assert!(!InterfaceLock::is_held(4_000_000_001));
    }
}
