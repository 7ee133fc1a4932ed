//! What the balancer asks of its surroundings: settings, maps, a clock, two kernel helpers.
//!
//! The program answers with BPF maps and helper calls (`kernel.rs`), the host with standard
//! collections (`model.rs`), so the same balancer runs, and is tested, in both places.

use crate::abi::{Backend, Be16, Be32, Connection, FlowId, FlowKey, MacWords};
use crate::checksum::Sum;
use crate::counters::Reason;
use crate::packet::{Frame, Segment, Spare};

/// What the loader decided before the program was loaded; constants to the verifier.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug, PartialEq, Eq))]
pub struct Settings {
    /// The address that clients connect to.
    pub service_addr: Be32,
    /// Its TCP port; 0 stands for every port.
    pub service_port: Be16,
    /// The address that backends see and answer to.
    pub balancer_addr: Be32,
    /// The interface's Ethernet address.
    pub balancer_mac: MacWords,
    /// Entries of `backends`, 1 to [`crate::abi::MAX_BACKENDS`].
    pub backends: u32,
    /// Entries of `connections`, at least 1.
    pub slots: u32,
    /// Ticks of [`World::now`] in a second.
    pub ticks_per_second: u32,
    /// One of [`crate::abi::deferred`].
    pub deferred: u32,
    /// Whether the loader has CAP_PERFMON: 0 or 1. Without it the verifier allows no difference of
    /// packet pointers and no variable offset into a packet (kernel/bpf/verifier.c,
    /// `sanitize_ptr_alu`); helpers of Linux 5.18 then take their place.
    pub perfmon: u32,
    /// Whether to write the seed's nine lines for each packet: 0 or 1.
    pub trace: u32,
}

/// A key could not be added to `flows`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Taken;

/// A line of the trace.
pub enum Line<'a> {
    /// A frame came in.
    Received,
    /// Where a TCP packet comes from and goes to.
    Headers(&'a FlowKey, MacWords, MacWords),
    /// It is a client's.
    FromClient,
    /// It is a backend's.
    FromBackend,
    /// Where it goes now: the new key, destination and source Ethernet address.
    Redirecting(&'a FlowKey, MacWords, MacWords),
}

/// The surroundings of the balancer.
pub trait World {
    /// [`Settings::service_addr`]. Each setting is asked for by itself, so that the program reads
    /// no constant that it has no use for.
    fn service_addr(&self) -> Be32;
    /// [`Settings::service_port`].
    fn service_port(&self) -> Be16;
    /// [`Settings::balancer_addr`].
    fn balancer_addr(&self) -> Be32;
    /// [`Settings::balancer_mac`].
    fn balancer_mac(&self) -> MacWords;
    /// [`Settings::backends`].
    fn backends(&self) -> u32;
    /// [`Settings::slots`].
    fn slots(&self) -> u32;
    /// [`Settings::ticks_per_second`].
    fn ticks_per_second(&self) -> u32;
    /// [`Settings::deferred`].
    fn deferred(&self) -> u32;
    /// [`Settings::trace`].
    fn traced(&self) -> bool;

    /// A clock in ticks of [`Settings::ticks_per_second`] that wraps at 2³².
    fn now(&self) -> u32;

    /// The entry of `flows` for a packet.
    fn flow(&self, key: &FlowKey) -> Option<FlowId>;
    /// Adds an entry where there is none. Atomic: of two that add the same key, one succeeds.
    fn add_flow(&self, key: &FlowKey, id: FlowId) -> Result<(), Taken>;
    /// Removes an entry, if there is one.
    fn remove_flow(&self, key: &FlowKey);

    /// A pointer to a slot of `connections`, valid for as long as the program runs; null beyond the table.
    fn connection(&self, slot: u32) -> *mut Connection;
    /// Marks the record as being rewritten (generation + 1) if its generation is still
    /// `generation`. Atomic: of two that claim it, one succeeds.
    fn claim(&self, connection: &crate::flow::Slot, generation: u32) -> bool;
    /// Where the search for a free slot begins.
    fn hand(&self) -> u32;
    /// Moves that place.
    fn set_hand(&self, slot: u32);

    /// [`crate::flow::search`]; in the kernel a function of its own, which the verifier checks once,
    /// by itself, instead of for every path that leads to it.
    fn search(&self, start: u32) -> u64;
    /// [`crate::flow::take_port`]; likewise.
    fn take_port(&self, reply: FlowKey, id: FlowId, seed: u32) -> Option<Be16>;

    /// An entry of `backends`.
    fn backend(&self, index: u32) -> Option<&Backend>;
    /// Whether the host itself has a socket that such a packet would reach.
    fn has_socket(&self, key: &FlowKey) -> bool;

    /// The sum of the TCP segment of `length` bytes at `offset`; None where the frame ends before
    /// it, or it is longer than [`crate::rewrite::LONGEST_SUM`].
    fn sum(&self, frame: &Frame<'_>, offset: usize, length: u16) -> Option<Sum>;

    /// Whether a header may be looked at wherever it is: [`Settings::perfmon`].
    fn points_anywhere(&self) -> bool;
    /// Copies the TCP header at `offset` of the frame; false where the frame ends before it does.
    fn copy_tcp(&self, offset: usize, spare: &Spare) -> bool;
    /// Puts a TCP header that [`copy_tcp`](Self::copy_tcp) copied back into the frame.
    fn put_back(&self, segment: &Segment<'_>);

    /// How many bytes the frame has.
    fn length(&self, frame: &Frame<'_>) -> u64;

    /// Counts a frame's exit.
    fn count(&self, reason: Reason, bytes: u64);
    /// Counts a frame to or from a backend.
    fn count_backend(&self, index: u32, reason: Reason, bytes: u64);

    /// Writes to the kernel's trace; called only when [`traced`](Self::traced).
    fn trace(&self, line: Line<'_>);
}
