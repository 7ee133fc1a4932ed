//! Tells a client that its packet is too long for the tunnel ahead, in the packet's own frame (RFC 1191, RFC 8201).
//!
//! IPv4 is told so whether or not it forbids fragments, as Katran does: XDP cannot make any, and to be silent would be to lose
//! the packet for a reason that nobody learns.

use crate::abi::{Be16, Be32, FlowKey, MacWords, Ports, Seen};
use crate::counters::Reason;
use crate::family::{ATOMIC, Family, Fresh, pseudo_header};
use crate::packet::{Frame, Icmp};
use crate::rewrite;
use crate::watch::{Tell, told};
use crate::world::World;

/// Turns the frame, whose IP packet of `total` bytes begins at `l3`, into an ICMP error to its sender that names `mtu`.
#[inline(always)]
pub fn answer<F: Family, W: World>(
    world: &W,
    seen: &Seen,
    l3: usize,
    total: usize,
    mtu: u32,
) -> Reason {
    let quoted = if total < F::QUOTED { total } else { F::QUOTED };
    match place::<F, W>(world, seen, l3, quoted) {
        Some(frame) => {
            let length = (size_of::<Icmp>() + quoted) as u16;
            match write::<F, W>(world, &frame, seen, l3, length, mtu) {
                Some(()) => Reason::TooBig,
                None => Reason::ChecksumTooLong,
            }
        }
        None => Reason::NoHeadroom,
    }
}

/// Room in front for two headers, and an end after what is quoted.
#[inline(always)]
fn place<'w, F: Family, W: World>(
    world: &'w W,
    seen: &Seen,
    l3: usize,
    quoted: usize,
) -> Option<Frame<'w>> {
    let frame = world.frame();
    let beyond = world.length(&frame).checked_sub((l3 + quoted) as u64)?;
    let added = F::HEADER + size_of::<Icmp>();
    if !world.cut_tail(beyond as u32) || !world.grow_head(added as i32) {
        return None;
    }
    let frame = world.frame();
    let to = MacWords::unpack(seen.source_mac);
    rewrite::bring_front(&frame, l3, added, F::ETHERTYPE, to, world.balancer_mac())?;
    Some(frame)
}

#[inline(always)]
fn write<F: Family, W: World>(
    world: &W,
    frame: &Frame<'_>,
    seen: &Seen,
    l3: usize,
    length: u16,
    mtu: u32,
) -> Option<()> {
    let l4 = l3 + F::HEADER;
    let (ip, icmp): (&F::Ip, &Icmp) = (frame.at(l3)?, frame.at(l4)?);
    let key = FlowKey {
        saddr: seen.key.daddr,
        daddr: seen.key.saddr,
        ports: Ports::from_word(0),
        kind: F::kind(F::ICMP),
    };
    F::write(
        ip,
        &Fresh {
            source: key.saddr,
            destination: key.daddr,
            protocol: F::ICMP,
            class: 0,
            payload: length,
            fragmenting: ATOMIC,
        },
    );
    let (kind, code) = F::TOO_BIG;
    icmp.kind.set(kind);
    icmp.code.set(code);
    icmp.checksum.set(Be16([0; 2]));
    icmp.rest.set(Be32::new(mtu));
    let sum = world.sum(frame, l4, length)?;
    let sum = if F::V6 {
        sum.add16(pseudo_header::<F>(&key, length).word())
    } else {
        sum
    };
    icmp.checksum.set(Be16::from_word(!sum.fold()));
    told(world, Tell::Sent, seen.source_mac);
    Some(())
}
