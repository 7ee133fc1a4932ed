//! What `cargo xtask bench` compares with: nftables, HAProxy, nginx (its servers too); the machine's own, or Debian's packages unpacked under target/. Installed, haproxy and nginx start as services wherever something starts
//! services; unpacked they are plain files, and only the bench runs them.

use crate::workspace;
use std::path::{Path, PathBuf};

/// Where in a file system Debian has what the bench uses, with what for.
pub const FILES: [(&str, &str); 4] = [
    ("usr/sbin/nft", "a peer: NAT in the kernel"),
    ("usr/sbin/haproxy", "a peer: a TCP proxy"),
    ("usr/sbin/nginx", "the servers, and a peer"),
    (
        "usr/lib/nginx/modules/ngx_stream_module.so",
        "nginx as a TCP proxy",
    ),
];

/// Where Debian's packages are unpacked.
pub fn private() -> PathBuf {
    workspace::target().join("peers")
}

/// The root of a file system that has all of them: the machine's, or the private one.
pub fn find() -> Option<PathBuf> {
    [PathBuf::from("/"), private()]
        .into_iter()
        .find(|root| missing(root).is_empty())
}

/// Which of them it lacks.
pub fn missing(root: &Path) -> Vec<&'static str> {
    let files = FILES.iter().map(|(file, _)| *file);
    files.filter(|file| !root.join(file).is_file()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn all_must_be_in_one_place() {
        let root = std::env::temp_dir().join(format!("xdplb-peers-{}", std::process::id()));
        for (file, _) in &FILES[1..] {
            let file = root.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        let lacks = missing(&root);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(lacks, ["usr/sbin/nft"]);
    }
}
