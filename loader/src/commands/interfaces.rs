//! The interfaces that a subcommand is about: the one that was named, or each that runs an XDP program.

use anyhow::{Context, Result, anyhow, bail};

use super::columns::{aligned, letters};
use crate::attach::at_hook;
use crate::balancer::device;
use crate::balancer::running::{Foreign, Occupant, Running};
use crate::netlink::{Link, Socket};

/// An interface with an XDP program.
pub(super) struct Interface {
    pub link: Link,
    pub occupant: Occupant,
}

/// All of them, or the named one, which may have none.
pub(super) fn all(socket: &Socket, ifname: Option<&str>) -> Result<Vec<Interface>> {
    let links = match ifname {
        Some(name) => vec![device::link(socket, name)?],
        None => socket.links()?,
    };
    let mut found = Vec::new();
    for link in links {
        if ifname.is_none() && at_hook(&link).is_none() {
            continue;
        }
        let occupant = Occupant::of(&link).with_context(|| link.name.clone())?;
        found.push(Interface { link, occupant });
    }
    Ok(found)
}

/// Those with a balancer of ours. If one was named it must have one.
pub(super) fn balancers(
    socket: &Socket,
    ifname: Option<&str>,
) -> Result<Vec<(Link, Box<Running>)>> {
    let mut found = Vec::new();
    let mut unseen = None;
    for Interface { link, occupant } in all(socket, ifname)? {
        match occupant {
            Occupant::Ours(running) => found.push((link, running)),
            Occupant::Nothing | Occupant::Foreign(_) if ifname.is_some() => {
                return Err(no_balancer(&link.name, &occupant));
            }
            Occupant::Foreign(Foreign { name: None, .. }) => {
                unseen = Some(no_balancer(&link.name, &occupant));
            }
            Occupant::Nothing | Occupant::Foreign(_) => {}
        }
    }
    match unseen {
        // Whether there is none could not be seen.
        Some(error) if found.is_empty() => Err(error),
        Some(_) | None => Ok(found),
    }
}

/// Why a named interface is of no use to the subcommand.
pub(super) fn no_balancer(ifname: &str, occupant: &Occupant) -> anyhow::Error {
    match occupant {
        Occupant::Nothing => anyhow!("{ifname}: no balancer runs on it"),
        Occupant::Foreign(foreign) if foreign.name.is_none() => anyhow!(
            "{ifname}: it runs XDP program {} ({}), and what that is cannot be seen: missing CAP_SYS_ADMIN (EPERM)",
            foreign.id,
            foreign.mode
        ),
        Occupant::Foreign(foreign) => {
            anyhow!("{ifname}: it runs {foreign}, which is no balancer of ours")
        }
        Occupant::Ours(_) => anyhow!("{ifname}: a balancer runs on it"),
    }
}

/// None at all, and none was named.
pub(super) const NONE: &str = "No balancer runs on any interface";

/// Words as a column each, right-aligned where they are numbers.
pub(super) fn table(rows: &[Vec<String>]) -> Result<String> {
    if rows.is_empty() {
        bail!("a table without a head");
    }
    let number = |column: usize| {
        rows.get(1)
            .and_then(|row| row.get(column))
            .is_some_and(|cell| !cell.is_empty() && cell.bytes().all(|b| b.is_ascii_digit()))
    };
    let lines = aligned(rows, number, letters);
    let lines = lines.iter().map(|line| format!("  {line}"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::netlink::Mode;

    fn foreign(name: Option<&str>) -> Occupant {
        Occupant::Foreign(Foreign {
            id: 42,
            name: name.map(String::from),
            mode: Mode::Generic,
            link: None,
            program: None,
            version: None,
        })
    }

    #[test]
    fn an_interface_without_a_balancer_says_what_it_has() {
        let text = |occupant| no_balancer("veth6", &occupant).to_string();
        assert_eq!(text(Occupant::Nothing), "veth6: no balancer runs on it");
        assert_eq!(
            text(foreign(Some("xdp_filter"))),
            "veth6: it runs XDP program 42 `xdp_filter` (generic), which is no balancer of ours"
        );
        assert_eq!(
            text(foreign(None)),
            "veth6: it runs XDP program 42 (generic), and what that is cannot be seen: missing CAP_SYS_ADMIN (EPERM)"
        );
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let row = |cells: [&str; 3]| cells.map(String::from).to_vec();
        let rows = [
            row(["reason", "packets", ""]),
            row(["opened", "7", "a b"]),
            row(["no_port", "1234567890", "c"]),
        ];
        assert_eq!(
            table(&rows).unwrap(),
            "  reason      packets\n  opened            7  a b\n  no_port  1234567890  c"
        );
        assert!(table(&[]).is_err());
    }
}
