//! Tests of the tables: who gets how much, what moves, and that no table ever changes silently.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

/// Backends 10.0.0.0, 10.0.0.1, … of these weights.
fn members(weights: &[u16]) -> Vec<Member> {
    (0..)
        .zip(weights)
        .map(|(number, &weight)| Member {
            identity: Identity::new(std::net::Ipv4Addr::from(0x0a00_0000 + number).into(), None),
            weight: NonZeroU16::new(weight).unwrap(),
        })
        .collect()
}

fn counts(members: usize, table: &[u16]) -> Vec<u32> {
    let mut counts = vec![0; members];
    for &index in table {
        counts[usize::from(index)] += 1;
    }
    counts
}

fn slots(count: u32) -> Slots {
    Slots::new(count).unwrap()
}

/// What moves between two lists of members.
fn between(before: &[Member], after: &[Member], slots: Slots) -> Disruption {
    let tables = (build(before, slots), build(after, slots));
    disruption((before, &tables.0), (after, &tables.1))
}

/// A table that changed would move the flows of every balancer that is upgraded one by one. A second implementation, in
/// another language, found these too.
#[test]
fn tables_are_what_they_always_were() {
    let equal = members(&[1, 1, 1]);
    let text: Vec<String> = build(&equal, slots(23))
        .iter()
        .map(u16::to_string)
        .collect();
    assert_eq!(text.concat(), "01121101200221020012102");
    let weighted = members(&[1, 2, 5]);
    let text: Vec<String> = build(&weighted, slots(23))
        .iter()
        .map(u16::to_string)
        .collect();
    assert_eq!(text.concat(), "22121101220222222012212");
    let six = Member {
        identity: Identity::new("fd00::2".parse().unwrap(), NonZeroU16::new(8000)),
        weight: NonZeroU16::MIN,
    };
    let mut many = members(&[3; 100]);
    many.push(six);
    let sum = build(&many, Slots::DEFAULT)
        .iter()
        .fold(0u64, |sum, &index| {
            sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(index)
        });
    assert_eq!(format!("{sum:016x}"), "f69ab034887f8d85");
}

#[test]
fn sizes_are_primes() {
    let show = |count| {
        let (below, above) = Slots::around(count);
        [below, above].map(|slots| slots.map_or(0, Slots::get))
    };
    assert_eq!(Slots::new(65_537), Some(Slots::DEFAULT));
    assert_eq!(Slots::new(655_373).map(Slots::get), Some(MAX_SLOTS));
    for count in [0, 1, 4, 65_536, 655_379, u32::MAX] {
        assert_eq!(Slots::new(count), None, "{count}");
    }
    assert_eq!(show(65_536), [65_521, 65_537]);
    assert_eq!(show(0), [0, 2]);
    assert_eq!(show(3), [2, 5]);
    assert_eq!(show(1_000_000), [655_373, 0]);
    assert_eq!(show(u32::MAX), [655_373, 0]);
}

#[test]
fn nobody_and_one_alone() {
    assert!(build(&[], Slots::DEFAULT).is_empty());
    assert_eq!(build(&members(&[7]), slots(5)), [0; 5]);
    assert_eq!(build(&members(&[1, 1]), slots(2)).len(), 2);
}

#[test]
fn the_lightest_gets_a_slot() {
    let mut weights = [1000; 1000];
    weights[500] = 1;
    let counts = counts(1000, &build(&members(&weights), Slots::DEFAULT));
    assert_eq!(counts[500], 1);
}

/// As the data plane's issue asks: max/mean at most 1.02 at 100 backends.
#[test]
fn shares_are_even() {
    for count in [2usize, 10, 100, 1000] {
        let counts = counts(count, &build(&members(&vec![1; count]), Slots::DEFAULT));
        let mean = f64::from(Slots::DEFAULT.get()) / count as f64;
        let most = f64::from(*counts.iter().max().unwrap()) / mean;
        assert!(most <= 1.02, "{count} backends: max/mean {most:.4}");
    }
}

/// Of the others' slots at most 1 % moves when one of N goes, or comes: the same two tables, seen from either end.
#[test]
fn one_that_goes_or_comes_leaves_the_others_alone() {
    for count in [2usize, 10, 100, 1000] {
        let all = members(&vec![1; count]);
        let places = count.min(10);
        let mut worst = 0f64;
        for place in 0..places {
            let mut rest = all.clone();
            rest.remove(place * count / places);
            let gone = between(&all, &rest, Slots::DEFAULT);
            let come = between(&rest, &all, Slots::DEFAULT);
            assert!((gone.others - (come.total() - gone.removed)).abs() < 1e-9);
            worst = worst.max(gone.others);
        }
        println!(
            "{count} backends: at most {:.2} % of the others' slots",
            worst * 100.0
        );
        assert!(worst <= 0.01, "{count} backends: {worst:.4}");
    }
}

/// Weights do not make it worse, neither where one of them goes nor where one changes.
#[test]
fn weights_keep_still_too() {
    for count in [10usize, 100, 1000] {
        let weights: Vec<u16> = (0..count).map(|i| [1, 2, 5, 10][i % 4]).collect();
        let all = members(&weights);
        for place in [0, 1, 2, 3].map(|kind| count / 2 / 4 * 4 + kind) {
            let mut rest = all.clone();
            rest.remove(place);
            let gone = between(&all, &rest, Slots::DEFAULT);
            let mut heavier = all.clone();
            heavier[place].weight = heavier[place].weight.saturating_add(1);
            let heavier = between(&all, &heavier, Slots::DEFAULT);
            let sum = f64::from(weights.iter().sum::<u16>());
            let weight = f64::from(weights[place]);
            let needed = (weight + 1.0) / (sum + 1.0) - weight / sum;
            println!(
                "{count} backends, one of weight {weight}: gone {:.2} %, one heavier {:.2} % ({:.2} % needed)",
                gone.others * 100.0,
                heavier.total() * 100.0,
                needed * 100.0
            );
            assert!(gone.others <= 0.012, "{count} backends, {weight}: {gone:?}");
            assert!(
                heavier.total() <= needed + 0.01,
                "{count} backends, {weight}: {heavier:?}"
            );
        }
    }
}

#[test]
fn what_moves_is_told_by_identity() {
    let all = members(&[1, 1, 1]);
    let table = build(&all, slots(23));
    let mut turned = all.clone();
    turned.reverse();
    let renamed: Vec<u16> = table.iter().map(|index| 2 - index).collect();
    assert_eq!(
        disruption((&all, &table), (&turned, &renamed)),
        Disruption::NONE
    );
    assert_eq!(disruption((&[], &[]), (&all, &table)), Disruption::NONE);
    let nobody = disruption((&all, &table), (&[], &[]));
    assert_eq!((nobody.total(), nobody.others), (1.0, 0.0));
    let larger = between(&all, &all, slots(23));
    assert_eq!(larger, Disruption::NONE);
    let larger = disruption((&all, &table), (&all, &build(&all, slots(29))));
    assert!((larger.others - 2.0 / 3.0).abs() < 0.01, "{larger:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_slot_has_a_member_and_every_member_its_share(
        weights in prop::collection::vec(1u16..=1000, 1..60),
        count in prop::sample::select(vec![61u32, 251, 1021, 4099]),
    ) {
        let members = members(&weights);
        let table = build(&members, slots(count));
        prop_assert_eq!(table.len(), count as usize);
        prop_assert!(table.iter().all(|&index| usize::from(index) < members.len()));
        // Rounded to the nearest at a time that fills the table: nobody's share is off by more than a slot for each member
        // that was lifted to its one slot, shared by weight, and one for the rounding.
        let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let lifted = weights.len() as f64;
        for (weight, has) in weights.iter().zip(counts(members.len(), &table)) {
            let part = f64::from(*weight) / sum;
            let fair = part * f64::from(count);
            let has = f64::from(has);
            prop_assert!(has >= 1.0);
            prop_assert!(has >= fair - part * lifted - 1.0 && has <= fair + part * lifted + 1.0, "{} of {}", has, fair);
        }
    }

    #[test]
    fn the_order_of_lines_changes_nothing(
        weights in prop::collection::vec(1u16..=5, 1..40),
        seed in any::<u64>(),
    ) {
        let sorted = members(&weights);
        let mut mixed = sorted.clone();
        mixed.sort_by_key(|member| hash::pair(&[member.identity.bytes().as_slice(), &seed.to_le_bytes()].concat()));
        mixed.sort();
        prop_assert_eq!(build(&mixed, slots(1021)), build(&sorted, slots(1021)));
    }
}
