//! IP in IP on the model, and what a client is told whose packet does not fit.

use std::collections::HashSet;
use std::net::IpAddr;

use super::*;
use crate::packets::*;
use xdplb_prog::abi::{deferred, mode, protocol};
use xdplb_prog::counters::Reason;
use xdplb_prog::model_tables::{TestBackend, TestService};
use xdplb_prog::world::Settings;

const PORT: u16 = 40_000;

/// Service and backends: IPv4 in IPv4, IPv6 in IPv6, IPv4 in IPv6.
fn pairs() -> [(Cast, Cast); 3] {
    [(v4(), v4()), (v6(), v6()), (v4(), v6())]
}
fn service(inner: &Cast, outer: &Cast) -> TestService {
    let backends = outer.backends.map(|ip| TestBackend::new(ip, 0));
    TestService::new(inner.vip, 80, &backends).mode(mode::IPIP)
}
fn header(cast: &Cast) -> usize {
    if cast.is_v6() { 40 } else { 20 }
}
fn in_range(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(ip) => ip.octets()[..2] == [172, 16],
        IpAddr::V6(ip) => ip.octets()[..8] == [1, 0, 0, 0, 0, 0, 0, 0],
    }
}

pub fn a_packet_travels_whole_in_another(make: &Make) {
    for (inner, outer) in pairs() {
        for &tags in make.tags() {
            for length in [0, 1, 6, 1000] {
                for number in [protocol::TCP, protocol::UDP] {
                    let service = service(&inner, &outer);
                    let is_udp = number == protocol::UDP;
                    let model = make.of(&[if is_udp { service.udp() } else { service }]);
                    let data = vec![0xa5; length];
                    let (from, to) = ((inner.client, PORT), (inner.vip, 80));
                    let packet = if is_udp {
                        udp(from, to, &data)
                    } else {
                        tcp(from, to, Segment::Syn, &data)
                    };
                    let sent = frame(CLIENT_MAC, BALANCER_MAC, tags, &packet);
                    let out = send(&model, &sent, Reason::Opened);
                    assert_eq!(out.len(), sent.len() + header(&outer));
                    // Tags stay; the ethertype behind them is the outer family's.
                    assert_eq!(out[12..l3(&sent) - 2], sent[12..l3(&sent) - 2]);
                    assert_eq!(l3(&out), l3(&sent));
                    let tunnel = read(ip(&out));
                    assert_eq!(tunnel.payload, packet);
                    assert_eq!(tunnel.protocol, if inner.is_v6() { 41 } else { 4 });
                    assert_eq!(tunnel.hops, 64);
                    assert!(in_range(tunnel.source), "{}", tunnel.source);
                    let place = outer
                        .backends
                        .iter()
                        .position(|ip| *ip == tunnel.destination);
                    let mac = TestBackend::new(outer.backends[place.unwrap()], 0).mac;
                    assert_eq!(macs(&out), (BALANCER_MAC, mac));
                }
            }
        }
    }
}

pub fn a_flow_has_one_source_and_others_have_others(make: &Make) {
    for (inner, outer) in pairs() {
        let model = make.of(&[service(&inner, &outer)]);
        let packet = |port, segment| {
            let packet = tcp((inner.client, port), (inner.vip, 80), segment, b"");
            frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet)
        };
        let mut sources = HashSet::new();
        for port in 2000..2050 {
            let first = read(ip(&send(
                &model,
                &packet(port, Segment::Syn),
                Reason::Opened,
            )));
            let later = read(ip(&send(
                &model,
                &packet(port, Segment::Ack),
                Reason::Forwarded,
            )));
            assert_eq!(
                (first.source, first.destination),
                (later.source, later.destination)
            );
            sources.insert(first.source);
        }
        assert!(sources.len() > 45, "{}", sources.len());
        // A balancer of another seed, that has never seen the flow, sends it the same way.
        let other = make.with(
            Settings {
                seed: 1,
                ..settings()
            },
            &[service(&inner, &outer)],
        );
        let there = read(ip(&send(
            &model,
            &packet(2000, Segment::Ack),
            Reason::Forwarded,
        )));
        let here = read(ip(&send(
            &other,
            &packet(2000, Segment::Ack),
            Reason::Opened,
        )));
        assert_eq!(
            (there.source, there.destination),
            (here.source, here.destination)
        );
    }
}

pub fn class_and_fragmenting_are_the_inner_ones(make: &Make) {
    for (inner, outer) in pairs() {
        let mut packet = tcp((inner.client, PORT), (inner.vip, 80), Segment::Syn, b"");
        if inner.is_v6() {
            packet[..2].copy_from_slice(&[0x6b, 0xa0]);
        } else {
            packet[1] = 0xba;
            packet[4..6].copy_from_slice(&[0x12, 0x34]);
            packet[6] = 0;
            packet[10..12].copy_from_slice(&[0, 0]);
            let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&packet[..20]);
            packet[10..12].copy_from_slice(&sum.ones_complement().to_ne_bytes());
        }
        let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet);
        let out = send(&make.of(&[service(&inner, &outer)]), &sent, Reason::Opened);
        let bytes = read(ip(&out)).bytes;
        if outer.is_v6() {
            assert_eq!(bytes[..4], [0x6b, 0xa0, 0, 0]);
        } else {
            assert_eq!(bytes[1..8], [0xba, 0, 60, 0x12, 0x34, 0, 0]);
        }
    }
}

pub fn a_checksum_left_to_hardware_is_completed(make: &Make) {
    for (inner, outer) in pairs() {
        let whole = tcp((inner.client, PORT), (inner.vip, 80), Segment::Syn, b"odd");
        let mut packet = whole.clone();
        defer(&mut packet);
        let sent = frame(CLIENT_MAC, BALANCER_MAC, make.tagged(Tags::Vlan), &packet);
        let out = send(&make.of(&[service(&inner, &outer)]), &sent, Reason::Opened);
        assert_eq!(read(ip(&out)).payload, whole);
    }
}

pub fn options_go_along(make: &Make) {
    if !make.anywhere() {
        return;
    }
    for (inner, outer) in pairs() {
        let packet = tcp((inner.client, PORT), (inner.vip, 80), Segment::Syn, b"");
        let packet = with_options(&packet);
        let sent = frame(CLIENT_MAC, BALANCER_MAC, make.tagged(Tags::QinQ), &packet);
        let out = send(&make.of(&[service(&inner, &outer)]), &sent, Reason::Opened);
        assert_eq!(read(ip(&out)).payload, packet);
    }
}

pub fn a_client_is_told_what_fits(make: &Make) {
    for (inner, outer) in pairs() {
        for &tags in make.tags() {
            let model = make.of(&[service(&inner, &outer)]);
            let room = 1500 - header(&outer);
            let segment = |length: usize| {
                let data: Vec<u8> = (0..length).map(|n| n as u8).collect();
                tcp((inner.client, PORT), (inner.vip, 80), Segment::Syn, &data)
            };
            let fits = segment(room - header(&inner) - 20);
            assert_eq!(fits.len(), room);
            let sent = frame(CLIENT_MAC, BALANCER_MAC, tags, &fits);
            let out = send(&model, &sent, Reason::Opened);
            assert_eq!(ip(&out).len(), 1500);

            let long = segment(room - header(&inner) - 19);
            let sent = frame(CLIENT_MAC, BALANCER_MAC, tags, &long);
            let out = send(&model, &sent, Reason::TooBig);
            assert_eq!(macs(&out), (BALANCER_MAC, CLIENT_MAC));
            assert_eq!(out[12..l3(&sent)], sent[12..l3(&sent)]);
            let told = read(ip(&out));
            assert_eq!(told.bytes, ip(&out));
            assert_eq!((told.source, told.destination), (inner.vip, inner.client));
            assert_eq!(told.hops, 64);
            let kind = if inner.is_v6() { [2, 0] } else { [3, 4] };
            assert_eq!(told.payload[..2], kind);
            assert_eq!(told.payload[4..8], (room as u32).to_be_bytes());
            // As much of it as an error may quote.
            assert_eq!(told.bytes.len(), if inner.is_v6() { 1280 } else { 576 });
            assert_eq!(told.payload[8..], long[..told.payload.len() - 8]);
        }
    }
}

pub fn nothing_is_said_about_errors(make: &Make) {
    let cast = v6();
    let settings = Settings {
        mtu: 1300,
        ..settings()
    };
    let model = make.with(settings, &[cast.direct(mode::IPIP)]);
    let answer = tcp(
        (cast.vip, 80),
        (cast.client, PORT),
        Segment::Ack,
        &[0; 1190],
    );
    let error = icmp(cast.router, cast.vip, (2, 0), [0, 0, 5, 0], &answer[..1230]);
    let sent = frame(ROUTER_MAC, BALANCER_MAC, Tags::None, &error);
    send(&model, &sent, Reason::OtherIcmp);
}

pub fn in_generic_mode_the_socket_buffer_still_owes_it(make: &Make) {
    let cast = v4();
    let settings = Settings {
        deferred: deferred::KEEP,
        ..settings()
    };
    let model = make.with(settings, &[cast.direct(mode::IPIP)]);
    let mut packet = tcp((cast.client, PORT), (cast.vip, 80), Segment::Syn, b"");
    defer(&mut packet);
    let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet);
    let out = send(&model, &sent, Reason::Opened);
    assert_eq!(ip(&out)[20..], packet);
}
