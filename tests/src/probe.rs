//! ICMP errors as they reach a host: what they say, and whether every checksum in them is right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};

use crate::netns::Netns;
use crate::ping;
use crate::udp::UdpClient;

/// What went wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody there; the code.
    Unreachable(u8),
    /// Longer than the next hop takes; its MTU.
    TooBig(u32),
    /// No hops left.
    Expired,
}

/// An error that a host got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent it.
    pub from: IpAddr,
    /// What it says.
    pub trouble: Trouble,
    /// The packet that it is about: protocol, source, destination.
    pub about: (u8, SocketAddr, SocketAddr),
}

/// Listens for ICMP errors from when it is made.
#[derive(Debug)]
pub struct Probe {
    socket: OwnedFd,
    family: IpAddr,
    namespace: String,
}

impl Probe {
    /// Listens in `namespace` for errors of the family that `family` is of.
    pub fn listen(namespace: &Netns, family: IpAddr) -> Result<Self> {
        Ok(Self {
            socket: namespace.run(|| ping::icmp_socket(family))?,
            family,
            namespace: namespace.name().into(),
        })
    }

    /// The next error; other messages are passed over. Everything about it must be right.
    pub fn next(&self, limit: Duration) -> Result<IcmpError> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            let Some((from, message)) = ping::receive(&self.socket, self.family) else {
                continue;
            };
            let from = from.context("a message from nobody")?;
            let error = read(from, &message)
                .with_context(|| format!("{}: ICMP from {from}: {message:02x?}", self.namespace))?;
            if let Some(error) = error {
                return Ok(error);
            }
        }
        bail!("{}: no ICMP error in {limit:?}", self.namespace);
    }
}

/// Sends one datagram that lives for `hops` routers.
pub fn send_with_hops(client: &UdpClient, hops: u8, bytes: &[u8]) -> Result<()> {
    let socket = client.socket();
    match socket.peer_addr()? {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4Ttl, &i32::from(hops))?,
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6Ttl, &i32::from(hops))?,
    }
    socket.send(bytes).context("send")?;
    Ok(())
}

/// Sends a SYN that lives for `hops` routers. The socket, which tries again after a second, and its address.
pub fn connect_with_hops(
    namespace: &Netns,
    to: impl Into<SocketAddr>,
    hops: u8,
) -> Result<(TcpStream, SocketAddr)> {
    let to = to.into();
    namespace.run(|| {
        let family = match to {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, SockType::Stream, flags, None)?;
        match to {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4Ttl, &i32::from(hops))?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6Ttl, &i32::from(hops))?,
        }
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error).context("connect"),
        }
        let stream = TcpStream::from(socket);
        let address = stream.local_addr()?;
        Ok((stream, address))
    })
}

/// What a message says when it is an error (RFC 792, RFC 4443).
fn read(from: IpAddr, message: &[u8]) -> Result<Option<IcmpError>> {
    let header: &[u8; 8] = message.first_chunk().context("shorter than its header")?;
    let [kind, code] = [header[0], header[1]];
    let trouble = match (from, kind) {
        (IpAddr::V4(_), 3) if code == 4 => {
            Trouble::TooBig(u16::from_be_bytes([header[6], header[7]]).into())
        }
        (IpAddr::V4(_), 3) | (IpAddr::V6(_), 1) => Trouble::Unreachable(code),
        (IpAddr::V4(_), 11) | (IpAddr::V6(_), 3) => Trouble::Expired,
        (IpAddr::V6(_), 2) => Trouble::TooBig(u32::from_be_bytes([
            header[4], header[5], header[6], header[7],
        ])),
        _ => return Ok(None),
    };
    // The kernel hands out no ICMPv6 message with a wrong checksum, and every one of ICMP.
    ensure!(
        from.is_ipv6() || sum(0, message) == 0xffff,
        "a wrong checksum"
    );
    Ok(Some(IcmpError {
        from,
        trouble,
        about: embedded(&message[8..]).context("the packet inside")?,
    }))
}

/// The packet inside an error, as much of it as is there.
fn embedded(packet: &[u8]) -> Result<(u8, SocketAddr, SocketAddr)> {
    let (protocol, from, to, header, announced): (u8, IpAddr, IpAddr, usize, usize) =
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => {
                let ip: &[u8; 20] = packet.first_chunk().context("no IPv4 header")?;
                let length = usize::from(ip[0] & 15) * 4;
                let whole = packet.get(..length).context("no whole IPv4 header")?;
                ensure!(sum(0, whole) == 0xffff, "a wrong IPv4 checksum");
                let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
                let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
                let payload = total.checked_sub(length).context("a length too short")?;
                (
                    ip[9],
                    address(12).into(),
                    address(16).into(),
                    length,
                    payload,
                )
            }
            Some(6) => {
                let ip: &[u8; 40] = packet.first_chunk().context("no IPv6 header")?;
                let address = |at: usize| -> Option<IpAddr> {
                    let octets: [u8; 16] = *ip[at..].first_chunk()?;
                    Some(Ipv6Addr::from(octets).into())
                };
                let (from, to) = (
                    address(8).context("a source")?,
                    address(24).context("an end")?,
                );
                let payload = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
                (ip[6], from, to, 40, payload)
            }
            _ => bail!("neither IPv4 nor IPv6"),
        };
    let transport = &packet[header..];
    let ports: &[u8; 4] = transport.first_chunk().context("no ports")?;
    if transport.len() >= announced && matches!(protocol, 6 | 17) {
        let transport = &transport[..announced];
        let unsummed = protocol == 17 && transport.get(6..8) == Some(&[0, 0]);
        ensure!(
            unsummed || sum(pseudo_header(from, to, protocol, announced), transport) == 0xffff,
            "a wrong checksum of protocol {protocol}"
        );
    }
    Ok((
        protocol,
        SocketAddr::new(from, u16::from_be_bytes([ports[0], ports[1]])),
        SocketAddr::new(to, u16::from_be_bytes([ports[2], ports[3]])),
    ))
}

/// The Internet checksum's sum, folded (RFC 1071).
fn sum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> u32 {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let addresses = [octets(from), octets(to)].concat();
    u32::from(sum(u32::from(protocol) + length as u32, &addresses))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use etherparse::{Icmpv4Type, PacketBuilder, icmpv4::TimeExceededCode};

    fn error_about(inner: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 9], [10, 0, 0, 1], 64)
            .icmpv4(Icmpv4Type::TimeExceeded(
                TimeExceededCode::TtlExceededInTransit,
            ))
            .write(&mut bytes, inner)
            .unwrap();
        bytes.drain(..20);
        bytes
    }

    #[test]
    fn an_error_is_read_and_summed() {
        let mut inner = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 20], 1)
            .udp(4000, 53)
            .write(&mut inner, b"odd")
            .unwrap();
        let from = "10.0.0.9".parse().unwrap();
        let error = read(from, &error_about(&inner)).unwrap().unwrap();
        assert_eq!(error.trouble, Trouble::Expired);
        let (a, b) = ("10.0.0.1:4000", "10.0.0.20:53");
        assert_eq!(error.about, (17, a.parse().unwrap(), b.parse().unwrap()));
        // A byte of each layer.
        for at in [15, 21, 29] {
            let mut wrong = inner.clone();
            wrong[at] ^= 1;
            assert!(read(from, &error_about(&wrong)).is_err(), "{at}");
        }
        let mut wrong = error_about(&inner);
        wrong[5] ^= 1;
        assert!(read(from, &wrong).is_err());
    }
}
