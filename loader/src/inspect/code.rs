//! Functions and instructions.

use std::collections::{BTreeMap, HashMap};

use xdplb_linker::insn::{Insn, Step, steps, text};
use xdplb_linker::link::frames::frame;

use super::declarations::declare_function;
use super::{
    Call, Code, Function, Instruction, SourcePlace, Subject, becomes, clipped, readable_name,
};
use crate::object::{Aim, FunctionOutline, PatchTarget};

/// Instructions of all functions together that stacks are worked out for: functions of a hostile file can overlap.
const MAX_INSNS: u64 = 4_000_000;

/// A function with what the other parts need of it.
pub(super) struct Known {
    pub(super) view: Function,
    /// Which section of code.
    pub(super) code: usize,
    /// Bytes of its own stack, 0 where that was not worked out.
    pub(super) frame: u32,
    /// The instructions that refer to a map, counted from the section's start, and which map that is.
    pub(super) maps: Vec<(u32, usize)>,
}

/// All functions, in the spec's order.
pub(super) fn functions(subject: &Subject<'_>) -> Vec<Known> {
    let spec = &subject.spec;
    let codes: Vec<_> = spec.code_outlines().collect();
    let mut total = 0;
    spec.function_outlines()
        .enumerate()
        .map(|(index, outline)| {
            let section = codes.get(outline.code).map_or("", |code| code.name);
            let insns = codes
                .get(outline.code)
                .and_then(|code| {
                    let start = outline.start as usize;
                    code.insns.get(start..start + outline.len as usize)
                })
                .unwrap_or_default();
            total += u64::from(outline.len);
            let walked = (total <= MAX_INSNS).then(|| walk(subject, index, outline, insns));
            let declaration = spec
                .type_at(section, outline.start)
                .and_then(|ty| subject.declaration(|btf| declare_function(btf, ty)));
            let walked = walked.unwrap_or_default();
            Known {
                code: outline.code,
                frame: walked.stack.unwrap_or(0),
                maps: walked.maps,
                view: Function {
                    name: outline.name.to_string(),
                    readable: readable_name(outline.name),
                    section: section.to_string(),
                    start: outline.start,
                    len: outline.len,
                    declaration,
                    stack: walked.stack,
                    tail_calls: walked.tail_calls,
                    calls: walked.calls,
                },
            }
        })
        .collect()
}

/// What a function's instructions tell together.
#[derive(Default)]
struct Walked {
    stack: Option<u32>,
    tail_calls: bool,
    calls: Vec<Call>,
    maps: Vec<(u32, usize)>,
}

fn walk(
    subject: &Subject<'_>,
    index: usize,
    outline: FunctionOutline<'_>,
    insns: &[Insn],
) -> Walked {
    let spec = &subject.spec;
    let aims: HashMap<usize, _> = steps(insns)
        .filter(|step| step.insn.is_call() || step.insn.is_ld_imm64())
        .map(|step| {
            let at = step.at.0;
            (at as usize, spec.aim_of(index, outline.start + at, step))
        })
        .collect();
    let nothing = Ok(Aim::Nothing);
    let frame = frame(insns, |insn| {
        spec.referent_of(aims.get(&insn).unwrap_or(&nothing))
    });
    let mut calls: BTreeMap<(usize, &'static str), u32> = BTreeMap::new();
    let mut maps = Vec::new();
    for step in steps(insns) {
        let callee = match aims.get(&(step.at.0 as usize)) {
            Some(Ok(Aim::Function(callee))) => callee,
            Some(Ok(Aim::Map { target, .. })) => {
                let (PatchTarget::Map(map) | PatchTarget::MapValue { map, .. }) = *target;
                maps.push((outline.start + step.at.0, map));
                continue;
            }
            Some(Ok(Aim::Nothing | Aim::Kernel(_)) | Err(_)) | None => continue,
        };
        let kind = match step.insn.is_call() {
            true => "call",
            false if frame.later.contains(callee) => "later",
            false => "callback",
        };
        calls
            .entry((*callee, kind))
            .or_insert(outline.start + step.at.0);
    }
    let mut calls: Vec<Call> = calls
        .into_iter()
        .map(|((function, kind), insn)| Call {
            insn,
            function,
            kind,
        })
        .collect();
    calls.sort_by_key(|call| call.insn);
    Walked {
        stack: Some(frame.bytes),
        tail_calls: frame.tail_call.is_some(),
        calls,
        maps,
    }
}

/// The instructions of all sections of code.
pub(super) fn sections(subject: &Subject<'_>, functions: &[Known]) -> Vec<Code> {
    let codes = subject.spec.code_outlines().enumerate();
    codes
        .map(|(index, outline)| {
            let owners = Owners::of(functions, index);
            let lines = lines(subject, outline.name);
            let questions: HashMap<u32, &'static str> = subject
                .spec
                .questions(outline.name)
                .into_iter()
                .map(|(at, _, word)| (at, word))
                .collect();
            Code {
                section: outline.name.to_string(),
                error: outline.broken.map(ToString::to_string),
                no_lines: subject.spec.no_records().map(str::to_string),
                instructions: steps(outline.insns)
                    .map(|step| {
                        let mut insn = instruction(subject, owners.of_insn(step.at.0), step);
                        insn.source = lines.get(&step.at.0).cloned();
                        let core = questions.get(&step.at.0).map(|word| becomes::core(word));
                        insn.becomes = insn.becomes.or(core.map(str::to_string));
                        insn
                    })
                    .collect(),
            }
        })
        .collect()
}

fn instruction(subject: &Subject<'_>, function: Option<usize>, step: Step) -> Instruction {
    let insn = step.insn;
    let aim = match function {
        Some(function) => subject.spec.aim_of(function, step.at.0, step),
        None => Ok(Aim::Nothing),
    };
    let plain = text(step, None);
    let named = match &aim {
        Ok(Aim::Nothing) | Err(_) => plain.clone(),
        Ok(aim) => text(step, Some(&referent(subject, aim, insn))),
    };
    let mut bytes = hex(&insn.encode());
    if let Some(second) = step.second {
        bytes += &hex(&second.encode());
    }
    let leads = insn
        .jump_distance()
        .map(|distance| i64::from(step.at.0) + 1 + i64::from(distance));
    Instruction {
        at: step.at.0,
        function,
        bytes,
        opcode: xdplb_linker::insn::opcode_names(insn.opcode),
        text: plain,
        named,
        to: leads,
        source: None,
        becomes: aim
            .as_ref()
            .ok()
            .and_then(|aim| becomes::aim(subject, aim, step)),
        error: aim.err().map(|error| error.to_string()),
    }
}

/// What an instruction refers to, as short as the verifier would write it.
fn referent(subject: &Subject<'_>, aim: &Aim, insn: Insn) -> String {
    let sign = if insn.is_call() { "" } else { "&" };
    match aim {
        Aim::Nothing => String::new(),
        Aim::Function(function) => format!("{sign}{}", becomes::function_name(subject, *function)),
        Aim::Kernel(symbol) => format!("{sign}{}", clipped(symbol)),
        Aim::Map { target, .. } => {
            let map = subject.spec.map_of(*target);
            let map = map.map_or_else(String::new, |map| clipped(&map.name));
            match target {
                PatchTarget::Map(_) => format!("map[{map}]"),
                PatchTarget::MapValue { offset, .. } => {
                    format!("map[{map}][0]+{offset}")
                }
            }
        }
    }
}

/// Which function an instruction of a section is in.
pub(super) struct Owners {
    /// First and behind the last instruction, ascending; the function.
    ranges: Vec<(u32, u32, usize)>,
}

impl Owners {
    pub(super) fn of(functions: &[Known], code: usize) -> Self {
        let mut ranges: Vec<_> = functions
            .iter()
            .enumerate()
            .filter(|(_, known)| known.code == code && known.view.len > 0)
            .map(|(index, known)| {
                let view = &known.view;
                (view.start, view.start.saturating_add(view.len), index)
            })
            .collect();
        ranges.sort_unstable();
        Owners { ranges }
    }

    pub(super) fn of_insn(&self, insn: u32) -> Option<usize> {
        let after = self.ranges.partition_point(|(start, _, _)| *start <= insn);
        let (_, end, function) = self.ranges.get(after.checked_sub(1)?)?;
        (insn < *end).then_some(*function)
    }
}

/// The source lines that begin in a section, by instruction.
fn lines(subject: &Subject<'_>, section: &str) -> HashMap<u32, SourcePlace> {
    let Some(btf) = subject.spec.btf() else {
        return HashMap::new();
    };
    let records = subject.spec.lines_of(section).iter();
    records
        .map(|record| {
            let place = SourcePlace {
                file: btf.name(record.file_name).to_string(),
                line: record.line_number(),
                column: record.column(),
                text: btf.name(record.line).trim().to_string(),
            };
            (record.insn_off, place)
        })
        .collect()
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
