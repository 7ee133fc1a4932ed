//! The story's data: plain values, which are written as JSON as they stand.

use serde::Serialize;

/// The form of this data: a number that grows when a field changes its meaning.
pub const FORMAT: u32 = 1;

/// A load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Story {
    /// [`FORMAT`].
    pub format: u32,
    /// Who tells it: `xdplb-load 0.1.0`.
    pub teller: String,
    /// Whether it ends before the first system call: a dry run.
    pub dry_run: bool,
    /// The kernel it happened in.
    pub kernel: Kernel,
    /// What was loaded.
    pub object: Object,
    /// The stages it went through, in order; those without events are left out.
    pub stages: Vec<StageOf>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The object's maps, in the order of the plan.
    pub maps: Vec<MapOf>,
    /// The object's programs, in the order of the plan.
    pub programs: Vec<ProgramOf>,
    /// In a dry run: what the kernel it is for would make of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foretold: Option<Foretold>,
    /// How it ended.
    pub outcome: Outcome,
}

/// What a kernel would make of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Foretold {
    /// Its release: `5.10`.
    pub release: String,
    /// What it has not and the plan uses: it refuses the map, or the program if that can get there.
    pub lacks: Vec<LackOf>,
    /// What this loader does differently there.
    pub manners: Vec<String>,
}

/// Something that a kernel has not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LackOf {
    /// What: `helper bpf_loop`.
    pub what: String,
    /// The release that brought it; none where that is not known here.
    pub since: Option<String>,
    /// The map that needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// The program that needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insn: Option<u32>,
    /// Its source line: `flows.rs:41`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
}

/// A kernel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kernel {
    /// `6.18.0`, as uname(2) says it.
    pub release: String,
    /// `x86_64`: what the machine code is for.
    pub machine: String,
    /// `net.core.bpf_jit_enable`; none where it cannot be read.
    pub jit: Option<u32>,
}

/// An object file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Object {
    /// Where it is; empty for the program that is built in.
    pub path: String,
    /// Its license.
    pub license: String,
    /// How many types its BTF has; none without BTF.
    pub types: Option<usize>,
}

/// How a load ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Whether everything was loaded.
    pub ok: bool,
    /// What failed, each with its whole text.
    pub errors: Vec<String>,
}

/// A part of the load path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The object's bytes become a specification.
    Read,
    /// What the object asks of the machine is read.
    Machine,
    /// The specification becomes a plan: maps to create, instructions to patch.
    Plan,
    /// BTF goes to the kernel.
    Types,
    /// Maps are created, filled, frozen, pinned.
    Maps,
    /// Instructions get their maps, and programs go to the verifier.
    Programs,
    /// What the kernel gives back of a program.
    GivenBack,
    /// Slots of maps and tables are filled once the programs are there.
    Fill,
    /// The program goes to its interface.
    Attach,
    /// What comes after.
    After,
}

/// A stage of this load.
#[derive(Clone, Debug, Serialize)]
pub struct StageOf {
    /// Which.
    pub stage: Stage,
    /// Its name, for people.
    pub title: &'static str,
    /// What happens in it, in a sentence.
    pub about: &'static str,
    /// The numbers of its events in [`Story::events`].
    pub events: Vec<usize>,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Its place in [`Story::events`].
    pub number: usize,
    /// When.
    pub stage: Stage,
    /// In one line.
    pub text: String,
    /// The program it is about, where it is about one: its place in [`Story::programs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<usize>,
    /// The map it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<usize>,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

/// What an event is; `kind` in JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)]
pub enum What {
    /// A step of the load path.
    Step {
        /// Which: `map_created`, `relocated`, …
        step: &'static str,
        /// The instruction it is about.
        #[serde(skip_serializing_if = "Option::is_none")]
        insn: Option<u32>,
    },
    /// A bpf(2) command.
    Call(CallOf),
    /// What the kernel answered to a question; the calls that it took come before, with the same `purpose`.
    Probe {
        /// What was asked.
        question: String,
        /// The answer.
        answer: bool,
    },
    /// A netlink datagram.
    Netlink(NetlinkOf),
}

/// A bpf(2) command.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CallOf {
    /// Its number (`enum bpf_cmd`).
    pub command: u32,
    /// `BPF_PROG_LOAD`.
    pub name: String,
    /// What the command is for, in a sentence.
    pub meaning: String,
    /// The question to the kernel that it is part of: a probe's, or `what to tell here`, which only `--explain` asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The block of arguments as it was passed.
    pub bytes: String,
    /// Its fields, ascending; what no field covers is padding.
    pub fields: Vec<Part>,
    /// What came back; none in a dry run.
    pub result: Option<ResultOf>,
    /// How long the kernel took.
    pub elapsed_us: u64,
}

/// What a command gave back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ResultOf {
    /// Whether it succeeded.
    pub ok: bool,
    /// A descriptor or a number; an errno where it failed.
    pub value: i64,
    /// In words: `descriptor 5`, `EINVAL: …`.
    pub words: String,
}

/// A stretch of bytes and what it means; a tree where it has parts of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What the kernel's header calls it.
    pub name: String,
    /// Where it begins, from the start of the whole (the block, the datagram, what a pointer leads to).
    pub offset: usize,
    /// How many bytes.
    pub width: usize,
    /// The bytes; empty where `parts` cover them.
    pub bytes: String,
    /// The value as a number, a name, an address.
    pub value: String,
    /// The value's meaning: `BPF_PROG_TYPE_XDP`, `BPF_F_RDONLY_PROG`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub words: String,
    /// What the field is for, and why it has this value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub meaning: String,
    /// Whether the loader wrote it; false: the kernel's zero, or something the kernel filled in.
    pub set: bool,
    /// The value after the call, where the kernel changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// In a dry run: the value is known only when the load happens (a descriptor).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unknown_yet: bool,
    /// What it consists of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// What it points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points_to: Option<Box<PointedOf>>,
}

/// Bytes that a field points to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PointedOf {
    /// What they are: `instructions`, `license`, `BTF`, `func_info`, `log`, …
    pub what: String,
    /// `in`: the kernel reads them. `out`: it writes them.
    pub direction: String,
    /// How many there are.
    pub len: usize,
    /// The bytes, from the first.
    pub bytes: String,
    /// Whether these are all of them.
    pub whole: bool,
    /// As text, where they are text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What they consist of, as far as it is told: `more` says what is left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// What `parts` leave out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<String>,
}

/// A netlink datagram.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NetlinkOf {
    /// `loader` or `kernel`.
    pub sender: String,
    /// What the exchange is for.
    pub purpose: String,
    /// How many bytes.
    pub len: usize,
    /// The bytes, from the first.
    pub bytes: String,
    /// Whether these are all of them.
    pub whole: bool,
    /// Its messages, each a tree: header, fixed part, attributes.
    pub messages: Vec<Part>,
}

/// A map of the object.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MapOf {
    /// The object's name for it.
    pub name: String,
    /// The kernel's.
    pub kernel_name: String,
    /// Its type.
    pub r#type: String,
    #[allow(missing_docs)]
    pub key_size: u32,
    #[allow(missing_docs)]
    pub value_size: u32,
    #[allow(missing_docs)]
    pub max_entries: u32,
    /// Its flags in words.
    pub flags: String,
    /// Our descriptor, once it is there.
    pub fd: Option<i32>,
    /// The kernel's number for it.
    pub id: Option<u32>,
    /// What the object wants in it from the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contents: Option<String>,
    /// Whether the contents are frozen before a program is verified.
    pub frozen: bool,
}

/// A program of the object.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProgramOf {
    /// The function's name.
    pub name: String,
    /// The section it is in.
    pub section: String,
    /// Its type.
    pub r#type: String,
    /// Where it attaches.
    pub attach_type: String,
    /// The functions it is made of, its own first.
    pub functions: Vec<FunctionOf>,
    /// The source lines that instructions come from, ascending by instruction.
    pub lines: Vec<LineOf>,
    /// Its instructions, one an entry, also those of two slots.
    pub insns: Vec<InsnOf>,
    /// What was changed between the object and the kernel, by instruction.
    pub relocations: Vec<RelocationOf>,
    /// What the verifier went through, where its log was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifier: Option<VerifierOf>,
    /// The program in the kernel; none when it was not loaded.
    pub loaded: Option<LoadedOf>,
}

/// A function of a program.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FunctionOf {
    /// Its name.
    pub name: String,
    /// Its first instruction in the program.
    pub insn: u32,
    /// Its section in the object.
    pub section: String,
    /// Where it begins there, in bytes.
    pub offset: u64,
}

/// A source line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LineOf {
    /// The first instruction that comes from it.
    pub insn: u32,
    /// The file, as the compiler was given it.
    pub file: String,
    /// From 1; 0: the compiler made it up.
    pub line: u32,
    /// From 1; 0: unknown.
    pub column: u32,
    /// Its text; read from the file where the object has none and the file is there; else empty.
    pub text: String,
}

/// An instruction, in the forms that it goes through.
#[derive(Clone, Debug, Default, Serialize)]
pub struct InsnOf {
    /// Its place in the program.
    pub insn: u32,
    /// Which of [`ProgramOf::functions`].
    pub function: usize,
    /// Which of [`ProgramOf::lines`].
    pub line: Option<usize>,
    /// As it stands in the object; none for what the loader added.
    pub object: Option<Code>,
    /// As it goes to the kernel. In a dry run places of descriptors hold 0.
    pub relocated: Code,
    /// Which of [`ProgramOf::relocations`] changed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relocations: Vec<usize>,
}

/// An instruction's bytes and its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Code {
    /// Eight bytes, or sixteen.
    pub bytes: String,
    /// As the verifier's log writes it.
    pub text: String,
}

/// A change to an instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RelocationOf {
    /// Which instruction.
    pub insn: u32,
    /// `map`: a map's descriptor. `map_value`: an address in a map's only value. `core`: the kernel's own layout (CO-RE).
    /// `call`: the distance to a function of the program. `function`: the address of one. `kernel`: something of the kernel.
    /// `poisoned`: what this kernel does not have.
    pub kind: &'static str,
    /// What the object calls it: a symbol, or `struct sk_buff.len` for CO-RE.
    pub symbol: String,
    /// Which of [`Story::maps`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<usize>,
    /// Bytes into the map's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
    /// For CO-RE: what was asked (`byte_off`), and the number in the object and in this kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core: Option<CoreOf>,
    /// The instruction before.
    pub before: Code,
    /// The instruction after.
    pub after: Code,
    /// In a sentence.
    pub text: String,
}

/// A question about the kernel's types.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CoreOf {
    /// `byte_off`, `byte_sz`, `field_exists`, …
    pub question: String,
    /// What the object's types say.
    pub original: i64,
    /// What this kernel's say; none where it has no such thing.
    pub answer: Option<i64>,
}

/// What the verifier went through (`log_level` 2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifierOf {
    /// Bytes of the log.
    pub len: usize,
    /// Whether this is the whole log; the kernel keeps the end of one that outgrows its buffer.
    pub whole: bool,
    /// What it knew, by instruction, ascending.
    pub insns: Vec<StatesOf>,
    /// Its last lines: how much work it was, and the stack's depth.
    pub summary: Vec<String>,
}

/// What the verifier knew at an instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatesOf {
    /// Which.
    pub insn: u32,
    /// How often the log passes here: on how many paths it was looked at.
    pub visits: usize,
    /// The first few visits.
    pub states: Vec<StateOf>,
}

/// One visit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StateOf {
    /// Where the path came from, where it is not the instruction before: a branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// Registers and stack before, as the log writes them; empty where it does not.
    pub before: String,
    /// What the instruction changed.
    pub after: String,
}

/// A program in the kernel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoadedOf {
    /// The kernel's number for it.
    pub id: u32,
    /// Our descriptor.
    pub fd: i32,
    /// A hash of its instructions.
    pub tag: String,
    /// The kernel's numbers of its maps.
    pub map_ids: Vec<u32>,
    /// The kernel's number of its types.
    pub btf_id: u32,
    /// How many instructions the verifier walked through.
    pub verified_insns: u32,
    /// How long the load took.
    pub elapsed_us: u64,
    /// The instructions after the verifier's rewrites.
    pub xlated: Vec<XlatedOf>,
    /// The machine code, function by function.
    pub jited: Vec<JitedOf>,
    /// Why code is missing, where it is.
    pub hidden: Vec<String>,
}

/// An instruction after the verifier's rewrites.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct XlatedOf {
    /// Its place, in slots.
    pub insn: u32,
    /// Which of [`ProgramOf::lines`] it comes from.
    pub line: Option<usize>,
    /// Bytes and text.
    #[serde(flatten)]
    pub code: Code,
}

/// The machine code of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JitedOf {
    /// The function's name, as far as it is known.
    pub name: String,
    /// Where it begins in the kernel's memory; 0 where the kernel does not say (`kernel.kptr_restrict`).
    pub address: String,
    /// Its bytes.
    pub bytes: String,
    /// Which bytes come from which line, ascending: each reaches to the next.
    pub lines: Vec<JitedLineOf>,
}

/// Machine code of one source line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JitedLineOf {
    /// Bytes from the function's start.
    pub offset: usize,
    /// How many.
    pub len: usize,
    /// Which of [`ProgramOf::lines`].
    pub line: Option<usize>,
}
