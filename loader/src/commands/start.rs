//! The start of a balancer in the mode that fits, and what is said about it.

use super::explain::Watch;
use super::note;
use crate::balancer::adopt::Kinship;
use crate::balancer::attachment::{AttachError, Attachment};
use crate::balancer::install::{Ground, InstallError, Order};
use crate::balancer::mode::{Choice, Why};
use crate::balancer::next;
use crate::balancer::running::Occupant;
use crate::kernel::KernelError;
use crate::netlink::Mode;

/// Starts in the mode that was chosen; where the driver has no XDP and the choice allows it, in generic mode.
pub(super) fn start<'a>(
    ground: &Ground<'a>,
    order: &Order<'_>,
    choice: Choice,
    watch: &mut Watch,
) -> Result<Attachment<'a>, InstallError> {
    let log = watch.logs();
    let mut install = |mode| ground.install_watched(order, mode, log, watch);
    let mut reason = match choice {
        Choice::Generic(why) => Some(why),
        Choice::Native | Choice::NativeFirst => None,
    };
    let mut done = install(first_mode(choice));
    if let (Choice::NativeFirst, Err(InstallError::Attach(AttachError::NoDriverSupport(_)))) =
        (choice, &done)
    {
        reason = Some(Why::NoDriverSupport);
        // Loaded anew: the program treats deferred checksums differently there.
        done = install(Mode::Generic);
    }
    let attachment = done?;
    if let Some(why) = reason.filter(|why| *why != Why::Asked) {
        note(format_args!("{}: {why}", order.device.name));
    }
    report(ground, order)?;
    Ok(attachment)
}

fn report(ground: &Ground<'_>, order: &Order<'_>) -> Result<(), KernelError> {
    if let Occupant::Ours(running) = order.occupant {
        let live = next::live_flows(ground, running)?;
        let text = show_legacy(order.kinship, live);
        note(format_args!("{}: {text}", order.device.name));
    }
    Ok(())
}

/// What became of the connections of an earlier run.
fn show_legacy(kinship: &Kinship, live: u64) -> String {
    match (kinship, live) {
        (Kinship::Same, 1) => "adopted from an earlier run, 1 connection goes on".into(),
        (Kinship::Same, _) => {
            format!("adopted from an earlier run, {live} connections go on")
        }
        (Kinship::Version(why), _) => {
            format!("replaced a balancer of another version; connections that end: {live} ({why})")
        }
        (Kinship::Other(why), _) => {
            format!(
                "replaced an earlier run with other settings; connections that end: {live} ({why})"
            )
        }
    }
}

/// What an attempt is: one mode, or native and then generic.
pub(super) fn first_mode(choice: Choice) -> Mode {
    match choice {
        Choice::Native | Choice::NativeFirst => Mode::Native,
        Choice::Generic(_) => Mode::Generic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_an_earlier_run_is_said() {
        assert_eq!(
            show_legacy(&Kinship::Same, 1),
            "adopted from an earlier run, 1 connection goes on"
        );
        assert_eq!(
            show_legacy(&Kinship::Same, 0),
            "adopted from an earlier run, 0 connections go on"
        );
        let why = Kinship::Other("it has room for 7 connections, not 8".into());
        assert_eq!(
            show_legacy(&why, 3),
            "replaced an earlier run with other settings; connections that end: 3 (it has room for 7 connections, not 8)"
        );
    }
}
