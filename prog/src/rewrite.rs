//! Sends a packet on: new addresses, ports, hop count and checksums, all of them or none.
//!
//! Everything that can fail comes before the first write.

use crate::abi::{Be16, MacWords, deferred};
use crate::checksum::Sum;
use crate::counters::Reason;
use crate::family::{Family, addresses, pseudo_header};
use crate::flow::Hop;
use crate::packet::{Ethernet, Frame, Packet};
use crate::world::World;

/// The longest packet whose checksum is computed in full. No link carries more in one frame:
/// longer ones exist only as aggregates in a socket buffer, whose checksum is always deferred
/// (net/ipv4/tcp_offload.c, `tcp_gro_complete`; net/ipv4/tcp_ipv4.c, `__tcp_v4_send_check`).
pub const LONGEST_SUM: u16 = 16 * 1024;

/// Gives the packet the addresses and ports that `hop` says, one hop fewer, and right checksums. The frame is untouched if
/// this fails.
#[inline(always)]
pub fn nat<F: Family, W: World>(
    world: &W,
    frame: &Frame<'_>,
    packet: &Packet<'_, F>,
    hop: &Hop,
) -> Result<(), Reason> {
    let checksum = translated(world, frame, packet, hop)?;
    // From here on nothing fails.
    // One hop fewer: the balancer forwards as a router does (RFC 1812 §5.3.1), so that a loop of balancers ends.
    F::rewrite(packet.ip, &packet.key, &hop.key, 1);
    packet.ports.source.set(hop.key.ports.source);
    packet.ports.destination.set(hop.key.ports.destination);
    packet.checksum.set(checksum);
    Ok(())
}

/// New Ethernet addresses.
#[inline(always)]
pub fn macs(ethernet: &Ethernet, to: MacWords, from: MacWords) {
    ethernet.destination.set(to.into());
    ethernet.source.set(from.into());
}

/// Completes a checksum that was left to hardware, in a packet that goes on as it is.
#[inline(always)]
pub fn complete<F: Family, W: World>(
    world: &W,
    frame: &Frame<'_>,
    packet: &Packet<'_, F>,
) -> Result<(), Reason> {
    if world.deferred() != deferred::COMPLETE {
        return Ok(());
    }
    let field = packet.checksum;
    if is_none(packet, field.get())
        || field.get() != pseudo_header::<F>(&packet.key, packet.length)
    {
        return Ok(());
    }
    let sum = sum(world, frame, packet).ok_or(Reason::ChecksumTooLong)?;
    field.set(shown(packet, Be16::from_word(!sum.fold())));
    Ok(())
}

/// The checksum of the translated packet: an update of the old one, unless the sender left it open.
#[inline(always)]
fn translated<F: Family, W: World>(
    world: &W,
    frame: &Frame<'_>,
    packet: &Packet<'_, F>,
    hop: &Hop,
) -> Result<Be16, Reason> {
    let old = packet.checksum.get();
    if is_none(packet, old) {
        return Ok(old);
    }
    let change = addresses::<F>(&packet.key, &hop.key).ports(packet.key.ports, hop.key.ports);
    let pseudo = pseudo_header::<F>(&packet.key, packet.length);
    if old != pseudo {
        return Ok(shown(packet, change.apply(old)));
    }
    // The field equals the pseudo-header's sum: it is deferred, or one of the complete ones in 65,536.
    if world.deferred() == deferred::COMPLETE {
        // Either way the sum of the packet, with the pseudo-header's in that field, is what the
        // checksum has to be.
        let sum = sum(world, frame, packet).ok_or(Reason::ChecksumTooLong)?;
        return Ok(shown(packet, change.apply(Be16::from_word(!sum.fold()))));
    }
    // A deferred one in 65,536 looks complete, too, so once is enough: who defers, defers always.
    if !hop.defers() {
        let sum = sum(world, frame, packet);
        if sum.is_some_and(|sum| is_complete(sum, pseudo)) {
            return Ok(shown(packet, change.apply(old)));
        }
        hop.note_deferral();
    }
    Ok(pseudo_header::<F>(&hop.key, packet.length))
}

#[inline(always)]
fn sum<F: Family, W: World>(world: &W, frame: &Frame<'_>, packet: &Packet<'_, F>) -> Option<Sum> {
    world.sum(frame, packet.layout.l4, packet.length)
}

/// UDP over IPv4 may go without (RFC 768), and over IPv6 in tunnels (RFC 6935).
#[inline(always)]
fn is_none<F: Family>(packet: &Packet<'_, F>, checksum: Be16) -> bool {
    packet.is_udp() && checksum == Be16([0; 2])
}

/// UDP shows a sum of zero as all ones, since zero says that there is none (RFC 768).
#[inline(always)]
fn shown<F: Family>(packet: &Packet<'_, F>, checksum: Be16) -> Be16 {
    if packet.is_udp() && checksum == Be16([0; 2]) {
        Be16([0xff; 2])
    } else {
        checksum
    }
}

/// Whether a packet, with its checksum in it, adds up to what RFC 1071 asks.
#[inline(always)]
fn is_complete(packet: Sum, pseudo: Be16) -> bool {
    packet.add16(pseudo.word()).fold() == 0xffff
}
