//! The tutorial's network, made anew for each test out of namespaces of its own.
//!
//! ```text
//!     h1 (clients)                    lb (balancer)       h2 (server)         h3 (server)
//! veth0 NET.1, NET.101 …             veth6 NET.10        veth3 NET.2         veth5 NET.3
//!     …:00:01  |                      …:00:10  |          …:00:02  |          …:00:03  |
//!            veth1                           veth7               veth2               veth4
//!              +------------------------------+------ br0, in sw ---+-------------------+
//! ```
//!
//! NET is 10.0.0 unless asked otherwise. Offloads stay as the kernel sets them. Behind a router h1 is 10.1.0.1 and h3
//! 10.2.0.3; the router's bridge side is NET.254, …:00:fe, or NET.253 for h3. Behind two, the hop between them is
//! narrow. With VLANs a namespace `tr` on the balancer's wire puts the tags in and takes them out.

mod counters;
mod net;
mod plan;
mod wire;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::netns::{Families, Netns};
use crate::rtnl::{self, Port, Rtnl, Xdp};
use crate::server::Server;
use crate::tags::Trunk;
use crate::xdp::{self, Stub};

pub use counters::check_checksums;
pub use net::{Family, Net, mac};
pub use plan::{Mode, NARROW, Place, Plan};

/// The port that the servers listen on, as in the tutorial.
pub const PORT: u16 = 8000;
/// The number of the balancer's host.
pub const LB: u8 = 10;
/// The number of the service address that is nobody's own.
pub const VIP: u8 = 20;
/// Where clients and backends behind routers are.
const FAR: [Net; 2] = [Net([10, 1, 0]), Net([10, 2, 0])];
/// The net between two routers, for each.
const HOP: [Net; 2] = [Net([10, 3, 0]), Net([10, 4, 0])];
/// The routers' numbers on the bridge.
const GATE: [u8; 2] = [254, 253];

/// The network, up and forwarding.
#[derive(Debug)]
pub struct Topology {
    plan: Plan,
    /// Puts frames into VLANs; it goes before its namespace does.
    trunk: Option<Trunk>,
    /// The clients' namespace, h1.
    pub clients: Netns,
    /// The bridge's, sw.
    pub bridge: Netns,
    /// The balancer's, lb.
    pub lb: Netns,
    /// The servers', h2 and h3.
    pub backends: [Netns; 2],
    /// The client's and the second backend's, the one on the bridge first.
    routers: [Vec<Netns>; 2],
}

impl Topology {
    /// The tutorial's own.
    pub fn seed() -> Result<Self> {
        Self::build(Plan::default())
    }

    /// Another one.
    pub fn build(plan: Plan) -> Result<Self> {
        let host = |name| Netns::with(name, plan.families);
        let mut topology = Self {
            clients: host("h1")?,
            bridge: Netns::new("sw")?,
            lb: host("lb")?,
            backends: [host("h2")?, host("h3")?],
            routers: [Vec::new(), Vec::new()],
            trunk: None,
            plan,
        };
        topology.wire()?;
        topology.wait_until_forwarding(4)?;
        Ok(topology)
    }

    /// Another host on the bridge, with a device `eth`. It lives no longer than what holds it.
    pub fn guest(&self, number: u8) -> Result<Netns> {
        let guest = Netns::with("guest", self.plan.families)?;
        self.on_bridge(&format!("guest{number}"), &guest, "eth", number)?;
        self.wait_until_forwarding(5)?;
        Ok(guest)
    }

    /// The router on the bridge that the client (0) or the second backend (1) is behind.
    pub fn router(&self, side: usize) -> Option<&Netns> {
        self.routers.get(side)?.first()
    }

    /// Every host learns the way to those who stand behind routers. Without that only who sits there knows the way back.
    pub fn know_the_ways(&self) -> Result<()> {
        let on_bridge = |place, host| (place == Place::Local).then_some(host);
        for side in [0, 1]
            .into_iter()
            .filter(|side| !self.routers[*side].is_empty())
        {
            let hosts = [
                Some(&self.lb),
                Some(&self.backends[0]),
                on_bridge(self.plan.second, &self.backends[1]),
                on_bridge(self.plan.place, &self.clients),
                self.routers[1 - side].first(),
            ];
            for host in hosts.into_iter().flatten() {
                host.wire(|rtnl| self.way(rtnl, FAR[side], self.net(), GATE[side]))?;
            }
        }
        Ok(())
    }

    /// The balancer's host gets the address that is nobody's own, [`VIP`], and answers for it on the wire.
    pub fn hold_vip(&self) -> Result<()> {
        self.lb.wire(|rtnl| self.whole(rtnl, "veth6", VIP))
    }

    /// The backends hold it too, and answer for it to nobody: packets that reach them are theirs, whoever sent them on.
    pub fn return_directly(&self) -> Result<()> {
        for backend in &self.backends {
            backend.sysctl(&[
                ("net/ipv4/conf/all/arp_ignore", "1"),
                ("net/ipv4/conf/all/arp_announce", "2"),
            ])?;
            // A neighbour solicitation is answered by the device that has the address, and lo is none of the wire's.
            backend.wire(|rtnl| self.whole(rtnl, "lo", VIP))?;
        }
        Ok(())
    }

    /// An address alone, without its net.
    fn whole(&self, rtnl: &Rtnl, device: &str, number: u8) -> Result<()> {
        self.each(|family| {
            let prefix = match family {
                Family::V4 => 32,
                Family::V6 => 128,
            };
            rtnl.address(device, self.host(family, number), prefix)
        })
    }

    /// Until the ports forward a frame can be lost, and with it the seconds until TCP sends it again.
    fn wait_until_forwarding(&self, ports: usize) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let devices = self.bridge.devices()?;
            let forwarding = devices
                .iter()
                .filter(|device| device.port == Some(Port::Forwarding))
                .count();
            if forwarding == ports {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "br0: {forwarding} of {ports} ports forward after 10 s: {devices:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The families that hosts have addresses of.
    pub fn families(&self) -> &'static [Family] {
        match self.plan.families {
            Families::V4 => &[Family::V4],
            Families::Both => &Family::ALL,
        }
    }

    fn net(&self) -> Net {
        Net(self.plan.net)
    }

    fn clients_net(&self) -> Net {
        match self.plan.place {
            Place::Local => self.net(),
            Place::Routed | Place::Narrow => FAR[0],
        }
    }

    /// The IPv4 address of a host on the bridge.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.plan.net;
        Ipv4Addr::new(a, b, c, host)
    }

    /// An address of a host on the bridge.
    pub fn host(&self, family: Family, number: u8) -> IpAddr {
        self.net().host(family, number)
    }

    /// The first client's address.
    pub fn client(&self, family: Family) -> IpAddr {
        self.clients_net().host(family, 1)
    }

    /// The address of h2 or h3, wherever it stands.
    pub fn backend(&self, family: Family, index: usize) -> IpAddr {
        match (index, self.plan.second) {
            (0, _) => self.host(family, 2),
            (_, Place::Local) => self.host(family, 3),
            (_, Place::Routed | Place::Narrow) => FAR[1].host(family, 3),
        }
    }

    /// The device of h2 or h3.
    pub fn backend_device(index: usize) -> &'static str {
        if index == 0 { "veth3" } else { "veth5" }
    }

    /// The service address [`VIP`] with a port.
    pub fn vip(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.host(family, VIP), port)
    }

    /// Where clients connect to.
    pub fn service(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(10), PORT)
    }

    /// The server in h2 or h3.
    pub fn server(&self, index: usize) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(if index == 0 { 2 } else { 3 }), PORT)
    }

    /// The clients' IPv4 addresses.
    pub fn client_addresses(&self) -> Vec<Ipv4Addr> {
        let [a, b, c] = self.clients_net().0;
        (0..self.plan.clients)
            .map(|number| Ipv4Addr::new(a, b, c, if number == 0 { 1 } else { 100 + number }))
            .collect()
    }

    /// An HTTP server in each backend's namespace, called h2 and h3.
    pub fn serve(&self) -> Result<[Server; 2]> {
        let start = |index: usize| {
            let namespace = &self.backends[index];
            Server::start(namespace, self.server(index))
        };
        Ok([start(0)?, start(1)?])
    }

    /// What the mode needs at the other end of the balancer's wire; keep it for as long as the balancer runs.
    pub fn stub(&self, mode: Mode) -> Result<Option<Stub>> {
        match mode {
            Mode::Generic => Ok(None),
            Mode::Native => {
                let (namespace, device) = match &self.trunk {
                    Some(trunk) => trunk.peer(),
                    None => (&self.bridge, "veth7"),
                };
                Stub::attach(namespace, device).map(Some)
            }
        }
    }

    /// Makes a device compute the checksums of what it sends, which veth otherwise leaves undone
    /// (CHECKSUM_PARTIAL) and whoever gets such a packet does not look at. After that the receiver does.
    pub fn compute_checksums(namespace: &Netns, device: &str) -> Result<()> {
        namespace.run(|| rtnl::transmit_checksums_off(device))
    }

    /// Makes a device cut long TCP data into segments before it sends it. In generic mode the program otherwise gets one
    /// frame longer than the MTU, of which nobody can tell whether its segments fit through a tunnel.
    pub fn cut_segments(namespace: &Netns, device: &str) -> Result<()> {
        namespace.run(|| rtnl::segmentation_off(device))
    }

    /// An error when a client or server has thrown a packet away for its checksum.
    pub fn check_checksums(&self) -> Result<()> {
        [&self.clients, &self.backends[0], &self.backends[1]]
            .into_iter()
            .try_for_each(check_checksums)
    }

    /// The seed's arguments: interface, two backends with their MACs.
    pub fn arguments(&self) -> Vec<String> {
        let (first, second) = (self.address(2).to_string(), self.address(3).to_string());
        [
            "veth6",
            &first,
            "de:ad:be:ef:00:02",
            &second,
            "de:ad:be:ef:00:03",
        ]
        .map(String::from)
        .to_vec()
    }

    /// An error that shows which XDP program is still on an interface of the balancer's, if one is.
    pub fn check_detached(&self) -> Result<()> {
        for device in self.lb.devices()? {
            ensure!(
                device.xdp == Xdp::None,
                "{} still runs a program: {device:?}",
                device.name
            );
        }
        Ok(())
    }

    /// An error when anything of a balancer is still there: a program on an interface, or its maps, which
    /// live as long as anything holds them (a process, a pin, a link). Ask it of a net that is [`Plan::apart`].
    pub fn check_nothing_left(&self) -> Result<()> {
        self.check_detached()?;
        xdp::check_unloaded(self.address(2))
    }
}
