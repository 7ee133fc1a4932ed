//! The text of each error about an object.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::build::{self, Builder, CALL, IMM64, call, exit, load_address, mov};
use super::*;

/// What is wrong with this object.
pub(super) fn error(bytes: &[u8]) -> String {
    match Spec::parse(bytes) {
        Ok(spec) => first_failure(&spec),
        Err(error) => error.to_string(),
    }
}

fn first_failure(spec: &Spec) -> String {
    let plan = spec.plan(&Target::default());
    match plan.failed_maps().next() {
        Some((_, error)) => error.to_string(),
        None => plan.failed.first().unwrap().1.to_string(),
    }
}

#[test]
fn errors_name_section_offset_and_cause() {
    let mut builder = Builder::new();
    builder
        .function("xdp", "main", &[mov(0, 2), call(-1), exit()])
        .relocate("xdp", 1, "pick", CALL);
    assert_eq!(
        error(&builder.finish()),
        "xdp+0x8 (insn 1 in `main`): calls `pick`, which the object does not define"
    );

    let mut builder = Builder::new();
    let mut main = Vec::from(load_address(1, 0));
    main.extend([mov(0, 2), exit()]);
    builder
        .function("xdp", "main", &main)
        .relocate("xdp", 0, "BACKENDS", IMM64);
    assert_eq!(
        error(&builder.finish()),
        "xdp+0x0 (insn 0 in `main`): refers to `BACKENDS`, which the object does not define"
    );

    let mut builder = Builder::new();
    builder
        .function("xdp", "main", &[mov(0, 2), exit()])
        .relocate("xdp", 0, "x", IMM64);
    assert_eq!(
        error(&builder.finish()),
        "xdp+0x0 (insn 0 in `main`): relocation type 1 against `x` does not fit the instruction (opcode 0xb7)"
    );

    let mut builder = Builder::new();
    builder.function("xdp", "main", &[call(7), mov(0, 2), exit()]);
    assert_eq!(
        error(&builder.finish()),
        "xdp+0x0 (insn 0 in `main`): no function begins at instruction 8 of xdp"
    );

    let mut builder = Builder::new();
    builder.function("prog", "probe", &[mov(0, 0), exit()]);
    assert_eq!(
        error(&builder.finish()),
        "prog: the section's name does not say what type of program `probe` is\n  try:  --type probe=xdp"
    );

    let mut builder = Builder::new();
    builder
        .map("m", 1, 1)
        .function("xdp", "main", &[mov(0, 2), exit()]);
    assert_eq!(
        error(&builder.finish_untyped()),
        ".maps+0x0: map `m`: the object has no .BTF, which says what the maps are\n  try:  clang -g"
    );
}

#[test]
fn map_definitions_are_checked() {
    let check = |define: &dyn Fn(&mut Builder), expect: &str| {
        let mut builder = Builder::new();
        define(&mut builder);
        builder.function("xdp", "main", &[mov(0, 2), exit()]);
        assert_eq!(error(&builder.finish()), expect);
    };
    check(
        &|b| {
            let n = b.number(1);
            b.map_of("m", &[("type", n), ("color", n)]);
        },
        ".maps+0x0: map `m`: member `color` is unknown",
    );
    check(
        &|b| {
            let n = b.number(1);
            b.map_of("m", &[("max_entries", n)]);
        },
        ".maps+0x0: map `m`: it has no member `type`",
    );
    check(
        &|b| {
            let (n, size) = (b.number(1), b.number(8));
            let key = b.number(3);
            b.map_of("m", &[("type", n), ("key_size", size), ("key", key)]);
        },
        ".maps+0x0: map `m`: `key` says 12 bytes, another member said 8",
    );
    check(
        &|b| {
            let (n, two) = (b.number(1), b.number(2));
            b.map_of("m", &[("type", n), ("pinning", two)]);
        },
        ".maps+0x0: map `m`: pinning 2 is unknown: 0 and 1 are",
    );
    check(
        &|b| {
            let n = b.number(1);
            let not_a_number = xdplb_linker::btf::TypeId(1);
            b.map_of("m", &[("type", n), ("max_entries", not_a_number)]);
        },
        ".maps+0x0: map `m`: `max_entries` is not a number: it should be a pointer to an array of that length",
    );
}

#[test]
fn one_bad_map_costs_only_itself() {
    let mut b = Builder::new();
    let n = b.number(1);
    b.map_of("bad", &[("type", n), ("color", n)])
        .map("good", 1, 4);
    for (name, map) in [("lost", "bad"), ("kept", "good")] {
        let section = format!("xdp/{name}");
        let mut code = Vec::from(load_address(1, 0));
        code.extend([mov(0, 2), exit()]);
        b.function(&section, name, &code)
            .relocate(&section, 0, map, IMM64);
    }
    let plan = Spec::parse(&b.finish()).unwrap().plan(&Target::default());
    let failed: Vec<_> = plan
        .failed_maps()
        .map(|(map, error)| format!("{}: {error}", map.spec.name))
        .collect();
    assert_eq!(
        failed,
        ["bad: .maps+0x0: map `bad`: member `color` is unknown"]
    );
    // Both programs are planned: which maps there are is known when they are loaded.
    assert!(plan.failed.is_empty());
    assert!(plan.maps[1].broken().is_none());
}

/// Changes 8 bytes at the first symbol-table entry named `name`: its value (at 8) or size (at 16).
fn with_symbol_field(mut bytes: Vec<u8>, name: &str, field: usize, value: u64) -> Vec<u8> {
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let index = elf
        .syms
        .iter()
        .position(|s| elf.strtab.get_at(s.st_name) == Some(name))
        .unwrap();
    let table = elf
        .section_headers
        .iter()
        .find(|s| s.sh_type == goblin::elf::section_header::SHT_SYMTAB)
        .unwrap();
    let at = table.sh_offset as usize + index * 24 + field;
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[test]
fn symbols_that_disagree_with_their_sections_are_errors() {
    let sized = |name, size| with_symbol_field(build::sample(), name, 16, size);
    assert_eq!(
        error(&sized("main", 12)),
        "xdp+0x0: function `main` takes 12 bytes: not whole instructions"
    );
    assert_eq!(
        error(&sized("main", 8000)),
        "xdp+0x0: function `main` ends past its section"
    );
    let mut spec = Spec::parse(&sized("VERDICT", 8)).unwrap();
    assert_eq!(
        spec.set_global("VERDICT", &[0; 8]).unwrap_err().to_string(),
        ".rodata+0x0: `VERDICT` takes 8 bytes, past the end of its section"
    );
    let mut spec = Spec::parse(&sized("VERDICT", 2)).unwrap();
    assert_eq!(
        spec.set_global("VERDICT", &[0; 2]).unwrap_err().to_string(),
        ".rodata+0x0: `VERDICT` takes 2 bytes by its symbol, 4 by its type in .BTF"
    );
    // A function without a size reaches to the next one, or to the end of its section.
    assert_eq!(Spec::parse(&sized("main", 0)).unwrap().functions[0].len, 10);
}

#[test]
fn a_function_without_records_leaves_them_out_and_says_why() {
    let mut builder = Builder::new();
    builder.function("xdp", "main", &[mov(0, 2), exit()]);
    let mut bytes = builder.finish();
    // Cut the function's type out of .BTF.ext: its only func_info record now names the second instruction.
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let ext = elf
        .section_headers
        .iter()
        .find(|s| elf.shdr_strtab.get_at(s.sh_name) == Some(".BTF.ext"))
        .unwrap();
    let record = ext.sh_offset as usize + 32 + 4 + 8;
    bytes[record] = 8;
    let plan = Spec::parse(&bytes).unwrap().plan(&Target::default());
    assert_eq!(
        plan.programs[0].func_info,
        Err("function `main` has no func_info".to_string())
    );
    assert!(plan.programs[0].line_info.is_ok());
}

#[test]
fn what_an_object_lacks_is_told_with_what_helps() {
    let undefined = |b: &mut Builder| {
        let mut main = Vec::from(load_address(1, 0));
        main.extend([mov(0, 2), exit()]);
        b.function("xdp", "main", &main)
            .relocate("xdp", 0, "jiffies", IMM64);
    };
    let mut b = Builder::new();
    undefined(&mut b);
    assert_eq!(
        error(&b.finish_untyped()),
        "xdp+0x0 (insn 0 in `main`): refers to `jiffies`, which the object does not define\n  try:  clang -g, if the kernel has it: .BTF says what is expected of the kernel"
    );
    let mut b = Builder::new();
    b.common("jiffies", 8);
    undefined(&mut b);
    assert_eq!(
        error(&b.finish()),
        "xdp+0x0 (insn 0 in `main`): refers to `jiffies`, a variable that no section has room for\n  try:  clang -fno-common, or a value: `jiffies = 0`"
    );
    let mut b = Builder::new();
    b.raw(".addr_space.1", "jiffies", &[0; 8], false);
    undefined(&mut b);
    assert_eq!(
        error(&b.finish()),
        "xdp+0x0 (insn 0 in `main`): refers to `jiffies`, a global in an arena (.addr_space.1), and the object has no arena"
    );
    let mut b = Builder::new();
    b.raw("config", "jiffies", &[0; 8], false);
    undefined(&mut b);
    assert_eq!(
        error(&b.finish()),
        "xdp+0x0 (insn 0 in `main`): refers to `jiffies` in section `config`, which is neither a map, data nor a function"
    );
    let mut b = Builder::new();
    let int = b.number(1);
    let ty = b.composite("", &[("type", int)]);
    b.external(".maps", "shared", ty, false)
        .raw(".maps", "other", &[0; 8], false)
        .function("xdp", "main", &[mov(0, 2), exit()]);
    assert_eq!(
        error(&b.finish()),
        ".maps+0x0: map `shared` is extern: link the object that defines it to this one first"
    );
}

/// The place of a section's bytes in a file.
fn section_at(bytes: &[u8], name: &str) -> usize {
    let elf = goblin::elf::Elf::parse(bytes).unwrap();
    let named = |s: &&goblin::elf::SectionHeader| elf.shdr_strtab.get_at(s.sh_name) == Some(name);
    elf.section_headers.iter().find(named).unwrap().sh_offset as usize
}

#[test]
fn an_object_with_broken_types_is_one_without() {
    let mut b = Builder::new();
    b.function("xdp", "main", &[mov(0, 2), exit()]);
    let good = b.finish();
    for (section, why) in [
        (
            ".BTF",
            ".BTF+0x0: btf magic is 0xebff: 0xeb9f is expected (0x9feb is big endian)",
        ),
        (
            ".BTF.ext",
            ".BTF.ext+0x0: btf magic is 0xebff: 0xeb9f is expected (0x9feb is big endian)",
        ),
    ] {
        let mut bytes = good.clone();
        bytes[section_at(&good, section)] = 0xff;
        let plan = Spec::parse(&bytes).unwrap().plan(&Target::default());
        assert_eq!(plan.btf.is_none(), section == ".BTF");
        assert_eq!(plan.programs[0].func_info, Err(why.to_string()));
    }
    let mut bytes = build::sample();
    let at = section_at(&bytes, ".BTF");
    bytes[at] = 0xff;
    assert_eq!(
        error(&bytes),
        ".maps+0x0: map `hits`: what the maps are stands in .BTF, and .BTF+0x0: btf magic is 0xebff: 0xeb9f is expected (0x9feb is big endian)"
    );
}

#[test]
fn members_of_a_definition_come_in_any_order() {
    let mut b = Builder::new();
    let (ty, entries, size) = (b.number(12), b.number(4), b.number(4));
    let (hash, replace) = (b.number(1), b.number(17));
    let inner = b.composite(
        "",
        &[
            ("type", hash),
            ("key_size", size),
            ("value_size", size),
            ("max_entries", entries),
        ],
    );
    let pointer = b.btf.add("", xdplb_linker::btf::Kind::Ptr(inner));
    let values = b.array(pointer, 0);
    b.map_of(
        "outer",
        &[
            ("values", values),
            ("pinning", replace),
            ("max_entries", entries),
            ("key_size", size),
            ("type", ty),
        ],
    )
    .function("xdp", "main", &[mov(0, 2), exit()]);
    let spec = Spec::parse(&b.finish()).unwrap();
    let outer = spec.map("outer").unwrap();
    assert_eq!(
        outer.pinning,
        Pinning::ByName,
        "cilium's flag beside libbpf's"
    );
    assert_eq!(outer.inner.as_ref().unwrap().max_entries, 4);
}
