//! C sources through clang, and the same objects through `bpftool gen object`, which is libbpf's linker.

use std::path::{Path, PathBuf};
use std::process::Command;

use xdplb_linker::link::{Input, LinkError, Options, Output, link};

/// What C programs of the field begin with, as short as it can be.
pub const COMMON: &str = r#"
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
enum verdict { DROP = 1, PASS = 2 };
struct flow { u32 src, dst; struct flow *next; union { u32 a; u64 b; }; enum verdict v; };
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *(*)(void *, const void *))1;
"#;

/// A folder of objects, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xdplb-link-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Compiles `COMMON` and `source` to NAME.
    pub fn compile(&self, name: &str, source: &str, flags: &[&str]) -> Vec<u8> {
        let extension = if flags.contains(&"c++") { "cc" } else { "c" };
        let file = Path::new(name).with_extension(extension);
        std::fs::write(self.path("common.h"), COMMON).unwrap();
        let text = format!("#include \"common.h\"\n{source}");
        std::fs::write(self.0.join(&file), text).unwrap();
        let mut command = Command::new("clang");
        command
            .args(["-target", "bpf", "-mcpu=v3", "-O2", "-w"])
            .args(flags);
        command.arg("-c").arg(&file).arg("-o").arg(name);
        let output = command.current_dir(&self.0).output().expect("clang runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs a command here; its standard output.
    pub fn run(&self, command: &str) -> String {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap();
        let output = Command::new(program)
            .args(words)
            .current_dir(&self.0)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Links files by name.
pub fn link_files(files: &[(&str, &[u8])]) -> Result<Output, LinkError> {
    let inputs: Vec<Input<'_>> = files
        .iter()
        .map(|(name, bytes)| Input { name, bytes })
        .collect();
    link(&inputs, &Options::default())
}

/// Compiles C sources called `1.o`, `2.o` … with `-g` and links them.
pub fn link_c(folder: &Folder, sources: &[&str]) -> Result<Output, LinkError> {
    let objects: Vec<(String, Vec<u8>)> = sources
        .iter()
        .zip(1..)
        .map(|(source, number)| {
            let name = format!("{number}.o");
            let bytes = folder.compile(&name, source, &["-g"]);
            (name, bytes)
        })
        .collect();
    let files: Vec<(&str, &[u8])> = objects
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    link_files(&files)
}

/// Two programs in two files that share a map, functions and variables; the second knows what the first declares.
pub const TWO_FILES: [&str; 2] = [
    r#"
struct { __uint(type, 1); __uint(max_entries, 16); __type(key, u32); __type(value, struct flow); } flows SEC(".maps");
struct opaque;
struct holder { struct opaque *o; struct flow *f; };
int shared = 3;
const volatile int limit = 5;
SEC(".data.counters") u64 packets;
SEC(".data.counters") u64 bytes;
struct holder held;
int pick(u32 x);
SEC("xdp") int first(struct xdp_md *ctx) {
  u32 key = ctx->ingress_ifindex;
  struct flow *f = bpf_map_lookup_elem(&flows, &key);
  if (!f) return PASS;
  packets++;
  bytes += limit;
  return pick(f->src + shared) ? PASS : DROP;
}
__weak int pick(u32 x) { return 1; }
char LICENSE[] SEC("license") = "GPL";
"#,
    r#"
extern struct { __uint(type, 1); __uint(max_entries, 16); __type(key, u32); __type(value, struct flow); } flows SEC(".maps");
struct opaque { int x; struct flow *f; };
struct holder { struct opaque *o; struct flow *f; };
struct opaque known;
extern int shared;
static __noinline int helper(u32 x) { return x % 7 > 3; }
__hidden __noinline int secret(u32 x) { return x * 3; }
int pick(u32 x) { return helper(x) + secret(x) + shared; }
extern struct holder held;
SEC("xdp") int second(struct xdp_md *ctx) {
  u32 key = ctx->rx_queue_index;
  struct flow *f = bpf_map_lookup_elem(&flows, &key);
  if (f && f->v == PASS && !known.x && !held.o) return pick(f->dst);
  return DROP;
}
char LICENSE[] SEC("license") = "GPL";
"#,
];
