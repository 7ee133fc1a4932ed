//! A program or BTF that the kernel rejected, as an error: the source line on top, the instruction with what was known, the
//! verifier's words, ours, and what usually helps.

use std::fmt;

use nix::errno::Errno;

use super::summary::{Located, LogSummary};
use super::trail::Moment;
use super::words::{self, InWords};
use crate::uapi::ProgramType;

/// A program or BTF that the kernel rejected with a log.
#[derive(Debug)]
pub struct Rejection {
    /// The operation, such as ``load program `xdp_pass` ``.
    pub what: String,
    /// Who rejected it: `the verifier`, `the kernel`.
    pub by: &'static str,
    /// The kernel's answer.
    pub errno: Errno,
    /// The log, up to 16 MiB of it.
    pub log: String,
    /// Its lines that matter.
    pub summary: LogSummary,
    /// The program's type; `UNSPEC` for BTF.
    pub program_type: ProgramType,
}

impl Rejection {
    /// Of a program, with the log that the kernel wrote.
    pub fn of_program(name: &str, program_type: ProgramType, errno: Errno, log: String) -> Self {
        let summary = LogSummary::of(&log);
        Rejection {
            what: format!("load program `{name}`"),
            by: "the verifier",
            errno,
            log,
            summary,
            program_type,
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
            program_type: ProgramType::UNSPEC,
        }
    }

    /// Says where the instruction comes from, by the object's own records: kernels before 6.9 don't, later ones print the
    /// file's name without its directory, and the text of a line only where it came to it.
    pub fn locate(&mut self, lookup: impl Fn(u32) -> Option<Located>) {
        if let Some(place) = self.summary.insn.and_then(&lookup) {
            self.summary.location = place.location;
            self.summary.source = place.source;
        }
        for moment in &mut self.summary.trail {
            if let Some(place) = lookup(moment.insn) {
                moment.at = place;
            }
        }
    }

    /// What the rejection means and what usually helps; `None` for one that has no words here yet.
    pub fn in_words(&self) -> Option<InWords> {
        words::find(&self.summary, self.program_type)
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
        if let Some(line) = source_line(&summary.location, &summary.source) {
            write!(f, "\n  {line}")?;
        }
        if !summary.state.is_empty() {
            write!(f, "\n  {}", summary.state.join(" "))?;
        }
        for line in summary.insn_line.iter().chain(&summary.reason) {
            write!(f, "\n  {line}")?;
        }
        let words = self.in_words();
        if let Some(words) = &words {
            write!(f, "\n  in words: {}", words.meaning)?;
        }
        write_trail(f, &summary.trail)?;
        match summary.omitted {
            0 => {}
            1 => write!(f, "\n  (1 earlier line omitted; --verifier-log shows it)")?,
            n => write!(
                f,
                "\n  ({n} earlier lines omitted; --verifier-log shows them)"
            )?,
        }
        match words.and_then(|words| words.cure) {
            Some(cure) => write!(f, "\n  try:  {cure}"),
            None => Ok(()),
        }
    }
}

/// `file:line: text`, as far as it is known.
fn source_line(location: &Option<String>, source: &Option<String>) -> Option<String> {
    match (location, source) {
        (Some(location), Some(source)) => Some(format!("{location}: {source}")),
        (location, source) => location.clone().or_else(|| source.clone()),
    }
}

/// The moments below the source lines they come from.
fn write_trail(f: &mut fmt::Formatter<'_>, trail: &[Moment]) -> fmt::Result {
    if trail.is_empty() {
        return Ok(());
    }
    write!(f, "\n  what led there:")?;
    let width = trail
        .iter()
        .map(|moment| moment.line.len())
        .max()
        .unwrap_or(0)
        .min(48);
    let mut last = None;
    for moment in trail {
        let place = source_line(&moment.at.location, &moment.at.source);
        if let Some(line) = place.as_ref().filter(|_| place != last) {
            write!(f, "\n    {line}")?;
        }
        match &moment.state {
            Some(state) => write!(f, "\n      {:width$}  {state}", moment.line)?,
            None => write!(f, "\n      {}", moment.line)?,
        }
        last = place;
    }
    Ok(())
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
        let rejection = Rejection::of_program(
            "xdp_load_balancer",
            ProgramType::XDP,
            Errno::EACCES,
            PACKET.into(),
        );
        assert_eq!(
            rejection.to_string(),
            "load program `xdp_load_balancer`: rejected by the verifier (EACCES)
  prog/src/packet.rs:41: let tos = packet.byte(23)?;
  R2=pkt(r=0)
  1: (71) r3 = *(u8 *)(r2 +23)
  invalid access to packet, off=23 size=1, R2(id=0,off=23,r=0)
  R2 offset is outside of the packet
  in words: byte 23 is accessed, and no comparison with data_end on this path says that the packet has that much
  what led there:
    prog/src/packet.rs:41: let tos = packet.byte(23)?;
      0: (61) r2 = *(u32 *)(r1 +0)  R2=pkt(r=0)
  (3 earlier lines omitted; --verifier-log shows them)
  try:  leave first if `data + 24 > data_end`"
        );
        assert_eq!(rejection.summary.insn, Some(1));
        assert_eq!(rejection.log, PACKET);
    }

    #[test]
    fn an_older_kernels_log_is_located_by_line_info() {
        let log = "0: R1=ctx(id=0,off=0,imm=0) R10=fp0\n; return *p;\n3: (95) exit\nR0 !read_ok\nprocessed 1 insns\n";
        let mut rejection = Rejection::of_program("p", ProgramType::XDP, Errno::EACCES, log.into());
        rejection.locate(|insn| {
            Some(Located {
                location: Some(format!("p.c:{}", insn + 4)),
                source: Some("return *p;".into()),
            })
        });
        assert_eq!(
            rejection.to_string(),
            "load program `p`: rejected by the verifier (EACCES)\n  p.c:7: return *p;\n  3: (95) exit\n  R0 !read_ok
  in words: the function ends without a return value on this path
  (2 earlier lines omitted; --verifier-log shows them)
  try:  return a value on every path"
        );
    }

    #[test]
    fn a_log_without_instructions_is_its_own_reason() {
        let rejection = Rejection::of_program(
            "p",
            ProgramType::XDP,
            Errno::EINVAL,
            "back-edge from insn 3 to 0\nprocessed 0 insns\n".into(),
        );
        assert_eq!(
            rejection.to_string(),
            "load program `p`: rejected by the verifier (EINVAL)
  back-edge from insn 3 to 0
  in words: instruction 3 jumps back to 0: without CAP_BPF, and before Linux 5.3, a program cannot loop
  try:  load it with CAP_BPF, or unroll the loop"
        );
    }

    #[test]
    fn btf_logs_end_in_the_reason() {
        let log = "magic: 0xeb9f\nversion: 1\n[1] INT (anon) size=4\n[2] PTR a<b> type_id=1 Invalid name\n";
        assert_eq!(
            Rejection::of_btf(Errno::EINVAL, log.into()).to_string(),
            "load BTF: rejected by the kernel (EINVAL)
  [1] INT (anon) size=4
  [2] PTR a<b> type_id=1 Invalid name
  in words: the name has bytes that this kernel does not take in that place (it takes letters, digits and `_`)
  (2 earlier lines omitted; --verifier-log shows them)"
        );
    }
}
