//! The XDP program: its entry point, its maps and its constants.
#![no_std]
#![no_main]

mod kernel;

use xdplb_prog::abi::{
    Backend, BackendCount, Block, Bucket, Connection, Count, Scratch, Service, ServiceCount,
    ServiceKey, deferred, watch,
};
use xdplb_prog::balance::balance;
use xdplb_prog::counters::Reason;
use xdplb_prog::helpers::{Map, Ring, frame, map_type, xdp_md};
use xdplb_prog::world::Limit;

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

// The loader sets the entries of all but the last two before it creates them.
maps! {
    /// What is balanced.
    services: HASH<ServiceKey, Service> = 16;
    /// Maglev tables, one behind the other.
    tables: ARRAY<u32, Block> = 2_049;
    /// Each service's backends, one service behind the other: indexes into `backends`.
    members: ARRAY<u32, u32> = 16;
    /// Whom flows are given to.
    backends: ARRAY<u32, Backend> = 16;
    /// Both keys of every flow.
    index: ARRAY<u32, Bucket> = 16_384;
    /// The flows.
    connections: ARRAY<u32, Connection> = 65_536;
    /// What each backend got and gave.
    backend_counters: PERCPU_ARRAY<u32, BackendCount> = 16;
    /// What became of each service's new flows.
    service_counters: PERCPU_ARRAY<u32, ServiceCount> = 16;
    /// From one function to the next.
    scratch: PERCPU_ARRAY<u32, Scratch> = 1;
    /// Packets and bytes by reason.
    counters: PERCPU_ARRAY<u32, Count> = Reason::COUNT;
}

/// What watchers read.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".maps")]
#[allow(non_upper_case_globals)]
static events: Ring<4096> = Ring::new();

macro_rules! settings {
    ($($name:ident: $type:ty = $value:expr;)*) => {$(
        #[unsafe(no_mangle)]
        static $name: $type = $value;
    )*};
}

// Section .rodata: the loader writes them, then freezes the map, so that the verifier knows them.
// Addresses and ports stand as they lie in a packet. What each one is: world.rs, Settings. The loader leaves
// LIMITS as they are.
settings! {
    BALANCER_V4: u32 = 0;
    BALANCER_V6: [u64; 2] = [0; 2];
    BALANCER_MAC: [u16; 3] = [0; 3];
    SLOTS: u32 = 65_536;
    BUCKETS: u32 = 16_384;
    LIMITS: [u32; 2] = Limit::VALUES;
    SEED: u64 = 0;
    TICKS_PER_SECOND: u32 = 250;
    MTU: u32 = 1_500;
    TUNNEL_V4: [u32; 2] = [0; 2];
    TUNNEL_V6: u64 = 0;
    DEFERRED: u32 = deferred::COMPLETE;
    PERFMON: u32 = 0;
    FRAGS: u32 = 0;
    TRACE: u32 = 0;
    WATCH: u32 = watch::OFF;
    DRY: u32 = 0;
    FILTER_ADDR: [u64; 2] = [0; 2];
    FILTER_MASK: [u64; 2] = [0; 2];
    FILTER_PORT: u32 = 0;
    FILTER_SERVICE: u32 = u32::MAX;
    FILTER_BACKEND: u32 = u32::MAX;
    FILTER_REASONS: u64 = u64::MAX;
    SAMPLE: u32 = 1;
}

/// Section .bss: where the search for a free slot begins.
#[unsafe(no_mangle)]
static mut HAND: u32 = 0;

/// Likewise: how many records found no room in `events`, or a few more.
#[unsafe(no_mangle)]
static mut LOST: u64 = 0;

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
