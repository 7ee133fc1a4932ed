//! `cargo xtask kernels`: the static binary on other kernels than the running one.
//!
//! Debian's kernels are fetched (once), a machine is booted with each, and in it the static `xdplb-load` is the only
//! program: what it is asked to do there, and what must come of it, is in tests/src/bin/xdplb-guest. docs/kernels.md
//! has the table that this prints.

mod cache;
mod catalog;
mod image;
mod machine;
pub mod suite;
mod table;

use crate::setup::qemu;
use crate::{build, interrupt, run};
use anyhow::{Context, Result, bail};
use cache::Bootable;
use image::{Image, Kind};
use machine::{Machine, Outcome, Scratch};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

/// Machines at a time: one for each CPU of a small host.
const AT_ONCE: usize = 2;

/// Everything from the packages to the table; all kernels where none is named.
pub fn kernels(names: &[String]) -> Result<()> {
    let chosen = catalog::chosen(names)?;
    let qemu = qemu::find().with_context(|| {
        format!(
            "kernels: {} is neither in PATH nor in {}\n  try: cargo xtask setup",
            qemu::PROGRAM,
            qemu::private().display()
        )
    })?;
    let load = build::build()?;
    run::step("guest");
    let guest = build::build_static(
        &["--package", "xdplb-tests", "--bin", "xdplb-guest"],
        "xdplb-guest",
    )?;

    run::step("objects");
    let folders = pack(&guest)?;

    run::step("kernels");
    let mut ready = Vec::new();
    for kernel in chosen {
        ready.push(cache::bring(kernel)?);
    }
    // From here on nothing is fetched.
    cache::prune();
    interrupt::watch()?;
    let outcomes = boot_all(&ready, |bootable| {
        let image = image_of(bootable, &guest, &load, &folders)?;
        let initrd = Scratch::write(cache::image_file(bootable.name), &image)?;
        Machine {
            qemu: &qemu,
            kernel: &bootable.kernel,
            initrd: initrd.path(),
        }
        .run()
    })?;
    report(&ready, &outcomes)
}

/// The object set and the gallery, a folder each: the guest knows how they are built, and what it needs of them.
fn pack(guest: &Path) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let folder = cache::folder().join("objects");
    cache::clear(&folder)?;
    run::ok(Command::new(guest).arg("pack").arg(&folder))?;
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let folders = entries(&folder)?.into_iter();
    folders
        .map(|folder| Ok((name(&folder), entries(&folder)?)))
        .collect()
}

/// What is in a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    Ok(files)
}

/// The image holds the guest as /init, the binary under test, the modules, the folders that were packed; nothing else.
fn image_of(
    bootable: &Bootable,
    guest: &Path,
    load: &Path,
    folders: &[(String, Vec<PathBuf>)],
) -> Result<Vec<u8>> {
    let mut image = Image::default();
    image.copy("init", Kind::Program, guest)?;
    image.copy("xdplb-load", Kind::Program, load)?;
    image.copy("config", Kind::Data, &bootable.config)?;
    let modules = ("modules", &bootable.modules);
    let packed = folders
        .iter()
        .map(|(folder, files)| (folder.as_str(), files));
    for (folder, files) in std::iter::once(modules).chain(packed) {
        image.folder(folder);
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            image.copy(&format!("{folder}/{name}"), Kind::Data, file)?;
        }
    }
    Ok(image.finish())
}

/// Boots them all, some at a time; the outcomes stand in the order of the kernels.
fn boot_all(
    ready: &[Bootable],
    boot: impl Fn(&Bootable) -> Result<Outcome> + Sync,
) -> Result<Vec<Outcome>> {
    let waiting = Mutex::new(ready.iter().enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = lock(&waiting).next();
                    let Some((number, bootable)) = next else {
                        return;
                    };
                    let outcome = boot(bootable);
                    if let Ok(outcome) = &outcome {
                        let verdict = match &outcome.verdict {
                            Ok(()) => "passed",
                            Err(words) => words,
                        };
                        println!(
                            "{:<8} {verdict} ({:.1} s)",
                            bootable.name,
                            outcome.took.as_secs_f64()
                        );
                    }
                    lock(&done).push((number, outcome));
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .unwrap_or_else(|poison| poison.into_inner());
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// The table, and what came over the serial line of those that failed.
fn report(ready: &[Bootable], outcomes: &[Outcome]) -> Result<()> {
    let columns: Vec<Vec<&str>> = outcomes
        .iter()
        .map(|outcome| outcome.said().collect())
        .collect();
    print!("{}", table::markdown(&columns));
    let mut failed = Vec::new();
    for (bootable, outcome) in ready.iter().zip(outcomes) {
        if outcome.verdict.is_err() {
            failed.push(bootable.name);
            eprintln!("-- serial line of {}", bootable.name);
            eprintln!("{}", outcome.serial.trim_end());
        }
    }
    if !failed.is_empty() {
        bail!("kernels: failed on {}", failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn outcomes_stand_in_the_order_of_the_kernels() {
        let ready: Vec<Bootable> = ["a", "b", "c", "d", "e"]
            .map(|name| Bootable {
                name,
                kernel: PathBuf::new(),
                config: PathBuf::new(),
                modules: Vec::new(),
            })
            .into();
        let outcomes = boot_all(&ready, |bootable| {
            // The first is the slowest.
            thread::sleep(Duration::from_millis(if bootable.name == "a" {
                30
            } else {
                1
            }));
            Ok(Outcome {
                verdict: Ok(()),
                serial: bootable.name.into(),
                took: Duration::ZERO,
            })
        });
        let order: String = outcomes.unwrap().into_iter().map(|o| o.serial).collect();
        assert_eq!(order, "abcde");
        let error = boot_all(&ready, |_| bail!("no qemu")).unwrap_err();
        assert_eq!(error.to_string(), "no qemu");
    }
}
