//! A loop spins until a number changes, which nothing in it does.
// says: a path came back to instruction 3 with nothing changed: the loop would never end
// try: let a counter with a constant bound end the loop
#![no_std]
#![no_main]

#[path = "include/bpf.rs"]
mod bpf;

#[unsafe(link_section = "xdp")]
#[unsafe(no_mangle)]
extern "C" fn rust_endless(context: &bpf::Context) -> u32 {
    let ready = 0u32;
    // SAFETY: it is a local variable.
    while unsafe { (&raw const ready).read_volatile() } == 0 {} // rejected
    context.queue()
}
