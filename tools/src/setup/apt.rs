//! Debian's packages through its own tools: apt-get to fetch and install, apt-cache and dpkg-query to ask.

use crate::kernels::suite;
use crate::privilege::Privilege;
use crate::run;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether this machine has apt.
pub fn here() -> bool {
    run::program("apt-get").is_some() && run::program("dpkg").is_some()
}

/// Installs packages. The lists are fetched where there are none, and again where they turn out too old.
pub fn install(privilege: Privilege, packages: &[&str]) -> Result<()> {
    let attempt = || {
        let what = format!("apt-get install {}", packages.join(" "));
        // debconf asks questions otherwise, and nobody is there to answer.
        let mut command = privilege.command("env", &what)?;
        command.args([
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
        ]);
        run::ok(command.args(packages))
    };
    if packages.iter().all(|package| known(package)) {
        // Lists too old show as packages that the archive no longer has.
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) => println!("{error:#}\nonce more, with fresh lists of packages"),
        }
    }
    let mut update = privilege.command("apt-get", "apt-get update")?;
    run::ok(update.args(["update", "-q"])).context("the lists of packages cannot be fetched")?;
    attempt()
}

/// Whether apt's lists have it.
fn known(package: &str) -> bool {
    run::read(Command::new("apt-cache").args(["show", "--no-all-versions", package]))
        .is_ok_and(|text| !text.trim().is_empty())
}

/// Whether it is installed.
pub fn installed(package: &str) -> bool {
    run::read(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// Lists of packages of our own, from the archives that the machine is set up for. Fetching them and
/// what they name needs no root, changes nothing on the machine, and they are never too old.
pub struct Lists {
    folder: PathBuf,
    /// A suite that comes before the machine's own.
    first: Option<String>,
}

impl Lists {
    /// Fetches them into a folder.
    pub fn fetch(folder: &Path) -> Result<Lists> {
        Self::fetch_from(folder, None)
    }

    /// The same with the backports to the machine's release of Debian, which come first.
    pub fn fetch_backports(folder: &Path) -> Result<Lists> {
        let system = std::fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
        let suite = format!("{}-backports", codename(&system)?);
        Self::fetch_from(folder, Some(suite))
    }

    fn fetch_from(folder: &Path, first: Option<String>) -> Result<Lists> {
        let lists = Lists {
            folder: folder.to_owned(),
            first,
        };
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            std::fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
        }
        if let Some(suite) = &lists.first {
            // The machine's other sources lie in a folder, and stay.
            let own = std::fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
            let more = suite::source(&suite::archive()?, suite);
            let file = lists.sources();
            std::fs::write(&file, format!("{own}\n{more}"))
                .with_context(|| file.display().to_string())?;
        }
        run::read(lists.apt("apt-get").args(["update", "-q"]))
            .context("the lists of packages cannot be fetched")?;
        Ok(lists)
    }

    fn sources(&self) -> PathBuf {
        self.folder.join("sources.list")
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(suite) = &self.first {
            let sources = self.sources();
            command.arg("-o");
            command.arg(format!("Dir::Etc::SourceList={}", sources.display()));
            command
                .arg("-o")
                .arg(format!("APT::Default-Release={suite}"));
        }
        command.arg("-o").arg(format!(
            "Dir::State::Lists={}",
            self.folder.join("lists").display()
        ));
        command.arg("-o").arg(format!(
            "Dir::Cache={}",
            self.folder.join("cache").display()
        ));
        if Privilege::of_this_process() == Privilege::Root {
            // As root apt hands the fetching to the user _apt, who may not write here.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
    }

    /// The first number of a package's version.
    pub fn major(&self, package: &str) -> Result<u32> {
        let mut command = self.apt("apt-cache");
        command.args(["show", "--no-all-versions", package]);
        let text = run::read(&mut command)?;
        major(&text).with_context(|| format!("the version of package {package}"))
    }

    /// The packages that a package needs to run.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        Ok(parse_depends(&run::read(self.apt("apt-cache").args([
            "depends",
            "--important",
            package,
        ]))?))
    }

    /// Fetches packages into a folder without installing them.
    pub fn download(&self, packages: &[String], folder: &Path) -> Result<()> {
        run::ok(
            self.apt("apt-get")
                .args(["download", "-q"])
                .args(packages)
                .current_dir(folder),
        )
    }
}

/// `bookworm`, as /etc/os-release has it.
fn codename(system: &str) -> Result<&str> {
    let line = system
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.map(|name| name.trim_matches('"'))
        .context("/etc/os-release: no VERSION_CODENAME")
}

/// `Version: 1:7.2+dfsg-7` is 7: what stands before a colon says which way of counting it is.
fn major(text: &str) -> Option<u32> {
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("Version: "))?;
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// `  Depends: a`, ` |Depends: a` (or the next line's), `  PreDepends: a`; `<a>` is a virtual package,
/// and the lines below it, further in, are those that provide it.
fn parse_depends(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut alternative = false;
    for line in text.lines() {
        let open = line.starts_with(" |");
        let Some((kind, name)) = line.trim_start_matches([' ', '|']).split_once(": ") else {
            continue;
        };
        if !matches!(kind, "Depends" | "PreDepends") {
            continue;
        }
        // Of alternatives the first is the one that Debian prefers.
        if !alternative && !name.starts_with('<') {
            found.push(name.to_owned());
        }
        alternative = open;
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn dependencies_are_read() {
        let text = "rustc-web\n  PreDepends: dpkg\n  Depends: libc6\n  Depends: gcc\n  Depends: <libc-dev>\n    libc6-dev\n \
                    |Depends: libllvm22\n  Depends: libllvm21\n  Depends: binutils\n  Conflicts: rustc\n";
        assert_eq!(
            parse_depends(text),
            ["dpkg", "libc6", "gcc", "libllvm22", "binutils"]
        );
        assert!(parse_depends("").is_empty());
    }

    #[test]
    fn versions_and_releases_are_read() {
        assert_eq!(major("Package: q\nVersion: 1:7.2+dfsg-7\n"), Some(7));
        assert_eq!(major("Version: 10.0.2-1\n"), Some(10));
        assert_eq!(major("Package: q\n"), None);
        let system = "NAME=\"Debian\"\nVERSION_CODENAME=bookworm\n";
        assert_eq!(codename(system).unwrap(), "bookworm");
        assert!(codename("NAME=x\n").is_err());
    }
}
