//! Builds the object set under `target/objects` and the gallery under `target/gallery`, and prints each object's path: for the
//! tests that then run as root, so that no file under target/ belongs to root, and for anyone who wants to look at one.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use xdplb_tests::{gallery, objects};

fn main() -> ExitCode {
    match built() {
        Ok(paths) => {
            for path in paths {
                println!("{}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn built() -> Result<Vec<PathBuf>> {
    let set = objects::built()?.into_iter().map(|(_, path)| path);
    let gallery = gallery::built()?.into_iter().map(|(_, path)| path);
    Ok(set.chain(gallery).collect())
}
