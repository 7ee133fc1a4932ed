//! Words that depend on numbers, registers or the trail: what a row of the table cannot say by itself.

use super::{
    BOUND, Found, InWords, NULL_CHECK, OWN_MEMORY, TAIL_CALL, WHOLE, below_the_stack, matches,
};
use crate::kernel::summary::code_of;
use crate::kernel::trail;
use crate::uapi::{MapType, ProgramType};

/// The line before says how large the memory is.
pub(super) fn beyond(f: &Found<'_>) -> InWords {
    let sizes = f.summary.reason.iter().find_map(|line| {
        let parts = matches("invalid access to *, *_size=* off=* size=*", line)?;
        let [what, _, whole, off, size] = parts[..] else {
            return None;
        };
        let what = match what {
            "map value" => "a map's value",
            _ => "the memory there",
        };
        Some(format!(
            "an access of size {size} can begin at offset {off}, and {what} has {whole} bytes (R{} is an address with a variable part)",
            f.part(0)
        ))
    });
    let varies = varies(f);
    let meaning = match (sizes, varies) {
        (Some(sizes), true) => sizes,
        _ => format!("R{} can reach beyond the {}", f.part(0), f.part(1)),
    };
    say(meaning, varies.then_some(BOUND))
}

/// Whether the register has a part that is not constant: only then would a bound help.
pub(super) fn varies(f: &Found<'_>) -> bool {
    f.summary
        .state
        .iter()
        .any(|state| state.starts_with(&format!("R{}=", f.part(0))) && state.contains("max"))
}

fn say(meaning: impl Into<String>, cure: Option<&str>) -> InWords {
    InWords {
        meaning: meaning.into(),
        cure: cure.map(str::to_string),
    }
}

pub(super) fn packet(f: &Found<'_>) -> InWords {
    let (Some(off), Some(size)) = (f.number(0), f.number(1)) else {
        return say(
            "packet bytes are accessed that no comparison with data_end covers",
            None,
        );
    };
    if off < 0 {
        let meaning =
            format!("{size} bytes are accessed at offset {off}: before what the pointer may reach");
        return say(meaning, None);
    }
    let end = off.saturating_add(size);
    let bytes = match size {
        1 => format!("byte {off} is"),
        _ => format!("bytes {off} to {} are", end.saturating_sub(1)),
    };
    // A pointer with an id has a part that is not constant.
    let fixed = f.part(3) == "0";
    let meaning = match f.number(5) {
        None | Some(0) if !fixed => format!(
            "{bytes} accessed behind a variable offset, and no comparison with data_end was made after that was added"
        ),
        None | Some(0) => format!(
            "{bytes} accessed, and no comparison with data_end on this path says that the packet has that much"
        ),
        Some(checked) => format!(
            "{bytes} accessed, and the comparison with data_end on this path covers {checked} bytes"
        ),
    };
    let cure = if fixed {
        format!("leave first if `data + {end} > data_end`")
    } else {
        format!(
            "after the variable offset was added to p, leave if `p + {end} > data_end`, and read through that p"
        )
    };
    say(meaning, Some(&cure))
}

pub(super) fn not_a_pointer(f: &Found<'_>) -> InWords {
    let register = f.part(0);
    let null = [format!("R{register}=0"), format!("R{register}=inv0")];
    // Where the log has no states, the last step may still be the constant 0.
    let set = |line: &str| line.ends_with(&format!(") r{register} = 0"));
    let last = f.summary.trail.last();
    if f.summary.state.iter().any(|state| null.contains(state))
        || last.is_some_and(|moment| moment.state.is_none() && set(&moment.line))
    {
        let cure = "leave the path on which it is NULL";
        return say(format!("R{register} is NULL on this path"), Some(cure));
    }
    let meaning = format!("R{register} is used as an address, but is a number to the verifier");
    // Programs of these types get addresses that they cannot read directly.
    let tracing = [
        ProgramType::KPROBE,
        ProgramType::TRACEPOINT,
        ProgramType::RAW_TRACEPOINT,
        ProgramType::PERF_EVENT,
    ];
    if tracing.contains(&f.program_type) {
        return say(
            format!("{meaning}: kernel and user memory cannot be read directly here"),
            Some("read it with bpf_probe_read_kernel or bpf_probe_read_user (or BPF_CORE_READ)"),
        );
    }
    // The trail has the call that took the pointer away.
    let taken = taken_by(f);
    if halved(f) {
        return say(
            format!(
                "R{register} was a pointer that went through 32-bit arithmetic, which cuts it in half"
            ),
            Some(WHOLE),
        );
    }
    if let Some(call) = taken {
        return say(
            format!("R{register} was a pointer until {call} was called, which makes it worthless"),
            Some(&after(call)),
        );
    }
    say(
        format!(
            "{meaning}: it is not from the context, a map or the stack, or no longer counts since a helper that can move the packet was called"
        ),
        None,
    )
}

/// A load or a store, by the instruction.
pub(super) fn context_access(f: &Found<'_>) -> InWords {
    let (off, size) = (f.part(0), f.part(1));
    let insn = f.summary.insn_line.as_deref().map_or("", code_of);
    let stores = insn.contains(") *(") || insn.contains("lock *(");
    let (meaning, cure) = match stores {
        true => (
            format!(
                "the context of {} programs has no field of size {size} at offset {off} that may be written",
                f.program_type
            ),
            "write only to fields that the type's documentation names as writable",
        ),
        false => (
            format!(
                "the context of {} programs has no field of size {size} at offset {off} that may be read",
                f.program_type
            ),
            "read its fields by name and whole, from its struct in linux/bpf.h",
        ),
    };
    say(meaning, Some(cure))
}

/// Memory that is passed to a call reaches past the frame pointer, or is below the stack.
pub(super) fn read_of_stack(f: &Found<'_>) -> InWords {
    let (Some(off), Some(size)) = (f.number(1), f.number(2)) else {
        return say("the stack is read where there is none", None);
    };
    if (-512..0).contains(&off) && off.saturating_add(size) > 0 {
        return say(
            format!(
                "{size} bytes are read at offset {off} from the frame pointer, where the stack has {} left: the variable that is passed is smaller",
                -off
            ),
            Some(
                "pass a variable of the size that the map's key or value has, or that the call is told",
            ),
        );
    }
    say(
        format!(
            "a read of size {size} at offset {off} from the frame pointer is outside of the stack's 512 bytes"
        ),
        below_the_stack(f).then_some(OWN_MEMORY),
    )
}

/// What is to be called depends on what was taken.
pub(super) fn unreleased(f: &Found<'_>) -> InWords {
    let taken = f.number(1).and_then(|insn| {
        let mut trail = f.summary.trail.iter();
        let moment = trail.find(|moment| i64::from(moment.insn) == insn)?;
        let (_, call) = moment.line.split_once("call ")?;
        call.split('#').next()
    });
    let Some(call) = taken else {
        return say(
            format!(
                "what instruction {} acquired is not given back on this path",
                f.part(1)
            ),
            Some(
                "release it on every path: bpf_sk_release for a socket, bpf_ringbuf_submit or _discard for a record",
            ),
        );
    };
    let release = if call.contains("ringbuf_reserve") {
        "bpf_ringbuf_submit or bpf_ringbuf_discard".to_string()
    } else if call.starts_with("bpf_sk") {
        "bpf_sk_release".to_string()
    } else if let Some(kind) = call.strip_suffix("_new") {
        format!("{kind}_destroy")
    } else {
        "the function that releases it".to_string()
    };
    say(
        format!(
            "what {call} gave (instruction {}) is not given back on this path",
            f.part(1)
        ),
        Some(&format!("call {release} on every path")),
    )
}

/// The call that made a pointer worthless, by the trail.
fn taken_by<'a>(f: &Found<'a>) -> Option<&'a str> {
    f.summary.trail.iter().find_map(|moment| {
        let (_, call) = moment.line.split_once("call ")?;
        let takes = moment
            .state
            .as_deref()
            .is_some_and(|state| state.ends_with(trail::TAKEN));
        takes.then(|| call.split('#').next())?
    })
}

/// Whether what was a pointer went through a 32-bit register (w0 to w9).
fn halved(f: &Found<'_>) -> bool {
    let mut trail = f.summary.trail.iter();
    let was = trail.any(|moment| moment.state.as_deref().is_some_and(trail::is_pointer));
    let moved = |line: &str| {
        line.split(") w")
            .nth(1)
            .is_some_and(|rest| rest.contains("= w"))
    };
    was && trail.any(|moment| moved(&moment.line))
}

/// What to do instead of using a pointer that this call took away.
fn after(call: &str) -> String {
    match ["release", "submit", "discard"]
        .iter()
        .any(|part| call.contains(part))
    {
        true => format!("use it before {call}, and give it back once on each path"),
        false => format!(
            "read data and data_end from the context again after {call}, and compare them again"
        ),
    }
}

/// Kernels before 6.17 say no more when a tail call's map is of another type.
pub(super) fn misconfigured(f: &Found<'_>) -> InWords {
    let insn = f.summary.insn_line.as_deref().unwrap_or_default();
    if insn.contains("call bpf_tail_call#") {
        return say(TAIL_CALL.0, Some(TAIL_CALL.1));
    }
    say("the helper does not work on what is passed to it", None)
}

pub(super) fn callback(f: &Found<'_>) -> InWords {
    say(
        format!(
            "a callback returns 0 to go on or 1 to stop, and what this one returns is not always in {}",
            range(f.part(1))
        ),
        Some("return 0 or 1 on every path"),
    )
}

pub(super) fn returned(f: &Found<'_>) -> InWords {
    say(
        format!(
            "the value returned at {} is not always in {}, which is all that {} programs may return there",
            f.part(0),
            range(f.part(2)),
            f.program_type
        ),
        Some("return one of those on every path"),
    )
}

/// Kernels before 6.8 give a range as known bits and a mask of the unknown ones: `(0x0; 0x1)` is [0, 1] (struct tnum).
fn range(text: &str) -> String {
    let bits = |text: &str| {
        let (value, mask) = text
            .strip_prefix("(0x")?
            .strip_suffix(')')?
            .split_once("; 0x")?;
        let value = u64::from_str_radix(value, 16).ok()?;
        let mask = u64::from_str_radix(mask, 16).ok()?;
        // Only where the unknown bits are the low ones is every number between possible.
        let low = mask.checked_add(1)?.is_power_of_two() && value & mask == 0;
        low.then(|| format!("[{value}, {}]", value | mask))
    };
    bits(text).unwrap_or_else(|| text.to_string())
}

/// Kernels before 5.12 don't say whether it is read or written.
pub(super) fn old_stack(f: &Found<'_>) -> InWords {
    let (off, size) = (f.part(0), f.part(1));
    say(
        format!(
            "an access of size {size} at offset {off} from the frame pointer is outside of the stack's 512 bytes"
        ),
        f.number(0).filter(|&off| off < -512).map(|_| OWN_MEMORY),
    )
}

pub(super) fn unwritten_stack(_: &Found<'_>) -> InWords {
    say(
        "bytes of the stack are read that nothing was written to on this path, perhaps the padding between fields",
        Some("set the whole variable to zero before its fields (memset; in Rust: zeroed)"),
    )
}

pub(super) fn unset_register(f: &Found<'_>) -> InWords {
    let at_exit = f
        .summary
        .insn_line
        .as_ref()
        .is_some_and(|line| line.contains("(95) exit"));
    match f.number(0) {
        Some(0) if at_exit => say(
            "the function ends without a return value on this path",
            Some("return a value on every path"),
        ),
        Some(number @ 1..=5) => say(
            format!(
                "R{number} is read, but holds nothing on this path (a call leaves nothing in R1 to R5)"
            ),
            Some(
                "keep what is needed after a call in a variable: R6 to R9 and the stack outlast it",
            ),
        ),
        Some(number) => say(
            format!("R{number} is read, but holds nothing on this path"),
            None,
        ),
        None => say("a register is read that holds nothing on this path", None),
    }
}

pub(super) fn wrong_map(f: &Found<'_>) -> InWords {
    let map_type = f
        .number(0)
        .and_then(|number| u32::try_from(number).ok())
        .map_or_else(
            || f.part(0).to_string(),
            |number| MapType(number).to_string(),
        );
    say(
        format!("{} does not work on maps of the type {map_type}", f.part(1)),
        None,
    )
}

pub(super) fn wrong_argument(f: &Found<'_>) -> InWords {
    let (register, is, wanted) = (f.part(0), f.part(1), f.part(2));
    let wanted: Vec<&str> = wanted.split(", ").collect();
    let wanted = match wanted.as_slice() {
        // What can be read has many kinds; the list is in the verifier's line above.
        many if many.len() > 2 && many.contains(&"fp") => {
            "the address of memory: a local variable, packet bytes that were checked, a map's value"
                .into()
        }
        kinds => kinds
            .iter()
            .map(|kind| plain(kind))
            .collect::<Vec<_>>()
            .join(" or "),
    };
    let taken = taken_by(f);
    if let Some(call) = taken {
        return say(
            format!(
                "argument {register} was a pointer until {call} was called, which makes it worthless"
            ),
            Some(&after(call)),
        );
    }
    say(
        format!(
            "argument {register} of the call must be {wanted}, and is {}",
            plain(is)
        ),
        is.ends_with("_or_null").then_some(NULL_CHECK),
    )
}

/// The verifier's word for a kind of value, in ours.
fn plain(kind: &str) -> &str {
    match kind {
        "fp" => "the address of a local variable",
        "scalar" | "inv" => "a number",
        "pkt" => "a pointer into the packet",
        "pkt_end" => "data_end",
        "ctx" => "the context",
        "map_ptr" => "a map",
        "map_value" => "a pointer to a map's value",
        "map_value_or_null" => "a pointer to a map's value, or NULL",
        "sock" => "a socket",
        "sock_or_null" => "a socket, or NULL",
        kind => kind,
    }
}
