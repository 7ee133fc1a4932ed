//! What the kernel would refuse of whole chains of calls: recursion, depth, stack, arguments, length.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;

use support::programs::{check_warnings, function, lines, program};
use support::{
    Source, address, call, check_error, exit, helper, link_all, link_with, mov, mov_reg, op, store,
};
use xdplb_linker::btf::{Btf, Func, FuncProto, Int, Kind, Linkage, Param, TypeId};
use xdplb_linker::btf_ext::{BtfExt, FuncInfo, Group};
use xdplb_linker::elf::RelocationKind::{Call, Imm64};
use xdplb_linker::insn::Insn;
use xdplb_linker::link::{Check, Exports, Input, Options, link};

/// `n` functions that call one another in a row, the first a program; each uses `bytes` of stack.
fn chain(n: usize, bytes: i16) -> Source {
    let mut source = Source::new();
    let mut all = Vec::new();
    for index in 0..n {
        let last = index + 1 == n;
        let mut insns = Vec::new();
        if bytes > 0 {
            insns.push(store(10, -bytes, 0));
        }
        if !last {
            insns.push(call(-1));
        }
        insns.extend([mov(0, 2), exit()]);
        let section = if index == 0 {
            "xdp".to_owned()
        } else {
            format!(".text.f{index}")
        };
        all.push(function(
            &mut source,
            &section,
            &format!("f{index}"),
            &insns,
        ));
    }
    for pair in all.windows(2) {
        let at = if bytes > 0 { 8 } else { 0 };
        source.relocate(pair[0].0, at, Call, pair[1].1);
    }
    source
}

#[test]
fn recursion_is_shown_call_by_call() {
    let mut source = Source::new();
    let xdp = function(&mut source, "xdp", "prog", &[call(-1), exit()]).0;
    let (a, a_sym) = function(&mut source, ".text.a", "a", &[mov(1, 1), call(-1), exit()]);
    let (b, b_sym) = function(&mut source, ".text.b", "b", &[call(-1), exit()]);
    source.relocate(xdp, 0, Call, a_sym);
    source.relocate(a, 8, Call, b_sym);
    source.relocate(b, 0, Call, a_sym);
    lines(
        &mut source,
        "src/main.rs",
        &[
            ("xdp", 0, 3, "a(1)"),
            (".text.a", 8, 8, "b()"),
            (".text.b", 0, 12, "a(2)"),
        ],
    );
    check_error(
        &[&source],
        "1.o: .text.a+0x8 (insn 1 in `a`): recursion: the kernel takes no function that can call itself
  src/main.rs:8: b()
  `b` is called by `a`, src/main.rs:8: b()
  `a` is called by `b`, src/main.rs:12: a(2)
  called by `prog`, src/main.rs:3: a(1)
  try:  a loop with a bound, a table of what is left to do, or bpf_loop (Linux 5.17)",
    );
}

#[test]
fn eight_functions_may_be_active_and_nine_may_not() {
    link_all(&[&chain(8, 0)]).unwrap();
    check_error(
        &[&chain(9, 0)],
        "1.o: xdp+0x0 (insn 0 in `f0`): 9 functions active at once, and the kernel follows 8
  `f0` calls at insn 0
  `f1` calls at insn 0
  `f2` calls at insn 0
  `f3` calls at insn 0
  `f4` calls at insn 0
  `f5` calls at insn 0
  `f6` calls at insn 0
  `f7` calls at insn 0
  `f8`
  try:  #[inline(always)] on functions in the middle of the chain",
    );
}

const STACK_ADVICE: &str = "  try:  move buffers into a per-CPU array map, or let functions that are never active \
    together be inlined less";

#[test]
fn stack_is_summed_along_the_calls() {
    link_all(&[&chain(2, 256)]).unwrap();
    check_error(
        &[&chain(2, 264)],
        &format!(
            "1.o: xdp+0x0 (insn 0 in `f0`): 544 bytes of stack along a call path (frames rounded up to 16), and the kernel \
             gives 512
  264 bytes in `f0` calls at insn 1
  264 bytes in `f1`
{STACK_ADVICE}"
        ),
    );
}

#[test]
fn frames_that_older_kernels_round_up_further_are_a_warning() {
    // Two of 130 and one of 210: 512 by sixteens, 544 by thirty-twos.
    let mut source = chain(2, 130);
    let (last, _) = function(&mut source, "xdp.frags", "other", &[call(-1), exit()]);
    let callee = function(
        &mut source,
        ".text.large",
        "large",
        &[store(10, -500, 0), mov(0, 0), exit()],
    )
    .1;
    source.relocate(last, 0, Call, callee);
    check_warnings(
        &source,
        &format!(
            "1.o: xdp.frags+0x0 (insn 0 in `other`): 544 bytes of stack along a call path: more than 512 to Linux before \
             6.12, which rounds frames up to 32
    0 bytes in `other` calls at insn 0
  500 bytes in `large`
{STACK_ADVICE}"
        ),
    );
    check_warnings(&chain(2, 240), "");
}

#[test]
fn functions_of_tracing_programs_have_stacks_of_their_own_on_new_kernels() {
    let mut source = Source::new();
    let frame = [store(10, -300, 0), call(-1), mov(0, 0), exit()];
    let program = function(&mut source, "kprobe/do_exit", "probe", &frame).0;
    let callee = [store(10, -300, 0), mov(0, 0), exit()];
    let callee = function(&mut source, ".text.callee", "callee", &callee).1;
    source.relocate(program, 8, Call, callee);
    check_warnings(
        &source,
        &format!(
            "1.o: kprobe/do_exit+0x0 (insn 0 in `probe`): 608 bytes of stack along a call path: more than 512 to Linux before \
             6.13 and to 32-bit machines
  300 bytes in `probe` calls at insn 1
  300 bytes in `callee`
{STACK_ADVICE}"
        ),
    );
}

#[test]
fn an_address_handed_to_a_helper_is_part_of_the_frame() {
    // r2 = r10; r2 += -520; call 1 (map_lookup_elem takes two arguments)
    let take = |helper_number| {
        [
            mov_reg(2, 10),
            op(0x07, 2, 0, 0, -520),
            helper(helper_number),
            exit(),
        ]
    };
    check_error(
        &[&program(&take(1)).0],
        &format!(
            "1.o: xdp+0x0 (insn 0 in `prog`): 528 bytes of stack along a call path (frames rounded up to 16), and the kernel \
             gives 512
  520 bytes in `prog`
{STACK_ADVICE}"
        ),
    );
    // get_prandom_u32 takes none: the register holds what is left of something else
    link_all(&[&program(&take(7)).0]).unwrap();
}

#[test]
fn callbacks_count_where_their_address_is_taken_unless_they_run_later() {
    let build = |number| {
        let mut source = Source::new();
        let [lo, hi] = address(2, 0);
        let insns = [
            store(10, -264, 0),
            lo,
            hi,
            helper(number),
            mov(0, 0),
            exit(),
        ];
        let xdp = function(&mut source, "xdp", "prog", &insns).0;
        let callback = function(
            &mut source,
            ".text.callback",
            "callback",
            &[store(10, -264, 0), mov(0, 0), exit()],
        )
        .1;
        source.relocate(xdp, 8, Imm64, callback);
        source
    };
    // bpf_loop calls it at once, bpf_timer_set_callback has it called later, on another stack
    check_error(
        &[&build(181)],
        &format!(
            "1.o: xdp+0x0 (insn 0 in `prog`): 544 bytes of stack along a call path (frames rounded up to 16), and the kernel \
             gives 512
  264 bytes in `prog` calls at insn 1
  264 bytes in `callback`
{STACK_ADVICE}"
        ),
    );
    link_all(&[&build(170)]).unwrap();
}

#[test]
fn tail_calls_leave_half_the_stack() {
    let build = |bytes: i16| {
        let mut source = Source::new();
        let insns = [store(10, -bytes, 0), call(-1), mov(0, 0), exit()];
        let xdp = function(&mut source, "xdp", "prog", &insns).0;
        let jump = function(
            &mut source,
            ".text.jump",
            "jump",
            &[helper(12), mov(0, 0), exit()],
        )
        .1;
        source.relocate(xdp, 8, Call, jump);
        source
    };
    link_all(&[&build(240)]).unwrap();
    check_error(
        &[&build(248)],
        "1.o: .text.jump+0x0 (insn 0 in `jump`): a tail call below 256 bytes of stack, and the kernel wants less than 256 \
         there
  248 bytes in `prog`, insn 1
  try:  make the tail call in the program itself, or shrink the frames above it",
    );
}

/// A program and a function that it calls, described as taking `count` numbers and returning `returns` bytes.
fn described(callee: &[Insn], count: usize, returns: u32) -> Source {
    let mut source = Source::new();
    let xdp = function(&mut source, "xdp", "prog", &[call(-1), exit()]).0;
    let many = function(&mut source, ".text.many", "many", callee).1;
    source.relocate(xdp, 0, Call, many);
    let mut btf = Btf::new();
    let int = |size: u32| {
        Kind::Int(Int {
            size,
            encoding: 0,
            bit_offset: 0,
            bits: (size * 8) as u8,
        })
    };
    let number = btf.add("u32", int(4));
    let returns = match returns {
        0 => TypeId::VOID,
        size => btf.add("i", int(size)),
    };
    let name = btf.strings.intern("x");
    let params = vec![Param { name, ty: number }; count];
    let proto = btf.add("", Kind::FuncProto(FuncProto { returns, params }));
    let linkage = Linkage::Global;
    let type_id = btf.add("many", Kind::Func(Func { proto, linkage }));
    let section = btf.strings.intern(".text.many");
    let insn_off = 0;
    let records = vec![FuncInfo { insn_off, type_id }];
    let ext = BtfExt {
        func_info: vec![Group { section, records }],
        ..BtfExt::default()
    };
    source.types(&btf, &ext);
    source
}

#[test]
fn a_function_verified_alone_takes_five_arguments() {
    let source = described(&[mov(0, 0), exit()], 6, 4);
    // Static, its type does not matter: the optimiser removed what did not fit.
    link_with(&[&source], Exports::Named(BTreeSet::new())).unwrap();
    check_error(
        &[&source],
        "1.o: .text.many+0x0 (insn 0 in `many`): the function takes 6 arguments, and BPF passes 5
  called by `prog`, insn 0
  try:  pass a reference to a struct",
    );
}

#[test]
fn a_function_that_makes_tail_calls_returns_an_integer() {
    link_all(&[&described(&[helper(12), mov(0, 0), exit()], 1, 4)]).unwrap();
    check_error(
        &[&described(&[helper(12), mov(0, 0), exit()], 1, 0)],
        "1.o: .text.many+0x0 (insn 0 in `many`): a tail call in a function that does not return an integer
  called by `prog`, insn 0
  try:  let the function return i32",
    );
}

#[test]
fn a_program_may_be_a_million_instructions_long() {
    let mut insns = vec![mov(0, 0); 1_000_000];
    insns.push(exit());
    check_error(
        &[&program(&insns).0],
        "1.o: xdp+0x0 (insn 0 in `prog`): 1000001 instructions with all that it calls, and the kernel takes 1000000
  try:  split the program by tail calls, or let loops stay loops (no unrolling)",
    );
}

#[test]
fn a_check_can_be_told_to_warn() {
    let bytes = chain(9, 0).bytes();
    let inputs = [Input {
        name: "1.o",
        bytes: &bytes,
    }];
    let options = Options {
        allow: BTreeSet::from([Check::Depth]),
        ..Options::default()
    };
    let output = link(&inputs, &options).unwrap();
    assert_eq!(output.warnings.len(), 1);
}
