//! The wires: who hangs where, with which addresses.

use anyhow::Result;

use super::{FAR, Family, GATE, HOP, LB, NARROW, Net, Place, Topology, mac};
use crate::netns::{Families, Netns};
use crate::rtnl::{Change, Rtnl};
use crate::tags::Trunk;

/// A host on its wire, or at the end of a way of routers.
struct Leg<'t> {
    host: &'t Netns,
    device: &'static str,
    port: &'static str,
    number: u8,
    place: Place,
    /// Which of [`FAR`], [`HOP`], [`GATE`] it has when it is behind a router.
    side: usize,
}

impl Topology {
    pub(super) fn wire(&mut self) -> Result<()> {
        self.bridge.wire(|rtnl| {
            rtnl.bridge("br0")?;
            rtnl.set("br0", Change::Up)
        })?;
        self.on_bridge("veth2", &self.backends[0], "veth3", 2)?;
        if self.plan.tags.is_empty() {
            self.on_bridge("veth7", &self.lb, "veth6", LB)?;
        } else {
            let trunk = Trunk::lay(&self.bridge, "veth7", &self.lb, "veth6", self.plan.tags)?;
            self.trunk = Some(trunk);
            self.join("veth7")?;
            self.name(&self.lb, "veth6", LB)?;
        }
        let client = Leg {
            host: &self.clients,
            device: "veth0",
            port: "veth1",
            number: 1,
            place: self.plan.place,
            side: 0,
        };
        let second = Leg {
            host: &self.backends[1],
            device: "veth5",
            port: "veth4",
            number: 3,
            place: self.plan.second,
            side: 1,
        };
        self.routers = [self.lay(&client)?, self.lay(&second)?];
        self.more_clients()
    }

    /// Everything between the bridge and a host; the routers of it.
    fn lay(&self, leg: &Leg<'_>) -> Result<Vec<Netns>> {
        let router = |name| {
            let router = Netns::with(name, self.plan.families)?;
            router.sysctl(&[("net/ipv4/ip_forward", "1")])?;
            if self.plan.families == Families::Both {
                router.sysctl(&[("net/ipv6/conf/all/forwarding", "1")])?;
            }
            anyhow::Ok(router)
        };
        let (far, hop, gate) = (FAR[leg.side], HOP[leg.side], GATE[leg.side]);
        let last = match leg.place {
            Place::Local => {
                self.on_bridge(leg.port, leg.host, leg.device, leg.number)?;
                return Ok(Vec::new());
            }
            Place::Routed | Place::Narrow => router("r")?,
        };
        let routers = match leg.place {
            Place::Narrow => {
                let first = router("r1")?;
                self.on_bridge(leg.port, &first, "up", gate)?;
                first.wire(|rtnl| {
                    rtnl.veth("down", "up", last.handle())?;
                    rtnl.set("down", Change::Mtu(NARROW))?;
                    self.addresses(rtnl, "down", hop, 1)?;
                    rtnl.set("down", Change::Up)
                })?;
                last.wire(|rtnl| {
                    rtnl.set("up", Change::Mtu(NARROW))?;
                    self.addresses(rtnl, "up", hop, 2)?;
                    rtnl.set("up", Change::Up)?;
                    self.each(|family| rtnl.default_route(hop.host(family, 1)))
                })?;
                first.wire(|rtnl| self.way(rtnl, far, hop, 2))?;
                vec![first, last]
            }
            Place::Local | Place::Routed => {
                self.on_bridge(leg.port, &last, "up", gate)?;
                vec![last]
            }
        };
        if let Some(last) = routers.last() {
            last.wire(|rtnl| {
                rtnl.veth("down", leg.device, leg.host.handle())?;
                self.addresses(rtnl, "down", far, 254)?;
                rtnl.set("down", Change::Up)
            })?;
        }
        leg.host.wire(|rtnl| {
            let [a, b, c, d, _, f] = mac(leg.number);
            rtnl.set(leg.device, Change::Mac([a, b, c, d, 1, f]))?;
            self.addresses(rtnl, leg.device, far, leg.number)?;
            rtnl.set(leg.device, Change::Up)?;
            self.each(|family| rtnl.default_route(far.host(family, 254)))
        })?;
        Ok(routers)
    }

    /// A veth pair from the bridge to a host, made in the two namespaces themselves.
    pub(super) fn on_bridge(
        &self,
        port: &str,
        host: &Netns,
        device: &str,
        number: u8,
    ) -> Result<()> {
        self.bridge
            .wire(|rtnl| rtnl.veth(port, device, host.handle()))?;
        self.join(port)?;
        self.name(host, device, number)
    }

    fn join(&self, port: &str) -> Result<()> {
        self.bridge.wire(|rtnl| {
            rtnl.set(port, Change::Master("br0"))?;
            rtnl.set(port, Change::Up)
        })
    }

    /// Gives a device on the bridge's net its MAC and addresses.
    fn name(&self, host: &Netns, device: &str, number: u8) -> Result<()> {
        host.wire(|rtnl| {
            rtnl.set(device, Change::Mac(mac(number)))?;
            self.addresses(rtnl, device, self.net(), number)?;
            rtnl.set(device, Change::Up)
        })
    }

    pub(super) fn addresses(&self, rtnl: &Rtnl, device: &str, net: Net, number: u8) -> Result<()> {
        self.each(|family| rtnl.address(device, net.host(family, number), Net::prefix(family)))
    }

    /// The way to `net`, through host `number` of the net `via`.
    pub(super) fn way(&self, rtnl: &Rtnl, net: Net, via: Net, number: u8) -> Result<()> {
        self.each(|family| {
            let to = net.host(family, 0);
            rtnl.route(to, Net::prefix(family), via.host(family, number))
        })
    }

    pub(super) fn each(&self, action: impl FnMut(Family) -> Result<()>) -> Result<()> {
        self.families().iter().copied().try_for_each(action)
    }

    fn more_clients(&self) -> Result<()> {
        let net = self.clients_net();
        self.clients.wire(|rtnl| {
            (1..self.plan.clients)
                .try_for_each(|number| self.addresses(rtnl, "veth0", net, 100 + number))
        })
    }
}
