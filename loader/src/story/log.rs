//! The verifier's log at level 2, by instruction: what was known of registers and stack before each, and what it changed
//! (`print_verifier_state` and `do_check` in kernel/bpf/verifier.c).
//!
//! ```text
//! 0: R1=ctx() R10=fp0                       the state before instruction 0
//! 0: (b7) r0 = 2           ; R0=2           the instruction, and what it changed (Linux 5.18)
//! from 3 to 7: R0=2 R10=fp0                 a path goes on at 7, coming from 3
//! ```
//!
//! Before 5.18 the state stands before each instruction instead. Total: lines of another form say nothing about instructions.

use std::collections::BTreeMap;

use super::{StateOf, StatesOf, VerifierOf};
use crate::kernel::VerifierLog;

/// How many visits of one instruction are kept.
const MOST_VISITS: usize = 4;

/// What the log says, by instruction.
pub(super) fn verifier(log: &VerifierLog) -> VerifierOf {
    let mut insns: BTreeMap<u32, StatesOf> = BTreeMap::new();
    let mut before: Option<(u32, Option<u32>, &str)> = None;
    let mut summary = Vec::new();
    for line in log.text.lines() {
        match read(line) {
            Line::State { insn, from, state } => before = Some((insn, from, state)),
            Line::Insn { insn, after } => {
                let known = before.take().filter(|(at, _, _)| *at == insn);
                let (from, before) = known.map_or((None, ""), |(_, from, state)| (from, state));
                let states = insns.entry(insn).or_insert_with(|| StatesOf {
                    insn,
                    ..StatesOf::default()
                });
                states.visits += 1;
                if states.states.len() < MOST_VISITS {
                    states.states.push(StateOf {
                        from,
                        before: before.into(),
                        after: after.into(),
                    });
                }
            }
            Line::Summary => summary.push(line.to_string()),
            Line::Other => {}
        }
    }
    VerifierOf {
        len: log.len,
        whole: log.whole,
        insns: insns.into_values().collect(),
        summary,
    }
}

enum Line<'a> {
    State {
        insn: u32,
        from: Option<u32>,
        state: &'a str,
    },
    Insn {
        insn: u32,
        after: &'a str,
    },
    Summary,
    Other,
}

fn read(line: &str) -> Line<'_> {
    if let Some(rest) = line.strip_prefix("from ") {
        return path(rest).unwrap_or(Line::Other);
    }
    let is_summary = |prefix: &&str| line.starts_with(*prefix);
    if [
        "processed ",
        "verification time",
        "stack depth",
        "insns processed",
        "subprog stack",
    ]
    .iter()
    .any(is_summary)
    {
        return Line::Summary;
    }
    let Some((number, rest)) = line.split_once(':') else {
        return Line::Other;
    };
    let Ok(insn) = number.parse::<u32>() else {
        return Line::Other;
    };
    let rest = rest.trim_start();
    if let Some(code) = rest.strip_prefix('(')
        && let Some((opcode, text)) = code.split_once(") ")
        && opcode.len() == 2
        && opcode.bytes().all(|digit| digit.is_ascii_hexdigit())
    {
        let after = text.split_once(" ; ").map_or("", |(_, state)| state.trim());
        return Line::Insn { insn, after };
    }
    match is_state(rest) {
        true => Line::State {
            insn,
            from: None,
            state: rest.trim_end(),
        },
        false => Line::Other,
    }
}

/// `3 to 7: R0=2`, also with `(speculative execution)`.
fn path(rest: &str) -> Option<Line<'_>> {
    let (from, rest) = rest.split_once(" to ")?;
    let (to, state) = rest.split_once(':')?;
    let to = to.split_once(' ').map_or(to, |(to, _)| to);
    Some(Line::State {
        insn: to.parse().ok()?,
        from: from.parse().ok(),
        state: state.trim(),
    })
}

fn is_state(text: &str) -> bool {
    let register = text
        .strip_prefix('R')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    register || text.starts_with("frame") || text.starts_with("fp-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> VerifierOf {
        verifier(&VerifierLog {
            text: text.into(),
            len: text.len(),
            whole: true,
        })
    }

    #[test]
    fn states_stand_by_their_instructions() {
        let log = "func#0 @0\n0: R1=ctx() R10=fp0\n; int xdp(struct xdp_md *ctx) @ a.c:3\n\
                   0: (b7) r0 = 2                        ; R0=2\n\
                   1: (15) if r0 == 0x2 goto pc+1        ; R0=2\n\
                   from 1 to 3: R0=2 R10=fp0\n3: R0=2 R10=fp0\n3: (95) exit\n\
                   3: (95) exit\nmark_precise: frame0: last_idx 3 first_idx 0\n\
                   processed 4 insns (limit 1000000) max_states_per_insn 0\n";
        let told = told(log);
        let at: Vec<(u32, usize)> = told.insns.iter().map(|s| (s.insn, s.visits)).collect();
        assert_eq!(at, [(0, 1), (1, 1), (3, 2)]);
        assert_eq!(
            told.insns[0].states[0],
            StateOf {
                from: None,
                before: "R1=ctx() R10=fp0".into(),
                after: "R0=2".into()
            }
        );
        assert_eq!(told.summary.len(), 1);
    }

    #[test]
    fn a_path_says_where_it_comes_from() {
        let told = told("from 5 to 9 (speculative execution): R0=1\n9: (95) exit\n");
        assert_eq!(told.insns[0].states[0].from, Some(5));
        assert_eq!(told.insns[0].states[0].before, "R0=1");
    }

    #[test]
    fn old_logs_have_states_before() {
        let told = told(
            "0: R1=ctx(id=0,off=0,imm=0) R10=fp0\n0: (b7) r0 = 2\n1: R0_w=inv2 R10=fp0\n1: (95) exit\n",
        );
        assert_eq!(told.insns[1].states[0].before, "R0_w=inv2 R10=fp0");
        assert_eq!(told.insns[0].states[0].after, "");
    }

    #[test]
    fn visits_are_counted_and_the_first_kept() {
        let told = told(&"7: (95) exit\n".repeat(9));
        assert_eq!(
            (told.insns[0].visits, told.insns[0].states.len()),
            (9, MOST_VISITS)
        );
    }

    #[test]
    fn odd_lines_say_nothing() {
        for line in [
            "",
            ":",
            "x: (b7) r0",
            "1: (zz) r0 = 1",
            "from here",
            "from 1 to: R0",
            "12",
        ] {
            assert_eq!(told(line).insns, [], "{line}");
        }
    }
}
