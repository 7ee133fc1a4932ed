//! Whose service a packet asks for, and which backend a new flow of it gets.

use crate::abi::{BLOCK, Backend, Be16, FlowKey, Service, ServiceKey, backend};
use crate::watch::{Tell, told};
use crate::world::World;

/// The service that a flow is for: that of its very port, else that of every port.
#[inline(always)]
pub fn of<'w, W: World>(world: &'w W, key: &FlowKey) -> Option<&'w Service> {
    let protocol = key.kind.protocol();
    let exact = ServiceKey::new(key.daddr, key.ports.destination, protocol);
    if let Some(service) = world.service(&exact) {
        return Some(service);
    }
    world.service(&ServiceKey::new(key.daddr, Be16([0; 2]), protocol))
}

/// The backend for a new flow of that [`hash`](crate::pick::hash), by the service's Maglev table: the same on every balancer with the same configuration.
#[inline(always)]
pub fn pick<W: World>(world: &W, service: &Service, hash: u32) -> Option<u32> {
    let slot = hash.checked_rem(service.slots)?;
    let block = world.block(service.table.wrapping_add(slot / BLOCK))?;
    let place = (slot % BLOCK) as usize;
    let member = u32::from(*block.get(place)?);
    if member >= service.count {
        return None;
    }
    let backend = world.member(service.members.wrapping_add(member))?;
    told(
        world,
        Tell::Picked,
        u64::from(slot) << 32 | u64::from(backend),
    );
    Some(backend)
}

/// The backend of that number, if it takes packets.
#[inline(always)]
pub fn up<W: World>(world: &W, index: u32) -> Option<&Backend> {
    let found = world.backend(index)?;
    (found.flags & backend::UP != 0).then_some(found)
}
