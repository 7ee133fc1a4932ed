//! Sends a record of each packet to user space.
#![no_std]
#![no_main]

#[path = "../support/bpf.rs"]
mod bpf;
use bpf::*;

/// The loader rounds this up to what the machine's pages ask for.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".maps")]
static PACKETS: Ring<65_536> = Ring::new();

#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn report(context: &xdp_md) -> u32 {
    let length = context.data_end - context.data;
    PACKETS.send(&[context.ingress_ifindex, length]);
    XDP_PASS
}
