//! Counts the packets of an interface: `sudo target/debug/examples/counter lo 10` prints a line a second, ten times.

#[path = "../support/compile.rs"]
mod compile;

use anyhow::Context;
use std::{env, time::Duration};
use xdplb_loader::{Attachment, Mode, Object, Stop};

fn main() -> anyhow::Result<()> {
    let object = compile::compile("counter")?;
    let ifname = env::args()
        .nth(1)
        .context("usage: counter IFNAME [SECONDS]")?;
    let seconds: u32 = env::args().nth(2).map_or(Ok(10), |text| text.parse())?;

    let stop = Stop::block()?; // Ctrl+C ends the loop, and what was attached comes off
    let loaded = Object::parse(&object)?.load()?;
    let _attached = Attachment::xdp(loaded.program("count")?, &ifname, Mode::Generic)?;
    for _ in 0..seconds {
        if stop.within(Duration::from_secs(1))?.is_some() {
            break;
        }
        let [mut packets, mut bytes] = [0, 0];
        let cpus = loaded.map("TRAFFIC")?.lookup_per_cpu(&0u32.to_ne_bytes())?;
        for cpu in cpus.iter().flatten() {
            packets += u64::from_ne_bytes(cpu[..8].try_into()?);
            bytes += u64::from_ne_bytes(cpu[8..].try_into()?);
        }
        println!("{packets} packets, {bytes} bytes");
    }
    Ok(())
}
