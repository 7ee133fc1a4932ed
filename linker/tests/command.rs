//! The command line of `xdplb-ld`: what rustc passes, what it refuses, and how it exits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Output};

use support::{Source, dump, exit, mov, rich};

/// A folder for one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xdplb-ld-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap()
    }

    fn run(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_xdplb-ld"))
            .args(line.split_whitespace())
            .current_dir(&self.0)
            .output()
            .unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn it_takes_what_rustc_passes() {
    let folder = Folder::new("rustc");
    folder.write("prog.rcgu.o", &rich().bytes());
    folder.write("symbols", b"STATE\nprog\n");
    // The line rustc 1.96 wrote for this project's program, without its long names.
    let output = folder.run(
        "--export-symbols symbols prog.rcgu.o -L raw-dylibs --cpu v3 --cpu-features +allows-misaligned-mem-access \
         -o prog.o -O3 --debug",
    );
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(0), String::new())
    );
    let linked = dump::object(&folder.read("prog.o"));
    assert!(linked.contains("global STATE"));
    assert!(!linked.contains("global COUNT"));
    for more in ["-O0", "-Os", "--target bpfel", "--btf", "--llvm-args=-x"] {
        let output = folder.run(&format!("prog.rcgu.o -o again.o {more}"));
        assert_eq!(output.status.code(), Some(0), "{more}: {}", stderr(&output));
    }
}

#[test]
fn it_stands_where_bpf_linker_stood() {
    let folder = Folder::new("bpf-linker");
    folder.write("a.o", &rich().bytes());
    let output = folder.run(
        "--target=bpf --cpu generic --cpu-features= --emit obj --btf --allow-bpf-trap -L a -O 2 --log-file log \
         --log-level info --unroll-loops --ignore-inline-never --dump-module m --llvm-args=-x,-y \
         --disable-expand-memcpy-in-order --disable-memory-builtins --fatal-errors=true --debug \
         --export prog,STATE --export=COUNT a.o -o out.o",
    );
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(0), String::new())
    );
    let linked = dump::object(&folder.read("out.o"));
    assert!(linked.contains("global COUNT") && linked.contains("global STATE"));
    let refused = folder.run("a.o -o out.o --emit=llvm-ir");
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("`rustc --emit asm,llvm-ir` writes the other forms"));
}

#[test]
fn a_function_exported_by_name_stays_uncalled() {
    let folder = Folder::new("uncalled");
    folder.write("a.o", &rich().bytes());
    let mut lonely = Source::new();
    let text = lonely.code(".text", &[mov(0, 7), exit()]);
    lonely.func("lonely", text, 0, 16);
    folder.write("b.o", &lonely.bytes());
    folder.write("names", b"lonely\n");
    for (option, stays) in [
        ("--export lonely", true),
        ("--export STATE", false),
        // rustc names every #[no_mangle] function of every crate here.
        ("--export-symbols names", false),
    ] {
        assert_eq!(
            stderr(&folder.run(&format!("a.o b.o -o out.o {option}"))),
            ""
        );
        let linked = dump::object(&folder.read("out.o"));
        assert_eq!(linked.contains("lonely"), stays, "{option}");
    }
}

#[test]
fn arguments_may_stand_in_a_file() {
    let folder = Folder::new("response");
    folder.write("a.o", &rich().bytes());
    folder.write("args", b"-o 'out.o'\n@more\n");
    folder.write("more", b"a.o");
    assert_eq!(stderr(&folder.run("@args")), "");
    folder.read("out.o");
    folder.write("more", b"@args");
    assert_eq!(
        stderr(&folder.run("@args")),
        "error: args: response files name each other without end\n"
    );
    assert_eq!(
        stderr(&folder.run("@none")),
        "error: read none: No such file or directory (os error 2)\n"
    );
}

#[test]
fn reports_go_to_standard_output_and_warnings_to_standard_error() {
    let folder = Folder::new("reports");
    folder.write("a.o", &rich().bytes());
    let output = folder.run("a.o -o out.o --print-gc --print-map --why-live prog");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(stderr(&output), "");
    assert!(text.starts_with("`prog` (48 bytes, xdp of a.o) is in the output\n"));
    assert!(
        text.contains("\n  offset     bytes  what\n") && text.contains("\n   bytes  dropped\n")
    );
    folder.read("out.o");

    let mut source = Source::new();
    let xdp = source.code("xdp", &[mov(10, 0), exit()]);
    source.func("pass", xdp, 0, 16);
    folder.write("b.o", &source.bytes());
    let output = folder.run("b.o -o out.o");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stderr(&output),
        "warning: b.o: xdp+0x0 (insn 0 in `pass`): r10, the frame pointer, is written to\n"
    );
    let output = folder.run("b.o -o out.o --allow nothing");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output)
            .contains("checks are panic, recursion, depth, stack, arguments, atomic, code")
    );
}

#[test]
fn names_to_keep_can_be_given_one_by_one() {
    let folder = Folder::new("export");
    folder.write("a.o", &rich().bytes());
    assert!(folder.run("a.o -o out.o --export COUNT").status.success());
    let linked = dump::object(&folder.read("out.o"));
    assert!(linked.contains("global COUNT") && !linked.contains("global STATE"));
}

#[test]
fn wrong_usage_is_2_and_failure_is_1() {
    let folder = Folder::new("exit");
    let refused = folder.run("--gc-sections x.o -o y.o");
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).starts_with("error: unexpected argument '--gc-sections' found"));
    assert_eq!(folder.run("").status.code(), Some(2));
    assert_eq!(folder.run("x.o").status.code(), Some(2));
    assert_eq!(folder.run("--help").status.code(), Some(0));

    let missing = folder.run("x.o -o y.o");
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(
        stderr(&missing),
        "error: read x.o: No such file or directory (os error 2)\n"
    );
    folder.write("x.o", b"not an object");
    let broken = folder.run("x.o -o y.o");
    assert_eq!(broken.status.code(), Some(1));
    assert_eq!(
        stderr(&broken),
        "error: x.o: file+0x0: ELF header needs 64 bytes, 13 are left\n"
    );
}

#[test]
fn the_command_is_a_function_too() {
    let folder = Folder::new("function");
    let mut source = Source::new();
    let xdp = source.code("xdp", &[mov(0, 2), exit()]);
    source.func("pass", xdp, 0, 16);
    folder.write("a.o", &source.bytes());
    let path = |name: &str| folder.0.join(name).into_os_string();
    let line: Vec<OsString> = vec!["ld".into(), path("a.o"), "-o".into(), path("b.o")];
    xdplb_linker::command::run(line.clone()).unwrap();
    assert!(dump::object(&folder.read("b.o")).contains("global pass"));
    let result = xdplb_linker::command::run(line.into_iter().take(1));
    assert_eq!(xdplb_linker::command::exit_code(result), 2);
}
