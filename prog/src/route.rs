//! The next hop's Ethernet address.
//!
//! The routing table is the host's own (`bpf_fib_lookup`), so gateways, their failover and neighbours are the operating
//! system's business. It is asked once a second for each backend and each client, not for each packet. Where it
//! has no answer (forwarding is off, the neighbour is not resolved) a backend has the address that the loader found, and a client
//! the one that its frames come from.

use crate::abi::{Backend, MacWords, backend};
use crate::family::{Family, V4, V6};
use crate::flow::{Hop, Slot};
use crate::state::State;
use crate::watch;
use crate::world::World;

/// Where frames for a backend go ([`MacWords::packed`]); 0 where nobody knows.
#[inline(always)]
pub fn to_backend<W: World>(world: &W, index: u32) -> u64 {
    match world.backend(index) {
        Some(backend) => to_this_backend(world, index, backend),
        None => 0,
    }
}

/// The same where its entry is at hand.
#[inline(always)]
pub fn to_this_backend<W: World>(world: &W, index: u32, backend: &Backend) -> u64 {
    if backend.flags & backend::FIXED_MAC == 0 && is_due(world, backend.routed_at) {
        return world.route_backend(index);
    }
    backend.mac
}

/// Where frames for a flow's client go.
#[inline(always)]
pub fn to_client<W: World>(world: &W, hop: &Hop) -> u64 {
    if is_due(world, hop.slot.routed_at()) {
        return world.route_client(hop.slot.index);
    }
    hop.client_mac
}

#[inline(always)]
fn is_due<W: World>(world: &W, routed_at: u32) -> bool {
    world.now().wrapping_sub(routed_at) >= world.ticks_per_second()
}

/// Asks for the way to a backend and notes the answer.
#[inline(always)]
pub fn backend<W: World>(world: &W, index: u32) -> u64 {
    let Some(backend) = world.backend(index) else {
        return 0;
    };
    let from = if backend.addr.is_v4() {
        V4::balancer(world)
    } else {
        V6::balancer(world)
    };
    let route = world.route(from, backend.addr);
    watch::routed(world, route.answer);
    let mac = if route.answer == 0 {
        route.mac
    } else {
        backend.mac
    };
    if !world.dry() {
        world.set_backend_route(index, mac, world.now());
    }
    mac
}

/// Asks for the way to a flow's client and notes the answer.
#[inline(always)]
pub fn client<W: World>(world: &W, index: u32) -> u64 {
    let Some(slot) = Slot::of(world, index) else {
        return 0;
    };
    let route = world.route(slot.vip(), slot.client());
    watch::routed(world, route.answer);
    let found = route.answer == 0;
    let mac = if found { route.mac } else { slot.client_mac() };
    if !world.dry() {
        slot.set_routed_at(world.now());
        let before = slot.state();
        let state = if found {
            before | State::ROUTED
        } else {
            before & !State::ROUTED
        };
        if state != before {
            slot.set_state(state);
        }
        if found {
            slot.set_client_mac(mac);
        }
    }
    mac
}

/// The six bytes of an Ethernet address that the kernel wrote.
#[inline(always)]
pub fn packed(mac: [u8; 6]) -> u64 {
    MacWords::from(mac).packed()
}
