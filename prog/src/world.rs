//! What the balancer asks of its surroundings: settings, maps, a clock, kernel helpers.
//!
//! The program answers with BPF maps and helper calls (`kernel.rs`), the host with standard
//! collections (`model.rs`), so the same balancer runs, and is tested, in both places.

use crate::abi::{
    Addr, BUCKET, Backend, Be16, Be32, Block, Bucket, Connection, Event, MacWords, Seen, Service,
    ServiceKey, Sought,
};
use crate::balance::Place;
use crate::checksum::Sum;
use crate::counters::Reason;
use crate::packet::Frame;
use crate::watch::Tell;

/// What the loader decided before the program was loaded; constants to the verifier.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug, PartialEq, Eq))]
pub struct Settings {
    /// The IPv4 address that backends see and answer to; 0.0.0.0 where there is none.
    pub balancer_v4: Be32,
    /// The IPv6 address; `::` where there is none.
    pub balancer_v6: Addr,
    /// The interface's Ethernet address.
    pub balancer_mac: MacWords,
    /// Entries of `connections`, at least 1, below [`crate::abi::MAX_CONNECTIONS`].
    pub slots: u32,
    /// Entries of `index`, at least 1.
    pub buckets: u32,
    /// What flows are hashed with ([`crate::index::Hash::of`]).
    pub seed: u64,
    /// Ticks of [`World::now`] in a second.
    pub ticks_per_second: u32,
    /// The interface's MTU: the longest IP packet that it sends.
    pub mtu: u32,
    /// The network from which outer IPv4 sources of tunnels are taken, and its mask, as they lie in a packet.
    pub tunnel_v4: [u32; 2],
    /// The first half of the outer IPv6 sources.
    pub tunnel_v6: u64,
    /// One of [`crate::abi::deferred`].
    pub deferred: u32,
    /// Whether the loader has CAP_PERFMON: 0 or 1. Without it the verifier allows no difference of
    /// packet pointers and no variable offset into a packet (kernel/bpf/verifier.c,
    /// `sanitize_ptr_alu`); helpers of Linux 5.18 then take their place, or the packet passes.
    pub perfmon: u32,
    /// Whether a frame may be in several pieces (`xdp.frags`): 0 or 1.
    pub frags: u32,
    /// Whether to write the seed's nine lines for each packet: 0 or 1.
    pub trace: u32,
    /// One of [`crate::abi::watch`]: what each packet that passes the filter becomes.
    pub watch: u32,
    /// Whether to leave everything but the frame and the events as it is (`ask`): 0 or 1.
    pub dry: u32,
}

/// Loops whose bounds are constants ([`World::limit`]).
#[derive(Clone, Copy)]
pub enum Limit {
    /// Through the entries of a bucket: [`BUCKET`].
    Places,
    /// Through the buckets that an entry may lie in.
    Homes,
}

impl Limit {
    /// All of them, by number.
    pub const VALUES: [u32; 2] = [BUCKET as u32, 2];

    /// Its value.
    pub const fn value(self) -> u32 {
        Self::VALUES[self as usize]
    }
}

/// A step of the trace.
#[derive(Clone, Copy)]
pub enum Line {
    /// A frame came in.
    Received,
    /// A TCP or UDP packet, whose IP header begins at `l3`: where it comes from and goes to.
    Headers,
    /// It is a client's.
    FromClient,
    /// It is a backend's.
    FromBackend,
    /// Where it goes now: the frame has been rewritten.
    Redirecting,
}

/// The answer of the routing table.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug, PartialEq, Eq))]
pub struct Route {
    /// `BPF_FIB_LKUP_RET_*` of include/uapi/linux/bpf.h: 0 is success.
    pub answer: u32,
    /// Where frames go then ([`MacWords::packed`]).
    pub mac: u64,
}

/// The surroundings of the balancer.
pub trait World {
    /// [`Settings::balancer_v4`]. Each setting is asked for by itself, so that the program reads
    /// no constant that it has no use for.
    fn balancer_v4(&self) -> Be32;
    /// [`Settings::balancer_v6`].
    fn balancer_v6(&self) -> Addr;
    /// [`Settings::balancer_mac`].
    fn balancer_mac(&self) -> MacWords;
    /// [`Settings::slots`].
    fn slots(&self) -> u32;
    /// [`Settings::buckets`].
    fn buckets(&self) -> u32;
    /// How often a loop may run. A constant to the verifier, which walks through loops, but not to the compiler, which
    /// would write each round of them out. Of 64 bits, so that the very register that counts is compared: without CAP_PERFMON
    /// the verifier also follows a loop beyond its bound, as a mispredicting processor would, and to end there it has to
    /// forget what was compared (kernel/bpf/verifier.c, `sanitize_speculative_path`).
    fn limit(&self, limit: Limit) -> u64;
    /// [`Settings::seed`].
    fn seed(&self) -> u64;
    /// [`Settings::ticks_per_second`].
    fn ticks_per_second(&self) -> u32;
    /// [`Settings::mtu`].
    fn mtu(&self) -> u32;
    /// [`Settings::tunnel_v4`].
    fn tunnel_v4(&self) -> [u32; 2];
    /// [`Settings::tunnel_v6`].
    fn tunnel_v6(&self) -> u64;
    /// [`Settings::deferred`].
    fn deferred(&self) -> u32;
    /// [`Settings::trace`].
    fn traced(&self) -> bool;
    /// [`Settings::watch`].
    fn watched(&self) -> bool;
    /// [`Settings::dry`].
    fn dry(&self) -> bool;

    /// A clock in ticks of [`Settings::ticks_per_second`] that wraps at 2³².
    fn now(&self) -> u32;

    /// An entry of `services`.
    fn service(&self, key: &ServiceKey) -> Option<&Service>;
    /// An entry of `tables`.
    fn block(&self, index: u32) -> Option<&Block>;
    /// An entry of `members`: an index into `backends`.
    fn member(&self, index: u32) -> Option<u32>;
    /// An entry of `backends`.
    fn backend(&self, index: u32) -> Option<&Backend>;
    /// Sets [`Backend::mac`] and [`Backend::routed_at`]; two CPUs that do so at once write the same.
    fn set_backend_route(&self, index: u32, mac: u64, now: u32);

    /// A pointer to a bucket of `index`, valid for as long as the program runs; null beyond the table.
    fn bucket(&self, index: u32) -> *mut Bucket;
    /// Takes a bucket's lock.
    fn lock_bucket(&self, bucket: *mut Bucket);
    /// Gives it back.
    fn unlock_bucket(&self, bucket: *mut Bucket);
    /// A pointer to a slot of `connections`; null beyond the table.
    fn connection(&self, slot: u32) -> *mut Connection;
    /// Marks the record as being rewritten (generation + 1) if its generation and state are still these. Atomic: of two that claim
    /// it, one succeeds.
    fn claim(&self, connection: &crate::flow::Slot, generation: u32, state: u32) -> bool;
    /// Where the search for a free slot begins.
    fn hand(&self) -> u32;
    /// Moves that place.
    fn set_hand(&self, slot: u32);

    // In the kernel these are functions of their own, each of which the verifier checks once, by itself, instead of for
    // every path that leads to it.

    /// [`crate::flow::search`].
    fn search(&self, start: u32) -> u64;
    /// [`crate::flow::end`].
    fn end(&self, slot: u32, generation: u32, state: u32) -> bool;
    /// [`crate::flow::try_ports`].
    fn try_ports(&self, slot: u32, range: u32, seed: u32, least: u64, first: u32) -> Option<Be16>;
    /// [`crate::flow::reserve`].
    fn reserve(&self, slot: u32, least: u64) -> bool;
    /// [`crate::flow::claim`], by [`crate::flow::NoSlot::encode`].
    fn claim_slot(&self) -> u64;
    /// [`crate::flow::publish`].
    fn publish_flow(&self, slot: u32, state: u32) -> bool;
    /// [`crate::index::look`].
    fn look(&self) -> u64;
    /// [`crate::open::open`] for the packet in [`seen`](Self::seen): an [`crate::open::Answer`].
    fn open(&self) -> u64;
    /// [`crate::open::concerned`].
    fn concerned(&self) -> u64;
    /// [`crate::route::backend`].
    fn route_backend(&self, index: u32) -> u64;
    /// [`crate::route::client`].
    fn route_client(&self, slot: u32) -> u64;
    /// [`crate::balance::locate`]: a [`crate::balance::Place`].
    fn locate(&self) -> u64;
    /// [`crate::balance::plain`] or [`crate::balance::at`] that place.
    fn transport(&self, place: Place, given: u64) -> u64;
    /// [`crate::icmp::icmp`] at that place.
    fn icmp(&self, place: Place, given: u64) -> u64;
    /// [`crate::tunnel::send`] to that backend of the packet in [`seen`](Self::seen).
    fn tunnel(&self, backend: u32) -> Result<(), Reason>;
    /// [`crate::reset::reset`] of the packet in [`seen`](Self::seen).
    fn reset(&self) -> bool;

    /// Room for the packet at hand, from one function to the next; null never, but the verifier asks.
    fn seen(&self) -> *mut Seen;
    /// Room for the flow that is looked for.
    fn sought(&self) -> *mut Sought;
    /// Room for what a watcher gets.
    fn event(&self) -> *mut Event;

    /// Asks the routing table for the way from the balancer's interface to `to`.
    fn route(&self, from: Addr, to: Addr) -> Route;

    /// The sum of the `length` bytes at `offset`; None where the frame ends before
    /// it, or it is longer than [`crate::rewrite::LONGEST_SUM`].
    fn sum(&self, frame: &Frame<'_>, offset: usize, length: u16) -> Option<Sum>;

    /// Whether a header may be looked at wherever it is: [`Settings::perfmon`].
    fn points_anywhere(&self) -> bool;
    /// The frame as it is now.
    fn frame(&self) -> Frame<'_>;
    /// How many bytes the frame has.
    fn length(&self, frame: &Frame<'_>) -> u64;
    /// Makes room for that many bytes in front of the frame, or takes as many off where negative. Frames and
    /// headers from before are no longer valid.
    fn grow_head(&self, bytes: i32) -> bool;
    /// The same at its end, which can only be cut.
    fn cut_tail(&self, bytes: u32) -> bool;

    /// Counts a frame's exit.
    fn count(&self, reason: Reason, bytes: u64);
    /// Counts a frame to or from a backend.
    fn count_backend(&self, index: u32, reason: Reason, bytes: u64);
    /// Counts a packet that opened a flow of a service, or could not.
    fn count_service(&self, service: u32, opened: bool);

    /// Writes to the kernel's trace; called only when [`traced`](Self::traced). The IP header begins at `l3`.
    fn trace(&self, line: Line, l3: usize, v6: bool);
    /// Keeps the frame as it came for the watcher, if it passes the filter; called only when [`watched`](Self::watched).
    fn watch(&self, frame: &Frame<'_>, bytes: u64);
    /// [`crate::watch::tell`].
    fn tell(&self, what: Tell, number: u64);
    /// Sends [`event`](Self::event), with the frame as it is now.
    fn publish(&self, reason: Reason);
}
