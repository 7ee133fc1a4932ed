//! What the kernel would refuse of single places, and what a link says of it. One test an error text.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::programs::{check_warnings, function, lines, program};
use support::{Source, address, call, check_error, exit, goto, helper, load, mov, mov_reg, op};
use xdplb_linker::elf::RelocationKind::Call;
use xdplb_linker::insn::Insn;

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
