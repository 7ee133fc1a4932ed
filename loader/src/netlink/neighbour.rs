//! The neighbour table: which MAC address answers for an IP address (RTM_GETNEIGH).

use std::net::IpAddr;

use super::consts::*;
use super::error::NetlinkError;
use super::link::MacAddr;
use super::message::{Request, attributes, ip_bytes, ip_of, u16_at, u32_at};
use super::socket::Socket;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// Bytes of `struct ndmsg`: family u8, pad u8, pad u16, ifindex i32, state u16, flags u8, type u8.
const NDMSG: usize = 12;

/// An entry of the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Neighbour {
    pub ifindex: u32,
    pub ip: IpAddr,
    /// `None` while the address is being asked for, or when nobody answered.
    pub mac: Option<MacAddr>,
    pub state: NeighbourState,
}

/// How much an entry can be relied on (`NUD_*`, include/uapi/linux/neighbour.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Known: reachable, stale, about to be checked, or set by hand.
    Usable,
    /// Being asked for.
    Incomplete,
    /// Nobody answered.
    Failed,
    /// None of these.
    Unknown,
}

impl NeighbourState {
    fn from_bits(bits: u16) -> Self {
        const INCOMPLETE: u16 = 0x01;
        const FAILED: u16 = 0x20;
        /// REACHABLE, STALE, DELAY, PROBE, NOARP, PERMANENT: `NUD_VALID` of include/net/neighbour.h.
        const VALID: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;
        if bits & VALID != 0 {
            NeighbourState::Usable
        } else if bits & FAILED != 0 {
            NeighbourState::Failed
        } else if bits & INCOMPLETE != 0 {
            NeighbourState::Incomplete
        } else {
            NeighbourState::Unknown
        }
    }
}

impl Neighbour {
    fn parse(payload: &[u8]) -> Option<Self> {
        payload.get(..NDMSG)?;
        let (mut ip, mut mac) = (None, None);
        for (kind, value) in attributes(payload, NDMSG) {
            match kind {
                NDA_DST => ip = ip_of(value),
                NDA_LLADDR => mac = value.try_into().ok().map(MacAddr),
                _ => {}
            }
        }
        let state = NeighbourState::from_bits(u16_at(payload, 8));
        Some(Neighbour {
            ifindex: u32_at(payload, 4),
            ip: ip?,
            mac,
            state,
        })
    }
}

impl Socket {
    /// The neighbours of an interface.
    pub fn neighbours(&self, ifindex: u32) -> Result<Vec<Neighbour>, NetlinkError> {
        let request = Request::new(RTM_GETNEIGH, NLM_F_DUMP, &[0; NDMSG]);
        let what = format!("list neighbours of interface {ifindex}");
        self.collect(&what, request, RTM_NEWNEIGH, |payload| {
            Neighbour::parse(payload).filter(|neighbour| neighbour.ifindex == ifindex)
        })
    }

    /// What the table holds for one address; `None` when it has no entry. This asks the table, not the network.
    pub fn neighbour(&self, ifindex: u32, ip: IpAddr) -> Result<Option<Neighbour>, NetlinkError> {
        let (_, family) = ip_bytes(ip);
        let mut fixed = [0u8; NDMSG];
        fixed[0] = family;
        let request = Request::new(RTM_GETNEIGH, NLM_F_DUMP, &fixed);
        let what = format!("look up neighbour {ip}");
        // A dump works on every kernel; asking for one entry came with Linux 5.0 and needs CAP_NET_ADMIN in no version.
        let found = self.collect(&what, request, RTM_NEWNEIGH, |payload| {
            Neighbour::parse(payload)
                .filter(|neighbour| neighbour.ifindex == ifindex && neighbour.ip == ip)
        })?;
        Ok(found.into_iter().next())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::message::messages;
    use super::*;
    use proptest::prelude::*;

    fn sample(state: u8) -> Vec<u8> {
        let mut fixed = [2, 0, 0, 0, 0, 0, 0, 0, state, 0, 0, 0];
        fixed[4..8].copy_from_slice(&9u32.to_ne_bytes());
        let bytes = Request::new(RTM_NEWNEIGH, 0, &fixed)
            .attr(NDA_DST, &[10, 0, 0, 2])
            .attr(NDA_LLADDR, &[0xde, 0xad, 0xbe, 0xef, 0, 2])
            .finish(1);
        messages(&bytes).next().unwrap().unwrap().payload.to_vec()
    }

    #[test]
    fn a_stale_entry_is_usable_a_failed_one_is_not() {
        let neighbour = Neighbour::parse(&sample(0x04)).unwrap();
        assert_eq!(neighbour.mac.unwrap().to_string(), "de:ad:be:ef:00:02");
        assert_eq!(
            (neighbour.ip, neighbour.state),
            (IpAddr::from([10, 0, 0, 2]), NeighbourState::Usable)
        );
        assert_eq!(
            Neighbour::parse(&sample(0x20)).unwrap().state,
            NeighbourState::Failed
        );
        assert_eq!(
            Neighbour::parse(&sample(0x01)).unwrap().state,
            NeighbourState::Incomplete
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Neighbour::parse(&bytes);
        }
    }
}
