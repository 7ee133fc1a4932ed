//! A packet for every reason. A reason that is added and has none here does not compile.

use xdplb_prog::abi::{Connection, backend, deferred, mode};
use xdplb_prog::model_tables::TestBackend;

use super::*;
use crate::packets::*;

pub fn every_reason_has_a_packet(make: &Make) {
    for reason in Reason::ALL {
        for cast in casts() {
            println!("{}, IPv6: {}", reason.name(), cast.is_v6());
            show(make, &cast, *reason);
        }
    }
}

/// Sends a packet that leaves for this reason.
fn show(make: &Make, cast: &Cast, reason: Reason) {
    let syn = ask(cast, PORT, Segment::Syn);
    let nat = || make.of(&[cast.nat()]);
    match reason {
        Reason::Forwarded | Reason::Opened | Reason::Replied => drop(establish(&nat(), cast, PORT)),
        Reason::Stateless => {
            let one = make.sized(1, &[cast.direct(mode::DSR)]);
            send(&one, &syn, Reason::Opened);
            send(&one, &ask(cast, PORT, Segment::Ack), Reason::Forwarded);
            send(&one, &ask(cast, PORT + 1, Segment::Syn), reason);
        }
        Reason::EchoReplied => drop(send(&nat(), &from_client(&echo(cast)), reason)),
        Reason::ErrorToClient => {
            let balancer = nat();
            let out = send(&balancer, &syn, Reason::Opened);
            let error = unreachable(cast, cast.balancer, ip(&out));
            send(&balancer, &from_client(&error), reason);
        }
        Reason::ErrorToBackend => {
            let balancer = nat();
            let out = send(&balancer, &syn, Reason::Opened);
            let out = send(&balancer, &answer(&out, Segment::SynAck), Reason::Replied);
            let error = unreachable(cast, cast.vip, ip(&out));
            send(&balancer, &from_client(&error), reason);
        }
        Reason::TooBig => {
            let long = tcp((cast.client, PORT), (cast.vip, 80), Segment::Syn, &[7; 1460]);
            let balancer = make.of(&[cast.direct(mode::IPIP)]);
            send(&balancer, &from_client(&long), reason);
        }
        Reason::NotIp => {
            let mut arp = syn;
            arp[12..14].copy_from_slice(&[8, 6]);
            send(&nat(), &arp, reason);
        }
        Reason::Truncated => {
            let balancer = nat();
            for length in [14, 33, syn.len() - 1] {
                send(&balancer, &syn[..length], reason);
            }
        }
        Reason::Malformed => {
            let mut contradicts = syn.clone();
            // A header of four words, or IPv6 of version 4.
            contradicts[14] = 0x44;
            send(&nat(), &contradicts, reason);
            // A segment of fewer words than TCP's header has.
            let mut contradicts = syn;
            let at = contradicts.len() - 20 + 12;
            contradicts[at] = 0x40;
            send(&nat(), &contradicts, reason);
        }
        Reason::OtherMac => {
            let balancer = nat();
            for other in [[0xff; 6], ROUTER_MAC] {
                let frame = frame(CLIENT_MAC, other, Tags::None, ip(&syn));
                send(&balancer, &frame, reason);
            }
        }
        Reason::OtherDestination => {
            let balancer = nat();
            let (from, other) = ((cast.client, PORT), cast.backends[0]);
            for packet in [
                tcp(from, (other, 80), Segment::Syn, b""),
                tcp(from, (cast.vip, 81), Segment::Syn, b""),
                udp(from, (cast.vip, 80), b"x"),
            ] {
                send(&balancer, &from_client(&packet), reason);
            }
        }
        Reason::OtherProtocol => {
            let mut gre = syn;
            gre[if cast.is_v6() { 20 } else { 23 }] = 47;
            send(&nat(), &gre, reason);
        }
        Reason::PortZero => {
            let balancer = make.of(&[cast.nat(), cast.nat().udp()]);
            for (from, to) in [(0, 80), (PORT, 0)] {
                let (from, to) = ((cast.client, from), (cast.vip, to));
                send(&balancer, &from_client(&tcp(from, to, Segment::Syn, b"")), reason);
                send(&balancer, &from_client(&udp(from, to, b"x")), reason);
            }
            assert!(balancer.live().is_empty());
        }
        Reason::Fragment => {
            let balancer = nat();
            establish(&balancer, cast, PORT);
            for fragment in fragments(cast) {
                send(&balancer, &from_client(&fragment), reason);
            }
        }
        Reason::TtlExpired => {
            let balancer = nat();
            for hops in [0, 1] {
                let mut last = syn.clone();
                last[if cast.is_v6() { 21 } else { 22 }] = hops;
                send(&balancer, &last, reason);
            }
        }
        Reason::Unusual => {
            let mut tagged = frame(CLIENT_MAC, BALANCER_MAC, Tags::QinQ, ip(&syn));
            if make.anywhere() {
                // A third tag.
                tagged.splice(12..12, [0x88, 0xa8, 0, 1]);
            }
            send(&nat(), &tagged, reason);
        }
        Reason::NoConnection => drop(send(&nat(), &ask(cast, PORT, Segment::Ack), reason)),
        Reason::OtherIcmp => {
            let mut reply = echo(cast);
            let at = reply.len() - 8 - 4;
            reply[at] = if cast.is_v6() { 129 } else { 0 };
            send(&nat(), &from_client(&reply), reason);
        }
        Reason::NoBackend | Reason::NoBackendReset => {
            let mut service = cast.nat();
            for one in &mut service.backends {
                one.flags |= backend::DRAINING;
            }
            let balancer = make.of(&[service.clone(), service.udp()]);
            refused(&balancer, cast, PORT, reason, Reason::NoBackend);
            assert_eq!(balancer.service_count(0).refused + balancer.service_count(1).refused, 1);
        }
        Reason::NoPort | Reason::NoPortReset => {
            let mut one = cast.nat().source_ports(2000, 2000);
            one.backends.truncate(1);
            let balancer = make.of(&[one.clone(), one.udp()]);
            for number in BOTH {
                establish_over(&balancer, number, cast, PORT);
            }
            refused(&balancer, cast, PORT + 1, reason, Reason::NoPort);
            assert_eq!(balancer.live().len(), 2);
        }
        Reason::TableFull | Reason::TableFullReset => {
            let balancer = make.sized(1, &[cast.nat(), cast.nat().udp()]);
            establish(&balancer, cast, PORT);
            refused(&balancer, cast, PORT + 1, reason, Reason::TableFull);
            send(&balancer, &ask(cast, PORT, Segment::Ack), Reason::Forwarded);
        }
        Reason::BackendDown => {
            let balancer = nat();
            establish(&balancer, cast, PORT);
            (0..2).for_each(|index| balancer.set_flags(index, backend::FIXED_MAC));
            send(&balancer, &ask(cast, PORT, Segment::Ack), reason);
            assert!(balancer.live().is_empty());
        }
        Reason::NoRoute => {
            let mut service = cast.nat();
            for one in &mut service.backends {
                (one.flags, one.mac) = (backend::UP, [0; 6]);
            }
            send(&make.of(&[service]), &syn, reason);
        }
        Reason::Contended => {
            // Another CPU is rewriting the only slot.
            let balancer = make.sized(1, &[cast.nat()]);
            let slot = balancer.slots()[0];
            let generation = slot.generation + 1;
            balancer.put_connection(0, &Connection { generation, ..slot });
            let (verdict, _) = balancer.receive(&syn);
            assert_eq!((verdict, balancer.counted(reason)), (Verdict::Drop, 1));
        }
        Reason::ChecksumTooLong => {
            let settings = Settings {
                frags: 1,
                deferred: deferred::COMPLETE,
                ..settings()
            };
            let (from, to) = ((cast.client, PORT), (cast.vip, 80));
            let balancer = make.with(settings, &[cast.nat()]);
            for length in [17_000, 33_000] {
                let mut aggregate = tcp(from, to, Segment::Syn, &vec![5; length]);
                defer(&mut aggregate);
                send(&balancer, &from_client(&aggregate), reason);
            }
        }
        Reason::NoHeadroom => {
            let balancer = make.of(&[cast.direct(mode::IPIP)]);
            let (verdict, out) = balancer.receive_cramped(&syn);
            assert_eq!((verdict, balancer.counted(reason)), (Verdict::Drop, 1));
            assert_eq!(out, syn);
        }
    }
}

/// A SYN and a datagram.
fn both_kinds(cast: &Cast, port: u16) -> [Vec<u8>; 2] {
    let (from, to) = ((cast.client, port), (cast.vip, 80));
    [tcp(from, to, Segment::Syn, b""), udp(from, to, b"question")]
}

/// A packet that opens a flow, which is refused: a datagram where that reason is the one that drops.
fn refused(balancer: &Balancer, cast: &Cast, port: u16, reason: Reason, drops: Reason) {
    let [syn, datagram] = both_kinds(cast, port);
    let packet = if reason == drops { datagram } else { syn };
    let out = send(balancer, &from_client(&packet), reason);
    if reason != drops {
        let rst = read(ip(&out));
        assert_eq!((rst.from(), rst.to()), ((cast.vip, 80), (cast.client, port)));
    }
}

fn echo(cast: &Cast) -> Vec<u8> {
    let kind = if cast.is_v6() { (128, 0) } else { (8, 0) };
    icmp(cast.client, cast.vip, kind, [0, 1, 0, 2], b"ping")
}

fn unreachable(cast: &Cast, to: std::net::IpAddr, quoted: &[u8]) -> Vec<u8> {
    let kind = if cast.is_v6() { (1, 4) } else { (3, 3) };
    icmp(cast.router, to, kind, [0; 4], quoted)
}

/// The first one and a later one.
fn fragments(cast: &Cast) -> [Vec<u8>; 2] {
    let whole = tcp((cast.client, PORT), (cast.vip, 80), Segment::Ack, &[3; 64]);
    [[0x20, 0], [0, 5]].map(|[high, low]: [u8; 2]| {
        let mut fragment = whole.clone();
        if cast.is_v6() {
            // Next header, reserved, offset in eight bytes and the flag, identification (RFC 8200 §4.5).
            let offset = u16::from(low) << 3 | u16::from(high != 0);
            let [first, second] = offset.to_be_bytes();
            fragment.splice(40..40, [6, 0, first, second, 0, 0, 0, 9]);
            fragment[6] = 44;
            fragment[5] += 8;
        } else {
            fragment[6..8].copy_from_slice(&[high, low]);
        }
        fragment
    })
}

/// Each service has its own ports, and none is a client's.
pub fn what_was_refused_is_counted_by_its_service(make: &Make) {
    for cast in casts() {
        let backends = cast.backends.map(|ip| TestBackend::new(ip, 8000));
        let mut closed = TestService::new(cast.vip, 81, &backends);
        for one in &mut closed.backends {
            one.flags |= backend::DRAINING;
        }
        let balancer = make.of(&[cast.nat(), closed]);
        send(&balancer, &ask(&cast, PORT, Segment::Syn), Reason::Opened);
        let (from, to) = ((cast.client, PORT), (cast.vip, 81));
        let other = from_client(&tcp(from, to, Segment::Syn, b""));
        send(&balancer, &other, Reason::NoBackendReset);
        let counts = [0, 1].map(|id| balancer.service_count(id));
        assert_eq!(counts.map(|count| count.opened), [1, 0]);
        assert_eq!(counts.map(|count| count.refused), [0, 1]);
    }
}
