//! Functions under a name of their own, which stay global: the kernel verifies each once, for whatever it
//! could be given, so their loops do not multiply with the paths of the program. Such a function
//! takes scalars and the context, and returns a scalar (Documentation/bpf/verifier.rst).

use xdplb_prog::abi::{self, Event, SNAP, stage};
use xdplb_prog::balance::{Place, Step};
use xdplb_prog::counters::Reason;
use xdplb_prog::family::{V4, V6};
use xdplb_prog::helpers::{self, xdp_md};
use xdplb_prog::packet::{OverTcp, OverUdp, l3_bounded, l4_bounded};
use xdplb_prog::watch::{self, Tell};
use xdplb_prog::{balance, flow, icmp, index, open, reset, route, tunnel};

use super::{Kernel, setting};

/// What [`xdplb_tunnel`] returns when the packet is on its way.
pub const DONE: u32 = u32::MAX;

/// The reason of a number that a function returned.
#[inline(always)]
pub fn number(reason: u32) -> Result<Reason, Reason> {
    Reason::numbered(reason).ok_or(Reason::Contended)
}

/// What [`xdplb_try_ports`] returns when there is none; a port has 16 bits.
pub const NO_PORT: u32 = u32::MAX;

/// Without a context, for functions that need none.
const NOWHERE: Kernel = Kernel {
    context: core::ptr::null(),
};

macro_rules! functions {
    ($($(#[$doc:meta])+ fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty = $body:expr;)*) => {$(
        $(#[$doc])+
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name($($arg: $type),*) -> $result {
            $body
        }
    )*};
}

functions! {
    /// [`flow::search`].
    fn xdplb_search(start: u32) -> u64 = flow::search(&NOWHERE, start);
    /// [`flow::end`].
    fn xdplb_end(slot: u32, generation: u32, state: u32) -> u32 = u32::from(flow::end(&NOWHERE, slot, generation, state));
    /// [`flow::try_ports`]: a port as it lies in a packet, or [`NO_PORT`].
    fn xdplb_try_ports(slot: u32, range: u32, seed: u32, least: u64, first: u32) -> u32 =
        flow::try_ports(&NOWHERE, slot, range, seed, least, first).map_or(NO_PORT, |port| u32::from(port.word()));
    /// [`flow::reserve`].
    fn xdplb_reserve(slot: u32, least: u64) -> u32 = u32::from(flow::reserve(&NOWHERE, slot, least));
    /// [`flow::claim`].
    fn xdplb_claim() -> u64 = flow::NoSlot::encode(flow::claim(&NOWHERE));
    /// [`flow::publish`].
    fn xdplb_publish_flow(slot: u32, state: u32) -> u32 = u32::from(flow::publish(&NOWHERE, slot, state));
    /// [`index::look`].
    fn xdplb_look() -> u64 = index::look(&NOWHERE);
    /// [`open::open`].
    fn xdplb_open() -> u64 = open::open(&NOWHERE);
    /// [`open::concerned`].
    fn xdplb_concerned() -> u64 = open::concerned(&NOWHERE);
    /// [`route::backend`].
    fn xdplb_route_backend(context: *const xdp_md, index: u32) -> u64 = route::backend(&Kernel { context }, index);
    /// [`route::client`].
    fn xdplb_route_client(context: *const xdp_md, slot: u32) -> u64 = route::client(&Kernel { context }, slot);
    /// [`balance::plain`].
    fn xdplb_tcp_v4(context: *const xdp_md, given: u64) -> u64 = balance::plain::<V4, OverTcp, Kernel>(&Kernel { context }, given);
    /// [`balance::at`].
    fn xdplb_unusual_tcp_v4(context: *const xdp_md, l3: u32, l4: u32, given: u64) -> u64 = {
        let Some((l3, l4)) = bounded(l3, l4) else {
            return Step::Done(Reason::Unusual).encode();
        };
        balance::at::<V4, OverTcp, Kernel>(&Kernel { context }, l3, l4, given)
    };
    /// [`balance::plain`].
    fn xdplb_udp_v4(context: *const xdp_md, given: u64) -> u64 = balance::plain::<V4, OverUdp, Kernel>(&Kernel { context }, given);
    /// [`balance::at`].
    fn xdplb_unusual_udp_v4(context: *const xdp_md, l3: u32, l4: u32, given: u64) -> u64 = {
        let Some((l3, l4)) = bounded(l3, l4) else {
            return Step::Done(Reason::Unusual).encode();
        };
        balance::at::<V4, OverUdp, Kernel>(&Kernel { context }, l3, l4, given)
    };
    /// [`balance::plain`].
    fn xdplb_tcp_v6(context: *const xdp_md, given: u64) -> u64 = balance::plain::<V6, OverTcp, Kernel>(&Kernel { context }, given);
    /// [`balance::at`].
    fn xdplb_unusual_tcp_v6(context: *const xdp_md, l3: u32, l4: u32, given: u64) -> u64 = {
        let Some((l3, l4)) = bounded(l3, l4) else {
            return Step::Done(Reason::Unusual).encode();
        };
        balance::at::<V6, OverTcp, Kernel>(&Kernel { context }, l3, l4, given)
    };
    /// [`balance::plain`].
    fn xdplb_udp_v6(context: *const xdp_md, given: u64) -> u64 = balance::plain::<V6, OverUdp, Kernel>(&Kernel { context }, given);
    /// [`balance::at`].
    fn xdplb_unusual_udp_v6(context: *const xdp_md, l3: u32, l4: u32, given: u64) -> u64 = {
        let Some((l3, l4)) = bounded(l3, l4) else {
            return Step::Done(Reason::Unusual).encode();
        };
        balance::at::<V6, OverUdp, Kernel>(&Kernel { context }, l3, l4, given)
    };
    /// [`balance::locate`].
    fn xdplb_locate(context: *const xdp_md) -> u64 = Place::encode(balance::locate(&Kernel { context }));
    /// [`icmp::icmp`].
    fn xdplb_icmp_v4(context: *const xdp_md, l3: u32, l4: u32, given: u64) -> u64 =
        icmp::icmp::<V4, Kernel>(&Kernel { context }, l3 as usize, l4 as usize, given);
    /// [`icmp::icmp`].
    fn xdplb_icmp_v6(context: *const xdp_md, l3: u32, l4: u32, given: u64) -> u64 =
        icmp::icmp::<V6, Kernel>(&Kernel { context }, l3 as usize, l4 as usize, given);
    /// [`tunnel::send`].
    fn xdplb_tunnel(context: *const xdp_md, backend: u32) -> u32 = match tunnel::send(&Kernel { context }, backend) {
        Ok(()) => DONE,
        Err(reason) => reason as u32,
    };
    /// [`reset::reset`].
    fn xdplb_reset(context: *const xdp_md) -> u32 = u32::from(reset::reset(&Kernel { context }));
    /// [`watch::tell`].
    fn xdplb_tell(what: u32, number: u64) -> u32 = {
        // A function of its own is verified even where nothing calls it.
        if setting!(WATCH) != abi::watch::OFF && let Some(what) = Tell::numbered(what) {
            watch::tell(&NOWHERE, what, number);
        }
        0
    };
    /// Keeps the frame as it came.
    fn xdplb_watch(context: *const xdp_md, bytes: u32) -> u32 = keep(context, bytes);
    /// Sends the event, if the filter lets it pass.
    fn xdplb_publish(context: *const xdp_md, reason: u32) -> u32 = publish(context, reason);
}

/// Offsets into a frame: the verifier asks for bounds that hold for any caller. None where it allows no variable ones: a
/// function of its own is verified even where nothing calls it.
#[inline(always)]
fn bounded(l3: u32, l4: u32) -> Option<(usize, usize)> {
    (setting!(PERFMON) != 0).then_some((l3_bounded(l3 as usize), l4_bounded(l4 as usize)))
}

/// Copies the frame's first bytes to `room`, which has [`SNAP`]; how many.
#[inline(always)]
fn copy(context: *const xdp_md, bytes: u32, room: *mut u8) -> u32 {
    if setting!(WATCH) != abi::watch::FRAMES || bytes == 0 {
        return 0;
    }
    // The verifier asks for a size of at least one.
    let size = (core::hint::black_box(bytes.min(SNAP)) - 1 & (SNAP - 1)) + 1;
    // SAFETY: the room has that many bytes.
    let done = unsafe { helpers::xdp_load_bytes(context, 0, room.cast(), size) == 0 };
    if done { size } else { 0 }
}

#[inline(always)]
fn keep(context: *const xdp_md, bytes: u32) -> u32 {
    // A function of its own is verified even where nothing calls it, and its helper is of Linux 5.18.
    if setting!(WATCH) == abi::watch::OFF {
        return 0;
    }
    // SAFETY: null or this CPU's value of `scratch`.
    let Some(scratch) = (unsafe { crate::scratch.at(0).as_mut() }) else {
        return 0;
    };
    let record = &mut scratch.record;
    // Field by field: the whole is too large for the stack.
    let event: *mut u64 = (&raw mut record.event).cast();
    let mut word = 0;
    while word < size_of::<Event>() / 8 {
        // SAFETY: a word of the event.
        unsafe { event.add(word).write_volatile(0) };
        word += 1;
    }
    // SAFETY: no arguments.
    record.event.time = unsafe { helpers::ktime_get_ns() };
    record.event.length = bytes;
    record.event.captured = copy(context, bytes, record.before.as_mut_ptr());
    1
}

#[inline(always)]
fn publish(context: *const xdp_md, reason: u32) -> u32 {
    if setting!(WATCH) == abi::watch::OFF {
        return 0;
    }
    // SAFETY: null or this CPU's value of `scratch`.
    let Some(scratch) = (unsafe { crate::scratch.at(0).as_mut() }) else {
        return 0;
    };
    let record = &mut scratch.record;
    if !passes(&record.event, reason) {
        return 0;
    }
    record.event.reason = reason;
    let bytes = if setting!(WATCH) == abi::watch::FRAMES {
        // SAFETY: the program's context.
        unsafe { helpers::xdp_get_buff_len(context) as u32 }
    } else {
        0
    };
    record.event.sent_length = bytes;
    record.event.sent_captured = copy(context, bytes, record.after.as_mut_ptr());
    if !crate::events.put(record) {
        let lost = &raw mut crate::LOST;
        // SAFETY: a word of .bss; of two CPUs that write it at once, one's count is lost.
        unsafe { lost.write_volatile(lost.read_volatile() + 1) };
    }
    1
}

/// The filter; what it does not ask for costs nothing.
#[inline(always)]
fn passes(event: &Event, reason: u32) -> bool {
    if setting!(FILTER_REASONS) >> (reason & 63) & 1 == 0 {
        return false;
    }
    let mask = [setting!(FILTER_MASK[0]), setting!(FILTER_MASK[1])];
    if mask != [0; 2] {
        let wanted = [setting!(FILTER_ADDR[0]), setting!(FILTER_ADDR[1])];
        let differs =
            |addr: [u64; 2]| (addr[0] & mask[0]) ^ wanted[0] | (addr[1] & mask[1]) ^ wanted[1];
        let key = &event.key;
        let sent = &event.sent;
        if differs(key.saddr.0) != 0
            && differs(key.daddr.0) != 0
            && differs(sent.saddr.0) != 0
            && differs(sent.daddr.0) != 0
        {
            return false;
        }
    }
    let port = setting!(FILTER_PORT) as u16;
    if port != 0 {
        let [key, sent] = [event.key.ports, event.sent.ports];
        if key.source.word() != port
            && key.destination.word() != port
            && sent.source.word() != port
            && sent.destination.word() != port
        {
            return false;
        }
    }
    let (service, backend) = (setting!(FILTER_SERVICE), setting!(FILTER_BACKEND));
    // What says nothing of a service or backend has zeros there, which are somebody's numbers.
    const KNOWN: u32 = stage::REQUEST | stage::REPLY;
    let says = |stages: u32| event.stages & (stages | KNOWN) != 0;
    if service != u32::MAX && (event.service != service || !says(stage::SERVICE))
        || backend != u32::MAX && (event.backend != backend || !says(stage::PICKED))
    {
        return false;
    }
    let sample = setting!(SAMPLE);
    // SAFETY: no arguments.
    sample <= 1 || unsafe { helpers::get_prandom_u32() } % sample == 0
}
