//! Counts packets and bytes, each CPU for itself.
#![no_std]
#![no_main]

#[path = "../support/bpf.rs"]
mod bpf;
use bpf::*;

#[unsafe(no_mangle)]
#[unsafe(link_section = ".maps")]
static TRAFFIC: Map<u32, [u64; 2], PERCPU_ARRAY, 1> = Map::new();

#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn count(context: &xdp_md) -> u32 {
    if let Some([packets, bytes]) = TRAFFIC.get(&0) {
        *packets += 1;
        *bytes += u64::from(context.data_end - context.data);
    }
    XDP_PASS
}
