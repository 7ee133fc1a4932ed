//! Programs of several C files, as clang compiles them: what they link to, beside what libbpf's linker makes of them,
//! kind by kind and name by name.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;

use support::clang::{Folder, TWO_FILES, link_c, link_files};
use support::dump;
use xdplb_linker::btf::{Btf, Kind};
use xdplb_linker::elf::{Binding, Object, SymbolKind};

/// What the dump of a link says.
fn dumped(folder: &Folder, sources: &[&str]) -> String {
    let output = link_c(folder, sources).unwrap_or_else(|error| panic!("{error}"));
    dump::agrees_with_goblin(&output.bytes);
    dump::object(&output.bytes)
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
