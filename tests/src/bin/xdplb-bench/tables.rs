//! What a configuration costs before it reaches the kernel: Maglev tables (build, spread, disruption) and the file.

use std::fmt::Write;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::Instant;

use anyhow::Result;
use xdplb_loader::balancer::maglev::{Identity, Member, Slots, build, disruption};
use xdplb_loader::balancer::toml_file;

use crate::figures::{Goal, Table, median, verdict};

/// Backends of a service.
const COUNTS: [u32; 4] = [2, 10, 100, 1_000];
/// How often each is built.
const ROUNDS: u32 = 21;
/// Backends that are taken away, one at a time, evenly from the list.
const REMOVED: u32 = 20;
/// The file that is read: services, and backends of each.
const FILE: (u32, u32) = (10_000, 10);

/// The table.
pub fn report() -> Result<String> {
    let mut table = Table::new([
        "Maglev, 65,537 slots",
        "build",
        "max/mean",
        "others that move",
    ]);
    let mut worst = (0.0f64, 0.0f64, 0.0f64);
    for count in COUNTS {
        let members: Vec<Member> = (0..count).map(member).collect();
        let milliseconds = time(|| build(&members, Slots::DEFAULT));
        let slots = build(&members, Slots::DEFAULT);
        let (spread, moved) = (spread(&slots, count), moved(&members, &slots));
        table.row([
            format!("{count} backends"),
            format!("{milliseconds:.2} ms"),
            format!("{spread:.4}"),
            format!("{:.2} %", moved * 100.0),
        ]);
        worst.0 = worst.0.max(milliseconds);
        worst.1 = worst.1.max(if count == 100 { spread } else { 0.0 });
        worst.2 = worst.2.max(moved * 100.0);
    }
    let (services, backends) = FILE;
    let text = file(services, backends);
    let config = toml_file::parse("lb.toml", text.as_bytes())?;
    anyhow::ensure!(
        config.services.len() == services as usize,
        "services got lost"
    );
    let read = time_of(5, || toml_file::parse("lb.toml", text.as_bytes()).is_ok());
    let mut goals = Table::new(["", "", "goal", ""]);
    goals.row(verdict(
        "build, 1,000 backends",
        worst.0,
        " ms",
        Goal::AtMost(10.0),
    ));
    goals.row(verdict(
        "max/mean, 100 backends",
        worst.1,
        "",
        Goal::AtMost(1.02),
    ));
    goals.row(verdict(
        "others that move, worst",
        worst.2,
        " %",
        Goal::AtMost(1.0),
    ));
    let name = format!("read a file of {services} services × {backends} backends");
    goals.row(verdict(&name, read, " ms", Goal::None));
    Ok(format!("{}\n{}", table.text(), goals.text()))
}

fn member(number: u32) -> Member {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0002 + number));
    Member {
        identity: Identity::new(address, None),
        weight: NonZeroU16::MIN,
    }
}

/// The most slots of a backend, in shares of the mean.
fn spread(slots: &[u16], count: u32) -> f64 {
    let mut shares = vec![0u32; count as usize];
    for member in slots {
        if let Some(share) = shares.get_mut(usize::from(*member)) {
            *share += 1;
        }
    }
    let most = shares.into_iter().max().unwrap_or(0);
    f64::from(most) * f64::from(count) / slots.len() as f64
}

/// The share of slots of other backends that move when one goes, the worst of some.
fn moved(members: &[Member], slots: &[u16]) -> f64 {
    let step = (members.len() / REMOVED as usize).max(1);
    let losses = (0..members.len()).step_by(step).map(|gone| {
        let mut rest = members.to_vec();
        rest.remove(gone);
        let after = build(&rest, Slots::DEFAULT);
        disruption((members, slots), (&rest, &after)).others
    });
    losses.fold(0.0, f64::max)
}

fn time<T>(work: impl FnMut() -> T) -> f64 {
    time_of(ROUNDS, work)
}

/// The median, in milliseconds.
fn time_of<T>(rounds: u32, mut work: impl FnMut() -> T) -> f64 {
    let times = (0..rounds).map(|_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed().as_secs_f64() * 1e3
    });
    median(times.collect())
}

/// A configuration file with every key that most have.
fn file(services: u32, backends: u32) -> String {
    let mut text = String::new();
    for service in 0..services {
        let address = Ipv4Addr::from(0x0b00_0000 + service);
        // Writing to a String does not fail.
        let _ = writeln!(text, "[[service]]\naddress = \"{address}\"\nport = 80");
        for backend in 0..backends {
            let address = Ipv4Addr::from(0x0a00_0002 + service * backends + backend);
            let _ = writeln!(
                text,
                "[[service.backend]]\naddress = \"{address}\"\nport = 8000"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_one_that_is_taken() -> Result<()> {
        let config = toml_file::parse("lb.toml", file(3, 2).as_bytes())?;
        assert_eq!(config.services.len(), 3);
        assert!(
            config
                .services
                .iter()
                .all(|service| service.backends.len() == 2)
        );
        Ok(())
    }
}
