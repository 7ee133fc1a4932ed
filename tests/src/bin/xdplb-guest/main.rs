//! The first process of a machine that `cargo xtask kernels` boots (docs/kernels.md). The image holds this file, the
//! static `xdplb-load`, the objects and a few kernel modules, and nothing else: no shell, no `ip`, no libc.
//! This file removes itself before it begins, so that `xdplb-load` is the only program there is.
//!
//! Every line that it prints is `xdplb-guest: WORD…`; the last is `passed` or `failed`.

mod leftovers;
mod machine;
mod ours;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use machine::End;
use xdplb_tests::topology::Mode;

fn main() {
    if std::process::id() != 1 {
        eprintln!(
            "error: xdplb-guest: this is the first process of a test machine\n  try:  cargo xtask kernels"
        );
        std::process::exit(2);
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

fn run() -> Result<()> {
    machine::mount_all()?;
    machine::insert_modules(Path::new("/modules"))?;
    machine::leave_only("/xdplb-load")?;
    println!("xdplb-guest: kernel {}", machine::release()?);
    for mode in Mode::ALL {
        let begin = Instant::now();
        ours::check(mode).with_context(|| format!("our program, {}", mode.word()))?;
        println!(
            "xdplb-guest: tried our program, {}: forwards ({:.1} s)",
            mode.word(),
            begin.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
