//! The gallery of wrong programs: each through `xdplb-load verify`, and the explanation held against what its source says.

use std::path::Path;

use anyhow::{Result, ensure};
use xdplb_tests::gallery::{self, Wrong};
use xdplb_tests::objects::{self, ours};

use crate::leftovers;

/// Where the image has sources and objects.
const FOLDER: &str = "/gallery";

/// On the host: builds the gallery and puts sources and objects into a folder.
pub fn pack(folder: &Path) -> Result<()> {
    let built = gallery::built()?;
    objects::pack(
        built.iter().map(|(wrong, object)| (&wrong.case, object)),
        folder,
    )
}

/// In the guest: all of them; those that are explained otherwise are in the error.
pub fn check() -> Result<()> {
    let kernel = objects::running_kernel()?;
    let all = gallery::all_in(Path::new(FOLDER))?;
    ensure!(all.len() >= 25, "only {} wrong programs", all.len());
    let mut surprises = Vec::new();
    leftovers::none(|| {
        for wrong in &all {
            let name = &wrong.case.name;
            match one(wrong, kernel) {
                Ok(result) => println!("xdplb-guest: tried wrong/{name}: {result}"),
                Err(error) => {
                    println!("xdplb-guest: tried wrong/{name}: SURPRISE");
                    surprises.push(format!("{name}: {error:#}"));
                }
            }
        }
        Ok(())
    })?;
    objects::without_surprises(&surprises)
}

fn one(wrong: &Wrong, kernel: (u32, u32)) -> Result<&str> {
    let verified = ours::verify(&wrong.case, &wrong.case.object(Path::new(FOLDER)))?;
    wrong.check(&wrong.error(&verified)?, kernel)
}
