//! What can be wrong at one place of an input. The words for it, and what to try.

use super::advice;

/// What is wrong at a [`super::Site`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No input defines what is wanted here.
    #[error("`{0}` is not defined by any input")]
    Undefined(String),
    /// Only LLVM bitcode, in this member of an archive, defines what is wanted here.
    #[error("`{0}` is defined in {1} only, which is LLVM bitcode and no object")]
    Bitcode(String, String),
    /// A panic can be reached, through this function of Rust's library if it was not inlined. It compiled to a jump
    /// to itself, which the kernel refuses.
    #[error("this can panic{}, and BPF has no way to", .0.as_ref().map(|f| format!(" (`{f}`)")).unwrap_or_default())]
    Panic(Option<String>),
    /// A loop without end that is not Rust's.
    #[error("this loops for ever, and the kernel wants every program to end")]
    Endless,
    /// A jump leaves its function.
    #[error("jump to {} leaves the function", signed(*.0))]
    JumpOut(i64),
    /// A jump leads to the second slot of a `ld_imm64`.
    #[error("jump to {} leads into the middle of an instruction", signed(*.0))]
    JumpMiddle(i64),
    /// A call or a function's address leads to the middle of something.
    #[error("it refers to byte {1:#x} of `{0}`, where no function starts")]
    NotAFunction(String, i64),
    /// The last instruction is cut off, or the function is not a whole number of instructions.
    #[error("the code ends in the middle of an instruction")]
    CutCode,
    /// The relocation does not fit the instruction it applies to.
    #[error("relocation {0} against `{1}` does not fit this instruction")]
    WrongInsn(u32, String),
    /// A relocation leads past the end of what it refers to.
    #[error("relocation leads to byte {1:#x} of `{0}`, past its end")]
    PastEnd(String, i64),
    /// A variable holds an address, which no loader can fill in.
    #[error(
        "it holds the address of `{0}`: BPF has no pointers in global data that a loader could fill in"
    )]
    PointerInData(String),
    /// A call without a relocation, whose distance leads out of its section.
    #[error("this call leads to no function")]
    Nowhere,
    /// Functions call each other in a circle.
    #[error("recursion: the kernel takes no function that can call itself")]
    Recursion,
    /// More than eight functions are active at once.
    #[error("{0} functions active at once, and the kernel follows 8")]
    Depth(usize),
    /// A call path needs more stack than there is.
    #[error(
        "{bytes} bytes of stack along a call path (frames rounded up to 16), and the kernel gives {limit}"
    )]
    Stack {
        /// What the path takes, each function's frame rounded up as the kernel does.
        bytes: u32,
        /// What there is.
        limit: u32,
    },
    /// The path fits where a JIT compiler runs it on Linux 6.12 or later, and nowhere else.
    #[error(
        "{bytes} bytes of stack along a call path: more than {limit} to Linux before 6.12, which rounds frames up to 32"
    )]
    StackRounding {
        /// What older kernels count.
        bytes: u32,
        /// What there is.
        limit: u32,
    },
    /// The path fits on Linux 6.13 or later, which gives functions of tracing programs stacks of their own.
    #[error(
        "{bytes} bytes of stack along a call path: more than {limit} to Linux before 6.13 and to 32-bit machines"
    )]
    StackShared {
        /// What older kernels count.
        bytes: u32,
        /// What there is.
        limit: u32,
    },
    /// A function that makes tail calls is called where much of the stack is in use.
    #[error("a tail call below {0} bytes of stack, and the kernel wants less than 256 there")]
    TailCallStack(u32),
    /// A function other than the program makes a tail call and does not return an integer.
    #[error("a tail call in a function that does not return an integer")]
    TailCallReturns,
    /// More parameters than registers.
    #[error("the function takes {0} arguments, and BPF passes 5")]
    Arguments(usize),
    /// An atomic operation that does not fetch, and whose source register is read as if it had.
    #[error("`{insn}` does not fetch the old value, but {reader} reads r{register} as if it did")]
    Atomic {
        /// The instruction, as the verifier prints it.
        insn: String,
        /// The register.
        register: u8,
        /// Where it is read.
        reader: String,
    },
    /// An instruction that no kernel knows.
    #[error("opcode {0:#04x} is no BPF instruction")]
    Opcode(u8),
    /// A register that does not exist.
    #[error("register r{0} does not exist")]
    Register(u8),
    /// The frame pointer is written to.
    #[error("r10, the frame pointer, is written to")]
    FramePointer,
    /// A call of a helper by a number that none has.
    #[error("helper {0} does not exist")]
    Helper(i32),
    /// A call through a register.
    #[error("a call through a pointer, and BPF calls functions by name only")]
    IndirectCall,
    /// The second slot of a `ld_imm64` holds more than its immediate.
    #[error("the second half of a 64-bit constant is not one")]
    SecondSlot,
    /// Division by an immediate zero.
    #[error("division by zero")]
    DivideByZero,
    /// A shift by as many bits as there are, or more.
    #[error("shift by {0} bits of a {1}-bit register")]
    Shift(i32, u32),
    /// The last instruction of a function neither returns nor jumps.
    #[error("the function ends without returning")]
    FallsThrough,
    /// No path leads to an instruction.
    #[error("no path leads to this instruction, and the kernel refuses what it cannot reach")]
    Unreachable,
    /// A program is too long.
    #[error("{0} instructions with all that it calls, and the kernel takes 1000000")]
    TooMany(u64),
}

/// Bytes from the start of a function; negative before it.
fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    format!("{sign}{:#x}", bytes.unsigned_abs())
}

/// Refusals that can be turned into warnings, each by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// A reachable panic or `__bpf_trap`.
    Panic,
    /// Functions that call each other in a circle.
    Recursion,
    /// Too many functions active at once.
    Depth,
    /// Too much stack along a call path.
    Stack,
    /// Too many parameters.
    Arguments,
    /// An atomic operation whose result is read and was never fetched.
    Atomic,
    /// Single instructions that the kernel refuses.
    Code,
}

impl Check {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("panic", Self::Panic),
        ("recursion", Self::Recursion),
        ("depth", Self::Depth),
        ("stack", Self::Stack),
        ("arguments", Self::Arguments),
        ("atomic", Self::Atomic),
        ("code", Self::Code),
    ];
}

impl Problem {
    /// Which check found it; `None` where the output would be wrong whatever the kernel thinks.
    pub fn check(&self) -> Option<Check> {
        match self {
            Self::Panic(_) | Self::Endless => Some(Check::Panic),
            Self::Recursion => Some(Check::Recursion),
            Self::Depth(_) => Some(Check::Depth),
            Self::Stack { .. }
            | Self::StackRounding { .. }
            | Self::StackShared { .. }
            | Self::TailCallStack(_) => Some(Check::Stack),
            Self::Arguments(_) => Some(Check::Arguments),
            Self::Atomic { .. } => Some(Check::Atomic),
            Self::Opcode(_)
            | Self::Register(_)
            | Self::FramePointer
            | Self::Helper(_)
            | Self::IndirectCall
            | Self::DivideByZero
            | Self::Shift(..)
            | Self::FallsThrough
            | Self::Unreachable
            | Self::TailCallReturns
            | Self::TooMany(_) => Some(Check::Code),
            Self::Undefined(_)
            | Self::Bitcode(..)
            | Self::JumpOut(_)
            | Self::JumpMiddle(_)
            | Self::NotAFunction(..)
            | Self::CutCode
            | Self::WrongInsn(..)
            | Self::PastEnd(..)
            | Self::PointerInData(_)
            | Self::Nowhere
            | Self::SecondSlot => None,
        }
    }

    /// What to try, where the problem alone says enough.
    pub fn advice(&self) -> Option<String> {
        let text = match self {
            Self::Undefined(name) => return advice::undefined(name),
            Self::Bitcode(..) => super::bitcode::ADVICE,
            Self::Panic(function) => return Some(advice::panic(function.as_deref())),
            Self::Endless => "return instead, or give the loop a bound",
            Self::Recursion => {
                "a loop with a bound, a table of what is left to do, or bpf_loop (Linux 5.17)"
            }
            Self::Depth(_) => "#[inline(always)] on functions in the middle of the chain",
            Self::Stack { .. } | Self::StackRounding { .. } | Self::StackShared { .. } => {
                "move buffers into a per-CPU array map, or let functions that are never active together be inlined less"
            }
            Self::TailCallStack(_) => {
                "make the tail call in the program itself, or shrink the frames above it"
            }
            Self::TailCallReturns => "let the function return i32",
            Self::Arguments(_) => "pass a reference to a struct",
            Self::Atomic { .. } => {
                "Ordering::AcqRel or SeqCst where the result is used (LLVM issue 210280 concerns Relaxed)"
            }
            Self::Register(11..) => {
                "let functions take five arguments at most: compilers pass more by r11, which kernels do not know yet"
            }
            Self::Helper(_) => {
                "a helper is called by its number: is its declaration `static … = (void *) N`?"
            }
            Self::IndirectCall => {
                "match over the cases instead of `dyn` or function pointers, or tail calls through a program array"
            }
            Self::Shift(..) => {
                "compute the distance from what is known; a shift that far is undefined in C"
            }
            Self::FallsThrough => {
                "code that is said to be unreachable (`unreachable_unchecked`, a missing return) is reached"
            }
            Self::TooMany(_) => {
                "split the program by tail calls, or let loops stay loops (no unrolling)"
            }
            Self::JumpOut(_)
            | Self::JumpMiddle(_)
            | Self::NotAFunction(..)
            | Self::CutCode
            | Self::WrongInsn(..)
            | Self::PastEnd(..)
            | Self::PointerInData(_)
            | Self::Nowhere
            | Self::Opcode(_)
            | Self::Register(_)
            | Self::FramePointer
            | Self::SecondSlot
            | Self::DivideByZero
            | Self::Unreachable => return None,
        };
        Some(text.to_owned())
    }
}
