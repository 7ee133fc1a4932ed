//! What every test of a service asks of it: both backends reached, everything intact, the right addresses seen.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Answer, Connection};
use crate::decap::Decapsulator;
use crate::server::Server;
use crate::services::{Backend, Forward, Protocol, Service};
use crate::topology::{Family, LB, Mode, PORT, Topology, VIP};
use crate::udp::{UdpClient, UdpServer};

/// The port that servers listen on behind NAT: another than the service's.
pub const BACKEND_PORT: u16 = 9000;
/// Tries until both of two backends have been picked: by chance more are needed once in 2⁶³ times.
const TRIES: usize = 64;

/// One service of each mode, distinguished by its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Full NAT, to another port.
    Nat,
    /// Direct return.
    Dsr,
    /// By tunnel, in the service's own family.
    Ipip,
    /// By tunnel, IPv4 in IPv6.
    Ipip4In6,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Nat, Kind::Dsr, Kind::Ipip, Kind::Ipip4In6];

    /// The port of its service.
    pub fn port(self) -> u16 {
        PORT + self as u16
    }

    /// Its mode.
    pub fn forward(self) -> Forward {
        match self {
            Kind::Nat => Forward::Nat,
            Kind::Dsr => Forward::Dsr,
            Kind::Ipip | Kind::Ipip4In6 => Forward::Ipip,
        }
    }

    /// The families of clients that there can be.
    pub fn families(self) -> &'static [Family] {
        match self {
            Kind::Nat | Kind::Dsr | Kind::Ipip => &Family::ALL,
            Kind::Ipip4In6 => &[Family::V4],
        }
    }

    /// The address of a backend, for clients of that family.
    pub fn backend(self, topology: &Topology, family: Family, index: usize) -> IpAddr {
        match self {
            Kind::Nat | Kind::Dsr | Kind::Ipip => topology.backend(family, index),
            Kind::Ipip4In6 => topology.backend(Family::V6, index),
        }
    }

    /// Where its server listens in that backend.
    fn listens(self, topology: &Topology, family: Family, index: usize) -> SocketAddr {
        match self.forward() {
            Forward::Nat => (topology.backend(family, index), BACKEND_PORT).into(),
            Forward::Dsr | Forward::Ipip => topology.vip(family, self.port()),
        }
    }

    /// The service over these backends, whose Ethernet addresses are looked up.
    pub fn service(
        self,
        topology: &Topology,
        family: Family,
        protocol: Protocol,
        backends: &[usize],
    ) -> Service {
        let backend = |index: &usize| {
            let backend = Backend::at(self.backend(topology, family, *index));
            match self {
                Kind::Nat => backend.port(BACKEND_PORT),
                Kind::Dsr | Kind::Ipip | Kind::Ipip4In6 => backend,
            }
        };
        Service {
            at: topology.vip(family, self.port()),
            protocol,
            forward: self.forward(),
            source_ports: None,
            backends: backends.iter().map(backend).collect(),
        }
    }
}

/// Every service of these kinds, in both families and protocols.
pub fn services(topology: &Topology, kinds: &[Kind], backends: &[usize]) -> Vec<Service> {
    let mut found = Vec::new();
    for kind in kinds {
        for family in kind.families() {
            for protocol in Protocol::ALL {
                found.push(kind.service(topology, *family, protocol, backends));
            }
        }
    }
    found
}

/// What a service of this kind wants of its clients: to a tunnel in generic mode their devices cut what they send.
pub fn suit(topology: &Topology, kind: Kind, mode: Mode) -> Result<()> {
    match (kind.forward(), mode) {
        (Forward::Ipip, Mode::Generic) => Topology::cut_segments(&topology.clients, "veth0"),
        (Forward::Ipip, Mode::Native) | (Forward::Nat | Forward::Dsr, _) => Ok(()),
    }
}

/// Servers of these kinds in both backends, and the ends of their tunnels.
#[derive(Debug)]
pub struct Servers {
    _tcp: Vec<Server>,
    _udp: Vec<UdpServer>,
    /// One in each backend, where there are tunnels.
    pub tunnels: Vec<Decapsulator>,
}

impl Servers {
    /// Starts them all.
    pub fn start(topology: &Topology, kinds: &[Kind]) -> Result<Self> {
        topology.return_directly()?;
        let (mut tcp, mut udp, mut tunnels) = (Vec::new(), Vec::new(), Vec::new());
        for (index, namespace) in topology.backends.iter().enumerate() {
            for kind in kinds {
                for family in kind.families() {
                    let at = kind.listens(topology, *family, index);
                    tcp.push(Server::start(namespace, at)?);
                    udp.push(UdpServer::start(namespace, at)?);
                }
            }
            if kinds.iter().any(|kind| kind.forward() == Forward::Ipip) {
                let ends = Family::ALL.map(|family| topology.backend(family, index));
                let device = Topology::backend_device(index);
                tunnels.push(Decapsulator::start(namespace, device, &ends)?);
            }
        }
        Ok(Self {
            _tcp: tcp,
            _udp: udp,
            tunnels,
        })
    }
}

/// An error when the server saw another client than this kind of service shows it.
pub fn check_peer(topology: &Topology, kind: Kind, family: Family, answer: &Answer) -> Result<()> {
    let peer = answer.peer.ip();
    let right = match kind.forward() {
        Forward::Nat => [LB, VIP].map(|n| topology.host(family, n)).contains(&peer),
        Forward::Dsr | Forward::Ipip => peer == topology.client(family),
    };
    ensure!(right, "{kind:?}: {answer:?}");
    Ok(())
}

/// Opens until each of `count` backends has one.
fn one_to_each<T>(
    count: usize,
    open: impl Fn() -> Result<(Answer, T)>,
) -> Result<Vec<(Answer, T)>> {
    let mut found = BTreeMap::new();
    for _ in 0..TRIES {
        let (answer, one) = open()?;
        found.entry(answer.backend.clone()).or_insert((answer, one));
        if found.len() == count {
            return Ok(found.into_values().collect());
        }
    }
    bail!("{TRIES} flows reached only {:?}", found.keys())
}

/// Bodies of many lengths, both ways, over a connection to each of `count` backends.
pub fn connections(
    topology: &Topology,
    kind: Kind,
    family: Family,
    count: usize,
    lengths: &[usize],
) -> Result<()> {
    let to = topology.vip(family, kind.port());
    let run = || {
        let open = || {
            let mut connection = Connection::open(&topology.clients, to)?;
            Ok((connection.get(1)?, connection))
        };
        for (first, mut connection) in one_to_each(count, open)? {
            check_peer(topology, kind, family, &first)?;
            for length in lengths {
                for answer in [connection.get(*length)?, connection.echo(*length)?] {
                    ensure!(answer == first, "{length} bytes: {answer:?}, not {first:?}");
                }
            }
            connection.close()?;
        }
        Ok(())
    };
    run().with_context(|| format!("{kind:?}, {to}/tcp"))
}

/// Datagrams of many lengths to each of `count` backends and back.
pub fn datagrams(
    topology: &Topology,
    kind: Kind,
    family: Family,
    count: usize,
    lengths: &[usize],
) -> Result<()> {
    let to = topology.vip(family, kind.port());
    let run = || {
        let open = || {
            let client = UdpClient::open(&topology.clients, to)?;
            Ok((client.who()?, client))
        };
        for (first, client) in one_to_each(count, open)? {
            check_peer(topology, kind, family, &first)?;
            lengths.iter().try_for_each(|length| client.echo(*length))?;
            let last = client.who()?;
            ensure!(last == first, "{last:?}, not {first:?}");
        }
        Ok(())
    };
    run().with_context(|| format!("{kind:?}, {to}/udp"))
}
