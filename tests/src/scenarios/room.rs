//! Where there is no room for a new flow on the model: which old one gives way, and what the new one is told.

use std::collections::HashSet;

use super::*;
use crate::packets::*;
use xdplb_prog::abi::{mode, protocol};
use xdplb_prog::counters::Reason;
use xdplb_prog::model_tables::{TestBackend, TestService};
use xdplb_prog::state::{CLOSED_SECONDS, IDLE_SECONDS, REST_SECONDS};

pub fn direct_return_goes_on_without_a_record(make: &Make) {
    for cast in casts() {
        for (mode, length) in [
            (mode::DSR, 0),
            (mode::IPIP, if cast.is_v6() { 40 } else { 20 }),
        ] {
            let model = make.sized(4, &[cast.direct(mode)]);
            for port in 0..4 {
                send(
                    &model,
                    &ask(&cast, PORT + port, Segment::Syn),
                    Reason::Opened,
                );
                send(
                    &model,
                    &ask(&cast, PORT + port, Segment::Ack),
                    Reason::Forwarded,
                );
            }
            let sent = ask(&cast, PORT + 4, Segment::Syn);
            let out = send(&model, &sent, Reason::Stateless);
            assert_eq!(out.len(), sent.len() + length);
            // With room for a record it goes to the same backend.
            let roomy = make.sized(64, &[cast.direct(mode)]);
            assert_eq!(macs(&send(&roomy, &sent, Reason::Opened)), macs(&out));
        }
    }
}

pub fn nobody_shares_a_port_towards_a_backend(make: &Make) {
    for cast in casts() {
        for number in BOTH {
            let one = TestService::new(cast.vip, 80, &[TestBackend::new(cast.backends[0], 8000)])
                .source_ports(2000, 2009);
            let model = make.of(&[of(one, number)]);
            let mut ports = HashSet::new();
            for port in 0..10 {
                let out = establish_over(&model, number, &cast, PORT + port);
                let out = read(ip(&out));
                assert!((2000..=2009).contains(&out.port(0)) && ports.insert(out.port(0)));
            }
            let asked = packet(
                number,
                (cast.client, PORT + 10),
                (cast.vip, 80),
                Segment::Syn,
                b"",
            );
            let exhausted = if number == protocol::UDP {
                Reason::NoPort
            } else {
                Reason::NoPortReset
            };
            let out = send(&model, &from_client(&asked), exhausted);
            if number == protocol::TCP {
                read(ip(&out));
            }
            // The old ones live on.
            assert_eq!(model.live().len(), 10);
            let asked = packet(
                number,
                (cast.client, PORT),
                (cast.vip, 80),
                Segment::Ack,
                b"",
            );
            send(&model, &from_client(&asked), Reason::Forwarded);
            // And a port whose flow has expired is free again.
            model.sleep(IDLE_SECONDS + 1);
            let asked = packet(
                number,
                (cast.client, PORT + 11),
                (cast.vip, 80),
                Segment::Syn,
                b"",
            );
            send(&model, &from_client(&asked), Reason::Opened);
        }
    }
}

/// A flood holds no port that an established flow could not have, and takes none from one.
pub fn ports_are_taken_from_flows_that_never_opened(make: &Make) {
    for cast in casts() {
        for number in BOTH {
            let one = TestService::new(cast.vip, 80, &[TestBackend::new(cast.backends[0], 8000)])
                .source_ports(2000, 2003);
            let model = make.of(&[of(one, number)]);
            let asked = |port, segment| {
                let (client, vip) = ((cast.client, port), (cast.vip, 80));
                from_client(&packet(number, client, vip, segment, b""))
            };
            let kept = establish_over(&model, number, &cast, PORT);
            for port in 1..4 {
                send(&model, &asked(PORT + port, Segment::Syn), Reason::Opened);
            }
            // Their handshakes may be under way.
            let exhausted = if number == protocol::UDP {
                Reason::NoPort
            } else {
                Reason::NoPortReset
            };
            send(&model, &asked(PORT + 4, Segment::Syn), exhausted);
            for port in 4..40 {
                model.sleep(1);
                send(&model, &asked(PORT + port, Segment::Syn), Reason::Opened);
            }
            // Three others have a port each.
            assert_eq!(model.live().len(), 4);
            let again = send(&model, &asked(PORT, Segment::Ack), Reason::Forwarded);
            assert_eq!(read(ip(&again)).from(), read(ip(&kept)).from());
        }
    }
}

/// A handshake under way keeps its port while there is one of a connection that ended a while ago, and so does a connection whose
/// last packets may be on their way.
pub fn ports_are_taken_from_what_rests(make: &Make) {
    for cast in casts() {
        for number in 0..8 {
            let one = TestService::new(cast.vip, 80, &[TestBackend::new(cast.backends[0], 8000)])
                .source_ports(2000, 2003);
            let model = make.of(&[one]);
            let close = |port| {
                let out = establish(&model, &cast, port);
                send(&model, &ask(&cast, port, Segment::Fin), Reason::Forwarded);
                send(&model, &answer(&out, Segment::Fin), Reason::Replied);
                read(ip(&out)).port(0)
            };
            let from = PORT + 10 * number;
            let ended = close(from);
            model.sleep(REST_SECONDS + 1);
            close(from + 1);
            for port in 2..4 {
                send(&model, &ask(&cast, from + port, Segment::Syn), Reason::Opened);
            }
            let out = send(&model, &ask(&cast, from + 4, Segment::Syn), Reason::Opened);
            assert_eq!(read(ip(&out)).port(0), ended);
            for port in 2..5 {
                let again = ask(&cast, from + port, Segment::Syn);
                send(&model, &again, Reason::Forwarded);
            }
        }
    }
}

pub fn a_flood_leaves_established_connections_alone(make: &Make) {
    for cast in casts() {
        // In a row, as they were opened, longer than what one search looks at.
        let model = make.sized(256, &[cast.nat()]);
        for port in 0..128 {
            establish(&model, &cast, PORT + port);
        }
        for port in 0..2000 {
            if port % 100 == 0 {
                model.sleep(1);
            }
            send(
                &model,
                &ask(&cast, 1000 + port, Segment::Syn),
                Reason::Opened,
            );
        }
        for port in 0..128 {
            send(
                &model,
                &ask(&cast, PORT + port, Segment::Ack),
                Reason::Forwarded,
            );
        }
    }
}

pub fn a_table_full_of_established_connections_refuses_new_ones(make: &Make) {
    for cast in casts() {
        let model = make.sized(8, &[cast.nat()]);
        for port in 0..8 {
            establish(&model, &cast, PORT + port);
        }
        let out = send(
            &model,
            &ask(&cast, PORT + 8, Segment::Syn),
            Reason::TableFullReset,
        );
        assert_eq!(read(ip(&out)).payload[13], 20);
        // Silence, closing: then there is room.
        send(&model, &ask(&cast, PORT, Segment::Rst), Reason::Forwarded);
        let early = ask(&cast, PORT + 8, Segment::Syn);
        send(&model, &early, Reason::TableFullReset);
        model.sleep(REST_SECONDS + 1);
        establish(&model, &cast, PORT + 8);
        model.sleep(IDLE_SECONDS + 1);
        for port in 100..108 {
            establish(&model, &cast, PORT + port);
        }
        assert_eq!(model.live().len(), 8);
    }
}

pub fn a_closed_connection_may_be_opened_again(make: &Make) {
    for cast in casts() {
        let model = make.of(&[cast.nat()]);
        let out = establish(&model, &cast, PORT);
        send(&model, &ask(&cast, PORT, Segment::Fin), Reason::Forwarded);
        send(&model, &answer(&out, Segment::Fin), Reason::Replied);
        // At once, on its old record; later, as a new one: in either case through, and there is one.
        send(&model, &ask(&cast, PORT, Segment::Syn), Reason::Forwarded);
        model.sleep(CLOSED_SECONDS + 5);
        send(&model, &ask(&cast, PORT, Segment::Syn), Reason::Forwarded);
        assert_eq!(model.live().len(), 1);
    }
}
