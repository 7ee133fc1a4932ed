//! Services, tables and backends: the configuration as the program sees it; and what is counted.

use super::{Addr, Be16};

/// How a service's packets reach its backends.
pub mod mode {
    /// No service, but an address that has one: echo requests to it are answered.
    pub const ADDRESS: u32 = 0;
    /// Full NAT: source and destination are rewritten, answers come back through the balancer.
    pub const NAT: u32 = 1;
    /// Direct return: only the Ethernet addresses change; the backends hold the service's address.
    pub const DSR: u32 = 2;
    /// Direct return over IP: the packet is put into another one, IP in IP.
    pub const IPIP: u32 = 3;
}

/// The key of map `services`. 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct ServiceKey {
    /// Its address.
    pub addr: Addr,
    /// Its port; 0 stands for every port.
    pub port: Be16,
    /// Zero.
    pub reserved: u16,
    /// Its protocol's number; 0 with port 0 for the address itself ([`mode::ADDRESS`]).
    pub protocol: u32,
}
const _: () = assert!(size_of::<ServiceKey>() == 24);

impl ServiceKey {
    /// Of an address, a port (0: every) and a protocol.
    #[inline(always)]
    pub const fn new(addr: Addr, port: Be16, protocol: u8) -> Self {
        Self {
            addr,
            port,
            reserved: 0,
            protocol: protocol as u32,
        }
    }
}

/// The value of map `services`. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Service {
    /// Its number: the index into `service_counters`.
    pub id: u32,
    /// One of [`mode`].
    pub mode: u32,
    /// Its Maglev table: the first block of `tables`.
    pub table: u32,
    /// The table's slots; 0 where no backend takes new flows.
    pub slots: u32,
    /// Its backends: the first of them in `members`.
    pub members: u32,
    /// How many there are.
    pub count: u32,
    /// The lowest source port towards its backends, in the host's order. NAT only.
    pub port_low: u16,
    /// The highest.
    pub port_high: u16,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Service>() == 32);

/// Slots of Maglev tables in one value of map `tables`.
pub const BLOCK: u32 = 32;

/// The value of map `tables`: slots, each the number of a backend among the service's members.
pub type Block = [u16; BLOCK as usize];

/// Most slots of a service's table, and most backends of a service.
pub const MAX_SLOTS: u32 = 655_373;
/// Most backends of one service.
pub const MAX_MEMBERS: u32 = u16::MAX as u32;

/// One backend of one service: the value of map `backends`. 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Backend {
    /// Its IP address.
    pub addr: Addr,
    /// In the first six bytes where its frames go ([`MacWords::packed`]): its own Ethernet address or its
    /// router's; 0 where none is known.
    pub mac: u64,
    /// When the way to it was last asked of the routing table, in ticks.
    pub routed_at: u32,
    /// Bits of [`backend`].
    pub flags: u32,
    /// Its service's number.
    pub service: u32,
    /// Its port; 0 stands for the packet's own.
    pub port: Be16,
    /// Its weight, for who reads the configuration back; the program has it in the table.
    pub weight: u16,
}
const _: () = assert!(size_of::<Backend>() == 40);

/// Bits of [`Backend::flags`].
pub mod backend {
    /// It takes flows. Whether new ones, too, is the table's to say.
    pub const UP: u32 = 1;
    /// Its Ethernet address is the configuration's: the routing table is not asked.
    pub const FIXED_MAC: u32 = 2;
    /// It takes no new flows. For who reads the configuration back.
    pub const DRAINING: u32 = 4;
    /// Its state was set live, over what the file says. For who reads the configuration back.
    pub const LIVE: u32 = 8;
    /// It is no longer in the configuration, but flows name it. For who reads the configuration back.
    pub const GONE: u32 = 16;
}

/// Packets and bytes: the value of map `counters`, one for each [`crate::counters::Reason`] and CPU.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Count {
    /// Frames.
    pub packets: u64,
    /// Their bytes, from the Ethernet header to the end of the frame as it came in.
    pub bytes: u64,
}

/// What one backend got and gave: the value of map `backend_counters`, one for each CPU.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct BackendCount {
    /// Flows opened to it.
    pub connections: u64,
    /// Frames sent to it.
    pub sent: Count,
    /// Frames it answered with.
    pub received: Count,
}
const _: () = assert!(size_of::<BackendCount>() == 40);

/// What became of a service's new flows: the value of map `service_counters`, one for each CPU.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct ServiceCount {
    /// Flows that got a backend.
    pub opened: u64,
    /// Packets that would have opened one, and could not.
    pub refused: u64,
}
