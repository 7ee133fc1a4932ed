//! `run`: from the command line to a balancer at its interface, and off again.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use xdplb_prog::abi::Mac;

use super::command_line::{Advice, advise};
use super::start::{Prepared, StartError};
use super::{RunArgs, dry_run, files, note, say};
use crate::attach::Detached;
use crate::balancer::attachment::{self, Attachment, Manners};
use crate::balancer::config::{self, Backend, show_mac};
use crate::balancer::device::Device;
use crate::balancer::listen::Listen;
use crate::balancer::lock::InterfaceLock;
use crate::balancer::mode::{self, Choice};
use crate::balancer::neighbour;
use crate::balancer::program;
use crate::balancer::running::Occupant;
use crate::balancer::settings::{Machine, Settings, Trace};
use crate::balancer::signals::Stop;
use crate::balancer::simple;
use crate::load::LoadError;
use crate::netlink::{Namespace, Socket};
use crate::object::Spec;

/// Balances until a signal comes; with `--dry-run`, says what it would do.
pub(super) fn run(args: &RunArgs) -> Result<()> {
    let backends = read_backends(&args.backends)?;
    let spec = read_program(args.object.as_deref())?;
    let socket = Socket::open()?;
    let device = Device::find(&socket, &args.ifname)?;
    let settings = settle(args, &device, &backends)?;
    device.check_backends(&backends, &settings.service)?;
    let choice = mode::choose(args.xdp_mode, device.kind);
    if args.dry_run {
        return dry_run::print(args, &spec, &device, &settings, choice, &backends);
    }
    // From here on something happens in the kernel.
    let _lock = InterfaceLock::take(&device.name, device.ifindex)?;
    let occupant = look(args, &socket, &device)?;
    let backends = neighbour::resolve(&socket, &device, &backends)?;
    let stop = Stop::block().context("block signals")?;
    // From here on no signal comes between an attachment and the one who takes it off.
    let prepared = Prepared {
        args,
        spec: &spec,
        socket: &socket,
        device: &device,
        settings: &settings,
        backends: &backends,
        trace: trace(args),
        machine: Machine::ask(),
    };
    let attachment = prepared
        .start(choice, &occupant)
        .map_err(|error| explain(args, error))?;
    drop(occupant);
    say(format_args!("{}", greeting(&backends)));
    stop.wait().context("wait for a signal")?;
    end(args, &device, attachment)
}

/// One word that is no address is a file.
fn read_backends(words: &[String]) -> Result<Vec<Backend>> {
    match words {
        [file] if !file.is_empty() && !simple::looks_like_address(file) => {
            let bytes = files::read(Path::new(file))?;
            Ok(config::plain(&simple::parse_file(file, &bytes)?)?)
        }
        _ => Ok(config::plain(&simple::parse_words(words)?)?),
    }
}

fn read_program(file: Option<&Path>) -> Result<Spec> {
    match file {
        Some(file) => {
            program::parse(&files::read(file)?).with_context(|| file.display().to_string())
        }
        None => program::parse(crate::PROGRAM).context("the built-in program"),
    }
}

fn settle(args: &RunArgs, device: &Device, backends: &[Backend]) -> Result<Settings> {
    let own = Listen {
        addr: device.addr,
        port: None,
    };
    Ok(Settings {
        service: args.listen.unwrap_or(own),
        balancer_addr: device.addr,
        balancer_mac: device.mac,
        backends: u32::try_from(backends.len()).context("too many backends")?,
        connections: args.connections,
    })
}

fn trace(args: &RunArgs) -> Trace {
    if args.trace { Trace::On } else { Trace::Off }
}

/// Who is at the interface now; an error if it is somebody whose place we may not take.
fn look(args: &RunArgs, socket: &Socket, device: &Device) -> Result<Occupant> {
    let link = socket.link(device.ifindex, Namespace::Own)?;
    let link = link.with_context(|| format!("{}: no such interface (ENODEV)", device.name))?;
    let occupant = Occupant::of(&link)?;
    let manners = if args.replace {
        Manners::Replace
    } else {
        Manners::LeaveOthers
    };
    attachment::check(device, &occupant, manners)
        .map_err(|error| explain(args, StartError::Attach(error)))?;
    Ok(occupant)
}

/// An error of the start with what can be done about it.
fn explain(args: &RunArgs, error: StartError) -> anyhow::Error {
    use attachment::AttachError::{Linked, NoDriverSupport, NoProgram, Occupied, Refused};
    let advice = match &error {
        StartError::MissingCapability { .. } => format!("sudo {}", advise(args, Advice::Same)),
        StartError::Attach(Occupied { .. }) => advise(args, Advice::Replace),
        StartError::Attach(NoDriverSupport(_)) => advise(args, Advice::Mode("generic")),
        StartError::Attach(Linked { .. } | Refused(_) | NoProgram(_))
        | StartError::Load(_)
        | StartError::Object(_)
        | StartError::Kernel(_)
        | StartError::Pins(_) => {
            show_log(args, &error);
            return error.into();
        }
    };
    anyhow!("{error}\n  try:  {advice}")
}

/// The verifier's whole log, where it is wanted.
fn show_log(args: &RunArgs, error: &StartError) {
    if let (true, StartError::Load(error)) = (args.verifier_log, error)
        && let Some(log) = LoadError::log(error)
    {
        super::remark(format_args!("{}", log.trim_end()));
    }
}

/// The seed's four lines.
fn greeting(backends: &[(Ipv4Addr, Mac)]) -> String {
    let mut text = String::from("XDP load balancer configured with backends:\n");
    for (number, (ip, mac)) in (1..).zip(backends) {
        let number: u32 = number;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "Backend {number} - IP: {ip}, MAC: {}", show_mac(*mac));
    }
    text + "Press Ctrl+C to exit..."
}

/// A signal came: the balancer goes, unless it is pinned.
fn end(args: &RunArgs, device: &Device, attachment: Attachment<'_>) -> Result<()> {
    let name = &device.name;
    if args.pin.is_some() {
        attachment.leave();
        say(format_args!(
            "{name} goes on balancing; xdplb-load detach {name} takes it off"
        ));
        return Ok(());
    }
    match attachment.detach()? {
        Detached::Done => say(format_args!("Detached from {name}")),
        Detached::InterfaceGone => note(format_args!("{name}: the interface is gone")),
        Detached::Already => note(format_args!(
            "{name}: the balancer had been taken off already"
        )),
        Detached::Replaced(id) => note(format_args!(
            "{name}: XDP program {id} has taken the balancer's place and stays"
        )),
    }
    Ok(())
}

/// What an attempt is: one mode, or native and then generic.
pub(super) fn first_mode(choice: Choice) -> crate::netlink::Mode {
    match choice {
        Choice::Native | Choice::NativeFirst => crate::netlink::Mode::Native,
        Choice::Generic(_) => crate::netlink::Mode::Generic,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_greeting_is_the_seeds() {
        let backends = [
            (Ipv4Addr::new(10, 0, 0, 2), [0xde, 0xad, 0xbe, 0xef, 0, 2]),
            (Ipv4Addr::new(10, 0, 0, 3), [0xde, 0xad, 0xbe, 0xef, 0, 3]),
        ];
        assert_eq!(
            greeting(&backends),
            "XDP load balancer configured with backends:\n\
             Backend 1 - IP: 10.0.0.2, MAC: de:ad:be:ef:00:02\n\
             Backend 2 - IP: 10.0.0.3, MAC: de:ad:be:ef:00:03\n\
             Press Ctrl+C to exit..."
        );
    }

    #[test]
    fn one_word_is_a_file_unless_it_is_an_address() {
        let text = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            match read_backends(&words) {
                Ok(backends) => backends.len().to_string(),
                Err(error) => format!("{error:#}"),
            }
        };
        assert_eq!(text(&["10.0.0.2"]), "1");
        assert_eq!(
            text(&["/nonexistent"]),
            "/nonexistent: read: no such file or directory (ENOENT)"
        );
        assert_eq!(
            text(&["10.0.0.300"]),
            "command line: `10.0.0.300` is not an IPv4 or IPv6 address"
        );
    }

    #[test]
    fn objects_are_called_by_their_files() {
        let error = read_program(Some(Path::new("/proc/version"))).unwrap_err();
        assert!(
            format!("{error:#}").starts_with("/proc/version: "),
            "{error:#}"
        );
    }
}
