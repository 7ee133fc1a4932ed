//! What the maps hold for small configurations, and what stays when one follows another.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::before::{Census, Tally};
use super::super::simple;
use super::super::tables::backend_key;
use super::*;

fn config(services: &[(&str, &[&str])]) -> Config {
    let mut all: Option<Config> = None;
    for (service, words) in services {
        let backends = simple::parse_words(words).unwrap();
        let one = backends.into_config(service.parse().unwrap()).unwrap();
        match &mut all {
            Some(all) => all.services.extend(one.services),
            None => all = Some(one),
        }
    }
    let mut all = all.unwrap();
    for service in &mut all.services {
        service.table_slots = Slots::new(7).unwrap();
    }
    all
}

fn image(config: &Config, live: &Live, before: &Before) -> Image {
    let macs = HashMap::from([("10.0.0.2".parse().unwrap(), [2, 0, 0, 0, 0, 2])]);
    let facts = Facts {
        source_ports: 1024..=32_767,
        macs: &macs,
    };
    build(config, live, &facts, before).unwrap()
}

/// What runs once an image is in its place, with flows to these backend numbers.
fn running(config: &Config, image: &Image, flows: &[(u32, u32)]) -> Before {
    let ids = image.services.iter().map(|(_, service)| service.id);
    let mut census = Census::default();
    for (service, backend) in flows {
        let tally = Tally {
            records: 1,
            live: 1,
        };
        census.services.insert(*service, tally);
        census.backends.insert(*backend, tally);
    }
    Before {
        services: config.services.iter().map(|s| s.key).zip(ids).collect(),
        backends: image.backends.clone(),
        service_room: image.service_room,
        backend_room: image.backend_room,
        census,
    }
}

/// `number: address flags service` of each that is not vacant.
fn shown(image: &Image) -> Vec<String> {
    let flags = |flags: u32| {
        let names = [
            (backend::UP, "up"),
            (backend::FIXED_MAC, "fixed"),
            (backend::DRAINING, "draining"),
            (backend::LIVE, "live"),
            (backend::GONE, "gone"),
        ];
        let names = names.iter().filter(|(bit, _)| flags & bit != 0);
        names.map(|(_, name)| *name).collect::<Vec<_>>().join("+")
    };
    let entries = image.backends.iter().enumerate();
    entries
        .filter(|(_, entry)| !is_vacant(entry))
        .map(|(number, entry)| {
            let key = backend_key(entry);
            format!(
                "{number}: {key} {} of {}",
                flags(entry.flags),
                entry.service
            )
        })
        .collect()
}

#[test]
fn services_lead_to_their_members_and_tables() {
    let both: &[&str] = &["10.0.0.3", "10.0.0.2", "10.0.0.4", "state=draining"];
    let config = config(&[
        ("10.0.0.10:80", both),
        ("10.0.0.10:81", both),
        (
            "10.0.0.11/udp",
            &["10.0.0.5", "de:ad:be:ef:00:05", "state=down"],
        ),
    ]);
    let image = image(&config, &Live::new(), &Before::default());
    assert_eq!(
        shown(&image),
        [
            "0: 10.0.0.3 up of 0",
            "1: 10.0.0.2 up of 0",
            "2: 10.0.0.4 up+draining of 0",
            "3: 10.0.0.3 up of 1",
            "4: 10.0.0.2 up of 1",
            "5: 10.0.0.4 up+draining of 1",
            "6: 10.0.0.5 fixed of 2",
        ]
    );
    // Only who takes new flows is a member, in everybody's order.
    assert_eq!(image.members, [1, 0, 4, 3]);
    let places: Vec<_> = image
        .services
        .iter()
        .map(|(_, s)| (s.id, s.mode, s.table, s.slots, s.members, s.count))
        .collect();
    assert_eq!(
        places,
        [
            (0, mode::NAT, 0, 7, 0, 2),
            (1, mode::NAT, 0, 7, 2, 2),
            (2, mode::NAT, 0, 7, 4, 0),
            // The two addresses.
            (0, mode::ADDRESS, 0, 0, 0, 0),
            (0, mode::ADDRESS, 0, 0, 0, 0),
        ]
    );
    // Equal members share a table.
    assert_eq!(image.tables.len(), BLOCK as usize);
    assert!(image.tables[..7].contains(&0) && image.tables[..7].contains(&1));
    assert_eq!((image.backend_room, image.service_room), (16, 16));
    assert_eq!(image.new_backends.len(), 7);
    assert_eq!(image.backends[1].mac, packed(Some([2, 0, 0, 0, 0, 2])));
    assert_eq!(image.backends[0].mac, 0);
}

#[test]
fn numbers_stay_and_what_is_gone_keeps_its_own() {
    let first = config(&[
        ("10.0.0.10:80", &["10.0.0.2", "10.0.0.3"]),
        ("10.0.0.11:80", &["10.0.0.4"]),
    ]);
    let before = image(&first, &Live::new(), &Before::default());
    let before = running(&first, &before, &[(0, 0), (0, 1), (1, 2)]);
    // Another order, one backend less, one more, one service less, one more.
    let second = config(&[
        ("10.0.0.12:80", &["10.0.0.4"]),
        ("10.0.0.10:80", &["10.0.0.5", "10.0.0.3"]),
    ]);
    let next = image(&second, &Live::new(), &before);
    let expected = [
        "0: 10.0.0.2 gone of 0",
        "1: 10.0.0.3 up of 0",
        "2: 10.0.0.4 gone of 1",
        "3: 10.0.0.4 up of 2",
        "4: 10.0.0.5 up of 0",
    ];
    assert_eq!(shown(&next), expected);
    assert_eq!(next.new_services, [2]);
    assert_eq!(next.new_backends, [3, 4]);

    // The flow to backend 0 has ended, that to 2 has not; then its service comes back.
    let mut before = running(&second, &next, &[(1, 2)]);
    let key = first.services[1].key;
    before.census.samples.insert(1, key);
    let third = config(&[("10.0.0.11:80", &["10.0.0.4"])]);
    let next = image(&third, &Live::new(), &before);
    assert_eq!(
        shown(&next),
        [
            "1: 10.0.0.3 gone of 0",
            "2: 10.0.0.4 up of 1",
            "3: 10.0.0.4 gone of 2",
            "4: 10.0.0.5 gone of 0",
        ]
    );
    assert!(next.new_services.is_empty() && next.new_backends.is_empty());
}

#[test]
fn a_live_state_goes_over_the_files_and_out_of_the_table() {
    let config = config(&[("10.0.0.10:80", &["10.0.0.2", "10.0.0.3"])]);
    let place = (config.services[0].key, config.services[0].backends[0].key);
    let live = Live::from([(place, State::Draining)]);
    let image = image(&config, &live, &Before::default());
    assert_eq!(
        shown(&image),
        ["0: 10.0.0.2 up+draining+live of 0", "1: 10.0.0.3 up of 0"]
    );
    assert_eq!(image.members, [1]);
}

#[test]
fn what_the_routing_table_said_is_kept() {
    let config = config(&[("10.0.0.10:80", &["10.0.0.3"])]);
    let first = image(&config, &Live::new(), &Before::default());
    let mut before = running(&config, &first, &[]);
    before.backends[0].mac = packed(Some([2, 0, 0, 0, 0, 3]));
    let next = image(&config, &Live::new(), &before);
    assert_eq!(next.backends[0].mac, packed(Some([2, 0, 0, 0, 0, 3])));
}

#[test]
fn tables_that_no_memory_holds_are_refused() {
    let mut large = config(&[("10.0.0.10:80", &["10.0.0.2"])]);
    let one = large.services.remove(0);
    for number in 0..4_000u16 {
        let mut service = one.clone();
        let [high, low] = number.to_be_bytes();
        service.key.address = std::net::IpAddr::from([10, 1, high, low]);
        service.backends[0].key.address = std::net::IpAddr::from([10, 2, high, low]);
        service.table_slots = Slots::new(655_373).unwrap();
        large.services.push(service);
    }
    let facts = Facts {
        source_ports: 1024..=32_767,
        macs: &HashMap::new(),
    };
    let error = build(&large, &Live::new(), &facts, &Before::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tables of 4000 services take 5 GiB, and 4 GiB is the most\n  try:  a smaller `table_slots`: 100 slots for each backend of a service are enough"
    );
}
