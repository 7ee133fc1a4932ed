//! Sends a packet on: new addresses, ports, hop count and checksums, all of them or none.
//!
//! Everything that can fail comes before the first write.

use crate::abi::{Be16, FlowKey, MacWords, deferred, protocol};
use crate::checksum::{Change, Sum};
use crate::counters::Reason;
use crate::family::{Family, addresses, pseudo_header};
use crate::flow::Hop;
use crate::packet::{Ethernet, Frame, Packet, Transport, Vlan};
use crate::world::World;

/// The longest packet whose checksum is computed in full. No link carries more in one frame:
/// longer ones exist only as aggregates in a socket buffer, whose checksum is always deferred
/// (net/ipv4/tcp_offload.c, `tcp_gro_complete`; net/ipv4/tcp_ipv4.c, `__tcp_v4_send_check`).
pub const LONGEST_SUM: u16 = 16 * 1024;

/// Gives the packet the addresses and ports that `hop` says, one hop fewer, and right checksums. The frame is untouched if
/// this fails.
#[inline(always)]
pub fn nat<F: Family, T: Transport, W: World>(
    world: &W,
    frame: &Frame<'_>,
    packet: &Packet<'_, F, T>,
    hop: &Hop,
) -> Result<(), Reason> {
    let checksum = translated(world, frame, packet, hop)?;
    // From here on nothing fails.
    // One hop fewer: the balancer forwards as a router does (RFC 1812 §5.3.1), so that a loop of balancers ends.
    F::rewrite(packet.ip, &packet.key, &hop.key, 1);
    packet.ports.source.set(hop.key.ports.source);
    packet.ports.destination.set(hop.key.ports.destination);
    T::checksum(packet.header).set(checksum);
    Ok(())
}

/// New Ethernet addresses.
#[inline(always)]
pub fn macs(ethernet: &Ethernet, to: MacWords, from: MacWords) {
    ethernet.destination.set(to.into());
    ethernet.source.set(from.into());
}

/// Brings everything in front of IP, the Ethernet header and its tags, `by` bytes to the front, where room has been made for it,
/// with new addresses and the ethertype of what shall follow. IP begins at `l3` as it did before: 14, 18 or 22. `by` is at least 8.
#[inline(always)]
pub fn bring_front(
    frame: &Frame<'_>,
    l3: usize,
    by: usize,
    ethertype: Be16,
    to: MacWords,
    from: MacWords,
) -> Option<()> {
    const FIRST: usize = size_of::<Ethernet>();
    const SECOND: usize = FIRST + size_of::<Vlan>();
    let (ethernet, old): (&Ethernet, &Ethernet) = (frame.at(0)?, frame.at(by)?);
    if l3 == FIRST {
        ethernet.ethertype.set(ethertype);
    } else {
        let (vlan, tag): (&Vlan, &Vlan) = (frame.at(FIRST)?, frame.at(by + FIRST)?);
        ethernet.ethertype.set(old.ethertype.get());
        vlan.tag.set(tag.tag.get());
        if l3 == SECOND {
            vlan.ethertype.set(ethertype);
        } else {
            let (inner, old): (&Vlan, &Vlan) = (frame.at(SECOND)?, frame.at(by + SECOND)?);
            vlan.ethertype.set(tag.ethertype.get());
            inner.tag.set(old.tag.get());
            inner.ethertype.set(ethertype);
        }
    }
    macs(ethernet, to, from);
    Some(())
}

/// Completes a checksum that was left to hardware, in a packet that goes on as it is.
#[inline(always)]
pub fn complete<F: Family, T: Transport, W: World>(
    world: &W,
    frame: &Frame<'_>,
    packet: &Packet<'_, F, T>,
) -> Result<(), Reason> {
    let field = T::checksum(packet.header);
    let whole = completed::<F, W>(
        world,
        frame,
        &packet.key,
        packet.l4,
        packet.length,
        field.get(),
    )?;
    field.set(whole);
    Ok(())
}

/// What the checksum field of a packet that goes on as it is shall hold. `length` bytes from `l4` on are the transport's.
#[inline(always)]
pub fn completed<F: Family, W: World>(
    world: &W,
    frame: &Frame<'_>,
    key: &FlowKey,
    l4: usize,
    length: u16,
    old: Be16,
) -> Result<Be16, Reason> {
    let udp = key.kind.protocol() == protocol::UDP;
    if world.deferred() != deferred::COMPLETE
        || udp && old == Be16([0; 2])
        || old != pseudo_header::<F>(key, length)
    {
        return Ok(old);
    }
    let sum = world
        .sum(frame, l4, length)
        .ok_or(Reason::ChecksumTooLong)?;
    Ok(shown(udp, Be16::from_word(!sum.fold())))
}

/// Whether the next sender still owes the checksum of the packet whose field is `old`, and whatever takes the packet's place
/// must leave it so.
#[inline(always)]
pub fn is_owed<F: Family, W: World>(
    world: &W,
    frame: &Frame<'_>,
    key: &FlowKey,
    l4: usize,
    length: u16,
    old: Be16,
) -> bool {
    let pseudo = pseudo_header::<F>(key, length);
    if world.deferred() == deferred::COMPLETE || old != pseudo {
        return false;
    }
    let sum = world.sum(frame, l4, length);
    !sum.is_some_and(|sum| is_complete(sum, pseudo))
}

/// The checksum of the translated packet: an update of the old one, unless the sender left it open.
#[inline(always)]
fn translated<F: Family, T: Transport, W: World>(
    world: &W,
    frame: &Frame<'_>,
    packet: &Packet<'_, F, T>,
    hop: &Hop,
) -> Result<Be16, Reason> {
    let old = T::checksum(packet.header).get();
    if is_none(packet, old) {
        return Ok(old);
    }
    let change =
        addresses::<F>(Change::NONE, &packet.key, &hop.key).ports(packet.key.ports, hop.key.ports);
    let pseudo = pseudo_header::<F>(&packet.key, packet.length);
    if old != pseudo {
        return Ok(shown(T::UDP, change.apply(old)));
    }
    // The field equals the pseudo-header's sum: it is deferred, or one of the complete ones in 65,536.
    if world.deferred() == deferred::COMPLETE {
        // Either way the sum of the packet, with the pseudo-header's in that field, is what the
        // checksum has to be.
        let sum = sum(world, frame, packet).ok_or(Reason::ChecksumTooLong)?;
        return Ok(shown(T::UDP, change.apply(Be16::from_word(!sum.fold()))));
    }
    // A deferred one in 65,536 looks complete, too, so once is enough: who defers, defers always.
    if !hop.defers() {
        let sum = sum(world, frame, packet);
        if sum.is_some_and(|sum| is_complete(sum, pseudo)) {
            return Ok(shown(T::UDP, change.apply(old)));
        }
        if !world.dry() {
            hop.note_deferral();
        }
    }
    Ok(pseudo_header::<F>(&hop.key, packet.length))
}

#[inline(always)]
fn sum<F: Family, T: Transport, W: World>(
    world: &W,
    frame: &Frame<'_>,
    packet: &Packet<'_, F, T>,
) -> Option<Sum> {
    world.sum(frame, packet.l4, packet.length)
}

/// UDP over IPv4 may go without (RFC 768), and over IPv6 in tunnels (RFC 6935).
#[inline(always)]
fn is_none<F: Family, T: Transport>(_: &Packet<'_, F, T>, checksum: Be16) -> bool {
    T::UDP && checksum == Be16([0; 2])
}

/// UDP shows a sum of zero as all ones, since zero says that there is none (RFC 768).
#[inline(always)]
pub fn shown(udp: bool, checksum: Be16) -> Be16 {
    if udp && checksum == Be16([0; 2]) {
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
