//! Requests through namespaces: the same client and the same servers with nothing between them, with the least that XDP can do,
//! with ours, and with what else one would take.

mod client;
mod net;
mod process;
mod ways;

use anyhow::{Context, Result, ensure};
use xdplb_tests::files::Folder;
use xdplb_tests::interrupt;
use xdplb_tests::topology::Mode;

use crate::figures::{Table, median, uncertainty};
use client::{CONNECTIONS, Turn, Use};
use net::{Checksums, Host, Net};
use process::Programs;
use ways::Way;

const ROUNDS: u32 = 20;
/// How near ours is to come to the limit.
const NEAR: f64 = 0.05;

/// What one way gave in one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    kept: Turn,
    once: Turn,
}

/// A way with its rounds.
struct Measured {
    way: Way,
    rounds: Vec<Round>,
}

/// The three figures of some rounds. The machine counts its time in hundredths of a second, so that is added up.
const FIGURES: [fn(&[Round]) -> f64; 3] = [
    |rounds| median(rounds.iter().map(|round| round.kept.rate()).collect()),
    |rounds| median(rounds.iter().map(|round| round.once.rate()).collect()),
    |rounds| {
        let cpu: f64 = rounds.iter().map(|round| round.kept.cpu).sum();
        let requests: u64 = rounds.iter().map(|round| round.kept.requests).sum();
        cpu * 1e6 / requests as f64
    },
];

/// Measures and prints. `limit` is tests/c/limit.bpf.c as an object.
pub fn report(limit: &[u8]) -> Result<String> {
    interrupt::watch()?;
    let mut text = String::new();
    for (checksums, title) in [
        (Checksums::Whole, "checksums as on a wire"),
        (Checksums::Undone, "checksums left undone, as veth does"),
    ] {
        let measured = measure(checksums, limit)?;
        for table in [figures(title, &measured), comparison(&measured)] {
            text.push_str(&table);
            text.push('\n');
        }
    }
    Ok(text)
}

/// All of them stay up; only one has work at a time.
fn measure(checksums: Checksums, limit: &[u8]) -> Result<Vec<Measured>> {
    let programs = Programs::find();
    let folder = Folder::new()?;
    let ways = Way::all(checksums);
    let net = Net::new(u8::try_from(ways.len())?, checksums)?;
    let [first, second] = &net.servers;
    let _servers = [
        ways::server(first, &programs, &folder)?,
        ways::server(second, &programs, &folder)?,
    ];
    let mut kept = Vec::new();
    let mut turns = Vec::new();
    for (&way, place) in ways.iter().zip(&net.places) {
        interrupt::check()?;
        kept.push(ways::start(way, &net, place, &programs, &folder, limit)?);
        let (targets, seen) = match way {
            Way::Direct => (
                net.servers.each_ref().map(Host::socket).to_vec(),
                &net.client,
            ),
            _ => (vec![place.socket()], place),
        };
        for &to in &targets {
            let peer = ways::ask(&net, to).with_context(|| way.name())?;
            let seen = seen.address().to_string();
            ensure!(
                peer == seen,
                "{}: the server saw {peer}, not {seen}",
                way.name()
            );
        }
        turns.push((way, targets));
    }
    let mut measured: Vec<Measured> = ways
        .into_iter()
        .map(|way| Measured {
            way,
            rounds: Vec::new(),
        })
        .collect();
    for round in 0..ROUNDS {
        // There and back: a machine that gets slower all the while does not favour those in front.
        let mut order: Vec<usize> = (0..turns.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let (way, targets) = &turns[index];
            let turn = |kind| {
                interrupt::check()?;
                client::turn(&net, kind, targets).with_context(|| way.name())
            };
            measured[index].rounds.push(Round {
                kept: turn(Use::Kept)?,
                once: turn(Use::Once)?,
            });
        }
    }
    net.check_checksums()?;
    Ok(measured)
}

/// A rate of ours over another's, by rounds.
fn pairs(ours: &[Round], other: &[Round], kind: Use) -> Vec<f64> {
    let rate = |round: &Round| match kind {
        Use::Kept => round.kept.rate(),
        Use::Once => round.once.rate(),
    };
    let pairs = ours.iter().zip(other);
    pairs
        .map(|(ours, other)| rate(ours) / rate(other))
        .collect()
}

/// Each of the three figures beside another's: the median of the ratios within each round, and of what was added up the ratio.
fn ratios(ours: &[Round], other: &[Round]) -> [f64; 3] {
    let [_, _, cpu] = FIGURES;
    [
        median(pairs(ours, other, Use::Kept)),
        median(pairs(ours, other, Use::Once)),
        cpu(ours) / cpu(other),
    ]
}

/// What was measured, beside no balancer.
fn figures(title: &str, measured: &[Measured]) -> String {
    let mut table = Table::new([
        &*format!("{CONNECTIONS} connections"),
        "kept open, req/s",
        "/ none",
        "new connections/s",
        "/ none",
        "CPU a request",
        "/ none",
    ]);
    let Some(direct) = measured.first() else {
        return String::new();
    };
    for Measured { way, rounds } in measured {
        let mut cells = vec![way.name()];
        let values = FIGURES.map(|figure| figure(rounds));
        for ((index, value), ratio) in (0..).zip(values).zip(ratios(rounds, &direct.rounds)) {
            cells.push(match index {
                2 => format!("{value:.1} µs"),
                _ => format!("{value:.0}"),
            });
            cells.push(format!("{ratio:.2}"));
        }
        table.row(cells);
    }
    format!("{title}\n{}", table.text())
}

/// Ours beside each of the others, and whether it is where it is to be.
fn comparison(measured: &[Measured]) -> String {
    let mut table = Table::new([
        "ratios",
        "kept open",
        "new connections",
        "CPU a request",
        "goal",
        "",
    ]);
    let of = |way: Way| measured.iter().find(|measured| measured.way == way);
    for mode in Mode::ALL {
        for other in [Way::Limit(mode), Way::Nftables, Way::HaProxy, Way::Nginx] {
            let (Some(ours), Some(theirs)) = (of(Way::Ours(mode)), of(other)) else {
                continue;
            };
            let beside = |one: &Measured| ratios(&one.rounds, &theirs.rounds);
            let (goal, is_kept) = verdict(other, beside(ours));
            let by_limit = of(Way::Limit(mode)).map(|limit| verdict(other, beside(limit)).1);
            let word = match (is_kept, by_limit) {
                (Goal::Kept, _) => "kept",
                (Goal::Missed, Some(Goal::Missed)) => "MISSED, by the limit too",
                (Goal::Missed, _) => "MISSED",
            };
            let mut cells = vec![format!("xdplb {} / {}", mode.word(), other.name())];
            let [kept, once, cpu] = beside(ours);
            for (ratio, kind) in [(kept, Use::Kept), (once, Use::Once)] {
                let off = uncertainty(pairs(&ours.rounds, &theirs.rounds, kind));
                cells.push(format!("{ratio:.2} ±{off:.2}"));
            }
            cells.push(format!("{cpu:.2}"));
            cells.extend([goal, word.to_owned()]);
            table.row(cells);
        }
    }
    table.text()
}

/// What became of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Kept,
    Missed,
}

/// The goal beside `other` and whether the ratios keep it: as near as that to the limit, ahead of the rest.
fn verdict(other: Way, [kept, once, cpu]: [f64; 3]) -> (String, Goal) {
    let near = match other {
        Way::Limit(_) => NEAR,
        Way::Direct | Way::Ours(_) | Way::Nftables | Way::HaProxy | Way::Nginx => 0.0,
    };
    let least = 1.0 - near;
    let is_kept = kept >= least && once >= least && cpu <= 1.0 + near;
    let goal = format!("≥ {least:.2}, CPU ≤ {:.2}", 1.0 + near);
    (goal, if is_kept { Goal::Kept } else { Goal::Missed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_to_be_near_and_peers_behind() {
        let word = |other, ratios| verdict(other, ratios).1;
        assert_eq!(
            word(Way::Limit(Mode::Native), [0.96, 0.95, 1.04]),
            Goal::Kept
        );
        assert_eq!(
            word(Way::Limit(Mode::Native), [0.96, 0.94, 1.04]),
            Goal::Missed
        );
        assert_eq!(word(Way::Nginx, [0.99, 2.0, 0.5]), Goal::Missed);
        assert_eq!(word(Way::Nginx, [1.5, 2.0, 1.1]), Goal::Missed);
        assert_eq!(word(Way::HaProxy, [1.5, 2.0, 0.5]), Goal::Kept);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let round = |requests| {
            let turn = Turn {
                requests,
                seconds: 1.0,
                cpu: 2.0,
            };
            Round {
                kept: turn,
                once: turn,
            }
        };
        // The machine was slow in the second round; the ratio was not.
        let [ours, other] = [[100, 10, 100], [200, 20, 200]].map(|all| all.map(round));
        let all = ratios(&ours, &other);
        for (ratio, expected) in all.into_iter().zip([0.5, 0.5, 2.0]) {
            assert!((ratio - expected).abs() < 1e-9, "{all:?}");
        }
    }
}
