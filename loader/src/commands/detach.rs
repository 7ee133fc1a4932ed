//! `detach`: takes the balancer off, and its pins.

use anyhow::Result;

use super::interfaces::{NONE, balancers};
use super::{DetachArgs, note, say};
use std::os::fd::AsFd;

use crate::attach::{Detached, take_off};
use crate::balancer::pins;
use crate::netlink::Socket;

/// Takes each balancer off, or the one of the named interface; never somebody else's program.
pub(super) fn detach(args: &DetachArgs) -> Result<()> {
    let socket = Socket::open()?;
    let found = balancers(&socket, args.ifname.as_deref())?;
    if found.is_empty() {
        say(format_args!("{NONE}"));
    }
    for (link, running) in found {
        // The pins are found by the program, so before it is gone.
        let folder = running.pins();
        let name = &link.name;
        match take_off(
            &socket,
            name,
            link.ifindex,
            running.mode,
            running.program.as_fd(),
        )? {
            Detached::Done => say(format_args!("Detached from {name}")),
            Detached::InterfaceGone => note(format_args!("{name}: the interface is gone")),
            Detached::Already => note(format_args!("{name}: it was taken off meanwhile")),
            Detached::Replaced(id) => note(format_args!(
                "{name}: XDP program {id} has taken its place meanwhile and stays"
            )),
        }
        if let Some(folder) = folder {
            pins::remove(&folder, &running.info)?;
        }
    }
    Ok(())
}
