//! Programs of several C files, as clang compiles them: what they link to, beside what libbpf's linker makes of them,
//! and what keeps them from linking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;

use support::clang::{Folder, TWO_FILES, link_c, link_files};
use support::dump;
use xdplb_linker::btf::{Btf, Kind};
use xdplb_linker::elf::{Binding, Object, Place, SymbolKind};

/// What the dump of a link says.
fn dumped(folder: &Folder, sources: &[&str]) -> String {
    let output = link_c(folder, sources).unwrap_or_else(|error| panic!("{error}"));
    dump::agrees_with_goblin(&output.bytes);
    dump::object(&output.bytes)
}

fn fails(name: &str, sources: &[&str], expected: &str) {
    let folder = Folder::new(name);
    let error = link_c(&folder, sources).expect_err("the link should fail");
    assert_eq!(error.to_string(), expected.trim_matches('\n'));
}

/// How many types of each kind an object has.
fn kinds(bytes: &[u8]) -> BTreeMap<String, usize> {
    let object = Object::parse(bytes).unwrap();
    let (_, section) = object.section_named(".BTF").unwrap();
    let btf = Btf::parse(section.data).unwrap();
    let mut kinds = BTreeMap::new();
    for (_, ty) in btf.iter() {
        let text = format!("{:?}", ty.kind);
        let word = text.split(['(', ' ']).next().unwrap().to_owned();
        *kinds.entry(word).or_default() += 1;
    }
    kinds
}

#[test]
fn two_files_have_as_many_types_as_libbpf_gives_them() {
    let folder = Folder::new("types");
    let ours = link_c(&folder, &TWO_FILES).unwrap().bytes;
    folder.run("bpftool gen object theirs.o 1.o 2.o");
    let theirs = std::fs::read(folder.path("theirs.o")).unwrap();
    // Everything in these files is reached, so nothing is dropped: the same types, kind by kind.
    assert_eq!(kinds(&ours), kinds(&theirs));
    assert!(!kinds(&ours).contains_key("Fwd"));
    // llvm-readelf sees the sections that we see.
    std::fs::write(folder.path("ours.o"), &ours).unwrap();
    let seen = folder.run("llvm-readelf -S -W ours.o");
    for section in Object::parse(&ours).unwrap().sections.iter().skip(1) {
        assert!(seen.contains(section.name), "{}\n{seen}", section.name);
    }
}

#[test]
fn two_files_link_to_what_they_always_did() {
    let folder = Folder::new("golden");
    let bytes = link_c(&folder, &TWO_FILES).unwrap().bytes;
    let object = Object::parse(&bytes).unwrap();
    let sections: Vec<&str> = object.sections.iter().map(|section| section.name).collect();
    assert_eq!(
        sections[1..9],
        [
            "xdp",
            ".text",
            ".rodata",
            ".data",
            ".data.counters",
            ".bss",
            ".maps",
            "license"
        ]
    );
    let binding = |name: &str| {
        let found: Vec<Binding> = object
            .symbols
            .iter()
            .filter(|symbol| symbol.name == name && symbol.kind != SymbolKind::Section)
            .map(|symbol| symbol.binding)
            .collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0]
    };
    assert_eq!(binding("pick"), Binding::Global);
    assert_eq!(binding("secret"), Binding::Local, "hidden");
    assert_eq!(binding("helper"), Binding::Local);
    assert_eq!(binding("flows"), Binding::Global);
    let text = dump::object(&bytes);
    assert!(
        text.contains("static fn secret") && text.contains("global fn pick"),
        "{text}"
    );
    assert!(text.contains("section .maps 32 {flows@0+32}"), "{text}");
    assert!(
        text.contains("section .data.counters 16 {packets@0+8, bytes@8+8}"),
        "{text}"
    );
    // Linking what was linked changes nothing; neither does linking again.
    let again = link_files(&[("again.o", &bytes)]).unwrap().bytes;
    assert!(again == bytes);
    assert!(link_c(&folder, &TWO_FILES).unwrap().bytes == bytes);
}

#[test]
fn without_debug_information_there_are_no_types_and_no_complaints() {
    let folder = Folder::new("plain");
    let objects: Vec<Vec<u8>> = TWO_FILES
        .iter()
        .zip(["1.o", "2.o"])
        .map(|(source, name)| folder.compile(name, source, &[]))
        .collect();
    let output = link_files(&[("1.o", &objects[0]), ("2.o", &objects[1])]).unwrap();
    let object = Object::parse(&output.bytes).unwrap();
    assert!(object.section_named(".BTF").is_none());
    // One with types, one without: what is not described gets the least that the kernel asks for.
    let described = folder.compile("2.o", TWO_FILES[1], &["-g"]);
    let output = link_files(&[("1.o", &objects[0]), ("2.o", &described)]).unwrap();
    let text = dump::object(&output.bytes);
    assert!(text.contains("func xdp+0: first"), "{text}");
}

#[test]
fn tentative_definitions_share_one_place() {
    let folder = Folder::new("common");
    let flags = ["-g", "-fcommon"];
    let main = "int seen; long wide; SEC(\"xdp\") int p(void *c) { return seen + wide; }";
    let one = folder.compile("1.o", main, &flags);
    let two = folder.compile(
        "2.o",
        "int seen = 7; char wide; SEC(\"xdp\") int q(void *c) { return seen + wide; }",
        &flags,
    );
    let text = dump::object(&link_files(&[("1.o", &one), ("2.o", &two)]).unwrap().bytes);
    assert!(text.contains("global seen = .data+0 size 4"), "{text}");
    assert!(text.contains("global wide = .bss+0 size 8"), "{text}");
    assert!(text.contains(".bss: 8 bytes of zeros, align 8"), "{text}");
}

#[test]
fn one_copy_of_a_comdat_group_stays() {
    let folder = Folder::new("comdat");
    let flags = ["-x", "c++", "-fno-exceptions", "-g"];
    let of = |name: &str, program: &str| {
        let source = format!(
            "inline __noinline int twice(int x) {{ return x * 2; }}
             extern \"C\" SEC(\"xdp\") int {program}(int *c) {{ return twice(*c); }}"
        );
        folder.compile(name, &source, &flags)
    };
    let (one, two) = (of("1.o", "p"), of("2.o", "q"));
    assert_eq!(Object::parse(&one).unwrap().groups.len(), 1);
    let output = link_files(&[("1.o", &one), ("2.o", &two)]).unwrap();
    let text = dump::object(&output.bytes);
    assert!(
        text.contains(".text: 24 bytes of code") || text.contains(".text: 32 bytes of code"),
        "{text}"
    );
    let object = Object::parse(&output.bytes).unwrap();
    let copies = object
        .symbols
        .iter()
        .filter(|symbol| symbol.name.contains("twice"));
    assert_eq!(copies.count(), 1);
}

#[test]
fn what_the_kernel_gives_stays_undefined() {
    let folder = Folder::new("externs");
    let text = dumped(
        &folder,
        &[
            "extern int CONFIG_HZ __kconfig; extern void bpf_rcu_read_lock(void) __ksym;
             extern const int runqueues __ksym __weak; extern const void schedule __ksym;
             SEC(\"xdp\") int p(void *c) { bpf_rcu_read_lock(); return CONFIG_HZ + (&runqueues != 0) + (&schedule != 0); }",
            "extern int CONFIG_HZ __kconfig; extern void bpf_rcu_read_lock(void) __ksym;
             SEC(\"xdp\") int q(void *c) { bpf_rcu_read_lock(); return CONFIG_HZ; }",
        ],
    );
    assert!(text.contains("global CONFIG_HZ undefined"), "{text}");
    assert!(
        text.contains("global bpf_rcu_read_lock undefined"),
        "{text}"
    );
    assert!(text.contains("weak runqueues undefined"), "{text}");
    assert_eq!(text.matches("CONFIG_HZ@").count(), 1, "{text}");
    // A symbol of the kernel without a type stays without: that is how libbpf knows it.
    assert!(!text.contains("char32_t"), "{text}");
    assert_eq!(
        text.matches("extern fn bpf_rcu_read_lock").count(),
        1,
        "{text}"
    );
}

#[test]
fn weak_maps_of_one_name_are_one_map() {
    let folder = Folder::new("weak-map");
    let map =
        "struct { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64); }
               counts __weak SEC(\".maps\");";
    let program = |name: &str| {
        format!(
            "{map} SEC(\"xdp\") int {name}(void *c) {{ u32 k = 0; return !bpf_map_lookup_elem(&counts, &k); }}"
        )
    };
    let text = dumped(&folder, &[&program("p"), &program("q")]);
    assert_eq!(text.matches("counts = .maps").count(), 1, "{text}");
    assert_eq!(text.matches("counts@").count(), 1, "{text}");
    assert!(text.contains("weak counts = .maps+0"), "{text}");
}

#[test]
fn core_relocations_of_dead_code_go_with_it() {
    let folder = Folder::new("core");
    let source = |dead: &str| {
        format!(
            "struct task_struct {{ int pid; int tgid; }} __attribute__((preserve_access_index));
             {dead} __noinline int unused(struct task_struct *t) {{ return t->tgid; }}
             SEC(\"xdp\") int p(struct task_struct *t) {{ return t->pid; }}"
        )
    };
    let relocations = |source: &str| {
        let bytes = link_c(&folder, &[source]).unwrap().bytes;
        let object = Object::parse(&bytes).unwrap();
        let (_, section) = object.section_named(".BTF.ext").unwrap();
        let ext = xdplb_linker::btf_ext::BtfExt::parse(section.data).unwrap();
        let (_, section) = object.section_named(".BTF").unwrap();
        let btf = Btf::parse(section.data).unwrap();
        let records: Vec<String> = ext
            .core_relos
            .iter()
            .flat_map(|group| group.records.iter().map(move |record| (group, record)))
            .map(|(group, record)| {
                let (section, ty) = (btf.name(group.section), btf.type_name(record.type_id));
                format!(
                    "{section}+{} {ty} {}",
                    record.insn_off,
                    btf.name(record.access)
                )
            })
            .collect();
        records
    };
    assert_eq!(relocations(&source("")), ["xdp+0 task_struct 0:0"]);
    assert_eq!(
        relocations(&source("__attribute__((used)) static")),
        ["xdp+0 task_struct 0:0"]
    );
}

#[test]
fn a_legacy_map_keeps_symbol_and_size() {
    let folder = Folder::new("legacy");
    let of = |name: &str| {
        format!(
            "struct bpf_map_def {{ u32 type, key_size, value_size, max_entries, map_flags; }};
             struct bpf_map_def SEC(\"maps\") map_{name} = {{ 2, 4, 8, 16, 0 }};
             SEC(\"xdp\") int {name}(void *c) {{ u32 k = 0; return !bpf_map_lookup_elem(&map_{name}, &k); }}"
        )
    };
    let text = dumped(&folder, &[&of("p"), &of("q")]);
    assert!(text.contains("global map_p = maps+0 size 20"), "{text}");
    assert!(text.contains("global map_q = maps+20 size 20"), "{text}");
}

#[test]
fn a_static_of_no_bytes_has_an_address() {
    let folder = Folder::new("empty");
    let text = dumped(
        &folder,
        &[
            "struct none {}; struct none nothing; extern int use(void *);
           SEC(\"xdp\") int p(void *c) { return (long)&nothing > 4; }",
        ],
    );
    assert!(text.contains("global nothing = .bss+0 size 0"), "{text}");
    assert!(text.contains(".bss: 1 bytes of zeros"), "{text}");
}

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
fn types_of_a_shared_name_must_agree() {
    let program = "SEC(\"xdp\") int p(int *c)";
    fails(
        "parameter",
        &[
            &format!(
                "int count(struct flow *f, int by); {program} {{ return count((void *)c, 1); }}"
            ),
            "__noinline int count(struct flow *f, u64 by) { return f->src + by; }",
        ],
        "1.o: `count` has another type than in 2.o
  parameter 2: `int` (4 bytes) here, `u64` (8 bytes) there",
    );
    fails(
        "parameters",
        &[
            &format!("int count(int by); {program} {{ return count(1); }}"),
            "__noinline int count(int by, int more) { return by + more; }",
        ],
        "1.o: `count` has another type than in 2.o
  1 parameter here, 2 parameters there",
    );
    fails(
        "pointee",
        &[
            &format!(
                "struct other; int count(struct other *by); {program} {{ return count((void *)c); }}"
            ),
            "__noinline int count(struct flow *f) { return f->src; }",
        ],
        "1.o: `count` has another type than in 2.o
  parameter 1, what it points to: `struct other` here, `struct flow` (32 bytes) there",
    );
    fails(
        "variable",
        &[
            &format!("extern u64 total; {program} {{ return total; }}"),
            "u32 total = 1;",
        ],
        "1.o: `total` has another type than in 2.o
  `u64` (8 bytes) here, `u32` (4 bytes) there",
    );
    fails(
        "member",
        &[
            &format!(
                "struct s {{ int a, b; }}; extern struct s total; {program} {{ return total.b; }}"
            ),
            "struct s { int a; short b, c; } total;",
        ],
        "1.o: `total` has another type than in 2.o
  2 members, 8 bytes here, 3 members, 8 bytes there",
    );
    let map = |kind: &str, entries: u32, key: &str| {
        format!(
            "{kind} struct {{ __uint(type, 1); __uint(max_entries, {entries}); __type(key, {key}); __type(value, u64); }}
             m SEC(\".maps\");"
        )
    };
    let uses = format!("{program} {{ u64 k = 0; return !bpf_map_lookup_elem(&m, &k); }}");
    let other = "SEC(\"xdp\") int q(int *c) { u64 k = 0; return !bpf_map_lookup_elem(&m, &k); }";
    fails(
        "entries",
        &[
            &format!("{} {uses}", map("extern", 16, "u32")),
            &format!("{} {other}", map("", 32, "u32")),
        ],
        "1.o: `m` has another type than in 2.o
  field `max_entries`: 16 here, 32 there",
    );
    fails(
        "key",
        &[
            &format!("{} {uses}", map("", 16, "u32")),
            &format!("{} {other}", map("extern", 16, "u64")),
        ],
        "2.o: `m` has another type than in 1.o
  field `key`: `u64` (8 bytes) here, `u32` (4 bytes) there",
    );
    fails(
        "field",
        &[
            &format!("{} {uses}", map("", 16, "u32")),
            &format!(
                "extern struct {{ __uint(type, 1); __type(key, u32); __type(value, u64); }} m SEC(\".maps\"); {other}"
            ),
        ],
        "2.o: `m` has another type than in 1.o
  no such field here, field `max_entries` there",
    );
}

#[test]
fn names_of_integers_and_declared_structs_agree() {
    let folder = Folder::new("agreeing");
    dumped(
        &folder,
        &[
            "struct flow2; typedef unsigned int my_u32; int count(struct flow2 *const f, my_u32 by, enum verdict v);
             extern const int total; SEC(\"xdp\") int p(int *c) { return count((void *)c, total, PASS); }",
            "struct flow2 { int a; }; volatile int total = 3;
             __noinline int count(struct flow2 *g, int step, enum verdict w) { return g->a + step; }",
        ],
    );
}

#[test]
fn two_definitions_are_one_too_many() {
    fails(
        "twice",
        &[
            "int limit = 1; SEC(\"xdp\") int p(void *c) { return limit; }",
            "int limit = 2; SEC(\"xdp\") int q(void *c) { return limit; }",
        ],
        "2.o: `limit` is already defined in 1.o",
    );
    fails(
        "licenses",
        &[
            "char l[] SEC(\"license\") = \"GPL\"; SEC(\"xdp\") int p(void *c) { return 1; }",
            "char l[] SEC(\"license\") = \"Dual MIT/GPL\"; SEC(\"xdp\") int q(void *c) { return 1; }",
        ],
        "2.o: section `license` is \"Dual MIT/GPL\", and in 1.o it is \"GPL\"",
    );
    fails(
        "versions",
        &[
            "u32 v SEC(\"version\") = 1; SEC(\"xdp\") int p(void *c) { return 1; }",
            "u32 v SEC(\"version\") = 0x41200; SEC(\"xdp\") int q(void *c) { return 1; }",
        ],
        "2.o: section `version` is 0x41200, and in 1.o it is 0x1",
    );
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

#[test]
fn types_are_merged_across_many_files() {
    // Twenty files that each say what the kernel's headers say: the result is no larger than one of them.
    let folder = Folder::new("many");
    let files: Vec<(String, Vec<u8>)> = (0..20)
        .map(|number| {
            let source = format!(
                "struct list {{ struct list *next, *prev; struct flow *f; }}; struct list list_{number};
                 SEC(\"xdp\") int p{number}(struct xdp_md *c) {{ return list_{number}.f ? c->data : {number}; }}"
            );
            let name = format!("{number}.o");
            let bytes = folder.compile(&name, &source, &["-g"]);
            (name, bytes)
        })
        .collect();
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let one = kinds(&link_files(&files[..1]).unwrap().bytes);
    let all = kinds(&link_files(&files).unwrap().bytes);
    for kind in ["Struct", "Union", "Int", "Ptr", "Typedef", "Enum"] {
        assert_eq!(one.get(kind), all.get(kind), "{kind}");
    }
    assert_eq!(all["Func"], 20);
    // The order of files changes the order of functions, and not what they are.
    let turned: Vec<(&str, &[u8])> = files.iter().rev().copied().collect();
    assert_eq!(kinds(&link_files(&turned).unwrap().bytes), all);
}

#[test]
fn a_type_of_each_name_and_shape_stays() {
    let folder = Folder::new("shapes");
    let of = |member: &str, name: &str| {
        format!(
            "struct config {{ {member} a; }}; static struct config own; static struct config *at = &own;
             SEC(\"xdp\") int {name}(struct config *c) {{ return c->a; }}"
        )
    };
    let bytes = link_c(&folder, &[&of("int", "p"), &of("u64", "q")])
        .unwrap()
        .bytes;
    let object = Object::parse(&bytes).unwrap();
    let (_, section) = object.section_named(".BTF").unwrap();
    let btf = Btf::parse(section.data).unwrap();
    let both = btf
        .iter()
        .filter(|(id, ty)| matches!(ty.kind, Kind::Struct(_)) && btf.type_name(*id) == "config");
    assert_eq!(both.count(), 2);
}
