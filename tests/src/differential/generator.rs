//! Packets by chance: as they come, and as they don't.

use std::net::IpAddr;

use xdplb_prog::abi::{Addr, Backend, Connection, Direction, backend, mode, protocol};
use xdplb_prog::model::Model;
use xdplb_prog::model_tables::{TestBackend, TestService};
use xdplb_prog::state::State;

use crate::packets::*;

/// Numbers by chance, the same in every run: xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled").
pub struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        high as usize % sides
    }
    /// One of these.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.roll(items.len())]
    }
    /// Once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }
    fn byte(&mut self) -> u8 {
        self.roll(256) as u8
    }
}

/// Ports of services: full NAT, direct return, IP in IP, IPv4 in IPv6, nobody there, few source ports, nobody knows the way.
const PORTS: [u16; 7] = [80, 81, 82, 83, 84, 85, 86];

/// A service of each kind for either family and transport, and one for every port that is left.
pub fn services() -> Vec<TestService> {
    let mut services = Vec::new();
    for cast in casts() {
        let here = cast.backends.map(|ip| TestBackend::new(ip, 0));
        let inside = v6().backends.map(|ip| TestBackend::new(ip, 0));
        let changed = |change: fn(&mut TestBackend)| {
            let mut backends = here;
            backends.iter_mut().for_each(change);
            backends
        };
        let away = changed(|one| one.flags |= backend::DRAINING);
        let lost = changed(|one| (one.flags, one.mac) = (backend::UP, [0; 6]));
        let service = |port, backends: &[TestBackend]| TestService::new(cast.vip, port, backends);
        for one in [
            service(80, &cast.backends.map(|ip| TestBackend::new(ip, 8000))),
            service(81, &here).mode(mode::DSR),
            service(82, &here).mode(mode::IPIP),
            service(83, &inside).mode(mode::IPIP),
            service(84, &away),
            service(85, &here[..1]).source_ports(2000, 2001),
            service(86, &lost),
            service(0, &changed(|one| one.flags = backend::UP)),
        ] {
            services.push(one.clone());
            services.push(one.udp());
        }
    }
    services
}

/// Makes packets.
pub struct Generator {
    /// What chance says.
    pub dice: Dice,
}

impl Generator {
    /// With that seed.
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        }
    }

    /// Some packets for a balancer that has these flows.
    pub fn batch(&mut self, model: &Model) -> Vec<Vec<u8>> {
        let live = model.live();
        let count = 1 + self.dice.roll(48);
        (0..count).map(|_| self.frame(&live)).collect()
    }

    /// A backend's new state: often one that flows have.
    pub fn backend(&mut self, model: &Model) -> (u32, Backend) {
        let (backends, live) = (model.backends_now(), model.live());
        let index = if live.is_empty() || self.dice.once_in(2) {
            self.dice.roll(backends.len())
        } else {
            self.dice.pick(&live).backend as usize
        };
        let up = if self.dice.once_in(3) { 0 } else { backend::UP };
        let old = backends[index];
        let flags = old.flags & !backend::UP | up;
        (index as u32, Backend { flags, ..old })
    }

    fn frame(&mut self, live: &[Connection]) -> Vec<u8> {
        let mut packet = match self.dice.roll(32) {
            0..12 => self.of_client(),
            12..24 if !live.is_empty() => {
                let flow = live[self.dice.roll(live.len())];
                self.of_flow(&flow)
            }
            24..28 if !live.is_empty() => {
                let flow = live[self.dice.roll(live.len())];
                self.error(&flow)
            }
            28 | 29 => self.echo(),
            30 => return self.nonsense(),
            _ => self.of_client(),
        };
        self.change_ip(&mut packet);
        let tags = self
            .dice
            .pick(&[Tags::None, Tags::None, Tags::None, Tags::Vlan, Tags::QinQ]);
        let from = [2, 0, 0, 0, self.dice.roll(2) as u8, 0xcc];
        let mut frame = frame(from, BALANCER_MAC, tags, &packet);
        self.damage(&mut frame);
        frame
    }

    fn data(&mut self) -> Vec<u8> {
        let most = self.dice.pick(&[0, 0, 8, 8, 64, 600, 1_480, 2_900]);
        let (length, filler) = (self.dice.roll(most + 1), self.dice.byte());
        (0..length)
            .map(|n| (n as u8).wrapping_mul(7).wrapping_add(filler))
            .collect()
    }

    fn cast(&mut self) -> Cast {
        self.dice.pick(&casts())
    }

    /// One of a few addresses of a family's clients.
    fn client(&mut self, cast: &Cast) -> IpAddr {
        let last = 1 + self.dice.roll(20) as u8;
        match cast.client {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                [a, b, c, last].into()
            }
            IpAddr::V6(ip) => {
                let mut octets = ip.octets();
                octets[15] = last;
                octets.into()
            }
        }
    }

    fn transport(
        &mut self,
        from: (IpAddr, u16),
        to: (IpAddr, u16),
        segments: &[Segment],
    ) -> Vec<u8> {
        let segment = self.dice.pick(segments);
        let data = self.data();
        tcp(from, to, segment, &data)
    }

    /// Any client's.
    fn of_client(&mut self) -> Vec<u8> {
        use Segment::{Ack, Fin, Rst, Syn, SynAck};
        let cast = self.cast();
        let from = (self.client(&cast), 1_000 + self.dice.roll(6) as u16);
        let to = (
            if self.dice.once_in(20) {
                cast.balancer
            } else {
                cast.vip
            },
            if self.dice.once_in(10) {
                self.dice.roll(200) as u16
            } else {
                self.dice.pick(&PORTS)
            },
        );
        let from = if self.dice.once_in(50) {
            (from.0, 0)
        } else {
            from
        };
        if self.dice.once_in(3) {
            let data = self.data();
            udp(from, to, &data)
        } else {
            self.transport(from, to, &[Syn, Syn, Syn, Syn, Ack, Fin, Rst, SynAck])
        }
    }

    /// One of a flow that is there, from either side.
    fn of_flow(&mut self, flow: &Connection) -> Vec<u8> {
        use Segment::{Ack, Fin, Rst, Syn, SynAck};
        let direct = flow.state & State::ONE_WAY != 0;
        let direction = if direct || self.dice.once_in(2) {
            Direction::Request
        } else {
            Direction::Reply
        };
        let (from, to) = ends(flow, direction);
        if flow.kind.protocol() == protocol::UDP {
            let data = self.data();
            return udp(from, to, &data);
        }
        match direction {
            Direction::Request => self.transport(from, to, &[Ack, Ack, Ack, Ack, Fin, Rst, Syn]),
            Direction::Reply => self.transport(from, to, &[SynAck, SynAck, Ack, Ack, Fin, Rst]),
        }
    }

    /// An error about a packet that the balancer, or a backend directly, sent to either side.
    fn error(&mut self, flow: &Connection) -> Vec<u8> {
        let direct = flow.state & State::ONE_WAY != 0;
        let direction = if direct || self.dice.once_in(2) {
            Direction::Request
        } else {
            Direction::Reply
        };
        let (to, from) = ends(flow, direction);
        let data = self.data();
        let mut quoted = if flow.kind.protocol() == protocol::UDP {
            udp(from, to, &data)
        } else {
            tcp(from, to, Segment::Ack, &data)
        };
        if self.dice.once_in(8) && flow.kind.protocol() == protocol::UDP {
            let at = quoted.len() - data.len() - 2;
            quoted[at..at + 2].copy_from_slice(&[0, 0]);
        }
        let least = if self.dice.once_in(10) {
            0
        } else {
            quoted.len() - data.len() - 12
        };
        quoted.truncate(least.max(1) + self.dice.roll(quoted.len()));
        if self.dice.once_in(20) {
            let at = self.dice.roll(quoted.len());
            quoted[at] = self.dice.byte();
        }
        let is_v6 = flow.kind.is_v6();
        let cast = if is_v6 { v6() } else { v4() };
        let reporter = if self.dice.once_in(3) {
            to.0
        } else {
            cast.router
        };
        let kind = if is_v6 {
            self.dice.pick(&[(1, 4), (2, 0), (3, 0), (4, 1), (135, 0)])
        } else {
            self.dice
                .pick(&[(3, 3), (3, 4), (4, 0), (11, 0), (12, 0), (5, 1)])
        };
        icmp(reporter, from.0, kind, [0, 0, 5, 0], &quoted)
    }

    fn echo(&mut self) -> Vec<u8> {
        let cast = self.cast();
        let to = self.dice.pick(&[cast.vip, cast.vip, cast.balancer]);
        let kind = if cast.is_v6() { 128 } else { 8 };
        let code = u8::from(self.dice.once_in(8));
        let data = self.data();
        icmp(self.client(&cast), to, (kind, code), [0, 1, 0, 2], &data)
    }

    /// Anything.
    fn nonsense(&mut self) -> Vec<u8> {
        let length = 14 + self.dice.roll(120);
        let mut frame: Vec<u8> = (0..length).map(|_| self.dice.byte()).collect();
        if !self.dice.once_in(4) {
            frame[..6].copy_from_slice(&BALANCER_MAC);
        }
        let ethertype = self
            .dice
            .pick(&[[8, 0], [0x86, 0xdd], [0x81, 0], [0x88, 0xa8], [8, 6]]);
        frame[12..14].copy_from_slice(&ethertype);
        frame
    }

    /// What senders and routers do to a packet.
    fn change_ip(&mut self, packet: &mut Vec<u8>) {
        let is_v4 = packet[0] >> 4 == 4;
        let transport = matches!(
            packet[if is_v4 { 9 } else { 6 }],
            protocol::TCP | protocol::UDP
        );
        if transport && self.dice.once_in(4) {
            defer(packet);
        } else if transport && self.dice.once_in(8) {
            let at = if is_v4 { 26 } else { 46 };
            if packet[if is_v4 { 9 } else { 6 }] == protocol::UDP {
                packet[at..at + 2].copy_from_slice(&[0, 0]);
            }
        }
        if self.dice.once_in(10) {
            *packet = with_options(packet);
        }
        if self.dice.once_in(20) {
            packet[if is_v4 { 8 } else { 7 }] = self.dice.roll(4) as u8;
        }
        if is_v4 && self.dice.once_in(20) {
            packet[6] = self.dice.pick(&[0x20, 0x40, 0x00, 0x20]);
            packet[7] = self.dice.pick(&[0, 0, 185]);
        }
        if !is_v4 && self.dice.once_in(30) {
            packet[6] = self.dice.pick(&[44, 43, 0, 60, 59, 51]);
        }
    }

    /// What should not happen on the way.
    fn damage(&mut self, frame: &mut Vec<u8>) {
        if self.dice.once_in(8) {
            for _ in 0..1 + self.dice.roll(3) {
                let at = self.dice.roll(frame.len().min(110));
                frame[at] = self.dice.byte();
            }
        }
        if self.dice.once_in(12) {
            frame.truncate(14 + self.dice.roll(frame.len() - 13));
        }
        if self.dice.once_in(10) {
            frame.extend([0xaa; 9]);
        }
    }
}

type End = (IpAddr, u16);

/// Whom a packet of a flow comes from and goes to, on its way to the balancer.
fn ends(flow: &Connection, direction: Direction) -> (End, End) {
    let cast = if flow.kind.is_v6() { v6() } else { v4() };
    let (ports, from, to) = match direction {
        Direction::Request => (flow.request_ports, flow.client, flow.vip),
        Direction::Reply => (flow.reply_ports, flow.target, Addr::from(cast.balancer)),
    };
    let end = |ip: Addr, port: xdplb_prog::abi::Be16| (ip.into(), port.get());
    (end(from, ports.source), end(to, ports.destination))
}
