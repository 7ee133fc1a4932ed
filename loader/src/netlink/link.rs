//! Network interfaces (RTM_GETLINK).

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::consts::*;
use super::error::NetlinkError;
use super::message::{Request, attributes, string, u8_at, u32_at, u32_of};
use super::socket::Socket;
use super::xdp::Mode;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_TARGET_NETNSID: u16 = 46;

const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;

/// Bytes of `struct ifinfomsg`: family u8, pad u8, type u16, index i32, flags u32, change u32.
pub(super) const IFINFOMSG: usize = 16;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Where to look for an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The socket's own network namespace.
    Own,
    /// The namespace that this one calls by this number (`IFLA_LINK_NETNSID` of a veth); needs CAP_NET_ADMIN there.
    Id(i32),
}

/// Whether an interface carries frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// `IFF_UP` is not set: `ip link set DEV up` was not done.
    Down,
    /// Up, without carrier: the cable, or the peer of a veth, is missing or down.
    NoCarrier,
    /// Up with carrier.
    Up,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its address; `None` for interfaces that have none of six bytes (tunnels).
    pub mac: Option<MacAddr>,
    /// Largest packet, without the Ethernet header.
    pub mtu: u32,
    /// `IFF_*` of include/uapi/linux/if.h.
    pub flags: u32,
    /// `veth`, `bridge`, `vlan`, …; `None` for hardware.
    pub kind: Option<String>,
    /// The interface below, or a veth's peer (IFLA_LINK): a number in `peer_namespace`.
    pub peer: Option<u32>,
    /// The namespace of `peer`, if it is not this one (IFLA_LINK_NETNSID).
    pub peer_namespace: Option<i32>,
    /// What runs at its XDP hooks.
    pub xdp: XdpState,
}

/// The XDP programs of an interface, by their ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct XdpState {
    pub native: Option<u32>,
    pub generic: Option<u32>,
    pub hardware: Option<u32>,
}

impl XdpState {
    /// Each attached program with its mode; native first.
    pub fn programs(&self) -> impl Iterator<Item = (Mode, u32)> {
        [
            (Mode::Native, self.native),
            (Mode::Generic, self.generic),
            (Mode::Hardware, self.hardware),
        ]
        .into_iter()
        .filter_map(|(mode, id)| id.map(|id| (mode, id)))
    }

    /// The program in this mode.
    pub fn program(&self, mode: Mode) -> Option<u32> {
        match mode {
            Mode::Native => self.native,
            Mode::Generic => self.generic,
            Mode::Hardware => self.hardware,
        }
    }

    fn parse(nested: &[u8]) -> Self {
        let mut state = XdpState::default();
        let (mut attached, mut only) = (0, None);
        for (kind, value) in attributes(nested, 0) {
            let id = Some(u32_of(value)).filter(|&id| id != 0);
            match kind {
                IFLA_XDP_ATTACHED => attached = u8_at(value, 0),
                IFLA_XDP_PROG_ID => only = id,
                IFLA_XDP_DRV_PROG_ID => state.native = id,
                IFLA_XDP_SKB_PROG_ID => state.generic = id,
                IFLA_XDP_HW_PROG_ID => state.hardware = id,
                _ => {}
            }
        }
        // With one program kernels name it in PROG_ID too, the oldest only there; ATTACHED says which mode it is in.
        match attached {
            1 => state.native = state.native.or(only),
            2 => state.generic = state.generic.or(only),
            3 => state.hardware = state.hardware.or(only),
            _ => {}
        }
        state
    }
}

impl Link {
    /// Whether it is up and has carrier.
    pub fn state(&self) -> LinkState {
        const IFF_UP: u32 = 1;
        const IFF_LOWER_UP: u32 = 1 << 16;
        match (self.flags & IFF_UP != 0, self.flags & IFF_LOWER_UP != 0) {
            (false, _) => LinkState::Down,
            (true, false) => LinkState::NoCarrier,
            (true, true) => LinkState::Up,
        }
    }

    /// Reads the payload of an RTM_NEWLINK; `None` when it is too short to be one.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        payload.get(..IFINFOMSG)?;
        let mut link = Link {
            ifindex: u32_at(payload, 4),
            name: String::new(),
            mac: None,
            mtu: 0,
            flags: u32_at(payload, 8),
            kind: None,
            peer: None,
            peer_namespace: None,
            xdp: XdpState::default(),
        };
        for (kind, value) in attributes(payload, IFINFOMSG) {
            match kind {
                IFLA_ADDRESS => link.mac = value.try_into().ok().map(MacAddr),
                IFLA_IFNAME => link.name = string(value),
                IFLA_MTU => link.mtu = u32_of(value),
                IFLA_LINK => link.peer = Some(u32_of(value)).filter(|&index| index != 0),
                IFLA_LINK_NETNSID => link.peer_namespace = Some(u32_of(value) as i32),
                IFLA_LINKINFO => {
                    link.kind = attributes(value, 0)
                        .find(|(kind, _)| *kind == IFLA_INFO_KIND)
                        .map(|(_, value)| string(value));
                }
                IFLA_XDP => link.xdp = XdpState::parse(value),
                _ => {}
            }
        }
        Some(link)
    }
}

fn get_link(ifindex: u32) -> Request {
    let mut fixed = [0u8; IFINFOMSG];
    fixed[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    Request::new(RTM_GETLINK, NLM_F_ACK, &fixed)
}

impl Socket {
    /// The interface with this name; `None` when there is none.
    pub fn link_by_name(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        // IFNAMSIZ is 16 with the zero byte: the kernel would refuse a longer name in other words.
        if name.is_empty() || name.len() > 15 || name.contains('\0') {
            return Ok(None);
        }
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        self.one_link(
            &format!("look up interface `{name}`"),
            get_link(0).attr(IFLA_IFNAME, &text),
        )
    }

    /// The interface with this number, here or in another namespace.
    pub fn link(&self, ifindex: u32, namespace: Namespace) -> Result<Option<Link>, NetlinkError> {
        let mut request = get_link(ifindex);
        if let Namespace::Id(id) = namespace {
            request = request.attr(IFLA_TARGET_NETNSID, &id.to_ne_bytes());
        }
        self.one_link(&format!("look up interface {ifindex}"), request)
    }

    fn one_link(&self, what: &str, request: Request) -> Result<Option<Link>, NetlinkError> {
        match self.collect(what, request, RTM_NEWLINK, Link::parse) {
            Ok(links) => Ok(links.into_iter().next()),
            Err(NetlinkError::Refused {
                errno: Errno::ENODEV,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All interfaces of the namespace.
    pub fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let request = Request::new(RTM_GETLINK, NLM_F_DUMP, &[0; IFINFOMSG]);
        self.collect("list interfaces", request, RTM_NEWLINK, Link::parse)
    }

    /// The number by which this namespace knows another one, given by an open `/proc/PID/ns/net`; `None` when it has none.
    pub fn namespace_id(&self, namespace: BorrowedFd<'_>) -> Result<Option<i32>, NetlinkError> {
        const RTM_NEWNSID: u16 = 88;
        const RTM_GETNSID: u16 = 90;
        const NETNSA_NSID: u16 = 1;
        const NETNSA_FD: u16 = 3;
        // struct rtgenmsg is one byte, padded.
        let fd = namespace.as_raw_fd().to_ne_bytes();
        let request = Request::new(RTM_GETNSID, NLM_F_ACK, &[0; 4]).attr(NETNSA_FD, &fd);
        let ids = self.collect("number a namespace", request, RTM_NEWNSID, |payload| {
            attributes(payload, 1)
                .find(|(kind, _)| *kind == NETNSA_NSID)
                .map(|(_, value)| u32_of(value) as i32)
        })?;
        Ok(ids.into_iter().next().filter(|&id| id >= 0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::message::messages;
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let mut fixed = [0u8; IFINFOMSG];
        fixed[4..8].copy_from_slice(&7u32.to_ne_bytes());
        fixed[8..12].copy_from_slice(&0x1_0001u32.to_ne_bytes());
        let bytes = Request::new(RTM_NEWLINK, 0, &fixed)
            .attr(IFLA_ADDRESS, &[0xde, 0xad, 0xbe, 0xef, 0, 0x10])
            .attr(IFLA_IFNAME, b"veth6\0")
            .attr(IFLA_MTU, &1500u32.to_ne_bytes())
            .attr(IFLA_LINK, &6u32.to_ne_bytes())
            .attr(IFLA_LINK_NETNSID, &3i32.to_ne_bytes())
            .nested(IFLA_LINKINFO, |r| r.attr(IFLA_INFO_KIND, b"veth\0"))
            .nested(IFLA_XDP, |r| {
                r.attr(IFLA_XDP_ATTACHED, &[2])
                    .attr(IFLA_XDP_PROG_ID, &42u32.to_ne_bytes())
                    .attr(IFLA_XDP_SKB_PROG_ID, &42u32.to_ne_bytes())
            })
            .finish(1);
        messages(&bytes).next().unwrap().unwrap().payload.to_vec()
    }

    #[test]
    fn a_veth_with_a_generic_program_is_read() {
        let link = Link::parse(&sample()).unwrap();
        assert_eq!(
            (link.ifindex, link.name.as_str(), link.mtu),
            (7, "veth6", 1500)
        );
        assert_eq!(link.mac.unwrap().to_string(), "de:ad:be:ef:00:10");
        assert_eq!(
            (link.kind.as_deref(), link.peer, link.peer_namespace),
            (Some("veth"), Some(6), Some(3))
        );
        assert_eq!(
            link.xdp,
            XdpState {
                generic: Some(42),
                ..XdpState::default()
            }
        );
        assert_eq!(
            link.xdp.programs().collect::<Vec<_>>(),
            [(Mode::Generic, 42)]
        );
        assert_eq!(link.state(), LinkState::Up);
    }

    #[test]
    fn states_follow_the_flags() {
        let mut link = Link::parse(&sample()).unwrap();
        link.flags = 1;
        assert_eq!(link.state(), LinkState::NoCarrier);
        link.flags = 0;
        assert_eq!(link.state(), LinkState::Down);
    }

    proptest! {
        #[test]
        fn mutated_answers_never_panic(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), cut in any::<prop::sample::Index>()) {
            let mut bytes = sample();
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _ = Link::parse(&bytes[..cut.index(bytes.len())]);
            let _ = Link::parse(&bytes);
        }
    }
}
