//! A program in its forms: as it stands in the object, as it goes to the kernel, as the verifier leaves it, as the processor
//! runs it; each with the source lines it comes from.

use std::collections::HashMap;
use std::fs;

use xdplb_linker::btf::{Btf, TypeId};
use xdplb_linker::btf_ext::LineInfo;
use xdplb_linker::insn::{self, Insn, InsnIndex, Step};

use super::code::{self, code, code_with};
use super::words::{attach_type, hex, program_type};
use super::{
    CoreOf, FunctionOf, InsnOf, JitedLineOf, JitedOf, LineOf, LoadedOf, ProgramOf, RelocationOf,
    XlatedOf,
};
use crate::kernel::ProgramCode;
use crate::object::{MapFds, Patch, PatchTarget, Plan, ProgramPlan, Spec, core_question};

/// Source files that were read, by name; none where one is not there.
#[derive(Debug, Default)]
pub(super) struct Sources(HashMap<String, Option<Vec<String>>>);

/// Larger files are not source.
const LARGEST_SOURCE: u64 = 4 << 20;

impl Sources {
    /// A line of a file, where the file is there: Rust's objects name lines without their text.
    fn line(&mut self, file: &str, line: u32) -> Option<&str> {
        let lines = self.0.entry(file.to_string()).or_insert_with(|| {
            let info = fs::metadata(file).ok()?;
            (info.is_file() && info.len() <= LARGEST_SOURCE).then_some(())?;
            let text = fs::read_to_string(file).ok()?;
            Some(text.lines().map(str::to_string).collect())
        });
        let at = (line as usize).checked_sub(1)?;
        Some(lines.as_ref()?.get(at)?.as_str())
    }
}

/// The program without what it is made of.
pub(super) fn named(program: &ProgramPlan) -> ProgramOf {
    ProgramOf {
        name: program.name.clone(),
        section: program.section.clone(),
        r#type: program_type(program.kind.program_type.0),
        attach_type: attach_type(program.kind.attach_type.0),
        ..ProgramOf::default()
    }
}

/// The program as it is planned.
pub(super) fn planned(
    spec: &Spec,
    plan: &Plan,
    program: &ProgramPlan,
    sources: &mut Sources,
) -> ProgramOf {
    let lines = match (&plan.btf, &program.line_info) {
        (Some(btf), Ok(records)) => lines(btf, records, sources),
        _ => Vec::new(),
    };
    let mut told = ProgramOf {
        lines,
        ..named(program)
    };
    let mut changes = Changes {
        plan,
        program,
        relocations: Vec::new(),
    };
    let insns = program.unpatched();
    for (number, original) in spec.originals(program).enumerate() {
        told.functions.push(FunctionOf {
            name: original.name.into(),
            insn: original.at.0,
            section: original.section.into(),
            offset: original.start.byte_offset(),
        });
        for before in insn::steps(original.insns) {
            let at = InsnIndex(original.at.0 + before.at.0);
            let Some(after) = step_at(insns, at) else {
                break;
            };
            let symbol = original.symbol(before.at.0);
            let here = changes.between(before, after, symbol);
            let referent = here.iter().find_map(|at| changes.referent(*at));
            told.insns.push(InsnOf {
                insn: at.0,
                function: number,
                line: line_at(&told.lines, at.0),
                object: Some(code_with(
                    before,
                    symbol.filter(|_| before.insn.is_ld_imm64()),
                )),
                relocated: code_with(after, referent.as_deref()),
                relocations: here,
            });
        }
    }
    told.relocations = changes.relocations;
    told
}

/// Puts a map's descriptor where the load path has just put it.
pub(super) fn relocated(
    told: &mut ProgramOf,
    plan_name: Option<&str>,
    program: &ProgramPlan,
    patch: &Patch,
    fds: &MapFds,
) {
    let (Some(mut step), Some(fd)) = (step_at(program.unpatched(), patch.at), fds.of(patch)) else {
        return;
    };
    step.insn.imm = fd;
    let after = code_with(
        step,
        plan_name.map(|name| format!("map[{name}]")).as_deref(),
    );
    let relocation = told
        .relocations
        .iter_mut()
        .find(|relocation| relocation.insn == patch.at.0 && relocation.map.is_some());
    if let Some(relocation) = relocation {
        relocation.after = after.clone();
        relocation.text = format!("{}: descriptor {}", relocation.text, step.insn.imm);
    }
    let insn = told
        .insns
        .binary_search_by_key(&patch.at.0, |insn| insn.insn);
    if let Some(insn) = insn.ok().and_then(|at| told.insns.get_mut(at)) {
        insn.relocated = after;
    }
}

fn step_at(insns: &[Insn], at: InsnIndex) -> Option<Step> {
    let insn = *insns.get(at.0 as usize)?;
    let second = insn
        .is_ld_imm64()
        .then(|| insns.get(at.0 as usize + 1).copied())
        .flatten();
    Some(Step { at, insn, second })
}

fn lines(btf: &Btf, records: &[LineInfo], sources: &mut Sources) -> Vec<LineOf> {
    let line = |record: &LineInfo| {
        let file = btf.name(record.file_name);
        let text = btf.name(record.line);
        let text = match text.trim().is_empty() {
            false => text,
            true => sources.line(file, record.line_number()).unwrap_or_default(),
        };
        LineOf {
            insn: record.insn_off,
            file: file.to_string(),
            line: record.line_number(),
            column: record.column(),
            text: text.trim_end().to_string(),
        }
    };
    records.iter().map(line).collect()
}

/// The line that an instruction belongs to: the last one that begins before it or at it.
fn line_at(lines: &[LineOf], insn: u32) -> Option<usize> {
    lines
        .partition_point(|line| line.insn <= insn)
        .checked_sub(1)
}

/// What changes between the object and the kernel.
struct Changes<'a> {
    plan: &'a Plan,
    program: &'a ProgramPlan,
    relocations: Vec<RelocationOf>,
}

impl Changes<'_> {
    /// The changes of one instruction, by their numbers.
    fn between(&mut self, before: Step, after: Step, symbol: Option<&str>) -> Vec<usize> {
        let first = self.relocations.len();
        let at = after.at;
        let change = RelocationOf {
            insn: at.0,
            symbol: symbol.unwrap_or_default().into(),
            before: code(before),
            after: code(after),
            ..RelocationOf::default()
        };
        for fit in self.program.fitted.iter().filter(|fit| fit.at == at) {
            let (subject, question) = self
                .plan
                .btf
                .as_deref()
                .map_or_else(Default::default, |btf| core_question(btf, &fit.relo));
            self.relocations.push(RelocationOf {
                kind: "core",
                text: format!(
                    "{subject} {question}: {} here, {} in the object",
                    fit.new as i64, fit.original as i64
                ),
                symbol: subject,
                core: Some(CoreOf {
                    question: question.to_string(),
                    original: fit.original as i64,
                    answer: Some(fit.new as i64),
                }),
                ..change.clone()
            });
        }
        for (_, why) in self.program.poisoned.iter().filter(|(insn, _)| *insn == at) {
            self.relocations.push(RelocationOf {
                kind: "poisoned",
                text: why.to_string(),
                ..change.clone()
            });
        }
        for patch in self.program.patches.iter().filter(|patch| patch.at == at) {
            let (map, offset) = match patch.target {
                PatchTarget::Map(map) => (map, None),
                PatchTarget::MapValue { map, offset } => (map, Some(offset)),
            };
            let name = self.plan.maps.get(map).map_or("", |map| &map.spec.name);
            self.relocations.push(RelocationOf {
                kind: if offset.is_some() { "map_value" } else { "map" },
                text: match offset {
                    Some(offset) => {
                        format!("`{}` is at byte {offset} of map `{name}`", patch.symbol)
                    }
                    None => format!("`{}` is a map", patch.symbol),
                },
                symbol: patch.symbol.clone(),
                map: Some(map),
                offset,
                ..change.clone()
            });
        }
        let explained = self.relocations.len() > first;
        if !explained && (before.insn != after.insn || before.second != after.second) {
            let target = i64::from(at.0) + 1 + i64::from(after.insn.imm);
            let callee = self
                .program
                .functions
                .iter()
                .find(|(at, _)| i64::from(at.0) == target);
            let callee = callee.map(|(_, name)| name.as_str());
            let (kind, text) = if after.insn.is_pseudo_call() {
                (
                    "call",
                    format!(
                        "`{}` begins at instruction {target}",
                        callee.unwrap_or_default()
                    ),
                )
            } else if after.insn.is_pseudo_func() {
                (
                    "function",
                    format!(
                        "the address of `{}`, at instruction {target}",
                        callee.unwrap_or_default()
                    ),
                )
            } else {
                (
                    "kernel",
                    format!("`{}` of the kernel", symbol.unwrap_or_default()),
                )
            };
            self.relocations.push(RelocationOf {
                kind,
                text,
                symbol: callee.or(symbol).unwrap_or_default().into(),
                ..change
            });
        }
        (first..self.relocations.len()).collect()
    }

    /// What an instruction's other end is called.
    fn referent(&self, relocation: usize) -> Option<String> {
        let relocation = self.relocations.get(relocation)?;
        let map = self.plan.maps.get(relocation.map?)?;
        Some(format!("map[{}]", map.spec.name))
    }
}

/// The program in the kernel.
pub(super) fn loaded(
    told: &ProgramOf,
    plan: &Plan,
    program: &ProgramPlan,
    code: &ProgramCode,
) -> LoadedOf {
    let line_of = lines_of(plan, program, told, code);
    let mut loaded = LoadedOf {
        xlated: xlated(code, &line_of),
        jited: jited(&names(told, plan, code), code, &line_of),
        ..LoadedOf::default()
    };
    if code.xlated.is_empty() {
        loaded
            .hidden
            .push("the kernel does not show the instructions to this process".into());
    }
    if code.jited.is_empty() {
        loaded.hidden.push(
            "there is no machine code, or the kernel does not show it to this process".into(),
        );
    }
    loaded
}

/// For each of the kernel's line records, which of ours it is: the kernel keeps file, text, line and column, and leaves out those
/// of dead code.
fn lines_of(
    plan: &Plan,
    program: &ProgramPlan,
    told: &ProgramOf,
    code: &ProgramCode,
) -> Vec<Option<usize>> {
    let (Some(_), Ok(records)) = (&plan.btf, &program.line_info) else {
        return vec![None; code.lines.len()];
    };
    let mut next = 0;
    code.lines
        .iter()
        .map(|[_, file, text, line_col]| {
            let same = |record: &LineInfo| {
                (record.file_name.0, record.line.0, record.line_col) == (*file, *text, *line_col)
            };
            let found = records.iter().skip(next).position(same)?;
            next += found + 1;
            (next <= told.lines.len()).then_some(next - 1)
        })
        .collect()
}

fn xlated(code: &ProgramCode, line_of: &[Option<usize>]) -> Vec<XlatedOf> {
    let insns = code::decode(&code.xlated);
    insn::steps(&insns)
        .map(|step| {
            let record = code
                .lines
                .partition_point(|[at, ..]| *at <= step.at.0)
                .checked_sub(1);
            XlatedOf {
                insn: step.at.0,
                line: record.and_then(|record| line_of.get(record).copied().flatten()),
                code: self::code(step),
            }
        })
        .collect()
}

/// The functions that are left, by name: the verifier removes those that nothing reaches.
fn names(told: &ProgramOf, plan: &Plan, code: &ProgramCode) -> Vec<String> {
    match &plan.btf {
        Some(btf) if code.functions.len() == code.lengths.len() => {
            let types = code.functions.iter().map(|[_, id]| TypeId(*id));
            types.map(|id| btf.type_name(id).to_string()).collect()
        }
        _ if told.functions.len() == code.lengths.len() => told
            .functions
            .iter()
            .map(|function| function.name.clone())
            .collect(),
        _ => Vec::new(),
    }
}

fn jited(names: &[String], code: &ProgramCode, line_of: &[Option<usize>]) -> Vec<JitedOf> {
    let mut functions = Vec::new();
    let mut start = 0;
    for (number, &len) in code.lengths.iter().enumerate() {
        let end = start + len as usize;
        let Some(bytes) = code.jited.get(start..end) else {
            break;
        };
        start = end;
        let address = code.addresses.get(number).copied().unwrap_or(0);
        let mut lines: Vec<JitedLineOf> = code
            .jited_lines
            .iter()
            .zip(line_of)
            .filter_map(|(at, line)| {
                let offset = at.checked_sub(address).filter(|_| address != 0)?;
                (offset < u64::from(len)).then_some(JitedLineOf {
                    offset: offset as usize,
                    len: 0,
                    line: *line,
                })
            })
            .collect();
        lines.sort_by_key(|line| line.offset);
        let ends: Vec<usize> = lines.iter().skip(1).map(|line| line.offset).collect();
        for (line, end) in lines.iter_mut().zip(ends.into_iter().chain([len as usize])) {
            line.len = end - line.offset;
        }
        functions.push(JitedOf {
            name: names.get(number).cloned().unwrap_or_default(),
            address: format!("{address:#x}"),
            bytes: hex(bytes),
            lines,
        });
    }
    functions
}
