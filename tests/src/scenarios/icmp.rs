//! ICMP on the model: echo, and errors in both directions, every checksum recomputed by another crate.

use super::*;
use crate::packets::*;
use xdplb_prog::abi::{mode, protocol};
use xdplb_prog::counters::Reason;
use xdplb_prog::model_tables::TestService;

const PORT: u16 = 40_000;

/// Unreachable, too long, time exceeded, parameter problem.
fn errors(cast: &Cast) -> &'static [(u8, u8)] {
    if cast.is_v6() {
        &[(1, 4), (2, 0), (3, 0), (4, 1)]
    } else {
        &[(3, 3), (3, 4), (4, 0), (11, 0), (12, 0)]
    }
}
fn echo(cast: &Cast) -> ((u8, u8), u8) {
    if cast.is_v6() {
        ((128, 0), 129)
    } else {
        ((8, 0), 0)
    }
}

pub fn an_echo_request_to_a_service_is_answered(make: &Make) {
    for cast in casts() {
        for &tags in make.tags() {
            for length in [0, 1, 56, 1001] {
                let model = make.of(&[cast.nat()]);
                let data: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
                let (request, reply) = echo(&cast);
                let packet = icmp(cast.client, cast.vip, request, [1, 2, 3, 4], &data);
                let sent = frame(CLIENT_MAC, BALANCER_MAC, tags, &packet);
                let out = send(&model, &sent, Reason::EchoReplied);
                assert_eq!(macs(&out), (BALANCER_MAC, CLIENT_MAC));
                assert_eq!(out[12..l3(&sent)], sent[12..l3(&sent)]);
                let answer = read(ip(&out));
                assert_eq!((answer.source, answer.destination), (cast.vip, cast.client));
                assert_eq!((answer.hops, answer.payload[0]), (64, reply));
                assert_eq!(answer.payload[4..8], [1, 2, 3, 4]);
                assert_eq!(answer.payload[8..], data);
            }
        }
    }
}

pub fn an_echo_request_to_anyone_else_passes(make: &Make) {
    for cast in casts() {
        let model = make.of(&[cast.nat()]);
        for to in [cast.balancer, cast.backends[0], cast.client] {
            let packet = icmp(cast.client, to, echo(&cast).0, [0; 4], b"ping");
            let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet);
            send(&model, &sent, Reason::OtherIcmp);
        }
        let reply = (echo(&cast).1, 0);
        let packet = icmp(cast.client, cast.vip, reply, [0; 4], b"pong");
        let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet);
        send(&model, &sent, Reason::OtherIcmp);
    }
}

/// Opens a flow; what went to the backend.
fn open(model: &Balancer, cast: &Cast, protocol: u8, tags: Tags) -> Vec<u8> {
    let packet = packet(cast, protocol);
    let sent = frame(CLIENT_MAC, BALANCER_MAC, tags, &packet);
    send(model, &sent, Reason::Opened)
}
/// What a client sends first.
fn packet(cast: &Cast, protocol: u8) -> Vec<u8> {
    let (from, to) = ((cast.client, PORT), (cast.vip, 80));
    if protocol == protocol::TCP {
        tcp(from, to, Segment::Syn, b"")
    } else {
        udp(from, to, b"question")
    }
}
fn of(service: TestService, protocol: u8) -> TestService {
    if protocol == protocol::TCP {
        service
    } else {
        service.udp()
    }
}

/// A quotation of each length that makes a difference: eight bytes, with and without TCP's checksum, all.
fn quotations(packet: &[u8]) -> Vec<&[u8]> {
    let header = packet.len() - read(packet).payload.len();
    let lengths = [8, 16, 18, 19, 20, packet.len() - header];
    lengths
        .into_iter()
        .filter(|length| header + length <= packet.len())
        .map(|length| &packet[..header + length])
        .collect()
}

pub fn an_error_about_a_packet_to_a_backend_reaches_the_client(make: &Make) {
    for cast in casts() {
        for protocol in [protocol::TCP, protocol::UDP] {
            for &tags in make.tags() {
                let model = make.of(&[of(cast.nat(), protocol)]);
                let out = open(&model, &cast, protocol, tags);
                let to_backend = read(ip(&out));
                for reporter in [cast.router, to_backend.destination] {
                    for kind in errors(&cast) {
                        for quoted in quotations(ip(&out)) {
                            let error = icmp(reporter, cast.balancer, *kind, [0, 0, 5, 0], quoted);
                            let sent = frame(ROUTER_MAC, BALANCER_MAC, tags, &error);
                            let out = send(&model, &sent, Reason::ErrorToClient);
                            assert_eq!(macs(&out), (BALANCER_MAC, CLIENT_MAC));
                            let told = read(ip(&out));
                            let shown = if reporter == cast.router {
                                cast.router
                            } else {
                                cast.vip
                            };
                            assert_eq!((told.source, told.destination), (shown, cast.client));
                            assert_eq!(told.hops, 62);
                            assert_eq!(told.payload[..2], [kind.0, kind.1]);
                            assert_eq!(told.payload[4..8], [0, 0, 5, 0]);
                            let inner = told.inner();
                            assert_eq!(inner.from(), (cast.client, PORT));
                            assert_eq!(inner.to(), (cast.vip, 80));
                            // But for the hop that it took it is what the client sent.
                            let original = packet(&cast, protocol);
                            let header = original.len() - read(&original).payload.len();
                            assert_eq!(
                                inner.payload[..],
                                original[header..header + inner.payload.len()]
                            );
                        }
                    }
                }
            }
        }
    }
}

pub fn an_error_about_a_packet_to_the_client_reaches_the_backend(make: &Make) {
    for cast in casts() {
        for protocol in [protocol::TCP, protocol::UDP] {
            for &tags in make.tags() {
                let model = make.of(&[of(cast.nat(), protocol)]);
                let out = open(&model, &cast, protocol, tags);
                let (backend_mac, asked) = (macs(&out).1, read(ip(&out)));
                let answer = if protocol == protocol::TCP {
                    tcp(asked.to(), asked.from(), Segment::SynAck, b"")
                } else {
                    udp(asked.to(), asked.from(), b"answer!")
                };
                let sent = frame(backend_mac, BALANCER_MAC, tags, &answer);
                let out = send(&model, &sent, Reason::Replied);
                for reporter in [cast.router, cast.client] {
                    for kind in errors(&cast) {
                        for quoted in quotations(ip(&out)) {
                            let error = icmp(reporter, cast.vip, *kind, [0, 0, 5, 0], quoted);
                            let sent = frame(ROUTER_MAC, BALANCER_MAC, tags, &error);
                            let out = send(&model, &sent, Reason::ErrorToBackend);
                            assert_eq!(macs(&out), (BALANCER_MAC, backend_mac));
                            let told = read(ip(&out));
                            assert_eq!(told.source, cast.balancer);
                            assert_eq!(told.destination, asked.destination);
                            let inner = told.inner();
                            assert_eq!((inner.from(), inner.to()), (asked.to(), asked.from()));
                            let header = answer.len() - read(&answer).payload.len();
                            assert_eq!(
                                inner.payload[..],
                                answer[header..header + inner.payload.len()]
                            );
                        }
                    }
                }
            }
        }
    }
}

/// An error about what a backend sent straight to the client.
fn about_direct(cast: &Cast) -> Vec<u8> {
    let answer = tcp((cast.vip, 80), (cast.client, PORT), Segment::SynAck, b"");
    icmp(
        cast.router,
        cast.vip,
        errors(cast)[1],
        [0, 0, 5, 0],
        &answer,
    )
}

pub fn with_direct_return_an_error_goes_on_as_it_is(make: &Make) {
    for cast in casts() {
        for opened in [true, false] {
            let model = make.of(&[cast.direct(mode::DSR)]);
            let packet = packet(&cast, protocol::TCP);
            let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet);
            // Its record may be another balancer's: the table leads to the same backend.
            let mac = macs(&send(&model, &sent, Reason::Opened)).1;
            let other = make.of(&[cast.direct(mode::DSR)]);
            let error = about_direct(&cast);
            let sent = frame(ROUTER_MAC, BALANCER_MAC, make.tagged(Tags::Vlan), &error);
            let asked = if opened { &model } else { &other };
            let out = send(asked, &sent, Reason::ErrorToBackend);
            assert_eq!(macs(&out), (BALANCER_MAC, mac));
            assert_eq!(ip(&out), error);
        }
    }
}

pub fn through_a_tunnel_an_error_takes_the_flows_way(make: &Make) {
    for cast in casts() {
        let model = make.of(&[cast.direct(mode::IPIP)]);
        let packet = packet(&cast, protocol::TCP);
        let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet);
        let flow = read(ip(&send(&model, &sent, Reason::Opened)));
        let error = about_direct(&cast);
        let sent = frame(ROUTER_MAC, BALANCER_MAC, Tags::None, &error);
        let out = read(ip(&send(&model, &sent, Reason::ErrorToBackend)));
        assert_eq!(
            (out.source, out.destination),
            (flow.source, flow.destination)
        );
        assert_eq!(out.payload, error);
    }
}

pub fn what_concerns_no_flow_passes(make: &Make) {
    for cast in casts() {
        let model = make.of(&[cast.nat()]);
        let out = open(&model, &cast, protocol::TCP, Tags::None);
        let good = ip(&out).to_vec();
        let header = good.len() - read(&good).payload.len();
        let unreachable = errors(&cast)[0];
        let pass = |error: Vec<u8>, reason| {
            let sent = frame(ROUTER_MAC, BALANCER_MAC, Tags::None, &error);
            send(&model, &sent, reason);
        };
        // Of another flow, to another receiver, cut before the ports, of no transport, without hops left.
        let mut other = good.clone();
        other[header + 1] ^= 1;
        pass(
            icmp(cast.router, cast.balancer, unreachable, [0; 4], &other),
            Reason::OtherIcmp,
        );
        pass(
            icmp(cast.router, cast.vip, unreachable, [0; 4], &good),
            Reason::OtherIcmp,
        );
        let short = &good[..header + 7];
        pass(
            icmp(cast.router, cast.balancer, unreachable, [0; 4], short),
            Reason::OtherIcmp,
        );
        pass(
            icmp(cast.router, cast.balancer, unreachable, [0; 4], b""),
            Reason::OtherIcmp,
        );
        let mut strange = good.clone();
        strange[if cast.is_v6() { 6 } else { 9 }] = 47;
        pass(
            icmp(cast.router, cast.balancer, unreachable, [0; 4], &strange),
            Reason::OtherIcmp,
        );
        let mut last = icmp(cast.router, cast.balancer, unreachable, [0; 4], &good);
        last[if cast.is_v6() { 7 } else { 8 }] = 1;
        pass(last, Reason::TtlExpired);
        // A message that says it is longer than the frame.
        let mut cut = icmp(cast.router, cast.balancer, unreachable, [0; 4], &good);
        cut.pop();
        pass(cut, Reason::Truncated);
    }
}
