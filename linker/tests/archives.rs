//! What the linker is given besides objects: archives, bitcode, files of other machines.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::clang::{Folder, link_files};
use support::dump;
use xdplb_linker::elf::{Object, Place};

#[test]
fn archives_give_what_is_wanted_in_any_order() {
    let folder = Folder::new("archives");
    let main = folder.compile(
        "main.o",
        "int a(int); SEC(\"xdp\") int p(int *c) { return a(*c); }",
        &["-g"],
    );
    folder.compile(
        "a.o",
        "int b(int); __noinline int a(int x) { return b(x) + 1; }",
        &["-g"],
    );
    folder.compile(
        "b.o",
        "int c(int); __noinline int b(int x) { return c(x) + 2; }",
        &["-g"],
    );
    folder.compile("c.o", "__noinline int c(int x) { return x * 3; }", &["-g"]);
    folder.compile(
        "d.o",
        "int d(int x) { return x * 3; } SEC(\"xdp\") int never(void *c) { return 7; }",
        &["-g"],
    );
    folder.run("llvm-ar rc one.a a.o c.o d.o");
    folder.run("llvm-ar rc two.a b.o");
    folder.run("llvm-ar rcS three.a b.o");
    let [one, two, three] =
        ["one.a", "two.a", "three.a"].map(|name| std::fs::read(folder.path(name)).unwrap());
    let there = link_files(&[("one.a", &one), ("main.o", &main), ("two.a", &two)]).unwrap();
    let back = link_files(&[("two.a", &two), ("one.a", &one), ("main.o", &main)]).unwrap();
    let unindexed = link_files(&[("main.o", &main), ("three.a", &three), ("one.a", &one)]).unwrap();
    let twice = link_files(&[
        ("main.o", &main),
        ("two.a", &two),
        ("one.a", &one),
        ("two.a", &two),
    ])
    .unwrap();
    assert!(
        there.bytes == back.bytes && there.bytes == unindexed.bytes && there.bytes == twice.bytes
    );
    let object = Object::parse(&there.bytes).unwrap();
    let names: Vec<&str> = object
        .symbols
        .iter()
        .filter(|symbol| matches!(symbol.place, Place::Section(_)))
        .map(|symbol| symbol.name)
        .collect();
    assert!(
        !names.contains(&"never") && names.contains(&"c"),
        "{names:?}"
    );
    let types = dump::object(&there.bytes);
    assert!(!types.contains("never"), "{types}");

    folder.run("llvm-ar rcT thin.a a.o");
    let thin = std::fs::read(folder.path("thin.a")).unwrap();
    let error = link_files(&[("main.o", &main), ("thin.a", &thin)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "thin.a: a thin archive only names its members\n  try:  name the members instead of thin.a, or make it without T"
    );
    let cut = &one[..one.len() - 100];
    let error = link_files(&[("main.o", &main), ("one.a", cut)])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("one.a: file+0x") && error.contains("archive: "),
        "{error}"
    );
}

#[test]
fn bitcode_is_no_object() {
    let folder = Folder::new("bitcode");
    let main = folder.compile(
        "main.o",
        "int a(int); SEC(\"xdp\") int p(int *c) { return a(*c); }",
        &["-g"],
    );
    folder.compile("a.bc", "int a(int x) { return x + 1; }", &["-emit-llvm"]);
    folder.compile("a.o", "int a(int x) { return x + 1; }", &["-g"]);
    let bitcode = std::fs::read(folder.path("a.bc")).unwrap();
    let error = link_files(&[("a.bc", &bitcode)]).unwrap_err();
    let advice = "for rustc, \"obj-is-bitcode\": false in the target's JSON and no -Clinker-plugin-lto; \
                  for clang, no -flto and no -emit-llvm";
    assert_eq!(
        error.to_string(),
        format!("a.bc: this is LLVM bitcode, not an object\n  try:  {advice}")
    );
    for (flags, name) in [("rc", "indexed.a"), ("rcS", "plain.a")] {
        folder.run(&format!("llvm-ar {flags} {name} a.bc"));
        let archive = std::fs::read(folder.path(name)).unwrap();
        let error = link_files(&[("main.o", &main), (name, &archive)])
            .unwrap_err()
            .to_string();
        let expected = format!(
            "main.o: xdp+0x8 (insn 1 in `p`): `a` is defined in {name}(a.bc) only, which is LLVM bitcode and no object"
        );
        assert!(
            error.starts_with(&expected) && error.ends_with(advice),
            "{error}"
        );
        // Where an object defines it too, bitcode is left aside, and that is said.
        let object = std::fs::read(folder.path("a.o")).unwrap();
        let output = link_files(&[("main.o", &main), ("a.o", &object), (name, &archive)]).unwrap();
        let note = format!("{name}: 1 member is LLVM bitcode, which nothing needed");
        assert_eq!(output.notes, [note]);
    }
}

#[test]
fn big_endian_and_other_machines_are_named() {
    let folder = Folder::new("machines");
    let source = "SEC(\"xdp\") int p(void *c) { return 1; }";
    let big = folder.compile("big.o", source, &["-target", "bpfeb"]);
    let host = folder.compile("host.o", source, &["-target", "x86_64", "-mcpu=x86-64"]);
    folder.run("llvm-ar rc big.a big.o");
    let archive = std::fs::read(folder.path("big.a")).unwrap();
    for (name, bytes, expected) in [
        (
            "big.o",
            &big,
            "big.o: file+0x5: byte order is 0x2: only little-endian objects (1) are linked",
        ),
        (
            "host.o",
            &host,
            "host.o: file+0x12: machine is 0x3e: BPF is 247",
        ),
        (
            "big.a",
            &archive,
            "big.a(big.o): file+0x5: byte order is 0x2: only little-endian objects (1) are linked",
        ),
    ] {
        let error = link_files(&[(name, bytes)]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
