//! Keeps the length of the longest frame that it has seen, in `.bss`, and passes every frame on.
#![no_std]
#![no_main]

#[repr(C)]
struct Context {
    data: u32,
    data_end: u32,
}

#[unsafe(no_mangle)]
static mut LONGEST: u64 = 0;

#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn longest(context: &Context) -> u32 {
    let length = (context.data_end - context.data) as u64;
    // SAFETY: another CPU may write at the same time; a length that is lost is seen again.
    unsafe {
        let longest = &raw mut LONGEST;
        if length > longest.read_volatile() {
            longest.write_volatile(length);
        }
    }
    2 // XDP_PASS
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
