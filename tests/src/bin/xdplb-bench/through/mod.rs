//! Requests through namespaces: the same client and the same servers with nothing between them, with the least that XDP can do,
//! with ours, and with what else one would take.

mod net;
mod process;
mod ways;
mod wrk;

use anyhow::{Context, Result, ensure};
use xdplb_tests::files::Folder;
use xdplb_tests::interrupt;
use xdplb_tests::topology::Mode;

use crate::figures::{Table, median};
use net::Net;
use process::Programs;
use ways::Way;
use wrk::{CONNECTIONS, Turn, Use};

const ROUNDS: u32 = 7;
/// How near ours is to come to the limit.
const NEAR: f64 = 0.05;

/// What one way gave in one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    kept: Turn,
    once: Turn,
}

/// The three figures of a round.
const FIGURES: [fn(&Round) -> f64; 3] = [
    |round| round.kept.rate,
    |round| round.once.rate,
    |round| round.kept.cpu,
];

/// Measures and prints. `limit` is tests/c/limit.bpf.c as an object.
pub fn report(limit: &[u8]) -> Result<String> {
    interrupt::watch()?;
    let programs = Programs::find();
    let folder = Folder::new()?;
    let net = Net::new(Way::ALL.len() as u8 - 1)?;
    net.compute_checksums()?;
    let [first, second] = &net.servers;
    let _servers = [
        ways::server(first, &programs, &folder)?,
        ways::server(second, &programs, &folder)?,
    ];
    // They stay up together; only one has work at a time.
    let mut kept = Vec::new();
    let mut targets = Vec::new();
    for way in Way::ALL {
        let (to, seen) = match way {
            Way::Direct => (
                net.servers.each_ref().map(net::Host::socket).to_vec(),
                net.client.address(),
            ),
            _ => {
                let place = net.places.get(kept.len()).context("a place too few")?;
                kept.push(ways::start(way, &net, place, &programs, &folder, limit)?);
                (vec![place.socket()], place.address())
            }
        };
        for &to in &to {
            let peer = ways::ask(&net, to).with_context(|| way.name())?;
            ensure!(
                peer == seen.to_string(),
                "{}: the server saw {peer}, not {seen}",
                way.name()
            );
        }
        targets.push(to);
        interrupt::check()?;
    }
    let mut rounds: [Vec<Round>; Way::ALL.len()] = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((way, targets), rounds) in Way::ALL.iter().zip(&targets).zip(&mut rounds) {
            let turn = |kind| {
                interrupt::check()?;
                let turn = wrk::turn(&net, &programs, &folder, kind, targets);
                // wrk may have been interrupted as well.
                interrupt::check()?;
                turn.with_context(|| way.name())
            };
            rounds.push(Round {
                kept: turn(Use::Kept)?,
                once: turn(Use::Once)?,
            });
        }
    }
    Ok(format!("{}\n{}", figures(&rounds), comparison(&rounds)))
}

/// The median of the ratios within each round.
fn ratio(ours: &[Round], other: &[Round], figure: fn(&Round) -> f64) -> f64 {
    let pairs = ours.iter().zip(other);
    median(
        pairs
            .map(|(ours, other)| figure(ours) / figure(other))
            .collect(),
    )
}

/// What was measured, beside no balancer.
fn figures(rounds: &[Vec<Round>]) -> String {
    let mut table = Table::new([
        &*format!("{CONNECTIONS} connections"),
        "requests/s, kept open",
        "/ none",
        "new connections/s",
        "/ none",
        "CPU µs a request, kept open",
        "/ none",
    ]);
    let Some(direct) = rounds.first() else {
        return table.text();
    };
    for (way, rounds) in Way::ALL.iter().zip(rounds) {
        let mut cells = vec![way.name()];
        for (figure, digits) in FIGURES.into_iter().zip([0, 0, 1]) {
            let value = median(rounds.iter().map(figure).collect());
            cells.push(format!("{value:.digits$}"));
            cells.push(format!("{:.2}", ratio(rounds, direct, figure)));
        }
        table.row(cells);
    }
    table.text()
}

/// Ours beside each of the others, and whether it is where it is to be.
fn comparison(rounds: &[Vec<Round>]) -> String {
    let mut table = Table::new([
        "ratios",
        "kept open",
        "new connections",
        "CPU a request",
        "goal",
        "",
    ]);
    for mode in Mode::ALL {
        let others = [Way::Limit(mode), Way::Nftables, Way::HaProxy, Way::Nginx];
        for other in others {
            let of = |way: Way| {
                let index = Way::ALL.iter().position(|one| *one == way)?;
                rounds.get(index)
            };
            let (Some(ours), Some(theirs)) = (of(Way::Ours(mode)), of(other)) else {
                continue;
            };
            let ratios = FIGURES.map(|figure| ratio(ours, theirs, figure));
            let (goal, kept) = verdict(other, ratios);
            let mut cells = vec![format!("xdplb {} / {}", mode.word(), other.name())];
            cells.extend(ratios.map(|ratio| format!("{ratio:.2}")));
            cells.extend([goal, kept.to_owned()]);
            table.row(cells);
        }
    }
    table.text()
}

/// The goal beside `other` and whether the ratios keep it: as near as that to the limit, ahead of the rest.
fn verdict(other: Way, [kept, once, cpu]: [f64; 3]) -> (String, &'static str) {
    let near = match other {
        Way::Limit(_) => NEAR,
        Way::Direct | Way::Ours(_) | Way::Nftables | Way::HaProxy | Way::Nginx => 0.0,
    };
    let least = 1.0 - near;
    let is_kept = kept >= least && once >= least && cpu <= 1.0 + near;
    let goal = format!("≥ {least:.2}, CPU ≤ {:.2}", 1.0 + near);
    (goal, if is_kept { "kept" } else { "MISSED" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_to_be_near_and_peers_behind() {
        let word = |other, ratios| verdict(other, ratios).1;
        assert_eq!(word(Way::Limit(Mode::Native), [0.96, 0.95, 1.04]), "kept");
        assert_eq!(word(Way::Limit(Mode::Native), [0.96, 0.94, 1.04]), "MISSED");
        assert_eq!(word(Way::Nginx, [0.99, 2.0, 0.5]), "MISSED");
        assert_eq!(word(Way::Nginx, [1.5, 2.0, 1.1]), "MISSED");
        assert_eq!(word(Way::HaProxy, [1.5, 2.0, 0.5]), "kept");
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let round = |rate| {
            let turn = Turn { rate, cpu: 1.0 };
            Round {
                kept: turn,
                once: turn,
            }
        };
        // The machine was slow in the second round; the ratio was not.
        let [ours, other] =
            [[100.0, 10.0, 100.0], [200.0, 20.0, 200.0]].map(|rates| rates.map(round));
        assert!((ratio(&ours, &other, FIGURES[0]) - 0.5).abs() < 1e-9);
    }
}
