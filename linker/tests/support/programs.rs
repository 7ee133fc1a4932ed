//! Small programs for the tests of what a link refuses: functions by name, source lines, and what is said of them.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use xdplb_linker::btf::Btf;
use xdplb_linker::btf_ext::{BtfExt, Group, LineInfo};
use xdplb_linker::insn::Insn;

use super::{Sec, Source, Sym, warnings};

/// The link succeeds, with this warning or (the empty text) with none.
pub fn check_warnings(source: &Source, expected: &str) {
    let found = warnings(source).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.join("\n"), expected);
}

/// A program of these instructions, called `prog`.
pub fn program(insns: &[Insn]) -> (Source, Sec) {
    let mut source = Source::new();
    let xdp = function(&mut source, "xdp", "prog", insns).0;
    (source, xdp)
}

pub fn function(source: &mut Source, section: &str, name: &str, insns: &[Insn]) -> (Sec, Sym) {
    let sec = source.code(section, insns);
    let sym = source.func(name, sec, 0, insns.len() as u64 * 8);
    (sec, sym)
}

/// Source lines: section, byte, line, text.
pub fn lines(source: &mut Source, file: &str, all: &[(&str, u32, u32, &str)]) {
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
