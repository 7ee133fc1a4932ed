//! `--why-live`, `--print-map`, `--print-gc`: the texts, and names that are wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;

use support::{Source, check_text, exit, rich};
use xdplb_linker::link::{Exports, Input, LinkError, Options, Report, link};

fn report(source: &Source, report: Report) -> Result<String, LinkError> {
    let bytes = source.bytes();
    let inputs = [Input {
        name: "1.o",
        bytes: &bytes,
    }];
    let options = Options {
        exports: Exports::Named(BTreeSet::from(["STATE".to_owned()])),
        reports: vec![report],
        ..Options::default()
    };
    link(&inputs, &options).map(|output| output.reports.concat())
}

fn why(source: &Source, name: &str) -> String {
    report(source, Report::WhyLive(name.to_owned())).unwrap_or_else(|error| error.to_string())
}

#[test]
fn what_stays_is_explained_reference_by_reference() {
    // By symbol, by Rust path and by the end of one.
    for name in ["_RNvC4prog6helper", "prog::helper", "helper"] {
        assert_eq!(
            why(&rich(), name),
            "`prog::helper` (32 bytes, .text._RNvC4prog6helper of 1.o) is in the output
  `prog` is a program: section xdp
  `prog` calls `prog::helper` at 1.o: xdp+0x20 (insn 4 in `prog`), src/main.rs:12: helper(LIMIT)
"
        );
    }
    assert_eq!(
        why(&rich(), ".rodata.cst16"),
        "`.rodata.cst16` (16 bytes, .rodata.cst16 of 1.o) is in the output
  `prog` is a program: section xdp
  `prog` calls `prog::helper` at 1.o: xdp+0x20 (insn 4 in `prog`), src/main.rs:12: helper(LIMIT)
  `prog::helper` refers to `.rodata.cst16` at 1.o: .text._RNvC4prog6helper+0x0 (insn 0 in `prog::helper`), \
         src/main.rs:20: helper(LIMIT)
"
    );
}

#[test]
fn roots_say_what_they_are() {
    assert_eq!(
        why(&rich(), "STATE"),
        "`STATE` (8 bytes, .data.STATE of 1.o) is in the output\n  `STATE` is exported\n"
    );
    assert_eq!(
        why(&rich(), "LICENSE"),
        "`LICENSE` (4 bytes, license of 1.o) is in the output\n  `LICENSE` is for the loader: section license\n"
    );
}

#[test]
fn what_went_says_who_wanted_it() {
    assert_eq!(
        why(&rich(), "dead"),
        "`dead` (16 bytes, .text.dead of 1.o) is not in the output\n  nothing refers to it\n"
    );
    assert_eq!(
        why(&rich(), "COUNT"),
        "`COUNT` (8 bytes, .bss.COUNT of 1.o) is not in the output\n  nothing refers to it; --export NAME keeps it\n"
    );
    let mut source = rich();
    let code = source.code(".text.other", &[support::call(-1), exit()]);
    source.func("other", code, 0, 16);
    let unused = source.code(".text.unused", &[exit()]);
    let unused = source.func("unused", unused, 0, 8);
    source.relocate(code, 0, xdplb_linker::elf::RelocationKind::Call, unused);
    assert_eq!(
        why(&source, "unused"),
        "`unused` (8 bytes, .text.unused of 1.o) is not in the output
  `other` calls `unused` at 1.o: .text.other+0x0 (insn 0 in `other`), and is not in the output either
"
    );
}

#[test]
fn a_wrong_name_is_answered_with_near_ones() {
    assert_eq!(
        why(&rich(), "helpr"),
        "`helpr` is in no input\n  try:  `prog::helper`"
    );
    assert_eq!(why(&rich(), "nonsense"), "`nonsense` is in no input");
}

#[test]
fn the_map_has_every_symbol_at_its_place() {
    check_text("report_map", &report(&rich(), Report::Map).unwrap());
}

#[test]
fn what_was_dropped_is_listed_and_summed_up() {
    check_text("report_dropped", &report(&rich(), Report::Dropped).unwrap());
}
