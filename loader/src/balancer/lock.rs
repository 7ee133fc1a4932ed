//! One loader an interface: a lock that the kernel drops with the process, and that needs no file. Whoever holds it can be
//! asked for something: the lock is a socket that listens.
//!
//! Its name is in the abstract namespace (unix(7)), which belongs to the network namespace, just as the interface does. Both
//! ends make sure that the other is of their own user or root's.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::change::Change;

/// How long either end waits for the other's words, apart from the work itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a reload may take: neighbours are waited for, many tables are built.
const LONGEST: Duration = Duration::from_secs(300);
/// The longest request or answer.
const LARGEST: u64 = 1 << 20;

/// What a loader that runs can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// To read its file again, or this one from now on.
    Reload(Option<PathBuf>),
    /// To change one backend.
    Backend(Change),
}

/// What came of it, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It is done.
    Done(String),
    /// It is not, and nothing has changed.
    Failed(String),
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct InterfaceLock {
    socket: UnixListener,
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
        why: io::Error,
    },
}

/// The loader that runs could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{ifname}: ask the xdplb-load that runs on it: {why}")]
pub struct AskError {
    ifname: String,
    why: io::Error,
}

impl InterfaceLock {
    /// Takes the lock of an interface of this network namespace.
    ///
    /// # Errors
    /// [`LockError::Held`] while another process has it.
    pub fn take(ifname: &str, ifindex: u32) -> Result<Self, LockError> {
        let bound = name(ifindex).and_then(|name| UnixListener::bind_addr(&name));
        let socket = bound.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        match socket {
            Ok(socket) => Ok(Self { socket }),
            Err(why) if why.kind() == io::ErrorKind::AddrInUse => Err(LockError::Held {
                ifname: ifname.into(),
            }),
            Err(why) => Err(LockError::Failed {
                ifname: ifname.into(),
                why,
            }),
        }
    }

    /// Whether a process holds the lock of this interface.
    pub fn is_held(ifindex: u32) -> bool {
        let knock = || UnixStream::connect_addr(&name(ifindex)?);
        knock().is_ok()
    }

    /// Readable when somebody asks.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next that somebody asks; None where nobody does, or it is not theirs to ask.
    pub fn next(&self) -> Option<(Request, Caller)> {
        let (mut stream, _) = self.socket.accept().ok()?;
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        if let Err(why) = check_peer(&stream) {
            let _ = write(&mut stream, &Answer::Failed(why.to_string()));
            return None;
        }
        let request = read(&mut stream).ok()?;
        Some((request, Caller(stream)))
    }
}

/// Who asked, and waits for the answer.
#[derive(Debug)]
pub struct Caller(UnixStream);

impl Caller {
    /// Answers. Who went away is not told.
    pub fn answer(mut self, answer: &Answer) {
        let _ = write(&mut self.0, answer);
    }
}

/// Asks the loader that runs on an interface; None where there is none.
///
/// # Errors
/// It does not answer, or is somebody else's.
pub fn ask(ifname: &str, ifindex: u32, request: &Request) -> Result<Option<Answer>, AskError> {
    let connected = name(ifindex).and_then(|name| UnixStream::connect_addr(&name));
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        Err(why) => return Err(AskError::of(ifname, why)),
    };
    let talk = |stream: &mut UnixStream| {
        check_peer(stream)?;
        stream.set_read_timeout(Some(LONGEST))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write(stream, request)?;
        read(stream)
    };
    let answer = talk(&mut stream).map_err(|why| AskError::of(ifname, why))?;
    Ok(Some(answer))
}

impl AskError {
    fn of(ifname: &str, why: io::Error) -> Self {
        Self {
            ifname: ifname.into(),
            why,
        }
    }
}

fn name(ifindex: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("xdplb-load/{ifindex}"))
}

/// Only our own user and root may ask, or be asked: anybody in the network namespace can connect, or take the name.
fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let peer = getsockopt(stream, sockopt::PeerCredentials)?.uid();
    let own = nix::unistd::geteuid().as_raw();
    if peer == 0 || peer == own {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the other end is user {peer}'s, neither root's nor user {own}'s own"
    )))
}

/// A message is a line.
fn write(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    stream.shutdown(std::net::Shutdown::Write)
}

fn read<T: for<'de> Deserialize<'de>>(stream: &mut UnixStream) -> io::Result<T> {
    let mut line = Vec::new();
    stream.take(LARGEST).read_to_end(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::other("it went away without a word"));
    }
    Ok(serde_json::from_slice(&line)?)
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

    #[test]
    fn who_holds_it_is_asked_and_answers() {
        const IFINDEX: u32 = 4_000_000_002;
        let request = Request::Reload(Some("/etc/lb.toml".into()));
        assert_eq!(ask("test0", IFINDEX, &request).unwrap(), None);
        let lock = InterfaceLock::take("test0", IFINDEX).unwrap();
        assert!(lock.next().is_none());
        let sent = request.clone();
        let asking = std::thread::spawn(move || ask("test0", IFINDEX, &sent).unwrap());
        let (got, caller) = loop {
            match lock.next() {
                Some(call) => break call,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        assert_eq!(got, request);
        caller.answer(&Answer::Done("as you like".into()));
        let answer = asking.join().unwrap();
        assert_eq!(answer, Some(Answer::Done("as you like".into())));
        // A knock, and somebody who went away, are nobody's request.
        assert!(InterfaceLock::is_held(IFINDEX));
        assert!(lock.next().is_none());
    }

    #[test]
    fn an_end_without_a_word_is_said() {
        let error = AskError::of("veth6", io::Error::other("it went away without a word"));
        assert_eq!(
            error.to_string(),
            "veth6: ask the xdplb-load that runs on it: it went away without a word"
        );
    }
}
