//! The socket: sends one request, collects its answer. It cannot hang: each receive has a time limit, each dump a limit of
//! bytes and of attempts.

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::consts::*;
use super::error::NetlinkError;
use super::message::{Malformed, Message, Request, messages, outcome};
use crate::witness::{self, Datagram, Said, Sender};

/// The kernel answers rtnetlink requests at once; RTNL can be held for a while on a busy machine.
const TIMEOUT_SECONDS: i64 = 5;
/// A dump of 100,000 links takes about this much.
const MAX_DUMP: usize = 256 << 20;
/// How often an interrupted or overrun dump is started again.
const ATTEMPTS: usize = 10;

/// A route netlink socket of the network namespace it was opened in.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    seq: Cell<u32>,
}

impl Socket {
    /// Opens a socket in this thread's network namespace. It needs no privilege; some requests do.
    pub fn open() -> Result<Self, NetlinkError> {
        let failed = |errno| NetlinkError::Socket {
            what: "open a route socket".into(),
            errno,
        };
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .map_err(failed)?;
        let limit = TimeVal::seconds(TIMEOUT_SECONDS);
        setsockopt(&fd, sockopt::ReceiveTimeout, &limit).map_err(failed)?;
        setsockopt(&fd, sockopt::SendTimeout, &limit).map_err(failed)?;
        ask_for_extack(&fd);
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(failed)?;
        Ok(Socket {
            fd,
            seq: Cell::new(0),
        })
    }

    /// Sends a request that is answered by an acknowledgement alone.
    pub(super) fn acknowledge(&self, what: &str, request: Request) -> Result<(), NetlinkError> {
        self.exchange(what, &request, |_| {}).map(drop)
    }

    /// Sends a request for one object or a dump; `take` sees each message of the answer.
    pub(super) fn collect<T>(
        &self,
        what: &str,
        request: Request,
        kind: u16,
        mut parse: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..ATTEMPTS {
            let mut found = Vec::new();
            let answer = self.exchange(what, &request, |message| {
                if message.kind == kind {
                    found.extend(parse(message.payload));
                }
            });
            match answer {
                Ok(Dump::Whole) => return Ok(found),
                Ok(Dump::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        Err(NetlinkError::Unsettled {
            what: what.into(),
            cause: "the kernel's tables keep changing",
        })
    }

    /// One request and its answer up to the acknowledgement or the dump's end.
    fn exchange(
        &self,
        what: &str,
        request: &Request,
        mut take: impl FnMut(&Message<'_>),
    ) -> Result<Dump, NetlinkError> {
        let failed = |errno| match errno {
            // What SO_RCVTIMEO makes of a silent peer.
            Errno::EAGAIN => NetlinkError::Unsettled {
                what: what.into(),
                cause: "no answer within five seconds",
            },
            errno => NetlinkError::Socket {
                what: what.into(),
                errno,
            },
        };
        let malformed = |Malformed { cause, offset }| NetlinkError::Malformed {
            what: what.into(),
            cause,
            offset,
        };
        let seq = self.seq.get().wrapping_add(1);
        self.seq.set(seq);
        let bytes = request.clone().finish(seq);
        told(Sender::Loader, what, &bytes);
        retry(|| send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())).map_err(failed)?;
        let mut whole = Dump::Whole;
        let mut total = 0usize;
        let mut buffer = Vec::new();
        while total < MAX_DUMP {
            // Ask how long the datagram is before it is read: a fixed buffer would cut it.
            let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
            let len = match retry(|| recv(self.fd.as_raw_fd(), &mut [0u8; 1], flags)) {
                // Messages were lost: the rest is read (a second dump before its end would be refused) and asked for again.
                Err(Errno::ENOBUFS) => {
                    whole = Dump::Interrupted;
                    total = total.saturating_add(MAX_DUMP / 16);
                    continue;
                }
                result => result.map_err(failed)?,
            };
            buffer.resize(len.max(1), 0);
            let len = retry(|| recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()))
                .map_err(failed)?;
            told(Sender::Kernel, what, &buffer[..len.min(buffer.len())]);
            total = total.saturating_add(len.max(16));
            for message in messages(&buffer[..len.min(buffer.len())]) {
                let message = message.map_err(malformed)?;
                // Left over from a request that was given up.
                if message.seq != seq {
                    continue;
                }
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    whole = Dump::Interrupted;
                }
                if matches!(message.kind, NLMSG_ERROR | NLMSG_DONE) {
                    return match outcome(&message).map_err(malformed)? {
                        Ok(()) => Ok(whole),
                        Err((errno, extack)) => Err(NetlinkError::Refused {
                            what: what.into(),
                            errno,
                            extack,
                        }),
                    };
                }
                take(&message);
            }
        }
        Err(NetlinkError::Unsettled {
            what: what.into(),
            cause: "the answer has no end",
        })
    }
}

/// Tells the witness.
fn told(sender: Sender, what: &str, bytes: &[u8]) {
    witness::tell(|| {
        Said::Datagram(Datagram {
            sender,
            what: what.into(),
            len: bytes.len(),
            bytes: witness::kept(bytes),
        })
    });
}

/// Whether a dump shows one state of the kernel's table.
enum Dump {
    Whole,
    Interrupted,
}

/// A signal between two packets is no failure.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..100 {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
    Err(Errno::EINTR)
}

/// Asks for the kernel's sentences in error messages (Linux 4.12). Without them errors have an errno only.
fn ask_for_extack(fd: &OwnedFd) {
    const NETLINK_EXT_ACK: libc::c_int = 11;
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int, whose address and size are passed for the duration of the call.
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            NETLINK_EXT_ACK,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        );
    }
}
