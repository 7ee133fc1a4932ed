//! Any bytes at all: nothing panics, what is not sent on is untouched, and what is sent on has right checksums.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use support::*;
use xdplb_prog::abi::mode;
use xdplb_prog::counters::Verdict;
use xdplb_prog::model::Model;
use xdplb_prog::state::State;

/// One of each mode and protocol, in both families, with a flow each.
fn balancer() -> Model {
    let mut services = Vec::new();
    for cast in casts() {
        for (port, mode) in [(80, mode::NAT), (81, mode::DSR), (82, mode::IPIP)] {
            let mut service = cast.direct(mode);
            service.port = port;
            services.push(service.clone());
            services.push(service.udp());
        }
    }
    let model = model(&services);
    for cast in casts() {
        for port in 80..83 {
            for packet in [
                tcp((cast.client, 40_000), (cast.vip, port), Segment::Syn, b""),
                udp((cast.client, 40_000), (cast.vip, port), b"x"),
            ] {
                model.receive(&mut frame(CLIENT_MAC, BALANCER_MAC, Tags::None, &packet));
            }
        }
    }
    assert_eq!(model.live().len(), 12);
    model
}

/// Packets worth damaging: requests, replies, echoes, errors.
fn samples(model: &Model) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for cast in casts() {
        let flow = model.live().into_iter().find(|flow| {
            flow.kind.is_v6() == cast.is_v6() && flow.state & (State::ONE_WAY | State::UDP) == 0
        });
        let flow = flow.unwrap();
        let backend = (flow.target.into(), flow.reply_ports.source.get());
        let balancer = (cast.balancer, flow.reply_ports.destination.get());
        for port in 80..83 {
            packets.push(tcp(
                (cast.client, 40_000),
                (cast.vip, port),
                Segment::Ack,
                b"data",
            ));
            packets.push(udp((cast.client, 41_000), (cast.vip, port), b"data"));
            let quoted = tcp(
                (cast.vip, port),
                (cast.client, 40_000),
                Segment::Ack,
                b"data",
            );
            let kind = if cast.is_v6() { (2, 0) } else { (3, 4) };
            packets.push(icmp(cast.router, cast.vip, kind, [0, 0, 5, 0], &quoted));
        }
        packets.push(tcp(backend, balancer, Segment::Ack, b"data"));
        let quoted = tcp(balancer, backend, Segment::Ack, b"data");
        let kind = if cast.is_v6() { (1, 4) } else { (3, 3) };
        packets.push(icmp(cast.router, cast.balancer, kind, [0; 4], &quoted));
        let echo = if cast.is_v6() { (128, 0) } else { (8, 0) };
        packets.push(icmp(cast.client, cast.vip, echo, [0; 4], b"ping"));
    }
    packets
}

/// Damage: bytes changed, bytes cut off, bytes added.
fn damage() -> impl Strategy<Value = (Vec<(usize, u8)>, usize, usize)> {
    (
        prop::collection::vec((0usize..120, any::<u8>()), 0..4),
        prop_oneof![4 => Just(0usize), 1 => 0usize..80],
        prop_oneof![4 => Just(0usize), 1 => 0usize..40],
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), perfmon in 0u32..2) {
        let mut model = balancer();
        model.settings.perfmon = perfmon;
        let mut frame = bytes.clone();
        if frame.len() >= 6 {
            frame[..6].copy_from_slice(&BALANCER_MAC);
        }
        let sent = frame.clone();
        let verdict = model.receive(&mut frame);
        if verdict == Verdict::Pass {
            prop_assert_eq!(frame, sent);
        }
    }

    #[test]
    fn damaged_packets(
        which in any::<prop::sample::Index>(),
        tags in prop::sample::select(TAGS.to_vec()),
        perfmon in 0u32..2,
        (changes, cut, added) in damage(),
    ) {
        let mut model = balancer();
        model.settings.perfmon = perfmon;
        let samples = samples(&model);
        let mut sent = frame(CLIENT_MAC, BALANCER_MAC, tags, which.get::<Vec<u8>>(&samples));
        let intact = changes.is_empty() && cut == 0;
        let length = sent.len();
        for (at, byte) in changes {
            // Ethernet stays, that something may be reached.
            let at = 12 + at % (length - 12);
            sent[at] = byte;
        }
        sent.truncate(length - cut.min(length));
        sent.extend(vec![0; added]);
        let mut out = sent.clone();
        let verdict = model.receive(&mut out);
        if verdict == Verdict::Pass {
            prop_assert_eq!(&out, &sent);
        }
        if intact && (perfmon == 1 || tags == Tags::None) {
            prop_assert_eq!(verdict, Verdict::Tx);
            read(ip(&out));
        }
        // Every frame is counted once.
        let counted: u64 = model.counters.borrow().values().map(|count| count.packets).sum();
        prop_assert_eq!(counted, 13);
    }
}
