//! Sends a segment on: new addresses, ports, hop count and checksums, all of them or none.
//!
//! Everything that can fail comes before the first write.

use crate::abi::{Be16, MacWords, deferred};
use crate::checksum::{Change, Sum, pseudo_header};
use crate::counters::Reason;
use crate::flow::Hop;
use crate::packet::{Frame, Segment};
use crate::world::World;

/// The longest segment whose checksum is computed in full. No link carries more in one frame:
/// longer ones exist only as aggregates in a socket buffer, whose checksum is always deferred
/// (net/ipv4/tcp_offload.c, `tcp_gro_complete`; net/ipv4/tcp_ipv4.c, `__tcp_v4_send_check`).
pub const LONGEST_SUM: u16 = 16 * 1024;

/// Rewrites the segment for its next hop. The frame is untouched if this fails.
#[inline(always)]
pub fn rewrite<W: World>(
    world: &W,
    frame: &Frame<'_>,
    segment: &Segment<'_>,
    hop: &Hop,
    mac: MacWords,
) -> Result<(), Reason> {
    let checksum = tcp_checksum(world, frame, segment, hop)?;
    // From here on nothing fails.
    let Segment {
        ethernet,
        ipv4,
        tcp,
        ..
    } = segment;

    ethernet.destination.set(hop.mac.into());
    ethernet.source.set(mac.into());

    // One hop fewer: the balancer forwards as a router does (RFC 1812 §5.3.1), so that a loop of
    // balancers ends. TTL shares its 16-bit word with the protocol.
    let ttl = ipv4.ttl.get();
    let protocol = ipv4.protocol.get();
    let change = Change::NONE.addresses(&segment.key, &hop.key).word16(
        u16::from_ne_bytes([ttl, protocol]),
        u16::from_ne_bytes([ttl - 1, protocol]),
    );
    ipv4.ttl.set(ttl - 1);
    ipv4.checksum.set(change.apply(ipv4.checksum.get()));
    ipv4.source.set(hop.key.saddr);
    ipv4.destination.set(hop.key.daddr);

    tcp.source.set(hop.key.sport);
    tcp.destination.set(hop.key.dport);
    tcp.checksum.set(checksum);
    world.put_back(segment);
    Ok(())
}

/// The checksum of the rewritten segment: an update of the old one, unless the sender left it open.
#[inline(always)]
fn tcp_checksum<W: World>(
    world: &W,
    frame: &Frame<'_>,
    segment: &Segment<'_>,
    hop: &Hop,
) -> Result<Be16, Reason> {
    let old = segment.tcp.checksum.get();
    let change = Change::NONE
        .addresses(&segment.key, &hop.key)
        .ports(&segment.key, &hop.key);
    let pseudo = pseudo_header(segment.key.saddr, segment.key.daddr, segment.tcp_length);
    if old != pseudo {
        return Ok(change.apply(old));
    }
    // The field equals the pseudo-header's sum: it is deferred, or one of the complete ones in 65,536.
    if world.deferred() == deferred::COMPLETE {
        // Either way the sum of the segment, with the pseudo-header's in that field, is what the
        // checksum has to be.
        let sum = world
            .sum(frame, segment.tcp_offset, segment.tcp_length)
            .ok_or(Reason::ChecksumTooLong)?;
        return Ok(change.apply(Be16::from_word(!sum.fold())));
    }
    // A deferred one in 65,536 looks complete, too, so once is enough: who defers, defers always.
    if !hop.defers() {
        let sum = world.sum(frame, segment.tcp_offset, segment.tcp_length);
        if sum.is_some_and(|sum| is_complete(sum, pseudo)) {
            return Ok(change.apply(old));
        }
        hop.note_deferral();
    }
    Ok(pseudo_header(
        hop.key.saddr,
        hop.key.daddr,
        segment.tcp_length,
    ))
}

/// Whether a segment, with its checksum in it, adds up to what RFC 1071 asks.
#[inline(always)]
fn is_complete(segment: Sum, pseudo: Be16) -> bool {
    segment.add16(pseudo.word()).fold() == 0xffff
}
