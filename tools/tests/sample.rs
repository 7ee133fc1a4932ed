//! `cargo xtask bpf` on the sample: what a stranger types, and what they get.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn bpf(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("bpf")
        .arg(folder)
        .output()
        .unwrap()
}

#[test]
fn the_sample_becomes_one_bpf_object() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sample");
    let output = bpf(&sample);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let object = PathBuf::from(printed.lines().last().unwrap());
    let bytes = std::fs::read(&object).unwrap();
    // ELF, and machine 247 (EM_BPF)
    assert_eq!(bytes[..4], *b"\x7fELF");
    assert_eq!(bytes[18..20], [247, 0]);
}

#[test]
fn a_folder_without_a_crate_is_named() {
    let output = bpf(Path::new("/none"));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: /none: No such file or directory (os error 2)\n"
    );
}
