//! Programs: what each reaches, and the stack and depth of its costliest chain of calls, as kernels count them
//! (`check_max_stack_depth` in kernel/bpf/verifier.c). A callback counts as called where its address is taken.

use std::collections::{BTreeSet, HashMap};

use xdplb_linker::link::frames::{MAX_FRAMES, MAX_STACK, rounded};

use super::code::Known;
use super::{Program, Stack, Subject, becomes};
use crate::object::{AttachTarget, ProgramSpec, SectionKind};
use crate::uapi::{AttachType, prog_flags};

/// Functions that all programs together are seen to reach; a hostile file's could all reach all.
const MAX_REACHED: usize = 1_000_000;

/// All programs, in the order of the file.
pub(super) fn programs(subject: &Subject<'_>, functions: &[Known]) -> Vec<Program> {
    let mut left = MAX_REACHED;
    let specs = subject.spec.programs.iter();
    specs
        .map(|spec| {
            let own = subject.spec.own_function(spec);
            let reaches = (left > 0).then(|| reach(functions, own));
            left = left.saturating_sub(reaches.as_ref().map_or(0, Vec::len));
            program(subject, functions, spec, reaches)
        })
        .collect()
}

/// `reaches` is `None` where that was not looked for.
fn program(
    subject: &Subject<'_>,
    functions: &[Known],
    spec: &ProgramSpec,
    reaches: Option<Vec<usize>>,
) -> Program {
    let own = subject.spec.own_function(spec);
    let unseen = reaches.is_none().then(|| {
        format!("the programs before it reach {MAX_REACHED} functions: it was not followed further")
    });
    let order = reaches.as_ref().and_then(|_| order(functions, own));
    let circle = match (&order, &reaches) {
        (None, Some(reaches)) => circle(subject, functions, reaches),
        _ => Vec::new(),
    };
    let reaches = reaches.unwrap_or_else(|| vec![own]);
    let used: BTreeSet<usize> = reaches
        .iter()
        .filter_map(|function| functions.get(*function))
        .flat_map(|known| known.maps.iter().map(|(_, map)| *map))
        .collect();
    let used = used
        .into_iter()
        .filter_map(|map| Some(subject.spec.maps().get(map)?.name.clone()));
    let (kind, unsupported) = match &spec.kind {
        SectionKind::Known(kind) => (Some(kind), None),
        SectionKind::Unsupported { what, why } => (None, Some((*what, *why))),
        SectionKind::Unknown => (None, None),
    };
    let error = subject.spec.why_broken(spec).map(ToString::to_string);
    Program {
        name: spec.name.clone(),
        section: spec.section.clone(),
        r#type: kind
            .map(|kind| kind.program_type.to_string())
            .or(unsupported.map(|(what, _)| what.to_string())),
        attach_type: kind
            .filter(|kind| kind.attach_type != AttachType::NONE)
            .map(|kind| kind.attach_type.to_string()),
        target: kind.and_then(|kind| target(&kind.target)),
        sleepable: kind.is_some_and(|kind| kind.flags & prog_flags::SLEEPABLE != 0),
        function: own,
        instructions: reaches
            .iter()
            .filter_map(|function| functions.get(*function))
            .map(|known| u64::from(known.view.len))
            .sum(),
        stack: order.map(|order| stack(functions, &order, own)),
        circle,
        reaches,
        maps: used.collect(),
        error: error
            .or(unsupported.map(|(_, why)| why.to_string()))
            .or(unseen),
    }
}

fn target(target: &AttachTarget) -> Option<String> {
    Some(match target {
        AttachTarget::None => return None,
        AttachTarget::Function(name) => format!("function `{name}`"),
        AttachTarget::RawTracepoint(name) => format!("tracepoint `{name}`"),
        AttachTarget::Lsm(name) => format!("hook `{name}`"),
        AttachTarget::Iter(name) => format!("iterator `{name}`"),
        AttachTarget::Member { ops, member } => format!("member `{member}` of struct `{ops}`"),
    })
}

/// Everything that a function reaches, itself first; what it hands out to run later, too, since that is loaded with it.
fn reach(functions: &[Known], own: usize) -> Vec<usize> {
    let mut reached = vec![own];
    let mut seen = BTreeSet::from([own]);
    let mut next = 0;
    while let Some(function) = reached.get(next).copied() {
        next += 1;
        for call in functions
            .get(function)
            .into_iter()
            .flat_map(|known| &known.view.calls)
        {
            if seen.insert(call.function) {
                reached.push(call.function);
            }
        }
    }
    reached
}

/// The calls that stack up; `None` where what is called runs later.
fn stacked(known: &Known) -> impl Iterator<Item = usize> + '_ {
    let calls = known.view.calls.iter();
    calls
        .filter(|call| call.kind != "later")
        .map(|call| call.function)
}

/// What stacks up below `own`, callees first; `None` if calls go in a circle.
fn order(functions: &[Known], own: usize) -> Option<Vec<usize>> {
    let mut done = Vec::new();
    // 1: being looked at, so a call of it closes a circle. 2: done.
    let mut state: HashMap<usize, u8> = HashMap::from([(own, 1)]);
    let callees = |function: usize| -> Vec<usize> {
        functions
            .get(function)
            .map_or_else(Vec::new, |known| stacked(known).collect())
    };
    let mut open = vec![(own, callees(own))];
    while let Some((function, left)) = open.last_mut() {
        let Some(callee) = left.pop() else {
            state.insert(*function, 2);
            done.push(*function);
            open.pop();
            continue;
        };
        match state.get(&callee) {
            Some(1) => return None,
            Some(_) => {}
            None => {
                state.insert(callee, 1);
                open.push((callee, callees(callee)));
            }
        }
    }
    Some(done)
}

/// The names of functions on some circle: one after the other calls the next, the last the first.
fn circle(subject: &Subject<'_>, functions: &[Known], reaches: &[usize]) -> Vec<String> {
    for start in reaches {
        // The shortest way back to where it started.
        let mut came: HashMap<usize, usize> = HashMap::new();
        let mut open = std::collections::VecDeque::from([*start]);
        while let Some(function) = open.pop_front() {
            for callee in functions.get(function).into_iter().flat_map(stacked) {
                if callee == *start {
                    let mut way = vec![function];
                    while let Some(before) = came.get(way.last().unwrap_or(start)) {
                        way.push(*before);
                    }
                    way.reverse();
                    return way
                        .into_iter()
                        .map(|function| becomes::function_name(subject, function).to_string())
                        .collect();
                }
                if callee != *start && !came.contains_key(&callee) {
                    came.insert(callee, function);
                    open.push_back(callee);
                }
            }
        }
    }
    Vec::new()
}

/// The costliest chain. `order` has callees first.
fn stack(functions: &[Known], order: &[usize], own: usize) -> Stack {
    let by = |cost: &dyn Fn(&Known) -> u64| {
        let mut heaviest: HashMap<usize, (u64, Option<usize>)> = HashMap::new();
        for function in order {
            let Some(known) = functions.get(*function) else {
                continue;
            };
            let below = stacked(known)
                .filter_map(|callee| heaviest.get(&callee).map(|(cost, _)| (*cost, callee)))
                .reduce(|best, next| if next.0 > best.0 { next } else { best });
            let entry = match below {
                Some((below, callee)) => (cost(known).saturating_add(below), Some(callee)),
                None => (cost(known), None),
            };
            heaviest.insert(*function, entry);
        }
        heaviest
    };
    let by_32 = by(&|known| rounded(known.frame, 32));
    let total = |heaviest: &HashMap<usize, (u64, Option<usize>)>| {
        heaviest.get(&own).map_or(0, |(cost, _)| *cost)
    };
    let mut deepest = vec![own];
    while let Some((_, Some(next))) = deepest.last().and_then(|last| by_32.get(last)) {
        deepest.push(*next);
    }
    Stack {
        bytes_by_32: total(&by_32),
        bytes_by_16: total(&by(&|known| rounded(known.frame, 16))),
        limit: MAX_STACK,
        deepest,
        frames: total(&by(&|_| 1)),
        frames_limit: MAX_FRAMES,
    }
}
