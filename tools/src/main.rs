//! `cargo xtask`: what there is to do in this repository besides `cargo build`, one command a file.
//!
//! It only runs commands: cargo, apt, rustup, the topology's scripts and what they built. It imports
//! none of the other crates, so it compiles in seconds on a machine where they cannot be built yet.

mod bench;
mod book;
mod bpf;
mod build;
mod compare;
mod demo;
mod interrupt;
mod kernels;
mod privilege;
mod run;
mod setup;
mod test;
mod tidy;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The repository's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building, the demo and the tests need, after saying what and why
    Setup {
        /// How much of it
        #[arg(long, value_enum, default_value_t = setup::Need::Test)]
        need: setup::Need,
    },
    /// Build the static binary for release
    Build,
    /// Build a crate of your own for BPF, with our target and our linker; prints the path of its object
    Bpf {
        /// The crate's folder
        krate: PathBuf,
    },
    /// Balance 20 requests between two servers in network namespaces, and show who answered
    Demo,
    /// Formatting, clippy, tidy, host tests, kernel tests, namespace tests
    Test,
    /// Measure what the README reports: a packet, a start, requests a second, linking and loading beside libbpf
    Bench {
        /// Only this table
        #[arg(value_parser = ["packets", "modes", "tables", "start", "http", "toolchain"])]
        part: Option<String>,
    },
    /// The static binary on other kernels: 5.10, 6.1, 6.12, newest; each fetched once, booted with nothing else in it
    Kernels {
        /// Which of them; default: all
        names: Vec<String>,
    },
    /// Load the object set by us, by libbpf and by aya, and print who loads what
    Compare,
    /// The book as a web site, by mdBook, which is built under target/ the first time
    Book,
    /// Check the layering of the crates and the form of the files
    Tidy,
    /// The part of `demo` that needs root
    #[command(hide = true)]
    DemoStage {
        /// The balancer to show
        binary: PathBuf,
    },
    /// Whether the kernel lets us run kernel and namespace tests
    #[command(hide = true)]
    CheckPrivilege,
}

fn main() -> ExitCode {
    let done = perform(Args::parse().task);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::Setup { need } => setup::setup(need),
        Task::Build => build::build().map(|_| ()),
        Task::Bpf { krate } => bpf::bpf(&krate),
        Task::Demo => demo::demo(),
        Task::Test => test::test(),
        Task::Bench { part } => bench::bench(part.as_deref()),
        Task::Kernels { names } => kernels::kernels(&names),
        Task::Compare => compare::compare(),
        Task::Book => book::book(),
        Task::Tidy => tidy::tidy(),
        Task::DemoStage { binary } => demo::stage::play(&binary),
        Task::CheckPrivilege => privilege::check(),
    }
}
