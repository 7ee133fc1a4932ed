//! The interface: is it there, is it up, is it Ethernet, which addresses does it have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use xdplb_prog::abi::Mac;

use super::mode;
use super::service::{Config, Forward, Service, family};
use crate::netlink::{Link, LinkState, Namespace, NetlinkError, Socket};

/// `IFF_LOOPBACK` of include/uapi/linux/if.h.
const IFF_LOOPBACK: u32 = 1 << 3;

/// An interface that can be balanced on: up, Ethernet.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its number.
    pub ifindex: u32,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The longest IP packet that it sends.
    pub mtu: u32,
    /// Its addresses, primary ones first.
    pub addresses: Vec<IpAddr>,
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
    /// It has no address of a family.
    #[error(
        "{name}: the interface has no {family} address, and backends need one to answer to\n  try:  ip address add ADDR/PREFIX dev {name}"
    )]
    NoAddress {
        /// The interface.
        name: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// A backend that is the balancer itself.
    #[error("backend {ip}: it is {name}'s own address")]
    OwnAddress {
        /// The backend.
        ip: IpAddr,
        /// The interface.
        name: String,
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
        let addresses = socket.addresses(link.ifindex)?.into_iter();
        Ok(Self {
            mac,
            mtu: link.mtu,
            addresses: addresses.map(|address| address.ip).collect(),
            kind: classify(socket, &link),
            ifindex: link.ifindex,
            name: link.name,
        })
    }

    /// Its first IPv4 address.
    fn v4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpAddr::V4(ip) => Some(*ip),
            IpAddr::V6(_) => None,
        })
    }

    /// The same, where a service is made of it.
    ///
    /// # Errors
    /// [`DeviceError::NoAddress`].
    pub fn needed_v4(&self) -> Result<Ipv4Addr, DeviceError> {
        self.v4().ok_or_else(|| self.no_address("IPv4"))
    }

    fn no_address(&self, family: &'static str) -> DeviceError {
        DeviceError::NoAddress {
            name: self.name.clone(),
            family,
        }
    }

    /// The addresses that backends see as the client's: those that no service has, where there is a choice, since backends of
    /// mode dsr hold the services' themselves; and those that reach beyond the link. Of equals the first.
    pub fn sources(&self, services: &[Service]) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        let is_service = |ip: IpAddr| services.iter().any(|service| service.key.address == ip);
        let v4 = self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(ip) => Some(*ip),
            IpAddr::V6(_) => None,
        });
        let v6 = self.addresses.iter().filter_map(|address| match address {
            IpAddr::V6(ip) => Some(*ip),
            IpAddr::V4(_) => None,
        });
        (
            v4.min_by_key(|ip| is_service((*ip).into())),
            v6.min_by_key(|ip| (ip.is_unicast_link_local(), is_service((*ip).into()))),
        )
    }

    /// Whether this can be balanced here: backends in mode nat need an address to answer to, and none may be the balancer itself,
    /// whose packets would come back for ever.
    ///
    /// # Errors
    /// The first that cannot be.
    pub fn check(&self, config: &Config) -> Result<(), DeviceError> {
        for service in &config.services {
            let has = match service.key.address {
                IpAddr::V4(_) => self.v4().is_some(),
                IpAddr::V6(_) => self.addresses.iter().any(IpAddr::is_ipv6),
            };
            if service.forward == Forward::Nat && !has {
                return Err(self.no_address(family(service.key.address)));
            }
            let mut backends = service.backends.iter().map(|backend| backend.key.address);
            if let Some(ip) = backends.find(|ip| self.addresses.contains(ip)) {
                return Err(DeviceError::OwnAddress {
                    ip,
                    name: self.name.clone(),
                });
            }
        }
        Ok(())
    }
}

/// The source ports of services that name none: the larger range outside those that the host's own connections use.
pub fn own_ports() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    outside(&text.unwrap_or_default())
}

/// PURE: the same of the two numbers in that file; where they leave nothing, all that take no privilege.
fn outside(local: &str) -> RangeInclusive<u16> {
    const FIRST: u16 = 1024;
    let mut numbers = local.split_whitespace().map(str::parse::<u16>);
    let (low, high) = match (numbers.next(), numbers.next()) {
        (Some(Ok(low)), Some(Ok(high))) => (low, high),
        // What Linux has unless told otherwise.
        _ => (32_768, 60_999),
    };
    let below = low.saturating_sub(FIRST);
    let above = u16::MAX - high;
    match (below, above) {
        (0, 0) => FIRST..=u16::MAX,
        (below, above) if below >= above => FIRST..=low - 1,
        _ => (high + 1).max(FIRST)..=u16::MAX,
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
            mtu: 1500,
            addresses: vec![Ipv4Addr::new(10, 0, 0, 10).into()],
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
    fn the_balancer_is_no_backend_of_its_own_and_has_an_address() {
        let check = |service: &str, backend: &str| {
            let backends = super::super::simple::parse_words(&[backend]).unwrap();
            let config = backends.into_config(service.parse().unwrap()).unwrap();
            device().check(&config).map_err(|error| error.to_string())
        };
        assert_eq!(check("10.0.0.20:80", "10.0.0.2"), Ok(()));
        assert_eq!(
            check("10.0.0.20:80", "10.0.0.10").unwrap_err(),
            "backend 10.0.0.10: it is veth6's own address"
        );
        assert_eq!(
            check("[fd00::20]:80", "fd00::2").unwrap_err(),
            "veth6: the interface has no IPv6 address, and backends need one to answer to\n  try:  ip address add ADDR/PREFIX dev veth6"
        );
    }

    #[test]
    fn backends_see_an_address_that_is_no_services() {
        let (v4, v6) = ("10.0.0.10".parse().ok(), "fd00::10".parse().ok());
        let mut device = device();
        let addresses = ["fe80::1", "fd00::20", "fd00::10", "10.0.0.20", "10.0.0.10"];
        device.addresses = addresses.map(|text| text.parse().unwrap()).to_vec();
        let services = [("10.0.0.20:80", "10.0.0.2"), ("[fd00::20]:80", "fd00::2")];
        let services = services.map(|(service, backend)| {
            let backends = super::super::simple::parse_words(&[backend]).unwrap();
            let config = backends.into_config(service.parse().unwrap()).unwrap();
            config.services.into_iter().next().unwrap()
        });
        assert_eq!(device.sources(&services), (v4, v6));
        assert_eq!(
            device.sources(&[]),
            ("10.0.0.20".parse().ok(), "fd00::20".parse().ok())
        );
        device.addresses.truncate(2);
        assert_eq!(device.sources(&services), (None, "fd00::20".parse().ok()));
        device.addresses.truncate(1);
        assert_eq!(device.sources(&services), (None, "fe80::1".parse().ok()));
    }

    #[test]
    fn source_ports_lie_outside_the_hosts_own() {
        assert_eq!(outside("32768\t60999\n"), 1024..=32_767);
        assert_eq!(outside("1024 20000"), 20_001..=65_535);
        assert_eq!(outside("1024 65535"), 1024..=65_535);
        assert_eq!(outside("0 100"), 1024..=65_535);
        assert_eq!(outside("nonsense"), 1024..=32_767);
    }
}
