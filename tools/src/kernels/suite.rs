//! A suite of Debian that the machine is not set up for, by a private configuration of apt: its lists and packages are
//! fetched from the archive that the machine itself uses, through the proxy that it uses, and checked against Debian's
//! keys; nothing of the machine's own changes.

use crate::privilege::Privilege;
use crate::run;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Debian's keys, of the package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Lists younger than this are not asked for again.
const FRESH: Duration = Duration::from_secs(24 * 3600);
/// Fetching takes seconds; apt itself gives up a silent server after 30 s, and tries several addresses.
const PATIENCE: Duration = Duration::from_secs(600);

/// A package as the lists describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The packages that it needs, first alternatives only.
    pub depends: Vec<String>,
    /// The file's name.
    pub file: String,
    /// The file's size in bytes.
    pub size: u64,
}

/// A suite with its lists.
pub struct Suite {
    name: String,
    folder: PathBuf,
}

/// Where Debian's own archive lies, as the machine's apt has it.
pub fn archive() -> Result<String> {
    let format = "$(REPO_URI)\t$(RELEASE)\t$(LABEL)\t$(COMPONENT)";
    let targets = run::read(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))
    .context("where apt fetches from")?;
    match main_archive(&targets) {
        Some(archive) => Ok(archive.to_owned()),
        None => bail!(
            "apt is set up for no archive of Debian's (component main){}\n  try: a machine with Debian's sources",
            run::evidence(targets.as_bytes())
        ),
    }
}

/// The line that makes apt take packages of a suite, signed by Debian.
pub fn source(archive: &str, suite: &str) -> String {
    let keys = if Path::new(KEYRING).exists() {
        format!("[signed-by={KEYRING}] ")
    } else {
        // Then apt's own keys decide, as for the machine's sources.
        String::new()
    };
    format!("deb {keys}{archive} {suite} main\n")
}

/// The first that is labelled `Debian`; before the first `apt-get update` there are no labels, and security updates are
/// known by their suite's name.
fn main_archive(targets: &str) -> Option<&str> {
    let rows: Vec<Vec<&str>> = targets
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let find = |is_it: fn(&str, &str) -> bool| {
        rows.iter().find_map(|row| match row[..] {
            [uri, release, label, "main"] if is_it(release, label) => Some(uri),
            _ => None,
        })
    };
    find(|_, label| label == "Debian").or_else(|| {
        find(|release, label| {
            let security = release.ends_with("-security") || release.contains('/');
            label.is_empty() && !security
        })
    })
}

impl Suite {
    /// Its lists, from `folder` where they are there and fresh, else from the archive.
    pub fn open(name: &str, archive: &str, folder: &Path) -> Result<Self> {
        let suite = Self {
            name: name.to_owned(),
            folder: folder.join(name),
        };
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = suite.folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
        }
        let source = source(archive, name);
        let list = suite.folder.join("sources.list");
        // Another archive has lists of its own.
        if fs::read_to_string(&list).ok().as_ref() != Some(&source) || !suite.is_fresh() {
            fs::write(&list, &source).with_context(|| list.display().to_string())?;
            suite.update()?;
        }
        Ok(suite)
    }

    fn stamp(&self) -> PathBuf {
        self.folder.join("updated")
    }

    fn is_fresh(&self) -> bool {
        let age = || {
            self.stamp()
                .metadata()
                .ok()?
                .modified()
                .ok()?
                .elapsed()
                .ok()
        };
        age().is_some_and(|age| age < FRESH)
    }

    /// Asks the archive for what changed.
    pub fn update(&self) -> Result<()> {
        println!("fetching the lists of {}", self.name);
        let mut command = self.apt("apt-get");
        // An update that fetched only a part is an error, not a warning.
        command.args(["update", "-q", "-o", "APT::Update::Error-Mode=any"]);
        let output = run::within(PATIENCE, &mut command)?;
        if !output.status.success() {
            bail!(
                "the lists of suite {} cannot be fetched: {}{}",
                self.name,
                output.status,
                run::evidence(&output.stderr)
            );
        }
        fs::write(self.stamp(), "").with_context(|| self.stamp().display().to_string())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut set = |name: &str, value: &Path| {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        };
        set("Dir::Etc::SourceList", &self.folder.join("sources.list"));
        set("Dir::Etc::SourceParts", Path::new("/dev/null"));
        // The machine's preferences are about its own suites.
        set("Dir::Etc::Preferences", Path::new("/dev/null"));
        set("Dir::Etc::PreferencesParts", Path::new("/dev/null"));
        set("Dir::State::Lists", &self.folder.join("lists"));
        set("Dir::State::Status", Path::new("/dev/null"));
        set("Dir::Cache", &self.folder.join("cache"));
        // Lists for programs with windows, which some machines ask for, are as large as those of packages.
        command.args([
            "-o",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        ]);
        command.args(["-o", "Acquire::Retries=2"]);
        if Privilege::of_this_process() == Privilege::Root {
            // As root apt hands the fetching to the user _apt, who may not write here.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
    }

    /// What the lists say of a package.
    pub fn package(&self, name: &str) -> Result<Package> {
        let mut command = self.apt("apt-cache");
        command.args(["show", "--no-all-versions", name]);
        let text = run::read(&mut command)
            .with_context(|| format!("suite {} has no package {name}", self.name))?;
        parse(&text).with_context(|| format!("suite {}, package {name}", self.name))
    }

    /// Fetches a package into a folder, where it is not there already. apt compares it with the signed list.
    pub fn fetch(&self, package: &Package, folder: &Path) -> Result<PathBuf> {
        let file = folder.join(&package.file);
        if file.metadata().is_ok_and(|data| data.len() == package.size) {
            return Ok(file);
        }
        println!(
            "fetching {} from {} ({:.1} MB)",
            package.file,
            self.name,
            package.size as f64 / 1e6
        );
        let mut command = self.apt("apt-get");
        command
            .args(["download", "-q"])
            .arg(format!("{}={}", package.name, package.version))
            .current_dir(folder);
        let output = run::within(PATIENCE, &mut command)?;
        let there = file.metadata().is_ok_and(|data| data.len() == package.size);
        if !output.status.success() || !there {
            bail!(
                "package {} {} of suite {} cannot be fetched: {}{}",
                package.name,
                package.version,
                self.name,
                output.status,
                run::evidence(&output.stderr)
            );
        }
        Ok(file)
    }
}

/// `Key: value` lines of the first paragraph.
fn parse(text: &str) -> Result<Package> {
    let field = |key: &str| {
        text.lines()
            .take_while(|line| !line.is_empty())
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
    };
    let need = |key: &str| field(key).with_context(|| format!("no field `{key}`"));
    let path = need("Filename")?;
    Ok(Package {
        name: need("Package")?.to_owned(),
        version: need("Version")?.to_owned(),
        depends: depends(field("Depends").unwrap_or_default()),
        file: path.rsplit('/').next().unwrap_or(path).to_owned(),
        size: need("Size")?.parse().context("field `Size`")?,
    })
}

/// The names in `a (>= 1), b | c, d`: a, b, d.
fn depends(text: &str) -> Vec<String> {
    text.split(',')
        .filter_map(|need| need.split('|').next()?.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_archive_is_debians_own() {
        let labelled = "http://x/security/\ttrixie-security\tDebian-Security\tmain\n\
                        http://x/other/\tstable\tOther\tmain\n\
                        http://x/debian/\ttrixie\tDebian\tcontrib\n\
                        http://x/debian/\ttrixie\tDebian\tmain\n";
        assert_eq!(main_archive(labelled), Some("http://x/debian/"));
        let never_updated = "http://x/security/\ttrixie-security\t\tmain\n\
                             http://x/flat/\t./\t\t\nhttp://x/debian/\ttrixie\t\tmain\n";
        assert_eq!(main_archive(never_updated), Some("http://x/debian/"));
        assert_eq!(main_archive("http://x/\tnodistro\tNode\tmain\n"), None);
        assert_eq!(main_archive(""), None);
    }

    #[test]
    fn a_package_is_read() {
        let text = "Package: linux-image-7.2.13+deb14-cloud-amd64\nVersion: 7.2.13-1\nSize: 1916\n\
                    Depends: dracut | initramfs-tools (>= 0.120), linux-binary-7.2.13+deb14-cloud-amd64 (= 7.2.13-1)\n\
                    Filename: pool/main/l/linux/linux-image-7.2.13+deb14-cloud-amd64_7.2.13-1_amd64.deb\n\nPackage: other\n";
        let package = parse(text).unwrap();
        assert_eq!(
            package.depends,
            ["dracut", "linux-binary-7.2.13+deb14-cloud-amd64"]
        );
        assert_eq!(
            (package.file.as_str(), package.size),
            (
                "linux-image-7.2.13+deb14-cloud-amd64_7.2.13-1_amd64.deb",
                1916
            )
        );
        let error = parse("Package: x\nVersion: 1\n").unwrap_err();
        assert_eq!(error.to_string(), "no field `Filename`");
    }
}
