//! Who may import whom inside the loader (design.md, "The house"): `object`, `kernel` and `netlink` never import each other
//! nor what is built on them, and `object` has no effects.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src")
        .join(folder);
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// No file of `folder` mentions any of `words` outside of comments.
fn lacks(folder: &str, words: &[&str]) {
    for path in sources(folder) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            for word in words {
                assert!(
                    !code.contains(word),
                    "{}:{number}: {folder} must not use `{word}`",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_three_rooms_do_not_import_each_other() {
    let above = ["crate::load", "crate::balancer", "crate::commands"];
    lacks(
        "object",
        &[&["crate::kernel", "crate::netlink"], &above[..]].concat(),
    );
    lacks(
        "kernel",
        &[&["crate::object", "crate::netlink"], &above[..]].concat(),
    );
    lacks(
        "netlink",
        &[&["crate::object", "crate::kernel"], &above[..]].concat(),
    );
}

#[test]
fn object_is_pure() {
    lacks(
        "object",
        &[
            "std::fs",
            "std::env",
            "std::process",
            "std::time",
            "libc",
            "nix::",
            "unsafe",
        ],
    );
}

#[test]
fn unsafe_stands_behind_the_doors() {
    // System calls, memory that the kernel maps, a socket: one file each.
    let doors: [(&str, &[&str]); 2] = [
        ("kernel", &["syscall.rs", "mapping.rs"]),
        ("netlink", &["socket.rs"]),
    ];
    for (folder, doors) in doors {
        for path in sources(folder) {
            let text = fs::read_to_string(&path).unwrap();
            let opens = text.lines().any(|line| {
                line.split("//")
                    .next()
                    .unwrap_or_default()
                    .contains("unsafe {")
            });
            assert!(
                !opens || doors.iter().any(|door| path.ends_with(door)),
                "{}: unsafe belongs into {doors:?}",
                path.display()
            );
        }
    }
}
