//! What is in the kernel before is all that is there after: programs, maps, BTF, links.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xdplb_loader::kernel::{btf_ids, link_ids, map_ids, program_ids};

#[derive(Debug, PartialEq, Eq)]
struct Ids {
    programs: Vec<u32>,
    maps: Vec<u32>,
    btf: Vec<u32>,
    links: Vec<u32>,
}

fn ids() -> Result<Ids> {
    Ok(Ids {
        programs: program_ids()?,
        maps: map_ids()?,
        btf: btf_ids()?,
        links: link_ids()?,
    })
}

/// Does it, and waits until the kernel holds no more than before: it frees some time after the last user has gone.
pub fn none(action: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = ids()?;
    action()?;
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let after = ids()?;
        if after == before {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "left in the kernel: {after:?}, where there was {before:?}"
        );
        sleep(Duration::from_millis(10));
    }
}
