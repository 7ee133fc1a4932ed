//! What rustc's own output is refused for, with the lines that a Rust author sees: crates of one file each, built by
//! `cargo xtask bpf`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::Command;

/// A crate of one file, removed with it.
struct Crate(PathBuf);

impl Crate {
    fn new(name: &str, source: &str) -> Self {
        let this =
            Self(std::env::temp_dir().join(format!("xdplb-refused-{}-{name}", std::process::id())));
        std::fs::create_dir_all(this.0.join("src")).unwrap();
        let manifest = std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/sample/Cargo.toml"
        ))
        .unwrap();
        let manifest = manifest.replace("\"protocols\"", &format!("\"{name}\""));
        std::fs::write(this.0.join("Cargo.toml"), manifest).unwrap();
        let source = format!("{PREAMBLE}{source}");
        std::fs::write(this.0.join("src/main.rs"), source).unwrap();
        this
    }

    /// What building it says; it must fail.
    fn refused(&self) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let output = command.arg("bpf").arg(&self.0).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Crate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Seven lines, so that a test's own begin with line 8.
const PREAMBLE: &str = "#![no_std]
#![no_main]
#![allow(internal_features)]
#![feature(core_intrinsics)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
#[repr(C)] struct Context { words: [u32; 5] }
";

/// Every line is said, in this order.
fn check(name: &str, source: &str, expected: &[&str]) {
    let krate = Crate::new(name, source);
    let text = krate.refused();
    let mut rest = text.as_str();
    for line in expected {
        let found = rest.find(line);
        assert!(found.is_some(), "`{line}` is not in\n{text}");
        rest = &rest[found.unwrap() + line.len()..];
    }
}

#[test]
fn a_bounds_check_that_can_fail() {
    check(
        "bounds",
        r#"#[unsafe(no_mangle)] static TABLE: [u32; 8] = [1; 8];
#[inline(never)]
fn pick(table: &[u32], index: u32) -> u32 {
    table[index as usize]
}
#[unsafe(no_mangle)] #[unsafe(link_section = "xdp")]
extern "C" fn prog(context: &Context) -> u32 {
    let table = unsafe { core::ptr::read_volatile(&raw const TABLE) };
    pick(&table, context.words[4]) + pick(&table[..4], context.words[3])
}
"#,
        &[
            "in `bounds::pick`): this can panic (`core::panicking::panic_bounds_check`), and BPF has no way to\n",
            "src/main.rs:11: table[index as usize]\n",
            "called by `prog`, ",
            "src/main.rs:16: pick(&table, context.words[4])",
            "try:  `get(index)` and handle None",
        ],
    );
}

#[test]
fn a_relaxed_atomic_whose_result_is_used() {
    check(
        "relaxed",
        r#"use core::intrinsics::{AtomicOrdering, atomic_xadd};
#[unsafe(no_mangle)] static mut COUNT: u64 = 0;
#[unsafe(no_mangle)] #[unsafe(link_section = "xdp")]
extern "C" fn prog(context: &Context) -> u32 {
    let old = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut COUNT, 7) };
    old as u32 ^ context.words[3]
}
"#,
        &[
            "does not fetch the old value, but insn",
            "src/main.rs:13)",
            "src/main.rs:12: let old = unsafe { atomic_xadd",
            "try:  Ordering::AcqRel or SeqCst",
        ],
    );
}

#[test]
fn a_call_that_the_compiler_could_not_see_through() {
    check(
        "dynamic",
        r#"trait Hash { fn hash(&self, x: u32) -> u32; }
struct Xor; impl Hash for Xor { fn hash(&self, x: u32) -> u32 { x ^ 1 } }
struct Mul; impl Hash for Mul { fn hash(&self, x: u32) -> u32 { x.wrapping_mul(3) } }
#[unsafe(no_mangle)] #[unsafe(link_section = "xdp")]
extern "C" fn prog(context: &Context) -> u32 {
    let hash: &dyn Hash = if context.words[3] == 3 { &Xor } else { &Mul };
    hash.hash(context.words[4])
}
"#,
        &[
            "a call through a pointer, and BPF calls functions by name only\n",
            "src/main.rs:14: hash.hash(context.words[4])\n",
            "try:  match over the cases",
        ],
    );
}
