//! The balancer's own RSTs on the model: RFC 9293 §3.10.7.1, in every frame that a segment may come in.

use super::*;
use crate::packets::*;
use xdplb_prog::abi::{backend, deferred};
use xdplb_prog::counters::Reason;

const PORT: u16 = 40_000;
const RST: u8 = 4;
const RST_ACK: u8 = 20;

/// A service that takes no new flows.
fn closed(make: &Make, cast: &Cast, deferred: u32) -> Balancer {
    let mut service = cast.nat();
    for backend in &mut service.backends {
        backend.flags |= backend::DRAINING;
    }
    let settings = xdplb_prog::world::Settings {
        deferred,
        ..settings()
    };
    make.with(settings, &[service])
}

/// Sequence number, acknowledgement number, flags.
fn numbers(read: &Read) -> (u32, u32, u8) {
    let word = |at: usize| u32::from_be_bytes(read.payload[at..at + 4].try_into().unwrap());
    (word(4), word(8), read.payload[13])
}

pub fn a_syn_is_refused_and_its_numbers_acknowledged(make: &Make) {
    for cast in casts() {
        for &tags in make.tags() {
            for data in [&b""[..], b"x", b"fast open"] {
                let model = closed(make, &cast, deferred::COMPLETE);
                let packet = tcp((cast.client, PORT), (cast.vip, 80), Segment::Syn, data);
                let mut sent = frame(CLIENT_MAC, BALANCER_MAC, tags, &packet);
                // Padding, as short frames have it.
                sent.extend([0; 9]);
                let out = send(&model, &sent, Reason::NoBackendReset);
                assert_eq!(macs(&out), (BALANCER_MAC, CLIENT_MAC));
                assert_eq!(out[12..l3(&sent)], sent[12..l3(&sent)]);
                let rst = read(ip(&out));
                assert_eq!(rst.bytes, ip(&out), "the frame ends with TCP's header");
                assert_eq!(rst.payload.len(), 20);
                assert_eq!(
                    (rst.from(), rst.to()),
                    ((cast.vip, 80), (cast.client, PORT))
                );
                assert_eq!(numbers(&rst), (0, 1001 + data.len() as u32, RST_ACK));
                assert_eq!(rst.hops, 64);
            }
        }
    }
}

pub fn a_connection_ends_where_the_peer_expects_it_to(make: &Make) {
    for cast in casts() {
        for (segment, data) in [
            (Segment::Ack, &b""[..]),
            (Segment::Ack, b"odd"),
            (Segment::Fin, b""),
        ] {
            let model = make.of(&[cast.nat()]);
            let (from, to) = ((cast.client, PORT), (cast.vip, 80));
            let syn = tcp(from, to, Segment::Syn, b"");
            let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &syn);
            send(&model, &sent, Reason::Opened);
            for index in 0..2 {
                model.set_flags(index, backend::FIXED_MAC);
            }
            let packet = tcp(from, to, segment, data);
            let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet);
            let out = read(ip(&send(&model, &sent, Reason::BackendDown)));
            assert_eq!(numbers(&out), (77, 0, RST));
            assert!(model.live().is_empty());
            // The flow is gone: what comes after it is nobody's.
            send(&model, &sent, Reason::NoConnection);
        }
    }
}

pub fn an_rst_is_not_answered(make: &Make) {
    for cast in casts() {
        let model = make.of(&[cast.nat()]);
        let (from, to) = ((cast.client, PORT), (cast.vip, 80));
        let syn = tcp(from, to, Segment::Syn, b"");
        let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &syn);
        send(&model, &sent, Reason::Opened);
        for index in 0..2 {
            model.set_flags(index, backend::FIXED_MAC);
        }
        let rst = tcp(from, to, Segment::Rst, b"");
        let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &rst);
        send(&model, &sent, Reason::NoBackend);
    }
}

pub fn a_refused_datagram_is_dropped(make: &Make) {
    for cast in casts() {
        let mut service = cast.nat().udp();
        for backend in &mut service.backends {
            backend.flags |= backend::DRAINING;
        }
        let model = make.of(&[service]);
        let packet = udp((cast.client, PORT), (cast.vip, 80), b"question");
        let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet);
        send(&model, &sent, Reason::NoBackend);
    }
}

pub fn what_the_next_sender_owes_it_still_owes(make: &Make) {
    for cast in casts() {
        let mut packet = tcp((cast.client, PORT), (cast.vip, 80), Segment::Syn, b"");
        defer(&mut packet);
        let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet);
        let out = send(
            &closed(make, &cast, deferred::KEEP),
            &sent,
            Reason::NoBackendReset,
        );
        let at = out.len() - 4;
        assert_eq!(out[at..at + 2], deferred_sum(ip(&out)).0);
        // And in native mode nobody owes anything.
        let out = send(
            &closed(make, &cast, deferred::COMPLETE),
            &sent,
            Reason::NoBackendReset,
        );
        read(ip(&out));
    }
}

/// One segment in 65,536 has a checksum that looks deferred and is not.
pub fn a_complete_checksum_that_looks_deferred_is_told_apart(make: &Make) {
    for cast in casts() {
        let from = (cast.client, PORT);
        // Two bytes of data that make the sum what the pseudo-header's is.
        let packet = (0..=u16::MAX)
            .map(|data| tcp(from, (cast.vip, 80), Segment::Syn, &data.to_be_bytes()))
            .find(|packet| {
                let at = packet.len() - 6;
                packet[at..at + 2] == deferred_sum(packet).0
            })
            .unwrap();
        let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet);
        for mode in [deferred::KEEP, deferred::COMPLETE] {
            let out = send(&closed(make, &cast, mode), &sent, Reason::NoBackendReset);
            read(ip(&out));
        }
    }
}

/// IPv4 options and IPv6 extension headers: nothing that an RST could keep.
pub fn a_segment_behind_options_is_dropped(make: &Make) {
    if !make.anywhere() {
        return;
    }
    for cast in casts() {
        let model = closed(make, &cast, deferred::COMPLETE);
        let packet = tcp((cast.client, PORT), (cast.vip, 80), Segment::Syn, b"");
        let packet = with_options(&packet);
        let sent = frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet);
        send(&model, &sent, Reason::NoBackend);
    }
}
