//! `reload` and `backend`: a change of what runs, by the command that runs it, or, where none does, by this one.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};

use super::apply::{self, Site};
use super::daemon::absolute;
use super::run::read_program;
use super::source::Source;
use super::{BackendArgs, ReloadArgs, say};
use crate::balancer::change::Change;
use crate::balancer::device;
use crate::balancer::install::Ground;
use crate::balancer::lock::{self, Answer, InterfaceLock, Request};
use crate::balancer::neighbour;
use crate::balancer::next::States;
use crate::balancer::settings::Machine;
use crate::netlink::Socket;

/// Reads the file again, or another one, and puts it in the place of what runs.
pub(super) fn reload(args: &ReloadArgs) -> Result<()> {
    let socket = Socket::open()?;
    let link = device::link(&socket, &args.ifname)?;
    let file = args.file.as_deref().map(absolute).transpose()?;
    let request = Request::Reload(file.clone());
    if let Some(answer) = lock::ask(&link.name, link.ifindex, &request)? {
        return show(answer);
    }
    let Some(file) = file else {
        bail!(
            "{0}: no xdplb-load runs on it that would know its file\n  try:  xdplb-load reload {0} FILE",
            link.name
        );
    };
    by_ourselves(&socket, &link.name, link.ifindex, Task::File(file))
}

/// Changes one backend of what runs.
pub(super) fn backend(args: &BackendArgs) -> Result<()> {
    let socket = Socket::open()?;
    let link = device::link(&socket, &args.ifname)?;
    let change = Change {
        action: args.action,
        service: args.service.clone(),
        backend: args.backend.clone(),
        weight: args.weight,
        mac: args.mac.clone(),
    };
    let request = Request::Backend(change.clone());
    match lock::ask(&link.name, link.ifindex, &request)? {
        Some(answer) => show(answer),
        None => by_ourselves(&socket, &link.name, link.ifindex, Task::Backend(change)),
    }
}

fn show(answer: Answer) -> Result<()> {
    match answer {
        Answer::Done(text) => {
            say(format_args!("{text}"));
            Ok(())
        }
        Answer::Failed(text) => Err(anyhow!("{text}")),
    }
}

enum Task {
    File(PathBuf),
    Backend(Change),
}

/// The loader that started it is gone: the balancer goes on, pinned or not, and so it does after this.
fn by_ourselves(socket: &Socket, ifname: &str, ifindex: u32, task: Task) -> Result<()> {
    let spec = read_program(None)?;
    let mut ground = Ground {
        spec: &spec,
        socket,
        machine: Machine::ask(),
        pins: None,
    };
    let _lock = InterfaceLock::take(ifname, ifindex)?;
    let site = Site::find(&ground, ifname)?;
    let (config, states) = match task {
        Task::File(file) => {
            let read = Source::beside(&file, &site.config).read(Some(&site.device))?;
            (read.config, States::OfRunning)
        }
        Task::Backend(change) => {
            let (config, live) = apply::changed(&site, &change)?;
            (config, States::These(live))
        }
    };
    // Pins are made below the folder of the interface's own.
    let pinned = site.running().and_then(|running| running.pins());
    ground.pins = pinned.and_then(|folder| Some(folder.parent()?.to_path_buf()));
    let proposal = apply::propose(&ground, &site, &config, &states, neighbour::PATIENCE)?;
    let (attachment, text) = apply::carry_out(&ground, &site, &config, &proposal)?;
    attachment.leave();
    say(format_args!("{text}"));
    Ok(())
}
