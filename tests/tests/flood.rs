//! A million SYNs from nobody while a thousand connections carry data: none of these breaks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use xdplb_tests::balancer::Balancer;
use xdplb_tests::flood::Flood;
use xdplb_tests::load::{open_many, use_all};
use xdplb_tests::services::{Config, Protocol};
use xdplb_tests::through::{Kind, Servers};
use xdplb_tests::topology::{Family, LB, Mode, Plan, Topology, mac};

const CONNECTIONS: usize = 1000;
const SYNS: u64 = 1_000_000;

fn stand(kind: Kind, family: Family, mode: Mode) -> Result<()> {
    let topology = Topology::build(Plan::dual())?;
    topology.hold_vip()?;
    let _servers = Servers::start(&topology, &[kind])?;
    let _stub = topology.stub(mode)?;
    let service = kind.service(&topology, family, Protocol::Tcp, &[0, 1]);
    let to = service.at;
    // The default table: 65,536 flows, of which the flood wants fifteen times as many.
    let _balancer = Balancer::start_file(&topology, mode, &Config::of(vec![service]))?;
    let guest = topology.guest(9)?;
    let mut connections = open_many(&topology.clients, to, CONNECTIONS)?;
    let flood = Flood {
        from_mac: mac(9),
        to_mac: mac(LB),
        to,
    };
    let (started, over) = (Instant::now(), AtomicBool::new(false));
    let (sent, turns) = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let sent = flood.send(&guest, "eth", SYNS);
            over.store(true, Ordering::Relaxed);
            sent
        });
        let mut turns = 0;
        // All of them at least once more after it.
        let mut used = Ok(());
        while used.is_ok() && !over.load(Ordering::Relaxed) {
            used = use_all(&mut connections, 500);
            turns += 1;
        }
        let sent = flooding
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        used.with_context(|| format!("turn {turns}"))?;
        anyhow::Ok((sent, turns))
    })?;
    println!(
        "{kind:?} {mode:?}: {sent} SYNs in {:?}, {turns} turns of {CONNECTIONS}",
        started.elapsed()
    );
    ensure!(sent == SYNS && turns > 0);
    use_all(&mut connections, 3000).context("after the flood")?;
    topology.check_checksums()
}

#[test]
fn established_connections_survive_a_flood() -> Result<()> {
    stand(Kind::Nat, Family::V4, Mode::Native)
}

#[test]
fn established_connections_survive_a_flood_generic() -> Result<()> {
    stand(Kind::Nat, Family::V6, Mode::Generic)
}

#[test]
fn direct_return_survives_a_flood() -> Result<()> {
    stand(Kind::Dsr, Family::V4, Mode::Native)
}
