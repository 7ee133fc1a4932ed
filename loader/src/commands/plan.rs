//! `plan`: what a file would change, before it does.

use anyhow::Result;
use serde::Serialize;

use super::apply::{self, Proposal, Site};
use super::run::read_program;
use super::source::{Source, count};
use super::{PlanArgs, say, say_json};
use crate::balancer::diff::{BackendChange, Diff, ServiceChange, What};
use crate::balancer::install::Ground;
use crate::balancer::next::States;
use crate::balancer::settings::Machine;
use crate::netlink::Socket;

/// The whole answer, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Plan {
    ifname: String,
    /// Live flows.
    flows: u64,
    /// Those that end, since their backend is removed or down. No other moves: each has a record.
    flows_ending: u64,
    #[serde(flatten)]
    diff: Diff,
    /// Backends that would have no MAC yet.
    warnings: Vec<String>,
}

/// Compares a file with what runs, and prints it.
pub(super) fn plan(args: &PlanArgs) -> Result<()> {
    let spec = read_program(None)?;
    let socket = Socket::open()?;
    let ground = Ground {
        spec: &spec,
        socket: &socket,
        machine: Machine::ask(),
        pins: None,
    };
    // What is wrong with the file is said before what is wrong with the machine.
    let source = Source::file(&args.file);
    if let Err(error) = source.read(None)
        && !error.is::<super::UsageError>()
    {
        return Err(error);
    }
    let site = Site::find(&ground, &args.ifname)?;
    let source = Source::beside(&args.file, &site.config);
    let config = source.read(Some(&site.device))?.config;
    // Nobody is waited for: it only looks.
    let patience = std::time::Duration::ZERO;
    let proposal = apply::propose(&ground, &site, &config, &States::OfRunning, patience)?;
    let plan = of(&args.ifname, proposal);
    if args.json {
        return say_json(&plan);
    }
    say(format_args!("{}", text(&plan)));
    Ok(())
}

fn of(ifname: &str, proposal: Proposal) -> Plan {
    Plan {
        ifname: ifname.into(),
        flows: proposal.next.before.census.all.live,
        flows_ending: proposal.diff.flows_ending(),
        diff: proposal.diff,
        warnings: proposal
            .missing
            .missing
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

fn text(plan: &Plan) -> String {
    let mut lines = vec![plan.ifname.clone()];
    lines.extend(plan.diff.changes.iter().map(|change| format!("  {change}")));
    lines.extend(plan.diff.services.iter().flat_map(service_lines));
    if plan.diff == Diff::default() {
        lines.push("  nothing changes".into());
    }
    lines.extend(
        plan.warnings
            .iter()
            .map(|warning| format!("  warning: {warning}")),
    );
    lines.push(format!(
        "  {}: {} end, since their backend is removed or down; none moves",
        count(plan.flows, "live connection"),
        plan.flows_ending
    ));
    lines.push("Nothing of this was done".into());
    lines.join("\n")
}

fn service_lines(service: &ServiceChange) -> Vec<String> {
    let sign = sign(service.what);
    let mut lines = vec![format!(
        "{sign} {}{}",
        service.service,
        list(&service.changes)
    )];
    lines.extend(service.backends.iter().map(backend_line));
    if service.slots_removed + service.slots_moved > 0.0 {
        lines.push(format!(
            "    slots that move: {:.2} % of backends that take part no more, {:.2} % of the others",
            service.slots_removed * 100.0,
            service.slots_moved * 100.0
        ));
    }
    if service.flows > 0 {
        lines.push(format!(
            "    {}, of which {} end",
            count(service.flows, "live connection"),
            service.flows_ending
        ));
    }
    lines
}

fn backend_line(backend: &BackendChange) -> String {
    let sign = sign(backend.what);
    let changes = list(&backend.changes);
    let ends = match backend.flows_ending {
        0 => String::new(),
        flows => format!(", {} end", count(flows, "connection")),
    };
    format!("  {sign} {}{changes}{ends}", backend.backend)
}

fn list(changes: &[String]) -> String {
    match changes.join(", ") {
        none if none.is_empty() => none,
        changes => format!(": {changes}"),
    }
}

fn sign(what: What) -> &'static str {
    match what {
        What::Added => "+",
        What::Removed => "-",
        What::Changed => "~",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_is_a_list() {
        let backend = |backend: &str, what, changes: &[&str], flows_ending| BackendChange {
            backend: backend.into(),
            what,
            changes: changes.iter().map(|change| change.to_string()).collect(),
            flows_ending,
        };
        let plan = Plan {
            ifname: "veth6".into(),
            flows: 10,
            flows_ending: 4,
            diff: Diff {
                changes: vec!["encap.source6 100::/64 to 200::/64".into()],
                services: vec![ServiceChange {
                    service: "10.0.0.10:80/tcp".into(),
                    what: What::Changed,
                    changes: vec!["table_slots 65537 to 7".into()],
                    backends: vec![
                        backend("10.0.0.2", What::Changed, &["weight 1 to 5"], 0),
                        backend("10.0.0.3", What::Removed, &[], 4),
                        backend("10.0.0.4", What::Added, &[], 0),
                    ],
                    slots_removed: 0.33333,
                    slots_moved: 0.001,
                    flows: 9,
                    flows_ending: 4,
                }],
            },
            warnings: vec!["backend 10.0.0.4: no answer to ARP on veth6".into()],
        };
        assert_eq!(
            text(&plan),
            "\
veth6
  encap.source6 100::/64 to 200::/64
~ 10.0.0.10:80/tcp: table_slots 65537 to 7
  ~ 10.0.0.2: weight 1 to 5
  - 10.0.0.3, 4 connections end
  + 10.0.0.4
    slots that move: 33.33 % of backends that take part no more, 0.10 % of the others
    9 live connections, of which 4 end
  warning: backend 10.0.0.4: no answer to ARP on veth6
  10 live connections: 4 end, since their backend is removed or down; none moves
Nothing of this was done"
        );
    }
}
