//! The headers of a frame, read as far as they go, and said in a line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use xdplb_prog::abi::{Mac, protocol};

use super::show_flags;

/// IP headers that are followed into each other: a tunnel's, its content's, what an ICMP error quotes.
const DEEPEST: usize = 3;

/// What the headers of a frame say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// Where the frame goes to.
    pub to: Mac,
    /// Where it comes from.
    pub from: Mac,
    /// Its VLAN tags, the outer one first.
    pub vlans: Vec<u16>,
    /// What follows them, where it is not IP.
    pub ethertype: u16,
    /// Its IP headers, the outer one first, the last with what is in it.
    pub ips: Vec<Ip>,
    /// What is in the last of them.
    pub transport: Option<Transport>,
}

/// An IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub hops: u8,
    /// What is in it, by its number.
    pub protocol: u8,
}

/// A transport's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Ports and flags.
    Tcp(u16, u16, u8),
    /// Ports.
    Udp(u16, u16),
    /// Type and code.
    Icmp(u8, u8),
    /// A fragment that is not the first.
    Fragment,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

impl Headers {
    /// Reads them; None for what is shorter than an Ethernet header.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let mut headers = Self {
            to: *frame.first_chunk()?,
            from: *frame.get(6..)?.first_chunk()?,
            ethertype: u16_at(frame, 12)?,
            ..Self::default()
        };
        let mut at = 14;
        while matches!(headers.ethertype, 0x8100 | 0x88a8) && headers.vlans.len() < 2 {
            let (Some(tag), Some(next)) = (u16_at(frame, at), u16_at(frame, at + 2)) else {
                return Some(headers);
            };
            headers.vlans.push(tag & 0x0fff);
            headers.ethertype = next;
            at += 4;
        }
        let version = match headers.ethertype {
            0x0800 => 4,
            0x86dd => 6,
            _ => return Some(headers),
        };
        headers.ip(frame.get(at..).unwrap_or_default(), version);
        Some(headers)
    }

    /// Reads an IP packet and what is in it.
    fn ip(&mut self, packet: &[u8], version: u8) -> Option<()> {
        if self.ips.len() == DEEPEST || packet.first()? >> 4 != version {
            return None;
        }
        let (ip, header, later) = if version == 4 {
            let header = usize::from(packet[0] & 0x0f) * 4;
            let address = |at: usize| {
                let octets: [u8; 4] = *packet.get(at..)?.first_chunk()?;
                Some(IpAddr::from(Ipv4Addr::from(octets)))
            };
            let ip = Ip {
                source: address(12)?,
                destination: address(16)?,
                hops: packet[8],
                protocol: packet[9],
            };
            (ip, header, u16_at(packet, 6)? & 0x1fff != 0)
        } else {
            let address = |at: usize| {
                let octets: [u8; 16] = *packet.get(at..)?.first_chunk()?;
                Some(IpAddr::from(Ipv6Addr::from(octets)))
            };
            let mut ip = Ip {
                source: address(8)?,
                destination: address(24)?,
                hops: packet[7],
                protocol: packet[6],
            };
            let mut header = 40;
            let mut later = false;
            // Hop-by-hop options, routing, fragment, destination options (RFC 8200 §4).
            for _ in 0..8 {
                let (0 | 43 | 44 | 60) = ip.protocol else {
                    break;
                };
                let (Some(next), Some(length)) = (packet.get(header), packet.get(header + 1))
                else {
                    break;
                };
                let fragment = ip.protocol == 44;
                later |= fragment && u16_at(packet, header + 2).is_some_and(|at| at & 0xfff8 != 0);
                header += if fragment {
                    8
                } else {
                    8 + usize::from(*length) * 8
                };
                ip.protocol = *next;
            }
            (ip, header, later)
        };
        self.ips.push(ip);
        let inner = packet.get(header..).unwrap_or_default();
        if later {
            self.transport = Some(Transport::Fragment);
            return Some(());
        }
        match ip.protocol {
            protocol::IPIP => return self.ip(inner, 4),
            protocol::IPV6 => return self.ip(inner, 6),
            protocol::TCP => {
                let flags = inner.get(13).copied().unwrap_or(0);
                self.transport = Some(Transport::Tcp(u16_at(inner, 0)?, u16_at(inner, 2)?, flags));
            }
            protocol::UDP => {
                self.transport = Some(Transport::Udp(u16_at(inner, 0)?, u16_at(inner, 2)?));
            }
            protocol::ICMP | protocol::ICMPV6 => {
                self.transport = Some(Transport::Icmp(*inner.first()?, *inner.get(1)?));
            }
            _ => {}
        }
        Some(())
    }
}

/// `tcp 10.0.0.1:40000 -> 10.0.0.10:80 syn`, `ip 172.16.1.2 -> 10.0.0.2 with tcp …`, `ethertype 0x0806`.
impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((last, outer)) = self.ips.split_last() else {
            return write!(f, "ethertype {:#06x}", self.ethertype);
        };
        for ip in outer {
            write!(f, "ip {} -> {} with ", ip.source, ip.destination)?;
        }
        let end = SocketAddr::new;
        match self.transport {
            Some(Transport::Tcp(from, to, flags)) => write!(
                f,
                "tcp {} -> {} {}",
                end(last.source, from),
                end(last.destination, to),
                show_flags(flags)
            ),
            Some(Transport::Udp(from, to)) => {
                write!(
                    f,
                    "udp {} -> {}",
                    end(last.source, from),
                    end(last.destination, to)
                )
            }
            Some(Transport::Icmp(kind, code)) => {
                let v6 = last.source.is_ipv6();
                let name = if v6 { "icmpv6" } else { "icmp" };
                write!(f, "{name} {} -> {} ", last.source, last.destination)?;
                match icmp_name(v6, kind) {
                    Some(name) => f.write_str(name),
                    None => write!(f, "type {kind} code {code}"),
                }
            }
            Some(Transport::Fragment) => {
                write!(
                    f,
                    "ip {} -> {} later fragment",
                    last.source, last.destination
                )
            }
            None => write!(
                f,
                "ip {} -> {} protocol {}",
                last.source, last.destination, last.protocol
            ),
        }
    }
}

fn icmp_name(v6: bool, kind: u8) -> Option<&'static str> {
    Some(match (v6, kind) {
        (false, 0) | (true, 129) => "echo reply",
        (false, 8) | (true, 128) => "echo request",
        (false, 3) | (true, 1) => "unreachable",
        (true, 2) => "packet too big",
        (false, 11) | (true, 3) => "time exceeded",
        (true, 135) => "neighbour solicitation",
        (true, 136) => "neighbour advertisement",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::Packet;
    use super::*;
    use proptest::prelude::*;

    fn headers(text: &str) -> Headers {
        let frame = Packet::parse(text).unwrap().frame([2; 6], [3; 6]);
        Headers::of(&frame).unwrap()
    }

    #[test]
    fn what_was_built_is_read_back() {
        for text in [
            "tcp 10.0.0.1:40000 -> 10.0.0.10:80 syn ack",
            "udp [fd00::1]:40000 -> [fd00::10]:53",
        ] {
            assert_eq!(headers(text).to_string(), text);
        }
        let tagged = headers("icmp fd00::1 -> fd00::10 vlan 5 vlan 6 ttl 3");
        assert_eq!(
            tagged.to_string(),
            "icmpv6 fd00::1 -> fd00::10 echo request"
        );
        assert_eq!(
            (tagged.vlans.as_slice(), tagged.ips[0].hops),
            (&[5, 6][..], 3)
        );
        assert_eq!((tagged.from, tagged.to), ([2; 6], [3; 6]));
    }

    #[test]
    fn tunnels_are_looked_into() {
        let inner = Packet::parse("tcp 10.0.0.1:1 -> 10.0.0.10:80")
            .unwrap()
            .frame([0; 6], [0; 6]);
        let outer = Packet::parse("udp 172.16.0.1:1 -> 10.0.0.2:2")
            .unwrap()
            .frame([0; 6], [0; 6]);
        let mut frame = outer[..34].to_vec();
        frame[14 + 9] = protocol::IPIP;
        frame.extend(&inner[14..]);
        assert_eq!(
            Headers::of(&frame).unwrap().to_string(),
            "ip 172.16.0.1 -> 10.0.0.2 with tcp 10.0.0.1:1 -> 10.0.0.10:80 syn"
        );
        let arp = [[0xff; 12].as_slice(), &[8, 6]].concat();
        assert_eq!(Headers::of(&arp).unwrap().to_string(), "ethertype 0x0806");
        assert_eq!(Headers::of(&arp[..13]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), v6: bool) {
            let mut bytes = bytes;
            if let Some(kind) = bytes.get_mut(12..15) {
                kind.copy_from_slice(if v6 { &[0x86, 0xdd, 0x60] } else { &[8, 0, 0x45] });
            }
            if let Some(headers) = Headers::of(&bytes) {
                let _ = headers.to_string();
            }
        }
    }
}
