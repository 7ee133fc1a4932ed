//! Parse: Ethernet, VLAN tags, IP with options or extension headers, to where TCP, UDP or ICMP lies.

use crate::abi::{Be16, protocol};
use crate::counters::Reason;
use crate::family::{Family, V4, V6};
use crate::packet::{Ethernet, Extension, Frame, Ipv4, Ipv6, Vlan};
use crate::world::World;

/// Reads Ethernet and IP, as far as needed to know where TCP, UDP or ICMP is.
#[inline(always)]
pub fn parse_ip<W: World>(world: &W, frame: &Frame<'_>) -> Result<Place, Reason> {
    let ethernet: &Ethernet = frame.at(0).ok_or(Reason::Truncated)?;
    let ethertype = ethernet.ethertype.get();
    if ethertype != V4::ETHERTYPE && ethertype != V6::ETHERTYPE && !is_vlan(ethertype) {
        return Err(Reason::NotIp);
    }
    // As the host's own stack does (net/ethernet/eth.c, eth_type_trans: PACKET_OTHERHOST).
    if ethernet.destination.get().words() != world.balancer_mac() {
        return Err(Reason::OtherMac);
    }
    // The usual packet takes the short way.
    if ethertype == V4::ETHERTYPE {
        let ip: &Ipv4 = frame.at(L3).ok_or(Reason::Truncated)?;
        let protocol = ip.protocol.get();
        if ip.version_ihl.get() == PLAIN && is_whole(ip) && is_transport(protocol) {
            return Ok(Place::plain::<V4>(protocol));
        }
    } else if ethertype == V6::ETHERTYPE {
        let ip: &Ipv6 = frame.at(L3).ok_or(Reason::Truncated)?;
        let protocol = ip.next_header.get();
        if version(ip) == 6 && is_transport(protocol) {
            return Ok(Place::plain::<V6>(protocol));
        }
    }
    let place = Place::decode(world.locate())?;
    if !place.is_icmp() && !is_transport(place.protocol) {
        return Err(Reason::OtherProtocol);
    }
    if !place.is_plain() && !world.points_anywhere() {
        return Err(Reason::Unusual);
    }
    Ok(place)
}

/// Where the IP header begins without VLAN tags.
pub const L3: usize = size_of::<Ethernet>();

/// Version 4, five words of header: no options.
const PLAIN: u8 = 0x45;
/// More fragments, or an offset other than zero; the bit in front of them says "don't".
const FRAGMENT_MASK: u16 = 0x3fff;

#[inline(always)]
fn is_vlan(ethertype: Be16) -> bool {
    // 802.1Q and 802.1ad (include/uapi/linux/if_ether.h).
    ethertype == Be16::new(0x8100) || ethertype == Be16::new(0x88a8)
}
#[inline(always)]
fn is_transport(number: u8) -> bool {
    number == protocol::TCP || number == protocol::UDP
}
#[inline(always)]
fn is_whole(ip: &Ipv4) -> bool {
    ip.fragment.get().get() & FRAGMENT_MASK == 0
}
#[inline(always)]
fn version(ip: &Ipv6) -> u8 {
    ip.version_class_label.get().0[0] >> 4
}

/// Where the headers of an unusual packet lie.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "bpf"), derive(Debug))]
pub struct Place {
    /// Where the IP header begins.
    pub l3: usize,
    /// What follows the IP header and its extensions.
    pub l4: usize,
    /// The number of that.
    pub protocol: u8,
    /// Whether it is IPv6.
    pub v6: bool,
}

impl Place {
    #[inline(always)]
    fn plain<F: Family>(protocol: u8) -> Self {
        Self {
            l3: L3,
            l4: L3 + F::HEADER,
            protocol,
            v6: F::V6,
        }
    }
    /// Whether everything lies where constants say.
    #[inline(always)]
    pub fn is_plain(self) -> bool {
        self.l3 == L3 && self.l4 == L3 + if self.v6 { V6::HEADER } else { V4::HEADER }
    }
    /// Whether it is ICMP of its family.
    #[inline(always)]
    pub fn is_icmp(self) -> bool {
        self.protocol == if self.v6 { V6::ICMP } else { V4::ICMP }
    }
    /// As one number, which is all that a function of the program returns; or the reason why there is none.
    #[inline(always)]
    pub fn encode(result: Result<Self, Reason>) -> u64 {
        match result {
            Ok(place) => {
                let l3 = place.l3 as u64 | (place.l4 as u64) << 16;
                l3 | u64::from(place.protocol) << 32 | u64::from(place.v6) << 40 | 1 << 63
            }
            Err(reason) => reason as u64,
        }
    }
    /// The opposite.
    #[inline(always)]
    pub fn decode(number: u64) -> Result<Self, Reason> {
        if number >> 63 == 0 {
            return Err(Reason::numbered(number as u32).unwrap_or(Reason::Malformed));
        }
        Ok(Self {
            l3: number as usize & 0xffff,
            l4: (number >> 16) as usize & 0xffff,
            protocol: (number >> 32) as u8,
            v6: number >> 40 & 1 != 0,
        })
    }
}

/// VLAN tags, IP options, extension headers, fragments, other protocols: finds out where things lie.
#[inline(always)]
pub fn locate<W: World>(world: &W) -> Result<Place, Reason> {
    let frame = world.frame();
    let ethernet: &Ethernet = frame.at(0).ok_or(Reason::Truncated)?;
    let mut ethertype = ethernet.ethertype.get();
    if !world.points_anywhere() {
        // Without tags a constant says where IP is.
        return network(world, &frame, ethertype, L3);
    }
    let mut l3 = L3;
    // One tag, or two (802.1ad "QinQ").
    let mut tags = 0;
    while tags < 2 && is_vlan(ethertype) {
        let vlan: &Vlan = frame.at(l3).ok_or(Reason::Truncated)?;
        ethertype = vlan.ethertype.get();
        l3 += size_of::<Vlan>();
        tags += 1;
    }
    network(world, &frame, ethertype, l3)
}

/// What the IP header at `l3` leads to.
#[inline(always)]
fn network<W: World>(
    world: &W,
    frame: &Frame<'_>,
    ethertype: Be16,
    l3: usize,
) -> Result<Place, Reason> {
    let (header, protocol, v6) = if ethertype == V4::ETHERTYPE {
        let ip: &Ipv4 = frame.at(l3).ok_or(Reason::Truncated)?;
        let version_ihl = ip.version_ihl.get();
        let header = usize::from(version_ihl & 0x0f) * 4;
        if version_ihl >> 4 != 4 || header < size_of::<Ipv4>() {
            return Err(Reason::Malformed);
        }
        if !is_whole(ip) {
            return Err(Reason::Fragment);
        }
        (header, ip.protocol.get(), false)
    } else if ethertype == V6::ETHERTYPE {
        let ip: &Ipv6 = frame.at(l3).ok_or(Reason::Truncated)?;
        if version(ip) != 6 {
            return Err(Reason::Malformed);
        }
        let (header, protocol) = extensions(world, frame, ip, l3)?;
        (header, protocol, true)
    } else if is_vlan(ethertype) {
        return Err(Reason::Unusual);
    } else {
        return Err(Reason::NotIp);
    };
    Ok(Place {
        l3,
        l4: l3 + header,
        protocol,
        v6,
    })
}

/// Extension headers that are stepped over (RFC 8200 §4): hop-by-hop options, routing, destination options.
const SKIPPED: [u8; 3] = [0, ROUTING_HEADER, 60];
const ROUTING_HEADER: u8 = 43;
const FRAGMENT_HEADER: u8 = 44;
/// More than that many are not followed: RFC 8200 §4.1 wants each at most once, destination options twice.
const EXTENSIONS: u32 = 4;

/// Steps over extension headers: the length of all headers, and what follows them.
#[inline(always)]
fn extensions<W: World>(
    world: &W,
    frame: &Frame<'_>,
    ip: &Ipv6,
    l3: usize,
) -> Result<(usize, u8), Reason> {
    let mut header = size_of::<Ipv6>();
    let mut next = ip.next_header.get();
    let mut seen = 0;
    while seen < EXTENSIONS {
        if next == FRAGMENT_HEADER {
            return Err(Reason::Fragment);
        }
        if next != SKIPPED[0] && next != SKIPPED[1] && next != SKIPPED[2] {
            return Ok((header, next));
        }
        if !world.points_anywhere() {
            return Err(Reason::Unusual);
        }
        let extension: &Extension = frame.at(l3 + header).ok_or(Reason::Truncated)?;
        // Its destination is not its last: whoever routes such packets may have it.
        if next == ROUTING_HEADER && extension.segments_left.get() != 0 {
            return Err(Reason::OtherProtocol);
        }
        next = extension.next_header.get();
        header += 8 + usize::from(extension.length.get()) * 8;
        seen += 1;
    }
    Err(Reason::OtherProtocol)
}
