//! The lines of a verifier's log that matter: the reason, the instruction and source line it belongs to, and what was known
//! of the registers it names. Pure and total: any text gives a summary, if an empty one.

use super::trail::{self, Moment, Question};

/// How many lines of the verifier's own words are kept.
const REASON_LINES: usize = 6;

/// The lines of a log that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// Where the rejected instruction comes from, `file:line`, where the log tells (Linux 6.9) or
    /// [`super::Rejection::locate`] did.
    pub location: Option<String>,
    /// The source line's text, where the object carries it.
    pub source: Option<String>,
    /// The number of the rejected instruction.
    pub insn: Option<u32>,
    /// The instruction as the log prints it, with the state of its registers where the log has it on the same line.
    pub insn_line: Option<String>,
    /// What was last known of the registers that the instruction and the reason name: `R2=pkt(r=0)`.
    pub state: Vec<String>,
    /// The verifier's own words.
    pub reason: Vec<String>,
    /// What the kernel itself explains, from Linux 7.3: its `Reason:` and its `Suggestion:`.
    pub report: Option<(String, Option<String>)>,
    /// How it came to this: where the register that the verifier objects to got its value, or what was taken and not given
    /// back; oldest first.
    pub trail: Vec<Moment>,
    /// How many lines of the log are not shown.
    pub omitted: usize,
}

/// A place in the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// `file:line`.
    pub location: Option<String>,
    /// The line's text, where the object carries it.
    pub source: Option<String>,
}

impl Located {
    /// What the log says of the instruction on this line: the last comment above.
    pub(super) fn before(lines: &[&str], at: usize) -> Self {
        let before = lines.get(..at).unwrap_or_default();
        let comment = before.iter().rev().find_map(|line| line.strip_prefix("; "));
        comment.map(split_comment).unwrap_or_default()
    }
}

impl LogSummary {
    /// Finds the reason in a log.
    pub fn of(log: &str) -> Self {
        let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
        // The statistics at the end of every log say nothing about the reason.
        let end = lines
            .iter()
            .rposition(|line| !line.is_empty() && !is_statistics(line))
            .map_or(0, |last| last + 1);
        let all = &lines[..end];
        // The report that Linux 7.3 puts behind the reason repeats what stands before it, with more words and instructions.
        let report_at = all.iter().rposition(|line| line.starts_with(REPORT));
        let until = report_at.map_or(all.len(), |at| {
            let before = all[..at].iter().rposition(|line| !line.is_empty());
            before.map_or(0, |last| last + 1)
        });
        let lines = &all[..until];
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
            let place = Located::before(lines, at);
            summary.source = place.source;
            summary.location = place.location;
        }
        let reason: Vec<String> = lines[reason_from..]
            .iter()
            .filter(|line| !is_detail(line))
            .map(|line| without_statistics(line).to_string())
            .collect();
        // A reason is short; where no instruction was printed the whole log would be taken for it.
        let keep = reason.len().saturating_sub(REASON_LINES);
        summary.reason = reason[keep..].to_vec();
        summary.report = report_at.and_then(|at| {
            let reason = paragraph("Reason:", &all[at..])?;
            Some((reason, paragraph("Suggestion:", &all[at..])))
        });
        summary.name_the_insn();
        if let Some(at) = insn_at {
            summary.state = state_of(&summary.registers(), &lines[..at], lines.get(at + 1));
            summary.trail = trail::find(lines, at, &summary.question());
        }
        let instructions = usize::from(summary.insn_line.is_some()) + summary.trail.len();
        summary.omitted = all
            .len()
            .saturating_sub(summary.reason.len() + instructions);
        summary
    }

    /// Reasons found before any instruction was walked through name theirs: `back-edge from insn 3 to 0`.
    fn name_the_insn(&mut self) {
        let named = self.reason.iter().find_map(|line| {
            let (_, rest) = line.split_once("insn ")?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        });
        if self.insn.is_none() {
            self.insn = named;
        }
    }

    /// What to look for on the way that led here.
    fn question(&self) -> Question {
        let says = |words: &str| self.reason.iter().any(|line| line.contains(words));
        let after = |words: &str, end: char| {
            self.reason.iter().find_map(|line| {
                let (_, rest) = line.split_once(words)?;
                Some(rest.split(end).next()?.trim().to_string())
            })
        };
        // `…cannot be used inside bpf_spin_lock-ed region`
        let region = after("inside ", '-').filter(|_| says("-ed region"));
        Question {
            registers: self.in_question(),
            lost: says("invalid mem access 'scalar'")
                || says("invalid mem access 'inv'")
                || says("type=scalar expected=")
                || says("type=inv expected="),
            packet: says("invalid access to packet"),
            taken_at: after("alloc_insn=", ' ').and_then(|number| number.parse().ok()),
            call: region.or_else(|| {
                (says("while holding a lock") || says("spin_unlock is missing"))
                    .then(|| "bpf_spin_lock".to_string())
            }),
        }
    }

    /// The registers that the verifier objects to: those it names, or what the instruction accesses memory through or adds.
    fn in_question(&self) -> Vec<u32> {
        let reason = self.reason.join(" ");
        let mut named = Vec::new();
        for word in reason.split(|c: char| !c.is_ascii_alphanumeric()) {
            let number = word
                .strip_prefix('R')
                .and_then(|number| number.parse().ok());
            if let Some(number @ 0..=9) = number
                && !named.contains(&number)
            {
                named.push(number);
            }
        }
        if !named.is_empty() {
            return named;
        }
        let code = self.insn_line.as_deref().map_or("", code_of);
        let base = code.split_once("(r").map(|(_, rest)| rest);
        let words: Vec<&str> = match (base, code.split_once("= r")) {
            (Some(base), _) => vec![base],
            // `r0 += r1`
            (None, Some((to, from))) => vec![to.rsplit(['r', ' ']).nth(1).unwrap_or(""), from],
            (None, None) => Vec::new(),
        };
        words
            .iter()
            .filter_map(|word| {
                let digits = word.split(|c: char| !c.is_ascii_digit()).next()?;
                digits.parse().ok().filter(|&number| number <= 9)
            })
            .collect()
    }

    /// The registers that the instruction and the reason name, without the frame pointer.
    fn registers(&self) -> Vec<u32> {
        let insn = self
            .insn_line
            .iter()
            .map(|line| line.split(" ; ").next().unwrap_or(line).to_string());
        let mut found = Vec::new();
        for text in insn.chain(self.reason.iter().cloned()) {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric());
            for word in words {
                let number = word
                    .strip_prefix(['r', 'w', 'R'])
                    .and_then(|number| number.parse().ok());
                if let Some(number @ 0..=9) = number
                    && !found.contains(&number)
                {
                    found.push(number);
                }
            }
        }
        found
    }
}

/// How the kernel's own report begins.
const REPORT: &str = "Verification failed: ";

/// The indented lines below a heading of the report, as one, without capital letter and full stop.
fn paragraph(heading: &str, report: &[&str]) -> Option<String> {
    let from = report.iter().position(|line| *line == heading)? + 1;
    let text: Vec<&str> = report[from..]
        .iter()
        .take_while(|line| line.starts_with("  "))
        .map(|line| line.trim())
        .collect();
    let text = super::error::lower_first(text.join(" ").trim_end_matches('.'));
    (!text.is_empty()).then_some(text)
}

/// What the lines before the instruction last said about each of the registers. Only where the log prints the state of each
/// instruction (from Linux 5.18), or a whole state right at it: elsewhere what stands there may be old.
fn state_of(registers: &[u32], before: &[&str], after: Option<&&str>) -> Vec<String> {
    let each = before.iter().any(|line| line.contains(" ; R"));
    let own = after.filter(|line| is_state(line)).copied();
    let whole = before.last().filter(|line| is_state(line)).copied();
    registers
        .iter()
        .filter_map(|&register| {
            if let Some(state) = own.and_then(|line| value_of(register, line)) {
                return Some(state);
            }
            if !each {
                return whole.and_then(|line| value_of(register, line));
            }
            // A line `from 3 to 7: …` begins another path, with everything that is known there; a call leaves nothing
            // in R1 to R5 and says what it leaves in R0.
            for line in before.iter().rev() {
                if let Some(state) = value_of(register, line) {
                    return Some(state);
                }
                if line.starts_with("from ") || (register <= 5 && line.contains(": (85) call ")) {
                    return None;
                }
            }
            None
        })
        .collect()
}

/// `R2=pkt(r=0)` in a line such as `1: (61) r2 = … ; R1=ctx() R2_w=pkt(r=0)`.
pub(super) fn value_of(register: u32, line: &str) -> Option<String> {
    if line.starts_with("; ") {
        return None;
    }
    let prefix = format!("R{register}");
    let mut depth = 0usize;
    let mut start = None;
    let bytes = line.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b' ' if depth == 0 => {
                if let Some(start) = start {
                    return clean(&line[start..at]);
                }
            }
            b'R' if depth == 0 && start.is_none() => {
                let rest = &line[at..];
                let apart = at == 0 || bytes[at - 1] == b' ';
                let ends = rest
                    .strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.starts_with(['=', '_']));
                if apart && ends {
                    start = Some(at);
                }
            }
            _ => {}
        }
    }
    clean(&line[start?..])
}

/// `R2_w=pkt(r=0)` → `R2=pkt(r=0)`: how a state came about (written, read) matters to the verifier's authors only.
fn clean(state: &str) -> Option<String> {
    let (register, value) = state.split_once('=')?;
    let register = register.split('_').next()?;
    (!value.is_empty()).then(|| format!("{register}={value}"))
}

/// `57: (71) r3 = …` → 57.
pub(super) fn insn_number(line: &str) -> Option<u32> {
    let (number, rest) = line.split_once(": ")?;
    // `BUG_db` stands for an instruction that the kernel cannot print.
    (rest.starts_with('(') || rest.starts_with("BUG_")).then(|| number.trim().parse().ok())?
}

/// The instruction of a line, without the state behind it: after `; `, or as ` 21: R0=…` where the path jumps.
pub(super) fn code_of(line: &str) -> &str {
    let code = line.split_once(';').map_or(line, |(code, _)| code);
    let jump = code.match_indices(": ").skip(1).find_map(|(at, _)| {
        let before = code[..at].trim_end_matches(|c: char| c.is_ascii_digit());
        let state = ["R", "frame"]
            .iter()
            .any(|word| code[at + 2..].starts_with(word));
        (state && before.len() < at && before.ends_with(' ')).then_some(before)
    });
    jump.unwrap_or(code).trim_end()
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
        && rest.find('=').is_some_and(|at| {
            rest[..at]
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
}

/// Source comments, empty lines, and the two states that an endless loop is found by.
fn is_detail(line: &str) -> bool {
    line.is_empty()
        || ["; ", "cur state:", "old state:"]
            .iter()
            .any(|start| line.starts_with(start))
}

/// A few of the kernel's sentences end without a line break, and the statistics follow on the same line.
fn without_statistics(line: &str) -> &str {
    line.find("processed ")
        .filter(|&at| at > 0 && line[at..].contains(" insns (limit "))
        .map_or(line, |at| &line[..at])
}

fn is_statistics(line: &str) -> bool {
    [
        "processed ",
        "verification time ",
        "stack depth ",
        "insns processed ",
        "mark_precise: ",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

/// `let x = 1; @ src/main.rs:41` → `let x = 1;` at `src/main.rs:41`.
fn split_comment(comment: &str) -> Located {
    let (source, location) = match comment.rsplit_once("@ ") {
        Some((source, location)) if location.contains(':') => {
            (source, Some(location.trim().to_string()))
        }
        _ => (comment, None),
    };
    let source = source.trim();
    Located {
        location,
        source: (!source.is_empty()).then(|| source.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_on_lines_of_their_own_are_not_the_reason() {
        let log = "1: (0f) r2 += r3\n R1=ctx() R2=inv5\nmath between pkt pointer and register\n";
        let summary = LogSummary::of(log);
        assert_eq!(summary.reason, ["math between pkt pointer and register"]);
        assert_eq!((summary.insn, summary.omitted), (Some(1), 1));
        assert_eq!(summary.state, ["R2=inv5"]);
    }

    #[test]
    fn what_was_known_of_a_register_comes_from_the_path_that_failed() {
        let log = "\
0: (85) call bpf_map_lookup_elem#1    ; R0_w=map_value_or_null(id=1,map=m,ks=4,vs=8)
1: (15) if r0 == 0x0 goto pc+1        ; R0_w=map_value(map=m,ks=4,vs=8)
2: (b7) r3 = 5                        ; R3_w=5

from 1 to 4: R0=0 R3=scalar(smin=0,smax=255,var_off=(0x0; 0xff)) R10=fp0
4: (71) r1 = *(u8 *)(r0 +0)
R0 invalid mem access 'scalar'
";
        let summary = LogSummary::of(log);
        assert_eq!(summary.state, ["R0=0"], "r1 is known only of another path");
        assert_eq!(
            value_of(3, log.lines().nth(4).unwrap_or_default()).as_deref(),
            Some("R3=scalar(smin=0,smax=255,var_off=(0x0; 0xff))")
        );
    }

    #[test]
    fn a_call_leaves_nothing_in_its_arguments() {
        let log = "0: (bf) r6 = r1 ; R1=ctx() R6=ctx()\n1: (85) call bpf_get_prandom_u32#7 ; R0=scalar()\n2: (bf) r0 = r1\nR1 !read_ok\n";
        assert_eq!(LogSummary::of(log).state, ["R0=scalar()"]);
    }

    #[test]
    fn the_report_of_a_newer_kernel_stands_beside_its_sentence() {
        // Linux 7.3.
        let log = "\
0: (61) r1 = *(u32 *)(r1 +0)          ; R1=pkt(r=0)
1: (71) r0 = *(u8 *)(r1 +23)
invalid access to packet, off=23 size=1, R1(id=0,off=23,r=0)
R1 min value is outside of the allowed memory range

Verification failed: Memory Safety: Access outside bounds

Reason:
  The verifier cannot prove offset + access_size <= object_size. Here, the minimal bound for a
  memory access is 23.

At:
  insn 1
       | ^-- error: access may be outside object bounds
  Instruction context:
  >>> 1 | (71) r0 = *(u8 *)(r1 +23)

Suggestion:
  Add or adjust a bounds check that proves offset + access_size stays within the object.

processed 2 insns (limit 1000000) max_states_per_insn 0
";
        let summary = LogSummary::of(log);
        assert_eq!(summary.reason.len(), 2);
        assert_eq!((summary.insn, summary.omitted), (Some(1), 15));
        assert_eq!(
            summary.report,
            Some((
                "the verifier cannot prove offset + access_size <= object_size. Here, the minimal bound for a memory access is 23".into(),
                Some("add or adjust a bounds check that proves offset + access_size stays within the object".into())
            ))
        );
    }

    #[test]
    fn a_sentence_without_its_line_break() {
        let log = "3: (85) call bpf_tail_call#12\nexpected prog array map for tail callprocessed 3 insns (limit 1000000) max_states_per_insn 0\n";
        assert_eq!(
            LogSummary::of(log).reason,
            ["expected prog array map for tail call"]
        );
    }

    #[test]
    fn an_older_kernels_states_may_be_old() {
        let log = "0: R1=ctx(id=0,off=0,imm=0) R10=fp0\n0: (61) r2 = *(u32 *)(r1 +0)\n1: (71) r1 = *(u8 *)(r1 +0)\nR1 invalid mem access 'inv'\n";
        assert!(LogSummary::of(log).state.is_empty());
    }

    #[test]
    fn a_report_behind_the_reason_is_left_out() {
        // As Linux 7.3 writes it, shortened.
        let log = "0: R1=ctx() R10=fp0\n\
                   ; return *(u8 *)(long)context->data; @ one_bad.c:16\n\
                   0: (61) r1 = *(u32 *)(r1 +0)          ; R1=pkt(r=0)\n\
                   1: (71) r1 = *(u8 *)(r1 +0)\n\
                   invalid access to packet, off=0 size=1, R1(id=0,off=0,r=0)\n\
                   R1 min value is outside of the allowed memory range\n\n\
                   Verification failed: Memory Safety: Access outside bounds\n\n\
                   Reason:\n  The verifier cannot prove offset + access_size <= object_size.\n\n\
                   At:\n  Instruction context:\n  >>> 1 | (71) r1 = *(u8 *)(r1 +0)\n\
                   \x20     2 | (b4) w0 = 1\n\nSuggestion:\n  Add a bounds check.\n\n\
                   processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n";
        let summary = LogSummary::of(log);
        assert_eq!(
            summary.reason,
            [
                "invalid access to packet, off=0 size=1, R1(id=0,off=0,r=0)",
                "R1 min value is outside of the allowed memory range"
            ]
        );
        assert_eq!(
            summary.insn_line.as_deref(),
            Some("1: (71) r1 = *(u8 *)(r1 +0)")
        );
    }

    #[test]
    fn a_reason_before_the_walk_names_its_instruction() {
        assert_eq!(LogSummary::of("back-edge from insn 3 to 0\n").insn, Some(3));
        assert_eq!(
            LogSummary::of("unreachable insn 12\nprocessed 0 insns\n").insn,
            Some(12)
        );
        assert_eq!(LogSummary::of(""), LogSummary::default());
        // Whatever it says.
        LogSummary::of("insn \u{fe0f}R9=(((\n; @ :\n3: (\nR1_=)\n");
    }
}
