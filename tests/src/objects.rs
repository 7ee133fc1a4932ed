//! The object set: the sources under `tests/objects`, each of which says in its first lines what it covers, how it is built
//! and what is to become of it. One list serves the tests on this kernel, those on others, and the table in docs/objects.md.
//!
//! Below the `//!` lines that say what a source covers, it may have these (all optional, one line each):
//!
//! ```text
//! // builds: g = -g, plain =             one object for each, with these flags more; else one, with -g
//! // compiler: old                       clang as the distribution calls it, not the one of the set
//! // options: --type xdp                 what `xdplb-load verify` is told
//! // programs: count, pass               what loads
//! // fails: bad: invalid access          what does not, with a part of its error (a line each)
//! // refused: big-endian                 nothing is loaded, for this reason
//! // maps: seen: hash 4 8 64, x: …       type, key, value, entries of maps that must be there
//! // since: 5.15 = bloom_filter          the first kernel that takes it, and for what it waits
//! // libbpf: legacy map definitions      bpftool refuses it: a part of what it says
//! // differs: libbpf loads it             why programs are not the same as libbpf's
//! // libbpf.plain: failed to …           any of these for one build only
//! // machine: opened, sleepy             of its programs, those that a machine's policy or configuration may rule out
//! ```

mod build;
mod header;
pub mod libbpf;
pub mod ours;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

pub use build::{build, compiler};
pub use header::MapLine;
pub(crate) use header::cases;

/// A source of the set as one of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The source's name, with the build's behind a dot where there are several.
    pub name: String,
    /// The source.
    pub source: PathBuf,
    /// Which line of the field it covers: its first words.
    pub covers: String,
    /// What the compiler is told beside the usual.
    pub flags: Vec<String>,
    /// Which compiler builds it.
    pub compiler: Compiler,
    /// What `xdplb-load verify` is told.
    pub options: Vec<String>,
    /// What is to become of it, on a kernel that is new enough.
    pub expect: Expect,
    /// What to expect on older ones.
    pub since: Option<Since>,
    /// bpftool (libbpf) refuses it, with such a text.
    pub libbpf: Option<String>,
    /// Why its programs are not the same as libbpf's.
    pub differs: Option<String>,
    /// Programs that a machine's policy or configuration may rule out: there nobody loads them.
    pub machine: Vec<String>,
}

/// Who makes an object of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiler {
    /// The clang of the set.
    Clang,
    /// The distribution's own, usually older.
    OldClang,
    /// rustc with our target, linked by our linker.
    Rustc,
}

/// What is to become of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expect {
    /// Programs that load.
    pub programs: Vec<String>,
    /// Programs that do not, with a part of their error.
    pub fails: Vec<(String, String)>,
    /// The object as a whole is refused, with a part of the error.
    pub refused: Option<String>,
    /// Maps that must be there.
    pub maps: Vec<MapLine>,
}

impl Expect {
    /// Whether everything loads: `verify` exits with 0.
    pub fn all_loads(&self) -> bool {
        self.fails.is_empty() && self.refused.is_none()
    }
}

/// The first kernel that takes an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// Major and minor.
    pub kernel: (u32, u32),
    /// What older ones lack.
    pub what: String,
}

impl Case {
    /// Whether a kernel of this version has all that the object asks for.
    pub fn fits(&self, kernel: (u32, u32)) -> bool {
        self.since
            .as_ref()
            .is_none_or(|since| kernel >= since.kernel)
    }

    /// Where its object is (or will be) built.
    pub fn object(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.o", self.name))
    }
}

/// The folder of the sources.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("objects")
}

/// Where objects are built: `target/objects`.
pub fn folder() -> PathBuf {
    // Below the folder that cargo tagged as its cache, wherever it was told to put it.
    let ourselves = std::env::current_exe().unwrap_or_default();
    let tagged = ourselves
        .ancestors()
        .filter(|folder| folder.join("CACHEDIR.TAG").exists())
        .last();
    let target = tagged.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        Path::to_path_buf,
    );
    target.join("objects")
}

/// The running kernel's major and minor number.
pub fn running_kernel() -> Result<(u32, u32)> {
    let system = nix::sys::utsname::uname()?;
    let release = system.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    number()
        .zip(number())
        .with_context(|| format!("a kernel of release {release}"))
}

/// Every case, by name.
pub fn all() -> Result<Vec<Case>> {
    all_in(&sources())
}

/// Every case of the sources in a folder, by name.
pub fn all_in(folder: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if matches!(path.extension().and_then(|e| e.to_str()), Some("c" | "rs")) {
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let found = header::cases(&path, &text);
            cases.extend(found.with_context(|| path.display().to_string())?);
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

/// Puts sources and their objects into a folder, from where they go into the image of another kernel's machine: the sources,
/// because their first lines say what to expect.
pub fn pack<'a>(
    built: impl IntoIterator<Item = (&'a Case, &'a PathBuf)>,
    folder: &Path,
) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (case, object) in built {
        for file in [&case.source, object] {
            let name = file.file_name().unwrap_or_default();
            std::fs::copy(file, folder.join(name)).with_context(|| file.display().to_string())?;
        }
    }
    Ok(())
}

/// An error that names every surprise, where there are any.
pub fn without_surprises(surprises: &[String]) -> Result<()> {
    ensure!(
        surprises.is_empty(),
        "{} surprises\n{}",
        surprises.len(),
        surprises.join("\n")
    );
    Ok(())
}

/// Every case with the path of its object, built where it is not there yet or older than its source.
pub fn built() -> Result<Vec<(Case, PathBuf)>> {
    let folder = folder();
    let cases = all()?;
    build(&cases, &folder)?;
    Ok(cases
        .into_iter()
        .map(|case| {
            let object = case.object(&folder);
            (case, object)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_source_says_what_it_covers_and_what_becomes_of_it() {
        let cases = all().unwrap();
        for case in &cases {
            assert!(case.covers.len() > 10, "{}: {}", case.name, case.covers);
            assert!(
                !case.expect.programs.is_empty() || !case.expect.all_loads(),
                "{}: nothing is expected of it",
                case.name
            );
        }
        let mut names: Vec<&String> = cases.iter().map(|case| &case.name).collect();
        names.dedup();
        assert_eq!(names.len(), cases.len());
    }
}
