//! ICMP: echo requests to a service's address are answered, errors about packets of a flow are translated to its other side.

use crate::counters::Reason;
use crate::family::Family;
use crate::world::World;

/// The path of an ICMP message, whose IP header is known to be whole and to lead to it at `l4`.
#[inline(always)]
pub fn icmp<F: Family, W: World>(_world: &W, _l3: usize, _l4: usize) -> Result<Reason, Reason> {
    Err(Reason::OtherIcmp)
}
