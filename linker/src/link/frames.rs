//! How much stack a function uses, and which of its callbacks run later: what the verifier finds while it walks the
//! program (`grow_stack_state`, `push_callback_call` in kernel/bpf/verifier.c), from the instructions alone.
//!
//! The frame ends at the lowest byte below r10 that an instruction reads or writes, that a call is handed the address
//! of, or whose address is stored. An address with a variable part (an array's element) counts from where its constant
//! part points. So the result is never larger than the frame the compiler made, and smaller only where a callee steps
//! below the address it was handed.

use std::collections::BTreeSet;

use super::flow::{falls_through, helper_arguments, successors};
use crate::insn::{BPF_ALU, BPF_ALU64, BPF_LDX, BPF_ST, BPF_STX, BPF_X, Insn, steps};

/// `bpf_tail_call`.
const TAIL_CALL: i32 = 12;
/// `bpf_timer_set_callback`: the callback runs later, on a stack of its own.
const TIMER_SET_CALLBACK: i32 = 170;
/// Kernel functions that run a callback later.
const LATER: [&str; 2] = ["bpf_wq_set_callback", "bpf_task_work_schedule"];
/// How often an address may move down at one place before its offset counts as unknown: a pointer that walks down.
const MAX_MOVES: u8 = 8;

/// `MAX_CALL_FRAMES`: functions that can be active at once.
pub const MAX_FRAMES: u64 = 8;
/// `MAX_BPF_STACK`: bytes that the frames of a chain of calls may take together.
pub const MAX_STACK: u64 = 512;

/// What a function needs besides its instructions. `F` names functions: any two that differ are two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<F> {
    /// Bytes of stack, not rounded.
    pub bytes: u32,
    /// The first tail call, at bytes from the function's start.
    pub tail_call: Option<u64>,
    /// Functions whose address is handed to something that calls them later, on a stack of their own.
    pub later: BTreeSet<F>,
}

/// What an instruction refers to, as its relocation or its distance says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referent<'a, F> {
    /// Nothing beyond its own fields: most instructions.
    Nothing,
    /// The beginning of a function of the program.
    Function(F),
    /// A function or variable of the kernel.
    Kernel(&'a str),
    /// Anything else: a map, data.
    Other,
}

/// A frame as kernels count it towards [`MAX_STACK`]: in steps of `to` bytes, 32 (Linux 5.10 to 6.11, and the interpreter,
/// which gives every function a frame) or 16 (from 6.12 on where a JIT compiler runs the program).
pub fn rounded(bytes: u32, to: u64) -> u64 {
    match to {
        32 => u64::from(bytes.max(1)).next_multiple_of(32),
        _ => u64::from(bytes).next_multiple_of(to.max(1)),
    }
}

/// What is known of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<F> {
    Unknown,
    /// A number.
    Number(i32),
    /// r10 plus so many bytes.
    Stack(i32),
    /// r10 plus at least so many bytes.
    StackFrom(i32),
    /// The address of a function.
    Function(F),
}

impl<F: Copy + PartialEq> Value<F> {
    /// The lowest byte it is known to point to, relative to r10.
    fn low(self) -> Option<i32> {
        match self {
            Self::Stack(low) | Self::StackFrom(low) => Some(low),
            Self::Unknown | Self::Number(_) | Self::Function(_) => None,
        }
    }

    fn join(self, other: Self) -> Self {
        match (self.low(), other.low()) {
            _ if self == other => self,
            (Some(one), Some(two)) => Self::StackFrom(one.min(two)),
            _ => Self::Unknown,
        }
    }

    fn plus(self, other: Self) -> Self {
        let add = |low: i32, number: i32| low.saturating_add(number);
        match (self, other) {
            (Self::Stack(low), Self::Number(number)) | (Self::Number(number), Self::Stack(low)) => {
                Self::Stack(add(low, number))
            }
            (Self::StackFrom(low), Self::Number(number)) => Self::StackFrom(add(low, number)),
            (Self::Number(one), Self::Number(two)) => {
                one.checked_add(two).map_or(Self::Unknown, Self::Number)
            }
            // An index: it counts up from there.
            (Self::Stack(low) | Self::StackFrom(low), Self::Unknown)
            | (Self::Unknown, Self::Stack(low) | Self::StackFrom(low)) => Self::StackFrom(low),
            _ => Self::Unknown,
        }
    }
}

/// The registers at one place. r10 stays out: it never changes.
type State<F> = [Value<F>; 10];

/// The state at a place where paths meet, and how often an address moved down there.
type Known<F> = Option<Box<(State<F>, u8)>>;

/// Walks a function until nothing new is learnt. A jump out of `insns` is followed no further. `referent` says what the
/// instruction with this index refers to.
pub fn frame<'a, F: Copy + Ord>(
    insns: &[Insn],
    referent: impl Fn(usize) -> Referent<'a, F>,
) -> Frame<F> {
    let mut walk = Walk {
        referent,
        insns,
        frame: Frame {
            bytes: 0,
            tail_call: None,
            later: BTreeSet::new(),
        },
    };
    if !uses_any(insns) {
        return walk.frame;
    }
    // States are kept only where paths meet.
    let mut known: Vec<Known<F>> = vec![None; insns.len()];
    let mut meets = vec![false; insns.len()];
    for step in steps(insns) {
        if step.insn.jump_distance().is_some() {
            for target in successors(step.at.0 as usize, step.insn) {
                if let Some(meets) = meets.get_mut(target) {
                    *meets = true;
                }
            }
        }
    }
    let mut open = vec![(0, [Value::Unknown; 10])];
    while let Some((mut at, mut state)) = open.pop() {
        while let Some(insn) = insns.get(at) {
            if meets[at] {
                match &mut known[at] {
                    Some(kept) => {
                        if !learn(kept, &state) {
                            break;
                        }
                        state = kept.0;
                    }
                    empty => *empty = Some(Box::new((state, 0))),
                }
            }
            walk.step(at, *insn, &mut state);
            if insn.jump_distance().is_some()
                && let Some(target) = jump_target(at, *insn)
            {
                open.push((target, state));
            }
            if !falls_through(*insn) {
                break;
            }
            at += insn.slots() as usize;
        }
    }
    walk.frame
}

/// Most functions use no stack, make no tail call and hand out no callback.
fn uses_any(insns: &[Insn]) -> bool {
    steps(insns).any(|step| {
        let insn = step.insn;
        let copies = insn.class() == BPF_ALU64 && insn.opcode & BPF_X != 0;
        let stores = matches!(insn.class(), BPF_LDX | BPF_STX);
        (copies || stores) && insn.src == 10
            || matches!(insn.class(), BPF_ST | BPF_STX) && insn.dst == 10
            || insn.is_helper_call() && matches!(insn.imm, TAIL_CALL | TIMER_SET_CALLBACK)
            || insn.is_ld_imm64()
    })
}

fn jump_target(at: usize, insn: Insn) -> Option<usize> {
    let target = at as i64 + 1 + i64::from(insn.jump_distance()?);
    usize::try_from(target).ok()
}

/// Adds what one more path knows; false if it knew nothing new.
fn learn<F: Copy + PartialEq>(kept: &mut (State<F>, u8), state: &State<F>) -> bool {
    let mut changed = false;
    let mut moved = false;
    let (old, moves) = kept;
    for (old, new) in old.iter_mut().zip(state) {
        let joined = old.join(*new);
        if joined != *old {
            changed = true;
            moved |= joined.low().is_some();
            *old = if joined.low().is_some() && *moves >= MAX_MOVES {
                Value::Unknown
            } else {
                joined
            };
        }
    }
    *moves = moves.saturating_add(u8::from(moved));
    changed
}

struct Walk<'w, F, R> {
    referent: R,
    insns: &'w [Insn],
    frame: Frame<F>,
}

impl<'a, F: Copy + Ord, R: Fn(usize) -> Referent<'a, F>> Walk<'_, F, R> {
    /// The frame reaches down to here.
    fn touch(&mut self, value: Value<F>, offset: i32) {
        let Some(low) = value.low() else { return };
        let depth = low.saturating_add(offset).saturating_neg().max(0);
        self.frame.bytes = self.frame.bytes.max(depth.unsigned_abs());
    }

    fn step(&mut self, at: usize, insn: Insn, state: &mut State<F>) {
        let value = |state: &State<F>, register: u8| match state.get(usize::from(register)) {
            Some(value) => *value,
            None if register == 10 => Value::Stack(0),
            None => Value::Unknown,
        };
        let (dst, src) = (value(state, insn.dst), value(state, insn.src));
        let offset = i32::from(insn.off);
        let mut set = |register: u8, new: Value<F>| {
            if let Some(slot) = state.get_mut(usize::from(register)) {
                *slot = new;
            }
        };
        match insn.class() {
            BPF_LDX => {
                self.touch(src, offset);
                set(insn.dst, Value::Unknown);
            }
            BPF_ST => self.touch(dst, offset),
            BPF_STX => {
                self.touch(dst, offset);
                self.touch(src, 0);
                let written = super::flow::writes(insn);
                for register in (0..10).filter(|register| written.has(*register)) {
                    set(register, Value::Unknown);
                }
            }
            BPF_ALU64 => {
                let operand = if insn.opcode & BPF_X != 0 {
                    src
                } else {
                    Value::Number(insn.imm)
                };
                let result = match insn.opcode & 0xf0 {
                    0xb0 if insn.off == 0 => operand,
                    0x00 => dst.plus(operand),
                    0x10 => match operand {
                        Value::Number(number) => dst.plus(Value::Number(number.wrapping_neg())),
                        _ => Value::Unknown,
                    },
                    _ => Value::Unknown,
                };
                set(insn.dst, result);
            }
            BPF_ALU => {
                // `w1 = 16` clears the upper half: a number that is not negative stays what it is.
                let constant = insn.opcode & (0xf0 | BPF_X) == 0xb0 && insn.imm >= 0;
                set(
                    insn.dst,
                    if constant {
                        Value::Number(insn.imm)
                    } else {
                        Value::Unknown
                    },
                );
            }
            _ if insn.is_ld_imm64() => set(insn.dst, self.address(at)),
            _ if insn.is_call() => {
                self.call(at, insn, state);
                state[..6].fill(Value::Unknown);
            }
            // Legacy packet loads put their result into r0 and spoil what a call does.
            crate::insn::BPF_LD => state[..6].fill(Value::Unknown),
            _ => {}
        }
    }

    /// What a `ld_imm64` loads: the address of a function, or nothing of interest.
    fn address(&self, at: usize) -> Value<F> {
        match (self.referent)(at) {
            Referent::Function(function) => Value::Function(function),
            Referent::Nothing | Referent::Kernel(_) | Referent::Other => Value::Unknown,
        }
    }

    fn call(&mut self, at: usize, insn: Insn, state: &State<F>) {
        debug_assert!(at < self.insns.len());
        let referent = (self.referent)(at);
        let helper = matches!(referent, Referent::Nothing) && insn.is_helper_call();
        let later = match referent {
            Referent::Kernel(name) => LATER.iter().any(|prefix| name.starts_with(prefix)),
            Referent::Nothing => helper && insn.imm == TIMER_SET_CALLBACK,
            Referent::Function(_) | Referent::Other => false,
        };
        let count = if helper {
            helper_arguments(insn.imm)
        } else {
            5
        };
        for value in &state[1..=usize::from(count.min(5))] {
            self.touch(*value, 0);
            if let (true, Value::Function(callback)) = (later, *value) {
                self.frame.later.insert(callback);
            }
        }
        if helper && insn.imm == TAIL_CALL {
            let offset = (at * Insn::SIZE) as u64;
            let first = self.frame.tail_call.get_or_insert(offset);
            *first = offset.min(*first);
        }
    }
}
