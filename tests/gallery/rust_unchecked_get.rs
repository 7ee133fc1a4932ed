//! `get_unchecked` takes a slice's length on trust; the verifier does not.
// says: byte 0 is accessed behind a variable offset, and no comparison with data_end was made after that was added
// try: after the variable offset was added to p, leave if `p + 1 > data_end`, and read through that p
#![no_std]
#![no_main]

#[path = "include/bpf.rs"]
mod bpf;

#[unsafe(link_section = "xdp")]
#[unsafe(no_mangle)]
extern "C" fn rust_unchecked_get(context: &bpf::Context) -> u32 {
    let data = context.data();
    if data + 14 > context.data_end() {
        return bpf::PASS;
    }
    // SAFETY: 14 bytes are there, as was compared.
    let header = unsafe { core::slice::from_raw_parts(data as *const u8, 14) };
    // SAFETY: none: this is what is wrong.
    let byte = unsafe { *header.get_unchecked(context.queue() as usize) }; // rejected
    if byte == 8 { bpf::PASS } else { bpf::DROP }
}
