//! A reader's shell: the commands of pages, run in order, in a folder that looks like a checkout.
//!
//! What a page starts or makes (processes, network namespaces, mounts, pins) is in namespaces of the page's own, and goes
//! with its shell, however that ends. Files stay for the next page.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::compare::{Numbers, difference};
use super::{Kind, Page, Run, root};
use crate::files::Folder;
use crate::{balancer, objects, run};

/// How long a page may take, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(300);

/// What every page's shell does first: see the top of this file.
const HEAD: &str = r#"
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
ip link set dev lo up
cd "$SESSION_FOLDER"
"#;

/// A checkout with nothing built in it but the two programs, for one reader.
#[derive(Debug)]
pub struct Session {
    folder: Folder,
}

/// A command that did not do what its page says.
#[derive(Debug)]
pub struct Failure {
    /// File and line of its block.
    pub place: String,
    /// The command, and what differs.
    pub what: String,
}

/// One command of a page, with its number in the session.
struct Step {
    place: String,
    command: String,
    expected: String,
    run: Run,
    last: bool,
}

impl Session {
    /// Makes a folder that shows the repository's files, with a `target` of its own.
    pub fn new() -> Result<Self> {
        let session = Self {
            folder: Folder::new()?,
        };
        let checkout = session.checkout();
        let target = checkout.join("target");
        std::fs::create_dir_all(target.join("try"))?;
        std::fs::create_dir_all(session.path("bin"))?;
        std::fs::create_dir_all(session.path("out"))?;
        for entry in std::fs::read_dir(root())? {
            let entry = entry?;
            if entry.file_name() != "target" && entry.file_name() != ".git" {
                symlink(entry.path(), checkout.join(entry.file_name()))?;
            }
        }
        let built = objects::folder();
        let built = built
            .parent()
            .context("the objects lie in no target folder")?;
        for name in ["bpf", "objects"] {
            symlink(built.join(name), target.join(name))?;
        }
        let load = balancer::binary()?;
        let link = load.with_file_name("xdplb-ld");
        ensure!(
            link.is_file(),
            "{}: the linker lies beside the loader\n  try: cargo xtask build",
            link.display()
        );
        symlink(load.canonicalize()?, session.path("bin/xdplb-load"))?;
        symlink(link.canonicalize()?, session.path("bin/xdplb-ld"))?;
        // For readers, who are not root yet.
        let sudo = session.path("bin/sudo");
        std::fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n")?;
        std::fs::set_permissions(&sudo, Permissions::from_mode(0o755))?;
        Ok(session)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn checkout(&self) -> PathBuf {
        self.path("xdplb")
    }

    /// Runs the commands of a page and says which did not do what it says.
    ///
    /// # Errors
    /// The page makes no sense, or its shell could not be started or did not end in time.
    pub fn play(&self, page: &Page) -> Result<Vec<Failure>> {
        let mut script = String::from("set +e\n");
        script.push_str(HEAD);
        let mut steps: Vec<Step> = Vec::new();
        for block in &page.blocks {
            let place = page.place(block.line);
            match &block.kind {
                Kind::Shown | Kind::NotRun(_) => {}
                Kind::File(path) => {
                    let copy = self.path(&format!("out/file-{}", block.line));
                    std::fs::write(&copy, &block.text)?;
                    writeln!(script, "cp '{}' '{path}'", copy.display())?;
                }
                Kind::Run(run) => {
                    let commands = block.commands().with_context(|| place.clone())?;
                    let count = commands.len();
                    for (number, command) in commands.into_iter().enumerate() {
                        let out = self.path(&format!("out/{}", steps.len()));
                        let out = out.display();
                        writeln!(
                            script,
                            "{{\n{}\n}} >'{out}' 2>&1 </dev/null; echo $? >'{out}.code'",
                            command.command
                        )?;
                        steps.push(Step {
                            place: place.clone(),
                            command: command.command,
                            expected: command.expected,
                            run: *run,
                            last: number + 1 == count,
                        });
                    }
                }
            }
        }
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        let result = self.shell(&script);
        let failures = steps.iter().enumerate();
        let failures = failures.filter_map(|(number, step)| self.judge(number, step));
        let failures: Vec<Failure> = failures.collect();
        match (result, failures.first()) {
            (Err(error), Some(first)) => {
                Err(error.context(format!("{}: {}", first.place, first.what)))
            }
            (Err(error), None) => Err(error),
            (Ok(()), _) => Ok(failures),
        }
    }

    /// A command as the reader would start it: in the checkout, with the two programs in the PATH.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let bin = self.path("bin").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{bin}:{path}"));
        command.current_dir(self.checkout());
        command
    }

    fn shell(&self, script: &str) -> Result<()> {
        let file = self.path("script");
        std::fs::write(&file, script)?;
        let mut command = self.command("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child"]);
        command.args(["--mount-proc", "bash"]).arg(&file);
        command.env("SESSION_FOLDER", self.checkout());
        // Pages show what a terminal without colours shows.
        command.env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1");
        command.stdin(Stdio::null());
        let output = run::output(command, LIMIT)?;
        ensure!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "the page's shell: {}{}",
            output.stdout,
            output.stderr
        );
        Ok(())
    }

    fn judge(&self, number: usize, step: &Step) -> Option<Failure> {
        let out = self.path(&format!("out/{number}"));
        let printed = std::fs::read(&out).unwrap_or_default();
        // A path in the session is one in the checkout to the reader.
        let here = format!("{}/", self.checkout().display());
        let printed = String::from_utf8_lossy(&printed).replace(&here, "");
        let code = std::fs::read_to_string(code_file(&out)).unwrap_or_default();
        let failure = |what: String| {
            Some(Failure {
                place: step.place.clone(),
                what: format!("$ {}\n{what}", step.command),
            })
        };
        let numbers = if step.run.exact {
            Numbers::Exact
        } else {
            Numbers::Masked
        };
        if let Some(difference) = difference(&step.expected, &printed, numbers) {
            return failure(difference);
        }
        let fails = step.run.fails && step.last;
        match code.trim() {
            "" => failure("  it was not reached, or did not end".into()),
            "0" if fails => failure("  it succeeds, and the page says that it fails".into()),
            "0" => None,
            code if !fails => failure(format!("  exit code {code}\n{printed}")),
            _ => None,
        }
    }
}

fn code_file(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".code");
    name.into()
}
