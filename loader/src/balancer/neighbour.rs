//! The MACs that the user left out: by which way a backend is reached, and who answers there. Both families, all at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use xdplb_prog::abi::Mac;

use super::device::Device;
use super::service::{Config, Forward};
use crate::netlink::{Neighbour, NeighbourState, NetlinkError, Route, RouteKind, Socket};

/// How long an answer is waited for. The kernel asks three times, a second apart.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How often the neighbour table is read meanwhile.
const PAUSE: Duration = Duration::from_millis(5);
/// How often what is still missing is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// discard (RFC 863): a datagram there does nothing but make the kernel ask for the address.
const DISCARD: u16 = 9;

/// Why a backend has no MAC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backend {ip}: {why}")]
pub struct Unreachable {
    /// The backend.
    pub ip: IpAddr,
    why: String,
    /// Whether it can still turn out well.
    pub outlook: Outlook,
}

/// Whether a backend without a MAC may have one later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// It may answer yet: packets for it wait for a route, the others go their way.
    Later,
    /// It cannot, as the network is.
    Never,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The MAC for each backend's frames: its own, or its router's.
    pub macs: HashMap<IpAddr, Mac>,
    /// Those that have none, by address.
    pub missing: Vec<Unreachable>,
}

/// How a backend has to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Also through a router.
    Any,
    /// On the link itself: a router would forward the packet to the service's address, back to us.
    OnLink,
}

/// Finds the MAC of each backend that was given none: that of the next hop towards it. Who does not answer is waited for
/// that long.
///
/// # Errors
/// The kernel's.
pub fn resolve(
    socket: &Socket,
    device: &Device,
    config: &Config,
    patience: Duration,
) -> Result<Found, NetlinkError> {
    let mut found = Found::default();
    // A backend behind a router has the router's MAC.
    let mut hops = HashMap::new();
    for (ip, way) in wanted(config) {
        match next_hop(socket, device, ip, way)? {
            Ok(hop) => drop(hops.insert(ip, hop)),
            Err(unreachable) => found.missing.push(unreachable),
        }
    }
    let table = look_up(socket, device, &hops, patience)?;
    for (ip, hop) in &hops {
        match table.get(hop) {
            Some(mac) => drop(found.macs.insert(*ip, *mac)),
            None => found.missing.push(silent(device, *ip, *hop)),
        }
    }
    found
        .missing
        .sort_by_key(|missing| (missing.outlook == Outlook::Later, missing.ip));
    Ok(found)
}

/// Makes the kernel ask for those next hops that its table does not have: what the program asks the routing table for is
/// never asked of the network.
///
/// # Errors
/// The kernel's.
pub fn refresh(socket: &Socket, device: &Device, config: &Config) -> Result<(), NetlinkError> {
    let mut hops = HashMap::new();
    for (ip, way) in wanted(config) {
        if let Ok(hop) = next_hop(socket, device, ip, way)? {
            hops.insert(ip, hop);
        }
    }
    look_up(socket, device, &hops, Duration::ZERO).map(drop)
}

/// The backends without a MAC of their own, and how each has to be reached.
fn wanted(config: &Config) -> BTreeMap<IpAddr, Way> {
    let mut wanted = BTreeMap::new();
    for service in &config.services {
        for backend in service.backends.iter().filter(|b| b.mac.is_none()) {
            let way = match service.forward {
                Forward::Dsr => Way::OnLink,
                Forward::Nat | Forward::Ipip => Way::Any,
            };
            let entry = wanted.entry(backend.key.address).or_insert(way);
            if way == Way::OnLink {
                *entry = way;
            }
        }
    }
    wanted
}

fn next_hop(
    socket: &Socket,
    device: &Device,
    ip: IpAddr,
    way: Way,
) -> Result<Result<IpAddr, Unreachable>, NetlinkError> {
    let route = socket.route(ip)?;
    let other = match route.and_then(|route| route.ifindex) {
        Some(ifindex) if ifindex != device.ifindex => {
            let link = socket.link(ifindex, crate::netlink::Namespace::Own)?;
            link.map(|link| link.name)
        }
        Some(_) | None => None,
    };
    Ok(hop_of(device, ip, way, route, other.as_deref()))
}

/// PURE: the next hop of a route, which must leave by our interface; `other` is the name of the one it leaves by instead.
fn hop_of(
    device: &Device,
    ip: IpAddr,
    way: Way,
    route: Option<Route>,
    other: Option<&str>,
) -> Result<IpAddr, Unreachable> {
    let never = |why: String| Unreachable {
        ip,
        why,
        outlook: Outlook::Never,
    };
    let Some(route) = route else {
        let why = "no route leads to it (ENETUNREACH), so its MAC cannot be asked for";
        return Err(Unreachable {
            ip,
            why: why.into(),
            outlook: Outlook::Later,
        });
    };
    match route.kind {
        RouteKind::Local => {
            return Err(never(
                "it is an address of this host, not a backend's".into(),
            ));
        }
        RouteKind::Other => return Err(never("it is no single host's address".into())),
        RouteKind::Unicast => {}
    }
    if route.ifindex != Some(device.ifindex) {
        let name = other.unwrap_or("another interface");
        return Err(never(format!(
            "it is reached through {name}, not {}",
            device.name
        )));
    }
    match (route.gateway, way) {
        (None, _) => Ok(ip),
        (Some(gateway), Way::Any) => Ok(gateway),
        (Some(gateway), Way::OnLink) => Err(never(format!(
            "it is reached through router {gateway}, and mode dsr needs it on {}'s own link",
            device.name
        ))),
    }
}

/// Makes the kernel ask for each address. What cannot be sent shows as an address that does not answer.
fn ask<'a>(device: &Device, hops: impl Iterator<Item = &'a IpAddr>) {
    let open = |any: IpAddr| {
        let udp = UdpSocket::bind((any, 0)).ok()?;
        // Not allowed without privilege before Linux 5.7; the route leads to the device anyway.
        let name = std::ffi::OsString::from(&device.name);
        let _ = setsockopt(&udp, sockopt::BindToDevice, &name);
        udp.set_nonblocking(true).ok()?;
        Some(udp)
    };
    let v4 = open(Ipv4Addr::UNSPECIFIED.into());
    let v6 = open(Ipv6Addr::UNSPECIFIED.into());
    for hop in hops {
        let (udp, to) = match hop {
            IpAddr::V4(ip) => (&v4, SocketAddr::from((*ip, DISCARD))),
            // A router's address is often one of the link's, and says nothing without the link.
            IpAddr::V6(ip) => (
                &v6,
                SocketAddrV6::new(*ip, DISCARD, 0, device.ifindex).into(),
            ),
        };
        if let Some(udp) = udp {
            let _ = udp.send_to(&[], to);
        }
    }
}

/// Reads the neighbour table and asks for what is missing, until it has all hops or patience ends.
fn look_up(
    socket: &Socket,
    device: &Device,
    hops: &HashMap<IpAddr, IpAddr>,
    patience: Duration,
) -> Result<HashMap<IpAddr, Mac>, NetlinkError> {
    if hops.is_empty() {
        return Ok(HashMap::new());
    }
    let start = Instant::now();
    let mut asked: Option<Instant> = None;
    loop {
        let neighbours = socket.neighbours(device.ifindex)?;
        let table: HashMap<IpAddr, Mac> = neighbours.iter().filter_map(usable).collect();
        let missing: HashSet<&IpAddr> = hops
            .values()
            .filter(|hop| !table.contains_key(hop))
            .collect();
        if missing.is_empty() || asked.is_some() && start.elapsed() >= patience {
            return Ok(table);
        }
        if asked.is_none_or(|asked| asked.elapsed() >= AGAIN) {
            ask(device, missing.into_iter());
            asked = Some(Instant::now());
        }
        std::thread::sleep(PAUSE);
    }
}

fn usable(neighbour: &Neighbour) -> Option<(IpAddr, Mac)> {
    match (neighbour.mac, neighbour.state) {
        (Some(mac), NeighbourState::Usable) if mac.0 != [0; 6] => Some((neighbour.ip, mac.0)),
        _ => None,
    }
}

fn silent(device: &Device, ip: IpAddr, hop: IpAddr) -> Unreachable {
    let question = match hop {
        IpAddr::V4(_) => "ARP",
        IpAddr::V6(_) => "neighbour discovery",
    };
    let on = &device.name;
    let why = match hop {
        hop if hop != ip => format!("its router {hop} gave no answer to {question} on {on}"),
        _ => format!("no answer to {question} on {on}"),
    };
    Unreachable {
        ip,
        why,
        outlook: Outlook::Later,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::device::tests::device;
    use super::*;

    const BACKEND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));

    fn check(route: Option<Route>, way: Way, expected: &str) {
        let found = match hop_of(&device(), BACKEND, way, route, Some("eth1")) {
            Ok(hop) => hop.to_string(),
            Err(why) => why.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_way_leads_through_our_interface() {
        let route = Route {
            kind: RouteKind::Unicast,
            ifindex: Some(7),
            gateway: None,
            source: None,
        };
        let gateway = Some(IpAddr::from([10, 0, 0, 254]));
        check(Some(route), Way::Any, "10.9.0.2");
        check(Some(route), Way::OnLink, "10.9.0.2");
        check(Some(Route { gateway, ..route }), Way::Any, "10.0.0.254");
        check(
            Some(Route { gateway, ..route }),
            Way::OnLink,
            "backend 10.9.0.2: it is reached through router 10.0.0.254, and mode dsr needs it on veth6's own link",
        );
        check(
            Some(Route {
                ifindex: Some(8),
                ..route
            }),
            Way::Any,
            "backend 10.9.0.2: it is reached through eth1, not veth6",
        );
        check(
            Some(Route {
                kind: RouteKind::Local,
                ..route
            }),
            Way::Any,
            "backend 10.9.0.2: it is an address of this host, not a backend's",
        );
        check(
            None,
            Way::Any,
            "backend 10.9.0.2: no route leads to it (ENETUNREACH), so its MAC cannot be asked for",
        );
    }

    #[test]
    fn silence_is_said() {
        let text = |ip: &str, hop: &str| {
            silent(&device(), ip.parse().unwrap(), hop.parse().unwrap()).to_string()
        };
        assert_eq!(
            text("10.9.0.2", "10.9.0.2"),
            "backend 10.9.0.2: no answer to ARP on veth6"
        );
        assert_eq!(
            text("10.9.0.2", "10.0.0.254"),
            "backend 10.9.0.2: its router 10.0.0.254 gave no answer to ARP on veth6"
        );
        assert_eq!(
            text("fd00::2", "fd00::2"),
            "backend fd00::2: no answer to neighbour discovery on veth6"
        );
    }

    #[test]
    fn who_has_to_be_on_the_link_has_to_be_for_every_service() {
        let backends = super::super::simple::parse_words(&["10.0.0.2"]).unwrap();
        let mut config = backends
            .into_config("10.0.0.10:80".parse().unwrap())
            .unwrap();
        let mut direct = config.services[0].clone();
        direct.forward = Forward::Dsr;
        config.services.insert(0, direct);
        let ip: IpAddr = "10.0.0.2".parse().unwrap();
        assert_eq!(wanted(&config), BTreeMap::from([(ip, Way::OnLink)]));
        config.services[0].backends[0].mac = Some([2; 6]);
        assert_eq!(wanted(&config), BTreeMap::from([(ip, Way::Any)]));
    }
}
