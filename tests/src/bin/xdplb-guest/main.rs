//! The first process of a machine that `cargo xtask kernels` boots (docs/kernels.md). The image holds this file, the
//! static `xdplb-load`, the objects and a few kernel modules, and nothing else: no shell, no `ip`, no libc.
//! This file removes itself before it begins, so that `xdplb-load` is the only program there is.
//!
//! Every line that it prints is `xdplb-guest: WORD…`; the last is `passed` or `failed`.

mod gallery;
mod leftovers;
mod machine;
mod ours;
mod set;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use machine::End;
use xdplb_tests::topology::Mode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        return on_the_host();
    }
    let end = match run() {
        Ok(()) => {
            println!("xdplb-guest: passed");
            End::Passed
        }
        Err(error) => {
            println!("xdplb-guest: failed: {error:#}");
            End::Failed
        }
    };
    machine::end(end)
}

/// `xdplb-guest pack FOLDER` is what `cargo xtask kernels` runs before it makes an image.
fn on_the_host() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match &words[..] {
        [word, folder] if word == "pack" => pack(Path::new(folder)),
        _ => {
            eprintln!(
                "error: xdplb-guest: this is the first process of a test machine\n  try:  cargo xtask kernels"
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the image needs beside programs and modules, a folder each.
fn pack(folder: &Path) -> Result<()> {
    set::pack(&folder.join("objects"))?;
    gallery::pack(&folder.join("gallery"))
}

fn run() -> Result<()> {
    machine::mount_all()?;
    machine::insert_modules(Path::new("/modules"))?;
    machine::place_config()?;
    machine::leave_only("/xdplb-load")?;
    println!("xdplb-guest: kernel {}", machine::release()?);
    for mode in Mode::ALL {
        let name = mode.word();
        ours::check(mode).with_context(|| format!("our program, {name}"))?;
        println!("xdplb-guest: tried our program, {name}: forwards");
    }
    set::check().context("the object set")?;
    gallery::check().context("the gallery")
}
