//! What the kernel would refuse later, and what a link says of it. One test an error text.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;

use support::{
    Sec, Source, Sym, address, call, check_error, exit, goto, helper, link_all, link_with, load,
    mov, mov_reg, op, store, warnings,
};
use xdplb_linker::btf::{Btf, Func, FuncProto, Int, Kind, Linkage, Param, TypeId};
use xdplb_linker::btf_ext::{BtfExt, FuncInfo, Group, LineInfo};
use xdplb_linker::elf::RelocationKind::{Call, Imm64};
use xdplb_linker::insn::Insn;
use xdplb_linker::link::{Check, Exports, Input, Options, link};

/// The link succeeds, with this warning or (the empty text) with none.
fn check_warnings(source: &Source, expected: &str) {
    let found = warnings(source).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.join("\n"), expected);
}

/// A program of these instructions, called `prog`.
fn program(insns: &[Insn]) -> (Source, Sec) {
    let mut source = Source::new();
    let xdp = function(&mut source, "xdp", "prog", insns).0;
    (source, xdp)
}

fn function(source: &mut Source, section: &str, name: &str, insns: &[Insn]) -> (Sec, Sym) {
    let sec = source.code(section, insns);
    let sym = source.func(name, sec, 0, insns.len() as u64 * 8);
    (sec, sym)
}

/// Source lines: section, byte, line, text.
fn lines(source: &mut Source, file: &str, all: &[(&str, u32, u32, &str)]) {
    let mut btf = Btf::new();
    let file_name = btf.strings.intern(file);
    let mut ext = BtfExt::default();
    for (section, insn_off, number, text) in all {
        let section = btf.strings.intern(section);
        let record = LineInfo {
            insn_off: *insn_off,
            file_name,
            line: btf.strings.intern(text),
            line_col: number << 10,
        };
        match ext
            .line_info
            .iter_mut()
            .find(|group| group.section == section)
        {
            Some(group) => group.records.push(record),
            None => ext.line_info.push(Group {
                section,
                records: vec![record],
            }),
        }
    }
    source.types(&btf, &ext);
}

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
fn all_problems_of_a_link_are_shown_together() {
    let (mut source, xdp) = program(&[call(-1), call(-1), goto(-1)]);
    let gone = source.undefined("gone");
    let memcpy = source.undefined("memcpy");
    source.relocate(xdp, 0, Call, gone);
    source.relocate(xdp, 8, Call, memcpy);
    check_error(
        &[&source],
        "1.o: xdp+0x0 (insn 0 in `prog`): `gone` is not defined by any input
error: 1.o: xdp+0x8 (insn 1 in `prog`): `memcpy` is not defined by any input
  try:  BPF has no `memcpy`: the compiler expands it where the length is constant and small; copy by a loop with a \
         bound, or by a helper (bpf_probe_read_kernel, bpf_xdp_load_bytes)
error: 1.o: xdp+0x10 (insn 2 in `prog`): this can panic, and BPF has no way to
  try:  handle the case: return an action where the program would panic; opt-level 3 and lto = \"fat\" remove checks \
         that cannot fail",
    );
}

#[test]
fn an_undefined_symbol_names_all_who_want_it() {
    let mut source = Source::new();
    let wide = source.undefined("__multi3");
    let one = function(&mut source, "xdp", "one", &[call(-1), exit()]).0;
    let two = function(
        &mut source,
        "xdp/devmap",
        "two",
        &[mov(1, 1), call(-1), exit()],
    )
    .0;
    source.relocate(one, 0, Call, wide);
    source.relocate(two, 8, Call, wide);
    lines(
        &mut source,
        "src/main.rs",
        &[("xdp", 0, 7, "a * b"), ("xdp/devmap", 0, 9, "b * c")],
    );
    check_error(
        &[&source],
        "1.o: xdp+0x0 (insn 0 in `one`): `__multi3` is not defined by any input
  src/main.rs:7: a * b
  also wanted by `two`, src/main.rs:9: b * c
  try:  `__multi3` is 128-bit arithmetic, which BPF lacks: u128, `checked_mul` and `saturating_mul` of u64 need it; \
         `wrapping_mul`, or a division before the multiplication, do not",
    );
}

#[test]
fn a_panic_that_was_inlined_shows_the_checks_that_lead_to_it() {
    // if r1 > 5 goto panic; …; panic: goto panic
    let check = op(0x25, 1, 0, 2, 5);
    let (mut source, _) = program(&[check, mov(0, 2), exit(), goto(-1)]);
    lines(
        &mut source,
        "src/main.rs",
        &[("xdp", 0, 3, "table[i]"), ("xdp", 24, 9, "loop {}")],
    );
    check_error(
        &[&source],
        "1.o: xdp+0x18 (insn 3 in `prog`): this can panic, and BPF has no way to
  src/main.rs:9: loop {}
  checked at src/main.rs:3: table[i]
  try:  handle the case: return an action where the program would panic; opt-level 3 and lto = \"fat\" remove checks \
         that cannot fail",
    );
}

#[test]
fn every_call_into_a_panic_is_shown() {
    let mut source = Source::new();
    let panic = function(
        &mut source,
        ".text.panic",
        "_RNvNtC4core6option13unwrap_failed",
        &[goto(-1)],
    )
    .1;
    let xdp = function(&mut source, "xdp", "prog", &[call(-1), call(-1), exit()]).0;
    source.relocate(xdp, 0, Call, panic);
    source.relocate(xdp, 8, Call, panic);
    lines(
        &mut source,
        "src/main.rs",
        &[("xdp", 0, 3, "one.unwrap()"), ("xdp", 8, 4, "two.unwrap()")],
    );
    let advice =
        "  try:  `let Some(x) = … else { return … }`, or `?`, instead of `unwrap` and `expect`";
    check_error(
        &[&source],
        &format!(
            "1.o: xdp+0x0 (insn 0 in `prog`): this can panic (`core::option::unwrap_failed`), and BPF has no way to
  src/main.rs:3: one.unwrap()
{advice}
error: 1.o: xdp+0x8 (insn 1 in `prog`): this can panic (`core::option::unwrap_failed`), and BPF has no way to
  src/main.rs:4: two.unwrap()
{advice}"
        ),
    );
}

#[test]
fn a_c_program_loops_instead_of_panicking() {
    let (mut source, _) = program(&[mov(0, 1), goto(-1)]);
    lines(&mut source, "drop.bpf.c", &[("xdp", 0, 12, "while (1) {")]);
    check_error(
        &[&source],
        "1.o: xdp+0x8 (insn 1 in `prog`): this loops for ever, and the kernel wants every program to end
  drop.bpf.c:12: while (1) {
  try:  return instead, or give the loop a bound",
    );
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

/// `lock *(u64 *)(r1 + 0) += r2`, with an immediate: 0, or 1 to fetch.
fn add(imm: i32) -> Insn {
    op(0xdb, 1, 2, 0, imm)
}

const ATOMIC_ADVICE: &str = "  try:  Ordering::AcqRel or SeqCst where the result is used (LLVM issue 210280 concerns Relaxed)";

#[test]
fn an_atomic_whose_result_was_never_fetched_is_refused() {
    let (mut source, _) = program(&[mov(2, 7), add(0), mov_reg(0, 2), exit()]);
    lines(
        &mut source,
        "src/main.rs",
        &[
            ("xdp", 8, 5, "COUNT.fetch_add(7, Relaxed)"),
            ("xdp", 16, 6, "old"),
        ],
    );
    check_error(
        &[&source],
        &format!(
            "1.o: xdp+0x8 (insn 1 in `prog`): `lock *(u64 *)(r1 +0) += r2` does not fetch the old value, but insn 2 \
             (src/main.rs:6) reads r2 as if it did
  src/main.rs:5: COUNT.fetch_add(7, Relaxed)
{ATOMIC_ADVICE}"
        ),
    );
}

#[test]
fn an_atomic_is_only_doubted_where_nothing_says_whose_it_is() {
    let (source, _) = program(&[mov(2, 7), add(0), mov_reg(0, 2), exit()]);
    check_warnings(
        &source,
        &format!(
            "1.o: xdp+0x8 (insn 1 in `prog`): `lock *(u64 *)(r1 +0) += r2` does not fetch the old value, but insn 2 reads r2 \
             as if it did
{ATOMIC_ADVICE}"
        ),
    );
}

#[test]
fn atomics_that_fetch_or_whose_operand_is_written_first_are_fine() {
    for insns in [
        vec![mov(2, 7), add(1), mov_reg(0, 2), exit()],
        vec![mov(2, 7), add(0), mov(2, 1), mov_reg(0, 2), exit()],
        // map_lookup_elem takes r1 and r2, which was written; get_prandom_u32 takes nothing
        vec![mov(2, 7), add(0), helper(7), exit()],
        vec![mov(2, 7), add(0), load(2, 1, 0), helper(1), exit()],
    ] {
        check_warnings(&program(&insns).0, "");
    }
    // … and takes r2 as it is
    let taken = program(&[mov(2, 7), add(0), helper(1), exit()]).0;
    check_warnings(
        &taken,
        &format!(
            "1.o: xdp+0x8 (insn 1 in `prog`): `lock *(u64 *)(r1 +0) += r2` does not fetch the old value, but insn 2 reads r2 \
             as if it did
{ATOMIC_ADVICE}"
        ),
    );
}

#[test]
fn instructions_must_be_instructions() {
    let check = |insns: &[Insn], expected: &str| check_error(&[&program(insns).0], expected);
    check(
        &[op(0xff, 0, 0, 0, 0), exit()],
        "1.o: xdp+0x0 (insn 0 in `prog`): opcode 0xff is no BPF instruction",
    );
    check(
        &[mov(11, 0), exit()],
        "1.o: xdp+0x0 (insn 0 in `prog`): register r11 does not exist
  try:  let functions take five arguments at most: compilers pass more by r11, which kernels do not know yet",
    );
    check(
        &[helper(0), exit()],
        "1.o: xdp+0x0 (insn 0 in `prog`): helper 0 does not exist
  try:  a helper is called by its number: is its declaration `static … = (void *) N`?",
    );
    check(
        &[op(0x8d, 0, 0, 0, 3), exit()],
        "1.o: xdp+0x0 (insn 0 in `prog`): a call through a pointer, and BPF calls functions by name only
  try:  match over the cases instead of `dyn` or function pointers, or tail calls through a program array",
    );
    let [lo, hi] = address(1, 0);
    check(
        &[lo, Insn { dst: 1, ..hi }, exit()],
        "1.o: xdp+0x0 (insn 0 in `prog`): the second half of a 64-bit constant is not one",
    );
    check(
        &[goto(1), lo, hi, exit()],
        "1.o: xdp+0x0 (insn 0 in `prog`): jump to +0x10 leads into the middle of an instruction",
    );
    check(
        &[goto(-9), exit()],
        "1.o: xdp+0x0 (insn 0 in `prog`): jump to -0x40 leaves the function",
    );
}

#[test]
fn what_the_verifier_sees_only_where_it_walks_is_a_warning() {
    let check = |insn, expected: &str| {
        check_warnings(&program(&[insn, mov(0, 0), exit()]).0, expected);
    };
    check(
        mov(10, 0),
        "1.o: xdp+0x0 (insn 0 in `prog`): r10, the frame pointer, is written to",
    );
    check(
        op(0x37, 1, 0, 0, 0),
        "1.o: xdp+0x0 (insn 0 in `prog`): division by zero",
    );
    check(
        op(0x67, 1, 0, 0, 64),
        "1.o: xdp+0x0 (insn 0 in `prog`): shift by 64 bits of a 64-bit register
  try:  compute the distance from what is known; a shift that far is undefined in C",
    );
}

#[test]
fn control_stays_within_a_function_and_reaches_all_of_it() {
    check_error(
        &[&program(&[mov(0, 0)]).0],
        "1.o: xdp+0x0 (insn 0 in `prog`): the function ends without returning
  try:  code that is said to be unreachable (`unreachable_unchecked`, a missing return) is reached",
    );
    check_error(
        &[&program(&[exit(), mov(0, 0), exit()]).0],
        "1.o: xdp+0x8 (insn 1 in `prog`): no path leads to this instruction, and the kernel refuses what it cannot reach",
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
