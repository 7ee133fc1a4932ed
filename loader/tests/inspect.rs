//! `xdplb-load inspect` as a command: what it prints, its errors, its exit codes. Needs no privilege.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/build.rs"]
mod build;

use std::path::PathBuf;
use std::process::{Command, Output};

/// A file of a test, removed at its end.
struct File(PathBuf);

impl File {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path =
            std::env::temp_dir().join(format!("xdplb-inspect-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn inspect(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xdplb-load"))
        .arg("inspect")
        .args(args)
        .output()
        .unwrap()
}

/// What a run that succeeds prints.
fn text(args: &[&str]) -> String {
    let output = inspect(args);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code and message of one that fails.
fn failure(args: &[&str]) -> (i32, String) {
    let output = inspect(args);
    assert!(output.stdout.is_empty(), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), message)
}

#[test]
fn an_object_is_told_part_by_part() {
    let file = File::new("sample.o", &build::sample());
    let all = text(&[file.path()]);
    let heads = [
        "HEADER  ",
        "SECTIONS  ",
        "PROGRAMS  ",
        "MAPS  ",
        "SYMBOLS  ",
        "RELOCATIONS  ",
        "TYPES  ",
        "INSTRUCTIONS  ",
    ];
    let mut places = heads.map(|head| all.find(head).unwrap_or_else(|| panic!("{head}\n{all}")));
    assert!(places.is_sorted(), "{places:?}");
    places.reverse();
    assert!(
        !all.contains('\u{1b}') && !all.contains('\u{e000}'),
        "no colours in a file"
    );
    for part in [
        "main: xdp, in section `xdp`, 14 instructions in 2 functions, attach type xdp\n  maps   hits, .rodata\n",
        "  depth  2 of 8 functions at once\n  * the deepest way: main → _verdict\n",
        "hits: array, key 4 bytes, value 4 bytes, 4 entries\n",
        "  instruction 3 in main: `r1 = 0x0`, R_BPF_64_64 (1) against `hits`\n    → map `hits`'s descriptor: BPF_PSEUDO_MAP_FD in src_reg",
        "     3  r1 = map[hits]                      map `hits`'s descriptor\n",
        "     6  if r0 == 0x0 goto pc+1              → 8\n",
        "    → the address of `VERDICT`, 0 bytes into the value of map `.rodata`",
    ] {
        assert!(all.contains(part), "{part}\n{all}");
    }
}

#[test]
fn parts_and_languages_can_be_chosen() {
    let file = File::new("parts.o", &build::sample());
    let only = text(&[file.path(), "--only", "header,maps"]);
    assert!(only.starts_with("HEADER") && only.contains("\nMAPS  "));
    assert!(!only.contains("SECTIONS") && !only.contains("INSTRUCTIONS"));
    let rust = text(&[file.path(), "--only", "types", "--lang", "rust"]);
    assert!(rust.contains("pub static VERDICT: [u8; 4];"), "{rust}");
    let bytes = text(&[file.path(), "--section", "license", "--bytes"]);
    assert!(
        bytes.contains("  47 50 4c 00                                      the license and the zero that ends it\n"),
        "{bytes}"
    );
    let none = text(&[file.path(), "--map", "hits", "--only", "code"]);
    assert_eq!(
        none,
        format!("{}: nothing of what was asked for is in it\n", file.path())
    );
}

#[test]
fn the_built_in_program_needs_no_file() {
    let text = text(&["--built-in", "--only", "header,programs"]);
    assert!(text.contains("the built-in program: "), "{text}");
    assert!(
        text.contains("xdp_load_balancer: xdp, in section `xdp`, "),
        "{text}"
    );
    assert!(text.contains("functions at once\n"), "{text}");
}

#[test]
fn json_is_the_same_view() {
    let file = File::new("json.o", &build::sample());
    let value: serde_json::Value = serde_json::from_str(&text(&[file.path(), "--json"])).unwrap();
    assert_eq!(value["programs"][0]["name"], "main");
    assert_eq!(value["programs"][0]["stack"]["bytes_by_32"], 64);
    assert_eq!(value["maps"][0]["users"][0]["insns"][0], 3);
    assert_eq!(value["bytes"].as_array().unwrap().len(), 0);
    let bytes: serde_json::Value = serde_json::from_str(&text(&[
        file.path(),
        "--json",
        "--bytes",
        "--section",
        "xdp",
    ]))
    .unwrap();
    assert_eq!(bytes["bytes"][0]["part"], "xdp");
    assert_eq!(bytes["sections"].as_array().unwrap().len(), 1);
}

#[test]
fn errors_say_what_and_what_to_try() {
    let file = File::new("errors.o", &build::sample());
    let path = file.path();
    assert_eq!(
        failure(&[path, "--map", "hist"]),
        (
            2,
            format!("error: {path}: the object has no map `hist`\n  try:  hits\n")
        )
    );
    assert_eq!(
        failure(&[path, "--program", "mian"]),
        (
            2,
            format!("error: {path}: the object has no program `mian`\n  try:  main\n")
        )
    );
    assert_eq!(
        failure(&[path, "--section", ".rel"]),
        (
            2,
            format!(
                "error: {path}: the object has no section `.rel`\n  try:  .rel.text, .relxdp, .BTF\n"
            )
        )
    );
    let text = File::new(
        "text",
        b"10.0.0.2 de:ad:be:ef:00:02\n and so on, for more than the sixty-four bytes of a header",
    );
    let (code, message) = failure(&[text.path()]);
    assert_eq!(code, 1);
    assert!(
        message.ends_with(": this is not an ELF file\n"),
        "{message}"
    );
    assert_eq!(
        failure(&["/nonexistent.o"]),
        (
            1,
            "error: /nonexistent.o: read: no such file or directory (ENOENT)\n".to_string()
        )
    );
    let (code, message) = failure(&[]);
    assert_eq!(code, 2);
    assert!(
        message.contains("inspect [OPTIONS] --built-in"),
        "{message}"
    );
    assert_eq!(failure(&[path, "--built-in"]).0, 2);
    assert_eq!(failure(&[path, "--json", "--only", "maps"]).0, 2);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let file = File::new("pipe.o", &build::sample());
    let shell = format!(
        "{} inspect {} | head -1",
        env!("CARGO_BIN_EXE_xdplb-load"),
        file.path()
    );
    let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}
