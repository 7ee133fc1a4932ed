//! The library's examples, each in a network namespace of its own. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use support::need_root;

/// Cargo builds examples beside the folder of this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let folder: PathBuf = test.ancestors().nth(2).unwrap().join("examples");
    let mut command = Command::new(folder.join(name));
    // Errors alone, whatever the environment asks for.
    command.env_remove("RUST_BACKTRACE");
    command
}

/// Runs an example in a namespace with nothing but a loopback, over which packets go all the while.
fn among_packets(mut command: Command) -> Output {
    need_root();
    // The namespace is this thread's, and with it that of the commands that it starts.
    let run = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        for _ in 0..600 {
            // A length of its own: 14 + 20 + 8 + 100 bytes on the wire.
            socket.send_to(&[0; 100], address).unwrap();
            thread::sleep(Duration::from_millis(50));
            if child.try_wait().unwrap().is_some() {
                break;
            }
        }
        let _ = child.kill();
        let links = Command::new("ip").args(["link", "show", "lo"]).output();
        let links = String::from_utf8(links.unwrap().stdout).unwrap();
        assert!(!links.contains("xdp"), "still attached: {links}");
        child.wait_with_output().unwrap()
    });
    let output = run.join().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    output
}

#[test]
fn the_counter_counts() {
    let mut counter = example("counter");
    counter.args(["lo", "2"]);
    let output = among_packets(counter);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    let mut words = lines[1].split(' ');
    let packets: u64 = words.next().unwrap().parse().unwrap();
    let bytes: u64 = words.nth(1).unwrap().parse().unwrap();
    assert!(packets >= 10, "{text}");
    assert_eq!(bytes, packets * 142, "{text}");
}

#[test]
fn the_ring_buffer_brings_each_packet() {
    let mut ring = example("ring");
    ring.args(["lo", "5"]);
    let output = among_packets(ring);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() >= 5, "{text}");
    assert!(
        text.lines().all(|line| line == "interface 1: 142 bytes"),
        "{text}"
    );
}

#[test]
fn each_link_of_the_chain_runs() {
    need_root();
    let output = example("tail_calls").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "first ran 5 times\nsecond ran 5 times\nthird ran 5 times\nverdict 2\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_error_is_a_sentence() {
    need_root();
    let output = example("counter").arg("nosuch0").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "Error: attach to nosuch0: no such device (ENODEV)\n"
    );
}
