//! `ask`: what the balancer would do with a packet, and why, without doing it.

use std::net::IpAddr;

use anyhow::{Context, Result, anyhow};
use xdplb_prog::abi::{Connection, Mac, stage};

use super::answer::{Answer, Known, text};
use super::command_line::as_root;
use super::interfaces::{Interface, all, no_balancer};
use super::{AskArgs, say, say_json};
use crate::balancer::ask::{Asked, ask};
use crate::balancer::device::Device;
use crate::balancer::flows::Clock;
use crate::balancer::packet::Packet;
use crate::balancer::program;
use crate::balancer::readback::Stored;
use crate::balancer::running::{Occupant, Running};
use crate::balancer::settings::Machine;
use crate::balancer::tables::{decode_connection, index_key};
use crate::balancer::twin::TwinError;
use crate::netlink::Socket;

/// The sender's Ethernet address where the neighbour table has none for it: one of nobody's, locally administered.
const MADE_UP: Mac = [2, 0, 0, 0, 0, 1];

/// Asks, and prints the answer.
pub(super) fn run(args: &AskArgs) -> Result<()> {
    let packet = Packet::parse(&args.packet)?;
    let socket = Socket::open()?;
    let device = Device::find(&socket, &args.ifname)?;
    let running = balancer(&socket, &args.ifname)?;
    let spec = program::parse(crate::PROGRAM).context("the built-in program")?;
    let settings = running.settings(&spec)?.ok_or(TwinError::Version);
    let settings = settings.with_context(|| args.ifname.clone())?;
    let from = sender(&socket, &device, packet.source.ip())?;
    let frame = packet.frame(from, device.mac);
    let asked = ask(&spec, &running, device.ifindex, &frame);
    let asked = asked.with_context(|| args.ifname.clone())?;
    let known = Known {
        ifname: &args.ifname,
        stored: &Stored::read(&running)?,
        settings: &settings,
        flow: flow(&running, &asked)?,
    };
    let answer = Answer::of(&frame, &asked, &known);
    if args.json {
        return say_json(&answer);
    }
    say(format_args!("{}", text(&answer)));
    Ok(())
}

/// The balancer at an interface, which must have one.
pub(super) fn balancer(socket: &Socket, ifname: &str) -> Result<Box<Running>> {
    let found = all(socket, Some(ifname))?.into_iter().next();
    match found.map(|Interface { occupant, .. }| occupant) {
        Some(Occupant::Ours(running)) => Ok(running),
        Some(Occupant::Foreign(foreign)) if foreign.name.is_none() => {
            let error = no_balancer(ifname, &Occupant::Foreign(foreign));
            Err(anyhow!("{error}\n  try:  {}", as_root()))
        }
        Some(other) => Err(no_balancer(ifname, &other)),
        None => Err(no_balancer(ifname, &Occupant::Nothing)),
    }
}

/// Where a frame of that host comes from.
fn sender(socket: &Socket, device: &Device, ip: IpAddr) -> Result<Mac> {
    let found = socket.neighbour(device.ifindex, ip)?;
    let mac = found.and_then(|neighbour| neighbour.mac);
    Ok(mac.map_or(MADE_UP, |mac| mac.0))
}

/// The record of the flow that was found.
fn flow(running: &Running, asked: &Asked) -> Result<Option<(Connection, u32)>> {
    let known = asked.told.reached(stage::REQUEST | stage::REPLY);
    let Some(map) = running.map("connections").filter(|_| known) else {
        return Ok(None);
    };
    let value = map.lookup(&index_key(asked.told.event.slot))?;
    let flow = value.and_then(|value| decode_connection(&value));
    let clock = Clock::of(&Machine::ask());
    Ok(flow.map(|flow| (flow, clock.idle_seconds(&flow))))
}
