//! PURE: the call graph of a program as a tree. A function's own calls are shown where it comes first.

use std::collections::HashSet;

use super::columns::{BAD, DIM, NAME, cut, mark};
use crate::inspect::{Function, Inspection, Program};

/// Levels that are drawn; what is deeper no kernel takes.
const MAX_DEPTH: usize = 64;

/// The program's tree: own stack, then the name, deeper by what calls it.
pub(super) fn tree(inspection: &Inspection, program: &Program) -> String {
    let mut text = format!("  {}\n", mark(DIM, "stack  calls"));
    let mut shown = HashSet::new();
    // The functions of the deepest way that are still to come, the next first.
    let mut way = program
        .stack
        .as_ref()
        .map_or(&[][..], |stack| &stack.deepest);
    let mut open = vec![(0, program.function, "call", 0)];
    while let Some((depth, index, kind, insn)) = open.pop() {
        let Some(function) = inspection.functions.get(index) else {
            continue;
        };
        let again = !shown.insert(index);
        let on_way = program.stack.as_ref().map_or(0, |s| s.deepest.len()) - way.len();
        let deepest = way.first() == Some(&index) && depth == on_way;
        if deepest {
            way = &way[1..];
        }
        text += &line(function, depth, kind, insn, again, deepest);
        if again || depth >= MAX_DEPTH {
            continue;
        }
        for call in function.calls.iter().rev() {
            open.push((depth + 1, call.function, call.kind, call.insn));
        }
    }
    text
}

fn line(
    function: &Function,
    depth: usize,
    kind: &str,
    insn: u32,
    again: bool,
    deepest: bool,
) -> String {
    let stack = match function.stack {
        Some(bytes) => bytes.to_string(),
        None => "?".into(),
    };
    let name = cut(function.readable.as_ref().unwrap_or(&function.name));
    let name = if deepest { mark(NAME, &name) } else { name };
    let mut remarks = Vec::new();
    match kind {
        "callback" => remarks.push(format!("handed out at {insn}, counts as called")),
        "later" => remarks.push(format!(
            "handed out at {insn}, runs later on a stack of its own"
        )),
        _ => {}
    }
    if again && !function.calls.is_empty() {
        remarks.push("its calls are above".into());
    }
    if function.tail_calls {
        remarks.push("makes tail calls".into());
    }
    let remarks = match remarks.as_slice() {
        [] => String::new(),
        remarks => format!("  {}", mark(DIM, &format!("({})", remarks.join("; ")))),
    };
    let stars = if deepest { "*" } else { " " };
    format!(
        "  {stack:>5} {stars}{}{name}{remarks}\n",
        "  ".repeat(depth)
    )
}

/// What the kernel makes of stack and depth, in lines.
pub(super) fn stack(inspection: &Inspection, program: &Program) -> String {
    let Some(stack) = &program.stack else {
        if program.circle.is_empty() {
            return String::new();
        }
        return format!(
            "  {}: {}: no kernel takes recursion\n",
            mark(BAD, "calls go in a circle"),
            program.circle.join(" → ")
        );
    };
    let names: Vec<String> = stack
        .deepest
        .iter()
        .filter_map(|index| inspection.functions.get(*index))
        .map(|function| cut(function.readable.as_ref().unwrap_or(&function.name)))
        .collect();
    let over = |bytes: u64, limit: u64| match bytes > limit {
        true => mark(BAD, &bytes.to_string()),
        false => bytes.to_string(),
    };
    let limit = stack.limit;
    let mut text = format!(
        "  stack  {} of {limit} bytes on the deepest way where each frame counts in steps of 32 (Linux 5.10 to 6.11),\n         {} in steps of 16 (6.12 and newer, with a JIT compiler)\n",
        over(stack.bytes_by_32, limit),
        over(stack.bytes_by_16, limit),
    );
    text += &format!(
        "  depth  {} of {} functions at once\n",
        over(stack.frames, stack.frames_limit),
        stack.frames_limit
    );
    if names.len() > 1 {
        text += &format!("  * the deepest way: {}\n", names.join(" → "));
    }
    text
}
