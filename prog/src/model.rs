//! The balancer's [`World`] on the host: standard collections in place of maps.
//!
//! It is the program's own logic that runs; only what surrounds it is modelled. Its tables hold to
//! the kernel's rules: fixed sizes, and frames with as much room in front as the kernel gives.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::{BTreeMap, HashMap};

use crate::abi::{
    Addr, Backend, BackendCount, Be16, Be32, Block, Bucket, Connection, Count, Event, FlowKey,
    Kind, MacWords, Ports, Seen, Service, ServiceCount, ServiceKey, Sought, bpf_spin_lock,
    protocol,
};
use crate::balance::{self, Place, balance};
use crate::checksum::Sum;
use crate::counters::{Reason, Verdict};
use crate::family::{V4, V6};
use crate::flow::{self, Slot};
use crate::packet::{Frame, OverTcp, OverUdp};
use crate::rewrite::LONGEST_SUM;
use crate::state::State;
use crate::watch::{self, Tell};
use crate::world::{Limit, Line, Route, Settings, World};
use crate::{icmp, index, open, reset, route, tunnel};

/// What the loader puts into the configuration's maps.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Map `services`.
    pub services: HashMap<ServiceKey, Service>,
    /// Map `tables`.
    pub tables: Vec<Block>,
    /// Map `members`.
    pub members: Vec<u32>,
    /// Map `backends`.
    pub backends: Vec<Backend>,
}

/// Bytes in front of a frame: XDP_PACKET_HEADROOM of include/uapi/linux/bpf.h.
pub const HEADROOM: usize = 256;
/// Bytes of them that stay the driver's own (include/net/xdp.h, `struct xdp_frame`).
const XDP_FRAME: usize = 40;

/// A balancer in memory.
pub struct Model {
    /// As the loader would set them.
    pub settings: Settings,
    services: HashMap<ServiceKey, Service>,
    tables: Vec<Block>,
    members: Vec<u32>,
    backends: Box<[UnsafeCell<Backend>]>,
    index: Box<[UnsafeCell<Bucket>]>,
    connections: Box<[UnsafeCell<Connection>]>,
    /// Map `counters`, by reason, where not zero.
    pub counters: RefCell<BTreeMap<&'static str, Count>>,
    /// Map `backend_counters`.
    pub backend_counters: RefCell<Vec<BackendCount>>,
    /// Map `service_counters`.
    pub service_counters: RefCell<BTreeMap<u32, ServiceCount>>,
    /// The routing table: the next hop's Ethernet address by destination.
    pub routes: HashMap<Addr, MacWords>,
    /// The clock, in ticks.
    pub now: Cell<u32>,
    /// How often it has been read.
    pub reads: Cell<u32>,
    /// When it ticks by itself, counted in reads, and what it says from then on.
    pub ticks: RefCell<Vec<(u32, u32)>>,
    /// Bytes in front of each frame: [`HEADROOM`], less what metadata takes.
    pub headroom: Cell<usize>,
    /// The lines traced.
    pub lines: RefCell<Vec<String>>,
    /// What a watcher got.
    pub events: RefCell<Vec<Event>>,
    hand: Cell<u32>,
    seen: UnsafeCell<Option<Seen>>,
    sought: UnsafeCell<Sought>,
    event: UnsafeCell<Event>,
    buffer: UnsafeCell<Vec<u8>>,
    /// Where the frame begins and ends in the buffer.
    bounds: Cell<(usize, usize)>,
}

/// A slot that holds no flow.
const FREE: Connection = Connection {
    lock: bpf_spin_lock { val: 0 },
    generation: 0,
    client: Addr::NONE,
    vip: Addr::NONE,
    target: Addr::NONE,
    request_ports: Ports::from_word(0),
    reply_ports: Ports::from_word(0),
    kind: Kind(0),
    last_seen: 0,
    state: State::FREE,
    backend: 0,
    service: 0,
    routed_at: 0,
    client_mac: 0,
};

impl Model {
    /// A balancer with these settings and tables, and no flows.
    pub fn new(settings: Settings, tables: Tables) -> Self {
        let Tables {
            services,
            tables,
            members,
            backends,
        } = tables;
        let empty = Bucket::default();
        Self {
            settings,
            index: (0..settings.buckets)
                .map(|_| UnsafeCell::new(empty))
                .collect(),
            connections: (0..settings.slots).map(|_| UnsafeCell::new(FREE)).collect(),
            counters: RefCell::default(),
            backend_counters: RefCell::new(vec![BackendCount::default(); backends.len()]),
            service_counters: RefCell::default(),
            services,
            tables,
            members,
            backends: backends.into_iter().map(UnsafeCell::new).collect(),
            routes: HashMap::new(),
            now: Cell::new(0),
            reads: Cell::new(0),
            ticks: RefCell::default(),
            headroom: Cell::new(HEADROOM),
            lines: RefCell::default(),
            events: RefCell::default(),
            hand: Cell::new(0),
            seen: UnsafeCell::new(None),
            sought: UnsafeCell::default(),
            event: UnsafeCell::default(),
            buffer: UnsafeCell::default(),
            bounds: Cell::new((0, 0)),
        }
    }

    /// Another one that has seen the same, and remembers what it got and counted.
    pub fn copy(&self) -> Self {
        let tables = Tables {
            services: self.services.clone(),
            tables: self.tables.clone(),
            members: self.members.clone(),
            backends: self.backends_now(),
        };
        let index = self.buckets_now().into_iter();
        Self {
            index: index.map(UnsafeCell::new).collect(),
            connections: self.slots().into_iter().map(UnsafeCell::new).collect(),
            counters: self.counters.clone(),
            backend_counters: self.backend_counters.clone(),
            service_counters: self.service_counters.clone(),
            routes: self.routes.clone(),
            now: self.now.clone(),
            headroom: self.headroom.clone(),
            lines: self.lines.clone(),
            events: self.events.clone(),
            hand: self.hand.clone(),
            ..Self::new(self.settings, tables)
        }
    }

    /// Gives it a frame, as the driver would; the frame is then as it left.
    pub fn receive(&self, frame: &mut Vec<u8>) -> Verdict {
        let headroom = self.headroom.get();
        let mut buffer = vec![0; headroom];
        buffer.extend_from_slice(frame);
        self.bounds.set((headroom, buffer.len()));
        // SAFETY: no frame of the packet before is in use any more.
        unsafe { *self.buffer.get() = buffer };
        let verdict = balance(self, &self.frame());
        let (start, end) = self.bounds.get();
        // SAFETY: the balancer is done with it.
        let buffer = unsafe { &*self.buffer.get() };
        frame.clear();
        frame.extend_from_slice(buffer.get(start..end).unwrap_or_default());
        verdict
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

    /// A copy of every slot.
    pub fn slots(&self) -> Vec<Connection> {
        let slots = self.connections.iter();
        slots
            // SAFETY: nothing runs while we are here: Model is not Sync.
            .map(|slot| unsafe { *slot.get() })
            .collect()
    }

    /// A copy of every slot that holds a flow.
    pub fn live(&self) -> Vec<Connection> {
        let mut slots = self.slots();
        slots.retain(|slot| slot.state != State::FREE);
        slots
    }

    /// A copy of every bucket.
    pub fn buckets_now(&self) -> Vec<Bucket> {
        let buckets = self.index.iter();
        buckets
            // SAFETY: as in `slots`.
            .map(|bucket| unsafe { *bucket.get() })
            .collect()
    }

    /// A copy of every backend.
    pub fn backends_now(&self) -> Vec<Backend> {
        let backends = self.backends.iter();
        backends
            // SAFETY: as in `slots`.
            .map(|backend| unsafe { *backend.get() })
            .collect()
    }

    /// Writes a slot, as who reads and writes the map does.
    pub fn put_connection(&self, slot: u32, connection: &Connection) {
        if let Some(place) = self.connections.get(slot as usize) {
            // SAFETY: as in `slots`.
            unsafe { *place.get() = *connection };
        }
    }

    /// Writes a backend.
    pub fn put_backend(&self, index: u32, backend: &Backend) {
        if let Some(place) = self.backends.get(index as usize) {
            // SAFETY: as in `slots`.
            unsafe { *place.get() = *backend };
        }
    }

    /// Changes a backend's flags, as a reload does.
    pub fn set_flags(&mut self, index: usize, flags: u32) {
        if let Some(backend) = self.backends.get_mut(index) {
            backend.get_mut().flags = flags;
        }
    }
}

impl World for Model {
    fn balancer_v4(&self) -> Be32 {
        self.settings.balancer_v4
    }
    fn balancer_v6(&self) -> Addr {
        self.settings.balancer_v6
    }
    fn balancer_mac(&self) -> MacWords {
        self.settings.balancer_mac
    }
    fn slots(&self) -> u32 {
        self.settings.slots
    }
    fn buckets(&self) -> u32 {
        self.settings.buckets
    }
    fn limit(&self, limit: Limit) -> u64 {
        limit.value().into()
    }
    fn seed(&self) -> u64 {
        self.settings.seed
    }
    fn ticks_per_second(&self) -> u32 {
        self.settings.ticks_per_second
    }
    fn mtu(&self) -> u32 {
        self.settings.mtu
    }
    fn tunnel_v4(&self) -> [u32; 2] {
        self.settings.tunnel_v4
    }
    fn tunnel_v6(&self) -> u64 {
        self.settings.tunnel_v6
    }
    fn deferred(&self) -> u32 {
        self.settings.deferred
    }
    fn traced(&self) -> bool {
        self.settings.trace != 0
    }
    fn watched(&self) -> bool {
        self.settings.watch != 0
    }
    fn dry(&self) -> bool {
        self.settings.dry != 0
    }

    fn now(&self) -> u32 {
        let reads = self.reads.replace(self.reads.get().wrapping_add(1));
        for (_, time) in self.ticks.borrow().iter().filter(|(at, _)| *at == reads) {
            self.now.set(*time);
        }
        self.now.get()
    }

    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key)
    }
    fn block(&self, index: u32) -> Option<&Block> {
        self.tables.get(index as usize)
    }
    fn member(&self, index: u32) -> Option<u32> {
        self.members.get(index as usize).copied()
    }
    fn backend(&self, index: u32) -> Option<&Backend> {
        // SAFETY: its fields are replaced whole by `set_backend_route` only, on this thread.
        self.backends
            .get(index as usize)
            .map(|backend| unsafe { &*backend.get() })
    }
    fn set_backend_route(&self, index: u32, mac: u64, now: u32) {
        if let Some(backend) = self.backends.get(index as usize) {
            // SAFETY: on this thread, through no reference.
            unsafe {
                (&raw mut (*backend.get()).mac).write(mac);
                (&raw mut (*backend.get()).routed_at).write(now);
            }
        }
    }

    fn bucket(&self, index: u32) -> *mut Bucket {
        self.index
            .get(index as usize)
            .map_or(core::ptr::null_mut(), UnsafeCell::get)
    }
    fn lock_bucket(&self, _: *mut Bucket) {}
    fn unlock_bucket(&self, _: *mut Bucket) {}
    fn connection(&self, slot: u32) -> *mut Connection {
        self.connections
            .get(slot as usize)
            .map_or(core::ptr::null_mut(), UnsafeCell::get)
    }
    fn claim(&self, slot: &Slot, generation: u32, state: u32) -> bool {
        let unchanged = slot.generation() == generation && slot.state() == state;
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
    fn end(&self, slot: u32, generation: u32, state: u32) -> bool {
        flow::end(self, slot, generation, state)
    }
    fn try_ports(&self, slot: u32, range: u32, seed: u32, least: u64, first: u32) -> Option<Be16> {
        flow::try_ports(self, slot, range, seed, least, first)
    }
    fn reserve(&self, slot: u32, least: u64) -> bool {
        flow::reserve(self, slot, least)
    }
    fn claim_slot(&self) -> u64 {
        flow::NoSlot::encode(flow::claim(self))
    }
    fn publish_flow(&self, slot: u32, state: u32) -> bool {
        flow::publish(self, slot, state)
    }
    fn look(&self) -> u64 {
        index::look(self)
    }
    fn open(&self) -> u64 {
        open::open(self)
    }
    fn concerned(&self) -> u64 {
        open::concerned(self)
    }
    fn route_backend(&self, index: u32) -> u64 {
        route::backend(self, index)
    }
    fn route_client(&self, slot: u32) -> u64 {
        route::client(self, slot)
    }
    fn locate(&self) -> u64 {
        Place::encode(balance::locate(self))
    }
    fn transport(&self, place: Place, given: u64) -> u64 {
        let Place { l3, l4, .. } = place;
        match (place.v6, place.protocol == protocol::UDP) {
            (false, false) => balance::at::<V4, OverTcp, Self>(self, l3, l4, given),
            (false, true) => balance::at::<V4, OverUdp, Self>(self, l3, l4, given),
            (true, false) => balance::at::<V6, OverTcp, Self>(self, l3, l4, given),
            (true, true) => balance::at::<V6, OverUdp, Self>(self, l3, l4, given),
        }
    }
    fn icmp(&self, place: Place, given: u64) -> u64 {
        if place.v6 {
            icmp::icmp::<V6, Self>(self, place.l3, place.l4, given)
        } else {
            icmp::icmp::<V4, Self>(self, place.l3, place.l4, given)
        }
    }
    fn tunnel(&self, backend: u32) -> Result<(), Reason> {
        tunnel::send(self, backend)
    }
    fn reset(&self) -> bool {
        reset::reset(self)
    }

    fn seen(&self) -> *mut Seen {
        // SAFETY: the room is this value's own; Model is not Sync.
        let room = unsafe { &mut *self.seen.get() };
        room.get_or_insert_with(|| Seen {
            key: FlowKey::default(),
            hash: 0,
            source_mac: 0,
            l3: 0,
            l4: 0,
            length: 0,
            flags: 0,
            hops: 0,
            bytes: 0,
        })
    }
    fn sought(&self) -> *mut Sought {
        self.sought.get()
    }
    fn event(&self) -> *mut Event {
        self.event.get()
    }

    fn route(&self, _: Addr, to: Addr) -> Route {
        // BPF_FIB_LKUP_RET_FWD_DISABLED where there is none: what a host says that is no router.
        const DISABLED: u32 = 5;
        match self.routes.get(&to) {
            Some(mac) => Route {
                answer: 0,
                mac: mac.packed(),
            },
            None => Route {
                answer: DISABLED,
                mac: 0,
            },
        }
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
        self.settings.perfmon != 0
    }
    fn frame(&self) -> Frame<'_> {
        let (start, end) = self.bounds.get();
        // SAFETY: both lie in the buffer, which lasts until the next packet.
        unsafe {
            let buffer = (*self.buffer.get()).as_mut_ptr();
            Frame::new(buffer.add(start), buffer.add(end))
        }
    }
    fn length(&self, frame: &Frame<'_>) -> u64 {
        frame.difference()
    }
    fn grow_head(&self, bytes: i32) -> bool {
        let (start, end) = self.bounds.get();
        let Some(new) = start.checked_add_signed(-(bytes as isize)) else {
            return false;
        };
        // As `bpf_xdp_adjust_head` has it (net/core/filter.c): an Ethernet header must be left.
        if new < XDP_FRAME || new + 14 > end {
            return false;
        }
        self.bounds.set((new, end));
        true
    }
    fn cut_tail(&self, bytes: u32) -> bool {
        let (start, end) = self.bounds.get();
        match end.checked_sub(bytes as usize) {
            Some(new) if new >= start + 14 => {
                self.bounds.set((start, new));
                true
            }
            _ => false,
        }
    }

    fn count(&self, reason: Reason, bytes: u64) {
        if self.dry() {
            return;
        }
        let mut counters = self.counters.borrow_mut();
        let count = counters.entry(reason.name()).or_default();
        count.packets += 1;
        count.bytes += bytes;
    }
    fn count_backend(&self, index: u32, reason: Reason, bytes: u64) {
        if self.dry() {
            return;
        }
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
    fn count_service(&self, service: u32, opened: bool) {
        if self.dry() {
            return;
        }
        let mut counters = self.service_counters.borrow_mut();
        let count = counters.entry(service).or_default();
        count.opened += u64::from(opened);
        count.refused += u64::from(!opened);
    }

    fn trace(&self, line: Line, l3: usize, v6: bool) {
        let text = match line {
            Line::Received => "received".into(),
            Line::FromClient => "client".into(),
            Line::FromBackend => "backend".into(),
            Line::Headers => format!("headers at {l3}, IPv{}", if v6 { 6 } else { 4 }),
            Line::Redirecting => format!("redirecting, {l3}"),
        };
        self.lines.borrow_mut().push(text);
    }
    fn watch(&self, _: &Frame<'_>, bytes: u64) {
        let event = Event {
            length: bytes as u32,
            ..Event::default()
        };
        // SAFETY: this value's own room, which no packet is using yet.
        unsafe { *self.event.get() = event };
    }
    fn tell(&self, what: Tell, number: u64) {
        watch::tell(self, what, number);
    }
    fn publish(&self, reason: Reason) {
        // SAFETY: the packet is done with it.
        let mut event = unsafe { *self.event.get() };
        event.reason = reason as u32;
        self.events.borrow_mut().push(event);
    }
}

/// One byte of a frame.
#[repr(transparent)]
struct Byte(Cell<u8>);
// SAFETY: a Cell of a byte.
unsafe impl crate::packet::Header for Byte {}
