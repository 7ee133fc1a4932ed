//! A struct is read from the start of the packet, and nothing asked whether the packet has that many bytes.
// says: byte 12 is accessed, and no comparison with data_end on this path says that the packet has that much
// try: leave first if `data + 13 > data_end`
#![no_std]
#![no_main]

#[path = "include/bpf.rs"]
mod bpf;

#[unsafe(link_section = "xdp")]
#[unsafe(no_mangle)]
extern "C" fn rust_no_bounds(context: &bpf::Context) -> u32 {
    let ethernet = context.data() as *const [u8; 14];
    // SAFETY: none: this is what is wrong.
    let ethernet = unsafe { ethernet.read() };
    if ethernet[12] == 8 { bpf::PASS } else { bpf::DROP } // rejected
}
