//! The verifier's log: how it is fetched, and its summary (pure): the reason, the instruction and source line it belongs
//! to, and how much was left out.

use std::fmt;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::words::{self, InWords};

/// First size of the log buffer: enough for most rejected programs.
const FIRST_SIZE: usize = 64 * 1024;
/// Kernels before 5.18 refuse more than `u32::MAX >> 8` bytes (`bpf_verifier_log_attr_valid`).
const LAST_SIZE: usize = (1 << 24) - 1;

/// Runs `load` with a log buffer that grows while the kernel says ENOSPC; gives the log's text and the last answer.
pub(super) fn collect(
    mut load: impl FnMut(&mut [u8]) -> Result<OwnedFd, Errno>,
) -> (String, Result<OwnedFd, Errno>) {
    let mut size = FIRST_SIZE;
    loop {
        let mut log = vec![0u8; size];
        let result = load(&mut log);
        if matches!(result, Err(Errno::ENOSPC)) && size < LAST_SIZE {
            size = (size * 8).min(LAST_SIZE);
            continue;
        }
        let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
        log.truncate(end);
        return (String::from_utf8_lossy(&log).into_owned(), result);
    }
}

/// The lines of a log that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// Where the rejected instruction comes from, `file:line`, where the log tells (Linux 6.9) or [`Rejection::locate`] did.
    pub location: Option<String>,
    /// The source line's text, where the object carries it.
    pub source: Option<String>,
    /// The number of the rejected instruction.
    pub insn: Option<u32>,
    /// The instruction as the log prints it, with the state of its registers where the log has it on the same line.
    pub insn_line: Option<String>,
    /// The verifier's own words.
    pub reason: Vec<String>,
    /// How many lines of the log are not shown.
    pub omitted: usize,
}

impl LogSummary {
    /// Finds the reason in a log. Total: any text gives a summary, if an empty one.
    pub fn of(log: &str) -> Self {
        let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
        // The statistics at the end of every log say nothing about the reason.
        let end = lines
            .iter()
            .rposition(|line| !line.is_empty() && !is_statistics(line))
            .map_or(0, |last| last + 1);
        let lines = &lines[..end];
        let insn_at = lines.iter().rposition(|line| insn_number(line).is_some());
        let mut summary = LogSummary::default();
        let mut reason_from = insn_at.map_or(0, |at| at + 1);
        if let Some(at) = insn_at {
            // A state such as `5: R0=…` may follow the instruction when it is printed on its own.
            while lines.get(reason_from).is_some_and(|line| is_state(line)) {
                reason_from += 1;
            }
            if reason_from == lines.len() {
                // The log ends in states: everything of use stands before (seen with back-edges and call depth).
                reason_from = at + 1;
            }
            summary.insn = insn_number(lines[at]);
            summary.insn_line = Some(lines[at].to_string());
            if let Some(comment) = lines[..at]
                .iter()
                .rev()
                .find_map(|line| line.strip_prefix("; "))
            {
                let (source, location) = split_comment(comment);
                summary.source = source;
                summary.location = location;
            }
        }
        let reason: Vec<String> = lines[reason_from..]
            .iter()
            .filter(|line| !line.starts_with("; "))
            .map(|line| line.to_string())
            .collect();
        // A reason is short; where no instruction was printed the whole log would be taken for it.
        let keep = reason.len().saturating_sub(6);
        summary.reason = reason[keep..].to_vec();
        let shown = summary.reason.len() + usize::from(summary.insn_line.is_some());
        summary.omitted = lines.len().saturating_sub(shown);
        summary
    }
}

/// `57: (71) r3 = …` → 57.
fn insn_number(line: &str) -> Option<u32> {
    let (number, rest) = line.split_once(": ")?;
    rest.starts_with('(').then(|| number.trim().parse().ok())?
}

/// `57: R0=…`, `from 3 to 7: R0=…`, or ` R0=… R1=…` of older kernels.
fn is_state(line: &str) -> bool {
    let rest = line
        .split_once(": ")
        .map_or(line, |(_, rest)| rest)
        .trim_start();
    let mut chars = rest.chars();
    chars.next() == Some('R')
        && chars.next().is_some_and(|c| c.is_ascii_digit())
        && rest.contains('=')
}

fn is_statistics(line: &str) -> bool {
    [
        "processed ",
        "verification time ",
        "stack depth ",
        "insns processed ",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

/// `let x = 1; @ src/main.rs:41` → (`let x = 1;`, `src/main.rs:41`).
fn split_comment(comment: &str) -> (Option<String>, Option<String>) {
    let (source, location) = match comment.rsplit_once("@ ") {
        Some((source, location)) if location.contains(':') => {
            (source, Some(location.trim().to_string()))
        }
        _ => (comment, None),
    };
    let source = source.trim();
    ((!source.is_empty()).then(|| source.to_string()), location)
}

/// A program or BTF that the kernel rejected with a log.
#[derive(Debug)]
pub struct Rejection {
    /// The operation, such as ``load program `xdp_pass` ``.
    pub what: String,
    /// Who rejected it: `the verifier`, `the kernel`.
    pub by: &'static str,
    /// The kernel's answer.
    pub errno: Errno,
    /// The whole log.
    pub log: String,
    /// Its lines that matter.
    pub summary: LogSummary,
}

impl Rejection {
    /// What the rejection means and what usually helps; `None` for one that has no words here yet.
    pub fn in_words(&self) -> Option<InWords> {
        words::find(&self.summary)
    }

    pub(super) fn of_program(name: &str, errno: Errno, log: String) -> Self {
        let summary = LogSummary::of(&log);
        Rejection {
            what: format!("load program `{name}`"),
            by: "the verifier",
            errno,
            log,
            summary,
        }
    }

    /// The BTF checker prints a line a type; the last one names the type and the objection.
    pub(super) fn of_btf(errno: Errno, log: String) -> Self {
        let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
        let keep = lines.len().saturating_sub(2);
        let reason = lines[keep..].iter().map(|line| line.to_string()).collect();
        let summary = LogSummary {
            reason,
            omitted: keep,
            ..LogSummary::default()
        };
        Rejection {
            what: "load BTF".into(),
            by: "the kernel",
            errno,
            log,
            summary,
        }
    }

    /// Says where the instruction comes from, by the object's own records: kernels before 6.9 don't, later ones print the
    /// file's name without its directory.
    pub fn locate(&mut self, lookup: impl FnOnce(u32) -> Option<String>) {
        if let Some(location) = self.summary.insn.and_then(lookup) {
            self.summary.location = Some(location);
        }
    }
}

impl std::error::Error for Rejection {}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: rejected by {} ({:?})",
            self.what, self.by, self.errno
        )?;
        let summary = &self.summary;
        match (&summary.location, &summary.source) {
            (Some(location), Some(source)) => write!(f, "\n  {location}: {source}")?,
            (Some(line), None) | (None, Some(line)) => write!(f, "\n  {line}")?,
            (None, None) => {}
        }
        for line in summary.insn_line.iter().chain(&summary.reason) {
            write!(f, "\n  {line}")?;
        }
        match summary.omitted {
            0 => Ok(()),
            1 => write!(f, "\n  (1 earlier line omitted; --verifier-log shows all)"),
            n => write!(
                f,
                "\n  ({n} earlier lines omitted; --verifier-log shows all)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const PACKET: &str = "\
func#0 @0
0: R1=ctx() R10=fp0
; let tos = packet.byte(23)?; @ prog/src/packet.rs:41
0: (61) r2 = *(u32 *)(r1 +0)          ; R1=ctx() R2=pkt(r=0)
1: (71) r3 = *(u8 *)(r2 +23)
invalid access to packet, off=23 size=1, R2(id=0,off=23,r=0)
R2 offset is outside of the packet
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
";

    #[test]
    fn a_rejection_shows_line_instruction_and_reason() {
        let rejection = Rejection::of_program("xdp_load_balancer", Errno::EACCES, PACKET.into());
        assert_eq!(
            rejection.to_string(),
            "load program `xdp_load_balancer`: rejected by the verifier (EACCES)
  prog/src/packet.rs:41: let tos = packet.byte(23)?;
  1: (71) r3 = *(u8 *)(r2 +23)
  invalid access to packet, off=23 size=1, R2(id=0,off=23,r=0)
  R2 offset is outside of the packet
  (4 earlier lines omitted; --verifier-log shows all)"
        );
        assert_eq!(rejection.summary.insn, Some(1));
        assert_eq!(rejection.log, PACKET);
    }

    #[test]
    fn an_older_kernels_log_is_located_by_line_info() {
        let log = "0: R1=ctx(id=0,off=0,imm=0) R10=fp0\n; return *p;\n3: (95) exit\nR0 !read_ok\nprocessed 1 insns\n";
        let mut rejection = Rejection::of_program("p", Errno::EACCES, log.into());
        rejection.locate(|insn| Some(format!("p.c:{}", insn + 4)));
        assert_eq!(
            rejection.to_string(),
            "load program `p`: rejected by the verifier (EACCES)\n  p.c:7: return *p;\n  3: (95) exit\n  R0 !read_ok\n  (2 earlier lines omitted; --verifier-log shows all)"
        );
    }

    #[test]
    fn a_log_without_instructions_is_its_own_reason() {
        let rejection = Rejection::of_program(
            "p",
            Errno::EINVAL,
            "back-edge from insn 3 to 0\nprocessed 0 insns\n".into(),
        );
        assert_eq!(
            rejection.to_string(),
            "load program `p`: rejected by the verifier (EINVAL)\n  back-edge from insn 3 to 0"
        );
        assert_eq!(LogSummary::of(""), LogSummary::default());
    }

    #[test]
    fn btf_logs_end_in_the_reason() {
        let log = "magic: 0xeb9f\nversion: 1\n[1] INT (anon) size=4\n[2] PTR a<b> type_id=1 Invalid name\n";
        assert_eq!(
            Rejection::of_btf(Errno::EINVAL, log.into()).to_string(),
            "load BTF: rejected by the kernel (EINVAL)
  [1] INT (anon) size=4
  [2] PTR a<b> type_id=1 Invalid name
  (2 earlier lines omitted; --verifier-log shows all)"
        );
    }

    #[test]
    fn states_on_lines_of_their_own_are_not_the_reason() {
        let log = "1: (0f) r2 += r3\n R1=ctx() R2=inv5\nmath between pkt pointer and register\n";
        let summary = LogSummary::of(log);
        assert_eq!(summary.reason, ["math between pkt pointer and register"]);
        assert_eq!((summary.insn, summary.omitted), (Some(1), 1));
    }
}
