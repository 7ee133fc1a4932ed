//! What the program must do, packet by packet: each scenario runs on the model and on the kernel.

use xdplb_prog::abi::{Backend, Be16, Be32, Mac, deferred};
use xdplb_prog::counters::{Reason, Verdict};
use xdplb_prog::world::Settings;

use crate::frames::{Seen, Tcp, read};

/// The balancer's address in every scenario.
pub const BALANCER: [u8; 4] = [10, 0, 0, 10];
/// Its Ethernet address.
pub const BALANCER_MAC: Mac = [0xde, 0xad, 0xbe, 0xef, 0, 0x10];
/// A client.
pub const CLIENT: [u8; 4] = [10, 0, 0, 1];

/// The program in some surroundings.
pub trait Balancer {
    /// Gives it a frame; returns the verdict and the frame as it left.
    fn receive(&mut self, frame: &[u8]) -> (Verdict, Vec<u8>);
    /// How often a frame left for this reason.
    fn counted(&mut self, reason: Reason) -> u64;
    /// Bytes that left for this reason.
    fn bytes(&mut self, reason: Reason) -> u64;
    /// Connections opened, packets sent to and received from a backend.
    fn backend(&mut self, index: u32) -> (u64, u64, u64);
    /// Entries of `flows`.
    fn flows(&mut self) -> usize;
}

/// Makes a balancer with the given settings and backends.
pub type Make<'a> = &'a mut dyn FnMut(Settings, Vec<Backend>) -> Box<dyn Balancer>;

/// Settings that most scenarios use: every port of 10.0.0.10, native checksums.
pub fn settings(backends: u32, slots: u32) -> Settings {
    Settings {
        service_addr: Be32(BALANCER),
        service_port: Be16::new(0),
        balancer_addr: Be32(BALANCER),
        balancer_mac: BALANCER_MAC.into(),
        backends,
        slots,
        ticks_per_second: 250,
        deferred: deferred::COMPLETE,
        perfmon: 1,
        trace: 0,
    }
}

/// Backends 10.0.0.2, 10.0.0.3, …
pub fn backends(count: u8) -> Vec<Backend> {
    (2..2 + count)
        .map(|n| Backend {
            ip: Be32([10, 0, 0, n]),
            mac: [0xde, 0xad, 0xbe, 0xef, 0, n],
            reserved: 0,
        })
        .collect()
}

/// A scenario: it makes what it needs, and panics where the program does otherwise.
pub type Scenario = fn(Make<'_>);

/// Every scenario, by name.
pub const ALL: &[(&str, Scenario)] = &[
    (
        "a connection goes out, comes back and stays where it is",
        round_trip,
    ),
    (
        "whatever is not ours leaves untouched, counted by its reason",
        not_ours,
    ),
    (
        "every payload length keeps its bytes and gets right checksums",
        lengths,
    ),
    (
        "a deferred checksum is completed, or kept deferred for generic mode",
        deferred_checksums,
    ),
    (
        "two clients with one source port never share a backend's",
        same_source_port,
    ),
    (
        "a retransmitted SYN keeps backend and port",
        retransmitted_syn,
    ),
    ("eviction ends whole connections, never halves", eviction),
    (
        "the MAC to answer to is the one the last request came from",
        client_mac,
    ),
    ("a port reused after a close opens anew", port_reuse),
    (
        "IP options and Ethernet padding change nothing",
        options_and_padding,
    ),
    (
        "one port of the address, when the service has one",
        one_port,
    ),
];

fn sent(balancer: &mut dyn Balancer, packet: &Tcp) -> Seen {
    sent_frame(balancer, &packet.frame())
}

fn sent_frame(balancer: &mut dyn Balancer, frame: &[u8]) -> Seen {
    let (verdict, out) = balancer.receive(frame);
    assert_eq!(verdict, Verdict::Tx, "{:?}", read(frame));
    read(&out).unwrap_or_else(|error| panic!("{error}"))
}

fn untouched(balancer: &mut dyn Balancer, frame: &[u8], reason: Reason) {
    let before = (
        balancer.counted(reason),
        balancer.bytes(reason),
        balancer.flows(),
    );
    let (verdict, out) = balancer.receive(frame);
    assert_eq!(verdict, reason.verdict(), "{}", reason.name());
    assert_eq!(out, frame, "{}", reason.name());
    let after = (
        balancer.counted(reason),
        balancer.bytes(reason),
        balancer.flows(),
    );
    assert_eq!(
        after,
        (before.0 + 1, before.1 + frame.len() as u64, before.2),
        "{}",
        reason.name()
    );
}

/// A client's SYN; returns what the backend sees.
fn open(balancer: &mut dyn Balancer, client: ([u8; 4], u16)) -> Seen {
    sent(balancer, &Tcp::new(client, (BALANCER, 80), "S"))
}

/// The backend's packet in answer to what it saw.
fn answer(seen: &Seen, flags: &'static str) -> Tcp {
    Tcp::new(seen.to, seen.from, flags)
}

fn round_trip(make: Make<'_>) {
    let mut balancer = make(settings(2, 64), backends(2));
    let balancer = &mut *balancer;
    let client = (CLIENT, 40_000);
    let syn = open(balancer, client);
    assert_eq!(
        syn.from,
        (BALANCER, 40_000),
        "the client's own port, where it is free"
    );
    assert!(matches!(syn.to, ([10, 0, 0, 2 | 3], 80)));
    assert_eq!((syn.from_mac, syn.to_mac[5]), (BALANCER_MAC, syn.to.0[3]));
    assert_eq!(syn.ttl, 63);

    let back = sent(balancer, &answer(&syn, "SA"));
    assert_eq!((back.from, back.to), ((BALANCER, 80), client));
    assert_eq!(
        (back.from_mac, back.to_mac),
        (BALANCER_MAC, [0xde, 0xad, 0xbe, 0xef, 0, 1])
    );

    for n in 0..20 {
        let request = sent(
            balancer,
            &Tcp::new(client, (BALANCER, 80), "A").payload(vec![n; 100]),
        );
        assert_eq!((request.to, request.from), (syn.to, syn.from));
        assert_eq!(request.payload, vec![n; 100]);
    }
    assert_eq!(balancer.counted(Reason::Opened), 1);
    assert_eq!(balancer.counted(Reason::Forwarded), 20);
    assert_eq!(balancer.bytes(Reason::Forwarded), 20 * 154);
    assert_eq!(balancer.counted(Reason::Replied), 1);
    let index = u32::from(syn.to.0[3] - 2);
    assert_eq!(balancer.backend(index), (1, 21, 1));
    assert_eq!(balancer.backend(1 - index), (0, 0, 0));
    assert_eq!(balancer.flows(), 2);
}

fn not_ours(make: Make<'_>) {
    let mut balancer = make(settings(2, 64), backends(2));
    let balancer = &mut *balancer;
    let syn = Tcp::new((CLIENT, 40_000), (BALANCER, 80), "S");
    let frame = syn.frame();

    let mut arp = frame.clone();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    untouched(balancer, &arp, Reason::NotIpv4);
    let mut ipv6 = frame.clone();
    ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
    untouched(balancer, &ipv6, Reason::NotIpv4);

    let elsewhere = Tcp::new((CLIENT, 40_000), ([10, 0, 0, 77], 80), "S");
    untouched(balancer, &elsewhere.frame(), Reason::OtherDestination);
    let flooded = Tcp {
        to_mac: [0xde, 0xad, 0xbe, 0xef, 0, 0x77],
        ..syn.clone()
    };
    untouched(balancer, &flooded.frame(), Reason::OtherMac);

    for length in 14..frame.len() {
        untouched(balancer, &frame[..length], Reason::Truncated);
    }
    let mut beyond = frame.clone();
    beyond[16..18].copy_from_slice(&100u16.to_be_bytes());
    untouched(balancer, &beyond, Reason::Truncated);

    for (at, value) in [(14, 0x65), (14, 0x44), (17, 39), (46, 0x40), (46, 0x60)] {
        let mut wrong = frame.clone();
        wrong[at] = value;
        untouched(balancer, &wrong, Reason::Malformed);
    }
    let mut udp = frame.clone();
    udp[23] = 17;
    untouched(balancer, &udp, Reason::NotTcp);
    for fragment in [[0x20, 0x00], [0x00, 0x01], [0x20, 0x10]] {
        let mut part = frame.clone();
        part[20..22].copy_from_slice(&fragment);
        untouched(balancer, &part, Reason::Fragment);
    }
    for ttl in [0, 1] {
        untouched(
            balancer,
            &Tcp { ttl, ..syn.clone() }.frame(),
            Reason::TtlExpired,
        );
    }
    // The balancer's own connection to a backend, and packets of connections that nobody remembers.
    for flags in ["SA", "A", "FA", "RA", "R", "SF", ""] {
        let own = Tcp::new(([10, 0, 0, 2], 80), (BALANCER, 50_000), flags);
        untouched(balancer, &own.frame(), Reason::NoConnection);
    }
    untouched(
        balancer,
        &Tcp::new((BALANCER, 1), (BALANCER, 80), "S").frame(),
        Reason::NoConnection,
    );
    assert_eq!(balancer.flows(), 0);

    // TTL 2 is the smallest that is forwarded, and "don't fragment" (0x40) is no fragment.
    let last = Tcp { ttl: 2, ..syn }.frame();
    assert_eq!(last[20], 0x40);
    assert_eq!(sent_frame(balancer, &last).ttl, 1);
}

fn lengths(make: Make<'_>) {
    let mut balancer = make(settings(2, 64), backends(2));
    let balancer = &mut *balancer;
    let client = (CLIENT, 40_000);
    let syn = open(balancer, client);
    for length in 0..=1_460usize {
        let payload: Vec<u8> = (0..length).map(|n| (n * 7 + length) as u8).collect();
        let request = sent(
            balancer,
            &Tcp::new(client, (BALANCER, 80), "A").payload(payload.clone()),
        );
        assert_eq!((request.to, &request.payload), (syn.to, &payload));
        let reply = sent(balancer, &answer(&syn, "A").payload(payload.clone()));
        assert_eq!((reply.to, &reply.payload), (client, &payload));
    }
}

fn deferred_checksums(make: Make<'_>) {
    for (mode, owed) in [(deferred::COMPLETE, false), (deferred::KEEP, true)] {
        let mut balancer = make(
            Settings {
                deferred: mode,
                ..settings(2, 64)
            },
            backends(2),
        );
        let balancer = &mut *balancer;
        let client = (CLIENT, 40_000);
        let syn = open(balancer, client);
        for length in (0..70).chain([511, 512, 513, 1_023, 1_024, 1_459, 1_460, 3_000]) {
            let payload: Vec<u8> = (0..length).map(|n| (n * 13 + length) as u8).collect();
            let request = Tcp::new(client, (BALANCER, 80), "A").payload(payload.clone());
            let seen = sent_frame(balancer, &request.deferred_frame());
            assert_eq!((seen.deferred, &seen.payload), (owed, &payload), "{length}");
            let reply = answer(&syn, "A").payload(payload.clone());
            let seen = sent_frame(balancer, &reply.deferred_frame());
            assert_eq!((seen.deferred, &seen.payload), (owed, &payload), "{length}");
        }
        // One deferred segment in 65,536 adds up as if it were complete, and is still deferred.
        let request = Tcp::new(client, (BALANCER, 80), "A");
        let frame = chance(&request, |packet| {
            let frame = packet.deferred_frame();
            read(&frame)
                .is_ok_and(|seen| !seen.deferred)
                .then_some(frame)
        });
        let (verdict, out) = balancer.receive(&frame);
        assert_eq!(verdict, Verdict::Tx);
        let field = u16::from_be_bytes([out[50], out[51]]);
        assert_eq!(field == crate::frames::deferred_checksum(&out), owed);

        // One complete checksum in 65,536 equals the pseudo-header's sum, and is still complete.
        let other = (CLIENT, 40_001);
        open(balancer, other);
        let request = Tcp::new(other, (BALANCER, 80), "A");
        let frame = chance(&request, |packet| {
            let frame = packet.frame();
            let checksum = u16::from_be_bytes([frame[50], frame[51]]);
            (checksum == crate::frames::deferred_checksum(&frame)).then_some(frame)
        });
        assert!(!sent_frame(balancer, &frame).deferred);
    }
}

/// A packet with a payload that gives what is looked for: one word in 65,536 does.
fn chance(packet: &Tcp, looked_for: impl Fn(&Tcp) -> Option<Vec<u8>>) -> Vec<u8> {
    let found = (0..=u16::MAX).find_map(|word| {
        let [a, b] = word.to_be_bytes();
        looked_for(&packet.clone().payload([a, b, 1, 2, 3, 4]))
    });
    found.unwrap_or_else(|| panic!("some word gives it"))
}

fn same_source_port(make: Make<'_>) {
    let mut balancer = make(settings(1, 64), backends(1));
    let balancer = &mut *balancer;
    let mut ports = Vec::new();
    for n in 1..=40u8 {
        let client = ([10, 0, 1, n], 40_000);
        let syn = open(balancer, client);
        assert!(
            !ports.contains(&syn.from.1),
            "port {} is another client's",
            syn.from.1
        );
        ports.push(syn.from.1);
        assert!(syn.from.1 >= 1_024);
        let back = sent(balancer, &answer(&syn, "SA"));
        assert_eq!((back.from, back.to), ((BALANCER, 80), client));
    }
    assert_eq!(ports[0], 40_000);
    assert_eq!(balancer.backend(0), (40, 40, 40));
    assert_eq!(balancer.flows(), 80);
}

fn retransmitted_syn(make: Make<'_>) {
    let mut balancer = make(settings(1, 64), backends(1));
    let balancer = &mut *balancer;
    open(balancer, ([10, 0, 1, 1], 40_000));
    let client = ([10, 0, 1, 2], 40_000);
    let first = open(balancer, client);
    assert_ne!(first.from.1, 40_000);
    for _ in 0..5 {
        assert_eq!(open(balancer, client), first);
    }
    assert_eq!(balancer.counted(Reason::Opened), 2);
    assert_eq!(balancer.counted(Reason::Forwarded), 5);
    assert_eq!(balancer.flows(), 4);
}

fn eviction(make: Make<'_>) {
    let mut balancer = make(settings(2, 8), backends(2));
    let balancer = &mut *balancer;
    // One connection in use, and a flood of SYNs through a table of eight slots.
    let kept = (CLIENT, 40_000);
    let syn = open(balancer, kept);
    sent(balancer, &answer(&syn, "SA"));
    sent(balancer, &Tcp::new(kept, (BALANCER, 80), "A"));
    let mut opened = Vec::new();
    for n in 0..200u16 {
        let client = ([10, 0, 2, (n % 250) as u8], 1_024 + n);
        opened.push((client, open(balancer, client)));
        assert!(
            balancer.flows() <= 16 && balancer.flows().is_multiple_of(2),
            "halves: {}",
            balancer.flows()
        );
        let request = sent(balancer, &Tcp::new(kept, (BALANCER, 80), "A").payload([1]));
        assert_eq!(
            (request.to, request.from),
            (syn.to, syn.from),
            "an established connection stays"
        );
        assert_eq!(sent(balancer, &answer(&syn, "A")).to, kept);
    }
    // The latest of the flood live, in both directions; of the others both directions are gone.
    let (live, gone): (Vec<_>, Vec<_>) = opened.into_iter().partition(|(_, seen)| {
        let (verdict, _) = balancer.receive(&answer(seen, "SA").frame());
        verdict == Verdict::Tx
    });
    assert_eq!((live.len(), gone.len()), (7, 193));
    for (client, seen) in &live {
        assert_eq!(
            sent(balancer, &Tcp::new(*client, (BALANCER, 80), "A")).to,
            seen.to
        );
    }
    for (client, _) in &gone {
        untouched(
            balancer,
            &Tcp::new(*client, (BALANCER, 80), "A").frame(),
            Reason::NoConnection,
        );
    }
    // With every slot established, the longest idle one gives way, whole.
    let newcomer = open(balancer, ([10, 0, 3, 3], 5_000));
    assert_eq!(balancer.flows(), 16);
    assert_eq!(
        sent(balancer, &answer(&newcomer, "SA")).to,
        ([10, 0, 3, 3], 5_000)
    );
}

fn client_mac(make: Make<'_>) {
    let mut balancer = make(settings(1, 64), backends(1));
    let balancer = &mut *balancer;
    let client = ([192, 168, 7, 7], 40_000);
    let router = |n| Tcp {
        from_mac: [2, 0, 0, 0, 0, n],
        ..Tcp::new(client, (BALANCER, 80), "S")
    };
    let syn = sent(balancer, &router(1));
    assert_eq!(
        sent(balancer, &answer(&syn, "SA")).to_mac,
        [2, 0, 0, 0, 0, 1]
    );
    sent(
        balancer,
        &Tcp {
            flags: "A",
            ..router(2)
        },
    );
    assert_eq!(
        sent(balancer, &answer(&syn, "A")).to_mac,
        [2, 0, 0, 0, 0, 2]
    );
}

fn port_reuse(make: Make<'_>) {
    let mut balancer = make(settings(2, 64), backends(2));
    let balancer = &mut *balancer;
    let client = (CLIENT, 40_000);
    let syn = open(balancer, client);
    for (from_client, flags) in [
        (false, "SA"),
        (true, "A"),
        (true, "FA"),
        (false, "FA"),
        (true, "A"),
    ] {
        let packet = if from_client {
            Tcp::new(client, (BALANCER, 80), flags)
        } else {
            answer(&syn, flags)
        };
        sent(balancer, &packet);
    }
    let again = open(balancer, client);
    assert_eq!((again.to, again.from), (syn.to, syn.from));
    assert_eq!(sent(balancer, &answer(&again, "SA")).to, client);
    assert_eq!(balancer.flows(), 2);
}

fn options_and_padding(make: Make<'_>) {
    let mut balancer = make(settings(2, 64), backends(2));
    let balancer = &mut *balancer;
    for words in 0..=10u16 {
        let client = (CLIENT, 40_000 + words);
        let options = vec![1; usize::from(words) * 4];
        let syn = sent(
            balancer,
            &Tcp {
                options: options.clone(),
                ..Tcp::new(client, (BALANCER, 80), "S")
            },
        );
        assert_eq!(syn.from, (BALANCER, client.1));
        for length in [0, 1, 2, 3, 100] {
            let reply = Tcp {
                options: options.clone(),
                payload: vec![7; length],
                ..answer(&syn, "A")
            };
            for frame in [reply.frame(), reply.deferred_frame()] {
                let padded = [frame.as_slice(), &[0xaa; 11]].concat();
                let (verdict, out) = balancer.receive(&padded);
                assert_eq!(verdict, Verdict::Tx);
                assert_eq!(out[frame.len()..], [0xaa; 11]);
                let seen = read(&out).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(
                    (seen.to, seen.payload.len(), seen.deferred),
                    (client, length, false)
                );
            }
        }
    }
}

fn one_port(make: Make<'_>) {
    let service = [10, 0, 0, 100];
    let settings = Settings {
        service_addr: Be32(service),
        service_port: Be16::new(443),
        ..settings(2, 64)
    };
    let mut balancer = make(settings, backends(2));
    let balancer = &mut *balancer;
    let syn = sent(balancer, &Tcp::new((CLIENT, 40_000), (service, 443), "S"));
    assert_eq!((syn.from, syn.to.1), ((BALANCER, 40_000), 443));
    let back = sent(balancer, &answer(&syn, "SA"));
    assert_eq!((back.from, back.to), ((service, 443), (CLIENT, 40_000)));
    for (address, port) in [(service, 80), (BALANCER, 443), (BALANCER, 22)] {
        let syn = Tcp::new((CLIENT, 40_001), (address, port), "S");
        untouched(balancer, &syn.frame(), Reason::OtherDestination);
    }
}
