//! The first lines of a source: what it covers, how it is built, what is to become of it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{Case, Compiler, Expect, Since};

/// A map that must be there, as the header says it: type, key and value in bytes, entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapLine {
    /// The map's name.
    pub name: String,
    /// Its type, as bpftool and `verify` spell it.
    pub map_type: String,
    /// Bytes of a key, bytes of a value, entries; None where the machine decides (`*`).
    pub sizes: [Option<u32>; 3],
}

/// The cases of a source: one for each build.
pub(crate) fn cases(path: &Path, text: &str) -> Result<Vec<Case>> {
    let directives = || {
        let lines = text.lines().skip_while(|line| line.starts_with("//!"));
        lines.map_while(|line| line.strip_prefix("// "))
    };
    let rust = path.extension().is_some_and(|e| e == "rs");
    let builds = directives().find_map(|line| line.strip_prefix("builds:"));
    let builds = match builds {
        Some(builds) => list(builds).map(build).collect::<Result<_>>()?,
        None => vec![(String::new(), words(if rust { "" } else { "-g" }))],
    };
    builds
        .into_iter()
        .map(|(build, flags)| case(path, text, directives(), build, flags))
        .collect()
}

/// The case of one build.
fn case<'a>(
    path: &Path,
    text: &str,
    directives: impl Iterator<Item = &'a str>,
    build: String,
    flags: Vec<String>,
) -> Result<Case> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .context("a name that is not text")?;
    let rust = path.extension().is_some_and(|e| e == "rs");
    let head = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim);
    let mut case = Case {
        name: if build.is_empty() {
            stem.to_owned()
        } else {
            format!("{stem}.{build}")
        },
        source: path.to_path_buf(),
        covers: head.collect::<Vec<_>>().join(" "),
        flags,
        compiler: if rust {
            Compiler::Rustc
        } else {
            Compiler::Clang
        },
        options: Vec::new(),
        expect: Expect::default(),
        since: None,
        libbpf: None,
        differs: None,
        machine: Vec::new(),
    };
    for line in directives {
        let (key, value) = line
            .split_once(':')
            .with_context(|| format!("`{line}`: no `key: value`"))?;
        let value = value.trim();
        let key = match key.split_once('.') {
            Some((_, of)) if of != build => continue,
            Some((key, _)) => key,
            None => key,
        };
        match key {
            "builds" => {}
            "compiler" => {
                ensure!(value == "old", "compiler: `old` is all that can be said");
                case.compiler = Compiler::OldClang;
            }
            "options" => case.options = words(value),
            "programs" => case.expect.programs.extend(list(value).map(str::to_owned)),
            "differs" => case.differs = Some(value.to_owned()),
            "machine" => case.machine = list(value).map(str::to_owned).collect(),
            "fails" => {
                let (program, error) = value.split_once(": ").context("fails: PROGRAM: TEXT")?;
                let failure = (program.to_owned(), error.to_owned());
                case.expect.fails.push(failure);
            }
            "refused" => case.expect.refused = Some(value.to_owned()),
            "maps" => {
                let maps: Result<Vec<_>> = list(value).map(map).collect();
                case.expect.maps.extend(maps?);
            }
            "since" => case.since = Some(since(value)?),
            "libbpf" => case.libbpf = Some(value.to_owned()),
            _ => bail!("`{key}` is no key of a header"),
        }
    }
    Ok(case)
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn words(value: &str) -> Vec<String> {
    value.split_whitespace().map(str::to_owned).collect()
}

/// `g = -g`
fn build(item: &str) -> Result<(String, Vec<String>)> {
    let (name, flags) = item.split_once('=').context("builds: NAME = FLAGS")?;
    Ok((name.trim().to_owned(), words(flags)))
}

/// `seen: hash 4 8 64`
fn map(item: &str) -> Result<MapLine> {
    let (name, rest) = item
        .split_once(':')
        .context("maps: NAME: TYPE KEY VALUE ENTRIES")?;
    let [map_type, key, value, entries] = rest.split_whitespace().collect::<Vec<_>>()[..] else {
        bail!("maps: `{item}`: a type and three numbers are wanted");
    };
    let size = |word: &str| match word {
        "*" => Ok(None),
        number => number.parse().map(Some).with_context(|| item.to_owned()),
    };
    Ok(MapLine {
        name: name.trim().to_owned(),
        map_type: map_type.to_owned(),
        sizes: [size(key)?, size(value)?, size(entries)?],
    })
}

/// `5.15 = bloom_filter`
fn since(value: &str) -> Result<Since> {
    let (kernel, what) = value.split_once('=').context("since: KERNEL = WHAT")?;
    let (major, minor) = kernel
        .trim()
        .split_once('.')
        .context("since: MAJOR.MINOR")?;
    Ok(Since {
        kernel: (major.parse()?, minor.parse()?),
        what: what.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_header_gives_a_case_for_each_build() {
        let text = "//! Maps of\n//! two kinds.\n// builds: g = -g, plain =\n// options: --type xdp\n// programs: a, b\n\
                    // fails: c: invalid access, off\n// maps: m: array 4 * 1\n// since: 5.15 = loop\n#include \"x\"\n// not: read\n";
        let cases = cases(Path::new("/x/maps.c"), text).unwrap();
        let names: Vec<&str> = cases.iter().map(|case| &*case.name).collect();
        assert_eq!(names, ["maps.g", "maps.plain"]);
        let case = &cases[0];
        assert_eq!(case.covers, "Maps of two kinds.");
        assert_eq!((&*case.flags[0], case.options.len()), ("-g", 2));
        assert_eq!(case.expect.programs, ["a", "b"]);
        let (program, error) = &case.expect.fails[0];
        assert_eq!((&**program, &**error), ("c", "invalid access, off"));
        assert_eq!(case.expect.maps[0].sizes, [Some(4), None, Some(1)]);
        assert!(case.fits((5, 15)) && case.fits((6, 1)) && !case.fits((5, 10)));
    }

    #[test]
    fn what_a_header_cannot_say_is_refused() {
        for (text, error) in [
            ("//! X\n// color: red\n", "`color` is no key of a header"),
            ("//! X\n// a sentence\n", "`a sentence`: no `key: value`"),
            (
                "//! X\n// maps: m: array 4\n",
                "maps: `m: array 4`: a type and three numbers are wanted",
            ),
        ] {
            let found = cases(Path::new("/x/maps.c"), text).unwrap_err();
            assert_eq!(found.to_string(), error);
        }
    }
}
