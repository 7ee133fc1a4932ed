//! The few requests of rtnetlink that a network of ours is built with, so that a test needs no `ip`: in the machines that
//! `cargo xtask kernels` boots there is none. Written anew rather than taken from the loader's `netlink`, which never makes
//! an interface, and whose answers these are checked against.
//!
//! Sources: include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h, veth.h.

mod message;
mod offload;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use message::{HEADER, Message, attributes, half, inside, number, text};
pub use offload::{segmentation_off, transmit_checksums_off};

const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// NLM_F_CREATE and NLM_F_EXCL.
const CREATE: u16 = 0x600;
/// NLM_F_CREATE and NLM_F_REPLACE.
const REPLACE: u16 = 0x500;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_XDP: u16 = 43;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

/// Bytes of struct ifinfomsg.
const IFINFOMSG: usize = 16;
/// The most a dump's datagram holds: the kernel fills at most 32 KiB, however large our buffer.
const DATAGRAM: usize = 1 << 16;

/// What to change of an interface.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// IFF_UP.
    Up,
    /// Its Ethernet address.
    Mac([u8; 6]),
    /// The bridge that it is a port of.
    Master(&'a str),
    /// The most bytes of a packet.
    Mtu(u32),
}

/// An interface, as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its number in its namespace.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Whether an XDP program is attached, in whichever mode.
    pub xdp: Xdp,
    /// Where it is a port of a bridge: whether that forwards to it.
    pub port: Option<Port>,
}

/// Whether an XDP program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Xdp {
    /// None.
    None,
    /// One, or several; the kernel's number for the mode.
    Attached(u8),
}

/// A bridge's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Frames pass.
    Forwarding,
    /// Not yet, or no more.
    Other(u8),
}

/// A socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Rtnl(OwnedFd);

impl Rtnl {
    /// Opens one.
    pub fn open() -> Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .context("open a route socket")?;
        // A bug here must not hang a test.
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(10))?;
        Ok(Self(socket))
    }

    /// Makes a veth pair: `name` here, `peer` in another namespace.
    pub fn veth(&self, name: &str, peer: &str, namespace: BorrowedFd<'_>) -> Result<()> {
        let peer_link = Message::bare(&[0; IFINFOMSG])
            .attr(IFLA_IFNAME, &text(peer))
            .attr(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        let data = Message::bare(&[]).attr(VETH_INFO_PEER, peer_link.tail());
        self.new_link(name, "veth", data)
            .with_context(|| format!("make veth {name} with peer {peer}"))
    }

    /// Makes a bridge whose ports forward at once and to everyone.
    pub fn bridge(&self, name: &str) -> Result<()> {
        const FORWARD_DELAY: u16 = 1;
        const STP_STATE: u16 = 5;
        const MCAST_SNOOPING: u16 = 23;
        let data = Message::bare(&[])
            .attr(FORWARD_DELAY, &0u32.to_ne_bytes())
            .attr(STP_STATE, &0u32.to_ne_bytes())
            .attr(MCAST_SNOOPING, &[0]);
        self.new_link(name, "bridge", data)
            .with_context(|| format!("make bridge {name}"))
    }

    fn new_link(&self, name: &str, kind: &str, data: Message) -> Result<()> {
        let info = Message::bare(&[])
            .attr(IFLA_INFO_KIND, &text(kind))
            .attr(IFLA_INFO_DATA, data.tail());
        let request = Message::new(RTM_NEWLINK, ACK | CREATE, &[0; IFINFOMSG])
            .attr(IFLA_IFNAME, &text(name))
            .attr(IFLA_LINKINFO, info.tail());
        self.acknowledged(request)
    }

    /// Changes an interface.
    pub fn set(&self, name: &str, change: Change<'_>) -> Result<()> {
        const IFF_UP: u32 = 1;
        let mut fixed = [0; IFINFOMSG];
        fixed[4..8].copy_from_slice(&index(name)?.to_ne_bytes());
        if matches!(change, Change::Up) {
            fixed[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
            fixed[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
        }
        let request = Message::new(RTM_NEWLINK, ACK, &fixed);
        let request = match change {
            Change::Up => request,
            Change::Mac(mac) => request.attr(IFLA_ADDRESS, &mac),
            Change::Master(bridge) => request.attr(IFLA_MASTER, &index(bridge)?.to_ne_bytes()),
            Change::Mtu(bytes) => request.attr(IFLA_MTU, &bytes.to_ne_bytes()),
        };
        self.acknowledged(request)
            .with_context(|| format!("set {name}: {change:?}"))
    }

    /// Gives an interface an address. An IPv6 one is there at once: nobody is asked whether they have it too.
    pub fn address(&self, name: &str, address: impl Into<IpAddr>, prefix: u8) -> Result<()> {
        const IFA_ADDRESS: u16 = 1;
        const IFA_LOCAL: u16 = 2;
        const IFA_F_NODAD: u8 = 2;
        let address = address.into();
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        let mut fixed = [family(address), prefix, IFA_F_NODAD, 0, 0, 0, 0, 0];
        fixed[4..].copy_from_slice(&index(name)?.to_ne_bytes());
        let request = Message::new(RTM_NEWADDR, ACK | CREATE, &fixed)
            .attr(IFA_LOCAL, &octets(address))
            .attr(IFA_ADDRESS, &octets(address));
        self.acknowledged(request)
            .with_context(|| format!("add address {address}/{prefix} to {name}"))
    }

    /// The way to everyone else.
    pub fn default_route(&self, via: impl Into<IpAddr>) -> Result<()> {
        let via = via.into();
        let everyone: IpAddr = match via {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        self.route(everyone, 0, via)
    }

    /// The way to a net.
    pub fn route(&self, net: IpAddr, prefix: u8, via: IpAddr) -> Result<()> {
        const RTA_DST: u16 = 1;
        const RTA_GATEWAY: u16 = 5;
        // struct rtmsg: family, lengths, tos, table main (254), protocol boot (3), scope universe, unicast (1), flags.
        let fixed = [family(via), prefix, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        let mut request =
            Message::new(RTM_NEWROUTE, ACK | CREATE, &fixed).attr(RTA_GATEWAY, &octets(via));
        if prefix > 0 {
            request = request.attr(RTA_DST, &octets(net));
        }
        self.acknowledged(request)
            .with_context(|| format!("add a route to {net}/{prefix} via {via}"))
    }

    /// A neighbour's Ethernet address, for good.
    pub fn neighbour(&self, name: &str, address: impl Into<IpAddr>, mac: [u8; 6]) -> Result<()> {
        const NDA_DST: u16 = 1;
        const NDA_LLADDR: u16 = 2;
        const NUD_PERMANENT: u8 = 0x80;
        let address = address.into();
        // struct ndmsg: family, padding, index, state, flags, type.
        let mut fixed = [family(address), 0, 0, 0, 0, 0, 0, 0, NUD_PERMANENT, 0, 0, 0];
        fixed[4..8].copy_from_slice(&index(name)?.to_ne_bytes());
        let request = Message::new(RTM_NEWNEIGH, ACK | REPLACE, &fixed)
            .attr(NDA_DST, &octets(address))
            .attr(NDA_LLADDR, &mac);
        self.acknowledged(request)
            .with_context(|| format!("add neighbour {address} of {name}"))
    }

    /// All interfaces of the namespace.
    pub fn devices(&self) -> Result<Vec<Device>> {
        let request = Message::new(RTM_GETLINK, DUMP, &[0; IFINFOMSG]);
        let mut found = Vec::new();
        self.exchange(request, |kind, payload| {
            if kind == RTM_NEWLINK {
                found.extend(Device::parse(payload));
            }
        })
        .context("list interfaces")?;
        Ok(found)
    }

    fn acknowledged(&self, request: Message) -> Result<()> {
        self.exchange(request, |_, _| {})
    }

    /// Sends a request and takes everything up to the end of its answer. One request at a time, so no sequence numbers.
    fn exchange(&self, request: Message, mut take: impl FnMut(u16, &[u8])) -> Result<()> {
        let fd = self.0.as_raw_fd();
        send(fd, &request.finish(), MsgFlags::empty()).context("send")?;
        let mut buffer = vec![0; DATAGRAM];
        for _ in 0..1000 {
            let length = recv(fd, &mut buffer, MsgFlags::empty()).context("receive")?;
            let mut rest = &buffer[..length];
            while rest.len() >= HEADER {
                let length = number(rest, 0) as usize;
                ensure!(
                    (HEADER..=rest.len()).contains(&length),
                    "a message of {length} bytes"
                );
                let (kind, payload) = (half(rest, 4), &rest[HEADER..length]);
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        return match number(payload, 0).cast_signed() {
                            0 => Ok(()),
                            code => Err(Errno::from_raw(-code).into()),
                        };
                    }
                    kind => take(kind, payload),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
        bail!("an answer without end")
    }
}

impl Device {
    fn parse(payload: &[u8]) -> Option<Self> {
        let mut device = Self {
            ifindex: number(payload.get(..IFINFOMSG)?, 4),
            name: String::new(),
            xdp: Xdp::None,
            port: None,
        };
        for (kind, value) in attributes(payload.get(IFINFOMSG..)?) {
            match kind {
                IFLA_IFNAME => {
                    device.name = String::from_utf8_lossy(value).trim_end_matches('\0').into();
                }
                IFLA_XDP => {
                    let mode = inside(value, IFLA_XDP_ATTACHED).and_then(|value| value.first());
                    device.xdp = match mode {
                        None | Some(0) => Xdp::None,
                        Some(mode) => Xdp::Attached(*mode),
                    };
                }
                IFLA_LINKINFO => {
                    let state = inside(value, IFLA_INFO_SLAVE_DATA)
                        .and_then(|data| inside(data, IFLA_BRPORT_STATE));
                    // BR_STATE_FORWARDING, include/uapi/linux/if_bridge.h.
                    device.port = state
                        .and_then(|state| state.first())
                        .map(|state| match state {
                            3 => Port::Forwarding,
                            state => Port::Other(*state),
                        });
                }
                _ => {}
            }
        }
        Some(device)
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => nix::libc::AF_INET as u8,
        IpAddr::V6(_) => nix::libc::AF_INET6 as u8,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The number of an interface in the namespace of this thread.
pub fn index(name: &str) -> Result<u32> {
    nix::net::if_::if_nametoindex(name).with_context(|| format!("interface {name}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_port_with_a_program_is_read() {
        let xdp = Message::bare(&[]).attr(IFLA_XDP_ATTACHED, &[2]);
        let port = Message::bare(&[]).attr(IFLA_BRPORT_STATE, &[3]);
        let info = Message::bare(&[])
            .attr(IFLA_INFO_KIND, b"veth\0")
            .attr(IFLA_INFO_SLAVE_DATA | 0x8000, port.tail());
        let mut fixed = [0; IFINFOMSG];
        fixed[4] = 7;
        let bytes = Message::new(RTM_NEWLINK, 0, &fixed)
            .attr(IFLA_IFNAME, b"veth6\0")
            .attr(IFLA_XDP | 0x8000, xdp.tail())
            .attr(IFLA_LINKINFO, info.tail())
            .finish();
        assert_eq!(number(&bytes, 0) as usize, bytes.len());
        let device = Device::parse(&bytes[HEADER..]).unwrap();
        assert_eq!(
            device,
            Device {
                ifindex: 7,
                name: "veth6".into(),
                xdp: Xdp::Attached(2),
                port: Some(Port::Forwarding)
            }
        );
        for end in 0..bytes.len() - HEADER {
            let _ = Device::parse(&bytes[HEADER..HEADER + end]);
        }
    }
}
