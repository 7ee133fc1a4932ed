//! The life of flows: what is remembered of them, what is counted, and what is left when they are gone.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;

use xdplb_loader::balancer::maglev::{self, Identity, Member, Slots};
use xdplb_prog::abi::{BLOCK, mode, protocol, watch};
use xdplb_prog::model_tables::TestBackend;
use xdplb_prog::state::{CLOSED_SECONDS, REST_SECONDS};

use super::*;
use crate::packets::*;

pub fn every_packet_is_counted_where_it_belongs(make: &Make) {
    for cast in casts() {
        for number in BOTH {
            let balancer = make.of(&[of(cast.nat(), number)]);
            let (client, vip) = ((cast.client, PORT), (cast.vip, 80));
            let data = [1; 100];
            let asked = from_client(&packet(number, client, vip, Segment::Syn, b""));
            let out = send(&balancer, &asked, Reason::Opened);
            let seen = read(ip(&out));
            let answered = packet(number, seen.to(), seen.from(), Segment::SynAck, &data);
            let answered = frame(macs(&out).1, BALANCER_MAC, Tags::None, &answered);
            for _ in 0..3 {
                send(&balancer, &answered, Reason::Replied);
            }
            let more = from_client(&packet(number, client, vip, Segment::Ack, &data));
            for _ in 0..20 {
                let out = read(ip(&send(&balancer, &more, Reason::Forwarded)));
                assert_eq!((out.from(), out.to()), (seen.from(), seen.to()));
            }
            let picked = cast.backends.iter().position(|ip| *ip == seen.destination);
            let picked = picked.unwrap() as u32;
            let count = balancer.backend_count(picked);
            assert_eq!(count.connections, 1);
            assert_eq!((count.sent.packets, count.received.packets), (21, 3));
            let bytes = asked.len() + 20 * more.len();
            assert_eq!(count.sent.bytes, bytes as u64);
            assert_eq!(count.received.bytes, 3 * answered.len() as u64);
            let other = balancer.backend_count(1 - picked);
            assert_eq!(other, Default::default());
            let service = balancer.service_count(0);
            assert_eq!((service.opened, service.refused), (1, 0));
        }
    }
}

pub fn a_retransmitted_syn_keeps_backend_and_port(make: &Make) {
    for cast in casts() {
        let balancer = make.of(&[cast.nat()]);
        let syn = ask(&cast, PORT, Segment::Syn);
        let first = send(&balancer, &syn, Reason::Opened);
        for seconds in [1, 2, 4, 8, 16, 32] {
            balancer.sleep(seconds);
            // Whatever others do in the meantime.
            send(&balancer, &ask(&cast, PORT + seconds as u16, Segment::Syn), Reason::Opened);
            assert_eq!(send(&balancer, &syn, Reason::Forwarded), first);
        }
        assert_eq!(balancer.live().len(), 7);
    }
}

pub fn clients_with_one_source_port_never_share_a_backends(make: &Make) {
    for cast in casts() {
        for number in BOTH {
            let balancer = make.of(&[of(cast.nat(), number)]);
            let mut pairs = HashSet::new();
            let mut back = Vec::new();
            for last in 1..=40 {
                let client = (neighbour(cast.client, last), PORT);
                let asked = packet(number, client, (cast.vip, 80), Segment::Syn, b"");
                let out = send(&balancer, &from_client(&asked), Reason::Opened);
                let seen = read(ip(&out));
                assert!(pairs.insert((seen.to(), seen.from())), "{seen:?}");
                back.push((client, seen, macs(&out).1));
            }
            // Each answer finds its own client.
            for (client, seen, mac) in back {
                let answered = packet(number, seen.to(), seen.from(), Segment::SynAck, b"");
                let answered = frame(mac, BALANCER_MAC, Tags::None, &answered);
                let out = read(ip(&send(&balancer, &answered, Reason::Replied)));
                assert_eq!(out.to(), client);
            }
        }
    }
}

/// The address that ends in this.
fn neighbour(ip: std::net::IpAddr, last: u8) -> std::net::IpAddr {
    match ip {
        std::net::IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            [a, b, c, last].into()
        }
        std::net::IpAddr::V6(ip) => {
            let mut octets = ip.octets();
            octets[15] = last;
            octets.into()
        }
    }
}

pub fn the_frames_of_answers_go_where_the_last_request_came_from(make: &Make) {
    for cast in casts() {
        let balancer = make.of(&[cast.nat()]);
        let out = establish(&balancer, &cast, PORT);
        let ack = tcp((cast.client, PORT), (cast.vip, 80), Segment::Ack, b"");
        for mac in [ROUTER_MAC, [2, 0, 0, 0, 7, 7]] {
            let moved = frame(mac, BALANCER_MAC, Tags::None, &ack);
            send(&balancer, &moved, Reason::Forwarded);
            let back = send(&balancer, &answer(&out, Segment::Ack), Reason::Replied);
            assert_eq!(macs(&back), (BALANCER_MAC, mac));
        }
    }
}

/// More flows than there is room for, of every mode: whoever goes leaves nothing in the index.
pub fn eviction_ends_whole_flows(make: &Make) {
    for cast in casts() {
        let services = [
            cast.nat(),
            cast.nat().udp(),
            TestService { port: 81, ..cast.direct(mode::DSR) },
            TestService { port: 82, ..cast.direct(mode::IPIP) },
        ];
        for slots in [1, 5, 33] {
            let balancer = make.sized(slots, &services);
            for n in 0..300u16 {
                let number = if n % 4 == 1 { protocol::UDP } else { protocol::TCP };
                let port = [80, 80, 81, 82][usize::from(n % 4)];
                let client = (neighbour(cast.client, 1 + (n % 7) as u8), 2_000 + n);
                let asked = packet(number, client, (cast.vip, port), Segment::Syn, b"");
                // One that just opened is left alone.
                balancer.sleep(1);
                // `send` looks at the tables after each.
                send(&balancer, &from_client(&asked), Reason::Opened);
            }
            assert_eq!(balancer.live().len() as u32, slots);
            let entries = balancer.buckets_now();
            let entries = entries.iter().flat_map(|bucket| bucket.entries);
            assert!(entries.filter(|entry| *entry != 0).count() <= 2 * slots as usize);
        }
    }
}

pub fn a_port_of_a_flow_that_ended_is_anothers(make: &Make) {
    for cast in casts() {
        let mut one = cast.nat().source_ports(2000, 2000);
        one.backends.truncate(1);
        let balancer = make.of(&[one]);
        establish(&balancer, &cast, PORT);
        send(&balancer, &ask(&cast, PORT + 1, Segment::Syn), Reason::NoPortReset);
        send(&balancer, &ask(&cast, PORT, Segment::Rst), Reason::Forwarded);
        // What belongs to it may still be on its way.
        send(&balancer, &ask(&cast, PORT + 1, Segment::Syn), Reason::NoPortReset);
        balancer.sleep(REST_SECONDS + 1);
        let out = send(&balancer, &ask(&cast, PORT + 1, Segment::Syn), Reason::Opened);
        assert_eq!(read(ip(&out)).port(0), 2000);
        let back = send(&balancer, &answer(&out, Segment::SynAck), Reason::Replied);
        assert_eq!(read(ip(&back)).to(), (cast.client, PORT + 1));
        // The one that had it is gone, both ways.
        send(&balancer, &ask(&cast, PORT, Segment::Ack), Reason::NoConnection);
        assert_eq!(balancer.live().len(), 1);
    }
}

/// An RST that belongs to what had the port before, or a forged one, ends nothing.
pub fn who_goes_on_after_a_reset_keeps_its_port(make: &Make) {
    for cast in casts() {
        let mut one = cast.nat().source_ports(2000, 2000);
        one.backends.truncate(1);
        let balancer = make.of(&[one]);
        let out = establish(&balancer, &cast, PORT);
        let other = ask(&cast, PORT + 1, Segment::Syn);
        let from_client = |segment| send(&balancer, &ask(&cast, PORT, segment), Reason::Forwarded);
        let from_backend = |segment| send(&balancer, &answer(&out, segment), Reason::Replied);
        from_client(Segment::Rst);
        from_client(Segment::Ack);
        from_backend(Segment::Rst);
        from_backend(Segment::Ack);
        balancer.sleep(CLOSED_SECONDS + 1);
        send(&balancer, &other, Reason::NoPortReset);
        // But nobody else's packet is one that goes on.
        from_client(Segment::Rst);
        from_backend(Segment::Ack);
        balancer.sleep(REST_SECONDS + 1);
        send(&balancer, &other, Reason::Opened);
    }
}

pub fn options_and_padding_change_nothing(make: &Make) {
    for cast in casts() {
        for number in BOTH {
            let balancer = make.of(&[of(cast.nat(), number)]);
            let (client, vip) = ((cast.client, PORT), (cast.vip, 80));
            let plain = packet(number, client, vip, Segment::Syn, b"odd");
            let mut padded = from_client(&plain);
            padded.extend([0xa5; 11]);
            let out = send(&balancer, &padded, Reason::Opened);
            assert_eq!(out.len(), padded.len());
            assert!(out.ends_with(&[0xa5; 11]));
            let seen = read(ip(&out));
            if !make.anywhere() {
                continue;
            }
            for &tags in make.tags() {
                let optional = with_options(&plain);
                let sent = frame(CLIENT_MAC, BALANCER_MAC, tags, &optional);
                let out = send(&balancer, &sent, Reason::Forwarded);
                assert_eq!(out.len(), sent.len());
                // Without them it is the packet that was forwarded above.
                let mut bare = ip(&out).to_vec();
                if cast.is_v6() {
                    bare.splice(40..48, []);
                    bare[6] = number;
                    bare[5] -= 8;
                    assert_eq!(read(&bare).payload, seen.payload);
                } else {
                    assert_eq!(read(&bare).payload, seen.payload);
                    assert_eq!(bare[20..24], [1; 4]);
                }
            }
        }
    }
}

/// A table as the loader builds it.
pub fn weights_are_shares_of_the_table(make: &Make) {
    for cast in casts() {
        for mode in [mode::NAT, mode::DSR, mode::IPIP] {
            let service = TestService::new(
                cast.vip,
                80,
                &cast.backends.map(|ip| TestBackend::new(ip, 0)),
            );
            let mut tables = Tables::of(&[service.mode(mode)]);
            let weights = [NonZeroU16::MIN, NonZeroU16::new(3).unwrap()];
            let members: Vec<Member> = cast
                .backends
                .iter()
                .zip(weights)
                .map(|(ip, weight)| Member {
                    identity: Identity::new(*ip, None::<NonZeroU16>),
                    weight,
                })
                .collect();
            let slots = maglev::build(&members, Slots::new(1_009).unwrap());
            for service in tables.services.values_mut() {
                if service.mode != mode::ADDRESS {
                    service.slots = slots.len() as u32;
                }
            }
            tables.tables = slots
                .chunks(BLOCK as usize)
                .map(|chunk| core::array::from_fn(|at| chunk.get(at).copied().unwrap_or(0)))
                .collect();
            let settings = Settings {
                slots: 2_048,
                buckets: 1_024,
                ..settings()
            };
            let balancer = make.over(settings, &tables);
            let mut shares: HashMap<_, u32> = HashMap::new();
            for port in 0..1_000 {
                let out = send(&balancer, &ask(&cast, 1_000 + port, Segment::Syn), Reason::Opened);
                *shares.entry(macs(&out).1).or_default() += 1;
            }
            let share = |index: usize| shares[&TestBackend::new(cast.backends[index], 0).mac];
            assert!((200..300).contains(&share(0)), "{shares:?}");
            assert_eq!(share(0) + share(1), 1_000);
        }
    }
}

/// What only a watcher or an asker needs is compiled in, and off: the verifier must accept it once it is on, too.
pub fn whoever_watches_or_asks_the_program_is_accepted(make: &Make) {
    let [cast, _] = casts();
    for watch in [watch::EVENTS, watch::FRAMES] {
        for dry in [0, 1] {
            let settings = Settings {
                watch,
                dry,
                ..settings()
            };
            let balancer = make.with(settings, &[cast.nat()]);
            let frame = ask(&cast, PORT, Segment::Syn);
            assert_eq!(balancer.receive(&frame).0, Verdict::Tx);
        }
    }
}

/// DRY: everything is left as it is but for the frame.
pub fn who_asks_leaves_no_trace(make: &Make) {
    for cast in casts() {
        let settings = Settings {
            dry: 1,
            ..settings()
        };
        let direct = TestService { port: 81, ..cast.direct(mode::DSR) };
        let balancer = make.with(settings, &[cast.nat(), cast.nat().udp(), direct]);
        for port in [80, 81, 82] {
            for number in BOTH {
                let to = (cast.vip, port);
                let asked = packet(number, (cast.client, PORT), to, Segment::Syn, b"");
                balancer.receive(&from_client(&asked));
            }
        }
        assert!(balancer.live().is_empty());
        assert!(Reason::ALL.iter().all(|reason| balancer.counted(*reason) == 0));
        assert_eq!(balancer.service_count(0), Default::default());
        assert_eq!(balancer.backend_count(0), Default::default());
        sound(&*balancer);
    }
}
