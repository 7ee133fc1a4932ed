//! Packets read by the rules, with every checksum in them recomputed.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;

/// What an IP packet says, and proof that its checksums are right: of every header, outer and inner, quoted or tunnelled.
#[derive(Clone, Debug)]
pub struct Read {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Hops left.
    pub hops: u8,
    /// The number of what follows the header.
    pub protocol: u8,
    /// Header and all that IP says belongs to it.
    pub bytes: Vec<u8>,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Read {
    /// A port: the source is at 0, the destination at 2.
    pub fn port(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.payload[at], self.payload[at + 1]])
    }
    /// Where it comes from.
    pub fn from(&self) -> (IpAddr, u16) {
        (self.source, self.port(0))
    }
    /// Where it goes.
    pub fn to(&self) -> (IpAddr, u16) {
        (self.destination, self.port(2))
    }
    /// The packet that an ICMP error quotes or a tunnel carries. Quoted ones may be cut short.
    pub fn inner(&self) -> Read {
        match self.protocol {
            1 | 58 => headers(&self.payload[8..], Whole::No),
            _ => read(&self.payload),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Whole {
    Yes,
    No,
}

/// Reads a packet and checks all of it.
#[track_caller]
pub fn read(packet: &[u8]) -> Read {
    let read = headers(packet, Whole::Yes);
    check(&read);
    if matches!(read.protocol, 4 | 41) {
        self::read(&read.payload);
    }
    let is_error = match read.protocol {
        1 => matches!(read.payload[0], 3 | 4 | 11 | 12),
        58 => read.payload[0] < 128,
        _ => false,
    };
    if is_error {
        let quoted = headers(&read.payload[8..], Whole::No);
        if quoted.bytes.len() == read.payload.len() - 8
            && quoted.bytes.len() == total(&quoted.bytes)
        {
            check(&quoted);
        }
    }
    read
}

pub(super) fn total(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 {
        usize::from(u16::from_be_bytes([packet[2], packet[3]]))
    } else {
        40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))
    }
}

#[track_caller]
pub(super) fn headers(packet: &[u8], whole: Whole) -> Read {
    let is_v4 = packet[0] >> 4 == 4;
    let total = total(packet);
    if whole == Whole::Yes {
        assert!(packet.len() >= total, "{} < {total}", packet.len());
    }
    let bytes = packet[..total.min(packet.len())].to_vec();
    if is_v4 {
        let header = usize::from(packet[0] & 15) * 4;
        let sum = Sum16BitWords::new().add_slice(&packet[..header]);
        assert_eq!(sum.ones_complement(), 0, "IPv4 header's checksum");
        Read {
            source: IpAddr::from(<[u8; 4]>::try_from(&packet[12..16]).unwrap()),
            destination: IpAddr::from(<[u8; 4]>::try_from(&packet[16..20]).unwrap()),
            hops: packet[8],
            protocol: packet[9],
            payload: bytes[header..].to_vec(),
            bytes,
        }
    } else {
        assert_eq!(packet[0] >> 4, 6);
        Read {
            source: IpAddr::from(<[u8; 16]>::try_from(&packet[8..24]).unwrap()),
            destination: IpAddr::from(<[u8; 16]>::try_from(&packet[24..40]).unwrap()),
            hops: packet[7],
            protocol: packet[6],
            payload: bytes[40..].to_vec(),
            bytes,
        }
    }
}

/// The sum of the pseudo-header.
pub(super) fn pseudo(read: &Read, length: usize) -> Sum16BitWords {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    Sum16BitWords::new()
        .add_slice(&octets(read.source))
        .add_slice(&octets(read.destination))
        .add_2bytes([0, read.protocol])
        .add_2bytes((length as u16).to_be_bytes())
}

/// The transport's checksum.
#[track_caller]
fn check(read: &Read) {
    let sum = match read.protocol {
        17 if read.payload[6..8] == [0, 0] => return,
        6 | 17 | 58 => pseudo(read, read.payload.len()),
        1 => Sum16BitWords::new(),
        _ => return,
    };
    let sum = sum.add_slice(&read.payload).ones_complement();
    assert_eq!(sum, 0, "checksum of protocol {}", read.protocol);
}
