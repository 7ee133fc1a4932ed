//! What goes from one function of the program to the next, and to who watches.

use super::FlowKey;

/// What a function of the program hands to the next: the value of map `scratch`, one for each CPU.
#[repr(C)]
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Scratch {
    /// The packet at hand.
    pub seen: Seen,
    /// A flow that is looked for.
    pub sought: Sought,
    /// What is known of it so far, for who watches.
    pub record: Record,
    /// Room for a piece of a frame, twice the 512 bytes that are looked at once.
    pub piece: [u64; 128],
}

/// A packet as its headers show it. 80 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Seen {
    /// Its flow.
    pub key: FlowKey,
    /// [`crate::flow::hash`] of it.
    pub hash: u64,
    /// Where the frame came from ([`MacWords::packed`]).
    pub source_mac: u64,
    /// Where the IP header begins in the frame.
    pub l3: u32,
    /// Where the transport's header begins.
    pub l4: u32,
    /// Bytes of transport header and data, by the IP header.
    pub length: u32,
    /// TCP's flags; 0 for UDP.
    pub flags: u32,
    /// Hops left: TTL or hop limit.
    pub hops: u32,
    /// Bytes of the frame.
    pub bytes: u32,
}
const _: () = assert!(size_of::<Seen>() == 80);

/// A flow that is looked for by [`crate::index::look`]. 56 bytes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Sought {
    /// Its key.
    pub key: FlowKey,
    /// [`crate::index::Hash`] of it.
    pub hash: u64,
    /// A slot that does not count.
    pub except: u64,
}
const _: () = assert!(size_of::<Sought>() == 56);

/// What became of a packet, and how: what `trace` and `ask` get. 144 bytes; in a record of map `events`
/// two times [`SNAP`] bytes of the frame follow, as it came and as it left.
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug, PartialEq, Eq))]
pub struct Event {
    /// When, in nanoseconds since the system's start (CLOCK_MONOTONIC).
    pub time: u64,
    /// The number of its [`crate::counters::Reason`].
    pub reason: u32,
    /// Bits of [`stage`]: which of the other fields say something.
    pub stages: u32,
    /// The flow as it came.
    pub key: FlowKey,
    /// The flow as it left.
    pub sent: FlowKey,
    /// The service's number.
    pub service: u32,
    /// The backend's index.
    pub backend: u32,
    /// The flow's slot in `connections`.
    pub slot: u32,
    /// The slot of the Maglev table.
    pub table_slot: u32,
    /// The flow's state before this packet.
    pub state: u32,
    /// What the routing table answered (`BPF_FIB_LKUP_RET_*`), where it was asked.
    pub route: u32,
    /// Where the frame went ([`MacWords::packed`]).
    pub mac: u64,
    /// Bytes of the frame as it came.
    pub length: u32,
    /// How many of them follow.
    pub captured: u32,
    /// Bytes of the frame as it left.
    pub sent_length: u32,
    /// How many of them follow.
    pub sent_captured: u32,
}
const _: () = assert!(size_of::<Event>() == 144);

/// Bytes of a frame in an event.
pub const SNAP: u32 = 256;

/// A record of map `events`.
#[repr(C)]
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Record {
    /// What became of the packet.
    pub event: Event,
    /// [`Event::captured`] bytes of the frame as it came.
    pub before: [u8; SNAP as usize],
    /// [`Event::sent_captured`] bytes of the frame as it left.
    pub after: [u8; SNAP as usize],
}
const _: () = assert!(size_of::<Record>() == 144 + 2 * 256);

/// What a watcher gets ([`crate::world::Settings::watch`]).
pub mod watch {
    /// Nothing.
    pub const OFF: u32 = 0;
    /// What became of each packet.
    pub const EVENTS: u32 = 1;
    /// The frames' first bytes, too (Linux 5.18).
    pub const FRAMES: u32 = 2;
}

/// Bits of [`Event::stages`].
pub mod stage {
    /// It is TCP or UDP, and `key` is its flow.
    pub const PARSED: u32 = 1;
    /// It is of a known flow: `slot`, `state`, `backend`, and it came from the client.
    pub const REQUEST: u32 = 2;
    /// Likewise, from the backend.
    pub const REPLY: u32 = 4;
    /// It is for `service`.
    pub const SERVICE: u32 = 8;
    /// `table_slot` led to `backend`.
    pub const PICKED: u32 = 16;
    /// A flow was opened for it in `slot`.
    pub const OPENED: u32 = 32;
    /// `route` was asked for.
    pub const ROUTED: u32 = 64;
    /// It left with `mac`, as `sent`.
    pub const SENT: u32 = 128;
}

/// How the program treats a transport checksum that was left to hardware (facts in [`crate::checksum`]).
pub mod deferred {
    /// Compute it: an XDP frame carries no note that it is still owed (native mode).
    pub const COMPLETE: u32 = 0;
    /// Keep it owed, for the new addresses: the socket buffer still says so (generic mode).
    pub const KEEP: u32 = 1;
}
