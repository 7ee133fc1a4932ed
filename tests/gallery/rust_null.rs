//! What a lookup gives is made a reference without a look at whether it is null.
// says: R0 may be NULL here: what the call returned was not compared with NULL on this path
// try: compare it with NULL right after the call (in Rust: `is_null()`), and leave when it is
#![no_std]
#![no_main]

#[path = "include/bpf.rs"]
mod bpf;

bpf::map!(counts: HASH, u32, u64, 1);

#[unsafe(link_section = "xdp")]
#[unsafe(no_mangle)]
extern "C" fn rust_null(_context: &bpf::Context) -> u32 {
    // SAFETY: none: this is what is wrong.
    let count = unsafe { &mut *bpf::lookup(&counts, &0) };
    *count += 1; // rejected
    bpf::PASS
}
