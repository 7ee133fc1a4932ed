//! `xdplb-load verify` over small objects of clang's: what it prints, what it says when something fails, its exit codes, and
//! that nothing stays in the kernel. Needs root. Objects and types of the field are the object set's business.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xdplb_loader::kernel::{self, BpfFs as PinFs, Map, Program};
use xdplb_tests::balancer;
use xdplb_tests::bpffs::BpfFs;
use xdplb_tests::files::Folder;
use xdplb_tests::privilege::as_nobody;
use xdplb_tests::run::{self, Output};

const LIMIT: Duration = Duration::from_secs(30);

/// What every source begins with: the macros of libbpf's headers, without the headers.
const HEAD: &str = r#"
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name
#define __array(name, value) typeof(value) *name[]
struct xdp_md { unsigned data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
static void *(*lookup)(void *map, const void *key) = (void *)1;
static long (*tail_call)(void *context, void *map, unsigned slot) = (void *)12;
char LICENSE[] SEC("license") = "GPL";
"#;

/// A good program and a good map.
const GOOD: &str = r#"
struct { __uint(type, 2); __uint(max_entries, 4); __type(key, int); __type(value, long); } hits SEC(".maps");
SEC("xdp") int count(struct xdp_md *c) { int k = 1; long *v = lookup(&hits, &k); if (v) __sync_fetch_and_add(v, 1); return 2; }
"#;

/// Good and bad side by side: a map without a size and its user, a section that says no type, an unchecked access.
const MIXED: &str = r#"
struct { __uint(type, 1); __type(key, int); __type(value, long); } sizeless SEC(".maps");
SEC("xdp") int fine(struct xdp_md *c) { return 2; }
SEC("xdp") int user(struct xdp_md *c) { int k = 1; return lookup(&sizeless, &k) ? 1 : 2; }
SEC("prog") int nameless(struct xdp_md *c) { return 2; }
SEC("xdp") int careless(struct xdp_md *c) { return *(char *)(long)c->data; }
"#;

/// A constant that decides whether the program can be loaded.
const LIMITED: &str = r#"
const volatile unsigned LIMIT = 9;
SEC("xdp") int limited(struct xdp_md *c) { return LIMIT > 3 ? *(char *)(long)c->data : 2; }
"#;

struct Files(Folder);

impl Files {
    fn new() -> Result<Self> {
        Ok(Files(Folder::new()?))
    }

    /// Compiles a source; the object's path.
    fn object(&self, name: &str, source: &str) -> Result<String> {
        self.0.object(name, &(HEAD.to_owned() + source))
    }
}

fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(balancer::binary()?);
    command.arg("verify").args(arguments);
    Ok(command)
}

fn verify(arguments: &[&str]) -> Result<Output> {
    run::output(command(arguments)?, LIMIT)
}

/// The code is that, and each text is on standard error.
fn check(output: &Output, code: i32, texts: &[&str]) -> Result<()> {
    ensure!(output.code == Some(code), "not {code}: {output:?}");
    for text in texts {
        ensure!(
            output.stderr.contains(text),
            "no `{text}` in:\n{}",
            output.stderr
        );
    }
    Ok(())
}

/// Waits until no map and no program of these names is in the kernel, which frees them some time after their last user.
fn check_gone(names: &[&str]) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        // Others come and go at any time; one that is gone when it is asked for is gone.
        let maps = kernel::map_ids()?
            .into_iter()
            .filter_map(|id| Map::from_id(id).ok());
        let programs = kernel::program_ids()?.into_iter();
        let programs = programs.filter_map(|id| Program::from_id(id).ok());
        let all = maps.map(|map| map.name().to_owned());
        let all = all.chain(programs.map(|program| program.name().to_owned()));
        let left: Vec<String> = all.filter(|name| names.contains(&name.as_str())).collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "still loaded: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_line_for_each_map_and_program() -> Result<()> {
    let files = Files::new()?;
    let source = GOOD
        .replace("hits", "vfy_lines")
        .replace("count(", "vfy_line(");
    let object = files.object("good", &source)?;
    let output = verify(&[&object])?;
    check(&output, 0, &[])?;
    ensure!(output.stderr.is_empty(), "{}", output.stderr);
    let lines: Vec<Vec<&str>> = output
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    ensure!(
        lines[0] == ["MAP", "TYPE", "KEY", "VALUE", "ENTRIES"],
        "{lines:?}"
    );
    ensure!(
        lines[1] == ["vfy_lines", "array", "4", "8", "4"],
        "{lines:?}"
    );
    ensure!(lines[2].is_empty(), "{lines:?}");
    let head = [
        "PROGRAM", "SECTION", "TYPE", "INSNS", "XLATED", "JITED", "VERIFIED", "TIME",
    ];
    ensure!(lines[3] == head, "{lines:?}");
    let program = &lines[4];
    ensure!(program[..3] == ["vfy_line", "xdp", "xdp"], "{program:?}");
    ensure!(
        program[3].parse::<u32>()? > 5 && program.ends_with(&["ms"]),
        "{program:?}"
    );
    check_gone(&["vfy_lines", "vfy_line"])
}

#[test]
fn the_same_as_json() -> Result<()> {
    let files = Files::new()?;
    let good = files.object("good", GOOD)?;
    let mixed = files.object("mixed", MIXED)?;
    let text = files.0.file("text", "no object ".repeat(20))?;
    let output = verify(&["--json", &good, &mixed, &text])?;
    // What failed is said on standard error, too.
    check(
        &output,
        1,
        &["error: ", "map `sizeless`", "`careless`", "not an ELF file"],
    )?;
    let json: Value = serde_json::from_str(&output.stdout)?;
    let objects = json.as_array().context("a list")?;
    ensure!(objects.len() == 3, "{json}");
    let [first, second, third] = [&objects[0], &objects[1], &objects[2]];
    ensure!(
        first["path"] == good.as_str() && first["ok"] == true,
        "{first}"
    );
    ensure!(
        first["error"].is_null() && first["license"] == "GPL",
        "{first}"
    );
    let map = &first["maps"][0];
    ensure!(
        map["name"] == "hits" && map["type"] == "array" && map["ok"] == true,
        "{map}"
    );
    ensure!(
        map["key_size"] == 4 && map["value_size"] == 8 && map["max_entries"] == 4,
        "{map}"
    );
    let program = &first["programs"][0];
    ensure!(
        program["name"] == "count" && program["section"] == "xdp",
        "{program}"
    );
    ensure!(
        program["type"] == "xdp" && program["ok"] == true,
        "{program}"
    );
    for figure in [
        "instructions",
        "xlated_bytes",
        "verified_instructions",
        "time_ns",
    ] {
        ensure!(
            program[figure].as_u64().is_some_and(|n| n > 0),
            "{figure}: {program}"
        );
    }
    ensure!(program["jited_bytes"].is_u64(), "{program}");

    ensure!(second["ok"] == false, "{second}");
    let kinds: Vec<_> = second["programs"]
        .as_array()
        .context("programs")?
        .iter()
        .collect();
    let kinds: Vec<&str> = kinds
        .iter()
        .map(|one| one["kind"].as_str().unwrap_or("ok"))
        .collect();
    // In the order of the file.
    ensure!(
        kinds == ["ok", "missing_map", "verifier", "object"],
        "{second}"
    );
    ensure!(second["maps"][0]["kind"] == "kernel", "{second}");
    ensure!(third["ok"] == false && third["kind"] == "object", "{third}");
    ensure!(third["maps"] == serde_json::json!([]), "{third}");
    Ok(())
}

#[test]
fn what_is_bad_leaves_the_rest_its_turn() -> Result<()> {
    let files = Files::new()?;
    let object = files.object("mixed", &MIXED.replace("sizeless", "vfy_mixed"))?;
    let output = verify(&[&object])?;
    check(
        &output,
        1,
        &[
            &format!(
                "error: {object}: create map `vfy_mixed`: it has no entries (max_entries is 0) (EINVAL)"
            ),
            "try:  --max-entries vfy_mixed=N",
            &format!("error: {object}: load program `user`: its map `vfy_mixed` was not created"),
            "`nameless`",
            "try:  --type nameless=xdp",
            &format!("error: {object}: load program `careless`: rejected by the verifier (EACCES)"),
            // The source line is on top of the verifier's words.
            "mixed.c:15: SEC(\"xdp\") int careless",
            "invalid access to packet",
        ],
    )?;
    let failed = output
        .stdout
        .lines()
        .filter(|line| line.ends_with("failed"))
        .count();
    ensure!(failed == 4, "{}", output.stdout);
    let fine = output.stdout.lines().find(|line| line.starts_with("fine"));
    ensure!(
        fine.is_some_and(|line| line.ends_with("ms")),
        "{}",
        output.stdout
    );
    check_gone(&["vfy_mixed", "fine"])
}

#[test]
fn options_say_what_the_object_does_not() -> Result<()> {
    let files = Files::new()?;
    let mixed = files.object("mixed", MIXED)?;
    let types = ["--type", "nameless=xdp", "--max-entries", "sizeless=16"];
    let output = verify(&[&types[..], &[&mixed]].concat())?;
    check(&output, 1, &["`careless`"])?;
    ensure!(
        output.stderr.matches("error: ").count() == 1,
        "{}",
        output.stderr
    );

    let limited = files.object("limited", LIMITED)?;
    check(
        &verify(&[&limited])?,
        1,
        &["load program `limited`", "invalid access to packet"],
    )?;
    check(&verify(&["--set", "LIMIT=0", &limited])?, 0, &[])?;
    // Each option goes to the objects that have the thing.
    let both = ["--set", "LIMIT=0", "--max-entries", "hits=8", &limited];
    let good = files.object("good", GOOD)?;
    let output = verify(&[&both[..], &[&good]].concat())?;
    check(&output, 0, &[])?;
    let heads: Vec<&str> = output
        .stdout
        .lines()
        .filter(|line| line.ends_with(".o:"))
        .collect();
    ensure!(
        heads == [format!("{limited}:"), format!("{good}:")],
        "{}",
        output.stdout
    );
    ensure!(output.stdout.contains("      8\n"), "{}", output.stdout);
    Ok(())
}

#[test]
fn wrong_usage_is_said_before_anything_is_loaded() -> Result<()> {
    let files = Files::new()?;
    let good = files.object("good", &GOOD.replace("hits", "vfy_usage"))?;
    let limited = files.object("limited", LIMITED)?;
    for (options, text) in [
        (
            &["--set", "NOWHERE=1"][..],
            "error: --set NOWHERE=1: the object has no variable `NOWHERE`, and no other\n",
        ),
        (
            &["--type", "nobody=xdp"],
            "error: --type nobody=xdp: the object has no program `nobody`\n  has:  count\n",
        ),
        (
            &["--max-entries", "none=1"],
            "error: --max-entries none=1: the object has no map `none`\n  has:  vfy_usage\n",
        ),
        (
            &["--max-entries", "vfy_usage=lots"],
            "`lots` is not a number of entries",
        ),
        (&["--max-entries", "vfy_usage"], "not of the form MAP=N"),
        (&["--set", "LIMIT"], "not of the form NAME=VALUE"),
        (&["--type", "xpd"], "`xpd` names no type of program"),
        (&["--frobnicate"], "unexpected argument '--frobnicate'"),
    ] {
        let output = verify(&[options, &[&good]].concat())?;
        check(&output, 2, &[text])?;
        ensure!(output.stdout.is_empty(), "{options:?}: {}", output.stdout);
    }
    check(&verify(&[])?, 2, &["OBJECT"])?;
    let none = verify(&["--set", "NOWHERE=1", &good, &limited])?;
    check(
        &none,
        2,
        &["--set NOWHERE=1: none of the objects has a variable `NOWHERE`"],
    )?;
    let value = verify(&["--set", "LIMIT=many", &limited])?;
    check(&value, 2, &["error: --set LIMIT=many: ", &limited])?;
    check_gone(&["vfy_usage"])
}

#[test]
fn files_that_are_no_objects() -> Result<()> {
    let files = Files::new()?;
    let good = files.object("good", GOOD)?;
    let empty = files.0.file("empty", "")?;
    let cut = files.0.file("cut", &std::fs::read(&good)?[..100])?;
    let folder = files.0.path().display().to_string();
    let output = verify(&["/nonexistent.o", &empty, &cut, &folder, &good])?;
    check(
        &output,
        1,
        &[
            "error: /nonexistent.o: read: no such file or directory (ENOENT)\n",
            &format!("error: {empty}: "),
            &format!("error: {cut}: "),
            &format!("error: {folder}: read: is a directory (EISDIR)\n"),
        ],
    )?;
    ensure!(output.stderr.lines().count() == 4, "{}", output.stderr);
    ensure!(
        output.stdout.contains("hits"),
        "the others are still tried: {}",
        output.stdout
    );
    Ok(())
}

#[test]
fn slots_of_a_program_that_failed() -> Result<()> {
    let files = Files::new()?;
    let source = r#"
int careless(struct xdp_md *c);
int fine(struct xdp_md *c);
struct { __uint(type, 3); __uint(max_entries, 2); __uint(key_size, 4); __array(values, int(void *)); } jumps SEC(".maps")
    = { .values = { (void *)&fine, (void *)&careless } };
SEC("xdp") int careless(struct xdp_md *c) { return *(char *)(long)c->data; }
SEC("xdp") int fine(struct xdp_md *c) { return 2; }
SEC("xdp") int entry(struct xdp_md *c) { tail_call(c, &jumps, 1); return 2; }
"#;
    let output = verify(&["--explain", &files.object("slots", source)?])?;
    check(
        &output,
        1,
        &[
            "map `jumps`: slot 0 holds `fine`",
            "map `jumps`: slot 1 is to hold `careless`, which was not loaded",
            "load program `careless`",
        ],
    )
}

#[test]
fn sizes_are_fitted_and_explained() -> Result<()> {
    let files = Files::new()?;
    let source = r#"
struct { __uint(type, 27); __uint(max_entries, 5000); } ring SEC(".maps");
struct { __uint(type, 4); __uint(key_size, 4); __uint(value_size, 4); } events SEC(".maps");
SEC("xdp") int pass(struct xdp_md *c) { return 2; }
"#;
    let object = files.object("fitted", source)?;
    let output = verify(&["--explain", &object])?;
    let cpus = kernel::possible_cpus()?;
    check(
        &output,
        0,
        &[
            "map `ring` fitted: 8192 entries instead of 5000: a power of two of whole pages\n",
            &format!(
                "map `events` fitted: {cpus} entries instead of 0: one buffer a possible CPU\n"
            ),
            "types loaded: BTF ",
            "program `pass` loaded: program ",
            "\nunloaded\n",
        ],
    )?;
    ensure!(output.stdout.contains("8,192"), "{}", output.stdout);
    // Standard output is the same without the steps.
    let plain = verify(&[&object])?;
    ensure!(plain.stderr.is_empty(), "{}", plain.stderr);
    Ok(())
}

#[test]
fn the_verifiers_whole_log() -> Result<()> {
    let files = Files::new()?;
    let object = files.object("limited", LIMITED)?;
    ensure!(!verify(&[&object])?.stderr.contains("processed "));
    check(
        &verify(&["--verifier-log", &object])?,
        1,
        &["processed ", "error: "],
    )?;
    let json = verify(&["--verifier-log", "--json", &object])?;
    let json: Value = serde_json::from_str(&json.stdout)?;
    let log = json[0]["programs"][0]["log"].as_str();
    ensure!(log.is_some_and(|log| log.contains("processed ")), "{json}");
    Ok(())
}

/// The map of `pins`, in a BPF file system of the test's own.
const PINNED: &str = r#"
struct { __uint(type, 2); __uint(max_entries, 4); __type(key, int); __type(value, long); __uint(pinning, 1); } kept SEC(".maps");
SEC("xdp") int user(struct xdp_md *c) { int k = 1; return lookup(&kept, &k) ? 1 : 2; }
"#;

#[test]
fn pins_are_used_and_new_ones_removed() -> Result<()> {
    let files = Files::new()?;
    let pins = BpfFs::new()?;
    let object = files.object("pinned", PINNED)?;
    let larger = files.object(
        "larger",
        &PINNED.replace("max_entries, 4", "max_entries, 8"),
    )?;
    let folder = pins.path().join("here");
    let shown = folder.display().to_string();
    let pinned = |arguments: &[&str]| -> Result<Output> {
        let mut command = command(&[&["--pin", &shown], arguments].concat())?;
        pins.enter(&mut command)?;
        run::output(command, LIMIT)
    };
    let output = pinned(&["--explain", &object])?;
    check(&output, 0, &["map `kept` pinned as "])?;
    ensure!(pins.pins()?.is_empty(), "{:?}", pins.pins()?);

    // A map that is there already is used, and stays.
    pins.within(|| {
        let fs = PinFs::create(&folder)?;
        let bytes = std::fs::read(&object)?;
        let loaded = xdplb_loader::Object::parse(&bytes)?.load()?;
        fs.pin_map("kept", loaded.map("kept")?)?;
        Ok(())
    })?;
    let output = pinned(&[&object])?;
    check(&output, 0, &[])?;
    ensure!(output.stdout.contains("reused"), "{}", output.stdout);
    let output = pinned(&[&larger])?;
    check(
        &output,
        1,
        &["map `kept`: the existing one cannot be used: max_entries is 4, the program needs 8"],
    )?;
    let left: Vec<PathBuf> = pins.pins()?;
    ensure!(left == [folder.join("kept")], "{left:?}");
    Ok(())
}

#[test]
fn pinning_outside_a_bpf_file_system() -> Result<()> {
    let files = Files::new()?;
    let object = files.object("good", GOOD)?;
    let place = files.0.path().join("pins");
    let output = verify(&["--pin", &place.display().to_string(), &object])?;
    check(
        &output,
        1,
        &["it is not in a BPF file system", "try:  mount -t bpf"],
    )?;
    ensure!(!place.exists(), "the folder that was made is removed");
    Ok(())
}

#[test]
fn a_plain_user_is_told_once() -> Result<()> {
    let files = Files::new()?;
    let folder = Folder::new()?;
    let good = files.object("good", GOOD)?;
    let mixed = files.object("mixed", MIXED)?;
    for json in [&[][..], &["--json"]] {
        let mut command = balancer::copy(&folder)?;
        command.arg("verify").args(json).args([&good, &mixed]);
        as_nobody(&mut command);
        let output = run::output(command, LIMIT)?;
        check(
            &output,
            1,
            &[
                "missing CAP_BPF",
                "have: none of these   need: cap_bpf",
                "try:  sudo xdplb-load verify ",
            ],
        )?;
        ensure!(
            output.stderr.matches("error: ").count() == 1,
            "{}",
            output.stderr
        );
    }
    Ok(())
}

#[test]
fn names_of_a_file_do_not_reach_the_terminal_raw() -> Result<()> {
    let files = Files::new()?;
    let source = "SEC(\"prog\\x1b[2J\") int odd(struct xdp_md *c) { return 2; }";
    let output = verify(&[&files.object("odd", source)?])?;
    check(&output, 1, &["prog\\u{1b}[2J"])?;
    ensure!(
        !output.stdout.contains('\u{1b}') && !output.stderr.contains('\u{1b}'),
        "{output:?}"
    );
    Ok(())
}
