//! The set through bpftool, which is libbpf: the second opinion on what an object becomes in the kernel.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::ours::Loaded;
use crate::bpffs::BpfFs;
use crate::run;

const LIMIT: Duration = Duration::from_secs(30);

/// What bpftool made of an object.
#[derive(Debug)]
pub enum Opinion {
    /// Every program of it.
    Loads(Vec<Loaded>),
    /// All that it said.
    Refuses(String),
}

/// `bpftool prog loadall`, in a BPF file system of its own, where nothing stays.
pub fn load(object: &Path) -> Result<Opinion> {
    let files = BpfFs::new()?;
    // A map that asks for a pin gets it where libbpf always looks.
    let mut mount = Command::new("mount");
    mount.args(["-t", "bpf", "bpf", "/sys/fs/bpf"]);
    files.enter(&mut mount)?;
    run::output(mount, LIMIT)?;
    let folder = files.path().join("programs");
    let mut command = Command::new("bpftool");
    command.args(["prog", "loadall"]).arg(object).arg(&folder);
    files.enter(&mut command)?;
    let output = run::output(command, LIMIT)?;
    if output.code != Some(0) {
        return Ok(Opinion::Refuses(output.stdout + &output.stderr));
    }
    let mut programs = Vec::new();
    for pin in files.pins()? {
        if pin.starts_with(&folder) {
            programs.push(show(&files, &pin)?);
        }
    }
    Ok(Opinion::Loads(programs))
}

fn show(files: &BpfFs, pin: &Path) -> Result<Loaded> {
    let mut command = Command::new("bpftool");
    command.args(["-j", "prog", "show", "pinned"]).arg(pin);
    files.enter(&mut command)?;
    let output = run::output(command, LIMIT)?;
    let json: Value = serde_json::from_str(&output.stdout)
        .with_context(|| format!("bpftool prog show: {}{}", output.stdout, output.stderr))?;
    Ok(Loaded {
        // The pin bears the function's name in full; the kernel keeps fifteen bytes of it.
        name: pin
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        tag: json["tag"]
            .as_str()
            .context("a program without a tag")?
            .to_owned(),
        xlated: json["bytes_xlated"]
            .as_u64()
            .context("a program without a length")?,
    })
}

/// The line of its output that says most.
pub fn reason(said: &str) -> &str {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = |line: &&str| {
        line.starts_with("libbpf: ")
            && ![
                "-- BEGIN",
                "failed to load",
                "supported section",
                "Retrying",
                "-- END",
            ]
            .iter()
            .any(|noise| line.contains(noise))
    };
    lines()
        .find(telling)
        .or_else(|| lines().next())
        .unwrap_or("")
}
