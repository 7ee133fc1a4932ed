//! The bytecode in the kernel against the same logic on the host: the same packets by chance, valid and broken, must get
//! the same verdict and the same bytes, and leave the same tables and counters behind.
//!
//! `XDPLB_PACKETS` says how many packets in all.

use anyhow::{Result, ensure};
use xdplb_prog::abi::deferred;
use xdplb_prog::counters::Reason;
use xdplb_prog::world::Settings;
use xdplb_tests::differential;
use xdplb_tests::netns::Netns;
use xdplb_tests::packets::settings;

/// Unless the variable says otherwise.
const PACKETS: u32 = 1_000_000;

fn packets() -> u32 {
    let variable = std::env::var("XDPLB_PACKETS");
    variable
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(PACKETS)
}

/// Slots, buckets, and what the loader decides.
const RUNS: [(u32, u32, u32, u32); 8] = [
    (1, 1, deferred::COMPLETE, 1),
    (7, 1, deferred::COMPLETE, 1),
    (16, 2, deferred::KEEP, 0),
    (33, 8, deferred::KEEP, 1),
    (64, 16, deferred::COMPLETE, 0),
    (100, 16, deferred::COMPLETE, 1),
    (256, 128, deferred::KEEP, 1),
    (1000, 256, deferred::COMPLETE, 1),
];

#[test]
fn the_kernel_and_the_model_agree_on_every_packet() -> Result<()> {
    let each = packets() / RUNS.len() as u32;
    let mut all = vec![0; Reason::COUNT];
    for (seed, (slots, buckets, deferred, perfmon)) in (1..).zip(RUNS) {
        let settings = Settings {
            slots,
            buckets,
            deferred,
            perfmon,
            // A second of so many ticks that nothing expires by itself.
            ticks_per_second: 1 << 18,
            ..settings()
        };
        let started = std::time::Instant::now();
        let counts = Netns::new("lb")?.run(|| differential::run(settings, seed, each))?;
        println!("{slots} slots: {each} packets in {:?}", started.elapsed());
        all.iter_mut()
            .zip(counts)
            .for_each(|(all, count)| *all += count);
    }
    let total: u64 = all.iter().sum();
    let mut unseen = Vec::new();
    for (reason, count) in Reason::ALL.iter().zip(&all) {
        println!("{:>9} {}", count, reason.name());
        let rare = matches!(
            reason,
            Reason::NoHeadroom | Reason::ChecksumTooLong | Reason::Contended
        );
        if *count < total / 100_000 && !rare {
            unseen.push(reason.name());
        }
    }
    // Else it compares how two programs do nothing.
    ensure!(unseen.is_empty(), "hardly ever: {unseen:?}");
    Ok(())
}
