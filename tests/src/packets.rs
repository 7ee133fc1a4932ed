//! Packets of either family: built with etherparse, read with an independent check of every checksum in them.
#![allow(clippy::unwrap_used)]

mod read;

use std::net::IpAddr;

use etherparse::{PacketBuilder, checksum::Sum16BitWords};
use xdplb_prog::abi::{Addr, Be16, Be32, Mac, MacWords, deferred, protocol};
use xdplb_prog::model_tables::{TestBackend, TestService};
use xdplb_prog::world::Settings;

pub use read::{Read, read};
use read::{Whole, headers, pseudo, total};

/// The balancer's Ethernet address.
pub const BALANCER_MAC: Mac = [2, 0, 0, 0, 0, 0xbb];
/// Where clients' frames come from.
pub const CLIENT_MAC: Mac = [2, 0, 0, 0, 0, 0xcc];
/// Another router's.
pub const ROUTER_MAC: Mac = [2, 0, 0, 0, 0, 0xdd];

/// A family's cast.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// Who asks.
    pub client: IpAddr,
    /// The service's address.
    pub vip: IpAddr,
    /// The address that backends see.
    pub balancer: IpAddr,
    /// Who answers.
    pub backends: [IpAddr; 2],
    /// A router on the way, which reports errors.
    pub router: IpAddr,
}

/// IPv4.
pub fn v4() -> Cast {
    let ip = |text: &str| text.parse().unwrap();
    Cast {
        client: ip("192.0.2.1"),
        vip: ip("198.51.100.10"),
        balancer: ip("10.0.0.9"),
        backends: [ip("10.0.0.2"), ip("10.0.0.3")],
        router: ip("203.0.113.7"),
    }
}
/// IPv6.
pub fn v6() -> Cast {
    let ip = |text: &str| text.parse().unwrap();
    Cast {
        client: ip("2001:db8:1::1"),
        vip: ip("2001:db8:2::10"),
        balancer: ip("2001:db8:3::9"),
        backends: [ip("2001:db8:3::2"), ip("2001:db8:3::3")],
        router: ip("2001:db8:4::7"),
    }
}
/// Both.
pub fn casts() -> [Cast; 2] {
    [v4(), v6()]
}

impl Cast {
    /// Whether it is IPv6.
    pub fn is_v6(&self) -> bool {
        self.vip.is_ipv6()
    }
    /// A NAT service on port 80 whose backends listen on 8000.
    pub fn nat(&self) -> TestService {
        TestService::new(
            self.vip,
            80,
            &self.backends.map(|ip| TestBackend::new(ip, 8000)),
        )
    }
    /// One of that mode whose backends listen on the service's port.
    pub fn direct(&self, mode: u32) -> TestService {
        TestService::new(
            self.vip,
            80,
            &self.backends.map(|ip| TestBackend::new(ip, 0)),
        )
        .mode(mode)
    }
}

/// Settings that most tests use.
pub fn settings() -> Settings {
    let IpAddr::V4(v4) = v4().balancer else {
        unreachable!()
    };
    Settings {
        balancer_v4: Be32(v4.octets()),
        balancer_v6: Addr::from(v6().balancer),
        balancer_mac: MacWords::from(BALANCER_MAC),
        slots: 64,
        buckets: 16,
        seed: 0x5eed,
        ticks_per_second: 100,
        mtu: 1500,
        tunnel_v4: [
            u32::from_ne_bytes([172, 16, 0, 0]),
            u32::from_ne_bytes([255, 255, 0, 0]),
        ],
        tunnel_v6: u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0]),
        deferred: deferred::COMPLETE,
        perfmon: 1,
        frags: 0,
        trace: 0,
        watch: 0,
        dry: 0,
    }
}

/// The tags of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tags {
    /// None.
    None,
    /// One, 802.1Q.
    Vlan,
    /// Two, 802.1ad.
    QinQ,
}
/// All of them.
pub const TAGS: [Tags; 3] = [Tags::None, Tags::Vlan, Tags::QinQ];

/// An Ethernet frame around an IP packet.
pub fn frame(from: Mac, to: Mac, tags: Tags, ip: &[u8]) -> Vec<u8> {
    let mut frame = [to, from].concat();
    match tags {
        Tags::None => {}
        Tags::Vlan => frame.extend([0x81, 0, 0x20, 5]),
        Tags::QinQ => frame.extend([0x88, 0xa8, 0, 7, 0x81, 0, 0x60, 9]),
    }
    frame.extend(if ip[0] >> 4 == 4 {
        [8, 0]
    } else {
        [0x86, 0xdd]
    });
    frame.extend(ip);
    frame
}

/// Where IP begins.
pub fn l3(frame: &[u8]) -> usize {
    let mut at = 12;
    while matches!(frame[at..at + 2], [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    at + 2
}
/// The IP packet in a frame.
pub fn ip(frame: &[u8]) -> &[u8] {
    &frame[l3(frame)..]
}
/// Where a frame comes from and goes to.
pub fn macs(frame: &[u8]) -> (Mac, Mac) {
    (
        frame[6..12].try_into().unwrap(),
        frame[..6].try_into().unwrap(),
    )
}

/// A sender's TCP flags.
#[derive(Clone, Copy, Debug)]
pub enum Segment {
    /// Opens.
    Syn,
    /// Accepts.
    SynAck,
    /// Goes on.
    Ack,
    /// Has no more to say.
    Fin,
    /// Ends at once.
    Rst,
}

/// An IP packet.
pub fn tcp(from: (IpAddr, u16), to: (IpAddr, u16), segment: Segment, data: &[u8]) -> Vec<u8> {
    let builder = ip_builder(from.0, to.0, 63).tcp(from.1, to.1, 1000, 512);
    let builder = match segment {
        Segment::Syn => builder.syn(),
        Segment::SynAck => builder.syn().ack(77),
        Segment::Ack => builder.ack(77),
        Segment::Fin => builder.fin().ack(77),
        Segment::Rst => builder.rst().ack(77),
    };
    let mut packet = Vec::new();
    builder.write(&mut packet, data).unwrap();
    packet
}
/// A UDP datagram over IP.
pub fn udp(from: (IpAddr, u16), to: (IpAddr, u16), data: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = ip_builder(from.0, to.0, 63).udp(from.1, to.1);
    builder.write(&mut packet, data).unwrap();
    packet
}
/// An ICMP message: type, code, the other four bytes, and what follows.
pub fn icmp(from: IpAddr, to: IpAddr, kind: (u8, u8), rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = ip_builder(from, to, 63);
    if from.is_ipv4() {
        let builder = builder.icmpv4_raw(kind.0, kind.1, rest);
        builder.write(&mut packet, data).unwrap();
    } else {
        let builder = builder.icmpv6_raw(kind.0, kind.1, rest);
        builder.write(&mut packet, data).unwrap();
    }
    packet
}
fn ip_builder(
    from: IpAddr,
    to: IpAddr,
    hops: u8,
) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), hops),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), hops),
        _ => panic!("two families"),
    }
}

/// A client's port.
pub const PORT: u16 = 40_000;
/// Either transport.
pub const BOTH: [u8; 2] = [protocol::TCP, protocol::UDP];

/// A service of that transport.
pub fn of(service: TestService, number: u8) -> TestService {
    if number == protocol::UDP {
        service.udp()
    } else {
        service
    }
}

/// A packet of a transport: UDP has no segments, only data.
pub fn packet(
    number: u8,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    segment: Segment,
    data: &[u8],
) -> Vec<u8> {
    if number == protocol::UDP {
        udp(from, to, data)
    } else {
        tcp(from, to, segment, data)
    }
}

/// A packet as a client's frame.
pub fn from_client(packet: &[u8]) -> Vec<u8> {
    frame(CLIENT_MAC, BALANCER_MAC, Tags::None, packet)
}

/// The same packet with four no-operations as IPv4 options, or a destination options header that says nothing.
pub fn with_options(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let total = total(&packet);
    if packet[0] >> 4 == 4 {
        packet.splice(20..20, [1; 4]);
        packet[0] = 0x46;
        packet[2..4].copy_from_slice(&(total as u16 + 4).to_be_bytes());
        packet[10..12].copy_from_slice(&[0, 0]);
        let sum = Sum16BitWords::new().add_slice(&packet[..24]);
        packet[10..12].copy_from_slice(&sum.ones_complement().to_ne_bytes());
    } else {
        packet.splice(40..40, [packet[6], 0, 1, 4, 0, 0, 0, 0]);
        packet[6] = 60;
        packet[4..6].copy_from_slice(&(total as u16 - 40 + 8).to_be_bytes());
    }
    packet
}

/// What a deferred checksum field holds.
pub fn deferred_sum(packet: &[u8]) -> Be16 {
    let read = headers(packet, Whole::Yes);
    Be16((!pseudo(&read, read.payload.len()).ones_complement()).to_ne_bytes())
}

/// Leaves a TCP segment's or UDP datagram's checksum to hardware.
pub fn defer(packet: &mut [u8]) {
    let Be16(sum) = deferred_sum(packet);
    let read = headers(packet, Whole::Yes);
    let at = packet.len() - read.payload.len() + if read.protocol == 6 { 16 } else { 6 };
    packet[at..at + 2].copy_from_slice(&sum);
}
