//! What the kernel tests share.

pub mod build;

/// These tests load programs: without root they fail, and say why.
pub fn need_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "the kernel tests need root: sudo -E cargo test -p xdplb-loader"
    );
}
