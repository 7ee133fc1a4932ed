//! What a watcher is told of a packet's way. Nobody watching, that is a constant, and none of it is there.

use crate::abi::{Event, FlowKey, stage};
use crate::flow::Hop;
use crate::world::{Route, World};

/// Writes to the event at hand.
pub struct Watch<'w, W>(pub &'w W);

impl<W: World> Watch<'_, W> {
    #[inline(always)]
    fn tell(&self, tell: impl FnOnce(&mut Event)) {
        if self.0.watched() {
            // SAFETY: null or this CPU's own room, which nobody else uses while a packet is under way.
            if let Some(event) = unsafe { self.0.event().as_mut() } {
                tell(event);
            }
        }
    }

    /// It is TCP or UDP.
    #[inline(always)]
    pub fn parsed(&self, key: &FlowKey) {
        self.tell(|event| {
            event.stages |= stage::PARSED;
            event.key = *key;
        });
    }
    /// Of a known flow.
    #[inline(always)]
    pub fn known(&self, hop: &Hop) {
        self.tell(|event| {
            event.stages |= match hop.direction {
                crate::abi::Direction::Request => stage::REQUEST,
                crate::abi::Direction::Reply => stage::REPLY,
            };
            event.slot = hop.slot.index;
            event.state = hop.state;
            event.backend = hop.backend;
            event.service = hop.slot.service();
        });
    }
    /// For a service.
    #[inline(always)]
    pub fn service(&self, id: u32) {
        self.tell(|event| {
            event.stages |= stage::SERVICE;
            event.service = id;
        });
    }
    /// The table named a backend.
    #[inline(always)]
    pub fn picked(&self, table_slot: u32, backend: u32) {
        self.tell(|event| {
            event.stages |= stage::PICKED;
            event.table_slot = table_slot;
            event.backend = backend;
        });
    }
    /// A flow was opened.
    #[inline(always)]
    pub fn opened(&self, slot: u32) {
        self.tell(|event| {
            event.stages |= stage::OPENED;
            event.slot = slot;
        });
    }
    /// The routing table answered.
    #[inline(always)]
    pub fn routed(&self, route: Route) {
        self.tell(|event| {
            event.stages |= stage::ROUTED;
            event.route = route.answer;
        });
    }
    /// It leaves.
    #[inline(always)]
    pub fn sent(&self, key: &FlowKey, mac: u64) {
        self.tell(|event| {
            event.stages |= stage::SENT;
            event.sent = *key;
            event.mac = mac;
        });
    }
}
