//! The measuring part of `cargo xtask bench`, run as root: `xdplb-bench TWIN.o` prints tables. XDPLB_LOAD names the command, as in the tests.
//!
//! Everything happens in namespaces without names, which go with this process. Figures to be compared are measured by
//! turns in one run, and what is printed of each is the median.

mod figures;
mod http;
mod packets;
mod restore;
mod start;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use xdplb_tests::balancer;
use xdplb_tests::netns::Netns;

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
    let [twin] = arguments.as_slice() else {
        bail!("usage: xdplb-bench TWIN.o");
    };
    let binary = balancer::binary()?;
    let twin = std::fs::read(twin).with_context(|| twin.clone())?;
    let system = nix::sys::utsname::uname()?;
    let cpus = std::thread::available_parallelism()?;
    println!(
        "{} {}, {}, {cpus} CPUs; medians\n",
        system.sysname().display(),
        system.release().display(),
        system.machine().display()
    );
    println!("{}", Netns::new("lb")?.run(|| packets::report(&twin))?);
    println!("{}", start::report(&binary)?);
    println!("{}", http::report()?);
    Ok(())
}
