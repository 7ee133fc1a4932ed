//! Kernels under target/kernels: the packages as fetched, and of each kernel what a machine boots from.
//!
//! ```text
//! target/kernels/apt/SUITE/    lists
//! target/kernels/packages/     packages, by their exact file names
//! target/kernels/NAME/         vmlinuz, config, modules/N-NAME.ko in the order of insertion, `packages`: what they came from
//! ```
//! What is there and came from the packages that the lists name is used as it is. Where the archive cannot be asked, what
//! is there is used and the user told; where nothing is there, that is an error.

use super::catalog::{self, Kernel, Series};
use super::suite::{self, Package, Suite};
use crate::{run, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package that depends on the newest kernel for virtual machines.
const META: &str = "linux-image-cloud-amd64";
/// The modules that a network of the tests needs, in the order of insertion.
const MODULES: [&str; 4] = ["llc", "stp", "bridge", "veth"];
/// How the name of an image ends.
const IMAGE: &str = "cpio";
/// Which packages a kernel was made of.
const RECORD: &str = "packages";

/// What a machine boots from.
#[derive(Debug)]
pub struct Bootable {
    /// The kernel's name in the catalog.
    pub name: &'static str,
    /// The compressed kernel.
    pub kernel: PathBuf,
    /// How it was configured; programs may ask for that (`.kconfig`), and these kernels do not carry it themselves.
    pub config: PathBuf,
    /// The modules, in the order of insertion.
    pub modules: Vec<PathBuf>,
}

/// The folder of it all.
pub fn folder() -> PathBuf {
    workspace::target().join("kernels")
}

/// Where the image for a machine of this process is written.
pub fn image_file(name: &str) -> PathBuf {
    folder().join(format!("{name}.{}.{IMAGE}", std::process::id()))
}

/// Whether a file is the image of a process that was killed before it could remove it.
fn is_orphan(name: &str) -> bool {
    let pid = name
        .strip_suffix(IMAGE)
        .and_then(|name| name.trim_end_matches('.').rsplit('.').next());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}

/// Removes packages that no kernel is made of any more, and images of runs that were killed. What is in the way of that is
/// no error: they are only room.
pub fn prune() {
    for entry in fs::read_dir(folder()).into_iter().flatten().flatten() {
        if is_orphan(&entry.file_name().to_string_lossy()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let records: Vec<String> = catalog::ALL
        .iter()
        .filter_map(|kernel| fs::read_to_string(folder().join(kernel.name).join(RECORD)).ok())
        .collect();
    let named = records.iter().flat_map(|record| record.lines());
    for entry in fs::read_dir(folder().join("packages"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        if !named.clone().any(|file| name == file) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A kernel ready to boot: fetched and unpacked, or as it is there.
pub fn bring(kernel: &'static Kernel) -> Result<Bootable> {
    let place = folder().join(kernel.name);
    let there = fs::read_to_string(place.join(RECORD)).ok();
    let found = find(kernel).and_then(|(suite, packages)| {
        let names = record(&packages);
        if there.as_ref() != Some(&names) {
            fetch(&suite, &packages, kernel.name, &names)?;
        }
        Ok(())
    });
    match (found, there) {
        (Ok(()), _) => {}
        (Err(error), Some(packages)) => println!(
            "note: kernel {}: {error:#}\nnote: going on with what was fetched before: {}",
            kernel.name,
            packages.trim_end().replace('\n', ", ")
        ),
        (Err(error), None) => {
            return Err(error.context(format!(
                "kernel {}: not in the cache, and it cannot be fetched",
                kernel.name
            )));
        }
    }
    Bootable::at(kernel.name, &place)
}

/// What was taken of which packages: another list makes the kernel anew.
fn record(packages: &[Package]) -> String {
    let files = packages.iter().map(|package| package.file.as_str());
    let mut lines: Vec<&str> = files.collect();
    let taken = format!("vmlinuz config {}", MODULES.join(" "));
    lines.push(&taken);
    lines.join("\n")
}

impl Bootable {
    fn at(name: &'static str, place: &Path) -> Result<Self> {
        let modules = place.join("modules");
        let mut files: Vec<PathBuf> = fs::read_dir(&modules)
            .with_context(|| modules.display().to_string())?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.sort();
        Ok(Self {
            name,
            kernel: place.join("vmlinuz"),
            config: place.join("config"),
            modules: files,
        })
    }
}

/// The suite that has it, and the packages it is made of.
fn find(kernel: &Kernel) -> Result<(Suite, Vec<Package>)> {
    let archive = suite::archive()?;
    let mut offers = Vec::new();
    for name in kernel.suites {
        let suite = Suite::open(name, &archive, &folder().join("apt"))?;
        let meta = suite.package(META)?;
        let is_it = match kernel.series {
            Series::Of(series) => meta.version.starts_with(series),
            Series::Newest => true,
        };
        if is_it {
            offers.push((suite, meta));
            if kernel.series != Series::Newest {
                break;
            }
        }
    }
    let newest = offers
        .into_iter()
        .max_by_key(|(_, meta)| catalog::numbers(&meta.version));
    let Some((suite, meta)) = newest else {
        bail!("{META} has another version in {}", kernel.suites.join(", "));
    };
    let packages = parts(&meta, |name| suite.package(name))?;
    Ok((suite, packages))
}

/// The packages with the files: the image itself, or, from Linux 7.0 on, those that the image's package brings together.
fn parts(meta: &Package, package: impl Fn(&str) -> Result<Package>) -> Result<Vec<Package>> {
    let needed = |of: &Package, prefix: &str| {
        of.depends
            .iter()
            .find(|name| name.starts_with(prefix) && name.ends_with("-cloud-amd64"))
            .cloned()
    };
    let image = needed(meta, "linux-image-")
        .with_context(|| format!("{META} {}: names no kernel", meta.version))?;
    let image = package(&image)?;
    let split: Option<Vec<String>> = ["linux-base-", "linux-binary-", "linux-modules-"]
        .iter()
        .map(|prefix| needed(&image, prefix))
        .collect();
    match split {
        Some(names) => names.iter().map(|name| package(name)).collect(),
        None => Ok(vec![image]),
    }
}

/// Fetches and unpacks, beside the place and then in one step: a kernel that is half there does not exist.
fn fetch(suite: &Suite, packages: &[Package], name: &str, names: &str) -> Result<()> {
    let (place, debs) = (folder().join(name), folder().join("packages"));
    fs::create_dir_all(&debs).with_context(|| debs.display().to_string())?;
    let scratch = folder().join(format!("{name}.new"));
    clear(&scratch)?;
    let tree = scratch.join("tree");
    fs::create_dir_all(&tree).with_context(|| tree.display().to_string())?;
    for package in packages {
        // A package that the archive has replaced since is asked for again by its new name.
        let file = suite.fetch(package, &debs).or_else(|error| {
            suite.update()?;
            if suite.package(&package.name)?.file == package.file {
                return Err(error);
            }
            bail!("{error:#}\n  try: once more, the lists were too old")
        })?;
        run::ok(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&tree))?;
    }
    let ready = scratch.join("ready");
    fs::create_dir_all(ready.join("modules"))?;
    copy_of(&tree, "vmlinuz", &ready)?;
    copy_of(&tree, "config", &ready)?;
    for (number, module) in MODULES.into_iter().enumerate() {
        copy_module(
            &tree,
            module,
            &ready.join(format!("modules/{number}-{module}.ko")),
        )?;
    }
    fs::write(ready.join(RECORD), names)?;

    clear(&place)?;
    fs::rename(&ready, &place).with_context(|| format!("rename to {}", place.display()))?;
    // From here on the kernel is there.
    clear(&scratch)
}

/// A file that is called so, or so and the kernel's release.
fn copy_of(tree: &Path, name: &str, ready: &Path) -> Result<()> {
    let is_it = |file: &str| {
        let rest = file.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let found = find_file(tree, &is_it)?.with_context(|| format!("the packages hold no {name}"))?;
    fs::copy(&found, ready.join(name)).with_context(|| found.display().to_string())?;
    Ok(())
}

fn copy_module(tree: &Path, module: &str, to: &Path) -> Result<()> {
    let plain = format!("{module}.ko");
    let is_module = |name: &str| name.strip_suffix(".xz").unwrap_or(name) == plain;
    let found = find_file(tree, &is_module)?
        .with_context(|| format!("the packages hold no module {module}"))?;
    if found.extension().is_some_and(|extension| extension == "xz") {
        let file = fs::File::create(to).with_context(|| to.display().to_string())?;
        let status = Command::new("xz")
            .args(["--decompress", "--stdout"])
            .arg(&found)
            .stdout(file)
            .status()
            .context("`xz`: cannot be started")?;
        if !status.success() {
            bail!("`xz --decompress {}`: {status}", found.display());
        }
    } else {
        fs::copy(&found, to).with_context(|| found.display().to_string())?;
    }
    Ok(())
}

/// The first file below `folder` whose name is such a one. Packages hold no links that lead upwards.
fn find_file(folder: &Path, is_it: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && is_it(&entry.file_name().to_string_lossy()) {
                return Ok(Some(entry.path()));
            }
        }
    }
    Ok(None)
}

/// Removes a folder, where there is one.
pub fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn package(name: &str, depends: &[&str]) -> Package {
        Package {
            name: name.into(),
            version: "1".into(),
            depends: depends.iter().map(|name| (*name).to_owned()).collect(),
            file: format!("{name}_1_amd64.deb"),
            size: 1,
        }
    }

    fn names(meta: &[&str], image: &[&str]) -> String {
        let meta = package(META, meta);
        let found = parts(&meta, |name| {
            Ok(package(
                name,
                if name.starts_with("linux-image") {
                    image
                } else {
                    &[]
                },
            ))
        });
        match found {
            Ok(packages) => packages
                .iter()
                .map(|package| package.name.as_str())
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn images_of_processes_that_are_gone_are_told() {
        assert!(is_orphan("5.10.4194999.cpio"));
        assert!(!is_orphan(&format!("5.10.{}.cpio", std::process::id())));
        assert!(!is_orphan("5.10"));
    }

    #[test]
    fn an_image_is_one_package_or_two() {
        assert_eq!(
            names(
                &["linux-image-6.1.0-50-cloud-amd64"],
                &["kmod", "linux-base"]
            ),
            "linux-image-6.1.0-50-cloud-amd64"
        );
        assert_eq!(
            names(
                &[
                    "linux-base-cloud-amd64",
                    "linux-image-7.3.4+deb13-cloud-amd64"
                ],
                &[
                    "dracut",
                    "linux-base-7.3.4+deb13-cloud-amd64",
                    "linux-binary-7.3.4+deb13-cloud-amd64",
                    "linux-modules-7.3.4+deb13-cloud-amd64"
                ]
            ),
            "linux-base-7.3.4+deb13-cloud-amd64 linux-binary-7.3.4+deb13-cloud-amd64 linux-modules-7.3.4+deb13-cloud-amd64"
        );
        assert_eq!(
            names(&["linux-base"], &[]),
            "linux-image-cloud-amd64 1: names no kernel"
        );
    }
}
