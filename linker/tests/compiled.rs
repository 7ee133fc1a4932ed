//! What clang's own output is refused for: the lines that a C author sees. Needs clang.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::Command;

use xdplb_linker::link::{Input, Options, link};

/// A folder for one test, removed with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Compiles a source called `prog.c`, and links it as `prog.o`: the warnings, or the error.
fn linked(name: &str, source: &str) -> Result<String, String> {
    let folder =
        Folder(std::env::temp_dir().join(format!("xdplb-compiled-{}-{name}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    std::fs::write(folder.0.join("prog.c"), source).unwrap();
    let mut clang = Command::new("clang");
    clang.args([
        "-O2",
        "-g",
        "-target",
        "bpf",
        "-mcpu=v3",
        "-fdebug-compilation-dir=.",
    ]);
    clang
        .args(["-c", "prog.c", "-o", "prog.o"])
        .current_dir(&folder.0);
    let output = clang.output().expect("run clang");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let bytes = std::fs::read(folder.0.join("prog.o")).unwrap();
    let inputs = [Input {
        name: "prog.o",
        bytes: &bytes,
    }];
    match link(&inputs, &Options::default()) {
        Ok(output) => Ok(output.warnings.iter().map(ToString::to_string).collect()),
        Err(error) => Err(error.to_string()),
    }
}

/// Offsets differ between versions of clang, and so does how it spells a file; all else is compared.
fn check(name: &str, source: &str, expected: &str) {
    let text = linked(name, source).unwrap_err();
    let lines: Vec<String> = text
        .replace("./prog.c", "prog.c")
        .lines()
        .map(|line| match (line.find("+0x"), line.find("(insn")) {
            (Some(from), Some(_)) => {
                let function = line.find(" in `").unwrap_or(from);
                format!(
                    "{}{}",
                    &line[..from],
                    &line[function..].replacen(')', "", 1)
                )
            }
            _ => line.to_owned(),
        })
        .collect();
    assert_eq!(lines.join("\n"), expected.trim_matches('\n'));
}

#[test]
fn an_extern_that_nobody_defines() {
    check(
        "extern",
        r#"extern long bpf_get_smp_processor_id(void);
__attribute__((section("xdp"), used)) int prog(void *ctx) {
    return bpf_get_smp_processor_id();
}
"#,
        "
prog.o: xdp in `prog`: `bpf_get_smp_processor_id` is not defined by any input
  prog.c:3:     return bpf_get_smp_processor_id();
  try:  `bpf_get_smp_processor_id` looks like a helper or kfunc: a helper is called by its number (`static … = (void *) N`; \
         Rust: a transmuted address), a kfunc is declared with __ksym and needs -g"
            .replace("3:     return", "3: return")
            .as_str(),
    );
}

#[test]
fn functions_that_call_each_other() {
    check(
        "recursion",
        r#"static __attribute__((noinline)) int odd(int n, int *x);
static __attribute__((noinline)) int even(int n, int *x) {
    return n ? *x + odd(n - 1, x) : 1;
}
static __attribute__((noinline)) int odd(int n, int *x) {
    return n ? *x * even(n - 1, x) : 2;
}
__attribute__((section("xdp"), used)) int prog(int *ctx) {
    return even(*ctx, ctx);
}
"#,
        "
prog.o: .text in `even`: recursion: the kernel takes no function that can call itself
  prog.c:3: return n ? *x + odd(n - 1, x) : 1;
  `odd` is called by `even`, prog.c:3: return n ? *x + odd(n - 1, x) : 1;
  `even` is called by `odd`, prog.c:6: return n ? *x * even(n - 1, x) : 2;
  called by `prog`, prog.c:9: return even(*ctx, ctx);
  try:  a loop with a bound, a table of what is left to do, or bpf_loop (Linux 5.17)",
    );
}

#[test]
fn buffers_along_a_call_path() {
    check(
        "stack",
        r#"static long (*probe)(void *to, int size, const void *from) = (void *) 113;
static __attribute__((noinline)) int inner(void *ctx) {
    char buffer[400];
    probe(buffer, sizeof(buffer), ctx);
    return buffer[7];
}
__attribute__((section("xdp"), used)) int prog(void *ctx) {
    char buffer[200];
    probe(buffer, sizeof(buffer), ctx);
    return buffer[3] + inner(ctx);
}
"#,
        "
prog.o: xdp in `prog`: 608 bytes of stack along a call path (frames rounded up to 16), and the kernel gives 512
  prog.c:7: __attribute__((section(\"xdp\"), used)) int prog(void *ctx) {
  200 bytes in `prog` calls at prog.c:10: return buffer[3] + inner(ctx);
  400 bytes in `inner`
  try:  move buffers into a per-CPU array map, or let functions that are never active together be inlined less",
    );
}

#[test]
fn a_loop_for_ever() {
    check(
        "loop",
        r#"__attribute__((section("xdp"), used)) int prog(int *ctx) {
    if (*ctx == 7)
        for (;;) asm volatile("");
    return 2;
}
"#,
        "
prog.o: xdp in `prog`: this loops for ever, and the kernel wants every program to end
  prog.c:3: for (;;) asm volatile(\"\");
  checked at prog.c:2: if (*ctx == 7)
  try:  return instead, or give the loop a bound",
    );
}

#[test]
fn addends_that_are_used_again_are_no_results() {
    let source = r#"__attribute__((section("xdp"), used)) long prog(long *ctx) {
    long n = ctx[4];
    __sync_fetch_and_add(ctx, n);
    __sync_fetch_and_add(ctx + 1, n);
    return __sync_fetch_and_add(ctx + 2, n) + n;
}
"#;
    assert_eq!(linked("addend", source), Ok(String::new()));
}
