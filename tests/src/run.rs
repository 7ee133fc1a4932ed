//! Commands that end in time: what they printed, how they ended.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; None when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a command that needs no input.
pub fn output(mut command: Command, limit: Duration) -> Result<Output> {
    command.stdin(Stdio::null());
    with_input(command, limit, |_| Ok(()))
}

/// Runs a command and gives it its input, where it was made with `Stdio::piped()`.
pub fn with_input(
    mut command: Command,
    limit: Duration,
    feed: impl FnOnce(&mut ChildStdin) -> std::io::Result<()>,
) -> Result<Output> {
    let name = command.get_program().display().to_string();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends before it has read everything says on stderr why.
        let _ = feed(&mut stdin);
    }
    let status = wait(&mut child, limit)?;
    let output = Output {
        code: status.and_then(|status| status.code()),
        stdout: text(stdout),
        stderr: text(stderr),
    };
    if status.is_none() {
        bail!(
            "{name}: still running after {limit:?}, killed\n{}{}",
            output.stdout,
            output.stderr
        );
    }
    Ok(output)
}

/// Waits; kills when the time is over, and returns None.
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn collect<R: Read + Send + 'static>(pipe: Option<R>) -> Option<JoinHandle<Vec<u8>>> {
    let mut pipe = pipe?;
    Some(std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    }))
}

fn text(reader: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = reader
        .and_then(|reader| reader.join().ok())
        .unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes everything, then closes.
pub fn feed_all(bytes: &[u8]) -> impl FnOnce(&mut ChildStdin) -> std::io::Result<()> + '_ {
    move |stdin| stdin.write_all(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn output_and_code_arrive() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "cat; echo bad >&2; exit 3"])
            .stdin(Stdio::piped());
        let output = with_input(command, Duration::from_secs(10), feed_all(b"in")).unwrap();
        assert_eq!(
            (output.code, output.stdout.as_str(), output.stderr.as_str()),
            (Some(3), "in", "bad\n")
        );
    }

    #[test]
    fn what_does_not_end_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let error = output(command, Duration::from_millis(50)).unwrap_err();
        assert!(
            error.to_string().starts_with("sleep: still running"),
            "{error}"
        );
    }
}
