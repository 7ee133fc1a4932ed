//! Data of every length: it arrives as it was sent, with right checksums, whoever computed the ones before.

use xdplb_prog::abi::{deferred, mode, protocol};

use super::*;
use crate::packets::*;

/// The most that an Ethernet frame carries behind IPv4's and TCP's headers.
const MOST: usize = 1_460;

fn data(length: usize) -> Vec<u8> {
    // Not the same in any two words, and never all zero.
    (0..length).map(|n| (n * 7 + n / 251 + 1) as u8).collect()
}

/// Where the data of a packet begins.
fn behind(number: u8) -> usize {
    if number == protocol::UDP { 8 } else { 20 }
}

fn every_length(make: &Make, deferral: u32, sent: fn(&mut [u8])) {
    for cast in casts() {
        for number in BOTH {
            let settings = Settings {
                deferred: deferral,
                ..settings()
            };
            let balancer = make.with(settings, &[of(cast.nat(), number)]);
            let (client, vip) = ((cast.client, PORT), (cast.vip, 80));
            let mut reason = Reason::Opened;
            for length in 0..=MOST {
                let data = data(length);
                let mut asked = packet(number, client, vip, Segment::Syn, &data);
                sent(&mut asked);
                let out = send(&balancer, &from_client(&asked), reason);
                let request = read(ip(&out));
                assert_eq!(request.payload[behind(number)..], data, "{length}");
                reason = Reason::Forwarded;

                let mut answered =
                    packet(number, request.to(), request.from(), Segment::SynAck, &data);
                sent(&mut answered);
                let answered = frame(macs(&out).1, BALANCER_MAC, Tags::None, &answered);
                let out = send(&balancer, &answered, Reason::Replied);
                let reply = read(ip(&out));
                assert_eq!((reply.from(), reply.to()), (vip, client));
                assert_eq!(reply.payload[behind(number)..], data, "{length}");
            }
            let bytes = balancer.count(Reason::Replied).bytes;
            let backends = [0, 1].map(|index| balancer.backend_count(index));
            let received = backends.map(|count| count.received.bytes);
            assert_eq!(received.iter().sum::<u64>(), bytes);
            assert_eq!(balancer.counted(Reason::Replied), 1 + MOST as u64);
        }
    }
}

pub fn every_length_keeps_its_bytes(make: &Make) {
    every_length(make, deferred::COMPLETE, |_| {});
}

pub fn what_was_left_to_hardware_is_completed_at_every_length(make: &Make) {
    every_length(make, deferred::COMPLETE, defer);
}

/// Complete ones, in generic mode: they stay complete.
pub fn what_is_complete_stays_so_in_generic_mode(make: &Make) {
    every_length(make, deferred::KEEP, |_| {});
}

/// And what is owed is owed for the new addresses, both ways.
pub fn what_is_owed_stays_owed_at_every_length(make: &Make) {
    for cast in casts() {
        for number in BOTH {
            let settings = Settings {
                deferred: deferred::KEEP,
                ..settings()
            };
            let balancer = make.with(settings, &[of(cast.nat(), number)]);
            let (client, vip) = ((cast.client, PORT), (cast.vip, 80));
            let mut reason = Reason::Opened;
            for length in (0..=MOST).step_by(3) {
                let mut asked = packet(number, client, vip, Segment::Syn, &data(length));
                defer(&mut asked);
                let out = send(&balancer, &from_client(&asked), reason);
                reason = Reason::Forwarded;
                owes(ip(&out));
                let header = if cast.is_v6() { 40 } else { 20 };
                let (from, to) = ports(ip(&out), asked.len() - header);
                let mut backends = cast.backends.into_iter();
                let backend = backends.find(|backend| carries(ip(&out), *backend));
                let backend = (backend.unwrap(), to);
                let mut answered =
                    packet(number, backend, (cast.balancer, from), Segment::SynAck, &data(length));
                defer(&mut answered);
                let answered = frame(macs(&out).1, BALANCER_MAC, Tags::None, &answered);
                owes(ip(&send(&balancer, &answered, Reason::Replied)));
            }
        }
    }
}

/// The packet's checksum is still owed.
#[track_caller]
fn owes(packet: &[u8]) {
    let mut owed = packet.to_vec();
    defer(&mut owed);
    assert_eq!(owed, packet);
}
/// The ports in front of the transport's last `whole` bytes.
fn ports(packet: &[u8], whole: usize) -> (u16, u16) {
    let at = packet.len() - whole;
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    (port(at), port(at + 2))
}
/// Whether that is the packet's destination.
fn carries(packet: &[u8], to: std::net::IpAddr) -> bool {
    match to {
        std::net::IpAddr::V4(ip) => packet[16..20] == ip.octets(),
        std::net::IpAddr::V6(ip) => packet[24..40] == ip.octets(),
    }
}

/// Without and with encapsulation, also those that hardware was left to.
pub fn direct_return_keeps_every_length(make: &Make) {
    for cast in casts() {
        for number in BOTH {
            for mode in [mode::DSR, mode::IPIP] {
                let balancer = make.of(&[of(cast.direct(mode), number)]);
                let mut reason = Reason::Opened;
                for length in 0..=1_400 {
                    let whole = packet(
                        number,
                        (cast.client, PORT),
                        (cast.vip, 80),
                        Segment::Syn,
                        &data(length),
                    );
                    let mut owed = whole.clone();
                    if length % 2 == 0 {
                        defer(&mut owed);
                    }
                    let out = send(&balancer, &from_client(&owed), reason);
                    reason = Reason::Forwarded;
                    let seen = read(ip(&out));
                    let inner = if mode == mode::IPIP { seen.payload } else { seen.bytes };
                    assert_eq!(inner, whole);
                }
            }
        }
    }
}

/// Frames in several pieces, where driver and program allow them.
pub fn jumbo_frames_are_forwarded(make: &Make) {
    for cast in casts() {
        for number in BOTH {
            let settings = Settings {
                frags: 1,
                mtu: 9_000,
                ..settings()
            };
            let balancer = make.with(settings, &[of(cast.nat(), number)]);
            let mut reason = Reason::Opened;
            for length in [0, 1, 3_000, 3_501, 4_096, 8_901] {
                for deferred in [false, true] {
                    let data = data(length);
                    let (from, to) = ((cast.client, PORT), (cast.vip, 80));
                    let mut asked = packet(number, from, to, Segment::Syn, &data);
                    if deferred {
                        defer(&mut asked);
                    }
                    let out = send(&balancer, &from_client(&asked), reason);
                    reason = Reason::Forwarded;
                    assert_eq!(read(ip(&out)).payload[behind(number)..], data);
                }
            }
        }
    }
}
