//! Every error that a link can end in, with its text.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{Source, address, call, check_error, exit, goto, link_all, mov, rich};
use xdplb_linker::elf::RelocationKind::{Abs64, Call, Imm64};
use xdplb_linker::link::{Input, LinkError, Options, link};

/// An object with one program of these instructions.
fn program(insns: &[xdplb_linker::insn::Insn]) -> (Source, support::Sec) {
    let mut source = Source::new();
    let xdp = source.code("xdp", insns);
    source.func("prog", xdp, 0, insns.len() as u64 * 8);
    (source, xdp)
}

#[test]
fn an_undefined_symbol_names_who_wants_it() {
    let (mut source, xdp) = program(&[mov(0, 1), call(-1), exit()]);
    let symbol = source.undefined("_RNvNtC4core9panicking5panic");
    source.relocate(xdp, 8, Call, symbol);
    check_error(
        &[&source],
        "1.o: xdp+0x8 (insn 1 in `prog`): `core::panicking::panic` is not defined by any input
  try:  compile with lto = \"fat\", so that `core` takes part; if this is a panic, avoid it",
    );
}

#[test]
fn a_panic_is_shown_where_its_author_can_help() {
    // `prog` calls `look`, whose bounds check calls into core, where the panic handler loops.
    let mut source = Source::new();
    let handler = source.code(".text.panic", &[goto(-1)]);
    let panic = source.func("_RNvNtC4core9panicking18panic_bounds_check", handler, 0, 8);
    let look_code = source.code(".text.look", &[mov(0, 1), call(-1), exit()]);
    let look = source.func("_RNvC4prog4look", look_code, 0, 24);
    source.relocate(look_code, 8, Call, panic);
    let xdp = source.code("xdp", &[call(-1), exit()]);
    source.func("prog", xdp, 0, 16);
    source.relocate(xdp, 0, Call, look);
    check_error(
        &[&source],
        "1.o: .text.look+0x8 (insn 1 in `prog::look`): this can panic (`core::panicking::panic_bounds_check`), \
         and BPF has no way to
  called by `prog`, insn 0
  try:  `get(index)` and handle None, or compare the index with the length first",
    );
}

#[test]
fn a_loop_for_ever_is_a_panic() {
    let (source, _) = program(&[mov(0, 1), goto(-1)]);
    check_error(
        &[&source],
        "1.o: xdp+0x8 (insn 1 in `prog`): this can panic, and BPF has no way to
  try:  handle the case: return an action where the program would panic; opt-level 3 and lto = \"fat\" remove checks \
         that cannot fail",
    );
}

#[test]
fn llvms_trap_is_a_panic() {
    let (mut source, xdp) = program(&[call(-1), exit()]);
    let symbol = source.undefined("__bpf_trap");
    source.relocate(xdp, 0, Call, symbol);
    check_error(
        &[&source],
        "1.o: xdp+0x0 (insn 0 in `prog`): this can panic, and BPF has no way to
  try:  handle the case: return an action where the program would panic; opt-level 3 and lto = \"fat\" remove checks \
         that cannot fail",
    );
}

#[test]
fn code_must_stay_within_its_function() {
    let (source, _) = program(&[goto(5), exit()]);
    check_error(
        &[&source],
        "1.o: xdp+0x0 (insn 0 in `prog`): jump to +0x30 leaves the function",
    );
    let (source, _) = program(&[mov(0, 1), address(1, 0)[0]]);
    check_error(
        &[&source],
        "1.o: xdp+0x8 (insn 1 in `prog`): the code ends in the middle of an instruction",
    );
    let (source, _) = program(&[call(7), exit()]);
    check_error(
        &[&source],
        "1.o: xdp+0x0 (insn 0 in `prog`): this call leads to no function",
    );
}

#[test]
fn a_call_must_lead_to_a_function() {
    let (mut source, xdp) = program(&[call(-1), exit()]);
    let data = source.data(".data", &[0; 8], 8);
    let symbol = source.object("STATE", data, 0, 8);
    source.relocate(xdp, 0, Call, symbol);
    check_error(
        &[&source],
        "1.o: xdp+0x0 (insn 0 in `prog`): it refers to byte 0x0 of `STATE`, where no function starts",
    );
}

#[test]
fn a_relocation_must_fit_its_instruction() {
    let (mut source, xdp) = program(&[mov(0, 1), mov(0, 2), exit()]);
    let data = source.data(".data", &[0; 8], 8);
    let symbol = source.object("STATE", data, 0, 8);
    source.relocate(xdp, 0, Imm64, symbol);
    check_error(
        &[&source],
        "1.o: xdp+0x0 (insn 0 in `prog`): relocation 1 against `STATE` does not fit this instruction",
    );
}

#[test]
fn a_relocation_must_stay_within_its_target() {
    let [lo, hi] = address(1, 100);
    let (mut source, xdp) = program(&[lo, hi, exit()]);
    let data = source.data(".data", &[0; 8], 8);
    let symbol = source.object("STATE", data, 0, 8);
    source.relocate(xdp, 0, Imm64, symbol);
    check_error(
        &[&source],
        "1.o: xdp+0x0 (insn 0 in `prog`): relocation leads to byte 0x64 of `STATE`, past its end",
    );
}

#[test]
fn variables_hold_no_addresses() {
    let (mut source, _) = program(&[exit()]);
    let data = source.data(".data.TABLE", &[0; 8], 8);
    let text = source.constants(".rodata.text", b"text", 1);
    source.object("TABLE", data, 0, 8);
    let symbol = source.object("TEXT", text, 0, 4);
    source.relocate(data, 0, Abs64, symbol);
    check_error(
        &[&source],
        "1.o: .data.TABLE+0x0: it holds the address of `TEXT`: BPF has no pointers in global data that a loader could \
         fill in",
    );
}

#[test]
fn a_symbol_is_defined_once() {
    let (one, _) = program(&[exit()]);
    let (two, _) = program(&[mov(0, 2), exit()]);
    check_error(&[&one, &two], "2.o: `prog` is already defined in 1.o");
}

#[test]
fn licenses_must_agree() {
    let licensed = |text: &[u8], name: &str| {
        let mut source = Source::new();
        let xdp = source.code("xdp", &[exit()]);
        source.func(name, xdp, 0, 8);
        source.constants("license", text, 1);
        source
    };
    check_error(
        &[&licensed(b"GPL\0", "one"), &licensed(b"MIT\0", "two")],
        "2.o: section `license` is \"MIT\", and in 1.o it is \"GPL\"",
    );
}

#[test]
fn the_source_line_is_shown_where_it_is_known() {
    let mut source = rich();
    let gone = source.undefined("gone");
    source.retarget(support::Sec(0), 32, gone); // the call in `xdp`
    check_error(
        &[&source],
        "1.o: xdp+0x20 (insn 4 in `prog`): `gone` is not defined by any input
  src/main.rs:12: helper(LIMIT)",
    );
}

#[test]
fn what_is_no_object_is_said_to_be_none() {
    let (source, _) = program(&[exit()]);
    let good = source.bytes();
    let check = |change: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let inputs = [Input {
            name: "x.o",
            bytes: &bytes,
        }];
        let error = link(&inputs, &Options::default()).unwrap_err();
        assert!(matches!(error, LinkError::Input { .. }));
        assert_eq!(error.to_string(), expected);
    };
    check(
        &|bytes| bytes.truncate(20),
        "x.o: file+0x0: ELF header needs 64 bytes, 20 are left",
    );
    check(
        &|bytes| bytes[..4].copy_from_slice(b"#!/b"),
        "x.o: file+0x0: magic is 0x622f2123: this is not an ELF file",
    );
    check(
        &|bytes| bytes[4] = 1,
        "x.o: file+0x4: class is 0x1: only 64-bit objects (2) hold BPF",
    );
    check(
        &|bytes| bytes[5] = 2,
        "x.o: file+0x5: byte order is 0x2: only little-endian objects (1) are linked",
    );
    check(
        &|bytes| bytes[16] = 2,
        "x.o: file+0x10: file type is 0x2: a relocatable object (1) is expected",
    );
    check(
        &|bytes| bytes[18] = 62,
        "x.o: file+0x12: machine is 0x3e: BPF is 247",
    );
}

#[test]
fn broken_types_are_named_by_place() {
    let check = |change: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let mut bytes = link_all(&[&rich()]).unwrap();
        let at = bytes
            .windows(4)
            .position(|w| w == [0x9f, 0xeb, 1, 0])
            .unwrap();
        let mut section = bytes.split_off(at);
        change(&mut section);
        bytes.extend(section);
        let inputs = [Input {
            name: "x.o",
            bytes: &bytes,
        }];
        let error = link(&inputs, &Options::default()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(
        &|btf| btf[24 + 7] = 0x1f, // the first type's kind
        "x.o: .BTF+0x18: kind of a type is 0x1f: kinds 1 (int) to 19 (enum64) are known",
    );
    check(
        &|btf| btf[2] = 2,
        "x.o: .BTF+0x0: btf version is 0x2: only version 1 is known",
    );
    check(
        &|btf| btf[24] = 0xff, // the first type's name
        "x.o: .BTF+0x18: string offset 255 does not exist: there are 130",
    );
}

#[test]
fn nothing_to_link_is_an_error() {
    let error = link(&[], &Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nothing to link: no input holds a BPF object"
    );
    let inputs = [Input {
        name: "empty.a",
        bytes: b"!<arch>\n",
    }];
    let error = link(&inputs, &Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nothing to link: no input holds a BPF object"
    );
}

#[test]
fn sections_have_a_largest_size() {
    let mut source = Source::new();
    let xdp = source.code("xdp", &[exit()]);
    source.func("prog", xdp, 0, 8);
    for number in 0..3 {
        let zeros = source.zeros(&format!(".bss.HUGE{number}"), 1 << 30, 8);
        source.object(&format!("HUGE{number}"), zeros, 0, 1 << 30);
    }
    check_error(
        &[&source],
        "section `.bss` would take 2147483648 bytes: more than 2147483647",
    );
    let mut source = Source::new();
    for number in 0..3 {
        let zeros = source.zeros(&format!(".rodata.HUGE{number}"), 30 << 20, 8);
        source.object(&format!("HUGE{number}"), zeros, 0, 30 << 20);
    }
    check_error(
        &[&source],
        "section `.rodata` would take 94371840 bytes: more than 67108864",
    );
}
