//! Programs of several objects, linked by us and loaded by bpftool, which is libbpf: the kernel takes their code and
//! their types. Needs root, clang and bpftool.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xdplb_linker::link::{Exports, Input, Options, link};
use xdplb_tests::files::Folder;
use xdplb_tests::run;

const LIMIT: Duration = Duration::from_secs(60);

/// What the C files begin with.
const COMMON: &str = r#"
#define SEC(x) __attribute__((section(x), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __weak __attribute__((weak))
#define __hidden __attribute__((visibility("hidden")))
#define __noinline __attribute__((noinline))
#define __ksym __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))
typedef unsigned int u32; typedef unsigned long long u64;
struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
struct flow { u32 src, dst; struct flow *next; union { u32 a; u64 b; }; };
struct opaque;
struct holder { struct opaque *o; struct flow *f; };
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_loop)(u32 n, void *callback, void *ctx, u64 flags) = (void *)181;
"#;

/// Pins of a test, removed at its end.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        // What cannot be removed is seen by whoever looks there next; nothing else can be done here.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run_in(folder: &Folder, command: &mut Command) -> Result<String> {
    command.current_dir(folder.path());
    let said = format!("{command:?}");
    let mut owned = Command::new(command.get_program());
    owned.args(command.get_args()).current_dir(folder.path());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            owned.env(name, value);
        }
    }
    let output = run::output(owned, LIMIT)?;
    ensure!(output.code == Some(0), "{said}\n{}", output.stderr);
    Ok(output.stdout)
}

fn clang(folder: &Folder, name: &str, source: &str) -> Result<PathBuf> {
    let file = folder.file(&format!("{name}.c"), format!("{COMMON}{source}"))?;
    let object = folder.path().join(name).with_extension("o");
    let mut command = Command::new("clang");
    command.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-w", "-c"]);
    run_in(folder, command.arg(file).arg("-o").arg(&object))?;
    Ok(object)
}

fn linked(folder: &Folder, files: &[PathBuf], exports: Exports) -> Result<PathBuf> {
    let bytes: Vec<Vec<u8>> = files.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let inputs: Vec<Input<'_>> = names
        .iter()
        .zip(&bytes)
        .map(|(name, bytes)| Input { name, bytes })
        .collect();
    let options = Options {
        exports,
        ..Options::default()
    };
    let output = link(&inputs, &options)?;
    let path = folder.path().join("linked.o");
    std::fs::write(&path, output.bytes)?;
    Ok(path)
}

/// Loads and pins all programs of an object; each must have its types in the kernel. Returns bpftool's word on each.
fn load(folder: &Folder, object: &Path, programs: &[&str]) -> Result<Vec<String>> {
    let name = folder.path().file_name().unwrap_or_default();
    let pins = Pins(Path::new("/sys/fs/bpf").join(name));
    let mut command = Command::new("bpftool");
    command.args(["prog", "loadall"]).arg(object).arg(&pins.0);
    run_in(folder, &mut command)?;
    let mut shown = Vec::new();
    for program in programs {
        let mut command = Command::new("bpftool");
        command
            .args(["prog", "show", "pinned"])
            .arg(pins.0.join(program));
        let text = run_in(folder, &mut command).with_context(|| format!("program {program}"))?;
        ensure!(text.contains("btf_id"), "{program} has no types:\n{text}");
        let mut command = Command::new("bpftool");
        command.args(["prog", "dump", "xlated", "pinned"]);
        let code = run_in(folder, command.arg(pins.0.join(program)).arg("linum"))?;
        ensure!(
            code.contains("; "),
            "{program} has no source lines:\n{code}"
        );
        shown.push(text);
    }
    Ok(shown)
}

const ONE: &str = r#"
struct { __uint(type, 1); __uint(max_entries, 16); __type(key, u32); __type(value, struct flow); } flows SEC(".maps");
int shared = 3;
const volatile int limit = 5;
SEC(".data.counters") u64 packets;
SEC(".data.counters") u64 bytes;
struct holder held;
int pick(u32 x);
extern int CONFIG_HZ __kconfig;
SEC("xdp") int first(struct xdp_md *ctx) {
  u32 key = ctx->ingress_ifindex;
  struct flow *f = bpf_map_lookup_elem(&flows, &key);
  if (!f) return 2;
  packets++;
  bytes += limit + CONFIG_HZ;
  return pick(f->src + shared) ? 2 : 1;
}
__weak int pick(u32 x) { return 1; }
char LICENSE[] SEC("license") = "GPL";
"#;

const TWO: &str = r#"
extern struct { __uint(type, 1); __uint(max_entries, 16); __type(key, u32); __type(value, struct flow); } flows SEC(".maps");
struct opaque { int x; struct flow *f; };
struct opaque known;
extern int shared;
extern int CONFIG_HZ __kconfig;
extern void bpf_rcu_read_lock(void) __ksym __weak;
extern void bpf_rcu_read_unlock(void) __ksym __weak;
static __noinline int helper(u32 x) { return x % 7 > 3; }
__hidden __noinline int secret(u32 x) { return x * 3; }
static long each(u32 index, void *ctx) { *(u32 *)ctx += index; return 0; }
int pick(u32 x) { return helper(x) + secret(x) + shared; }
extern struct holder held;
SEC("xdp") int second(struct xdp_md *ctx) {
  u32 key = ctx->rx_queue_index, sum = 0;
  struct flow *f = bpf_map_lookup_elem(&flows, &key);
  bpf_loop(4, each, &sum, 0);
  if (f && f->a == 2 && !known.x && !held.o) return pick(f->dst + sum + CONFIG_HZ);
  return 1;
}
char LICENSE[] SEC("license") = "GPL";
"#;

#[test]
fn two_c_files_are_one_object_to_the_kernel() -> Result<()> {
    let folder = Folder::new()?;
    let files = [clang(&folder, "one", ONE)?, clang(&folder, "two", TWO)?];
    let object = linked(&folder, &files, Exports::All)?;
    let ours = load(&folder, &object, &["first", "second"])?;

    // libbpf's own linker makes an object of the same sizes.
    let theirs = folder.path().join("theirs.o");
    let mut command = Command::new("bpftool");
    run_in(
        &folder,
        command.args(["gen", "object"]).arg(&theirs).args(&files),
    )?;
    let theirs = load(&folder, &theirs, &["first", "second"])?;
    let sizes = |shown: &[String]| -> Vec<String> {
        shown
            .iter()
            .flat_map(|text| text.split_whitespace())
            .filter(|word| word.ends_with('B'))
            .map(str::to_owned)
            .collect()
    };
    ensure!(sizes(&ours) == sizes(&theirs), "{ours:?}\n{theirs:?}");
    Ok(())
}

#[test]
fn members_of_an_archive_load_with_what_wants_them() -> Result<()> {
    let folder = Folder::new()?;
    let main = clang(
        &folder,
        "main",
        "int a(int); SEC(\"xdp\") int p(struct xdp_md *c) { return a(c->data == 0); } char l[] SEC(\"license\") = \"GPL\";",
    )?;
    let members = [
        clang(&folder, "a", "int b(int); __noinline int a(int x) { return b(x) + 1; }")?,
        clang(&folder, "b", "struct { __uint(type, 2); __uint(max_entries, 1); __type(key, u32); __type(value, u64); } m SEC(\".maps\");
                             __noinline int b(int x) { u32 k = 0; return !bpf_map_lookup_elem(&m, &k) + x; }")?,
        clang(&folder, "unused", "SEC(\"xdp\") int never(struct xdp_md *c) { return 7; }")?,
    ];
    let archive = folder.path().join("lib.a");
    let mut command = Command::new("llvm-ar");
    run_in(&folder, command.arg("rc").arg(&archive).args(&members))?;
    let object = linked(&folder, &[archive, main], Exports::All)?;
    load(&folder, &object, &["p"])?;
    Ok(())
}

/// A crate, and a program that uses it: without LTO, each an object for each unit of code generation.
const HELPER: &str = r#"
#![no_std]
pub struct Flow { pub src: u32, pub dst: u32, pub kind: Kind }
#[derive(Clone, Copy)]
pub enum Kind { A, B(u16) }
pub mod deep {
    #[inline(never)]
    pub fn pick(flow: &super::Flow, by: u32) -> u32 {
        let kind = match flow.kind { super::Kind::A => 1, super::Kind::B(n) => n as u32 };
        flow.src.wrapping_mul(by) ^ flow.dst ^ kind
    }
}
#[inline(never)]
pub fn twice(x: u32) -> u32 { x.wrapping_mul(2) }
#[inline(never)]
pub fn triple<T: Into<u64> + Copy>(x: T) -> u64 { x.into().wrapping_mul(3) }
pub static NOTHING: [u8; 0] = [];
"#;

const PROGRAM: &str = r#"
#![no_std]
#![no_main]
use helper::*;
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
#[unsafe(no_mangle)]
static mut COUNT: u64 = 0;
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn prog(ctx: *const u32) -> u32 {
    let at = unsafe { core::ptr::read_volatile(ctx.add(3)) };
    let kind = if at > 3 { Kind::A } else { Kind::B(at as u16) };
    let flow = Flow { src: at, dst: at ^ 1, kind };
    let empty = (core::hint::black_box(&NOTHING).as_ptr() as u64 != 0) as u64;
    unsafe { COUNT = COUNT.wrapping_add(triple(at)).wrapping_add(empty) };
    if deep::pick(&flow, at) > twice(at) { 2 } else { 1 }
}
"#;

#[test]
fn crates_without_lto_link_and_load() -> Result<()> {
    let folder = Folder::new()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let note = xdplb_tests::objects::folder()
        .with_file_name("bpf")
        .join("compiler");
    let text = std::fs::read_to_string(&note).with_context(|| note.display().to_string())?;
    let lines: Vec<&str> = text.lines().collect();
    let [rustc, sysroot, libraries] = lines[..] else {
        anyhow::bail!("{}: three lines are wanted", note.display());
    };
    let compile = |source: &str, arguments: &[&str]| {
        let mut command = Command::new(rustc);
        command.env("RUSTC_BOOTSTRAP", "1");
        if !libraries.is_empty() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command.args(["--sysroot", sysroot, "--edition=2024", "-Zunstable-options"]);
        command.arg("--target").arg(root.join("prog/target.json"));
        command.args([
            "-Cpanic=abort",
            "-Copt-level=2",
            "-Cdebuginfo=2",
            "-Ccodegen-units=4",
        ]);
        run_in(&folder, command.arg(source).args(arguments))
    };
    let helper = folder.file("helper.rs", HELPER)?;
    let program = folder.file("prog.rs", PROGRAM)?;
    compile(&helper, &["--crate-type=rlib", "-L."])?;
    compile(
        &program,
        &[
            "--crate-type=bin",
            "--emit=obj",
            // One file; the crate it uses is several.
            "-Ccodegen-units=1",
            "-L.",
            "--extern=helper=libhelper.rlib",
        ],
    )?;
    let object = folder.path().join("prog.o");
    let rlib = folder.path().join("libhelper.rlib");
    let files = [object, rlib];
    // As rustc says it with --export-symbols, and without.
    let exports = ["prog", "COUNT", "LICENSE"].map(str::to_owned).into();
    let listed = linked(&folder, &files, Exports::Named(exports))?;
    load(&folder, &listed, &["prog"])?;
    let all = linked(&folder, &files, Exports::All)?;
    load(&folder, &all, &["prog"])?;
    Ok(())
}
