//! Runs commands: a step is announced, the command's own output goes through, and a failure says
//! which command it was.

use anyhow::{Context, Result, bail};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a running process is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Says on stdout which step begins, so that a log can be read by its headings.
pub fn step(name: &str) {
    println!("== {name}");
}

/// The command as one would type it: without its environment, and a program of some `bin/` by its name.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = match (program.parent(), program.file_name()) {
        (Some(folder), Some(name)) if folder.ends_with("bin") => Path::new(name),
        _ => program,
    };
    let mut words = vec![name.display().to_string()];
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

/// Runs it with its output going where ours goes.
pub fn ok(command: &mut Command) -> Result<()> {
    let name = format!("`{}`", shown(command));
    ok_as(&name, command)
}

/// The same, for a command whose words would say less than a name.
pub fn ok_as(name: &str, command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{name}: cannot be started"))?;
    if !status.success() {
        bail!("{name}: {status}");
    }
    Ok(())
}

/// Runs it and returns what it wrote to stdout; what it wrote to stderr is the evidence of a failure.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("`{}`: cannot be started", shown(command)))?;
    if !output.status.success() {
        bail!(
            "`{}`: {}{}",
            shown(command),
            output.status,
            evidence(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it for `limit` at most, then ends it (by its id) and reports that as a failure.
pub fn within(limit: Duration, command: &mut Command) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{}`: cannot be started", shown(command)))?;
    // Both pipes are read while it runs: a full one would stop it for ever.
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("`{}`: not done after {} s", shown(command), limit.as_secs());
        }
        thread::sleep(PAUSE);
    };
    Ok(Output {
        status,
        stdout: collect(stdout),
        stderr: collect(stderr),
    })
}

type Reader = thread::JoinHandle<Vec<u8>>;

fn drain(mut pipe: impl Read + Send + 'static) -> Reader {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks ends the output; what came before still counts.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn collect(reader: Option<Reader>) -> Vec<u8> {
    reader
        .and_then(|reader| reader.join().ok())
        .unwrap_or_default()
}

/// What a command wrote to stderr, as indented lines under the error: the last ten, where the cause is.
pub fn evidence(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let omitted = lines.len().saturating_sub(10);
    let mut shown = String::new();
    if omitted > 0 {
        shown.push_str(&format!("\n  ({omitted} earlier lines omitted)"));
    }
    for line in &lines[omitted..] {
        shown.push_str("\n  ");
        shown.push_str(line.trim_end());
    }
    shown
}

/// Where a program lies, in PATH or in the administrator's folders, which a plain user's PATH lacks on Debian.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_shows_its_last_words() {
        let error =
            read(Command::new("sh").args(["-c", "echo no such luck >&2; exit 3"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c echo no such luck >&2; exit 3`: exit status: 3\n  no such luck"
        );
    }

    #[test]
    fn commands_are_shown_as_one_types_them() {
        assert_eq!(
            shown(Command::new("/opt/rust/bin/cargo").arg("build")),
            "cargo build"
        );
        assert_eq!(
            shown(&Command::new("/x/tools/setup.sh")),
            "/x/tools/setup.sh"
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = ok(&mut Command::new("xdplb-no-such-program")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("`xdplb-no-such-program`: cannot be started")
        );
    }

    #[test]
    fn a_named_command_fails_by_its_name() {
        let error = ok_as("xdplb-loader kernel", &mut Command::new("false")).unwrap_err();
        assert_eq!(error.to_string(), "xdplb-loader kernel: exit status: 1");
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let error = within(Duration::from_millis(50), Command::new("sleep").arg("60")).unwrap_err();
        assert_eq!(error.to_string(), "`sleep 60`: not done after 0 s");
    }

    #[test]
    fn long_output_does_not_block() {
        let output = within(
            Duration::from_secs(20),
            Command::new("sh").args(["-c", "head -c 300000 /dev/zero"]),
        )
        .unwrap();
        assert_eq!(output.stdout.len(), 300_000);
    }

    #[test]
    fn evidence_is_the_last_ten_lines() {
        let twelve: String = (1..=12).map(|n| format!("line {n}\n")).collect();
        let shown = evidence(twelve.as_bytes());
        assert!(shown.starts_with("\n  (2 earlier lines omitted)\n  line 3\n"));
        assert!(shown.ends_with("\n  line 12"));
        assert_eq!(evidence(b""), "");
    }

    #[test]
    fn programs_are_found_where_they_lie() {
        assert!(program("sh").is_some());
        assert_eq!(program("xdplb-no-such-program"), None);
    }
}
