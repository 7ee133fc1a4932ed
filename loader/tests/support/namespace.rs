//! A network namespace as a guard: it goes with its thread.

use std::process::Command;
use std::sync::mpsc;
use std::thread;

use super::support::need_root;

/// Runs `body` on a thread in a network namespace of its own. The namespace and all in it go with the thread.
pub fn in_namespace(body: impl FnOnce() + Send + 'static) {
    need_root();
    thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        body();
    })
    .join()
    .expect("the test in its namespace passes");
}

/// A second namespace, held by a thread until this is dropped.
pub struct OtherNamespace {
    /// The thread's id, by which `ip link set … netns` finds the namespace.
    pub tid: i32,
    _end: mpsc::Sender<()>,
}

impl OtherNamespace {
    pub fn new() -> Self {
        let (tell, tid) = mpsc::channel();
        let (end, wait) = mpsc::channel();
        thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .expect("a new network namespace");
            tell.send(nix::unistd::gettid().as_raw())
                .expect("the test is there");
            // Ends when the guard is dropped.
            let _ = wait.recv();
        });
        OtherNamespace {
            tid: tid.recv().expect("the thread is there"),
            _end: end,
        }
    }
}

/// Runs `ip` with these words.
pub fn ip(words: &str) {
    let status = Command::new("ip")
        .args(words.split_whitespace())
        .status()
        .expect("ip is installed");
    assert!(status.success(), "ip {words}: {status}");
}
