//! The measuring part of `cargo xtask bench`, run as root: `xdplb-bench OBJECTS [PART]` prints tables, one or all. OBJECTS is
//! the folder with what was compiled of tests/c. XDPLB_LOAD names the command, as in the tests; `xdplb-ld` lies beside it. XDPLB_PEERS
//! is the root of the tree with Debian's programs, where they are not the machine's own.
//!
//! Everything happens in namespaces without names, which go with this process. Figures to be compared are measured by
//! turns in one run, and what is printed of each is the median.

mod configured;
mod figures;
mod modes;
mod packets;
mod restore;
mod start;
mod tables;
mod through;
mod toolchain;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use xdplb_tests::balancer;
use xdplb_tests::netns::Netns;

/// The tables, in the order in which they are printed.
const PARTS: [&str; 6] = ["packets", "modes", "tables", "start", "http", "toolchain"];

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (objects, part) = match arguments.as_slice() {
        [objects] => (objects, None),
        [objects, part] if PARTS.contains(&part.as_str()) => (objects, Some(part.as_str())),
        _ => bail!("usage: xdplb-bench OBJECTS [{}]", PARTS.join("|")),
    };
    let binary = balancer::binary()?;
    let object = |name: &str| {
        let file = Path::new(objects).join(name);
        std::fs::read(&file).with_context(|| file.display().to_string())
    };
    let (twin, limit) = (object("twin.o")?, object("limit.o")?);
    let system = nix::sys::utsname::uname()?;
    let cpus = std::thread::available_parallelism()?;
    println!(
        "{} {}, {}, {cpus} CPUs; medians\n",
        system.sysname().display(),
        system.release().display(),
        system.machine().display()
    );
    let wanted = |name: &&str| part.is_none_or(|part| part == *name);
    for name in PARTS.into_iter().filter(wanted) {
        let table = match name {
            "packets" => Netns::new("lb")?.run(|| packets::report(&twin))?,
            "modes" => Netns::new("lb")?.run(modes::report)?,
            "tables" => tables::report()?,
            "start" => start::report(&binary)?,
            "http" => through::report(&limit)?,
            _ => toolchain::report(&binary.with_file_name("xdplb-ld"), &binary)?,
        };
        println!("{table}");
    }
    Ok(())
}
