//! The seed's nine lines a packet, in the kernel's trace.

use xdplb_prog::abi::MacWords;
use xdplb_prog::family::{Family, V4, V6};
use xdplb_prog::helpers::{self, frame, xdp_md};
use xdplb_prog::packet::Ethernet;
use xdplb_prog::world::Line;

use super::setting;

const RECEIVED: u32 = Line::Received as u32;
const HEADERS: u32 = Line::Headers as u32;
const FROM_CLIENT: u32 = Line::FromClient as u32;
const FROM_BACKEND: u32 = Line::FromBackend as u32;

/// Writes the lines of one step. What they say is read from the frame, before it is rewritten or after.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn xdplb_trace(context: *const xdp_md, line: u32, l3: u32, v6: u32) -> u32 {
    // A function of its own is verified even where nothing calls it, and its helper is of Linux 5.16.
    if setting!(TRACE) == 0 {
        return 0;
    }
    match line {
        RECEIVED => print(b"xdp_load_balancer received packet\0", &[]),
        FROM_CLIENT => print(b"Packet from client\0", &[]),
        FROM_BACKEND => print(b"Packet from backend\0", &[]),
        _ if v6 != 0 => addresses::<V6>(context, line, l3),
        _ => addresses::<V4>(context, line, l3),
    }
    0
}

/// IP addresses as the seed prints them (of an IPv6 address, its last four bytes) and Ethernet addresses.
#[inline(always)]
fn addresses<F: Family>(context: *const xdp_md, line: u32, l3: u32) {
    // SAFETY: the program's context.
    let frame = unsafe { frame(context) };
    let Some(ethernet) = frame.at::<Ethernet>(0) else {
        return;
    };
    // Without CAP_PERFMON nothing is read where no constant says.
    let plain = size_of::<Ethernet>();
    let l3 = l3 as usize & 0x1f;
    let ip: Option<&F::Ip> = if l3 == plain {
        frame.at(plain)
    } else if setting!(PERFMON) != 0 {
        frame.at(l3)
    } else {
        None
    };
    let Some(ip) = ip else { return };
    let source = u64::from(F::source(ip).last().get());
    let destination = u64::from(F::destination(ip).last().get());
    let (from, to) = (
        ethernet.source.get().words(),
        ethernet.destination.get().words(),
    );
    if line == HEADERS {
        print(b"Received Source IP: 0x%x\0", &[source]);
        print(b"Received Destination IP: 0x%x\0", &[destination]);
        print(b"Received Source MAC: %x:%x:%x:%x:%x:%x\0", &octets(from));
        print(
            b"Received Destination MAC: %x:%x:%x:%x:%x:%x\0",
            &octets(to),
        );
    } else {
        print(
            b"Redirecting packet to new IP 0x%x from IP 0x%x\0",
            &[destination, source],
        );
        print(b"New Dest MAC: %x:%x:%x:%x:%x:%x\0", &octets(to));
        print(b"New Source MAC: %x:%x:%x:%x:%x:%x\0", &octets(from));
    }
}

#[inline(always)]
fn octets(mac: MacWords) -> [u64; 6] {
    mac.bytes().map(u64::from)
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
