//! What is in the kernel before is all that is there after: programs, maps, BTF, links.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xdplb_loader::kernel::{btf_ids, link_ids, map_ids, program_ids};

#[derive(Debug)]
struct Ids {
    programs: Vec<u32>,
    maps: Vec<u32>,
    btf: Vec<u32>,
    links: Vec<u32>,
}

impl Ids {
    /// What is here and was not there. What was there may go meanwhile: it was on its way out.
    fn beyond(&self, before: &Self) -> Self {
        let new = |here: &[u32], there: &[u32]| {
            let new = here.iter().filter(|id| !there.contains(id));
            new.copied().collect()
        };
        Self {
            programs: new(&self.programs, &before.programs),
            maps: new(&self.maps, &before.maps),
            btf: new(&self.btf, &before.btf),
            links: new(&self.links, &before.links),
        }
    }

    fn is_empty(&self) -> bool {
        [&self.programs, &self.maps, &self.btf, &self.links]
            .iter()
            .all(|ids| ids.is_empty())
    }
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
        let left = ids()?.beyond(&before);
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "left in the kernel: {left:?}");
        sleep(Duration::from_millis(10));
    }
}
