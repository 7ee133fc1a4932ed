//! What a balancer's command does while the balancer runs: it waits for signals, for changes of its file, and for other
//! commands. Each of them comes to the same: a configuration in the place of the one that runs.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::apply::{self, Site};
use super::source::Source;
use super::{files, remark};
use crate::balancer::attachment::Attachment;
use crate::balancer::change::Change;
use crate::balancer::device::Device;
use crate::balancer::install::Ground;
use crate::balancer::lock::{Answer, InterfaceLock, Request};
use crate::balancer::neighbour;
use crate::balancer::next::States;
use crate::balancer::service::Config;
use crate::balancer::signals::Stop;
use crate::balancer::watch::Watch;

/// An editor writes in several steps: that long after the last one the file is read.
const SETTLE: Duration = Duration::from_millis(100);
/// How often the kernel is made to ask for neighbours that it has forgotten.
const NEIGHBOURS: Duration = Duration::from_secs(5);

/// A balancer at its interface, and what it was made from.
pub(super) struct Daemon<'d, 'a> {
    ground: &'d Ground<'a>,
    device: &'d Device,
    source: Source,
    /// The file's bytes when it was read last.
    bytes: Option<Vec<u8>>,
    config: Config,
    attachment: Attachment<'a>,
}

impl<'d, 'a> Daemon<'d, 'a> {
    pub(super) fn new(
        ground: &'d Ground<'a>,
        device: &'d Device,
        source: Source,
        config: Config,
        attachment: Attachment<'a>,
    ) -> Self {
        let bytes = source.path().and_then(|path| files::read(path).ok());
        Self {
            ground,
            device,
            source,
            bytes,
            config,
            attachment,
        }
    }

    /// Serves until a signal ends it; the balancer is still at its place then.
    pub(super) fn serve(mut self, stop: &Stop, lock: &InterfaceLock) -> Result<Attachment<'a>> {
        let signals = stop.descriptor().context("wait for a signal")?;
        let mut watch = self.watch();
        let mut changed: Option<Instant> = None;
        let mut neighbours = Instant::now() + NEIGHBOURS;
        loop {
            let next = changed.map_or(neighbours, |at| neighbours.min(at + SETTLE));
            let file = watch.as_ref().map(Watch::fd);
            let [signal, call, event] = wait([Some(signals.as_fd()), Some(lock.fd()), file], next)?;
            if signal && let Some(signal) = Stop::next(&signals).context("wait for a signal")? {
                match (signal, self.source.path()) {
                    (Signal::SIGHUP, Some(_)) => {
                        let done = self.reload_file(None);
                        self.say(done);
                    }
                    _ => return Ok(self.attachment),
                }
            }
            if call && let Some((request, caller)) = lock.next() {
                caller.answer(&self.answer(request));
                watch = self.watch();
            }
            if event && watch.as_ref().is_some_and(Watch::took_place) {
                changed = Some(Instant::now());
            }
            if changed.is_some_and(|at| at.elapsed() >= SETTLE) {
                changed = None;
                if self.has_changed() {
                    let done = self.reload_file(None);
                    self.say(done);
                }
            }
            if Instant::now() >= neighbours {
                // What stands in the way shows as packets without a route.
                let _ = neighbour::refresh(self.ground.socket, self.device, &self.config);
                neighbours = Instant::now() + NEIGHBOURS;
            }
        }
    }

    /// Without it the file is read when asked.
    fn watch(&self) -> Option<Watch> {
        let path = self.source.path()?;
        match Watch::of(path) {
            Ok(watch) => Some(watch),
            Err(errno) => {
                remark(format_args!(
                    "warning: {}: changes are not noticed: {errno:?}",
                    path.display()
                ));
                None
            }
        }
    }

    /// Whether the file can be read and says something else than before.
    fn has_changed(&self) -> bool {
        let read = self.source.path().map(files::read);
        // While it is being replaced there may be none.
        read.is_some_and(|read| read.is_ok_and(|bytes| Some(&bytes) != self.bytes.as_ref()))
    }

    fn say(&self, done: Result<String>) {
        match done {
            Ok(text) => remark(format_args!("{text}")),
            Err(error) => remark(format_args!(
                "error: {error:#}\n  {}: nothing was changed",
                self.device.name
            )),
        }
    }

    fn answer(&mut self, request: Request) -> Answer {
        let done = match request {
            Request::Reload(file) => self.reload_file(file),
            Request::Backend(change) => self.change(&change),
        };
        match done {
            Ok(text) => {
                self.say(Ok(text.clone()));
                Answer::Done(text)
            }
            Err(error) => Answer::Failed(format!("{error:#}")),
        }
    }

    /// Reads the file, or from now on this one.
    fn reload_file(&mut self, file: Option<PathBuf>) -> Result<String> {
        let source = match file {
            Some(file) => self.source.moved(file),
            None => self.source.clone(),
        };
        let Some(path) = source.path() else {
            bail!(
                "{0}: its backends are on the command line, not in a file\n  try:  xdplb-load reload {0} FILE",
                self.device.name
            );
        };
        let bytes = files::read(path)?;
        let site = Site::find(self.ground, &self.device.name)?;
        let config = source.read(Some(&site.device))?.config;
        // What is wrong is said once, not again for the same bytes.
        self.bytes = Some(bytes);
        let text = self.replace(&site, config, &States::OfRunning)?;
        self.source = source;
        Ok(text)
    }

    fn change(&mut self, change: &Change) -> Result<String> {
        let site = Site::find(self.ground, &self.device.name)?;
        let (config, live) = apply::changed(&site, change)?;
        self.replace(&site, config, &States::These(live))
    }

    fn replace(&mut self, site: &Site, config: Config, states: &States) -> Result<String> {
        let ground = self.ground;
        let patience = neighbour::PATIENCE;
        let proposal = apply::propose(ground, site, &config, states, patience)?;
        let (attachment, text) = apply::carry_out(ground, site, &config, &proposal)?;
        // The old program has left its place, and must not be taken off in the new one's stead.
        std::mem::replace(&mut self.attachment, attachment).leave();
        self.config = config;
        Ok(text)
    }
}

/// Waits for descriptors to be readable, until then at most; says which are.
fn wait<const N: usize>(
    descriptors: [Option<std::os::fd::BorrowedFd<'_>>; N],
    until: Instant,
) -> Result<[bool; N]> {
    let mut polled: Vec<PollFd<'_>> = descriptors
        .iter()
        .flatten()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    let left = until.saturating_duration_since(Instant::now());
    // Rounded up, lest the last millisecond be spent in a loop.
    let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut polled, left) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno).context("wait for something to happen"),
    }
    let mut ready = polled.iter().map(|fd| fd.any().unwrap_or(false));
    let mut answer = [false; N];
    for (answer, descriptor) in answer.iter_mut().zip(&descriptors) {
        *answer = descriptor.is_some() && ready.next().unwrap_or(false);
    }
    Ok(answer)
}

/// A path as another process in another folder understands it.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn waiting_says_who_is_ready() {
        let (quiet, _other) = UnixStream::pair().unwrap();
        let (ready, mut writer) = UnixStream::pair().unwrap();
        writer.write_all(b"x").unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        let found = wait([Some(quiet.as_fd()), None, Some(ready.as_fd())], until).unwrap();
        assert_eq!(found, [false, false, true]);
        let found = wait([Some(quiet.as_fd())], Instant::now()).unwrap();
        assert_eq!(found, [false]);
    }
}
