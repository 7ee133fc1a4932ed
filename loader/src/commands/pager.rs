//! Long text for people: through $PAGER (else `less`) on a terminal, plainly everywhere else.

use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

/// Shows it on standard output. A reader that goes away early is no error.
pub(super) fn show(text: &str) {
    let stdout = std::io::stdout();
    if stdout.is_terminal() && page(text) {
        return;
    }
    let mut stdout = stdout.lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// Whether what goes there is to have colours: it is a terminal, and nobody declines.
pub(super) fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && wants_colours(|name| std::env::var(name).ok())
}

/// `NO_COLOR` (no-color.org) and terminals that know none.
fn wants_colours(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty())
        && variable("TERM").is_none_or(|term| term != "dumb")
}

/// Whether a pager took it.
fn page(text: &str) -> bool {
    let pager = std::env::var("PAGER").unwrap_or_else(|_| "less".into());
    if pager.trim().is_empty() || pager.trim() == "cat" {
        return false;
    }
    // The variable is a command for the shell, by custom. -F: what fits on the screen just stands there.
    let child = Command::new("sh")
        .args([
            "-c",
            &format!(
                "command -v {} >/dev/null && exec {pager}",
                first_word(&pager)
            ),
        ])
        .env(
            "LESS",
            std::env::var("LESS").unwrap_or_else(|_| "-FRX".into()),
        )
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        return false;
    };
    let written = match child.stdin.take() {
        // Where the pager is not there the pipe breaks at once or at its first full buffer.
        Some(mut stdin) => stdin.write_all(text.as_bytes()),
        None => Ok(()),
    };
    match child.wait() {
        // 1: `command -v` found no pager.
        Ok(status) => status.success() || status.code() != Some(1) && status.code() != Some(127),
        Err(_) => written.is_ok(),
    }
}

/// The command itself, without its options, as the shell would read it.
fn first_word(pager: &str) -> String {
    let word = pager.split_whitespace().next().unwrap_or("less");
    let safe = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    if safe { word.to_string() } else { "sh".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_can_be_declined() {
        let with = |name: &'static str, value: &'static str| {
            wants_colours(move |asked| (asked == name).then(|| value.to_string()))
        };
        assert!(wants_colours(|_| None));
        assert!(!with("NO_COLOR", "1"));
        assert!(with("NO_COLOR", ""));
        assert!(!with("TERM", "dumb"));
        assert!(with("TERM", "xterm"));
    }

    #[test]
    fn the_pagers_command_is_its_first_word() {
        assert_eq!(first_word("less -R"), "less");
        assert_eq!(first_word("/usr/bin/most"), "/usr/bin/most");
        assert_eq!(first_word("$(x) y"), "sh");
    }
}
