//! How it came to a rejection: the verifier's log walked backwards along the path that failed, from the register that it
//! objects to, or from what was taken and not given back, to where that came from. Pure and total: any text gives a trail,
//! if an empty one.
//!
//! A log is a walk through the program that goes back to the last open branch whenever a path has ended; `from 5 to 9: …` says
//! so. Before such a line, the path that failed is found again at the branch it names. Each instruction's line ends in the
//! state that it left (from Linux 5.18); before, the trail has the instructions without what was known.

use super::summary::{Located, code_of, insn_number, value_of};

/// How many moments are shown: where it begins, and the last ones.
const MOST: usize = 7;

/// What is said of a register that held a pointer until this call.
pub(super) const TAKEN: &str = " is no pointer from here on";

/// A step of the path at which the register in question changed, or became known better.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The instruction's number.
    pub insn: u32,
    /// Its line in the log, without the state: `4: (07) r3 += 14`.
    pub line: String,
    /// What was known behind it (`R3=pkt(off=14,r=0)`), in the verifier's words; or ours, where a call took it away.
    pub state: Option<String>,
    /// Where in the source, as far as the log tells, or the object's records.
    pub at: Located,
}

/// What the trail is followed from.
#[derive(Debug, Default)]
pub(super) struct Question {
    /// The registers in question.
    pub(super) registers: Vec<u32>,
    /// They are numbers, and should be pointers.
    pub(super) lost: bool,
    /// They point into the packet: comparisons with its end count.
    pub(super) packet: bool,
    /// The instruction that took what was not given back.
    pub(super) taken_at: Option<u32>,
    /// The function whose last call is in question: `bpf_spin_lock`.
    pub(super) call: Option<String>,
}

/// The trail to the instruction on line `at`, oldest first.
pub(super) fn find(lines: &[&str], at: usize, question: &Question) -> Vec<Moment> {
    let mut found: Vec<Event> = Vec::new();
    for &register in &question.registers {
        let chain = chain(lines, at, register, question);
        for &(line, other) in &chain.added {
            let side = Question {
                packet: false,
                lost: false,
                ..Question::default()
            };
            found.extend(self::chain(lines, line, other, &side).events);
        }
        found.extend(chain.events);
    }
    found.extend(call_in_question(lines, at, question));
    found.sort_by_key(|event| event.line);
    found.dedup_by_key(|event| event.line);
    if found.len() > MOST {
        found.drain(1..found.len() + 1 - MOST);
    }
    found
        .into_iter()
        .filter_map(|event| {
            let line = lines.get(event.line)?;
            Some(Moment {
                insn: insn_number(line)?,
                line: code_of(line).to_string(),
                state: event.state,
                at: Located::before(lines, event.line),
            })
        })
        .collect()
}

/// A line of the log that belongs to the trail.
#[derive(Debug)]
struct Event {
    line: usize,
    state: Option<String>,
    /// A branch changes nothing; it counts where it made something known.
    branch: bool,
}

/// Where the value in question is, while the walk goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Register(u32),
    /// On the stack, by its offset from the frame pointer.
    Slot(i64),
}

#[derive(Debug, Default)]
struct Chain {
    /// Oldest first.
    events: Vec<Event>,
    /// Registers that were added to the one in question, and the line where.
    added: Vec<(usize, u32)>,
}

/// What an instruction makes the value of its destination from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Another place holds the same.
    Copy(Place),
    /// The place itself, changed, perhaps by a register.
    Changed(Option<u32>),
    /// A constant, memory, a call: here it begins.
    New,
}

fn chain(lines: &[&str], at: usize, register: u32, question: &Question) -> Chain {
    let mut chain = Chain::default();
    let mut place = Place::Register(register);
    let mut path = Path::to(lines, at);
    // A pointer that a call made worthless is still missed, and the last such call.
    let mut missed = question.lost;
    let mut culprit = None;
    while let Some(step) = path.back(place) {
        let line = lines[step.line];
        let code = code_of(line);
        let state = match place {
            Place::Register(register) => value_of(register, step.jump.unwrap_or(line)),
            Place::Slot(_) => None,
        };
        if let Some((written, origin)) = assignment(code)
            && written == place
        {
            let state = match (origin, place) {
                (Origin::Copy(Place::Register(from)), Place::Slot(_)) => value_of(from, line),
                _ => state,
            };
            let pointer = match (&state, origin) {
                (Some(state), _) => Some(is_pointer(state)),
                // Before Linux 5.18: what is loaded from memory may be one, a constant is none, a copy is what it copies.
                (None, Origin::New) => Some(code.contains("= *(") || code.contains("map[")),
                (None, Origin::Copy(_) | Origin::Changed(_)) => None,
            };
            match pointer {
                Some(true) if missed => {
                    chain.events.extend(culprit.take());
                    missed = false;
                }
                // What stands before is a copy of what it is now, so later calls are not to blame.
                Some(_) => culprit = None,
                None => {}
            }
            chain.events.push(Event {
                line: step.line,
                state,
                branch: false,
            });
            match origin {
                Origin::Copy(from) => place = from,
                Origin::Changed(by) => chain.added.extend(by.map(|by| (step.line, by))),
                Origin::New => break,
            }
        } else if is_call(code) {
            if let Place::Register(0..=5) = place {
                if missed && place == Place::Register(0) && state.as_deref().is_none_or(is_pointer)
                {
                    chain.events.extend(culprit.take());
                }
                chain.events.push(Event {
                    line: step.line,
                    state,
                    branch: false,
                });
                break;
            }
            if missed && culprit.is_none() && takes_pointers_away(code) {
                let Place::Register(register) = place else {
                    continue;
                };
                culprit = Some(Event {
                    line: step.line,
                    state: Some(format!("R{register}{TAKEN}")),
                    branch: false,
                });
            }
        } else if is_branch(code) {
            let state = match question.packet {
                true => compared_with_the_end(code, step.jump.unwrap_or(line)).or(state),
                false => state,
            };
            if state.is_some() {
                chain.events.push(Event {
                    line: step.line,
                    state,
                    branch: true,
                });
            }
        }
    }
    chain.events.reverse();
    chain.keep_what_changed();
    chain
}

impl Chain {
    /// Branches that made nothing known go.
    fn keep_what_changed(&mut self) {
        let mut known: Option<String> = None;
        self.events.retain(|event| {
            let news = !event.branch || event.state != known;
            known.clone_from(&event.state);
            news
        });
    }
}

/// An instruction on the path, as [`Path::back`] finds it.
#[derive(Debug)]
struct Step<'a> {
    line: usize,
    /// The line `from 5 to 9: …` by which the path went on, where it did not go on below.
    jump: Option<&'a str>,
}

/// The path that leads to a line, from its end to its beginning.
#[derive(Debug)]
struct Path<'a> {
    lines: &'a [&'a str],
    /// What stands before this is not looked at yet.
    before: usize,
    /// How many functions deep the walk is in what the one in question called.
    below: usize,
}

impl<'a> Path<'a> {
    fn to(lines: &'a [&'a str], at: usize) -> Self {
        Path {
            lines,
            before: at.min(lines.len()),
            below: 0,
        }
    }

    /// The instruction before, in the function that `place` belongs to; `None` at its beginning.
    fn back(&mut self, place: Place) -> Option<Step<'a>> {
        while self.before > 0 {
            self.before -= 1;
            let line = self.lines[self.before];
            if let Some(branch) = came_from(line) {
                self.before = self.branch(branch)?;
                if self.below == 0 {
                    return Some(Step {
                        line: self.before,
                        jump: Some(line),
                    });
                }
            } else if line.starts_with("returning from callee") {
                // R0 is what the function returned; everything else is as it was before the call.
                if place != Place::Register(0) {
                    self.below += 1;
                }
            } else if line.starts_with("callee:") || line.starts_with("caller:") {
                // Both stand at a call, caller first.
                if line.starts_with("caller:") {
                    continue;
                }
                if self.below > 0 {
                    self.below -= 1;
                } else if !matches!(place, Place::Register(1..=5)) {
                    return None;
                } else {
                    // The arguments are the caller's; the call itself does not change them.
                    self.skip_call();
                }
            } else if self.below == 0 && insn_number(line).is_some() {
                return Some(Step {
                    line: self.before,
                    jump: None,
                });
            }
        }
        None
    }

    fn skip_call(&mut self) {
        while self.before > 0 {
            self.before -= 1;
            if insn_number(self.lines[self.before]).is_some() {
                return;
            }
        }
    }

    /// The line of the branch that a path which begins here left: branches that were passed several times are gone back to
    /// in the opposite order.
    fn branch(&self, insn: u32) -> Option<usize> {
        let mut others = 0usize;
        for at in (0..self.before).rev() {
            let line = self.lines[at];
            if came_back_to(line) == Some(insn) {
                others += 1;
            } else if insn_number(line) == Some(insn) {
                if others == 0 {
                    return Some(at);
                }
                others -= 1;
            }
        }
        None
    }
}

/// `from 5 to 9: R0=…` → 5, but not where that was found to be `safe` and the walk went back further.
fn came_from(line: &str) -> Option<u32> {
    came_back_to(line).filter(|_| !line.ends_with("safe"))
}

fn came_back_to(line: &str) -> Option<u32> {
    let (insn, _) = line.strip_prefix("from ")?.split_once(" to ")?;
    insn.parse().ok()
}

/// The instruction without number and opcode: `4: (07) r3 += 14` → `r3 += 14`.
fn operation(code: &str) -> &str {
    code.split_once(") ").map_or(code, |(_, rest)| rest)
}

fn is_call(code: &str) -> bool {
    operation(code).starts_with("call ")
}

fn is_branch(code: &str) -> bool {
    operation(code).starts_with("if ")
}

/// What calls make pointers worthless: those that move the packet, and those that give something back
/// (`bpf_helper_changes_pkt_data` in net/core/filter.c, OBJ_RELEASE in kernel/bpf/verifier.c).
fn takes_pointers_away(code: &str) -> bool {
    [
        "adjust",
        "change_",
        "pull_data",
        "push_",
        "pop_",
        "store_bytes",
        "csum_replace",
        "release",
        "submit",
        "discard",
        "kptr_xchg",
    ]
    .iter()
    .any(|part| code.contains(part))
}

/// Whether a state is that of a pointer: `R6=pkt(r=0)`, not `R6=scalar()` or `R6=7`.
pub(super) fn is_pointer(state: &str) -> bool {
    let value = state.split_once('=').map_or(state, |(_, value)| value);
    let number = value.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    !number
        && !["scalar", "inv", "Pscalar"]
            .iter()
            .any(|kind| value.starts_with(kind))
}

/// What a comparison with the end of the packet made known of the pointer that was compared.
fn compared_with_the_end(code: &str, states: &str) -> Option<String> {
    if !states.contains("=pkt_end") {
        return None;
    }
    let named: Vec<u32> = operation(code)
        .split_whitespace()
        .filter_map(register)
        .collect();
    named
        .iter()
        .filter_map(|&register| value_of(register, states))
        .find(|state| state.contains("=pkt("))
}

/// `r3` or `w3` → 3.
fn register(word: &str) -> Option<u32> {
    let digits = word.strip_prefix(['r', 'w'])?;
    digits.parse().ok().filter(|&number| number <= 10)
}

/// Which place an instruction writes to, and from what.
fn assignment(code: &str) -> Option<(Place, Origin)> {
    let (to, from) = operation(code).split_once("= ")?;
    let (to, operator) = match to.trim_end().rsplit_once(' ') {
        Some((to, operator)) => (to, operator),
        None => (to.trim_end(), ""),
    };
    if let Some(slot) = slot(operation(code).split(" = ").next()?) {
        let origin = register(from).map_or(Origin::New, |from| Origin::Copy(Place::Register(from)));
        return Some((slot, origin));
    }
    let place = register(to).or_else(|| register(&format!("{to} {operator}")))?;
    let written = Place::Register(place);
    let origin = match operator {
        "" => {
            // A sign extension or a conversion stands before the register: `(s8)r1`, `be16 r1`, `-r1`.
            let last = from.rsplit([' ', ')', '-']).next().unwrap_or(from);
            match (slot(from), register(last)) {
                (Some(slot), _) => Origin::Copy(slot),
                (None, Some(same)) if same == place => Origin::Changed(None),
                (None, Some(from)) => Origin::Copy(Place::Register(from)),
                (None, None) => Origin::New,
            }
        }
        "+" | "-" => Origin::Changed(register(from)),
        _ => Origin::Changed(None),
    };
    Some((written, origin))
}

/// `*(u64 *)(r10 -8)` → the slot at -8.
fn slot(text: &str) -> Option<Place> {
    let (_, rest) = text.strip_prefix("*(")?.split_once("(r10 ")?;
    let offset = rest.strip_suffix(')')?;
    offset.parse().ok().map(Place::Slot)
}

/// The call, or the instruction that took something, which the reason names.
fn call_in_question(lines: &[&str], at: usize, question: &Question) -> Option<Event> {
    if question.taken_at.is_none() && question.call.is_none() {
        return None;
    }
    let mut path = Path::to(lines, at);
    // R0 leads through every function on the path.
    while let Some(step) = path.back(Place::Register(0)) {
        let line = lines[step.line];
        let by_number = question
            .taken_at
            .is_some_and(|insn| insn_number(line) == Some(insn));
        let by_name = question
            .call
            .as_ref()
            .is_some_and(|name| is_call(line) && line.contains(&format!("call {name}#")));
        if by_number || by_name {
            return Some(Event {
                line: step.line,
                state: value_of(0, line).filter(|_| by_number),
                branch: false,
            });
        }
    }
    None
}

#[cfg(test)]
#[path = "trail_tests.rs"]
mod tests;
