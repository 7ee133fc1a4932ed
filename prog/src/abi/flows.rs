//! Flows: their keys, their index, their records.

use super::{Addr, Be16};

/// IP protocol numbers.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// Family and transport protocol of a flow: the protocol's number, plus 256 for IPv6.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Kind(pub u32);

impl Kind {
    /// What a family adds.
    pub const V6: u32 = 0x100;

    /// IPv4.
    #[inline(always)]
    pub const fn v4(protocol: u8) -> Self {
        Self(protocol as u32)
    }
    /// IPv6.
    #[inline(always)]
    pub const fn v6(protocol: u8) -> Self {
        Self(protocol as u32 | Self::V6)
    }
    /// The protocol's number.
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        self.0 as u8
    }
    /// Whether it is IPv6.
    #[inline(always)]
    pub const fn is_v6(self) -> bool {
        self.0 & Self::V6 != 0
    }
}

/// Source and destination port, as they lie in a packet.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Ports {
    /// Where it comes from.
    pub source: Be16,
    /// Where it goes to.
    pub destination: Be16,
}

impl Ports {
    /// Of a packet.
    #[inline(always)]
    pub const fn new(source: Be16, destination: Be16) -> Self {
        Self {
            source,
            destination,
        }
    }
    /// Both as they lie.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        let ([a, b], [c, d]) = (self.source.0, self.destination.0);
        u32::from_ne_bytes([a, b, c, d])
    }
    /// The opposite of [`word`](Self::word).
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        let [a, b, c, d] = word.to_ne_bytes();
        Self::new(Be16([a, b]), Be16([c, d]))
    }
}

/// A flow as one of its packets shows it. 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct FlowKey {
    /// Source address.
    pub saddr: Addr,
    /// Destination address.
    pub daddr: Addr,
    /// Both ports.
    pub ports: Ports,
    /// Family and protocol.
    pub kind: Kind,
}
const _: () = assert!(size_of::<FlowKey>() == 40 && align_of::<FlowKey>() == 8);

impl FlowKey {
    /// The same flow seen from its other end: what an answer to this packet shows.
    #[inline(always)]
    pub const fn reversed(self) -> Self {
        Self {
            saddr: self.daddr,
            daddr: self.saddr,
            ports: Ports::new(self.ports.destination, self.ports.source),
            kind: self.kind,
        }
    }
}

/// Which of a flow's two directions a packet travels.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub enum Direction {
    /// From the client to the service.
    Request,
    /// From the backend to the balancer.
    Reply,
}

/// What an entry of `index` leads to: a slot of `connections` and the direction of the key that
/// led there, plus seven bits of the key's hash, never all zero: 0 is an empty entry.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Entry(pub u32);

impl Entry {
    /// Nothing.
    pub const EMPTY: Self = Self(0);
    const SLOT_BITS: u32 = 24;
    /// The bits of [`tag`](Self::tag).
    pub const TAG: u32 = 0x7f << 25;

    /// The entry of `direction` for `slot`, below [`MAX_CONNECTIONS`].
    #[inline(always)]
    pub const fn new(slot: u32, direction: Direction, tag: u32) -> Self {
        Self(tag << 25 | (direction as u32) << Self::SLOT_BITS | slot)
    }
    /// The index into `connections`.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 & ((1 << Self::SLOT_BITS) - 1)
    }
    /// Which way the key that led here points.
    #[inline(always)]
    pub const fn direction(self) -> Direction {
        if self.0 >> Self::SLOT_BITS & 1 == 0 {
            Direction::Request
        } else {
            Direction::Reply
        }
    }
    /// Seven bits of the hash, 1 to 127.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        self.0 >> 25
    }
}

/// The largest size of `connections`: what an [`Entry`] can name.
pub const MAX_CONNECTIONS: u32 = 1 << Entry::SLOT_BITS;

/// The kernel's lock for a map value; it finds the field by this type's name (kernel/bpf/btf.c, `btf_get_field_type`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(non_camel_case_types)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct bpf_spin_lock {
    /// The kernel's own.
    pub val: u32,
}

/// Entries of one [`Bucket`].
pub const BUCKET: usize = 14;

/// The value of map `index`, a cache line: entries of the keys whose hash leads here.
///
/// The lock lies first: without CAP_PERFMON the verifier allows no addition that leads to it (kernel/bpf/verifier.c,
/// `sanitize_check_bounds`). Entries are read two at a time, hence the alignment.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Bucket {
    /// Held while an entry is added or removed, never while one is looked up.
    pub lock: bpf_spin_lock,
    /// How many entries that belong here found no room and lie in their other bucket.
    pub overflow: u32,
    /// [`Entry`]s, in no order.
    pub entries: [u32; BUCKET],
}
const _: () = assert!(size_of::<Bucket>() == 64);

/// One flow, both directions of it: the value of map `connections`. 96 bytes.
///
/// Both keys live in the one record, and only [`crate::flow`] makes and unmakes it, so there is
/// no half of a flow to lose. Flows that answer directly (DSR, IP in IP) have no reply key: their
/// `target`, `target_port` and `port` are zero.
#[repr(C)]
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Connection {
    /// Held while a slot changes hands, never while a packet is forwarded.
    pub lock: bpf_spin_lock,
    /// Odd while the record is being rewritten, another even number afterwards.
    pub generation: u32,
    /// The client's address.
    pub client: Addr,
    /// The service's.
    pub vip: Addr,
    /// The backend's.
    pub target: Addr,
    /// Client's and service's port, as a request has them.
    pub request_ports: Ports,
    /// Backend's and balancer's port, as a reply has them.
    pub reply_ports: Ports,
    /// Family and protocol.
    pub kind: Kind,
    /// When its last packet came, in [ticks](crate::world::World::now).
    pub last_seen: u32,
    /// Bits of [`crate::flow::State`]; 0 is a free slot.
    pub state: u32,
    /// The backend's index in `backends`.
    pub backend: u32,
    /// The service's number.
    pub service: u32,
    /// When the way to the client was last asked of the routing table, in ticks.
    pub routed_at: u32,
    /// In the first six bytes where the client's frames go ([`MacWords::packed`]).
    pub client_mac: u64,
}
const _: () = assert!(size_of::<Connection>() == 96);
