//! Flows on the model: what opens them, where their packets go, what ends them.

use std::collections::HashSet;

use super::*;
use crate::packets::*;
use xdplb_prog::abi::{Addr, backend, deferred, mode};
use xdplb_prog::counters::Reason;
use xdplb_prog::model_tables::{TestBackend, TestService};
use xdplb_prog::world::Settings;

pub fn nat_translates_both_ways(make: &Make) {
    for cast in casts() {
        for number in BOTH {
            for &tags in make.tags() {
                for data in [&b""[..], b"x", b"hello, world"] {
                    let model = make.of(&[of(cast.nat(), number)]);
                    let client = (cast.client, PORT);
                    let vip = (cast.vip, 80);
                    let asked = packet(number, client, vip, Segment::Syn, data);
                    let sent = frame(CLIENT_MAC, BALANCER_MAC, tags, &asked);
                    let out = send(&model, &sent, Reason::Opened);
                    let request = read(ip(&out));
                    assert_eq!(out[12..l3(&sent)], sent[12..l3(&sent)]);
                    assert_eq!(out.len(), sent.len());
                    assert_eq!(request.source, cast.balancer);
                    assert!((1024..=32_767).contains(&request.port(0)));
                    assert_eq!(request.port(2), 8000);
                    assert_eq!(request.hops, 62);
                    let place = cast
                        .backends
                        .iter()
                        .position(|ip| *ip == request.destination);
                    let mac = TestBackend::new(cast.backends[place.unwrap()], 0).mac;
                    assert_eq!(macs(&out), (BALANCER_MAC, mac));
                    // The same packet again takes the same way.
                    let again = send(&model, &sent, Reason::Forwarded);
                    assert_eq!(again, out);

                    let answered =
                        packet(number, request.to(), request.from(), Segment::SynAck, data);
                    let sent = frame(mac, BALANCER_MAC, tags, &answered);
                    let out = send(&model, &sent, Reason::Replied);
                    let reply = read(ip(&out));
                    assert_eq!((reply.from(), reply.to()), (vip, client));
                    assert_eq!((reply.hops, macs(&out)), (62, (BALANCER_MAC, CLIENT_MAC)));
                    assert_eq!(model.live().len(), 1);
                }
            }
        }
    }
}

pub fn what_was_left_to_hardware_is_right_or_still_owed(make: &Make) {
    for cast in casts() {
        for number in BOTH {
            for mode in [deferred::COMPLETE, deferred::KEEP] {
                let settings = Settings {
                    deferred: mode,
                    ..settings()
                };
                let model = make.with(settings, &[of(cast.nat(), number)]);
                let mut asked = packet(
                    number,
                    (cast.client, PORT),
                    (cast.vip, 80),
                    Segment::Syn,
                    b"odd",
                );
                defer(&mut asked);
                let out = send(&model, &from_client(&asked), Reason::Opened);
                if mode == deferred::COMPLETE {
                    read(ip(&out));
                } else {
                    let mut owed = ip(&out).to_vec();
                    defer(&mut owed);
                    assert_eq!(owed, ip(&out));
                }
            }
        }
    }
}

pub fn a_datagram_without_a_checksum_stays_without(make: &Make) {
    let cast = v4();
    let model = make.of(&[cast.nat().udp()]);
    let mut asked = udp((cast.client, PORT), (cast.vip, 80), b"question");
    asked[26..28].copy_from_slice(&[0, 0]);
    let out = send(&model, &from_client(&asked), Reason::Opened);
    assert_eq!(ip(&out)[26..28], [0, 0]);
}

pub fn direct_return_changes_ethernet_addresses_alone(make: &Make) {
    for cast in casts() {
        for number in BOTH {
            for &tags in make.tags() {
                let model = make.of(&[of(cast.direct(mode::DSR), number)]);
                let asked = packet(
                    number,
                    (cast.client, PORT),
                    (cast.vip, 80),
                    Segment::Syn,
                    b"x",
                );
                let sent = frame(CLIENT_MAC, BALANCER_MAC, tags, &asked);
                let out = send(&model, &sent, Reason::Opened);
                assert_eq!(out[12..], sent[12..]);
                let again = send(&model, &sent, Reason::Forwarded);
                assert_eq!(again, out);
                let live = model.live();
                assert_eq!((live.len(), live[0].target), (1, Addr::NONE));
            }
        }
    }
}

pub fn what_opens_nothing_passes(make: &Make) {
    for cast in casts() {
        let model = make.of(&[cast.nat()]);
        for segment in [Segment::SynAck, Segment::Ack, Segment::Fin, Segment::Rst] {
            send(&model, &ask(&cast, PORT, segment), Reason::NoConnection);
        }
        let elsewhere = tcp((cast.client, PORT), (cast.vip, 81), Segment::Syn, b"");
        send(&model, &from_client(&elsewhere), Reason::OtherDestination);
        let datagram = udp((cast.client, PORT), (cast.vip, 80), b"");
        send(&model, &from_client(&datagram), Reason::OtherDestination);
        let own = tcp((cast.balancer, PORT), (cast.vip, 80), Segment::Syn, b"");
        send(&model, &from_client(&own), Reason::NoConnection);
        let zero = tcp((cast.client, 0), (cast.vip, 80), Segment::Syn, b"");
        send(&model, &from_client(&zero), Reason::PortZero);
        let mut last = ask(&cast, PORT, Segment::Syn);
        last[if cast.is_v6() { 21 } else { 22 }] = 1;
        send(&model, &last, Reason::TtlExpired);
        let stranger = frame(CLIENT_MAC, ROUTER_MAC, Tags::None, &last[14..]);
        send(&model, &stranger, Reason::OtherMac);
        assert!(model.live().is_empty());
    }
}

pub fn every_port_of_a_service(make: &Make) {
    for cast in casts() {
        let backends = cast.backends.map(|ip| TestBackend::new(ip, 0));
        let model = make.of(&[TestService::new(cast.vip, 0, &backends), cast.nat()]);
        let asked = tcp((cast.client, PORT), (cast.vip, 4711), Segment::Syn, b"");
        let out = send(&model, &from_client(&asked), Reason::Opened);
        assert_eq!(read(ip(&out)).port(2), 4711);
        // The service of that very port comes first.
        let out = send(&model, &ask(&cast, PORT, Segment::Syn), Reason::Opened);
        assert_eq!(read(ip(&out)).port(2), 8000);
    }
}

pub fn a_draining_backend_keeps_its_flows(make: &Make) {
    for cast in casts() {
        // A table that still names both, and one backend that is down: new flows that the table gives it are refused.
        let model = make.of(&[cast.nat()]);
        let mut of_first = None;
        for port in 0..8 {
            let out = establish(&model, &cast, PORT + port);
            if read(ip(&out)).destination == cast.backends[0] {
                of_first = Some(PORT + port);
            }
        }
        let of_first = of_first.unwrap();
        model.set_flags(0, backend::UP | backend::DRAINING | backend::FIXED_MAC);
        send(
            &model,
            &ask(&cast, of_first, Segment::Ack),
            Reason::Forwarded,
        );
        model.set_flags(0, backend::FIXED_MAC);
        send(
            &model,
            &ask(&cast, of_first, Segment::Ack),
            Reason::BackendDown,
        );
        assert_eq!(model.live().len(), 7);
    }
}

pub fn datagrams_leave_a_backend_that_is_down(make: &Make) {
    for cast in casts() {
        let asked = udp((cast.client, PORT), (cast.vip, 80), b"question");
        let sent = from_client(&asked);
        let before = make.of(&[cast.nat().udp()]);
        let first = read(ip(&send(&before, &sent, Reason::Opened))).destination;
        let down = cast.backends.iter().position(|ip| *ip == first).unwrap();
        // The loader replaces the table together with the flags; here the flow is opened by one and continued by the other.
        let mut service = cast.nat().udp();
        service.backends[down].flags = backend::FIXED_MAC;
        let after = make.of(&[service]);
        after.set_flags(down as u32, backend::UP | backend::FIXED_MAC);
        let other = read(ip(&send(&after, &sent, Reason::Opened)));
        assert_eq!(other.destination, cast.backends[1 - down]);
        after.set_flags(1 - down as u32, backend::FIXED_MAC);
        send(&after, &sent, Reason::NoBackend);
        assert!(after.live().is_empty());
    }
}

pub fn the_same_packet_reaches_the_same_backend_on_every_balancer(make: &Make) {
    for cast in casts() {
        for mode in [mode::NAT, mode::DSR, mode::IPIP] {
            let one = make.of(&[cast.direct(mode)]);
            let settings = Settings {
                seed: 0xfeed,
                ..settings()
            };
            let other = make.with(settings, &[cast.direct(mode)]);
            let mut backends = HashSet::new();
            for port in 0..30 {
                let sent = ask(&cast, PORT + port, Segment::Syn);
                let to = macs(&send(&one, &sent, Reason::Opened)).1;
                assert_eq!(macs(&send(&other, &sent, Reason::Opened)).1, to);
                backends.insert(to);
            }
            assert_eq!(backends.len(), 2);
        }
    }
}

pub fn what_is_behind_extension_headers_is_found(make: &Make) {
    if !make.anywhere() {
        return;
    }
    let cast = v6();
    let model = make.of(&[cast.nat()]);
    let packet = tcp((cast.client, PORT), (cast.vip, 80), Segment::Syn, b"odd");
    // Destination options before a routing header that has been followed to its end.
    let mut extended = with_options(&packet);
    extended.splice(48..48, [6, 0, 4, 0, 0, 0, 0, 0]);
    extended[40] = 43;
    extended[5] += 8;
    let out = send(&model, &from_client(&extended), Reason::Opened);
    assert_eq!(ip(&out)[6], 60);
    assert_eq!(out.len(), 14 + extended.len());
    let mut plain = ip(&out).to_vec();
    plain.drain(40..56);
    plain[5] -= 16;
    plain[6] = 6;
    assert_eq!(read(&plain).port(2), 8000);
    // One that has not been is for the routers on its way.
    extended[51] = 1;
    send(&model, &from_client(&extended), Reason::OtherProtocol);
    extended[40] = 44;
    send(&model, &from_client(&extended), Reason::Fragment);
}
