//! The interface: is it there, is it up, is it Ethernet, which address does it have.

use std::net::{IpAddr, Ipv4Addr};

use xdplb_prog::abi::Mac;

use super::config::Backend;
use super::listen::Listen;
use super::mode;
use crate::netlink::{Address, Link, LinkState, Namespace, NetlinkError, Socket};

/// `IFF_LOOPBACK` of include/uapi/linux/if.h.
const IFF_LOOPBACK: u32 = 1 << 3;

/// An interface that can be balanced on: up, Ethernet, with an IPv4 address.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its number.
    pub ifindex: u32,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its first IPv4 address, which backends see as the client's.
    pub addr: Ipv4Addr,
    /// What decides between native and generic mode.
    pub kind: mode::Device,
}

/// Why an interface, or a backend on it, will not do.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is none of that name.
    #[error("{name}: no such interface (ENODEV)\n  have: {have}\n  try:  ip link")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those that are there.
        have: String,
    },
    /// It is not up.
    #[error("{0}: the interface is down\n  try:  ip link set dev {0} up")]
    Down(String),
    /// Loopback, or a device without addresses of six bytes.
    #[error("{0}: not an Ethernet interface, and the balancer sends Ethernet frames")]
    NotEthernet(String),
    /// It has no IPv4 address.
    #[error(
        "{0}: the interface has no IPv4 address, and backends need one to answer to\n  try:  ip address add ADDR/PREFIX dev {0}"
    )]
    NoAddress(String),
    /// A backend that is the balancer itself.
    #[error("backend {ip}: it is {what}")]
    OwnAddress {
        /// The backend.
        ip: Ipv4Addr,
        /// Whose address it is.
        what: String,
    },
    /// The kernel did not answer.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Finds a link by name.
///
/// # Errors
/// [`DeviceError::Unknown`], with the names that exist.
pub fn link(socket: &Socket, name: &str) -> Result<Link, DeviceError> {
    if let Some(link) = socket.link_by_name(name)? {
        return Ok(link);
    }
    let have: Vec<String> = socket.links()?.into_iter().map(|link| link.name).collect();
    Err(DeviceError::Unknown {
        name: name.escape_debug().to_string(),
        have: have.join(", "),
    })
}

impl Device {
    /// Finds an interface and checks that it will do.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn find(socket: &Socket, name: &str) -> Result<Self, DeviceError> {
        let link = link(socket, name)?;
        let mac = ethernet(&link)?;
        let addr = first_ipv4(&link.name, &socket.addresses(link.ifindex)?)?;
        Ok(Self {
            mac,
            addr,
            kind: classify(socket, &link),
            ifindex: link.ifindex,
            name: link.name,
        })
    }

    /// No backend may be the balancer itself, or the service: its packets would come back for ever.
    ///
    /// # Errors
    /// [`DeviceError::OwnAddress`].
    pub fn check_backends(
        &self,
        backends: &[Backend],
        service: &Listen,
    ) -> Result<(), DeviceError> {
        let own = |ip: Ipv4Addr| match ip {
            ip if ip == self.addr => Some(format!("{}'s own address", self.name)),
            ip if ip == service.addr => Some(format!("the service's own address on {}", self.name)),
            _ => None,
        };
        let found = backends
            .iter()
            .find_map(|backend| Some((backend.ip, own(backend.ip)?)));
        match found {
            Some((ip, what)) => Err(DeviceError::OwnAddress { ip, what }),
            None => Ok(()),
        }
    }
}

fn ethernet(link: &Link) -> Result<Mac, DeviceError> {
    let mac = link
        .mac
        .filter(|mac| link.flags & IFF_LOOPBACK == 0 && mac.0 != [0; 6])
        .ok_or_else(|| DeviceError::NotEthernet(link.name.clone()))?;
    match link.state() {
        LinkState::Down => Err(DeviceError::Down(link.name.clone())),
        // Without carrier nothing comes in yet; the cable may follow.
        LinkState::NoCarrier | LinkState::Up => Ok(mac.0),
    }
}

fn first_ipv4(name: &str, addresses: &[Address]) -> Result<Ipv4Addr, DeviceError> {
    addresses
        .iter()
        .find_map(|address| match address.ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
        .ok_or_else(|| DeviceError::NoAddress(name.into()))
}

/// Looks at a veth's peer, through the namespace it lies in where we may.
fn classify(socket: &Socket, link: &Link) -> mode::Device {
    if link.kind.as_deref() != Some("veth") {
        return mode::Device::Other;
    }
    let namespace = link.peer_namespace.map_or(Namespace::Own, Namespace::Id);
    let peer = link
        .peer
        .and_then(|peer| socket.link(peer, namespace).ok().flatten());
    mode::Device::Veth(match peer {
        Some(peer) if peer.xdp.native.is_some() => mode::Peer::Xdp,
        Some(_) => mode::Peer::NoXdp,
        None => mode::Peer::Unseen,
    })
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::netlink::{MacAddr, XdpState};

    /// A device as the tests beside this file want one.
    pub fn device() -> Device {
        Device {
            name: "veth6".into(),
            ifindex: 7,
            mac: [2; 6],
            addr: Ipv4Addr::new(10, 0, 0, 10),
            kind: mode::Device::Other,
        }
    }

    fn veth6() -> Link {
        Link {
            ifindex: 7,
            name: "veth6".into(),
            mac: Some(MacAddr([0xde, 0xad, 0xbe, 0xef, 0, 0x10])),
            mtu: 1500,
            flags: 0x1_0001,
            kind: Some("veth".into()),
            peer: None,
            peer_namespace: None,
            xdp: XdpState::default(),
        }
    }

    #[test]
    fn each_reason_has_its_text() {
        let text = |link: &Link| ethernet(link).unwrap_err().to_string();
        let mut link = veth6();
        assert!(ethernet(&link).is_ok());
        link.flags = 0;
        assert_eq!(
            text(&link),
            "veth6: the interface is down\n  try:  ip link set dev veth6 up"
        );
        link.flags = 0x1_0009;
        assert_eq!(
            text(&link),
            "veth6: not an Ethernet interface, and the balancer sends Ethernet frames"
        );
        link.flags = 0x1_0001;
        link.mac = None;
        assert_eq!(
            text(&link),
            "veth6: not an Ethernet interface, and the balancer sends Ethernet frames"
        );
        assert_eq!(
            first_ipv4("veth6", &[]).unwrap_err().to_string(),
            "veth6: the interface has no IPv4 address, and backends need one to answer to\n  try:  ip address add ADDR/PREFIX dev veth6"
        );
        let socket = Socket::open().unwrap();
        let error = super::link(&socket, "nosuch0").unwrap_err().to_string();
        let mut lines = error.lines();
        assert_eq!(
            lines.next(),
            Some("nosuch0: no such interface (ENODEV)"),
            "{error}"
        );
        assert!(
            lines.next().unwrap().starts_with("  have: ") && error.contains("lo"),
            "{error}"
        );
    }

    #[test]
    fn a_veth_without_a_visible_peer_is_one_with_an_unseen_peer() {
        let socket = Socket::open().unwrap();
        let mut link = veth6();
        assert_eq!(
            classify(&socket, &link),
            mode::Device::Veth(mode::Peer::Unseen)
        );
        link.kind = Some("dummy".into());
        assert_eq!(classify(&socket, &link), mode::Device::Other);
    }

    #[test]
    fn the_balancer_is_no_backend_of_its_own() {
        let device = Device {
            name: "veth6".into(),
            ifindex: 7,
            mac: [2; 6],
            addr: Ipv4Addr::new(10, 0, 0, 10),
            kind: mode::Device::Other,
        };
        let service = "10.0.0.20:80".parse().unwrap();
        let check = |ip: [u8; 4]| {
            let backend = Backend {
                ip: ip.into(),
                mac: None,
            };
            device
                .check_backends(&[backend], &service)
                .map_err(|e| e.to_string())
        };
        assert_eq!(check([10, 0, 0, 2]), Ok(()));
        assert_eq!(
            check([10, 0, 0, 10]).unwrap_err(),
            "backend 10.0.0.10: it is veth6's own address"
        );
        assert_eq!(
            check([10, 0, 0, 20]).unwrap_err(),
            "backend 10.0.0.20: it is the service's own address on veth6"
        );
    }
}
