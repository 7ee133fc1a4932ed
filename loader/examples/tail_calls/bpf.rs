//! Three programs in a chain: each counts that it ran and goes on in the next.
#![no_std]
#![no_main]

#[path = "../support/bpf.rs"]
mod bpf;
use bpf::*;

#[unsafe(no_mangle)]
#[unsafe(link_section = ".maps")]
static CHAIN: Map<u32, u32, PROG_ARRAY, 2> = Map::new();

#[unsafe(no_mangle)]
#[unsafe(link_section = ".maps")]
static RUNS: Map<u32, u64, PERCPU_ARRAY, 3> = Map::new();

#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn first(context: *mut xdp_md) -> u32 {
    ran(0);
    CHAIN.tail_call(context, 0);
    XDP_PASS
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn second(context: *mut xdp_md) -> u32 {
    ran(1);
    CHAIN.tail_call(context, 1);
    XDP_PASS
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn third(_context: *mut xdp_md) -> u32 {
    ran(2);
    XDP_PASS
}

#[inline(always)]
fn ran(link: u32) {
    if let Some(runs) = RUNS.get(&link) {
        *runs += 1;
    }
}
