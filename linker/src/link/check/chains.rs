//! What only a whole chain of calls shows: recursion, depth, stack, length.
//!
//! The rules are `check_max_stack_depth` and `check_subprogs` in kernel/bpf/verifier.c. Linux 5.10 to 6.11 round each
//! frame up to 32 bytes; from 6.12 on to 16 where a JIT compiler runs the program. From 6.13 on functions of tracing
//! programs have stacks of their own on 64-bit x86 and ARM. What only older kernels refuse is a warning.

use super::Findings;
use crate::insn::Insn;
use crate::link::atoms::{AtomId, Home};
use crate::link::calls::{Call, Calls};
use crate::link::frames::{MAX_FRAMES, MAX_STACK, rounded};
use crate::link::problem::Problem;
use crate::link::refusal::Refusal;
use crate::link::view::View;

/// Stack in use above a function that makes tail calls (32 of them in a row then take 8 KiB).
const MAX_ABOVE_TAIL_CALL: u64 = 256;
/// `BPF_COMPLEXITY_LIMIT_INSNS`: instructions of a program and all that it calls.
const MAX_INSNS: u64 = 1_000_000;

/// Calls of a chain that are shown.
const MAX_LINES: usize = 32;

pub(super) fn check(view: &View<'_, '_>, calls: &Calls, findings: &mut Findings) {
    for top in &calls.tops {
        too_many(view, calls, *top, findings);
    }
    let order = match calls.circles() {
        Ok(order) => order,
        Err(circles) => {
            for circle in circles {
                recursion(view, &circle, findings);
            }
            return;
        }
    };
    let chains = Chains {
        view,
        calls,
        order: &order,
    };
    chains.depth(findings);
    chains.stack(findings);
    chains.tail_calls(findings);
}

fn too_many(view: &View<'_, '_>, calls: &Calls, top: AtomId, findings: &mut Findings) {
    let bytes: u64 = calls
        .reach(top)
        .iter()
        .map(|id| view.atom(*id).data.len() as u64)
        .sum();
    let insns = bytes / Insn::SIZE as u64;
    if insns > MAX_INSNS {
        findings.found(view, top, 0, Problem::TooMany(insns));
    }
}

fn recursion(view: &View<'_, '_>, circle: &[(AtomId, Call)], findings: &mut Findings) {
    // It begins where the program enters it: at the function that is reached by the shortest way.
    let first = circle
        .iter()
        .enumerate()
        .min_by_key(|(_, (id, _))| (view.live.way(*id, 0).len(), *id))
        .map_or(0, |(index, _)| index);
    let turned: Vec<_> = circle[first..].iter().chain(&circle[..first]).collect();
    let Some((id, call)) = turned.first() else {
        return;
    };
    let mut refusal = view.refusal(*id, call.offset, Problem::Recursion);
    for (id, call) in turned.iter().take(MAX_LINES) {
        let caller = view.caller(*id, call.offset);
        refusal.notes.push(format!(
            "`{}` is called by {caller}",
            view.name(call.callee)
        ));
    }
    findings.refuse(view, (*id, call.offset), refusal);
}

/// The chains of a link without circles.
struct Chains<'c, 'v, 'a> {
    view: &'c View<'v, 'a>,
    calls: &'c Calls,
    /// Callers first.
    order: &'c [AtomId],
}

impl Chains<'_, '_, '_> {
    fn bytes(&self, id: AtomId) -> u32 {
        self.calls.frames.get(&id).map_or(0, |frame| frame.bytes)
    }

    fn depth(&self, findings: &mut Findings) {
        let heaviest = self.calls.heaviest(self.order, |_| 1);
        for top in &self.calls.tops {
            if findings.is_full() {
                return;
            }
            let Some((depth, _)) = heaviest.get(top).filter(|(depth, _)| *depth > MAX_FRAMES)
            else {
                continue;
            };
            let problem = Problem::Depth(*depth as usize);
            let mut refusal = self.view.refusal(*top, 0, problem);
            refusal.notes = self.path(
                *top,
                |id| heaviest.get(&id).and_then(|(_, call)| *call),
                |_| None,
            );
            self.refuse(findings, *top, refusal);
        }
    }

    fn stack(&self, findings: &mut Findings) {
        let exact = self
            .calls
            .heaviest(self.order, |id| rounded(self.bytes(id), 16));
        let coarse = self
            .calls
            .heaviest(self.order, |id| rounded(self.bytes(id), 32));
        for top in &self.calls.tops {
            if findings.is_full() {
                return;
            }
            let (Some((least, _)), Some((most, _))) = (exact.get(top), coarse.get(top)) else {
                continue;
            };
            if *most <= MAX_STACK {
                continue;
            }
            let certain = *least > MAX_STACK;
            let (chains, bytes) = if certain {
                (&exact, *least)
            } else {
                (&coarse, *most)
            };
            let path = |id: AtomId| chains.get(&id).and_then(|(_, call)| *call);
            let (bytes, limit) = (bytes as u32, MAX_STACK as u32);
            let single = self.largest(*top, path) > MAX_STACK;
            let problem = if certain && (single || !self.has_private_stack(*top)) {
                Problem::Stack { bytes, limit }
            } else if certain {
                Problem::StackShared { bytes, limit }
            } else {
                Problem::StackRounding { bytes, limit }
            };
            let is_certain = matches!(problem, Problem::Stack { .. });
            let mut refusal = self.view.refusal(*top, 0, problem);
            refusal.notes = self.path(*top, path, |id| Some(self.bytes(id)));
            if is_certain {
                self.refuse(findings, *top, refusal);
            } else {
                findings.warn((*top, 0), refusal);
            }
        }
    }

    /// The largest frame of a chain.
    fn largest(&self, top: AtomId, next: impl Fn(AtomId) -> Option<Call>) -> u64 {
        let mut largest = 0;
        let mut here = Some(top);
        while let Some(id) = here {
            largest = largest.max(u64::from(self.bytes(id)));
            here = next(id).map(|call| call.callee);
        }
        largest
    }

    /// `bpf_enable_priv_stack` (Linux 6.13): tracing programs without tail calls.
    fn has_private_stack(&self, top: AtomId) -> bool {
        let traces = match self.view.atom(top).home {
            Home::Program(section) => [
                "kprobe",
                "kretprobe",
                "ksyscall",
                "kretsyscall",
                "uprobe",
                "uretprobe",
                "usdt",
                "tp/",
                "tracepoint",
                "raw_tp",
                "raw_tracepoint",
                "perf_event",
                "fentry",
                "fexit",
                "fmod_ret",
                "tp_btf",
                "lsm",
                "struct_ops",
            ]
            .iter()
            .any(|prefix| section.trim_start_matches('?').starts_with(prefix)),
            Home::Text | Home::ReadOnly(_) | Home::Data(_) | Home::Zeroed(_) | Home::Named(_) => {
                false
            }
        };
        let tail_calls = || {
            self.calls
                .reach(top)
                .iter()
                .filter_map(|id| self.calls.frames.get(id))
                .any(|frame| frame.tail_call.is_some())
        };
        traces && !tail_calls()
    }

    /// The rules for functions that make tail calls and are not the program itself.
    fn tail_calls(&self, findings: &mut Findings) {
        // The most stack in use when a function is called, and by which call.
        let mut above: std::collections::BTreeMap<AtomId, (u64, Option<(AtomId, u64)>)> = self
            .calls
            .tops
            .iter()
            .map(|top| (*top, (0, None)))
            .collect();
        for id in self.order {
            let Some((used, _)) = above.get(id).copied() else {
                continue;
            };
            let used = used + rounded(self.bytes(*id), 16);
            for call in self.calls.from.get(id).into_iter().flatten() {
                let entry = above.entry(call.callee).or_default();
                if used > entry.0 || entry.1.is_none() {
                    *entry = (used, Some((*id, call.offset)));
                }
            }
        }
        for (id, (used, by)) in &above {
            let tail_call = self.calls.frames.get(id).and_then(|frame| frame.tail_call);
            let (Some(offset), Some(_)) = (tail_call, by) else {
                continue;
            };
            if findings.is_full() {
                return;
            }
            if *used >= MAX_ABOVE_TAIL_CALL {
                let mut refusal =
                    self.view
                        .refusal(*id, offset, Problem::TailCallStack(*used as u32));
                let mut here = *by;
                while let Some((caller, at)) = here
                    && refusal.notes.len() < MAX_LINES
                {
                    let caller_text = self.view.caller(caller, at);
                    refusal
                        .notes
                        .push(format!("{} bytes in {caller_text}", self.bytes(caller)));
                    here = above.get(&caller).and_then(|(_, by)| *by);
                }
                refusal.site.callers.clear();
                findings.refuse(self.view, (*id, offset), refusal);
            }
            if self.returns_no_integer(*id) {
                findings.found(self.view, *id, offset, Problem::TailCallReturns);
            }
        }
    }

    /// `check_btf_func`: a function below the program may make tail calls if its type says that it returns an integer
    /// of at most 8 bytes or an enumeration. Without types the kernel does not look.
    fn returns_no_integer(&self, id: AtomId) -> bool {
        use crate::btf::Kind;
        let module = &self.view.modules[self.view.atom(id).module.0];
        let (Some(proto), Some(types)) = (self.view.proto(id), &module.types) else {
            return false;
        };
        let returns = types.btf.resolve(proto.returns).map(|(_, ty)| &ty.kind);
        match returns {
            Some(Kind::Int(int)) => int.size > 8,
            Some(Kind::Enum(_) | Kind::Enum64(_)) => false,
            Some(_) | None => true,
        }
    }

    /// A chain as lines: each function with its bytes, and where it calls the next.
    fn path(
        &self,
        top: AtomId,
        next: impl Fn(AtomId) -> Option<Call>,
        bytes: impl Fn(AtomId) -> Option<u32>,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let mut here = Some(top);
        while let Some(id) = here {
            let call = next(id);
            let mut line = match bytes(id) {
                Some(bytes) => format!("{bytes:>3} bytes in `{}`", self.view.name(id)),
                None => format!("`{}`", self.view.name(id)),
            };
            if let Some(call) = call {
                line += " calls at ";
                line += &match self.view.place(id, call.offset).source {
                    Some(source) => source.to_string(),
                    None => format!("insn {}", call.offset / Insn::SIZE as u64),
                };
            }
            if lines.len() >= MAX_LINES {
                lines.push("and so on".to_owned());
                break;
            }
            lines.push(line);
            here = call.map(|call| call.callee);
        }
        lines
    }

    fn refuse(&self, findings: &mut Findings, top: AtomId, refusal: Refusal) {
        findings.refuse(self.view, (top, 0), refusal);
    }
}
