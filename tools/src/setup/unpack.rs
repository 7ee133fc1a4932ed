//! Debian's packages, unpacked where they disturb nobody. Installed, rustc's would conflict with Debian's other rustc and
//! with rustup, and qemu's would remove other packages from some machines; unpacked under target/ they are plain files.

use super::{apt, qemu};
use crate::run;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to unpack. Whatever version apt offers.
pub struct Tree {
    /// The packages asked for; what they need to run comes with them, where the machine has not got it.
    wanted: &'static [&'static str],
    /// What they need only for what is never done with them here.
    unneeded: &'static [&'static str],
    /// The oldest version that will do; where the machine's release has an older one, its backports are asked.
    oldest: u32,
    /// Packages with names that begin so must lie in the same tree, even where the machine has them too.
    together: &'static str,
}

/// The compiler, its sysroot, and the source of `core` that belongs to it. It links nothing for the host.
pub const RUSTC: Tree = Tree {
    wanted: &["rustc-web", "libstd-rust-web-dev", "rust-web-src"],
    unneeded: &["gcc", "binutils", "libc6-dev"],
    oldest: 1,
    together: "libstd-rust",
};

/// The emulator for x86-64, with the firmware of its small machines, and no other machine's.
pub const QEMU: Tree = Tree {
    wanted: &["qemu-system-x86"],
    unneeded: &["ipxe-qemu", "seabios", "qemu-system-modules-spice"],
    oldest: qemu::OLDEST,
    together: "qemu-system-",
};

/// What the bench compares with.
pub const PEERS: Tree = Tree {
    wanted: &["nginx", "libnginx-mod-stream", "haproxy", "nftables"],
    unneeded: &[
        "adduser",
        "lsb-base",
        "sysvinit-utils",
        "init-system-helpers",
    ],
    oldest: 1,
    together: "libnginx-mod-",
};

/// Brings them to `place`, all or nothing: they are unpacked beside it, and the finished folder is renamed.
pub fn unpack(tree: &Tree, place: &Path) -> Result<()> {
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
    let mut lists = apt::Lists::fetch(&beside.join("apt"))?;
    if lists.major(tree.wanted[0])? < tree.oldest {
        lists = apt::Lists::fetch_backports(&beside.join("backports"))?;
    }
    let packages: Vec<String> = closure(tree, |package| lists.depends(package), apt::installed)?
        .into_iter()
        .collect();
    println!("fetching {}", packages.join(" "));
    lists.download(&packages, &debs)?;
    let files = beside.join("tree");
    extract(&debs, &files)?;

    clear(place)?;
    fs::rename(&files, place).with_context(|| format!("rename to {}", place.display()))?;
    // From here on the tree is whole.
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
    tree: &Tree,
    depends: impl Fn(&str) -> Result<Vec<String>>,
    installed: impl Fn(&str) -> bool,
) -> Result<BTreeSet<String>> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = tree.wanted.iter().map(|name| (*name).to_owned()).collect();
    while let Some(package) = open.pop() {
        if !found.insert(package.clone()) {
            continue;
        }
        for need in depends(&package)? {
            if tree.unneeded.contains(&need.as_str()) {
                continue;
            }
            if need.starts_with(tree.together) || !installed(&need) {
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
        let found = closure(&RUSTC, depends, installed).unwrap();
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
