//! What stands in for a balancer where a test looks at the network itself: user space on the balancer's wire that sends
//! packets for the service address on to one backend, by the rules of direct return.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use etherparse::{IpNumber, PacketBuilder};

use crate::netns::Netns;
use crate::tap::{Fate, Frame, Relay, Tap};

const ETHERNET: usize = 14;

/// How it sends packets on.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// As they are, to that Ethernet address.
    Direct([u8; 6]),
    /// Inside a packet from one address to another, to that Ethernet address.
    Tunnel([u8; 6], IpAddr, IpAddr),
}

/// A running one. Its host must not hold the service address, or would answer too.
#[derive(Debug)]
pub struct StandIn(#[expect(dead_code, reason = "it runs for as long as it is held")] Relay);

impl StandIn {
    /// Starts one on `device`, for packets to `service`. Tags in front of the type stay where they are.
    pub fn start(namespace: &Netns, device: &str, service: IpAddr, way: Way) -> Result<Self> {
        let relay = Relay::start(
            Tap::open(namespace, device)?,
            Tap::open(namespace, device)?,
            move |frame| match send_on(frame, service, way) {
                Ok(Some(())) => Fate::Sent,
                Ok(None) => Fate::Dropped,
                Err(error) => {
                    eprintln!("stand-in: {error:#}");
                    Fate::Dropped
                }
            },
        );
        Ok(Self(relay))
    }
}

fn send_on(frame: &mut Frame, service: IpAddr, way: Way) -> Result<Option<()>> {
    let mut at = ETHERNET;
    while matches!(kind(frame, at), Some(0x8100 | 0x88a8)) {
        at += 4;
    }
    let Some(packet) = frame.bytes.get(at..) else {
        return Ok(None);
    };
    let (to, inner): (Option<IpAddr>, IpNumber) = match kind(frame, at) {
        Some(0x0800) => (
            address::<4>(packet, 16).map(|a| Ipv4Addr::from(a).into()),
            IpNumber::IPV4,
        ),
        Some(0x86dd) => (
            address::<16>(packet, 24).map(|a| Ipv6Addr::from(a).into()),
            IpNumber::IPV6,
        ),
        _ => return Ok(None),
    };
    if to != Some(service) {
        return Ok(None);
    }
    let mac = match way {
        Way::Direct(mac) => mac,
        Way::Tunnel(mac, from, to) => {
            let mut outer = Vec::new();
            let (builder, ethertype): (_, u16) = match (from, to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    (PacketBuilder::ipv4(from.octets(), to.octets(), 64), 0x0800)
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    (PacketBuilder::ipv6(from.octets(), to.octets(), 64), 0x86dd)
                }
                _ => anyhow::bail!("a tunnel from {from} to {to}"),
            };
            builder
                .write(&mut outer, inner, packet)
                .context("write the outer header")?;
            outer.truncate(outer.len() - packet.len());
            frame.insert(at, &outer);
            frame.bytes[at - 2..at].copy_from_slice(&ethertype.to_be_bytes());
            mac
        }
    };
    frame.bytes.copy_within(..6, 6);
    frame.bytes[..6].copy_from_slice(&mac);
    Ok(Some(()))
}

/// The type in front of `at`.
fn kind(frame: &Frame, at: usize) -> Option<u16> {
    let bytes = frame.bytes.get(at - 2..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

fn address<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..)?.first_chunk().copied()
}
