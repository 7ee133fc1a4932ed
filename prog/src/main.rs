//! The XDP program: its entry point, its maps and its constants.
#![no_std]
#![no_main]

mod kernel;

use xdplb_prog::abi::{
    Backend, BackendCount, Connection, Count, FlowId, FlowKey, Scratch, deferred,
};
use xdplb_prog::balance::balance;
use xdplb_prog::counters::Reason;
use xdplb_prog::helpers::{Map, frame, map_type, xdp_md};

use kernel::Kernel;

/// The kernel's licence check reads this: some helpers are for GPL programs only.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";

macro_rules! maps {
    ($($(#[$doc:meta])+ $name:ident: $type:ident<$key:ty, $value:ty> = $entries:expr;)*) => {$(
        $(#[$doc])+
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".maps")]
        #[allow(non_upper_case_globals)]
        static $name: Map<$key, $value, { map_type::$type }, { $entries }> = Map::new();
    )*};
}

// The loader sets the entries of the first four before it creates them.
maps! {
    /// Whom connections are given to, by index.
    backends: ARRAY<u32, Backend> = 2;
    /// Both keys of every connection.
    flows: HASH<FlowKey, FlowId> = 131_072;
    /// The connections.
    connections: ARRAY<u32, Connection> = 65_536;
    /// What each backend got and gave.
    backend_counters: PERCPU_ARRAY<u32, BackendCount> = 2;
    /// Room for a piece of a frame.
    scratch: PERCPU_ARRAY<u32, Scratch> = 1;
    /// Packets and bytes by reason.
    counters: PERCPU_ARRAY<u32, Count> = Reason::COUNT;
}

macro_rules! settings {
    ($($name:ident: $type:ty = $value:expr;)*) => {$(
        #[unsafe(no_mangle)]
        static $name: $type = $value;
    )*};
}

// Section .rodata: the loader writes them, then freezes the map, so that the verifier knows them.
// Addresses and ports stand as they lie in a packet. What each one is: world.rs, Settings.
settings! {
    SERVICE_ADDR: u32 = 0;
    SERVICE_PORT: u16 = 0;
    BALANCER_ADDR: u32 = 0;
    BALANCER_MAC: [u16; 3] = [0; 3];
    BACKENDS: u32 = 1;
    SLOTS: u32 = 65_536;
    TICKS_PER_SECOND: u32 = 250;
    DEFERRED: u32 = deferred::COMPLETE;
    PERFMON: u32 = 0;
    TRACE: u32 = 0;
}

/// Section .bss: where the search for a free slot begins.
#[unsafe(no_mangle)]
static mut HAND: u32 = 0;

/// The entry point.
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn xdp_load_balancer(context: *mut xdp_md) -> u32 {
    // SAFETY: the kernel passes a valid context.
    let frame = unsafe { frame(context) };
    balance(&Kernel { context }, &frame) as u32
}

/// Never reached: the linker refuses a program in which a panic is.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
