//! The program's own logic on the host model, needing no kernel and no privilege: every scenario, and what only the model can be
//! made to do.
#![allow(clippy::unwrap_used)]

use xdplb_prog::abi::{Addr, MacWords, backend};
use xdplb_prog::counters::{Reason, Verdict};
use xdplb_prog::model::{Model, Tables};
use xdplb_prog::model_tables::TestService;
use xdplb_prog::world::Settings;
use xdplb_tests::each_scenario;
use xdplb_tests::packets::*;
use xdplb_tests::scenarios::{Make, Scenario};

fn on_model(scenario: Scenario) {
    scenario(&Make::on_model());
}
each_scenario!(on_model);

fn model(services: &[TestService]) -> Model {
    Model::new(settings(), Tables::of(services))
}

/// Sends a frame through, which must leave for that reason.
#[track_caller]
fn send(model: &Model, frame: &[u8], reason: Reason) -> Vec<u8> {
    let (before, mut out) = (model.counted(reason), frame.to_vec());
    let verdict = model.receive(&mut out);
    let counters = model.counters.borrow();
    assert_eq!(
        model.counted(reason),
        before + 1,
        "{reason:?}; {counters:?}"
    );
    assert_eq!(verdict, reason.verdict());
    out
}
fn ask(cast: &Cast, port: u16, segment: Segment) -> Vec<u8> {
    from_client(&tcp((cast.client, port), (cast.vip, 80), segment, b""))
}
/// The answer to what reached a backend.
fn answer(forwarded: &[u8], segment: Segment) -> Vec<u8> {
    let asked = read(ip(forwarded));
    let packet = tcp(asked.to(), asked.from(), segment, b"");
    frame(macs(forwarded).1, BALANCER_MAC, Tags::None, &packet)
}

#[test]
fn the_routing_table_is_asked_where_no_address_is_configured() {
    for cast in casts() {
        let mut service = cast.nat();
        for backend in &mut service.backends {
            backend.flags = backend::UP;
            backend.mac = [0; 6];
        }
        let mut model = model(&[service]);
        send(&model, &ask(&cast, PORT, Segment::Syn), Reason::NoRoute);
        for ip in cast.backends {
            model
                .routes
                .insert(Addr::from(ip), MacWords::from(ROUTER_MAC));
        }
        model.sleep(2);
        let out = send(&model, &ask(&cast, PORT, Segment::Syn), Reason::Forwarded);
        assert_eq!(macs(&out).1, ROUTER_MAC);
        // The client's router answers for it, too.
        model
            .routes
            .insert(Addr::from(cast.client), MacWords::from([2, 9, 9, 9, 9, 9]));
        let out = send(&model, &answer(&out, Segment::SynAck), Reason::Replied);
        assert_eq!(macs(&out).1, [2, 9, 9, 9, 9, 9]);
    }
}

#[test]
fn who_asks_changes_nothing() {
    for cast in casts() {
        let mut model = model(&[cast.nat()]);
        let out = send(&model, &ask(&cast, PORT, Segment::Syn), Reason::Opened);
        send(&model, &answer(&out, Segment::SynAck), Reason::Replied);
        send(&model, &ask(&cast, PORT, Segment::Ack), Reason::Forwarded);
        let state = |model: &Model| {
            (
                format!("{:?}", model.slots()),
                format!("{:?}", model.buckets_now()),
                format!("{:?}", model.backends_now()),
                format!("{:?} {:?}", model.counters, model.service_counters),
            )
        };
        model.sleep(3);
        model.settings.dry = 1;
        let before = state(&model);
        for segment in [Segment::Syn, Segment::Ack, Segment::Fin, Segment::Rst] {
            for port in [PORT, PORT + 1] {
                model.receive(&mut ask(&cast, port, segment));
            }
        }
        for index in 0..2 {
            model.set_flags(index, backend::FIXED_MAC);
        }
        let before_down = state(&model);
        assert_eq!((&before.0, &before.1), (&before_down.0, &before_down.1));
        model.receive(&mut ask(&cast, PORT, Segment::Ack));
        assert_eq!(state(&model), before_down);
    }
}

#[test]
fn tracing_writes_the_lines_of_a_packet_in_order() {
    let settings = Settings {
        trace: 1,
        ..settings()
    };
    let cast = v4();
    let model = Model::new(settings, Tables::of(&[cast.nat()]));
    assert_eq!(
        model.receive(&mut ask(&cast, PORT, Segment::Syn)),
        Verdict::Tx
    );
    let lines = model.lines.borrow();
    assert_eq!(
        *lines,
        [
            "received",
            "headers at 14, IPv4",
            "client",
            "redirecting, 14"
        ]
    );
}
