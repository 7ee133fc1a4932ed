//! Answers a TCP segment with an RST, in its own frame (RFC 9293 §3.10.7.1).

use crate::abi::{Be16, Be32, FlowKey, MacWords, Ports, Seen, protocol};
use crate::checksum::Sum;
use crate::family::{ATOMIC, Family, Fresh, V4, V6, pseudo_header};
use crate::packet::{Ethernet, Tcp, flags, l3_bounded};
use crate::rewrite;
use crate::watch::{Tell, told};
use crate::world::World;

/// The RST's own length: TCP without options or data.
const LENGTH: usize = size_of::<Tcp>();

/// Turns the frame of the segment in [`World::seen`] into an RST to its sender. False where that cannot be; the frame is then to be dropped.
#[inline(always)]
pub fn reset<W: World>(world: &W) -> bool {
    // SAFETY: null or this CPU's own room, which nobody else uses while a packet is under way.
    let Some(seen) = (unsafe { world.seen().as_ref() }) else {
        return false;
    };
    let answer = if seen.key.kind.is_v6() {
        place::<V6, W>(world, seen)
    } else {
        place::<V4, W>(world, seen)
    };
    answer.is_some()
}

/// At places that the verifier allows: any, or the usual frame's.
#[inline(always)]
fn place<F: Family, W: World>(world: &W, seen: &Seen) -> Option<()> {
    let (l3, l4) = (seen.l3 as usize, seen.l4 as usize);
    // What options and extension headers ask for holds for this segment, not for its answer.
    if l4 != l3 + F::HEADER {
        return None;
    }
    if world.points_anywhere() {
        return answer::<F, W>(world, seen, l3_bounded(l3));
    }
    if l3 != size_of::<Ethernet>() {
        return None;
    }
    answer::<F, W>(world, seen, size_of::<Ethernet>())
}

#[inline(always)]
fn answer<F: Family, W: World>(world: &W, seen: &Seen, l3: usize) -> Option<()> {
    let seen_flags = seen.flags as u8;
    if seen.key.kind.protocol() != protocol::TCP || seen_flags & flags::RST != 0 {
        return None;
    }
    let l4 = l3 + F::HEADER;
    let frame = world.frame();
    let tcp: &Tcp = frame.at(l4)?;
    let length = seen.length as u16;
    let old = tcp.checksum.get();
    let owed = rewrite::is_owed::<F, W>(world, &frame, &seen.key, l4, length, old);
    let beyond = world.length(&frame).checked_sub((l4 + LENGTH) as u64)?;
    if !world.cut_tail(beyond as u32) {
        return None;
    }

    // From here on nothing fails; what the verifier wants to be asked again is there.
    let frame = world.frame();
    let (ethernet, ip, tcp): (&Ethernet, &F::Ip, &Tcp) =
        (frame.at(0)?, frame.at(l3)?, frame.at(l4)?);
    let header = u32::from(tcp.data_offset.get() >> 4) * 4;
    let (sequence, acknowledgement, sent_flags) = if seen_flags & flags::ACK != 0 {
        (tcp.acknowledgement.get(), Be32([0; 4]), flags::RST)
    } else {
        // SYN and FIN take a number each.
        let numbers = u32::from(seen_flags & flags::SYN != 0)
            + u32::from(seen_flags & flags::FIN != 0)
            + u32::from(length).wrapping_sub(header);
        let next = Be32::new(tcp.sequence.get().get().wrapping_add(numbers));
        (Be32([0; 4]), next, flags::RST | flags::ACK)
    };
    let key = seen.key.reversed();
    tcp.source.set(key.ports.source);
    tcp.destination.set(key.ports.destination);
    tcp.sequence.set(sequence);
    tcp.acknowledgement.set(acknowledgement);
    tcp.data_offset.set((LENGTH as u8 / 4) << 4);
    tcp.flags.set(sent_flags);
    tcp.window.set(Be16([0; 2]));
    tcp.urgent.set(Be16([0; 2]));
    let pseudo = pseudo_header::<F>(&key, LENGTH as u16);
    tcp.checksum.set(if owed {
        pseudo
    } else {
        checksum(pseudo, key.ports, sequence, acknowledgement, sent_flags)
    });
    F::write(ip, &fresh(&key));
    let mac = MacWords::unpack(seen.source_mac);
    rewrite::macs(ethernet, mac, world.balancer_mac());
    told(world, Tell::Sent, seen.source_mac);
    Some(())
}

#[inline(always)]
fn fresh(key: &FlowKey) -> Fresh {
    Fresh {
        source: key.saddr,
        destination: key.daddr,
        protocol: protocol::TCP,
        class: 0,
        payload: LENGTH as u16,
        fragmenting: ATOMIC,
    }
}

/// Of the header as it is written above: window and urgent pointer are zero.
#[inline(always)]
fn checksum(pseudo: Be16, ports: Ports, sequence: Be32, acknowledgement: Be32, flags: u8) -> Be16 {
    let sum = Sum::ZERO
        .add16(pseudo.word())
        .add32(ports.word())
        .add32(sequence.word())
        .add32(acknowledgement.word())
        .add16(u16::from_ne_bytes([(LENGTH as u8 / 4) << 4, flags]));
    Be16::from_word(!sum.fold())
}
