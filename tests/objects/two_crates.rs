//! Rust of two crates without link-time optimisation: an object and an archive, joined by our linker alone.
// programs: total
#![no_std]
#![no_main]

extern crate seen;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[unsafe(link_section = "xdp")]
#[unsafe(no_mangle)]
extern "C" fn total(context: *const u32) -> u32 {
    // SAFETY: the context of an XDP program begins with two offsets of 32 bits, which the verifier makes pointers.
    let queue = unsafe { context.add(4).read() };
    if seen::add(u64::from(queue)) > 100 { 1 } else { 2 }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
