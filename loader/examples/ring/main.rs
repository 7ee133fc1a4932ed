//! A line for each packet of an interface, through a ring buffer: `sudo target/debug/examples/ring lo 10` prints ten.

#[path = "../support/compile.rs"]
mod compile;

use anyhow::Context;
use std::{env, time::Duration};
use xdplb_loader::{Attachment, Mode, Object, RingBuffer, Stop};

fn main() -> anyhow::Result<()> {
    let object = compile::compile("ring")?;
    let ifname = env::args().nth(1).context("usage: ring IFNAME [PACKETS]")?;
    let wanted: u32 = env::args().nth(2).map_or(Ok(10), |text| text.parse())?;

    let stop = Stop::block()?; // Ctrl+C ends the loop, and what was attached comes off
    let loaded = Object::parse(&object)?.load()?;
    let mut packets = RingBuffer::open(loaded.map("PACKETS")?)?;
    let _attached = Attachment::xdp(loaded.program("report")?, &ifname, Mode::Generic)?;
    let mut seen = 0;
    while seen < wanted && stop.within(Duration::ZERO)?.is_none() {
        packets.wait(Duration::from_millis(500))?;
        while let Some(record) = packets.read() {
            let word =
                |at| Ok::<_, anyhow::Error>(u32::from_ne_bytes(record[at..at + 4].try_into()?));
            println!("interface {}: {} bytes", word(0)?, word(4)?);
            seen += 1;
        }
    }
    Ok(())
}
