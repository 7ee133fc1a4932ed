//! `run`: from the command line to a balancer at its interface, and off again.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use xdplb_prog::abi::Mac;

use super::command_line::{Advice, advise};
use super::daemon::Daemon;
use super::explain::{Explain, Watch};
use super::source::{self, Form, Read, Source};
use super::start::start;
use super::{RunArgs, UsageError, dry_run, files, note, remark, say};
use crate::attach::Detached;
use crate::balancer::adopt::Kinship;
use crate::balancer::attachment::{self, AttachError, Attachment, Manners};
use crate::balancer::device::Device;
use crate::balancer::install::{Ground, InstallError, Order};
use crate::balancer::lock::InterfaceLock;
use crate::balancer::mode::{self, Choice};
use crate::balancer::neighbour::{self, Found, Outlook};
use crate::balancer::next::{self, States};
use crate::balancer::program;
use crate::balancer::running::Occupant;
use crate::balancer::service::{Config, show_mac};
use crate::balancer::settings::{Machine, Trace};
use crate::balancer::signals::Stop;
use crate::load::LoadError;
use crate::netlink::{Namespace, Socket};
use crate::object::Spec;

/// Balances until a signal comes; with `--dry-run`, says what it would do; with `--check`, whether its file is right.
pub(super) fn run(args: &RunArgs) -> Result<()> {
    if let (Some(Explain::Json(None)), false) = (&args.explain, args.dry_run) {
        return Err(UsageError(NO_FILE.into()).into());
    }
    let source = Source::of(args);
    if let (true, Some(file)) = (args.check, source.path()) {
        say(format_args!("{}", source::check(file, args.listen)?));
        return Ok(());
    }
    // What is wrong with a file is said before what is wrong with the machine.
    if let Err(error) = source.read(None)
        && !error.is::<UsageError>()
    {
        return Err(error);
    }
    let spec = read_program(args.object.as_deref())?;
    let socket = Socket::open()?;
    let device = Device::find(&socket, &args.ifname)?;
    let read = source.read(Some(&device))?;
    device.check(&read.config)?;
    let choice = mode::choose(args.xdp_mode, device.kind);
    let ground = Ground {
        spec: &spec,
        socket: &socket,
        machine: Machine::ask(),
        pins: args.pin.clone(),
    };
    if args.dry_run {
        return dry_run::print(args, &ground, &device, &read, choice);
    }
    // From here on something happens in the kernel.
    let lock = InterfaceLock::take(&device.name, device.ifindex)?;
    let occupant = look(args, &socket, &device)?;
    let found = neighbour::resolve(&socket, &device, &read.config, neighbour::PATIENCE)?;
    judge(&device, read.form, &found)?;
    let stop = match source.path() {
        Some(_) => Stop::block_with_hangup(),
        None => Stop::block(),
    };
    let stop = stop.context("block signals")?;
    // From here on no signal comes between an attachment and the one who takes it off.
    let next = next::decide(
        &ground,
        &device,
        &read.config,
        trace(args),
        &States::OfRunning,
        &occupant,
        &found.macs,
    )?;
    if let (Kinship::Version(why), false) = (&next.kinship, args.replace) {
        return Err(other_version(&device, why, &advise(args, Advice::Replace)));
    }
    let order = Order {
        device: &device,
        settings: &next.settings,
        image: &next.image,
        occupant: &occupant,
        kinship: &next.kinship,
    };
    let attachment = started(args, &ground, &order, choice)?;
    drop(occupant);
    say(format_args!("{}", greeting(&read, &found.macs)));
    let daemon = Daemon::new(&ground, &device, source, read.config, attachment);
    let attachment = daemon.serve(&stop, &lock)?;
    end(args, &device, attachment)
}

/// Starts, and tells how that went where it is wanted.
fn started<'a>(
    args: &RunArgs,
    ground: &Ground<'a>,
    order: &Order<'_>,
    choice: Choice,
) -> Result<Attachment<'a>> {
    let path = args.object.as_deref().unwrap_or(Path::new(""));
    let mut watch = Watch::of_load(args.explain.as_ref(), &path.display().to_string());
    let done = start(ground, order, choice, &mut watch);
    let errors = done.as_ref().err().map(ToString::to_string);
    let story = watch.end(errors.into_iter().collect());
    if let (Some(explain), Some(story)) = (&args.explain, story) {
        explain.tell_aside(&[story])?;
    }
    done.map_err(|error| explain(args, error))
}

/// What runs is ours, but its connections would end: that is for the user to say.
fn other_version(device: &Device, why: &str, advice: &str) -> anyhow::Error {
    anyhow!(
        "{}: the balancer that runs on it is of another version, and its connections would end: {why}\n  try:  {advice}",
        device.name
    )
}

const NO_FILE: &str =
    "--explain=json: run has lines of its own on standard output\n  try:  --explain=json:FILE";

pub(super) fn read_program(file: Option<&Path>) -> Result<Spec> {
    match file {
        Some(file) => {
            program::parse(&files::read(file)?).with_context(|| file.display().to_string())
        }
        None => program::parse(crate::PROGRAM).context("the built-in program"),
    }
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
        .map_err(|error| explain(args, InstallError::Attach(error)))?;
    Ok(occupant)
}

/// More backends without a MAC than these are counted, not named.
const NAMED: usize = 5;

/// Backends without a MAC: an error where they are all there is, or will never have one; else said, and their packets wait.
pub(super) fn judge(device: &Device, form: Form, found: &Found) -> Result<()> {
    let Some(first) = found.missing.first() else {
        return Ok(());
    };
    if form == Form::Simple || first.outlook == Outlook::Never {
        let ip = first.ip;
        let advice = match form {
            Form::Simple => format!("{ip} XX:XX:XX:XX:XX:XX"),
            Form::Toml => r#"mac = "XX:XX:XX:XX:XX:XX""#.into(),
        };
        return Err(anyhow!("{first}\n  try:  give its MAC: {advice}"));
    }
    for missing in found.missing.iter().take(NAMED) {
        remark(format_args!("warning: {missing}"));
    }
    if let Some(more @ 1..) = found.missing.len().checked_sub(NAMED) {
        remark(format_args!(
            "warning: {}: {} more like these",
            device.name, more
        ));
    }
    Ok(())
}

/// An error of the start with what can be done about it.
fn explain(args: &RunArgs, error: InstallError) -> anyhow::Error {
    use AttachError::{Linked, NoDriverSupport, NoProgram, Occupied, Refused};
    let advice = match &error {
        InstallError::MissingCapability { load, .. } => {
            show_log(args, load);
            format!("sudo {}", advise(args, Advice::Same))
        }
        InstallError::Attach(Occupied { .. }) => advise(args, Advice::Replace),
        InstallError::Attach(NoDriverSupport(_)) => advise(args, Advice::Mode("generic")),
        InstallError::Load(load) => {
            show_log(args, load);
            return error.into();
        }
        InstallError::Attach(Linked { .. } | Refused(_) | NoProgram(_))
        | InstallError::Object(_)
        | InstallError::Kernel(_)
        | InstallError::Pins(_) => return error.into(),
    };
    anyhow!("{error}\n  try:  {advice}")
}

/// The verifier's whole log, where it is wanted.
fn show_log(args: &RunArgs, error: &LoadError) {
    if args.verifier_log
        && let Some(log) = error.log()
    {
        remark(format_args!("{}", log.trim_end()));
    }
}

/// The seed's four lines; of a file with services, how many there are.
fn greeting(read: &Read, macs: &HashMap<IpAddr, Mac>) -> String {
    let mut text = String::new();
    match read.form {
        Form::Simple => {
            text += "XDP load balancer configured with backends:\n";
            let backends = read.config.services.iter().flat_map(|s| &s.backends);
            for (number, backend) in (1u32..).zip(backends) {
                let ip = backend.key.address;
                let mac = backend.mac.or(macs.get(&ip).copied()).unwrap_or_default();
                // Writing to a String cannot fail.
                let _ = writeln!(text, "Backend {number} - IP: {ip}, MAC: {}", show_mac(mac));
            }
        }
        Form::Toml => text = greeting_of(&read.config),
    }
    text + "Press Ctrl+C to exit..."
}

fn greeting_of(config: &Config) -> String {
    format!(
        "XDP load balancer configured with {}\n",
        source::summary(config)
    )
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::balancer::simple;

    #[test]
    fn the_greeting_is_the_seeds() {
        let words = ["10.0.0.2", "de:ad:be:ef:00:02", "10.0.0.3"];
        let backends = simple::parse_words(&words).unwrap();
        let config = backends.into_config("10.0.0.10".parse().unwrap()).unwrap();
        let macs = HashMap::from([("10.0.0.3".parse().unwrap(), [0xde, 0xad, 0xbe, 0xef, 0, 3])]);
        let mut read = Read {
            config,
            form: Form::Simple,
        };
        assert_eq!(
            greeting(&read, &macs),
            "XDP load balancer configured with backends:\n\
             Backend 1 - IP: 10.0.0.2, MAC: de:ad:be:ef:00:02\n\
             Backend 2 - IP: 10.0.0.3, MAC: de:ad:be:ef:00:03\n\
             Press Ctrl+C to exit..."
        );
        read.form = Form::Toml;
        assert_eq!(
            greeting(&read, &macs),
            "XDP load balancer configured with 1 service, 2 backends\n\
             Press Ctrl+C to exit..."
        );
    }

    #[test]
    fn another_version_is_left_alone() {
        let device = Device {
            name: "veth6".into(),
            ifindex: 7,
            mac: [2; 6],
            mtu: 1500,
            addresses: Vec::new(),
            kind: mode::Device::Other,
        };
        assert_eq!(
            other_version(
                &device,
                "map `index`: its values are laid out differently",
                "xdplb-load --replace veth6 lb.toml"
            )
            .to_string(),
            "veth6: the balancer that runs on it is of another version, and its connections would end: map `index`: its values are laid out differently\n  try:  xdplb-load --replace veth6 lb.toml"
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
