//! What the kernel tests share.

#![allow(clippy::expect_used)]

pub mod build;

/// These tests load programs: without root they fail, and say why.
pub fn need_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "the kernel tests need root: sudo -E cargo test -p xdplb-loader"
    );
}

/// The running kernel's version, major and minor.
#[allow(dead_code)]
pub fn kernel_version() -> (u32, u32) {
    let name = nix::sys::utsname::uname().expect("uname works");
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
