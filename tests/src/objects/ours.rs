//! The set through `xdplb-load verify --json`, and what came out held against the sources' headers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Case;
use crate::{balancer, run};

/// The most that loading one object may take, on an emulated machine with a log of 16 MB, too.
const LIMIT: Duration = Duration::from_secs(240);

/// What became of an object: verify's own account.
#[derive(Debug)]
pub struct Verified {
    json: Value,
    /// Its exit code.
    pub code: Option<i32>,
}

/// A program that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The function's name.
    pub name: String,
    /// The kernel's hash of its instructions, in hexadecimal.
    pub tag: String,
    /// Bytes of its instructions after the verifier's rewrites.
    pub xlated: u64,
}

/// Runs `xdplb-load verify` with the case's options.
pub fn verify(case: &Case, object: &Path) -> Result<Verified> {
    let mut command = Command::new(balancer::binary()?);
    command.args(["verify", "--json"]);
    command.args(&case.options).arg(object);
    let output = run::output(command, LIMIT)?;
    let json: Vec<Value> = serde_json::from_str(&output.stdout)
        .with_context(|| format!("no JSON:\n{}{}", output.stdout, output.stderr))?;
    ensure!(!output.stderr.contains("panicked"), "{}", output.stderr);
    Ok(Verified {
        json: json.into_iter().next().context("an empty list")?,
        code: output.code,
    })
}

impl Verified {
    /// The programs that loaded.
    pub fn loaded(&self) -> Vec<Loaded> {
        let programs = list(&self.json["programs"]);
        let loaded = programs.filter(|program| program["ok"] == true);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        loaded
            .map(|program| Loaded {
                name: text(&program["name"]),
                tag: text(&program["tag"]),
                xlated: program["xlated_bytes"].as_u64().unwrap_or(0),
            })
            .collect()
    }

    /// The errors of all that failed: whose, and what it says. The object's own stands first, without a name.
    pub fn errors(&self) -> Vec<(String, String)> {
        let maps = list(&self.json["maps"]);
        std::iter::once(&self.json)
            .chain(maps)
            .chain(list(&self.json["programs"]))
            .filter_map(|one| {
                let error = one["error"].as_str()?.to_owned();
                Some((one["name"].as_str().unwrap_or_default().to_owned(), error))
            })
            .collect()
    }

    /// Everything that differs from what the header says, a line each.
    pub fn differences(&self, case: &Case) -> Vec<String> {
        let mut found = Vec::new();
        let errors = self.errors();
        let loaded: Vec<String> = self.loaded().into_iter().map(|one| one.name).collect();
        let mut ruled_out = 0;
        for program in &case.expect.programs {
            let said = errors.iter().find(|(name, _)| name == program);
            if said.is_some() && case.machine.contains(program) {
                ruled_out += 1;
            } else if !loaded.contains(program) {
                let why = said.map_or("", |(_, error)| error);
                found.push(format!("`{program}` does not load: {why}"));
            }
        }
        if case.expect.refused.is_none() && loaded.len() + ruled_out > case.expect.programs.len() {
            found.push(format!("more loads than expected: {loaded:?}"));
        }
        for (program, text) in &case.expect.fails {
            match errors.iter().find(|(name, _)| name == program) {
                None => found.push(format!("`{program}` does not fail")),
                Some((_, error)) if !error.contains(text) => {
                    found.push(format!("`{program}` fails without `{text}`: {error}"));
                }
                Some(_) => {}
            }
        }
        if let Some(text) = &case.expect.refused
            && !errors.iter().any(|(_, error)| error.contains(text))
        {
            found.push(format!("not refused with `{text}`: {errors:?}"));
        }
        let all = case.expect.all_loads() && ruled_out == 0;
        if self.code != Some(i32::from(!all)) {
            found.push(format!("exit code {:?}: {errors:?}", self.code));
        }
        found.extend(self.differing_maps(case));
        found
    }

    fn differing_maps(&self, case: &Case) -> Vec<String> {
        let mut found = Vec::new();
        for expected in &case.expect.maps {
            let Some(map) = list(&self.json["maps"]).find(|map| map["name"] == *expected.name)
            else {
                found.push(format!("there is no map `{}`", expected.name));
                continue;
            };
            let same = map["type"] == *expected.map_type
                && ["key_size", "value_size", "max_entries"]
                    .iter()
                    .zip(expected.sizes)
                    .all(|(field, size)| size.is_none_or(|size| map[field] == size));
            if !same || map["ok"] != true {
                found.push(format!("map `{}`: {map}", expected.name));
            }
        }
        found
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
