//! The MACs that the user left out: by which way a backend is reached, and who answers there.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use xdplb_prog::abi::Mac;

use super::config::Backend;
use super::device::Device;
use crate::netlink::{Neighbour, NeighbourState, NetlinkError, Route, RouteKind, Socket};

/// How long an answer to ARP is waited for. The kernel asks three times, a second apart.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the neighbour table is read meanwhile.
const PAUSE: Duration = Duration::from_millis(5);
/// How often what is still missing is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// discard (RFC 863): a datagram there does nothing but make the kernel ask for the address.
const DISCARD: u16 = 9;

/// Why a backend has no MAC.
#[derive(Debug, thiserror::Error)]
#[error("backend {ip}: {why}\n  try:  give its MAC: {ip} XX:XX:XX:XX:XX:XX")]
pub struct Unreachable {
    ip: Ipv4Addr,
    why: String,
}

/// A failure of the question, or of its answer.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The backend has no MAC that could be found.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The kernel did not answer.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Gives each backend a MAC: the one it was given, or that of the next hop towards it.
///
/// # Errors
/// The first backend that lies behind another interface, or does not answer within three seconds.
pub fn resolve(
    socket: &Socket,
    device: &Device,
    backends: &[Backend],
) -> Result<Vec<(Ipv4Addr, Mac)>, ResolveError> {
    // A backend behind a router has the router's MAC.
    let mut hops = HashMap::new();
    for backend in backends.iter().filter(|backend| backend.mac.is_none()) {
        hops.insert(backend.ip, next_hop(socket, device, backend.ip)?);
    }
    let mut table = HashMap::new();
    if !hops.is_empty() {
        table = look_up(socket, device, &hops)?;
    }
    backends
        .iter()
        .map(|backend| {
            let found = backend
                .mac
                .or_else(|| table.get(hops.get(&backend.ip)?).copied());
            match found {
                Some(mac) => Ok((backend.ip, mac)),
                None => Err(silent(device, backend.ip, hops.get(&backend.ip)).into()),
            }
        })
        .collect()
}

fn next_hop(socket: &Socket, device: &Device, ip: Ipv4Addr) -> Result<Ipv4Addr, ResolveError> {
    let route = socket.route(IpAddr::V4(ip))?;
    let other = match route.and_then(|route| route.ifindex) {
        Some(ifindex) if ifindex != device.ifindex => {
            let link = socket.link(ifindex, crate::netlink::Namespace::Own)?;
            link.map(|link| link.name)
        }
        Some(_) | None => None,
    };
    hop_of(device, ip, route, other.as_deref()).map_err(|why| Unreachable { ip, why }.into())
}

/// PURE: the next hop of a route, which must leave by our interface; `other` is the name of the one it leaves by instead.
fn hop_of(
    device: &Device,
    ip: Ipv4Addr,
    route: Option<Route>,
    other: Option<&str>,
) -> Result<Ipv4Addr, String> {
    let Some(route) = route else {
        return Err("no route leads to it (ENETUNREACH), so its MAC cannot be asked for".into());
    };
    match route.kind {
        RouteKind::Local => return Err("it is an address of this host, not a backend's".into()),
        RouteKind::Other => return Err("it is no single host's address".into()),
        RouteKind::Unicast => {}
    }
    if route.ifindex != Some(device.ifindex) {
        let name = other.unwrap_or("another interface");
        return Err(format!("it is reached through {name}, not {}", device.name));
    }
    match route.gateway {
        None => Ok(ip),
        Some(IpAddr::V4(gateway)) => Ok(gateway),
        Some(IpAddr::V6(gateway)) => Err(format!(
            "it is reached through {gateway}, an IPv6 router, whose MAC cannot be asked for"
        )),
    }
}

/// Makes the kernel ask for each address. What cannot be sent shows as an address that does not answer.
fn ask<'a>(device: &Device, hops: impl Iterator<Item = &'a Ipv4Addr>) {
    let Ok(udp) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else {
        return;
    };
    // Not allowed without privilege before Linux 5.7; the route leads to the device anyway.
    let _ = setsockopt(
        &udp,
        sockopt::BindToDevice,
        &std::ffi::OsString::from(&device.name),
    );
    let _ = udp.set_nonblocking(true);
    for hop in hops {
        let _ = udp.send_to(&[], SocketAddrV4::new(*hop, DISCARD));
    }
}

/// Reads the neighbour table and asks for what is missing, until it has all hops or patience ends.
fn look_up(
    socket: &Socket,
    device: &Device,
    hops: &HashMap<Ipv4Addr, Ipv4Addr>,
) -> Result<HashMap<Ipv4Addr, Mac>, NetlinkError> {
    let start = Instant::now();
    let mut asked: Option<Instant> = None;
    loop {
        let neighbours = socket.neighbours(device.ifindex)?;
        let table: HashMap<Ipv4Addr, Mac> = neighbours.iter().filter_map(usable).collect();
        let mut missing = hops
            .values()
            .filter(|hop| !table.contains_key(hop))
            .peekable();
        if missing.peek().is_none() || start.elapsed() >= PATIENCE {
            return Ok(table);
        }
        if asked.is_none_or(|asked| asked.elapsed() >= AGAIN) {
            ask(device, missing);
            asked = Some(Instant::now());
        }
        std::thread::sleep(PAUSE);
    }
}

fn usable(neighbour: &Neighbour) -> Option<(Ipv4Addr, Mac)> {
    match (neighbour.ip, neighbour.mac, neighbour.state) {
        (IpAddr::V4(ip), Some(mac), NeighbourState::Usable) if mac.0 != [0; 6] => Some((ip, mac.0)),
        _ => None,
    }
}

fn silent(device: &Device, ip: Ipv4Addr, hop: Option<&Ipv4Addr>) -> Unreachable {
    let why = match hop {
        Some(hop) if *hop != ip => {
            format!("its router {hop} gave no answer to ARP on {}", device.name)
        }
        Some(_) | None => format!("no answer to ARP on {}", device.name),
    };
    Unreachable { ip, why }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::device::tests::device;
    use super::*;

    const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

    fn check(route: Option<Route>, expected: &str) {
        let found = match hop_of(&device(), BACKEND, route, Some("eth1")) {
            Ok(hop) => hop.to_string(),
            Err(why) => Unreachable { ip: BACKEND, why }.to_string(),
        };
        let found = found.lines().next().unwrap_or_default();
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
        check(Some(route), "10.9.0.2");
        check(Some(Route { gateway, ..route }), "10.0.0.254");
        check(
            Some(Route {
                ifindex: Some(8),
                ..route
            }),
            "backend 10.9.0.2: it is reached through eth1, not veth6",
        );
        check(
            Some(Route {
                kind: RouteKind::Local,
                ..route
            }),
            "backend 10.9.0.2: it is an address of this host, not a backend's",
        );
        check(
            None,
            "backend 10.9.0.2: no route leads to it (ENETUNREACH), so its MAC cannot be asked for",
        );
    }

    #[test]
    fn silence_is_said_with_what_to_do() {
        assert_eq!(
            silent(&device(), BACKEND, Some(&BACKEND)).to_string(),
            "backend 10.9.0.2: no answer to ARP on veth6\n  try:  give its MAC: 10.9.0.2 XX:XX:XX:XX:XX:XX"
        );
        let router = Ipv4Addr::new(10, 0, 0, 254);
        let text = silent(&device(), BACKEND, Some(&router)).to_string();
        assert!(
            text.starts_with(
                "backend 10.9.0.2: its router 10.0.0.254 gave no answer to ARP on veth6"
            ),
            "{text}"
        );
    }
}
