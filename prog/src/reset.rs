//! Answers a TCP segment with an RST, in its own frame.

use crate::world::World;

/// Turns the frame of the segment in [`World::seen`] into an RST to its sender. False where that cannot be; the frame is then to be dropped.
#[inline(always)]
pub fn reset<W: World>(_world: &W) -> bool {
    false
}
