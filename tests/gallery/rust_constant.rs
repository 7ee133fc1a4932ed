//! A static without `mut` is written to: it lies among the constants.
// says: the map is read-only for programs: constants (.rodata), or BPF_F_RDONLY_PROG
// try: declare the variable without const (in Rust: static mut), so that it lies in .data or .bss
#![no_std]
#![no_main]

#[path = "include/bpf.rs"]
mod bpf;

#[unsafe(no_mangle)]
static LIMIT: u32 = 10;

#[unsafe(link_section = "xdp")]
#[unsafe(no_mangle)]
extern "C" fn rust_constant(context: &bpf::Context) -> u32 {
    let limit = (&raw const LIMIT).cast_mut();
    // SAFETY: none: this is what is wrong.
    unsafe { limit.write_volatile(context.queue()) };
    bpf::PASS
} // rejected
