//! The flow table of a running balancer, read while it works: a record that changes in that moment may be seen half old, half
//! new, and is then left out.

use std::net::{IpAddr, SocketAddr};

use xdplb_prog::abi::{Addr, Be16, Connection, protocol};
use xdplb_prog::state::{EXPIRED, State, worth};

use super::before::Census;
use super::running::Running;
use super::settings::Machine;
use super::tables::decode_connection;
use crate::kernel::KernelError;

/// The program's clock, by which flows age.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    now: u32,
    ticks_per_second: u32,
}

impl Clock {
    /// Reads it.
    pub fn of(machine: &Machine) -> Self {
        Self {
            now: machine.now(),
            ticks_per_second: machine.ticks_per_second,
        }
    }

    /// A clock that stands there.
    pub fn at(now: u32, ticks_per_second: u32) -> Self {
        Self {
            now,
            ticks_per_second,
        }
    }

    /// Ticks since the flow's last packet. One that came after the clock was read is new.
    fn idle(&self, flow: &Connection) -> u32 {
        let idle = self.now.wrapping_sub(flow.last_seen);
        if idle > u32::MAX / 2 { 0 } else { idle }
    }

    /// Seconds since the flow's last packet.
    pub fn idle_seconds(&self, flow: &Connection) -> u32 {
        self.idle(flow) / self.ticks_per_second.max(1)
    }

    /// Whether it is neither free nor expired; one that is closed still knows where late packets belong.
    pub fn is_live(&self, flow: &Connection) -> bool {
        is_record(flow) && worth(flow.state, self.idle(flow), self.ticks_per_second) < EXPIRED
    }

    /// Whether more is to come on it than retransmissions.
    pub fn is_open(&self, flow: &Connection) -> bool {
        self.is_live(flow) && !State::closed(flow.state)
    }
}

/// Whether it is a whole record, expired or not.
fn is_record(flow: &Connection) -> bool {
    flow.state != State::FREE && flow.generation & 1 == 0
}

/// Hands every record to a visitor, with its slot.
///
/// # Errors
/// The kernel's.
pub fn visit(
    running: &Running,
    visitor: &mut dyn FnMut(u32, &Connection),
) -> Result<(), KernelError> {
    let Some(map) = running.map("connections") else {
        return Ok(());
    };
    map.visit(&mut |slot, value| {
        let slot = slot.try_into().map_or(0, u32::from_ne_bytes);
        // Most of a table is free: that shows without a look at the rest.
        let at = std::mem::offset_of!(Connection, state);
        if value.get(at..at + 4) == Some(&[0; 4]) {
            return;
        }
        if let Some(flow) = decode_connection(value).filter(is_record) {
            visitor(slot, &flow);
        }
    })
}

/// Counts them.
///
/// # Errors
/// The kernel's.
pub fn census(running: &Running, machine: &Machine) -> Result<Census, KernelError> {
    let clock = Clock::of(machine);
    let mut census = Census::default();
    visit(running, &mut |_, flow| {
        census.add(flow, clock.is_open(flow))
    })?;
    Ok(census)
}

/// The word for how far a flow has come.
pub fn state_name(state: u32) -> &'static str {
    if state & State::RESET != 0 {
        "reset"
    } else if State::closed(state) {
        "closed"
    } else if state & (State::CLIENT_FIN | State::BACKEND_FIN) != 0 {
        "closing"
    } else if state & State::CONFIRMED != 0 {
        "established"
    } else if state & State::ANSWERED != 0 {
        "answered"
    } else {
        "opening"
    }
}

/// Every word of [`state_name`].
pub const STATES: [&str; 6] = [
    "opening",
    "answered",
    "established",
    "closing",
    "closed",
    "reset",
];

/// `tcp` or `udp`.
pub fn protocol_name(flow: &Connection) -> &'static str {
    match flow.kind.protocol() {
        protocol::UDP => "udp",
        _ => "tcp",
    }
}

/// The client's end.
pub fn client(flow: &Connection) -> SocketAddr {
    socket(flow.client, flow.request_ports.source)
}

/// The service's end.
pub fn vip(flow: &Connection) -> SocketAddr {
    socket(flow.vip, flow.request_ports.destination)
}

/// The backend's end, and the balancer's port towards it; None where the backend answers the client itself.
pub fn target(flow: &Connection) -> Option<(SocketAddr, u16)> {
    let nat = flow.state & State::ONE_WAY == 0;
    nat.then(|| {
        let target = socket(flow.target, flow.reply_ports.source);
        (target, flow.reply_ports.destination.get())
    })
}

/// A flow's end.
fn socket(addr: Addr, port: Be16) -> SocketAddr {
    SocketAddr::new(IpAddr::from(addr), port.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_words() {
        let established = State::OPEN | State::ANSWERED | State::CONFIRMED;
        let both = State::CLIENT_FIN | State::BACKEND_FIN;
        let words = [
            State::OPEN,
            State::OPEN | State::ANSWERED,
            established,
            established | State::CLIENT_FIN,
            established | both,
            established | State::BACKEND_RESET,
        ]
        .map(state_name);
        assert_eq!(words, STATES);
    }
}
