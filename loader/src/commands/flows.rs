//! `flows`: the connections of a balancer, one a line, written while the table is read.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;

use anyhow::{Result, anyhow};
use clap::Args;
use serde::Serialize;
use xdplb_prog::abi::Connection;

use super::interfaces::balancers;
use crate::balancer::flows::{self, Clock, STATES};
use crate::balancer::readback::Stored;
use crate::balancer::service::{BackendKey, ServiceKey};
use crate::balancer::settings::Machine;
use crate::balancer::tables::backend_key;
use crate::balancer::view;
use crate::netlink::Socket;

#[derive(Debug, Args)]
pub(super) struct FlowsArgs {
    /// The interface
    ifname: String,
    /// Only those of this client
    #[arg(long, value_name = "ADDR")]
    client: Option<IpAddr>,
    /// Only those to this backend, whatever their service
    #[arg(long, value_name = "ADDR[:PORT]")]
    backend: Option<BackendKey>,
    /// Only those of this service
    #[arg(long, value_name = "ADDR[:PORT][/tcp|/udp]")]
    service: Option<ServiceKey>,
    /// Only those in this state
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    /// No more than these
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// As JSON: a list
    #[arg(long)]
    json: bool,
}

/// A flow as it is shown.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Flow {
    protocol: &'static str,
    client: String,
    /// What the client asked for.
    destination: String,
    /// What that is a part of.
    service: Option<String>,
    backend: String,
    /// The balancer's port towards the backend; None where that answers the client itself.
    source_port: Option<u16>,
    state: &'static str,
    idle_seconds: u32,
    slot: u32,
}

/// Prints them.
pub(super) fn flows(args: &FlowsArgs) -> Result<()> {
    let socket = Socket::open()?;
    let found = balancers(&socket, Some(&args.ifname))?;
    let (_, running) = found
        .first()
        .ok_or_else(|| anyhow!("{}: no balancer runs on it", args.ifname))?;
    let stored = Stored::read(running)?;
    let names = Names {
        services: view::names(&stored),
        stored: &stored,
    };
    if let Some(service) = &args.service
        && !names.services.values().any(|key| key == service)
    {
        let have: Vec<String> = stored
            .services
            .iter()
            .map(|(key, _)| key.to_string())
            .collect();
        let have = have
            .get(..10.min(have.len()))
            .unwrap_or_default()
            .join(", ");
        return Err(anyhow!(
            "{}: no service {service}\n  have: {have}",
            args.ifname
        ));
    }
    let clock = Clock::of(&Machine::ask());
    let mut out = Output::new(BufWriter::new(io::stdout().lock()), args.json);
    let mut left = args.limit.unwrap_or(u64::MAX);
    flows::visit(running, &mut |slot, record| {
        if left == 0 || out.is_closed() || !clock.is_live(record) || !args.wants(record, &names) {
            return;
        }
        left -= 1;
        out.write(&names.show(slot, record, &clock));
    })?;
    out.finish();
    Ok(())
}

impl FlowsArgs {
    fn wants(&self, flow: &Connection, names: &Names<'_>) -> bool {
        let state = flows::state_name(flow.state);
        self.client
            .is_none_or(|client| client == flows::client(flow).ip())
            && self.state.as_ref().is_none_or(|wanted| wanted == state)
            && self
                .service
                .is_none_or(|key| names.services.get(&flow.service) == Some(&key))
            && self
                .backend
                .is_none_or(|backend| names.is_to(flow, backend))
    }
}

/// What numbers stand for.
struct Names<'s> {
    services: HashMap<u32, ServiceKey>,
    stored: &'s Stored,
}

impl Names<'_> {
    fn backend(&self, flow: &Connection) -> Option<BackendKey> {
        self.stored
            .backends
            .get(flow.backend as usize)
            .map(backend_key)
    }

    /// Whether it goes there; a backend without a port has any.
    fn is_to(&self, flow: &Connection, wanted: BackendKey) -> bool {
        let ports = match (wanted.port, flows::target(flow)) {
            (None, _) => true,
            (Some(port), Some((target, _))) => target.port() == port.get(),
            (Some(port), None) => flows::vip(flow).port() == port.get(),
        };
        ports
            && self
                .backend(flow)
                .is_some_and(|backend| backend.address == wanted.address)
    }

    fn show(&self, slot: u32, flow: &Connection, clock: &Clock) -> Flow {
        let target = flows::target(flow);
        let named = || self.backend(flow).map_or("?".into(), |key| key.to_string());
        Flow {
            protocol: flows::protocol_name(flow),
            client: flows::client(flow).to_string(),
            destination: flows::vip(flow).to_string(),
            service: self.services.get(&flow.service).map(ServiceKey::to_string),
            backend: target.map_or_else(named, |(target, _)| target.to_string()),
            source_port: target.map(|(_, port)| port),
            state: flows::state_name(flow.state),
            idle_seconds: clock.idle_seconds(flow),
            slot,
        }
    }
}

/// A table or a JSON list, row by row.
struct Output<W: Write> {
    out: W,
    json: bool,
    rows: u64,
    /// Who reads went away.
    closed: bool,
}

impl<W: Write> Output<W> {
    fn new(out: W, json: bool) -> Self {
        Self {
            out,
            json,
            rows: 0,
            closed: false,
        }
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn write(&mut self, flow: &Flow) {
        let begin = match (self.json, self.rows) {
            (true, 0) => "[\n".into(),
            (true, _) => ",\n".into(),
            (false, 0) => line([
                "",
                "client",
                "destination",
                "backend",
                "from",
                "state",
                "idle",
            ]),
            (false, _) => String::new(),
        };
        let row = if self.json {
            // Numbers and text: this cannot fail.
            serde_json::to_string(flow).unwrap_or_default()
        } else {
            let port = flow.source_port.map_or("-".into(), |port| port.to_string());
            let idle = format!("{} s", flow.idle_seconds);
            line([
                flow.protocol,
                &flow.client,
                &flow.destination,
                &flow.backend,
                &port,
                flow.state,
                &idle,
            ])
        };
        self.rows += 1;
        self.closed |= self.out.write_all((begin + &row).as_bytes()).is_err();
    }

    fn finish(mut self) {
        let end = match (self.json, self.rows) {
            (true, 0) => "[]\n",
            (true, _) => "\n]\n",
            (false, 0) => "no connection\n",
            (false, _) => "",
        };
        let _ = self.out.write_all(end.as_bytes());
        let _ = self.out.flush();
    }
}

/// Columns as wide as IPv4 takes; longer words push the others on.
fn line(words: [&str; 7]) -> String {
    let [protocol, client, destination, backend, port, state, idle] = words;
    format!(
        "{protocol:<4} {client:<21} {destination:<21} {backend:<21} {port:>5}  {state:<11} {idle}\n"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use xdplb_prog::abi::{Addr, Be16, Be32, Kind, Ports, bpf_spin_lock};
    use xdplb_prog::state::State;

    fn flow() -> Connection {
        Connection {
            lock: bpf_spin_lock { val: 0 },
            generation: 2,
            client: Addr::v4(Be32([10, 0, 0, 1])),
            vip: Addr::v4(Be32([10, 0, 0, 10])),
            target: Addr::v4(Be32([10, 0, 0, 2])),
            request_ports: Ports::new(Be16::new(40_000), Be16::new(80)),
            reply_ports: Ports::new(Be16::new(8000), Be16::new(1024)),
            kind: Kind::v4(6),
            last_seen: 0,
            state: State::OPEN | State::ANSWERED | State::CONFIRMED,
            backend: 0,
            service: 3,
            routed_at: 0,
            client_mac: 0,
        }
    }

    fn text(json: bool, rows: usize) -> String {
        let stored = Stored::default();
        let names = Names {
            services: HashMap::from([(3, "10.0.0.10:80".parse().unwrap())]),
            stored: &stored,
        };
        let clock = Clock::at(750, 250);
        let mut bytes = Vec::new();
        let mut out = Output::new(&mut bytes, json);
        (0..rows).for_each(|_| out.write(&names.show(7, &flow(), &clock)));
        out.finish();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_flow_is_a_line() {
        assert_eq!(
            text(false, 1),
            "     client                destination           backend                from  state       idle\n\
             tcp  10.0.0.1:40000        10.0.0.10:80          10.0.0.2:8000          1024  established 3 s\n"
        );
        assert_eq!(text(false, 0), "no connection\n");
    }

    #[test]
    fn json_is_a_list() {
        let list: serde_json::Value = serde_json::from_str(&text(true, 2)).unwrap();
        assert_eq!(list.as_array().unwrap().len(), 2);
        assert_eq!(
            list[1],
            serde_json::json!({
                "protocol": "tcp", "client": "10.0.0.1:40000", "destination": "10.0.0.10:80",
                "service": "10.0.0.10:80/tcp", "backend": "10.0.0.2:8000", "source_port": 1024,
                "state": "established", "idle_seconds": 3, "slot": 7
            })
        );
        assert_eq!(text(true, 0), "[]\n");
    }
}
