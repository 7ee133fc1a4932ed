//! The network of the bench: a client, two servers, and a place for each balancer, all on one bridge, so that what is compared
//! stands there all the time and a turn is no more than another address to send requests to.
//!
//! ```text
//!    h1 (client)      h2, h3 (servers)      b10 … b16 (balancers)
//!      10.0.0.1       10.0.0.2, 10.0.0.3    10.0.0.10 … 10.0.0.16
//!         |                 |  |               |  |  |
//!         +-----------------+--+--- br0, in sw +--+--+
//! ```
//! Host N is 10.0.0.N, its device `eth0` has the MAC de:ad:be:ef:00:N, its port of the bridge is `pN`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xdplb_tests::netns::Netns;
use xdplb_tests::rtnl::{self, Change, Port};
use xdplb_tests::topology::check_checksums;

/// The port that the servers and the balancers listen on.
pub const PORT: u16 = 8000;
/// The device of a host.
pub const DEVICE: &str = "eth0";
/// The client's number, and the servers'.
const CLIENT: u8 = 1;
const SERVERS: [u8; 2] = [2, 3];
/// The first balancer's.
const FIRST: u8 = 10;

/// The checksums of what client and servers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// Computed by the sender, as what comes from a wire has them.
    Whole,
    /// Left to a card that veth does not have: nobody ever computes them, unless who stands between must.
    Undone,
}

/// A machine on the bridge.
#[derive(Debug)]
pub struct Host {
    /// Its network.
    pub netns: Netns,
    number: u8,
}

impl Host {
    fn new(name: &str, number: u8) -> Result<Self> {
        let netns = Netns::new(name)?;
        Ok(Self { netns, number })
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, self.number)
    }

    /// Where it listens.
    pub fn socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(), PORT)
    }

    /// Its MAC.
    pub fn mac(&self) -> [u8; 6] {
        [0xde, 0xad, 0xbe, 0xef, 0, self.number]
    }

    /// The other end of its wire, in the bridge's namespace.
    pub fn port(&self) -> String {
        format!("p{}", self.number)
    }
}

/// All of it.
#[derive(Debug)]
pub struct Net {
    /// Where requests come from.
    pub client: Host,
    /// The switch's namespace.
    pub bridge: Netns,
    /// Where they are answered.
    pub servers: [Host; 2],
    /// Where balancers stand.
    pub places: Vec<Host>,
    /// What is sent.
    pub checksums: Checksums,
}

impl Net {
    /// With so many places.
    pub fn new(places: u8, checksums: Checksums) -> Result<Self> {
        let [first, second] = SERVERS;
        let net = Self {
            client: Host::new("h1", CLIENT)?,
            bridge: Netns::new("sw")?,
            servers: [Host::new("h2", first)?, Host::new("h3", second)?],
            places: (FIRST..FIRST + places)
                .map(|number| Host::new(&format!("b{number}"), number))
                .collect::<Result<_>>()?,
            checksums,
        };
        net.wire()?;
        net.compute_checksums()?;
        net.wait_until_forwarding()?;
        Ok(net)
    }

    fn hosts(&self) -> impl Iterator<Item = &Host> {
        [&self.client]
            .into_iter()
            .chain(&self.servers)
            .chain(&self.places)
    }

    fn wire(&self) -> Result<()> {
        self.bridge.wire(|rtnl| {
            rtnl.bridge("br0")?;
            rtnl.set("br0", Change::Up)
        })?;
        for host in self.hosts() {
            let port = host.port();
            self.bridge.wire(|rtnl| {
                rtnl.veth(&port, DEVICE, host.netns.handle())?;
                rtnl.set(&port, Change::Master("br0"))?;
                rtnl.set(&port, Change::Up)
            })?;
            host.netns.wire(|rtnl| {
                rtnl.set(DEVICE, Change::Mac(host.mac()))?;
                rtnl.address(DEVICE, host.address(), 24)?;
                rtnl.set(DEVICE, Change::Up)
            })?;
        }
        Ok(())
    }

    /// Makes client and servers do so where they are to.
    fn compute_checksums(&self) -> Result<()> {
        if self.checksums == Checksums::Undone {
            return Ok(()); // veth's default
        }
        for host in [&self.client].into_iter().chain(&self.servers) {
            host.netns.run(|| rtnl::transmit_checksums_off(DEVICE))?;
        }
        Ok(())
    }

    /// An error when a client or server has thrown a segment away for its checksum.
    pub fn check_checksums(&self) -> Result<()> {
        for host in [&self.client].into_iter().chain(&self.servers) {
            check_checksums(&host.netns)?;
        }
        Ok(())
    }

    /// Until the ports forward a frame can be lost, and with it the second until TCP sends it again.
    fn wait_until_forwarding(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(10);
        let wanted = self.hosts().count();
        loop {
            let devices = self.bridge.devices()?;
            let ports = devices.iter().filter_map(|device| device.port);
            let forwarding = ports.filter(|port| *port == Port::Forwarding).count();
            if forwarding == wanted {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "{forwarding} of {wanted} ports forward"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
