//! Debian's rustc, unpacked where it disturbs nobody. Installed, its packages would conflict with
//! Debian's other rustc and with rustup; unpacked under target/ they are plain files.

use super::apt;
use crate::run;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler, its sysroot, and the source of `core` that belongs to it. Whatever version apt offers.
const WANTED: [&str; 3] = ["rustc-web", "libstd-rust-web-dev", "rust-web-src"];

/// What rustc needs only to link for the host, which this one never does.
const FOR_LINKING: [&str; 3] = ["gcc", "binutils", "libc6-dev"];

/// Brings them to `place`, all or nothing: they are unpacked beside it, and the finished folder is renamed.
pub fn unpack(place: &Path) -> Result<()> {
    let beside = place.with_extension("new");
    let parent = place.parent().context("no folder to unpack in")?;
    fs::create_dir_all(parent)?;
    // One setup at a time; the lock goes with the process, however that ends.
    let lock = File::create(place.with_extension("lock"))?;
    lock.lock()
        .with_context(|| format!("lock {}", place.with_extension("lock").display()))?;

    clear(&beside)?;
    let debs = beside.join("debs");
    fs::create_dir_all(&debs)?;
    let lists = apt::Lists::fetch(&beside.join("apt"))?;
    let packages: Vec<String> = closure(|package| lists.depends(package), apt::installed)?
        .into_iter()
        .collect();
    println!("fetching {}", packages.join(" "));
    lists.download(&packages, &debs)?;
    let tree = beside.join("tree");
    extract(&debs, &tree)?;

    clear(place)?;
    fs::rename(&tree, place).with_context(|| format!("rename to {}", place.display()))?;
    // From here on the toolchain is whole.
    clear(&beside)
}

fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// What we want, and what that needs to run and the machine does not have.
fn closure(
    depends: impl Fn(&str) -> Result<Vec<String>>,
    installed: impl Fn(&str) -> bool,
) -> Result<BTreeSet<String>> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = WANTED.map(str::to_owned).into();
    while let Some(package) = open.pop() {
        if !found.insert(package.clone()) {
            continue;
        }
        for need in depends(&package)? {
            // The sysroot's packages must lie together, even where the system has them too.
            let ours = need.starts_with("libstd-rust");
            if ours || !(FOR_LINKING.contains(&need.as_str()) || installed(&need)) {
                open.push(need);
            }
        }
    }
    Ok(found)
}

fn extract(debs: &Path, tree: &Path) -> Result<()> {
    let mut packages: Vec<PathBuf> = fs::read_dir(debs)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    packages.sort();
    if packages.is_empty() {
        bail!("apt-get download fetched nothing");
    }
    fs::create_dir_all(tree.join("usr/lib"))?;
    for package in packages {
        run::ok(Command::new("dpkg").arg("-x").arg(package).arg(tree))?;
    }
    // Before Debian 13 some libraries are packed for /lib; they belong beside the others, in the one
    // folder that LD_LIBRARY_PATH names.
    merge(&tree.join("lib"), &tree.join("usr/lib"))
}

/// Moves what lies in `from`, if that exists, into `to`, folder into folder.
fn merge(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = from.read_dir() else {
        return Ok(());
    };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            merge(&entry.path(), &target)?;
        } else {
            fs::rename(entry.path(), &target).with_context(|| target.display().to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_closure_is_what_the_machine_lacks() {
        let depends = |package: &str| {
            let needs: &[&str] = match package {
                "rustc-web" => &["libc6", "gcc", "libstd-rust-web-dev"],
                "libstd-rust-web-dev" => &["libstd-rust-web-1.96"],
                "libstd-rust-web-1.96" => &["libc6", "libllvm22"],
                "libllvm22" => &["libedit2", "zlib1g"],
                "libedit2" => &["libbsd0", "libedit2"],
                _ => &[],
            };
            Ok(needs.iter().map(|need| (*need).to_owned()).collect())
        };
        let installed =
            |package: &str| ["libc6", "zlib1g", "libstd-rust-web-1.96"].contains(&package);
        let found = closure(depends, installed).unwrap();
        let names: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "libbsd0",
                "libedit2",
                "libllvm22",
                "libstd-rust-web-1.96",
                "libstd-rust-web-dev",
                "rust-web-src",
                "rustc-web"
            ]
        );
    }

    #[test]
    fn folders_are_merged() {
        let folder = std::env::temp_dir().join(format!("xdplb-merge-{}", std::process::id()));
        let (from, to) = (folder.join("lib"), folder.join("usr/lib"));
        fs::create_dir_all(from.join("x")).unwrap();
        fs::create_dir_all(to.join("x")).unwrap();
        fs::write(from.join("x/libz.so.1"), "z").unwrap();
        fs::write(to.join("x/libllvm.so"), "llvm").unwrap();
        merge(&from, &to).unwrap();
        merge(&folder.join("absent"), &to).unwrap();
        let merged = [to.join("x/libz.so.1"), to.join("x/libllvm.so")]
            .map(|file| fs::read_to_string(file).unwrap());
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(merged, ["z", "llvm"]);
    }
}
