//! The balancer's [`World`] on the host: standard collections in place of maps.
//!
//! It is the program's own logic that runs; only what surrounds it is modelled. Its tables hold to
//! the kernel's rules: fixed sizes, an entry added once, a full table that refuses.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::abi::{
    Backend, BackendCount, Be16, Be32, Connection, Count, FlowId, FlowKey, MacWords, bpf_spin_lock,
};
use crate::balance::balance;
use crate::checksum::Sum;
use crate::counters::{Reason, Verdict};
use crate::flow::{self, Slot, State};
use crate::packet::{Frame, Segment, Spare};
use crate::rewrite::LONGEST_SUM;
use crate::world::{Line, Settings, Taken, World};

/// A balancer in memory.
pub struct Model {
    /// As the loader would set them.
    pub settings: Settings,
    /// Map `backends`.
    pub backends: Vec<Backend>,
    /// Map `flows`.
    pub flows: RefCell<HashMap<FlowKey, FlowId>>,
    connections: Box<[UnsafeCell<Connection>]>,
    /// Map `counters`, by reason, where not zero.
    pub counters: RefCell<BTreeMap<&'static str, Count>>,
    /// Map `backend_counters`.
    pub backend_counters: RefCell<Vec<BackendCount>>,
    /// Packets that a socket of the host's own would receive.
    pub sockets: HashSet<FlowKey>,
    /// The clock, in ticks.
    pub now: Cell<u32>,
    /// The lines traced.
    pub lines: RefCell<Vec<String>>,
    hand: Cell<u32>,
}

impl Model {
    /// A balancer with these settings and backends, and no connections.
    pub fn new(settings: Settings, backends: Vec<Backend>) -> Self {
        let free = Connection {
            lock: bpf_spin_lock::default(),
            generation: 0,
            last_seen: 0,
            state: State::FREE,
            request: FlowKey::tcp(Be32([0; 4]), Be16([0; 2]), Be32([0; 4]), Be16([0; 2])),
            reply: FlowKey::tcp(Be32([0; 4]), Be16([0; 2]), Be32([0; 4]), Be16([0; 2])),
            backend: 0,
            client_mac: [0; 6],
            backend_mac: [0; 6],
        };
        Self {
            settings,
            flows: RefCell::default(),
            connections: (0..settings.slots).map(|_| UnsafeCell::new(free)).collect(),
            counters: RefCell::default(),
            backend_counters: RefCell::new(vec![BackendCount::default(); backends.len()]),
            backends,
            sockets: HashSet::new(),
            now: Cell::new(0),
            lines: RefCell::default(),
            hand: Cell::new(0),
        }
    }

    /// Gives it a frame, as the driver would.
    pub fn receive(&self, frame: &mut [u8]) -> Verdict {
        balance(self, &Frame::from_slice(frame))
    }

    /// Lets that many seconds pass.
    pub fn sleep(&self, seconds: u32) {
        self.now.set(
            self.now
                .get()
                .wrapping_add(seconds.wrapping_mul(self.settings.ticks_per_second)),
        );
    }

    /// How often a frame left for this reason.
    pub fn counted(&self, reason: Reason) -> u64 {
        self.counters
            .borrow()
            .get(reason.name())
            .map_or(0, |count| count.packets)
    }

    /// A copy of every slot that holds a connection.
    pub fn live(&self) -> Vec<Connection> {
        // SAFETY: nothing runs while we are here: Model is not Sync.
        self.connections
            .iter()
            .map(|slot| unsafe { *slot.get() })
            .filter(|c| c.state != State::FREE)
            .collect()
    }
}

impl World for Model {
    fn service_addr(&self) -> Be32 {
        self.settings.service_addr
    }
    fn service_port(&self) -> Be16 {
        self.settings.service_port
    }
    fn balancer_addr(&self) -> Be32 {
        self.settings.balancer_addr
    }
    fn balancer_mac(&self) -> MacWords {
        self.settings.balancer_mac
    }
    fn backends(&self) -> u32 {
        self.settings.backends
    }
    fn slots(&self) -> u32 {
        self.settings.slots
    }
    fn ticks_per_second(&self) -> u32 {
        self.settings.ticks_per_second
    }
    fn deferred(&self) -> u32 {
        self.settings.deferred
    }
    fn traced(&self) -> bool {
        self.settings.trace != 0
    }

    fn now(&self) -> u32 {
        self.now.get()
    }

    fn flow(&self, key: &FlowKey) -> Option<FlowId> {
        self.flows.borrow().get(key).copied()
    }
    fn add_flow(&self, key: &FlowKey, id: FlowId) -> Result<(), Taken> {
        let mut flows = self.flows.borrow_mut();
        if flows.contains_key(key) || flows.len() >= 2 * self.connections.len() {
            return Err(Taken);
        }
        flows.insert(*key, id);
        Ok(())
    }
    fn remove_flow(&self, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
    }

    fn connection(&self, slot: u32) -> *mut Connection {
        self.connections
            .get(slot as usize)
            .map_or(core::ptr::null_mut(), UnsafeCell::get)
    }
    fn claim(&self, slot: &Slot, generation: u32) -> bool {
        let unchanged = slot.generation() == generation;
        if unchanged {
            slot.set_generation(generation.wrapping_add(1));
        }
        unchanged
    }
    fn hand(&self) -> u32 {
        self.hand.get()
    }
    fn set_hand(&self, slot: u32) {
        self.hand.set(slot);
    }

    fn search(&self, start: u32) -> u64 {
        flow::search(self, start)
    }
    fn take_port(&self, reply: FlowKey, id: FlowId, seed: u32) -> Option<Be16> {
        flow::take_port(self, reply, id, seed)
    }

    fn backend(&self, index: u32) -> Option<&Backend> {
        self.backends.get(index as usize)
    }
    fn has_socket(&self, key: &FlowKey) -> bool {
        self.sockets.contains(key)
    }

    fn sum(&self, frame: &Frame<'_>, offset: usize, length: u16) -> Option<Sum> {
        let length = usize::from(length);
        if length > usize::from(LONGEST_SUM) {
            return None;
        }
        let mut sum = Sum::ZERO;
        for at in (offset..offset + length).step_by(2) {
            let low = frame.at::<Byte>(at)?.0.get();
            let high = if at + 1 < offset + length {
                frame.at::<Byte>(at + 1)?.0.get()
            } else {
                0
            };
            sum = Sum::from_partial(u32::from(sum.add16(u16::from_ne_bytes([low, high])).fold()));
        }
        Some(sum)
    }

    fn points_anywhere(&self) -> bool {
        true
    }
    fn copy_tcp(&self, _: usize, _: &Spare) -> bool {
        false // never asked for: everything can be pointed at
    }
    fn put_back(&self, _: &Segment<'_>) {}

    fn length(&self, frame: &Frame<'_>) -> u64 {
        frame.difference()
    }

    fn count(&self, reason: Reason, bytes: u64) {
        let mut counters = self.counters.borrow_mut();
        let count = counters.entry(reason.name()).or_default();
        count.packets += 1;
        count.bytes += bytes;
    }
    fn count_backend(&self, index: u32, reason: Reason, bytes: u64) {
        let mut counters = self.backend_counters.borrow_mut();
        let Some(count) = counters.get_mut(index as usize) else {
            return;
        };
        count.connections += u64::from(reason == Reason::Opened);
        let direction = if reason == Reason::Replied {
            &mut count.received
        } else {
            &mut count.sent
        };
        direction.packets += 1;
        direction.bytes += bytes;
    }

    fn trace(&self, line: Line<'_>) {
        let text = match line {
            Line::Received => "received".into(),
            Line::Headers(key, source, destination) => {
                format!(
                    "{key:x?} {:x?} → {:x?}",
                    source.bytes(),
                    destination.bytes()
                )
            }
            Line::FromClient => "client".into(),
            Line::FromBackend => "backend".into(),
            Line::Redirecting(key, destination, source) => {
                format!(
                    "to {key:x?} {:x?} → {:x?}",
                    source.bytes(),
                    destination.bytes()
                )
            }
        };
        self.lines.borrow_mut().push(text);
    }
}

/// One byte of a frame.
#[repr(transparent)]
struct Byte(Cell<u8>);
// SAFETY: a Cell of a byte.
unsafe impl crate::packet::Header for Byte {}
