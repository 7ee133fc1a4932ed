//! The balancer's [`World`] in the kernel: maps, constants and helper calls.

pub mod functions;
mod sum;
mod trace;

use functions::*;
use xdplb_prog::abi::{
    Addr, Backend, Be16, Be32, Block, Bucket, Connection, Count, Event, MacWords, Seen, Service,
    ServiceKey, Sought, protocol,
};
use xdplb_prog::balance::Place;
use xdplb_prog::checksum::Sum;
use xdplb_prog::counters::Reason;
use xdplb_prog::flow::Slot;
use xdplb_prog::helpers::{self, AF_INET, AF_INET6, FIB_OUTPUT, FibLookup, frame, xdp_md};
use xdplb_prog::opaque::opaque;
use xdplb_prog::packet::Frame;
use xdplb_prog::watch::Tell;
use xdplb_prog::world::{Limit, Line, Route, World};

/// The running program.
pub struct Kernel {
    /// The packet's context.
    pub context: *const xdp_md,
}

/// Counts one frame.
#[inline(always)]
fn add(count: *mut Count, bytes: u64) {
    // SAFETY: a live value of a map with one for each CPU.
    if let Some(count) = unsafe { count.as_mut() } {
        count.packets += 1;
        count.bytes += bytes;
    }
}

/// Reads a constant where it lies: the compiler must not know the value that the loader will replace.
macro_rules! setting {
    // SAFETY: a static is always readable.
    ($name:ident $([$index:literal])?) => {
        unsafe { (&raw const crate::$name $([$index])?).read_volatile() }
    };
}
pub(crate) use setting;

impl World for Kernel {
    #[inline(always)]
    fn balancer_v4(&self) -> Be32 {
        Be32::from_word(setting!(BALANCER_V4))
    }
    #[inline(always)]
    fn balancer_v6(&self) -> Addr {
        Addr([setting!(BALANCER_V6[0]), setting!(BALANCER_V6[1])])
    }
    #[inline(always)]
    fn balancer_mac(&self) -> MacWords {
        MacWords([
            setting!(BALANCER_MAC[0]),
            setting!(BALANCER_MAC[1]),
            setting!(BALANCER_MAC[2]),
        ])
    }
    #[inline(always)]
    fn slots(&self) -> u32 {
        setting!(SLOTS)
    }
    #[inline(always)]
    fn buckets(&self) -> u32 {
        setting!(BUCKETS)
    }
    #[inline(always)]
    fn limit(&self, limit: Limit) -> u64 {
        let limits = (&raw const crate::LIMITS).cast::<u32>();
        // SAFETY: a static is always readable, and every limit has its place in it.
        u64::from(unsafe { limits.add(limit as usize).read_volatile() })
    }
    #[inline(always)]
    fn seed(&self) -> u64 {
        setting!(SEED)
    }
    #[inline(always)]
    fn ticks_per_second(&self) -> u32 {
        setting!(TICKS_PER_SECOND)
    }
    #[inline(always)]
    fn mtu(&self) -> u32 {
        setting!(MTU)
    }
    #[inline(always)]
    fn tunnel_v4(&self) -> [u32; 2] {
        [setting!(TUNNEL_V4[0]), setting!(TUNNEL_V4[1])]
    }
    #[inline(always)]
    fn tunnel_v6(&self) -> u64 {
        setting!(TUNNEL_V6)
    }
    #[inline(always)]
    fn deferred(&self) -> u32 {
        setting!(DEFERRED)
    }
    #[inline(always)]
    fn traced(&self) -> bool {
        setting!(TRACE) != 0
    }
    #[inline(always)]
    fn watched(&self) -> bool {
        setting!(WATCH) != 0
    }
    #[inline(always)]
    fn dry(&self) -> bool {
        setting!(DRY) != 0
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: no arguments.
        unsafe { helpers::jiffies64() as u32 }
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        // SAFETY: null or a live value of `services`, which nobody writes.
        unsafe { crate::services.get(key).as_ref() }
    }
    #[inline(always)]
    fn block(&self, index: u32) -> Option<&Block> {
        // SAFETY: null or a live value of `tables`, which nobody writes.
        unsafe { crate::tables.at(index).as_ref() }
    }
    #[inline(always)]
    fn member(&self, index: u32) -> Option<u32> {
        // SAFETY: null or a live value of `members`.
        unsafe { crate::members.at(index).as_ref().copied() }
    }
    #[inline(always)]
    fn backend(&self, index: u32) -> Option<&Backend> {
        // SAFETY: null or a live value of `backends`.
        unsafe { crate::backends.at(index).as_ref() }
    }
    #[inline(always)]
    fn set_backend_route(&self, index: u32, mac: u64, now: u32) {
        let backend = crate::backends.at(index);
        if !backend.is_null() {
            // SAFETY: a live value of `backends`; each field is stored whole.
            unsafe {
                (&raw mut (*backend).mac).write_volatile(mac);
                (&raw mut (*backend).routed_at).write_volatile(now);
            }
        }
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> *mut Bucket {
        crate::index.at(index)
    }
    #[inline(always)]
    fn lock_bucket(&self, bucket: *mut Bucket) {
        // SAFETY: the lock lies in a live map value; nothing is called while it is held.
        unsafe { helpers::spin_lock(&raw mut (*bucket).lock) };
    }
    #[inline(always)]
    fn unlock_bucket(&self, bucket: *mut Bucket) {
        // SAFETY: taken before.
        unsafe { helpers::spin_unlock(&raw mut (*bucket).lock) };
    }
    #[inline(always)]
    fn connection(&self, slot: u32) -> *mut Connection {
        crate::connections.at(slot)
    }
    #[inline(always)]
    fn claim(&self, slot: &Slot, generation: u32, state: u32) -> bool {
        // SAFETY: the lock lies in a live map value; nothing is called while it is held.
        unsafe { helpers::spin_lock(slot.lock()) };
        let unchanged = slot.generation() == generation && slot.state() == state;
        if unchanged {
            slot.set_generation(generation.wrapping_add(1));
        }
        // SAFETY: taken above.
        unsafe { helpers::spin_unlock(slot.lock()) };
        unchanged
    }
    #[inline(always)]
    fn hand(&self) -> u32 {
        setting!(HAND)
    }
    #[inline(always)]
    fn set_hand(&self, slot: u32) {
        // SAFETY: a word of .bss; two CPUs that write it at once only search the same window.
        unsafe { (&raw mut crate::HAND).write_volatile(slot) }
    }

    #[inline(always)]
    fn search(&self, start: u32) -> u64 {
        xdplb_search(start)
    }
    #[inline(always)]
    fn end(&self, slot: u32, generation: u32, state: u32) -> bool {
        xdplb_end(slot, generation, state) != 0
    }
    #[inline(always)]
    fn try_ports(&self, slot: u32, range: u32, seed: u32, least: u64, first: u32) -> Option<Be16> {
        let port = xdplb_try_ports(slot, range, seed, least, first);
        (port != NO_PORT).then_some(Be16::from_word(port as u16))
    }
    #[inline(always)]
    fn reserve(&self, slot: u32, least: u64) -> bool {
        xdplb_reserve(slot, least) != 0
    }
    #[inline(always)]
    fn claim_slot(&self) -> u64 {
        xdplb_claim()
    }
    #[inline(always)]
    fn publish_flow(&self, slot: u32, state: u32) -> bool {
        xdplb_publish_flow(slot, state) != 0
    }
    #[inline(always)]
    fn look(&self) -> u64 {
        xdplb_look()
    }
    #[inline(always)]
    fn open(&self) -> u64 {
        xdplb_open()
    }
    #[inline(always)]
    fn concerned(&self) -> u64 {
        xdplb_concerned()
    }
    #[inline(always)]
    fn route_backend(&self, index: u32) -> u64 {
        xdplb_route_backend(self.context, index)
    }
    #[inline(always)]
    fn route_client(&self, slot: u32) -> u64 {
        xdplb_route_client(self.context, slot)
    }
    #[inline(always)]
    fn locate(&self) -> u64 {
        xdplb_locate(self.context)
    }
    #[inline(always)]
    fn transport(&self, place: Place, given: u64) -> u64 {
        let context = self.context;
        let (l3, l4) = (place.l3 as u32, place.l4 as u32);
        match (place.is_plain(), place.v6, place.protocol == protocol::UDP) {
            (true, false, false) => xdplb_tcp_v4(context, given),
            (true, false, true) => xdplb_udp_v4(context, given),
            (true, true, false) => xdplb_tcp_v6(context, given),
            (true, true, true) => xdplb_udp_v6(context, given),
            (false, false, false) => xdplb_unusual_tcp_v4(context, l3, l4, given),
            (false, false, true) => xdplb_unusual_udp_v4(context, l3, l4, given),
            (false, true, false) => xdplb_unusual_tcp_v6(context, l3, l4, given),
            (false, true, true) => xdplb_unusual_udp_v6(context, l3, l4, given),
        }
    }
    #[inline(always)]
    fn icmp(&self, place: Place, given: u64) -> u64 {
        let (l3, l4) = (place.l3 as u32, place.l4 as u32);
        if place.v6 {
            xdplb_icmp_v6(self.context, l3, l4, given)
        } else {
            xdplb_icmp_v4(self.context, l3, l4, given)
        }
    }
    #[inline(always)]
    fn tunnel(&self, backend: u32) -> Result<(), Reason> {
        match xdplb_tunnel(self.context, backend) {
            DONE => Ok(()),
            reason => number(reason).and_then(Err),
        }
    }
    #[inline(always)]
    fn reset(&self) -> bool {
        xdplb_reset(self.context) != 0
    }

    #[inline(always)]
    fn seen(&self) -> *mut Seen {
        let scratch = crate::scratch.at(0);
        if scratch.is_null() {
            return core::ptr::null_mut();
        }
        // SAFETY: only the address is taken.
        unsafe { &raw mut (*scratch).seen }
    }
    #[inline(always)]
    fn sought(&self) -> *mut Sought {
        let scratch = crate::scratch.at(0);
        if scratch.is_null() {
            return core::ptr::null_mut();
        }
        // SAFETY: only the address is taken.
        unsafe { &raw mut (*scratch).sought }
    }
    #[inline(always)]
    fn event(&self) -> *mut Event {
        let scratch = crate::scratch.at(0);
        if scratch.is_null() {
            return core::ptr::null_mut();
        }
        // SAFETY: only the address is taken.
        unsafe { &raw mut (*scratch).record.event }
    }

    #[inline(always)]
    fn route(&self, from: Addr, to: Addr) -> Route {
        // SAFETY: the running program's context.
        let ifindex = unsafe { (&raw const (*self.context).ingress_ifindex).read_volatile() };
        let v4 = to.is_v4();
        // An IPv4 address is the first word there.
        let words = |addr: Addr| if v4 { [addr.0[1] >> 32, 0] } else { addr.0 };
        let mut question = FibLookup {
            family: if v4 { AF_INET } else { AF_INET6 },
            ifindex: u64::from(ifindex),
            source: words(from),
            destination: words(to),
            link: [0; 2],
        };
        let size = size_of::<FibLookup>() as i32;
        // SAFETY: the size is the question's.
        let answer =
            unsafe { helpers::fib_lookup(self.context, &raw mut question, size, FIB_OUTPUT) };
        Route {
            answer: answer as u32,
            mac: question.link[1] >> 16,
        }
    }

    #[inline(always)]
    fn sum(&self, _: &Frame<'_>, offset: usize, length: u16) -> Option<Sum> {
        let sum = sum::xdplb_sum(self.context, offset as u32, u32::from(length));
        if sum < 0 {
            None
        } else {
            Some(Sum::from_partial(sum as u32))
        }
    }

    #[inline(always)]
    fn points_anywhere(&self) -> bool {
        setting!(PERFMON) != 0
    }
    #[inline(always)]
    fn frame(&self) -> Frame<'_> {
        // SAFETY: the program's context.
        unsafe { frame(self.context) }
    }
    #[inline(always)]
    fn length(&self, frame: &Frame<'_>) -> u64 {
        if setting!(PERFMON) != 0 && setting!(FRAGS) == 0 {
            return frame.difference();
        }
        // SAFETY: the program's context.
        unsafe { helpers::xdp_get_buff_len(self.context) }
    }
    #[inline(always)]
    fn grow_head(&self, bytes: i32) -> bool {
        // SAFETY: the program's context; pointers from before are used no more.
        unsafe { helpers::xdp_adjust_head(self.context, -bytes) == 0 }
    }
    #[inline(always)]
    fn cut_tail(&self, bytes: u32) -> bool {
        // SAFETY: as above.
        unsafe { helpers::xdp_adjust_tail(self.context, -(bytes as i32)) == 0 }
    }

    #[inline(always)]
    fn count(&self, reason: Reason, bytes: u64) {
        if self.dry() {
            return;
        }
        add(crate::counters.at(reason as u32), bytes);
    }
    #[inline(always)]
    fn count_backend(&self, index: u32, reason: Reason, bytes: u64) {
        if self.dry() {
            return;
        }
        // SAFETY: null or this CPU's value of `backend_counters`.
        let Some(count) = (unsafe { crate::backend_counters.at(index).as_mut() }) else {
            return;
        };
        // A pointer that is one of two the verifier refuses without CAP_PERFMON: each way has its own.
        if reason == Reason::Replied {
            add(opaque(&raw mut count.received), bytes);
        } else {
            add(opaque(&raw mut count.sent), bytes);
            if reason == Reason::Opened {
                count.connections += 1;
            }
        }
    }
    #[inline(always)]
    fn count_service(&self, service: u32, opened: bool) {
        if self.dry() {
            return;
        }
        // SAFETY: null or this CPU's value of `service_counters`.
        if let Some(count) = unsafe { crate::service_counters.at(service).as_mut() } {
            count.opened += u64::from(opened);
            count.refused += u64::from(!opened);
        }
    }

    #[inline(always)]
    fn trace(&self, line: Line, l3: usize, v6: bool) {
        trace::xdplb_trace(self.context, line as u32, l3 as u32, u32::from(v6));
    }
    #[inline(always)]
    fn watch(&self, _: &Frame<'_>, bytes: u64) {
        xdplb_watch(self.context, bytes as u32);
    }
    #[inline(always)]
    fn tell(&self, what: Tell, number: u64) {
        xdplb_tell(what as u32, number);
    }
    #[inline(always)]
    fn publish(&self, reason: Reason) {
        xdplb_publish(self.context, reason as u32);
    }
}
