//! `--explain`, `--dry-run` and `--kernel` on the command line: what goes where, what bad values are told, and that a dry run needs no
//! privilege. The loads need root. What a story holds is `loader/tests/story.rs`' business.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xdplb_tests::balancer;
use xdplb_tests::files::Folder;
use xdplb_tests::privilege::as_nobody;
use xdplb_tests::run::{self, Output};

const LIMIT: Duration = Duration::from_secs(60);

/// A counter in a map, and a helper that Linux 5.10 has not.
const SOURCE: &str = r#"
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name
struct xdp_md { unsigned data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
static void *(*lookup)(void *map, const void *key) = (void *)1;
static unsigned long (*get_buff_len)(struct xdp_md *c) = (void *)188;
char LICENSE[] SEC("license") = "GPL";
struct { __uint(type, 2); __uint(max_entries, 1); __type(key, int); __type(value, long); } xpl_hits SEC(".maps");
SEC("xdp") int xpl_count(struct xdp_md *c) {
    int k = 0;
    long *v = lookup(&xpl_hits, &k);
    if (v) *v += get_buff_len(c);
    return 2;
}
"#;

fn object(folder: &Folder) -> Result<String> {
    folder.object("told", SOURCE)
}

fn xdplb(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(balancer::binary()?);
    command.args(arguments);
    run::output(command, LIMIT)
}

fn has(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "no `{part}` in:\n{text}");
    }
    Ok(())
}

#[test]
fn full_takes_the_place_of_the_tables() -> Result<()> {
    let folder = Folder::new()?;
    let object = object(&folder)?;
    let output = xdplb(&["verify", "--explain=full", &object])?;
    ensure!(
        output.code == Some(0) && output.stderr.is_empty(),
        "{output:?}"
    );
    has(
        &output.stdout,
        &[
            "Create the maps\n",
            "map_type = 2 (BPF_MAP_TYPE_ARRAY)   which data structure",
            "prog_type = 6 (BPF_PROG_TYPE_XDP)",
            "→ license, 4 bytes: \"GPL\"",
            "r1 = map[xpl_hits]",
            "told.c:13",
            "  xlated ",
            "R10=fp0",
        ],
    )?;
    ensure!(!output.stdout.contains('\u{1b}'), "colour is for terminals");
    ensure!(
        !output.stdout.contains("PROGRAM  SECTION"),
        "{}",
        output.stdout
    );
    Ok(())
}

#[test]
fn json_is_a_list_on_standard_output_or_in_a_file() -> Result<()> {
    let folder = Folder::new()?;
    let object = object(&folder)?;
    let output = xdplb(&["verify", "--explain=json", &object])?;
    ensure!(output.code == Some(0), "{output:?}");
    let stories: Value = serde_json::from_str(&output.stdout)?;
    let story = &stories[0];
    ensure!(
        story["outcome"]["ok"] == true && story["dry_run"] == false,
        "{story}"
    );
    ensure!(
        story["programs"][0]["loaded"]["id"].as_u64() > Some(0),
        "{story}"
    );
    let file = folder.path().join("story.json").display().to_string();
    let output = xdplb(&["verify", &format!("--explain=json:{file}"), &object])?;
    ensure!(output.code == Some(0), "{output:?}");
    has(&output.stdout, &["PROGRAM", "xpl_count"])?;
    let again: Value = serde_json::from_slice(&fs::read(&file)?)?;
    ensure!(
        again[0]["programs"][0]["insns"].as_array().map(Vec::len)
            == story["programs"][0]["insns"].as_array().map(Vec::len)
    );
    let nowhere = xdplb(&["verify", "--explain=json:/nowhere/story.json", &object])?;
    ensure!(nowhere.code == Some(1), "{nowhere:?}");
    has(
        &nowhere.stderr,
        &["error: /nowhere/story.json: No such file or directory"],
    )
}

#[test]
fn a_dry_run_needs_no_privilege_and_answers_for_other_kernels() -> Result<()> {
    let folder = Folder::new()?;
    let object = object(&folder)?;
    let bytes = fs::read(&object)?;
    let readable = folder.file("readable.o", bytes)?;
    let mut command = balancer::copy(&folder)?;
    command.args(["verify", "--dry-run", "--kernel", "5.10", &readable]);
    as_nobody(&mut command);
    let output = run::output(command, LIMIT)?;
    ensure!(output.code == Some(0), "{output:?}");
    has(
        &output.stdout,
        &[
            "A dry run: no command is given.",
            "Linux 5.10, which refuses what it has not where the verifier gets to it\n  has no helper bpf_xdp_get_buff_len (since 5.18): program `xpl_count`, instruction ",
            "RLIMIT_MEMLOCK counts memory",
        ],
    )?;
    has(
        &output.stdout,
        &["bpf(BPF_MAP_CREATE)", "bpf(BPF_PROG_LOAD)", "known later"],
    )?;
    ensure!(
        !output.stdout.contains(" loaded: program "),
        "nothing was loaded: {}",
        output.stdout
    );
    let new = xdplb(&[
        "verify",
        "--dry-run",
        "--explain",
        "--kernel",
        "6.1",
        &object,
    ])?;
    ensure!(
        !new.stdout.contains("bpf_xdp_get_buff_len"),
        "{}",
        new.stdout
    );
    let json = xdplb(&["verify", "--dry-run", "--json", "--kernel", "5.10", &object])?;
    let stories: Value = serde_json::from_str(&json.stdout)?;
    let lack = &stories[0]["foretold"]["lacks"][0];
    ensure!(
        lack["since"] == "5.18" && lack["program"] == "xpl_count",
        "{lack}"
    );
    let calls = stories[0]["events"].as_array().context("events")?;
    let calls = calls.iter().filter(|event| event["kind"] == "call");
    ensure!(calls.clone().count() > 3 && calls.clone().all(|call| call["result"].is_null()));
    Ok(())
}

#[test]
fn bad_values_are_told() -> Result<()> {
    let cases: [(&[&str], &str); 6] = [
        (
            &["verify", "--dry-run", "--kernel", "6.99", "x.o"],
            "error: invalid value '6.99' for '--kernel <RELEASE>': no release of Linux that is known here: 4.18 to 4.20, 5.0 to 5.19, 6.0 to 6.19, 7.0 to 7.3",
        ),
        (
            &["verify", "--explain=loud", "x.o"],
            "error: invalid value 'loud' for '--explain[=<",
        ),
        (&["verify", "--kernel", "6.1", "x.o"], "--dry-run"),
        (
            &["verify", "--json", "--explain=full", "x.o"],
            "error: --json and --explain both want standard output\n  try:  --explain=json:FILE, or one of the two",
        ),
        (
            &["run", "--explain=json", "nosuch0", "10.0.0.2"],
            "error: --explain=json: run has lines of its own on standard output\n  try:  --explain=json:FILE",
        ),
        (
            &["verify", "--dry-run", "/nowhere/x.o"],
            "error: /nowhere/x.o: ",
        ),
    ];
    for (arguments, text) in cases {
        let output = xdplb(arguments)?;
        let expected = if arguments.contains(&"/nowhere/x.o") {
            1
        } else {
            2
        };
        ensure!(output.code == Some(expected), "{arguments:?}: {output:?}");
        has(&output.stderr, &[text])?;
    }
    Ok(())
}
