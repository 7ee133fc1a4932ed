//! The end of a tunnel in a backend: IPv4 in IPv4, IPv6 in IPv6, IPv4 in IPv6 and IPv6 in IPv4.
//!
//! Not every kernel has `ipip` and `ip6tnl` devices (the one these tests are written on has neither), so the outer header
//! is taken off in user space and the inner packet handed to the kernel through a veth pair inside the namespace.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use nix::sys::socket::AddressFamily;

use crate::netns::Netns;
use crate::rtnl::Change;
use crate::tap::{ADDRESSES, Fate, Frame, Relay, Tap};

const ETHERNET: usize = 14;
/// Protocol numbers of what is inside (RFC 2003, RFC 2473).
const IPV4: u8 = 4;
const IPV6: u8 = 41;
/// The veth end that inner packets arrive at.
const INSIDE: &str = "tunnel";
const INSIDE_MAC: [u8; 6] = [0xde, 0xad, 0xbe, 0xef, 2, 2];

/// A running one. Dropping it ends it.
#[derive(Debug)]
pub struct Decapsulator {
    _relay: Relay,
    _claims: Vec<OwnedFd>,
    outer: Arc<Mutex<BTreeSet<IpAddr>>>,
}

impl Decapsulator {
    /// Starts one for tunnels that end at an address of `device`.
    pub fn start(namespace: &Netns, device: &str, ends: &[IpAddr]) -> Result<Self> {
        namespace.wire(|rtnl| {
            rtnl.veth("unpacked", INSIDE, namespace.handle())?;
            rtnl.set(INSIDE, Change::Mac(INSIDE_MAC))?;
            rtnl.set("unpacked", Change::Up)?;
            rtnl.set(INSIDE, Change::Up)
        })?;
        let outer = Arc::<Mutex<BTreeSet<IpAddr>>>::default();
        let (ends, seen) = (ends.to_vec(), Arc::clone(&outer));
        let relay = Relay::start(
            Tap::open(namespace, device)?,
            Tap::open(namespace, "unpacked")?,
            move |frame| {
                let Some((from, to)) = unpack(frame) else {
                    return Fate::Dropped;
                };
                if !ends.contains(&to) {
                    return Fate::Dropped;
                }
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(from);
                Fate::Sent
            },
        );
        Ok(Self {
            _relay: relay,
            _claims: namespace.run(claim)?,
            outer,
        })
    }

    /// The source addresses of the outer headers so far.
    pub fn sources(&self) -> BTreeSet<IpAddr> {
        self.outer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Sockets for the protocols, that nobody reads: without them the kernel answers that the protocol is unreachable.
fn claim() -> Result<Vec<OwnedFd>> {
    let mut claims = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for protocol in [IPV4, IPV6] {
            // nix has no name for either protocol.
            // SAFETY: a system call without pointers.
            let fd = unsafe {
                libc::socket(
                    family as i32,
                    libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                    i32::from(protocol),
                )
            };
            match nix::errno::Errno::result(fd) {
                // SAFETY: the descriptor is new and nobody else's.
                Ok(fd) => claims.push(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }),
                // No IPv6 here.
                Err(nix::errno::Errno::EAFNOSUPPORT) => {}
                Err(error) => return Err(error).context("claim the tunnels' protocols"),
            }
        }
    }
    Ok(claims)
}

/// Takes the outer header off and addresses the frame to the inside: the outer source and destination.
fn unpack(frame: &mut Frame) -> Option<(IpAddr, IpAddr)> {
    let packet = frame.bytes.get(ETHERNET..)?;
    let (outer, inner, ends): (usize, u8, (IpAddr, IpAddr)) = match frame.ethertype()? {
        0x0800 => {
            let header: &[u8; 20] = packet.first_chunk()?;
            let address = |at: usize| -> IpAddr {
                Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]).into()
            };
            let length = usize::from(header[0] & 15) * 4;
            (length, header[9], (address(12), address(16)))
        }
        0x86dd => {
            let header: &[u8; 40] = packet.first_chunk()?;
            let address = |at: usize| -> Option<IpAddr> {
                let octets: [u8; 16] = *header[at..].first_chunk()?;
                Some(Ipv6Addr::from(octets).into())
            };
            (40, header[6], (address(8)?, address(24)?))
        }
        _ => return None,
    };
    let ethertype: u16 = match inner {
        IPV4 => 0x0800,
        IPV6 => 0x86dd,
        _ => return None,
    };
    if !frame.remove(ETHERNET, outer) {
        return None;
    }
    frame.bytes[..6].copy_from_slice(&INSIDE_MAC);
    frame.bytes[ADDRESSES..ETHERNET].copy_from_slice(&ethertype.to_be_bytes());
    Some(ends)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use etherparse::PacketBuilder;

    #[test]
    fn what_was_inside_is_left() {
        let mut inner = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 20], 64)
            .udp(1, 2)
            .write(&mut inner, b"payload")
            .unwrap();
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv6([1; 16], [2; 16], 64)
            .write(&mut bytes, etherparse::IpNumber::IPV4, &inner)
            .unwrap();
        let mut frame = Frame::whole(bytes.clone());
        let ends = unpack(&mut frame).unwrap();
        assert_eq!(
            ends,
            (
                Ipv6Addr::from([1; 16]).into(),
                Ipv6Addr::from([2; 16]).into()
            )
        );
        assert_eq!(frame.bytes[ETHERNET..], inner);
        assert_eq!(frame.ethertype(), Some(0x0800));
        for end in 0..bytes.len() - inner.len() {
            assert_eq!(
                unpack(&mut Frame::whole(bytes[..end].to_vec())),
                None,
                "{end}"
            );
        }
    }
}
