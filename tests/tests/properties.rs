//! Properties of the program's logic on the host model, over packets and sequences by chance: nothing panics, each frame has one
//! exit and is counted there once, what is not ours leaves frame and tables as they were, what is sent on has right checksums,
//! and a flow is one thing in two directions.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use xdplb_prog::abi::{Backend, Count, backend, mode};
use xdplb_prog::counters::{Reason, Verdict};
use xdplb_prog::model::{Model, Tables};
use xdplb_prog::model_tables::TestService;
use xdplb_prog::state::State;
use xdplb_prog::world::Settings;
use xdplb_tests::packets::*;
use xdplb_tests::scenarios::{check_tables, sound};

fn model(services: &[TestService]) -> Model {
    Model::new(settings(), Tables::of(services))
}

/// Everything that a packet may change, but for the counters.
fn state(model: &Model) -> String {
    let (slots, buckets) = (model.slots(), model.buckets_now());
    format!("{slots:?}{buckets:?}{:?}", model.backends_now())
}

type Counters = BTreeMap<&'static str, Count>;

/// The one reason that was counted between two looks, once and with that many bytes.
fn exit(before: &Counters, after: &Counters, bytes: usize) -> Option<Reason> {
    let of = |counters: &Counters, reason: &Reason| {
        let count = counters.get(reason.name()).copied().unwrap_or_default();
        (count.packets, count.bytes)
    };
    let changed = |reason: &&Reason| of(before, reason) != of(after, reason);
    let mut changed = Reason::ALL.iter().filter(changed);
    let (reason, other) = (changed.next()?, changed.next());
    let (old, new) = (of(before, reason), of(after, reason));
    (other.is_none() && new == (old.0 + 1, old.1 + bytes as u64)).then_some(*reason)
}

/// Gives it a frame and checks what holds for every one.
fn receive(model: &Model, sent: &[u8]) -> Result<(Reason, Vec<u8>), TestCaseError> {
    let (before, counters) = (state(model), model.counters.borrow().clone());
    let mut out = sent.to_vec();
    let verdict = model.receive(&mut out);
    let reason = exit(&counters, &model.counters.borrow(), sent.len());
    let Some(reason) = reason else {
        return Err(TestCaseError::fail("not counted exactly once"));
    };
    prop_assert_eq!(verdict, reason.verdict());
    if verdict != Verdict::Tx {
        prop_assert_eq!(&out[..], sent);
    }
    if verdict == Verdict::Pass {
        prop_assert_eq!(state(model), before);
    }
    let (slots, buckets) = (model.slots(), model.buckets_now());
    prop_assert_eq!(check_tables(&model.settings, &slots, &buckets), Ok(()));
    Ok((reason, out))
}

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
    sound(&model);
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
        receive(&model, &frame)?;
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
        let (reason, out) = receive(&model, &sent)?;
        if intact && (perfmon == 1 || tags == Tags::None) {
            prop_assert_eq!(reason.verdict(), Verdict::Tx);
            read(ip(&out));
        }
    }
}

/// What happens to a balancer.
#[derive(Clone, Debug)]
enum Event {
    /// A client's packet: which client, which of its ports, which service, which transport, what it says.
    Asked(u8, u16, u16, u8, Segment),
    /// An answer to one of the packets that were forwarded last.
    Answered(prop::sample::Index, Segment),
    /// Time goes by.
    Slept(u32),
    /// A backend goes down, or comes back.
    Turned(u32, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let segment = || {
        prop::sample::select(vec![
            Segment::Syn,
            Segment::Syn,
            Segment::Ack,
            Segment::Fin,
            Segment::Rst,
        ])
    };
    let reply = prop::sample::select(vec![Segment::SynAck, Segment::Ack, Segment::Fin]);
    let number = prop::sample::select(BOTH.to_vec());
    prop_oneof![
        8 => (1u8..5, 0u16..3, 80u16..83, number, segment())
            .prop_map(|(client, port, service, number, segment)| {
                Event::Asked(client, port, service, number, segment)
            }),
        6 => (any::<prop::sample::Index>(), reply).prop_map(|(of, what)| Event::Answered(of, what)),
        1 => prop::sample::select(vec![1u32, 31, 61, 64, 121, 8_001]).prop_map(Event::Slept),
        1 => (0u32..4, any::<bool>()).prop_map(|(index, up)| Event::Turned(index, up)),
    ]
}

/// Services whose backends, two for each, have few ports to give.
fn small(cast: &Cast, slots: u32) -> Model {
    let mut services = Vec::new();
    for (port, mode) in [(80, mode::NAT), (81, mode::DSR), (82, mode::IPIP)] {
        let mut service = cast.direct(mode).source_ports(2000, 2004);
        service.port = port;
        services.push(service.clone());
        services.push(service.udp());
    }
    let settings = Settings {
        slots,
        buckets: (slots / 4).next_power_of_two(),
        ..settings()
    };
    Model::new(settings, Tables::of(&services))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Both entries or neither, at any time; nobody shares a port towards a backend; a flow that lives stays where it is, and its
    /// answers reach whoever asked.
    #[test]
    fn a_flow_is_one_thing_in_two_directions(
        v6 in any::<bool>(),
        slots in 1u32..12,
        events in prop::collection::vec(event(), 1..120),
    ) {
        let cast = if v6 { xdplb_tests::packets::v6() } else { v4() };
        let model = small(&cast, slots);
        // What reached a backend, and over which transport.
        let mut forwarded: Vec<(Vec<u8>, u8)> = Vec::new();
        // By client and service: where its flow goes, for as long as it is the same one.
        let mut ways: HashMap<String, Vec<u8>> = HashMap::new();
        for event in events {
            match event {
                Event::Asked(client, port, service, number, segment) => {
                    let mut from = cast.client;
                    from = match from {
                        std::net::IpAddr::V4(ip) => {
                            let [a, b, c, _] = ip.octets();
                            [a, b, c, client].into()
                        }
                        std::net::IpAddr::V6(ip) => {
                            let mut octets = ip.octets();
                            octets[15] = client;
                            octets.into()
                        }
                    };
                    let from = (from, 1_000 + port);
                    let sent = packet(number, from, (cast.vip, service), segment, b"x");
                    let (reason, out) = receive(&model, &from_client(&sent))?;
                    let flow = format!("{from:?} {service} {number}");
                    if !matches!(reason, Reason::Forwarded | Reason::Opened) {
                        continue;
                    }
                    let seen = read(ip(&out));
                    let mut way = macs(&out).1.to_vec();
                    if service == 80 {
                        way.extend(seen.port(0).to_be_bytes());
                        forwarded.push((out, number));
                    }
                    if reason == Reason::Forwarded {
                        prop_assert_eq!(ways.get(&flow), Some(&way), "{}", flow);
                    }
                    ways.insert(flow, way);
                }
                Event::Answered(of, segment) if !forwarded.is_empty() => {
                    let (request, number) = of.get(&forwarded);
                    let seen = read(ip(request));
                    let answer = packet(*number, seen.to(), seen.from(), segment, b"y");
                    let sent = frame(macs(request).1, BALANCER_MAC, Tags::None, &answer);
                    let holder = model.live().into_iter().find(|flow| {
                        flow.state & State::ONE_WAY == 0
                            && flow.kind.protocol() == *number
                            && std::net::IpAddr::from(flow.target) == seen.destination
                            && flow.reply_ports.destination.get() == seen.port(0)
                    });
                    let (reason, out) = receive(&model, &sent)?;
                    prop_assert_eq!(reason == Reason::Replied, holder.is_some());
                    if let Some(holder) = holder {
                        let to = (holder.client.into(), holder.request_ports.source.get());
                        prop_assert_eq!(read(ip(&out)).to(), to);
                    }
                }
                Event::Answered(..) => {}
                Event::Slept(seconds) => model.sleep(seconds),
                Event::Turned(index, up) => {
                    let old = model.backends_now()[index as usize];
                    let flags = if up { old.flags | backend::UP } else { old.flags & !backend::UP };
                    model.put_backend(index, &Backend { flags, ..old });
                }
            }
        }
    }
}
