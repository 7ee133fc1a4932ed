//! A small XDP counter in Rust: rustc, our target and our linker, no crate of ours.
// programs: count
// maps: packets: percpu_array 4 8 1
#![no_std]
#![no_main]

#[repr(C)]
struct Packets {
    r#type: *const [i32; 6],
    key: *const u32,
    value: *const u64,
    max_entries: *const [i32; 1],
}

// SAFETY: a map's definition holds null pointers, whose types are all that anyone reads of it.
unsafe impl Sync for Packets {}

#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static packets: Packets = Packets {
    r#type: core::ptr::null(),
    key: core::ptr::null(),
    value: core::ptr::null(),
    max_entries: core::ptr::null(),
};

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[unsafe(link_section = "xdp")]
#[unsafe(no_mangle)]
extern "C" fn count(_context: *const u32) -> u32 {
    // SAFETY: helper 1 is bpf_map_lookup_elem(map, key), which gives a pointer to the value or null.
    unsafe {
        let lookup: extern "C" fn(*const Packets, *const u32) -> *mut u64 = core::mem::transmute(1usize);
        if let Some(count) = lookup(&packets, &0).as_mut() {
            *count += 1;
        }
    }
    2
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
