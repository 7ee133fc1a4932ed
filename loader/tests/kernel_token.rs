//! BPF tokens: a user namespace to which the host delegates bpf(2) loads maps, types and programs. Needs root and Linux 6.9;
//! the namespaces, and the file system mounted in them, end with the process that is put into them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/make.rs"]
mod make;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};

use make::{map, program, run};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use support::build::{exit, mov};
use support::need_root;
use xdplb_linker::btf::{Int, Kind};
use xdplb_loader::kernel::{Btf, Feature, supports};
use xdplb_loader::uapi::MapType;

/// What the half inside says before the number of its descriptor.
const FILE_SYSTEM: &str = "file system: ";

/// A process that ends when the test does.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the test `half` as root of a user and a mount namespace of its own, and gives the file system that it opens these
/// options, which needs the host's own privilege. `None`: there is nothing to give options to.
fn delegate(half: &str, options: Option<&[(&str, &str)]>) {
    need_root();
    let mut inside = Guard(
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", half, "--ignored", "--nocapture"])
            .env_remove("LIBBPF_BPF_TOKEN_PATH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) runs"),
    );
    let mut said = String::new();
    let mut output = BufReader::new(inside.0.stdout.take().unwrap());
    while let Some(options) = options {
        let start = said.len();
        if output.read_line(&mut said).unwrap() == 0 {
            break;
        }
        let Some((_, number)) = said[start..].split_once(FILE_SYSTEM) else {
            continue;
        };
        let pid = Pid::from_child(&inside.0);
        let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let number = number.trim().parse().unwrap();
        let filesystem = pidfd_getfd(process, number, PidfdGetfdFlags::empty()).unwrap();
        for (key, value) in options {
            fsconfig_set_string(filesystem.as_fd(), *key, *value).unwrap();
        }
        fsconfig_create(filesystem.as_fd()).unwrap();
        break;
    }
    // Its standard input ends: it may go on.
    drop(inside.0.stdin.take());
    output.read_to_string(&mut said).unwrap();
    let mut errors = inside.0.stderr.take().unwrap();
    errors.read_to_string(&mut said).unwrap();
    assert!(inside.0.wait().unwrap().success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Inside: mounts a BPF file system of this user namespace at /sys/fs/bpf, once the other half has given it its options.
fn mount_bpffs() {
    let filesystem = fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    println!("\n{FILE_SYSTEM}{}", filesystem.as_raw_fd());
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_string(&mut String::new()).unwrap();
    let mount = fsmount(
        filesystem.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .unwrap();
    let here = rustix::fs::CWD;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount.as_fd(), "", here, "/sys/fs/bpf", flags).unwrap();
}

fn types() -> Vec<u8> {
    let mut btf = xdplb_linker::btf::Btf::new();
    let int = Int {
        size: 4,
        encoding: 0,
        bit_offset: 0,
        bits: 32,
    };
    btf.add("int", Kind::Int(int));
    btf.encode()
}

#[test]
fn a_delegated_namespace_loads_everything() {
    if support::kernel_version() < (6, 9) {
        return;
    }
    delegate(
        "with_everything",
        Some(&[
            ("delegate_cmds", "any"),
            ("delegate_maps", "any"),
            ("delegate_progs", "any"),
            ("delegate_attachs", "any"),
        ]),
    );
}

#[test]
#[ignore = "run by a_delegated_namespace_loads_everything, in namespaces"]
fn with_everything() {
    mount_bpffs();
    let hash = map("tokens", MapType::HASH, 4, 0).unwrap();
    hash.update(&[1; 4], &[2; 8], xdplb_loader::kernel::Update::Any)
        .unwrap();
    assert_eq!(hash.lookup(&[1; 4]).unwrap(), Some(vec![2; 8]));
    Btf::load(&types()).unwrap();
    let pass = program("pass", "GPL", &[mov(0, 2), exit()]).unwrap();
    assert_eq!(run(&pass), 2);
    assert!(supports(Feature::BtfDatasec), "probes use the token too");
    // What is wrong with a program is said as ever.
    let text = program("bad", "GPL", &[exit()]).unwrap_err().to_string();
    assert!(text.contains("R0 !read_ok\n  in words: "), "{text}");
}

#[test]
fn a_token_that_reaches_less_far_is_named() {
    if support::kernel_version() < (6, 9) {
        return;
    }
    delegate(
        "with_arrays_only",
        Some(&[("delegate_cmds", "map_create"), ("delegate_maps", "array")]),
    );
}

#[test]
#[ignore = "run by a_token_that_reaches_less_far_is_named, in namespaces"]
fn with_arrays_only() {
    mount_bpffs();
    map("array", MapType::ARRAY, 4, 0).unwrap();
    assert_eq!(
        map("hash", MapType::HASH, 4, 0).unwrap_err().to_string(),
        "create map `hash`: the BPF token of this user namespace does not allow it (EPERM)\n  type hash, key 4 bytes, value 8 bytes, 4 entries, flags 0x0\n  /sys/fs/bpf: delegate_cmds=map_create,delegate_maps=array"
    );
    assert_eq!(
        program("pass", "GPL", &[mov(0, 2), exit()])
            .unwrap_err()
            .to_string(),
        "load program `pass`: the BPF token of this user namespace does not allow it (EPERM)\n  /sys/fs/bpf: delegate_cmds=map_create,delegate_maps=array"
    );
}

#[test]
fn a_namespace_without_a_token_says_so() {
    delegate("without_a_token", None);
}

#[test]
#[ignore = "run by a_namespace_without_a_token_says_so, in namespaces"]
fn without_a_token() {
    let text = program("pass", "GPL", &[mov(0, 2), exit()])
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("load program `pass`: capabilities of a user namespace don't count here, and there is no BPF token (EPERM)\n  /sys/fs/bpf: create a BPF token: "),
        "{text}"
    );
    assert!(
        text.contains(
            "\n  try:  in the namespace, mount a BPF file system that the host gave delegate_cmds"
        ),
        "{text}"
    );
}
