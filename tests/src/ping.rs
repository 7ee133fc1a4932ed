//! ICMP echo from a namespace: whether a host, or a balancer in its place, answers.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::netns::Netns;

/// Sends echo requests until one is answered, ten at most.
pub fn ping(namespace: &Netns, to: impl Into<IpAddr>) -> Result<()> {
    let to = to.into();
    let answered = namespace.run(|| exchange(to, 10, Duration::from_secs(2)));
    let answered = answered.with_context(|| format!("ping {to} from {}", namespace.name()))?;
    ensure!(
        answered,
        "ping {to} from {}: no answer to 10 echo requests",
        namespace.name()
    );
    Ok(())
}

/// Sends three echo requests, none of which must be answered within a moment.
pub fn silence(namespace: &Netns, to: impl Into<IpAddr>) -> Result<()> {
    let to = to.into();
    let answered = namespace.run(|| exchange(to, 3, Duration::from_millis(300)))?;
    ensure!(!answered, "{to} answers {}", namespace.name());
    Ok(())
}

/// A raw socket for ICMP of the family, in the namespace of this thread. A receive takes 100 ms at most.
pub fn icmp_socket(family: IpAddr) -> Result<OwnedFd> {
    let (family, protocol) = match family {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    let limit = TimeVal::milliseconds(100);
    setsockopt(&socket, sockopt::ReceiveTimeout, &limit)?;
    Ok(socket)
}

/// The next ICMP message, without its IP header, and who sent it; None when none came.
pub fn receive(socket: &OwnedFd, family: IpAddr) -> Option<(Option<IpAddr>, Vec<u8>)> {
    let mut packet = vec![0; 2048];
    let (length, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut packet).ok()?;
    packet.truncate(length);
    if family.is_ipv4() {
        // A raw socket sees the header of IPv4, and not that of IPv6.
        let header = usize::from(packet.first()? & 15) * 4;
        packet.drain(..header.min(length));
    }
    let from = from.and_then(|from| {
        let v4 = from.as_sockaddr_in().map(|from| from.ip().into());
        v4.or_else(|| from.as_sockaddr_in6().map(|from| from.ip().into()))
    });
    Some((from, packet))
}

/// Whether one of so many requests is answered.
fn exchange(to: IpAddr, requests: u8, patience: Duration) -> Result<bool> {
    let socket = icmp_socket(to)?;
    let (request, answer) = match to {
        IpAddr::V4(_) => (8, 0),
        IpAddr::V6(_) => (128, 129),
    };
    for number in 0..requests {
        let address = SockaddrStorage::from(SocketAddr::new(to, 0));
        let bytes = message(request, number);
        sendto(socket.as_raw_fd(), &bytes, &address, MsgFlags::empty())?;
        let end = Instant::now() + patience;
        while Instant::now() < end {
            let Some((from, packet)) = receive(&socket, to) else {
                continue;
            };
            let expected = message(answer, number);
            // The checksum of ICMPv6 covers addresses too; the kernel has looked at it.
            let same = packet.first() == Some(&answer) && packet.get(4..) == Some(&expected[4..]);
            let right = to.is_ipv6() || packet.get(2..4) == Some(&expected[2..4]);
            if same && right && from == Some(to) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// An ICMP message of 8 bytes: type, code 0, checksum, an identifier and a number (RFC 792). The kernel writes the
/// checksum of ICMPv6 itself.
fn message(kind: u8, number: u8) -> [u8; 8] {
    let sum = (u16::from(kind) << 8) + 0x7864 + u16::from(number);
    let [high, low] = (!sum).to_be_bytes();
    [kind, 0, high, low, 0x78, 0x64, 0, number]
}
