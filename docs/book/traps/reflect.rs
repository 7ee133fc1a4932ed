//! Sends every frame back out of the interface it came in by (XDP_TX), with its two Ethernet addresses exchanged.
#![no_std]
#![no_main]

#[repr(C)]
struct Context {
    data: u32,
    data_end: u32,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn reflect(context: &Context) -> u32 {
    let (start, end) = (context.data as usize, context.data_end as usize);
    if start + 14 > end {
        return 2; // XDP_PASS
    }
    let addresses = start as *mut [u16; 3];
    // SAFETY: 14 bytes are there, of which the first twelve are the two addresses.
    unsafe {
        let (to, from) = (addresses.read_unaligned(), addresses.add(1).read_unaligned());
        addresses.write_unaligned(from);
        addresses.add(1).write_unaligned(to);
    }
    3 // XDP_TX
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
