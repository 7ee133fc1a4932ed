//! `cargo xtask setup`: says what is missing and why it is needed, then installs it. Installs nothing
//! that is there, and a setup that was interrupted is simply run again.

mod apt;
pub mod peers;
pub mod qemu;
mod requirements;
pub mod toolchain;
mod unpack;

use crate::privilege::Privilege;
use crate::run;
use crate::workspace;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use requirements::Requirement;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How much is to be there. Each holds what the ones before it hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Need {
    /// What `cargo build` needs
    Build,
    /// What `cargo xtask demo` needs
    Demo,
    /// What `cargo xtask test` needs
    Test,
    /// What `cargo xtask bench` needs
    Bench,
}

/// rustup fetches a few megabytes; beyond this it is stuck.
const RUSTUP: Duration = Duration::from_secs(120);

/// Brings the machine to `need`.
pub fn setup(need: Need) -> Result<()> {
    run::step("setup");
    workspace::tag_target()?;
    let packages = requirements::missing(need);
    let components = if need >= Need::Test {
        missing_components()
    } else {
        Vec::new()
    };
    let compiler = toolchain::find()?;
    let emulator = need < Need::Test || qemu::find().is_some();
    let peers = need < Need::Bench || peers::find().is_some();
    if packages.is_empty() && components.is_empty() && compiler.is_some() && emulator && peers {
        println!("nothing is missing");
        return Ok(());
    }

    println!("This machine lacks, and now gets:");
    for package in &packages {
        println!("  {:<20} {} (Debian package)", package.package, package.why);
    }
    for component in &components {
        println!("  {component:<20} checks the sources (rustup component)");
    }
    if compiler.is_none() {
        println!(
            "  {:<20} the source of `core`, built once for BPF: by rustup, or else a rustc of",
            "rust-src"
        );
        println!(
            "  {:<20} Debian's unpacked in {}, ~140 MB to fetch",
            "",
            toolchain::private().display()
        );
    }

    if !emulator {
        println!(
            "  {:<20} boots other kernels with the static binary: Debian's packages, unpacked in",
            qemu::PROGRAM
        );
        println!(
            "  {:<20} {}, ~15 MB to fetch",
            "",
            qemu::private().display()
        );
    }
    if !peers {
        println!(
            "  {:<20} what the bench compares with: Debian's packages, unpacked in",
            "nginx, haproxy, …"
        );
        println!(
            "  {:<20} {}, ~4 MB to fetch; no service is started",
            "",
            peers::private().display()
        );
    }

    install(&packages)?;
    for component in components {
        rustup_add(component)?;
    }
    if compiler.is_none() {
        bring_compiler()?;
    }
    if !emulator {
        bring_emulator()?;
    }
    if !peers {
        bring_peers()?;
    }
    Ok(())
}

/// Unpacked and not installed: see [`peers`].
fn bring_peers() -> Result<()> {
    let lacking = |place: &Path| -> String {
        let missing = peers::missing(place);
        let used = peers::FILES.iter();
        used.filter(|(file, _)| missing.contains(file))
            .map(|(file, why)| format!("\n  /{file:<44} {why}"))
            .collect()
    };
    if !apt::here() {
        bail!(
            "setup: missing here, and only Debian's packages are known to this command:{}\n  try: install these by hand, then run it again",
            lacking(Path::new("/"))
        );
    }
    let place = peers::private();
    unpack::unpack(&unpack::PEERS, &place).context("setup: what the bench compares with")?;
    if peers::find().is_none() {
        bail!("setup: the packages do not hold{}", lacking(&place));
    }
    Ok(())
}

/// Unpacked and not installed: Debian 12's qemu-system-x86 removes newer qemu-utils from a machine that has them.
fn bring_emulator() -> Result<()> {
    if !apt::here() {
        bail!(
            "setup: {} is missing, and only Debian's packages are known to this command\n  try: install qemu for x86-64 by hand",
            qemu::PROGRAM
        );
    }
    unpack::unpack(&unpack::QEMU, &qemu::private()).context("setup: Debian's qemu")?;
    match qemu::find() {
        Some(_) => Ok(()),
        None => bail!(
            "setup: the packages hold no {} that runs, in {}",
            qemu::PROGRAM,
            qemu::private().display()
        ),
    }
}

fn install(packages: &[&Requirement]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !apt::here() {
        bail!("setup: {}", by_hand(packages));
    }
    let names: Vec<&str> = packages.iter().map(|package| package.package).collect();
    let privilege = Privilege::of_this_process();
    if privilege == Privilege::None {
        bail!(
            "setup: installing packages needs root, and there is no sudo here\n  try: as root: apt-get install -y {}",
            names.join(" ")
        );
    }
    apt::install(privilege, &names)?;
    let still: Vec<&Requirement> = packages
        .iter()
        .copied()
        .filter(|package| !package.is_met())
        .collect();
    if !still.is_empty() {
        bail!("setup: apt-get succeeded, and still {}", by_hand(&still));
    }
    Ok(())
}

/// What to do where there is no apt: every name with its reason, as other distributions name packages otherwise.
fn by_hand(packages: &[&Requirement]) -> String {
    let lines: Vec<String> = packages
        .iter()
        .map(|package| format!("\n  {:<12} {}", package.what(), package.why))
        .collect();
    format!(
        "missing here, and only Debian's apt-get is known to this command:{}\n  try: install these by hand, then run it again",
        lines.concat()
    )
}

/// The parts of the Rust toolchain that only checks need; rustup's minimal profile leaves them out.
fn missing_components() -> Vec<&'static str> {
    [("rustfmt", "fmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(_, command)| {
            run::read(crate::workspace::cargo().args([command, "--version"])).is_err()
        })
        .map(|(component, _)| component)
        .collect()
}

fn rustup_add(component: &str) -> Result<()> {
    let mut command = Command::new("rustup");
    command
        .args(["component", "add", component])
        .current_dir(crate::workspace::root());
    let output = run::within(RUSTUP, &mut command)?;
    if !output.status.success() {
        bail!(
            "`{}`: {}{}",
            run::shown(&command),
            output.status,
            run::evidence(&output.stderr)
        );
    }
    Ok(())
}

/// rustup's way first, as it is small and belongs to the compiler in use; Debian's where it fails.
fn bring_compiler() -> Result<()> {
    let rustup = match rustup_add("rust-src") {
        Ok(()) => match toolchain::find()? {
            Some(_) => return Ok(()),
            None => "rustup: it succeeded, and still no `core` lies beside rustc".to_owned(),
        },
        Err(error) => error.to_string(),
    };
    println!("{rustup}\nrustup cannot bring rust-src here; taking Debian's packages instead");
    if !apt::here() {
        bail!(
            "setup: no rustc that can build `core` for BPF\n  {}\n  try: rustup component add rust-src (needs its server), or set {}=/path/to/rustc of one with rust-src",
            rustup.replace('\n', "\n  "),
            toolchain::VARIABLE
        );
    }
    unpack::unpack(&unpack::RUSTC, &toolchain::private()).context("setup: Debian's rustc")?;
    match toolchain::trouble_with_private() {
        None => Ok(()),
        Some(why) => bail!("setup: the rustc that Debian's packages gave: {why}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn needs_are_ordered() {
        assert!(Need::Build < Need::Demo && Need::Demo < Need::Test && Need::Test < Need::Bench);
    }

    #[test]
    fn without_apt_the_error_names_what_and_why() {
        let curl = requirements::ALL
            .iter()
            .find(|one| one.package == "curl")
            .unwrap();
        assert_eq!(
            by_hand(&[curl]),
            "missing here, and only Debian's apt-get is known to this command:\n  curl         sends the demo's requests\n  \
             try: install these by hand, then run it again"
        );
    }
}
