//! The frame of a packet in words: headers with right checksums, zeros behind them.

use std::net::IpAddr;

use xdplb_prog::abi::{Mac, protocol};

use super::{Content, Packet};

const ETHERNET: usize = 14;
const TAG: usize = 4;
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;
/// UDP and ICMP echo.
const SHORT: usize = 8;

impl Packet {
    /// Bytes of all its headers.
    pub(super) fn headers(&self) -> usize {
        let ip = if self.source.is_ipv4() { IPV4 } else { IPV6 };
        let transport = match self.content {
            Content::Tcp(_) => TCP,
            Content::Udp | Content::Echo => SHORT,
        };
        ETHERNET + self.vlans.len() * TAG + ip + transport
    }

    /// The frame, between these two.
    pub fn frame(&self, from: Mac, to: Mac) -> Vec<u8> {
        let length = usize::from(self.length.unwrap_or(0)).max(self.headers());
        let mut frame = Vec::with_capacity(length);
        frame.extend(to);
        frame.extend(from);
        for (number, vlan) in self.vlans.iter().enumerate() {
            // Of two tags the outer one is the provider's (802.1ad).
            let outer = number == 0 && self.vlans.len() == 2;
            let kind: u16 = if outer { 0x88a8 } else { 0x8100 };
            frame.extend(kind.to_be_bytes());
            frame.extend(vlan.to_be_bytes());
        }
        let transport = self.transport(length - self.headers());
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend(0x0800u16.to_be_bytes());
                let mut header = [0; IPV4];
                header[0] = 0x45;
                header[2..4].copy_from_slice(&((IPV4 + transport.len()) as u16).to_be_bytes());
                header[6] = 0x40; // don't fragment
                header[8] = self.hops;
                header[9] = self.number();
                header[12..16].copy_from_slice(&source.octets());
                header[16..20].copy_from_slice(&destination.octets());
                let sum = checksum(&[&header]);
                header[10..12].copy_from_slice(&sum);
                frame.extend(header);
            }
            (source, destination) => {
                frame.extend(0x86ddu16.to_be_bytes());
                frame.extend([0x60, 0, 0, 0]);
                frame.extend((transport.len() as u16).to_be_bytes());
                frame.extend([self.number(), self.hops]);
                frame.extend(sixteen(source));
                frame.extend(sixteen(destination));
            }
        }
        frame.extend(transport);
        frame
    }

    /// The protocol's number.
    fn number(&self) -> u8 {
        match (self.content, self.source.is_ipv4()) {
            (Content::Tcp(_), _) => protocol::TCP,
            (Content::Udp, _) => protocol::UDP,
            (Content::Echo, true) => protocol::ICMP,
            (Content::Echo, false) => protocol::ICMPV6,
        }
    }

    /// The transport's header, and so many zeros.
    fn transport(&self, zeros: usize) -> Vec<u8> {
        let ports = [self.source.port(), self.destination.port()].map(u16::to_be_bytes);
        let (mut bytes, at) = match self.content {
            Content::Tcp(flags) => {
                let mut header = ports.concat();
                header.extend(1u32.to_be_bytes());
                header.extend(u32::from(flags & 0x10 != 0).to_be_bytes());
                header.extend([(TCP as u8 / 4) << 4, flags]);
                header.extend(64_240u16.to_be_bytes());
                header.extend([0; 4]);
                (header, 16)
            }
            Content::Udp => {
                let mut header = ports.concat();
                header.extend(((SHORT + zeros) as u16).to_be_bytes());
                header.extend([0; 2]);
                (header, 6)
            }
            Content::Echo => {
                let kind = if self.source.is_ipv4() { 8 } else { 128 };
                (vec![kind, 0, 0, 0, 0, 1, 0, 1], 2)
            }
        };
        bytes.resize(bytes.len() + zeros, 0);
        let pseudo = self.pseudo(bytes.len());
        let mut sum = checksum(&[&pseudo, &bytes]);
        if self.content == Content::Udp && sum == [0; 2] {
            sum = [0xff; 2];
        }
        bytes[at..at + 2].copy_from_slice(&sum);
        bytes
    }

    /// What a transport's checksum covers beside itself; nothing for ICMP over IPv4.
    fn pseudo(&self, length: usize) -> Vec<u8> {
        let number = self.number();
        if number == protocol::ICMP {
            return Vec::new();
        }
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let mut pseudo = [octets(self.source.ip()), octets(self.destination.ip())].concat();
        // In IPv6 both are longer, by zeros, which add nothing.
        pseudo.extend([0, number]);
        pseudo.extend((length as u16).to_be_bytes());
        pseudo
    }
}

fn sixteen(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The Internet checksum (RFC 1071) of pieces, each of an even length but the last.
fn checksum(pieces: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0u32;
    for word in pieces.iter().flat_map(|piece| piece.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([
            word[0],
            word.get(1).copied().unwrap_or(0),
        ]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const MACS: [Mac; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

    #[test]
    fn checksums_are_right_by_another_crates_book() {
        for text in [
            "tcp 10.0.0.1:40000 -> 10.0.0.10:80",
            "tcp 10.0.0.1:40000 -> 10.0.0.10:80 ack len 111 vlan 5",
            "udp 10.0.0.1:40000 -> 10.0.0.10:53 len 101 vlan 5 vlan 6",
            "icmp 10.0.0.1 -> 10.0.0.10 len 99",
            "tcp [fd00::1]:40000 -> [fd00::10]:80 fin ack",
            "udp [fd00::1]:40000 -> [fd00::10]:53 len 201",
            "icmp fd00::1 -> fd00::10 vlan 9",
        ] {
            let packet = Packet::parse(text).unwrap();
            let frame = packet.frame(MACS[0], MACS[1]);
            if let Some(length) = packet.length {
                assert_eq!(frame.len(), usize::from(length), "{text}");
            }
            let sliced = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
            let net = sliced.net.unwrap();
            if let etherparse::NetSlice::Ipv4(ip) = &net {
                let header = ip.header().to_header();
                assert_eq!(
                    header.calc_header_checksum(),
                    header.header_checksum,
                    "{text}"
                );
            }
            let of = match (&net, sliced.transport.unwrap()) {
                (etherparse::NetSlice::Ipv4(ip), etherparse::TransportSlice::Tcp(tcp)) => (
                    tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())
                        .unwrap(),
                    tcp.checksum(),
                ),
                (etherparse::NetSlice::Ipv6(ip), etherparse::TransportSlice::Tcp(tcp)) => (
                    tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination())
                        .unwrap(),
                    tcp.checksum(),
                ),
                (etherparse::NetSlice::Ipv4(ip), etherparse::TransportSlice::Udp(udp)) => {
                    let header = udp.to_header();
                    (
                        header
                            .calc_checksum_ipv4_raw(
                                ip.header().source(),
                                ip.header().destination(),
                                udp.payload(),
                            )
                            .unwrap(),
                        udp.checksum(),
                    )
                }
                (etherparse::NetSlice::Ipv6(ip), etherparse::TransportSlice::Udp(udp)) => {
                    let header = udp.to_header();
                    (
                        header
                            .calc_checksum_ipv6_raw(
                                ip.header().source(),
                                ip.header().destination(),
                                udp.payload(),
                            )
                            .unwrap(),
                        udp.checksum(),
                    )
                }
                (_, etherparse::TransportSlice::Icmpv4(icmp)) => {
                    let header = icmp.header();
                    (
                        header.icmp_type.calc_checksum(icmp.payload()),
                        header.checksum,
                    )
                }
                (etherparse::NetSlice::Ipv6(ip), etherparse::TransportSlice::Icmpv6(icmp)) => {
                    assert!(
                        icmp.is_checksum_valid(ip.header().source(), ip.header().destination())
                    );
                    (0, 0)
                }
                other => panic!("{text}: {other:?}"),
            };
            assert_eq!(of.0, of.1, "{text}");
        }
    }
}
