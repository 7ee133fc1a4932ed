//! Packets of flows, by what a test wants to say with them.

use std::net::IpAddr;

use xdplb_prog::abi::protocol;
use xdplb_prog::counters::Reason;
use xdplb_prog::model::{Model, Tables};
use xdplb_prog::model_tables::TestService;
use xdplb_prog::world::Settings;

use super::*;

pub const PORT: u16 = 40_000;
pub const BOTH: [u8; 2] = [protocol::TCP, protocol::UDP];

pub fn of(service: TestService, number: u8) -> TestService {
    if number == protocol::UDP {
        service.udp()
    } else {
        service
    }
}
/// A packet of a transport: UDP has no segments, only data.
pub fn packet(
    number: u8,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    segment: Segment,
    data: &[u8],
) -> Vec<u8> {
    if number == protocol::UDP {
        udp(from, to, data)
    } else {
        tcp(from, to, segment, data)
    }
}
pub fn from_client(packet: &[u8]) -> Vec<u8> {
    frame(CLIENT_MAC, BALANCER_MAC, Tags::None, packet)
}
/// A client's segment to the service.
pub fn ask(cast: &Cast, port: u16, segment: Segment) -> Vec<u8> {
    from_client(&tcp((cast.client, port), (cast.vip, 80), segment, b""))
}
/// The answer to what reached a backend.
pub fn answer(forwarded: &[u8], segment: Segment) -> Vec<u8> {
    let asked = read(ip(forwarded));
    let packet = tcp(asked.to(), asked.from(), segment, b"");
    frame(macs(forwarded).1, BALANCER_MAC, Tags::None, &packet)
}
/// Opens a connection and confirms it; the last frame to the backend.
pub fn establish(model: &Model, cast: &Cast, port: u16) -> Vec<u8> {
    let out = send(model, &ask(cast, port, Segment::Syn), Reason::Opened);
    send(model, &answer(&out, Segment::SynAck), Reason::Replied);
    send(model, &ask(cast, port, Segment::Ack), Reason::Forwarded)
}
pub fn sized(slots: u32, services: &[TestService]) -> Model {
    let settings = Settings {
        slots,
        buckets: (slots / 4).next_power_of_two(),
        ..settings()
    };
    Model::new(settings, Tables::of(services))
}
