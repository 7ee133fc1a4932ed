//! Rejections in words: what the verifier's sentence means to the author of the program, and the usual cure.
//!
//! One table, first fit wins. On the left the sentences of kernel/bpf/verifier.c, Linux 5.10 to 7.x, with `*` for what
//! changes; on the right ours, with `{0}` for the first `*` and `{type}` for the program's type. A cure is given only where the
//! sentence, or what was known of the registers, supports it.

mod computed;

use super::summary::LogSummary;
use crate::uapi::ProgramType;

/// What a rejection means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InWords {
    /// What the verifier could not accept.
    pub meaning: String,
    /// What usually helps.
    pub cure: Option<String>,
}

/// Finds the words for a summed-up log of a program of this type.
pub(super) fn find(summary: &LogSummary, program_type: ProgramType) -> Option<InWords> {
    if let Some((_, words)) = find_row(summary, program_type) {
        return Some(words);
    }
    // A kernel that explains itself has words for what the table has none.
    let (meaning, cure) = summary.report.clone()?;
    Some(InWords { meaning, cure })
}

fn find_row(summary: &LogSummary, program_type: ProgramType) -> Option<(usize, InWords)> {
    ROWS.iter().enumerate().find_map(|(index, row)| {
        summary.reason.iter().find_map(|line| {
            let found = Found {
                parts: matches(row.says, line)?,
                summary,
                program_type,
            };
            Some((index, row.words.of(&found)))
        })
    })
}

/// A sentence of the verifier's, and ours.
struct Row {
    says: &'static str,
    words: Words,
}

enum Words {
    /// Two texts, and whether the second applies.
    Text(&'static str, &'static str, fn(&Found<'_>) -> bool),
    /// What depends on numbers or registers.
    Computed(fn(&Found<'_>) -> InWords),
}

impl Words {
    fn of(&self, found: &Found<'_>) -> InWords {
        match self {
            Words::Computed(words) => words(found),
            Words::Text(meaning, cure, applies) => InWords {
                meaning: found.fill_in(meaning),
                cure: (!cure.is_empty() && applies(found)).then(|| found.fill_in(cure)),
            },
        }
    }
}

/// A line that fits a row, and what stood for each `*`.
struct Found<'a> {
    parts: Vec<&'a str>,
    summary: &'a LogSummary,
    program_type: ProgramType,
}

impl Found<'_> {
    fn part(&self, index: usize) -> &str {
        self.parts.get(index).copied().unwrap_or_default()
    }

    /// The number that a part is, or begins with.
    fn number(&self, index: usize) -> Option<i64> {
        let part = self.part(index);
        let end = part
            .char_indices()
            .find(|&(at, c)| !(c.is_ascii_digit() || (at == 0 && c == '-')))
            .map_or(part.len(), |(at, _)| at);
        part[..end].parse().ok()
    }

    fn fill_in(&self, text: &str) -> String {
        let mut filled = text.replace("{type}", &self.program_type.to_string());
        for (index, part) in self.parts.iter().enumerate() {
            filled = filled.replace(&format!("{{{index}}}"), part);
        }
        filled
    }
}

/// What stands for each `*` of the pattern in the line, which may go on after the pattern's end.
fn matches<'a>(pattern: &str, line: &'a str) -> Option<Vec<&'a str>> {
    let mut pieces = pattern.split('*').peekable();
    let mut rest = line.strip_prefix(pieces.next()?)?;
    let mut parts = Vec::new();
    while let Some(piece) = pieces.next() {
        let at = match piece {
            // The pattern ends in `*`: everything that is left.
            "" if pieces.peek().is_none() => rest.len(),
            piece => rest.find(piece)?,
        };
        parts.push(&rest[..at]);
        rest = &rest[at + piece.len()..];
    }
    Some(parts)
}

macro_rules! rows {
    ($($says:literal => $words:expr;)*) => { &[$(Row { says: $says, words: $words }),*] };
}

const fn means(meaning: &'static str) -> Words {
    Words::Text(meaning, "", always)
}

const fn usual(meaning: &'static str, cure: &'static str) -> Words {
    Words::Text(meaning, cure, always)
}

const fn when(applies: fn(&Found<'_>) -> bool, meaning: &'static str, cure: &'static str) -> Words {
    Words::Text(meaning, cure, applies)
}

const NULL_CHECK: &str =
    "compare it with NULL right after the call (in Rust: `is_null()`), and leave when it is";
const OWN_MEMORY: &str = "keep large variables in a map, such as a per-CPU array with one entry, instead of on the stack";
const BOUND: &str = "make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`";
const FEWER_PATHS: &str = "bound loops by small constants, use bpf_loop (Linux 5.17), or move a loop's body into a global function: it is verified once, for itself";
const OLDER_CODE: &str =
    "compile for an older one: -mcpu=v3 needs Linux 5.1, fetching atomics 5.12, -mcpu=v4 6.6";
const SLEEPABLE: &str =
    "declare it sleepable: SEC(\"fentry.s/…\"), SEC(\"lsm.s/…\") or SEC(\"uprobe.s/…\")";
const OTHER_HELPER: &str =
    "take a helper that this type has (bpf-helpers(7)), or a program of a type that has this one";
const NO_ATOMIC: &str =
    "count in a map's value; in the packet, read, add and write are enough: no other CPU has it";
const TAIL_CALL: (&str, &str) = (
    "bpf_tail_call works on maps of the type prog_array only",
    "define the map with the type BPF_MAP_TYPE_PROG_ARRAY",
);
const WHOLE: &str = "keep pointers out of 32-bit integers: `unsigned long`, or usize";
const UNLOCK: &str = "call bpf_spin_unlock on every path";

#[rustfmt::skip]
const ROWS: &[Row] = rows! {
    // Memory that may not be there.
    "invalid access to packet, off=* size=*, R*(id=*,off=*,r=*" => Words::Computed(computed::packet);
    "R* invalid mem access '*_or_null'" => usual("R{0} may be NULL here: what the call returned was not compared with NULL on this path", NULL_CHECK);
    "R* invalid mem access 'inv'" => Words::Computed(computed::not_a_pointer);
    "R* invalid mem access 'scalar'" => Words::Computed(computed::not_a_pointer);
    "R* invalid mem access '*'" => means("R{0} is used as an address, but a `{1}` cannot be read or written through");
    "R* pointer arithmetic on *_or_null prohibited" => usual("R{0} may be NULL here, so nothing can be added to it yet", NULL_CHECK);
    "Possibly NULL pointer passed to *" => usual("an argument ({0}) may be NULL here, and the function takes none", NULL_CHECK);
    // Values without bounds.
    "R* min value is negative" => usual("R{0} can be negative where it is an offset or a length", BOUND);
    "R* unbounded memory access" => usual("R{0} has no upper bound where it is an offset or a length", BOUND);
    "R* max value is outside of the *" => Words::Computed(computed::beyond);
    "math between * pointer and register with unbounded min value" => usual("a number that can be negative without limit is added to a `{0}` pointer", BOUND);
    "value * makes * pointer be out of bounds" => usual("the number added to a `{1}` pointer can be too large ({0})", BOUND);
    "R* invalid zero-sized read" => usual("the length in R{0} can be 0, and the helper takes no empty memory", "leave before the call when the length is 0");
    "invalid zero-sized read" => usual("the length of the memory that is passed can be 0, and the helper takes no empty memory", "leave before the call when the length is 0");
    "R* unbounded size" => usual("R{0} has no upper bound where it is a length", BOUND);
    "R* is not a const" => means("R{0} must be one number, known when the program is loaded");
    "R* is not a known constant" => means("R{0} must be one number, known when the program is loaded");
    "invalid access to map value, value_size=* off=* size=*" => usual("an access of size {2} at offset {1} is not inside the map's values of {0} bytes", "access the value by the type that the map's definition has for it, or define a larger one");
    "invalid access to memory, mem_size=* off=* size=*" => means("an access of size {2} at offset {1} is not inside the memory of {0} bytes");
    // Pointers and what may be done to them.
    "R* pointer arithmetic on pkt_end prohibited" => usual("nothing can be added to or taken from data_end: it can only be compared with", "compare `data + N` with data_end, not data with `data_end - N`");
    "R* pointer arithmetic on * prohibited" => means("R{0} is a `{1}`: nothing can be added to it");
    "R* 32-bit pointer arithmetic prohibited" => usual("R{0} is a pointer that went through 32-bit arithmetic, which cuts it in half", WHOLE);
    "R* pointer arithmetic with * operator prohibited" => means("R{0} is a pointer: it can be added to and subtracted from, not changed by `{1}`");
    "R* bitwise operator * on pointer prohibited" => means("R{0} is a pointer: it can be added to and subtracted from, not changed by `{1}`");
    "R* pointer += pointer prohibited" => means("two pointers are added");
    "R* pointer comparison prohibited" => usual("pointers are compared, which a program loaded without CAP_PERFMON may not do", "load it with CAP_PERFMON");
    "R* leaks addr" => usual("a pointer would get to where user space can read it, which a program loaded without CAP_PERFMON may not do", "load it with CAP_PERFMON");
    "same insn cannot be used with different pointers" => usual("two paths come to this instruction with pointers of different kinds", "access each on its own path, before they join (a compiler barrier keeps them apart)");
    "dereference of modified * ptr" => usual("fields of `{0}` are read through the pointer as it came, not through one that was added to", "copy the field into a local variable where the function begins");
    "variable ctx access var_off=" => usual("the context is read at an offset that is not a constant", "read each field by its name into a local variable, and choose among those");
    "invalid bpf_context access off=* size=*" => Words::Computed(computed::context_access);
    "BPF_ATOMIC * into R* * is not allowed" => usual("an atomic instruction works on a map's value, not through a `{2}` pointer", NO_ATOMIC);
    "BPF_XADD * into R* * is not allowed" => usual("an atomic instruction works on a map's value, not through a `{2}` pointer", NO_ATOMIC);
    "misaligned packet access off * size *" => usual("an access of size {1} to the packet is not at a multiple of its size", "declare the struct packed, so that the compiler reads it in pieces");
    "misaligned * access off * size *" => means("an access of size {2} ({0}) is not at a multiple of its size");
    "frame pointer is read only" => means("R10, the frame pointer, is written to");
    // The stack and registers.
    "combined stack size of * calls is *. Too large" => usual("a path of {0} calls needs {1} bytes of stack together; there are 512", OWN_MEMORY);
    "invalid read from stack R* off=* size=*" => Words::Computed(computed::read_of_stack);
    "invalid indirect access to stack R* off=* size=*" => Words::Computed(computed::read_of_stack);
    "invalid stack type R* off=* access_size=*" => Words::Computed(computed::read_of_stack);
    "invalid unbounded variable-offset * stack R*" => usual("the stack is accessed at an offset (R{1}) that has no bounds", BOUND);
    "invalid variable-offset * stack R* var_off=* off=* size=*" => usual("the stack is accessed at an offset (R{1}) that can be outside of the variable", BOUND);
    "variable stack access var_off=" => usual("the stack is accessed at an offset that is not a constant", "take a constant index on each path, or keep the array in a map: this kernel has no such access to the stack");
    "invalid write to stack R* off=* size=*" => when(below_the_stack, "a write of size {2} at offset {1} from the frame pointer is outside of the stack's 512 bytes", OWN_MEMORY);
    "invalid stack off=* size=*" => Words::Computed(computed::old_stack);
    "invalid indirect read from stack" => Words::Computed(computed::unwritten_stack);
    "invalid read from stack" => Words::Computed(computed::unwritten_stack);
    "R* !read_ok" => Words::Computed(computed::unset_register);
    // Loops and size.
    "back-edge from insn * to *" => usual("instruction {0} jumps back to {1}: without CAP_BPF, and before Linux 5.3, a program cannot loop", "load it with CAP_BPF, or unroll the loop");
    "infinite loop detected at insn *" => usual("a path came back to instruction {0} with nothing changed: the loop would never end", "let a counter with a constant bound end the loop");
    "BPF program is too large. Processed * insn" => usual("the verifier gave up after {0} instructions along all paths; loops and branches multiply what the program has", FEWER_PATHS);
    "The sequence of * jumps is too complex" => usual("the verifier gave up with {0} branches still to follow", FEWER_PATHS);
    "the call stack of * frames is too deep" => means("functions call each other more than 8 deep, or in a circle");
    "unreachable insn *" => means("no path leads to instruction {0}: the verifier takes no code that can't run");
    "jump out of range from insn * to *" => means("instruction {0} jumps out of its function");
    "last insn is not an exit or jmp" => means("the function runs past its end: it has a path that doesn't return, which a compiler makes of undefined behaviour or a panic");
    // Calls.
    "invalid func unknown#195896080" => usual("a CO-RE relocation found nothing in this kernel that fits; the instruction was replaced by one that must not be reached", "ask first: bpf_core_field_exists, bpf_core_type_exists");
    "invalid func unknown#*" => means("this kernel has no helper with the number {0}: it is older than the program");
    "unknown func *#*" => usual("{type} programs may not call {0}, at least on this kernel", OTHER_HELPER);
    "program of this type cannot use helper *#*" => usual("{type} programs may not call {0}, at least on this kernel", OTHER_HELPER);
    "cannot call GPL-restricted function from non-GPL compatible program" => usual("the helper is for programs under a GPL-compatible license, and the object's license section names no such license", "name one, if that is what it is: `GPL`, `Dual MIT/GPL`, `Dual BSD/GPL`");
    "cannot pass map_type * into func *#*" => Words::Computed(computed::wrong_map);
    "expected prog array map for tail call" => usual(TAIL_CALL.0, TAIL_CALL.1);
    "kernel subsystem misconfigured verifier" => Words::Computed(computed::misconfigured);
    "Global function * doesn't return scalar" => usual("{0} is global, so it is verified for itself and must return an integer", "make it static (in Rust: don't export it)");
    "Caller passes invalid args into func#*" => usual("a global function is verified for itself, by its BTF prototype, and this call passes something else", "make it static (in Rust: don't export it): it is then verified with what is passed");
    "arg#* expected pointer to ctx, but got *" => means("an argument of a global function is declared as the context, and gets {1}");
    "R* type=* expected=*" => Words::Computed(computed::wrong_argument);
    "calling kernel function * is not allowed" => usual("{type} programs may not call the kernel's function {0}", "look for a helper or another function that does the same, or move the call into a program of a type that may");
    "tail_calls are not allowed in *" => means("this kernel has no tail calls in {0}");
    // What was taken must be given back.
    "Unreleased reference id=* alloc_insn=*" => Words::Computed(computed::unreleased);
    "function calls are not allowed while holding a lock" => usual("between bpf_spin_lock and bpf_spin_unlock nothing may be called", "call it before or after, and keep the values in local variables");
    "map '*' has to have BTF in order to use bpf_*" => usual("the kernel finds the bpf_{1} in a value by the map's types, and `{0}` came without", "define the map in the section .maps with its key's and value's types, and compile with -g");
    "* cannot be used inside bpf_spin_lock-ed region" => usual("the program ends, or leaves the function, with a lock held", UNLOCK);
    "bpf_spin_unlock is missing" => usual("the program ends, or leaves the function, with a lock held", UNLOCK);
    // Places that are not writable, programs that may not sleep.
    "write into map forbidden" => usual("the map is read-only for programs: constants (.rodata), or BPF_F_RDONLY_PROG", "declare the variable without const (in Rust: static mut), so that it lies in .data or .bss");
    "R* cannot write into *" => means("R{0} points to memory that may only be read ({1})");
    "cannot write into packet" => means("{type} programs may not write to the packet directly");
    "helper call might sleep in" => when(may_be_sleepable, "the helper can sleep, and this program is not declared to", SLEEPABLE);
    "sleepable helper * in non-sleepable prog" => when(may_be_sleepable, "the helper can sleep, and this program is not declared to", SLEEPABLE);
    "program must be sleepable to call sleepable kfunc *" => when(may_be_sleepable, "{0} can sleep, and this program is not declared to", SLEEPABLE);
    // Return values.
    "At callback return the register R0 has * should have been in *" => Words::Computed(computed::callback);
    "At * the register R0 has * should have been in *" => Words::Computed(computed::returned);
    // Records, instructions and kinds of memory that this kernel wants or lacks.
    "missing btf func_info" => usual("the program calls functions of the kernel or passes them on, and came without BTF for its own", "compile it with -g");
    "BPF_* uses reserved fields" => usual("this kernel does not know this form of a BPF_{0} instruction: it is older than the instruction set the program was compiled for", OLDER_CODE);
    "BPF_* uses invalid *" => usual("this kernel does not know this form of a BPF_{0} instruction: it is older than the instruction set the program was compiled for", OLDER_CODE);
    "unknown opcode *" => usual("this kernel does not know the instruction 0x{0}: it is older than the instruction set the program was compiled for", OLDER_CODE);
    "unrecognized bpf_ld_imm64 insn" => means("this kernel does not know this kind of constant: the address of a function, as a callback, needs Linux 5.13");
    "Arg#* type * in *() is not supported yet*" => means("`{2}` is verified alone, and this kernel knows no pointer arguments of global functions (Linux 5.13)");
    "Expected an initialized dynptr as arg #*" => usual("an argument is no dynptr that a helper has set up, or no longer one", "check what bpf_dynptr_from_… returned before the first use");
    "Expected an initialized dynptr as R*" => usual("an argument is no dynptr that a helper has set up, or no longer one", "check what bpf_dynptr_from_… returned before the first use");
    "cannot overwrite referenced dynptr" => means("a dynptr that holds a record is set up again, or written over");
    "Dynptr has to be an uninitialized dynptr" => means("a dynptr that is in use is set up again");
    "addr_space_cast insn can only be used in a program that has an associated arena" => usual("the program uses arena pointers and refers to no arena map", "use the map's address (`&arena`) somewhere in the program");
    "arena's user address must be set" => means("the arena has no address in user space yet: it is mapped into memory before its programs are loaded");
    "R* has no valid kptr" => usual("the field that R{0} points to is not marked as a pointer to a kernel object in the map's BTF", "declare it with __kptr, and compile with a clang that writes type tags (14 or newer, -g)");
    // The checker of BTF, not of programs.
    "* Invalid name" => means("the name has bytes that this kernel does not take in that place (it takes letters, digits and `_`)");
};

fn always(_: &Found<'_>) -> bool {
    true
}

fn below_the_stack(f: &Found<'_>) -> bool {
    f.number(1).is_some_and(|off| off < -512)
}

/// Kprobes, since uprobes are of that type.
fn may_be_sleepable(f: &Found<'_>) -> bool {
    [ProgramType::TRACING, ProgramType::LSM, ProgramType::KPROBE].contains(&f.program_type)
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
