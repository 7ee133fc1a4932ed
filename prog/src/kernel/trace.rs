//! The seed's nine lines a packet, in the kernel's trace.

use xdplb_prog::abi::{Addr, MacWords};
use xdplb_prog::helpers;
use xdplb_prog::world::Line;

use super::setting;

/// Writes one.
#[inline(always)]
pub fn line(line: Line<'_>) {
    match line {
        Line::Received => print(b"xdp_load_balancer received packet\0", &[]),
        Line::Headers(key, source, destination) => {
            print(b"Received Source IP: 0x%x\0", &[shown(key.saddr)]);
            print(
                b"Received Destination IP: 0x%x\0",
                &[shown(key.daddr)],
            );
            print_mac(RECEIVED_SOURCE, source);
            print_mac(RECEIVED_DESTINATION, destination);
        }
        Line::FromClient => print(b"Packet from client\0", &[]),
        Line::FromBackend => print(b"Packet from backend\0", &[]),
        Line::Redirecting(key, destination, source) => {
            let (to, from) = (shown(key.daddr), shown(key.saddr));
            print(
                b"Redirecting packet to new IP 0x%x from IP 0x%x\0",
                &[to, from],
            );
            print_mac(NEW_DESTINATION, destination);
            print_mac(NEW_SOURCE, source);
        }
    }
}

/// An IPv4 address as the seed prints it; of an IPv6 address, its last four bytes.
#[inline(always)]
fn shown(addr: Addr) -> u64 {
    u64::from(addr.last().get())
}

const RECEIVED_SOURCE: u32 = 0;
const RECEIVED_DESTINATION: u32 = 1;
const NEW_DESTINATION: u32 = 2;
const NEW_SOURCE: u32 = 3;

#[inline(always)]
fn print_mac(line: u32, mac: MacWords) {
    let [head, middle, tail] = mac.0.map(u32::from);
    xdplb_trace_mac(line, head << 16 | middle, tail);
}

/// One of the trace's four lines with an Ethernet address; its six words do not fit on the stack
/// beside everything else.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn xdplb_trace_mac(line: u32, head: u32, tail: u32) -> u32 {
    // A function of its own is verified even where nothing calls it, and its helper is of Linux 5.16.
    if setting!(TRACE) == 0 {
        return 0;
    }
    let mac = MacWords([(head >> 16) as u16, head as u16, tail as u16]);
    let octets = mac.bytes().map(u64::from);
    match line {
        RECEIVED_SOURCE => print(b"Received Source MAC: %x:%x:%x:%x:%x:%x\0", &octets),
        RECEIVED_DESTINATION => print(b"Received Destination MAC: %x:%x:%x:%x:%x:%x\0", &octets),
        NEW_DESTINATION => print(b"New Dest MAC: %x:%x:%x:%x:%x:%x\0", &octets),
        _ => print(b"New Source MAC: %x:%x:%x:%x:%x:%x\0", &octets),
    }
    0
}

#[inline(always)]
fn print<const F: usize, const N: usize>(format: &'static [u8; F], arguments: &[u64; N]) {
    let data = if N == 0 {
        core::ptr::null()
    } else {
        arguments.as_ptr()
    };
    // SAFETY: both sizes are those of the arrays.
    unsafe { helpers::trace_vprintk(format.as_ptr(), F as u32, data, (N * 8) as u32) };
}

