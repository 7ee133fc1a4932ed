//! setup.sh and teardown.sh against the kernel: built twice, interrupted at every third command, and next to
//! a namespace that is somebody else's. Needs root.
//!
//! Each test runs in a mount and network namespace of its own with an empty /run, so the names `h1`,
//! `lb` and the others are free, and all of it is gone when the shell in there ends.

#![allow(clippy::expect_used)]

use std::process::{Command, Output};

const TOOLS: &str = env!("CARGO_MANIFEST_DIR");

/// Runs a script where /run is empty; `$tools` is the folder of the scripts.
fn apart(script: &str) -> Output {
    let prelude = format!("set -eu; tools='{TOOLS}'; mount -t tmpfs none /run; {script}");
    Command::new("unshare")
        .args(["--mount", "--net", "timeout", "120", "sh", "-c", &prelude])
        .output()
        .expect("unshare starts")
}

/// What it printed, after it succeeded.
#[track_caller]
fn succeed(script: &str) -> String {
    let output = apart(script);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{}\n{printed}{complained}",
        output.status
    );
    printed + &complained
}

#[test]
fn it_has_the_tutorials_names_and_addresses() {
    let printed = succeed(
        "$tools/setup.sh >/dev/null
         for ns in h1 h2 h3 lb; do ip -n $ns -brief -4 address; ip -n $ns -brief link; done
         ip -n sw -brief link show master br0
         ip -brief link",
    );
    for (device, address, mac) in [
        ("veth0", "10.0.0.1/24", "de:ad:be:ef:00:01"),
        ("veth3", "10.0.0.2/24", "de:ad:be:ef:00:02"),
        ("veth5", "10.0.0.3/24", "de:ad:be:ef:00:03"),
        ("veth6", "10.0.0.10/24", "de:ad:be:ef:00:10"),
    ] {
        let of_device = |sign: &str| {
            printed
                .lines()
                .any(|line| line.starts_with(device) && line.contains(sign))
        };
        assert!(of_device(address) && of_device(mac), "{device}:\n{printed}");
    }
    for port in ["veth1", "veth2", "veth4", "veth7"] {
        assert!(
            printed.lines().any(|line| line.starts_with(port)),
            "{port}:\n{printed}"
        );
    }
    // The namespace that ran the script has its own `lo` and nothing else, last in the list.
    let last: Vec<&str> = printed.lines().rev().take(2).collect();
    assert!(
        last[0].starts_with("lo") && last[1].starts_with("veth"),
        "{printed}"
    );
}

#[test]
fn frames_pass_as_soon_as_it_says_so() {
    // A refused connection is an answer: the frame went there and another came back.
    let printed = succeed(
        "$tools/setup.sh >/dev/null
         for to in 10.0.0.2 10.0.0.3 10.0.0.10; do
             ip netns exec h1 curl -sS --noproxy '*' --max-time 2 http://$to:8000/ 2>&1 || true
         done
         cat /proc/sys/net/ipv6/conf/all/disable_ipv6 >/dev/null 2>&1 &&
             ip netns exec h1 cat /proc/sys/net/ipv6/conf/veth0/disable_ipv6",
    );
    assert_eq!(
        printed.matches("refused").count() + printed.matches("connect to").count() / 2,
        3,
        "{printed}"
    );
    assert!(printed.ends_with("1\n"), "IPv6 is off: {printed}");
}

#[test]
fn twice_is_as_good_as_once() {
    succeed(
        "$tools/setup.sh >/dev/null
         before=$(ip -n lb -brief link)
         $tools/setup.sh >/dev/null
         [ \"$before\" = \"$(ip -n lb -brief link)\" ]
         ip -n h2 link delete veth3
         $tools/setup.sh >/dev/null
         ip -n h2 -brief -4 address | grep -q 10.0.0.2/24
         $tools/teardown.sh
         [ -z \"$(ip netns)\" ]
         $tools/teardown.sh",
    );
}

/// `ip` and `unshare` are replaced by ones that end the script that called them, at the nth call: the
/// way a signal does. Then teardown must leave nothing, and a new setup must work.
#[test]
fn an_interrupted_setup_can_be_torn_down() {
    let printed = succeed(
        r#"mkdir /run/fake
         for command in ip unshare; do
             real=$(command -v $command)
             printf '%s\n' '#!/bin/sh' \
                 'left=$(($(cat /run/left) - 1)); echo $left >/run/left' \
                 '[ $left -gt 0 ] || { kill -KILL $PPID; exit 1; }' \
                 "exec $real \"\$@\"" >/run/fake/$command
             chmod +x /run/fake/$command
         done
         n=0
         while n=$((n + 3)); [ $n -lt 100 ]; do
             echo $n >/run/left
             # A shell of its own says `Killed`; that is what is wanted here.
             if PATH=/run/fake:$PATH sh -c "$tools/setup.sh; exit \$?" >/dev/null 2>&1; then break; fi
             $tools/teardown.sh
             [ -z "$(ip netns)" ]
         done
         $tools/setup.sh >/dev/null
         $tools/teardown.sh
         echo "interrupted up to call $n""#,
    );
    let calls: usize = printed
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .next()
        .unwrap_or(0);
    assert!((20..100).contains(&calls), "{printed}");
}

#[test]
fn somebody_elses_namespace_is_left_alone() {
    let printed = succeed(
        "ip netns add h2
         ip -n h2 link add theirs type bridge
         if $tools/setup.sh; then exit 1; fi
         $tools/teardown.sh
         ip -n h2 link show theirs >/dev/null
         ip netns",
    );
    assert!(
        printed.contains(
            "error: setup.sh: a network namespace `h2` exists that this script did not make\n"
        ),
        "{printed}"
    );
    assert!(
        printed.contains("  try: ip netns delete h2 (if nothing needs it any more)\n"),
        "{printed}"
    );
    assert!(
        printed.contains("note: left alone, as setup.sh did not make them: h2\n"),
        "{printed}"
    );
    assert!(!printed.contains("h1 "), "{printed}");
}

#[test]
fn a_name_without_a_namespace_is_cleared_away() {
    succeed(
        "mkdir -p /run/netns
         touch /run/netns/lb
         $tools/setup.sh >/dev/null
         ip -n lb link show veth6 >/dev/null
         $tools/teardown.sh
         touch /run/netns/lb
         $tools/teardown.sh
         [ ! -e /run/netns/lb ]",
    );
}

#[test]
fn without_root_the_error_says_so() {
    // In a user namespace without a mapping nobody is root, and the files stay readable: from where they
    // lie, since the way there may lead through a private folder.
    let output = Command::new("unshare")
        .args(["--user", "sh", "./setup.sh"])
        .current_dir(TOOLS)
        .output()
        .expect("unshare starts");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: setup.sh: network namespaces need root (EPERM)\n  try: sudo tools/setup.sh\n"
    );
    assert_eq!(output.status.code(), Some(1));
}
