//! `trace`: what becomes of packets, as it happens. While it runs the balancer's program tells; before and after it does not.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

use super::ask::balancer;
use super::trace_line::{Line, Names, text};
use super::{TraceArgs, note, remark};
use crate::balancer::device;
use crate::balancer::event::{self, Told};
use crate::balancer::filter::Filter;
use crate::balancer::pcapng::{Capture, Captured, Side};
use crate::balancer::program;
use crate::balancer::readback::Stored;
use crate::balancer::running::Running;
use crate::balancer::signals::Stop;
use crate::balancer::tracer::{Detail, Ended, Listener, There, Tracer};
use crate::kernel::{Feature, supports};
use crate::netlink::Socket;
use crate::object::Spec;

/// How long a signal or a closed pipe may have to wait.
const PAUSE: Duration = Duration::from_millis(50);
/// How often it is looked whether the program is still there.
const LOOK: Duration = Duration::from_millis(500);
/// Records between two looks at anything else.
const BATCH: usize = 4096;

/// Listens until a signal, a limit or a closed pipe ends it.
pub(super) fn run(args: &TraceArgs) -> Result<()> {
    let filter = Filter::parse(&args.filter.join(" "))?;
    let socket = Socket::open()?;
    let link = device::link(&socket, &args.ifname)?;
    let detail = detail(args)?;
    let spec = program::parse(crate::PROGRAM).context("the built-in program")?;
    let running = balancer(&socket, &args.ifname)?;
    let _listener = Listener::take(link.ifindex).with_context(|| args.ifname.clone())?;
    let out = Out::of(args)?;
    let stop = Stop::block().context("block signals")?;
    // From here on a signal finds the balancer as it was.
    let mut session = Session {
        args,
        spec: &spec,
        socket: &socket,
        ifindex: link.ifindex,
        filter,
        detail,
        out,
        shown: 0,
        lost: 0,
    };
    let end = session.listen(*running, &stop);
    let closed = session.close();
    end?;
    closed
}

fn detail(args: &TraceArgs) -> Result<Detail> {
    match (supports(Feature::XdpLoadBytes), &args.pcap) {
        (true, _) => Ok(Detail::Frames),
        (false, None) => Ok(Detail::Events),
        (false, Some(_)) => bail!(
            "--pcap: this kernel has no bpf_xdp_load_bytes (Linux 5.18), so frames cannot be kept\n  try:  without --pcap"
        ),
    }
}

/// Where packets go.
enum Out {
    Text(BufWriter<io::Stdout>),
    Json(BufWriter<io::Stdout>),
    Capture(Capture<Box<dyn Write>>),
}

impl Out {
    fn of(args: &TraceArgs) -> Result<Self> {
        let stdout = || BufWriter::with_capacity(1 << 16, io::stdout());
        let Some(path) = &args.pcap else {
            return Ok(match args.json {
                true => Self::Json(stdout()),
                false => Self::Text(stdout()),
            });
        };
        let to: Box<dyn Write> = if path == Path::new("-") {
            Box::new(stdout())
        } else {
            let file = File::create(path).with_context(|| format!("{}: create", path.display()))?;
            Box::new(BufWriter::with_capacity(1 << 16, file))
        };
        let begun = Capture::begin(to, &args.ifname);
        Ok(Self::Capture(
            begun.with_context(|| path.display().to_string())?,
        ))
    }

    fn add(&mut self, told: &Told, line: &Line, number: u64) -> io::Result<()> {
        match self {
            Self::Text(to) => writeln!(to, "{}", text(line)),
            Self::Json(to) => {
                serde_json::to_writer(&mut *to, line)?;
                to.write_all(b"\n")
            }
            Self::Capture(capture) => {
                let comment = line.comment(number);
                let sides = [
                    (Side::In, &told.before, told.event.length),
                    (Side::Out, &told.after, told.event.sent_length),
                ];
                for (side, bytes, length) in sides {
                    if side == Side::In || line.left() {
                        capture.add(&Captured {
                            time: line.time(),
                            side,
                            bytes,
                            length,
                            comment: &comment,
                        })?;
                    }
                }
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Text(to) | Self::Json(to) => to.flush(),
            Self::Capture(capture) => capture.flush(),
        }
    }
}

/// Why listening ended, where that is not an error.
#[derive(Debug, PartialEq, Eq)]
enum Why {
    /// A signal, a limit, a closed pipe.
    Asked,
    /// The balancer has gone.
    Gone,
    /// Another program of the balancer's is there.
    Replaced,
}

struct Session<'s> {
    args: &'s TraceArgs,
    spec: &'s Spec,
    socket: &'s Socket,
    ifindex: u32,
    filter: Filter,
    detail: Detail,
    out: Out,
    shown: u64,
    lost: u64,
}

impl Session<'_> {
    /// Listens to one program, and, where that is replaced by a reload, to the next.
    fn listen(&mut self, running: Running, stop: &Stop) -> Result<()> {
        let ifname = &self.args.ifname;
        let end = self
            .args
            .seconds
            .map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
        let mut running = running;
        loop {
            let stored = Stored::read(&running)?;
            let constants = self.filter.constants(&stored);
            let constants = constants.with_context(|| ifname.clone())?;
            let names = Names::of(&stored);
            let place = (ifname.as_str(), self.ifindex);
            let tracer = Tracer::start(
                self.spec,
                self.socket,
                place,
                running,
                self.detail,
                &constants,
            );
            let mut tracer = tracer.with_context(|| ifname.clone())?;
            self.greet(&tracer);
            let why = self.watch(&mut tracer, &names, stop, end);
            let next = tracer.there();
            self.lost += tracer.lost();
            let ended = tracer.stop().with_context(|| ifname.clone());
            match (why?, next?) {
                (Why::Asked, _) => {
                    if ended? == Ended::Overtaken {
                        note(format_args!(
                            "{ifname}: the balancer was replaced or taken off meanwhile"
                        ));
                    }
                    return Ok(());
                }
                (Why::Replaced, There::Successor(next)) => running = *next,
                (Why::Gone | Why::Replaced, _) => {
                    note(format_args!("{ifname}: the balancer was taken off"));
                    return Ok(());
                }
            }
        }
    }

    fn greet(&self, tracer: &Tracer<'_>) {
        let ifname = &self.args.ifname;
        if !tracer.is_same() {
            note(format_args!(
                "{ifname}: the program that ran is of another build; while tracing, the built-in one runs"
            ));
        }
        if self.detail == Detail::Events {
            note(format_args!(
                "{ifname}: before Linux 5.18 (bpf_xdp_load_bytes) only TCP and UDP packets are shown with addresses"
            ));
        }
        remark(format_args!("Tracing {ifname}, Ctrl+C to end..."));
    }

    fn watch(
        &mut self,
        tracer: &mut Tracer<'_>,
        names: &Names,
        stop: &Stop,
        end: Option<Instant>,
    ) -> Result<Why> {
        let mut look = Instant::now() + LOOK;
        loop {
            let offset = offset();
            let mut batch = 0;
            while batch < BATCH
                && let Some(record) = tracer.ring.read()
            {
                batch += 1;
                let Some(told) = event::decode(&record) else {
                    continue;
                };
                drop(record);
                self.shown += 1;
                let line = Line::of(&told, names, offset);
                if let Err(error) = self.out.add(&told, &line, self.shown) {
                    return broken(error);
                }
                if self.args.count == Some(self.shown) {
                    return Ok(Why::Asked);
                }
            }
            if let Err(error) = self.out.flush() {
                return broken(error);
            }
            let now = Instant::now();
            if stop
                .within(Duration::ZERO)
                .context("wait for a signal")?
                .is_some()
                || end.is_some_and(|end| now >= end)
                || self.is_unread()
            {
                return Ok(Why::Asked);
            }
            if now >= look {
                look = now + LOOK;
                match tracer.there()? {
                    There::Ours => {}
                    There::Successor(_) => return Ok(Why::Replaced),
                    There::Gone => return Ok(Why::Gone),
                }
            }
            if batch < BATCH {
                tracer.ring.wait(PAUSE)?;
            }
        }
    }

    /// Whether standard output is a pipe that nobody reads any more.
    fn is_unread(&self) -> bool {
        let to_stdout = self
            .args
            .pcap
            .as_ref()
            .is_none_or(|path| path == Path::new("-"));
        let stdout = io::stdout();
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        let error = fds[0]
            .revents()
            .is_some_and(|seen| seen.contains(PollFlags::POLLERR));
        to_stdout && polled.is_ok() && error
    }

    /// What is said in the end.
    fn close(&mut self) -> Result<()> {
        let (shown, lost) = (self.shown, self.lost);
        let done = match &mut self.out {
            Out::Capture(capture) => capture.end(realtime(), lost),
            Out::Text(_) | Out::Json(_) => self.out.flush(),
        };
        remark(format_args!("{}", summary(shown, lost)));
        done.or_else(|error| broken(error).map(drop).map_err(io::Error::other))?;
        Ok(())
    }
}

/// A reader that went away ends the trace; anything else is an error.
fn broken(error: io::Error) -> Result<Why> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(Why::Asked),
        _ => Err(error).context("write the trace"),
    }
}

fn summary(shown: u64, lost: u64) -> String {
    let packets = match shown {
        1 => "1 packet".to_string(),
        number => format!("{number} packets"),
    };
    match lost {
        0 => packets,
        lost => format!(
            "{packets}; {lost} more found no room in the ring: a filter or 1/N makes them fewer"
        ),
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn realtime() -> u64 {
    nanoseconds(ClockId::CLOCK_REALTIME)
}

/// What the program's clock lacks to the time since 1970.
fn offset() -> u64 {
    realtime().wrapping_sub(nanoseconds(ClockId::CLOCK_MONOTONIC))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_was_lost_is_said() {
        assert_eq!(summary(1, 0), "1 packet");
        assert_eq!(
            summary(2, 7),
            "2 packets; 7 more found no room in the ring: a filter or 1/N makes them fewer"
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        assert_eq!(broken(ErrorKind::BrokenPipe.into()).unwrap(), Why::Asked);
        let error = broken(ErrorKind::StorageFull.into()).unwrap_err();
        assert_eq!(error.to_string(), "write the trace");
    }
}
