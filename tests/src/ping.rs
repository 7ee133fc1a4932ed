//! ICMP echo from a namespace: whether a host's own network stack still answers.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::netns::Netns;

/// Sends echo requests until one is answered, ten at most.
pub fn ping(namespace: &Netns, to: Ipv4Addr) -> Result<()> {
    namespace
        .run(|| exchange(to))
        .with_context(|| format!("ping {to} from {}", namespace.name()))
}

fn exchange(to: Ipv4Addr) -> Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Icmp,
    )?;
    setsockopt(
        &socket,
        sockopt::ReceiveTimeout,
        &TimeVal::milliseconds(100),
    )?;
    for number in 0..10u8 {
        let request = message(8, number);
        let address = SockaddrIn::from(SocketAddrV4::new(to, 0));
        sendto(socket.as_raw_fd(), &request, &address, MsgFlags::empty())?;
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            let mut packet = [0; 128];
            let Ok(length) = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) else {
                continue;
            };
            // A raw socket sees the IPv4 header, 20 bytes without options, and every ICMP message that arrives.
            if packet.get(20..length) == Some(&message(0, number)[..]) {
                return Ok(());
            }
        }
    }
    bail!("no answer to 10 echo requests");
}

/// An ICMP message of 8 bytes: type, code 0, checksum, an identifier and a number (RFC 792).
fn message(kind: u8, number: u8) -> [u8; 8] {
    let sum = (u16::from(kind) << 8) + 0x7864 + u16::from(number);
    let [high, low] = (!sum).to_be_bytes();
    [kind, 0, high, low, 0x78, 0x64, 0, number]
}
