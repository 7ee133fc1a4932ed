//! What something that the compiler left open will become, in a sentence.

use xdplb_linker::insn::Step;
use xdplb_linker::link::readable;

use super::{Subject, clipped};
use crate::object::{Aim, PatchTarget, Wanted};

/// What an instruction becomes when its program is put together and loaded; `None` where nothing is open.
pub(super) fn aim(subject: &Subject<'_>, aim: &Aim, step: Step) -> Option<String> {
    let is_call = step.insn.is_call();
    Some(match aim {
        Aim::Nothing => return None,
        Aim::Function(function) => {
            let name = function_name(subject, *function);
            if is_call {
                format!(
                    "a call of function `{name}`: BPF_PSEUDO_CALL in src_reg, in imm the distance to it once the loader has put the program's functions together"
                )
            } else {
                format!(
                    "the address of function `{name}`, for a callback: BPF_PSEUDO_FUNC in src_reg, in imm the distance to it"
                )
            }
        }
        Aim::Map { symbol, target } => {
            let map = subject.spec.map_of(*target);
            let map_name = map.map_or_else(String::new, |map| clipped(&map.name));
            let symbol = clipped(symbol);
            match target {
                PatchTarget::Map(_) => format!(
                    "map `{map_name}`'s descriptor: BPF_PSEUDO_MAP_FD in src_reg, the descriptor in imm; the kernel puts the map's address there"
                ),
                PatchTarget::MapValue { offset, .. } => {
                    let what = match variable(subject, &map_name, *offset) {
                        Some(name) => format!("of `{name}`, "),
                        None if symbol == map_name => String::new(),
                        None => format!("of `{symbol}`, "),
                    };
                    format!(
                        "the address {what}{offset} bytes into the value of map `{map_name}`: BPF_PSEUDO_MAP_VALUE in src_reg, the map's descriptor in imm, {offset} in the second imm"
                    )
                }
            }
        }
        Aim::Kernel(symbol) => kernel(subject, symbol),
    })
}

/// What a name of the kernel becomes.
pub(super) fn kernel(subject: &Subject<'_>, symbol: &str) -> String {
    let found = subject.spec.expectation(symbol);
    let symbol = clipped(symbol);
    let Some((wanted, weak)) = found else {
        return format!(
            "nothing: `{symbol}` is defined nowhere in this object, and nothing says that the kernel has it"
        );
    };
    let absent = |otherwise: &str| match weak {
        true => format!("; {otherwise} where the kernel has none (it is weak)"),
        false => String::new(),
    };
    match wanted {
        Wanted::Function(_) => format!(
            "a call of the kernel's function `{symbol}` (kfunc): BPF_PSEUDO_KFUNC_CALL in src_reg, its BTF id in imm{}",
            absent("a call that the verifier must find unreachable")
        ),
        Wanted::Variable(_) => format!(
            "the address of the kernel's variable `{symbol}`: BPF_PSEUDO_BTF_ID in src_reg, its BTF id in imm{}",
            absent("0")
        ),
        Wanted::Address => format!(
            "the address of the kernel's symbol `{symbol}` as a plain number, from /proc/kallsyms{}",
            absent("0")
        ),
        Wanted::Config { offset } => format!(
            "the address of `{symbol}`, {offset} bytes into the value of map `.kconfig`, which the loader fills from the kernel's configuration{}",
            absent("its value is 0")
        ),
    }
}

/// What the answer to a question of CO-RE is written into.
pub(super) fn core(word: &str) -> &'static str {
    match word {
        "byte_off" => "the offset of that field in the running kernel's struct, in bytes",
        "byte_sz" => "the size of that field in the running kernel, in bytes",
        "field_exists" => "1 if the running kernel's struct has that field, else 0",
        "signed" => "1 if that field is signed in the running kernel, else 0",
        "lshift_u64" => {
            "by how much the 64 bits that hold that bitfield in the running kernel are shifted left"
        }
        "rshift_u64" => {
            "by how much the 64 bits that hold that bitfield in the running kernel are then shifted right"
        }
        "local_type_id" => "the number of that type in the object's own BTF",
        "target_type_id" => "the number of that type in the running kernel's BTF",
        "type_exists" => "1 if the running kernel has that type, else 0",
        "type_size" => "the size of that type in the running kernel, in bytes",
        "enumval_exists" => "1 if the running kernel's enumeration has that value, else 0",
        "enumval_value" => "that value's number in the running kernel",
        "type_matches" => "1 if the running kernel has a type that matches that one, else 0",
        _ => "nothing: this question is newer than this program",
    }
}

/// A function's name for people.
pub(super) fn function_name<'a>(subject: &'a Subject<'_>, function: usize) -> &'a str {
    subject.names.get(function).map_or("", String::as_str)
}

/// The variable that a place in a map of global data is in, with how far into it.
pub(super) fn variable(subject: &Subject<'_>, map: &str, offset: u32) -> Option<String> {
    let offset = u64::from(offset);
    let variables = subject.variables.get(map)?;
    let after = variables.partition_point(|(_, start, _)| *start <= offset);
    let (name, start, size) = variables.get(after.checked_sub(1)?)?;
    if offset - start >= *size {
        return None;
    }
    let name = clipped(&readable(name));
    Some(match offset - start {
        0 => name,
        within => format!("{name}+{within}"),
    })
}
