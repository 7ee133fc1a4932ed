//! Counts packets by IP protocol number (1 ICMP, 6 TCP, 17 UDP), IPv4 only, and passes all of them on.
#![no_std]
#![no_main]

use core::ptr;

/// The context of an XDP program (`struct xdp_md` in linux/bpf.h). The verifier gives the first two as pointers.
#[repr(C)]
struct Context {
    data: u32,
    data_end: u32,
}

/// A map's definition: nobody reads it but the loader, and that one only the types of the members (BTF).
#[repr(C)]
struct CounterArray {
    r#type: *const [u8; 6], // BPF_MAP_TYPE_PERCPU_ARRAY
    key: *const u32,
    value: *const u64,
    max_entries: *const [u8; 256],
}

// SAFETY: null pointers, which nobody follows.
unsafe impl Sync for CounterArray {}

#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static PACKETS: CounterArray = CounterArray {
    r#type: ptr::null(),
    key: ptr::null(),
    value: ptr::null(),
    max_entries: ptr::null(),
};

/// Helper 1, `bpf_map_lookup_elem`: the address of a value, or null.
fn lookup(map: &CounterArray, key: u32) -> Option<&mut u64> {
    // SAFETY: a call of the address 1 is how BPF calls helper 1; a value of this CPU is nobody else's meanwhile.
    unsafe {
        let helper: extern "C" fn(&CounterArray, &u32) -> *mut u64 = core::mem::transmute(1usize);
        helper(map, &key).as_mut()
    }
}

#[unsafe(link_section = "xdp")]
#[unsafe(no_mangle)]
extern "C" fn count_protocols(context: &Context) -> u32 {
    let (start, end) = (context.data as usize, context.data_end as usize);
    // Ethernet's header is 14 bytes, IPv4's protocol is its tenth byte. The comparison is what the verifier asks for.
    if start + 24 <= end {
        let frame = start as *const u8;
        // SAFETY: 24 bytes of the frame are there.
        let (ethertype, protocol) = unsafe { (frame.add(12).cast::<[u8; 2]>().read(), frame.add(23).read()) };
        if ethertype == [0x08, 0x00]
            && let Some(packets) = lookup(&PACKETS, u32::from(protocol))
        {
            *packets += 1;
        }
    }
    2 // XDP_PASS
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached: the linker refuses a program in which a panic is.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
