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
//! NET is 10.0.0 unless asked otherwise. Behind a router h1 is 10.1.0.1 and hangs on `r`, whose bridge
//! side is NET.254, …:00:fe. Offloads stay as the kernel sets them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;
use crate::rtnl::{self, Change, Port, Xdp};
use crate::server::Server;
use crate::xdp::{self, Stub};

/// The port that the servers listen on, as in the tutorial.
pub const PORT: u16 = 8000;

/// How the program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In veth's driver; the peer gets the program without which frames are lost (facts.md §2).
    Native,
    /// In the network stack.
    Generic,
}

impl Mode {
    /// Both.
    pub const ALL: [Mode; 2] = [Mode::Generic, Mode::Native];

    /// The word after `--xdp-mode`.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        }
    }
}

/// Where the client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the bridge, like everyone else.
    Local,
    /// In another subnet, behind a router.
    Routed,
}

/// What to build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The first three bytes of every address but the routed client's.
    pub net: [u8; 3],
    /// Addresses of the client; the first is the tutorial's, the others begin at .101.
    pub clients: u8,
    /// Where the client stands.
    pub place: Place,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            net: [10, 0, 0],
            clients: 1,
            place: Place::Local,
        }
    }
}

impl Plan {
    /// With a net that no other test has, so that what is found in the kernel with its addresses is this test's.
    pub fn apart() -> Self {
        static COUNTER: AtomicU8 = AtomicU8::new(0);
        let ours = 64 + (std::process::id() % 128) as u8;
        Self {
            net: [10, ours, COUNTER.fetch_add(1, Ordering::Relaxed)],
            ..Self::default()
        }
    }
}

/// The network, up and forwarding.
#[derive(Debug)]
pub struct Topology {
    plan: Plan,
    /// The clients' namespace, h1.
    pub clients: Netns,
    /// The bridge's, sw.
    pub bridge: Netns,
    /// The balancer's, lb.
    pub lb: Netns,
    /// The servers', h2 and h3.
    pub backends: [Netns; 2],
    router: Option<Netns>,
}

impl Topology {
    /// The tutorial's own.
    pub fn seed() -> Result<Self> {
        Self::build(Plan::default())
    }

    /// Another one.
    pub fn build(plan: Plan) -> Result<Self> {
        let topology = Self {
            clients: Netns::new("h1")?,
            bridge: Netns::new("sw")?,
            lb: Netns::new("lb")?,
            backends: [Netns::new("h2")?, Netns::new("h3")?],
            router: match plan.place {
                Place::Local => None,
                Place::Routed => Some(Netns::new("r")?),
            },
            plan,
        };
        topology.wire()?;
        topology.wait_until_forwarding()?;
        Ok(topology)
    }

    fn wire(&self) -> Result<()> {
        self.bridge.wire(|rtnl| {
            rtnl.bridge("br0")?;
            rtnl.set("br0", Change::Up)
        })?;
        self.pair("veth2", &self.backends[0], "veth3", 2)?;
        self.pair("veth4", &self.backends[1], "veth5", 3)?;
        self.pair("veth7", &self.lb, "veth6", 10)?;
        let Some(router) = &self.router else {
            self.pair("veth1", &self.clients, "veth0", 1)?;
            return self.more_clients(self.plan.net);
        };
        self.pair("veth1", router, "veth8", 0xfe)?;
        router.run(|| Ok(std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))?;
        let gateway = Ipv4Addr::new(10, 1, 0, 254);
        router.wire(|rtnl| {
            rtnl.veth("veth9", "veth0", self.clients.handle())?;
            rtnl.address("veth9", gateway, 24)?;
            rtnl.set("veth9", Change::Up)
        })?;
        self.clients.wire(|rtnl| {
            rtnl.set("veth0", Change::Mac([0xde, 0xad, 0xbe, 0xef, 1, 1]))?;
            rtnl.address("veth0", Ipv4Addr::new(10, 1, 0, 1), 24)?;
            rtnl.set("veth0", Change::Up)?;
            rtnl.default_route(gateway)
        })?;
        self.more_clients([10, 1, 0])
    }

    /// A veth pair from the bridge to a host, made in the two namespaces themselves.
    fn pair(&self, port: &str, host: &Netns, device: &str, number: u8) -> Result<()> {
        self.bridge.wire(|rtnl| {
            rtnl.veth(port, device, host.handle())?;
            rtnl.set(port, Change::Master("br0"))?;
            rtnl.set(port, Change::Up)
        })?;
        // The tutorial's MACs carry the address's decimal digits: .10 is …:00:10.
        let mac = if number == 10 { 0x10 } else { number };
        host.wire(|rtnl| {
            rtnl.set(device, Change::Mac([0xde, 0xad, 0xbe, 0xef, 0, mac]))?;
            rtnl.address(device, self.address(number), 24)?;
            rtnl.set(device, Change::Up)
        })
    }

    fn more_clients(&self, [a, b, c]: [u8; 3]) -> Result<()> {
        self.clients.wire(|rtnl| {
            (1..self.plan.clients).try_for_each(|number| {
                rtnl.address("veth0", Ipv4Addr::new(a, b, c, 100 + number), 24)
            })
        })
    }

    /// Until the ports forward a frame can be lost, and with it the seconds until TCP sends it again.
    fn wait_until_forwarding(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let devices = self.bridge.devices()?;
            let forwarding = devices
                .iter()
                .filter(|device| device.port == Some(Port::Forwarding))
                .count();
            if forwarding == 4 {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "br0: {forwarding} of 4 ports forward after 10 s: {devices:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn net(&self, host: u8) -> [u8; 4] {
        let [a, b, c] = self.plan.net;
        [a, b, c, host]
    }

    /// The address of a host in the net.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::from(self.net(host))
    }

    /// Where clients connect to.
    pub fn service(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(10), PORT)
    }

    /// The server in h2 or h3.
    pub fn server(&self, index: usize) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(if index == 0 { 2 } else { 3 }), PORT)
    }

    /// The clients' addresses.
    pub fn client_addresses(&self) -> Vec<Ipv4Addr> {
        let [a, b, c] = match self.plan.place {
            Place::Local => self.plan.net,
            Place::Routed => [10, 1, 0],
        };
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
            Mode::Native => xdp::Stub::attach(&self.bridge, "veth7").map(Some),
        }
    }

    /// Makes a device compute the checksums of what it sends, which veth otherwise leaves undone
    /// (CHECKSUM_PARTIAL) and whoever gets such a packet does not look at. After that the receiver does.
    pub fn compute_checksums(namespace: &Netns, device: &str) -> Result<()> {
        namespace.run(|| rtnl::transmit_checksums_off(device))
    }

    /// An error when a client or server has thrown a segment away for its checksum.
    pub fn check_checksums(&self) -> Result<()> {
        for namespace in [&self.clients, &self.backends[0], &self.backends[1]] {
            // Not /proc/net: that is the network of the process's first thread.
            let path = "/proc/thread-self/net/snmp";
            let text = namespace.run(|| std::fs::read_to_string(path).context(path))?;
            let wrong = tcp_counter(&text, "InCsumErrors").context(path)?;
            ensure!(
                wrong == 0,
                "{}: {wrong} segments with a wrong checksum",
                namespace.name()
            );
        }
        Ok(())
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

/// A counter of the two lines `Tcp:` in /proc/net/snmp: names, then numbers.
pub fn tcp_counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let column = names.split(' ').position(|word| word == name)?;
    numbers.split(' ').nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stand_below_their_names() {
        let text = "Ip: A B\nIp: 1 2\nTcp: InSegs InCsumErrors\nTcp: -1 7\n";
        assert_eq!(tcp_counter(text, "InCsumErrors"), Some(7));
        assert_eq!(tcp_counter(text, "OutRsts"), None);
        assert_eq!(tcp_counter("Tcp: A\n", "A"), None);
    }
}
