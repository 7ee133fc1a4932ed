//! Files that share a name and do not mean the same by it: which files, and where they differ.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::clang::{Folder, link_c};

fn fails(name: &str, sources: &[&str], expected: &str) {
    let folder = Folder::new(name);
    let error = link_c(&folder, sources).expect_err("the link should fail");
    assert_eq!(error.to_string(), expected.trim_matches('\n'));
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
fn what_the_kernel_gives_is_taken_for_the_same() {
    let ksym = "__attribute__((section(\".ksyms\")))";
    let kconfig = "__attribute__((section(\".kconfig\")))";
    fails(
        "kconfig",
        &[
            &format!(
                "extern int CONFIG_HZ {kconfig}; SEC(\"xdp\") int p(void *c) {{ return CONFIG_HZ; }}"
            ),
            &format!(
                "extern u64 CONFIG_HZ {kconfig}; SEC(\"xdp\") int q(void *c) {{ return CONFIG_HZ; }}"
            ),
        ],
        "2.o: `CONFIG_HZ` has another type than in 1.o
  `u64` (8 bytes) here, `int` (4 bytes) there",
    );
    fails(
        "kfunc",
        &[
            &format!(
                "int kernel(int a) {ksym}; SEC(\"xdp\") int p(void *c) {{ return kernel(1); }}"
            ),
            &format!(
                "int kernel(int a, int b) {ksym}; SEC(\"xdp\") int q(void *c) {{ return kernel(1, 2); }}"
            ),
        ],
        "2.o: `kernel` has another type than in 1.o
  2 parameters here, 1 parameter there",
    );
    let folder = Folder::new("untyped");
    link_c(
        &folder,
        &[
            &format!("extern const void jiffies {ksym}; SEC(\"xdp\") int p(void *c) {{ return (long)&jiffies; }}"),
            &format!("extern const u64 jiffies {ksym}; SEC(\"xdp\") int q(void *c) {{ return (long)&jiffies; }}"),
        ],
    )
    .unwrap();
}

#[test]
fn names_of_integers_and_declared_structs_agree() {
    let folder = Folder::new("agreeing");
    link_c(
        &folder,
        &[
            "struct flow2; typedef unsigned int my_u32; int count(struct flow2 *const f, my_u32 by, enum verdict v);
             extern const int total; SEC(\"xdp\") int p(int *c) { return count((void *)c, total, PASS); }",
            "struct flow2 { int a; }; volatile int total = 3;
             __noinline int count(struct flow2 *g, int step, enum verdict w) { return g->a + step; }",
        ],
    )
    .unwrap();
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
