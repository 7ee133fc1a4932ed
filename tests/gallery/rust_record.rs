//! A record of a ring buffer is dropped on an early return: without a Drop of its own it is not given back.
// says: what bpf_ringbuf_reserve gave (instruction 5) is not given back on this path
// try: call bpf_ringbuf_submit or bpf_ringbuf_discard on every path
#![no_std]
#![no_main]

#[path = "include/bpf.rs"]
mod bpf;

bpf::ring!(ring, 4096);

#[unsafe(link_section = "xdp")]
#[unsafe(no_mangle)]
extern "C" fn rust_record(context: &bpf::Context) -> u32 {
    let record = bpf::reserve(&ring, 8);
    if record.is_null() {
        return bpf::PASS;
    }
    if context.queue() == 7 {
        return bpf::DROP;
    }
    bpf::submit(record);
    bpf::PASS
} // rejected
