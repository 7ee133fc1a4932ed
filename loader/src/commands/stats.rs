//! `stats`: what the balancer counted, by reason and by backend.

use anyhow::Result;
use serde::Serialize;
use xdplb_prog::counters::Reason;

use super::interfaces::{NONE, balancers, table};
use super::{OneArgs, say, say_json};
use crate::balancer::tables::{BackendStats, ReasonCount};
use crate::netlink::Socket;

/// The whole answer, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Stats {
    interfaces: Vec<InterfaceStats>,
}

#[derive(Debug, Serialize)]
struct InterfaceStats {
    ifname: String,
    counters: Vec<ReasonCount>,
    backends: Vec<BackendStats>,
}

/// Prints the counters of each balancer, or of the one at the named interface.
pub(super) fn stats(args: &OneArgs) -> Result<()> {
    let socket = Socket::open()?;
    let mut interfaces = Vec::new();
    for (link, running) in balancers(&socket, args.ifname.as_deref())? {
        interfaces.push(InterfaceStats {
            ifname: link.name,
            counters: running.counters()?,
            backends: running.backend_counters()?,
        });
    }
    if args.json {
        return say_json(&Stats { interfaces });
    }
    if interfaces.is_empty() {
        say(format_args!("{NONE}"));
    }
    for interface in &interfaces {
        say(format_args!("{}", text(interface)?));
    }
    Ok(())
}

/// The tables, without the reasons for which no packet left.
fn text(interface: &InterfaceStats) -> Result<String> {
    let head = ["reason", "verdict", "packets", "bytes", ""];
    let mut reasons = vec![head.map(String::from).to_vec()];
    for (count, reason) in interface.counters.iter().zip(Reason::ALL) {
        if count.packets > 0 {
            reasons.push(vec![
                count.reason.into(),
                count.verdict.into(),
                count.packets.to_string(),
                count.bytes.to_string(),
                reason.text().into(),
            ]);
        }
    }
    let head = [
        "backend",
        "mac",
        "connections",
        "packets to",
        "bytes to",
        "packets from",
        "bytes from",
    ];
    let mut backends = vec![head.map(String::from).to_vec()];
    backends.extend(interface.backends.iter().map(|backend| {
        vec![
            backend.ip.to_string(),
            backend.mac.clone(),
            backend.new_connections.to_string(),
            backend.to_packets.to_string(),
            backend.to_bytes.to_string(),
            backend.from_packets.to_string(),
            backend.from_bytes.to_string(),
        ]
    }));
    let counted = match reasons.len() {
        1 => "  no packet yet".to_string(),
        _ => table(&reasons)?,
    };
    Ok(format!(
        "{}\n{counted}\n\n{}",
        interface.ifname,
        table(&backends)?
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::balancer::tables::{backend_stats, reason_count};

    fn sample(packets: u64) -> InterfaceStats {
        let words = |words: &[u64]| vec![words.iter().flat_map(|w| w.to_ne_bytes()).collect()];
        InterfaceStats {
            ifname: "veth6".into(),
            counters: Reason::ALL
                .iter()
                .map(|reason| {
                    let counted = *reason == Reason::Opened;
                    let packets = if counted { packets } else { 0 };
                    reason_count(*reason, &words(&[packets, packets * 74]))
                })
                .collect(),
            backends: vec![backend_stats(
                ([10, 0, 0, 2].into(), [0xde, 0xad, 0xbe, 0xef, 0, 2]),
                &words(&[1, 2, 3, 4, 5]),
            )],
        }
    }

    #[test]
    fn text_leaves_out_what_did_not_happen() {
        assert_eq!(
            text(&sample(12)).unwrap(),
            "\
veth6
  reason  verdict  packets  bytes
  opened  tx            12    888  A client's SYN that opened a connection, sent to the backend picked for it

  backend   mac                connections  packets to  bytes to  packets from  bytes from
  10.0.0.2  de:ad:be:ef:00:02            1           2         3             4           5"
        );
        assert!(
            text(&sample(0))
                .unwrap()
                .starts_with("veth6\n  no packet yet\n\n")
        );
    }

    #[test]
    fn json_has_every_reason() {
        let stats = Stats {
            interfaces: vec![sample(12)],
        };
        let value = serde_json::to_value(&stats).unwrap();
        let interface = &value["interfaces"][0];
        assert_eq!(interface["ifname"], "veth6");
        assert_eq!(
            interface["counters"].as_array().unwrap().len(),
            Reason::COUNT
        );
        assert_eq!(
            interface["counters"][1],
            serde_json::json!({"reason": "opened", "verdict": "tx", "packets": 12, "bytes": 888})
        );
        assert_eq!(
            interface["backends"][0],
            serde_json::json!({
                "ip": "10.0.0.2", "mac": "de:ad:be:ef:00:02", "new_connections": 1,
                "to_packets": 2, "to_bytes": 3, "from_packets": 4, "from_bytes": 5
            })
        );
    }
}
