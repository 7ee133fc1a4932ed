//! Load: connections that are used all the time, every answer compared, every failure kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::{Answer, Connection};
use crate::netns::Netns;

/// Failures that are kept word by word.
const KEPT: usize = 10;

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Answered and right.
    pub good: u64,
    /// Connections opened, the kept ones included.
    pub opened: u64,
    /// Not answered, or wrong.
    pub failed: u64,
    /// Of these: not connected, since refused.
    pub refused: u64,
    /// What the first of the others said.
    pub failures: Vec<String>,
}

impl Report {
    fn count(&mut self, result: Result<()>) {
        match result {
            Ok(()) => self.good += 1,
            Err(error) => {
                self.failed += 1;
                let errno = error.root_cause().downcast_ref::<nix::errno::Errno>();
                if errno == Some(&nix::errno::Errno::ECONNREFUSED) {
                    self.refused += 1;
                    return;
                }
                if self.failures.len() < KEPT {
                    self.failures.push(format!("{error:#}"));
                }
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.good += other.good;
        self.opened += other.opened;
        self.failed += other.failed;
        self.refused += other.refused;
        self.failures.extend(other.failures);
        self.failures.truncate(KEPT);
    }

    /// An error when anything failed, or nothing was done.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.failed == 0 && self.good > 0,
            "{} of {} requests failed, {} of them refused:\n  {}",
            self.failed,
            self.failed + self.good,
            self.refused,
            self.failures.join("\n  ")
        );
        Ok(())
    }
}

/// Clients at work, until they are told to stop or dropped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Report>>,
}

impl Load {
    /// Starts `threads` of them. Each keeps `kept` connections, and in every round asks on each of them and on a new one.
    pub fn start(
        namespace: &Netns,
        to: impl Into<SocketAddr>,
        threads: usize,
        kept: usize,
    ) -> Result<Self> {
        Self::paced(namespace, to, threads, kept, Duration::ZERO)
    }

    /// The same with a pause after each round.
    pub fn paced(
        namespace: &Netns,
        to: impl Into<SocketAddr>,
        threads: usize,
        kept: usize,
        pause: Duration,
    ) -> Result<Self> {
        let to = to.into();
        let (stop, rounds) = (
            Arc::new(AtomicBool::new(false)),
            Arc::<AtomicU64>::default(),
        );
        let mut running = Self {
            stop: Arc::clone(&stop),
            rounds: Arc::clone(&rounds),
            threads: Vec::new(),
        };
        for _ in 0..threads {
            let kept = open_many(namespace, to, kept)?;
            let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
            let namespace = namespace.handle().try_clone_to_owned()?;
            running.threads.push(std::thread::spawn(move || {
                let mut report = Report::default();
                // A thread of its own namespace for good: what it opens later is there too.
                if let Err(error) =
                    nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)
                {
                    report.count(Err(error.into()));
                    return report;
                }
                work(to, kept, pause, &stop, &rounds, &mut report);
                report
            }));
        }
        Ok(running)
    }

    /// Rounds that all of them together have done.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Lets them finish their round and says what became of it.
    pub fn stop(mut self) -> Report {
        let mut report = Report::default();
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(part) => report.add(part),
                Err(_) => report.count(Err(anyhow::anyhow!("a client panicked"))),
            }
        }
        report
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Connections that have been used once, each with its first answer.
pub fn open_many(
    namespace: &Netns,
    to: impl Into<SocketAddr>,
    count: usize,
) -> Result<Vec<(Answer, Connection)>> {
    let to = to.into();
    let open = || {
        let mut connection = Connection::open(namespace, to)?;
        Ok((connection.get(10)?, connection))
    };
    (0..count).map(|_| open()).collect()
}

/// Asks once on each connection; each must answer as it did at first.
pub fn use_all(connections: &mut [(Answer, Connection)], length: usize) -> Result<()> {
    for (first, connection) in connections {
        let answer = connection.get(length)?;
        ensure!(answer == *first, "{answer:?}, not {first:?}");
    }
    Ok(())
}

fn work(
    to: SocketAddr,
    mut kept: Vec<(Answer, Connection)>,
    pause: Duration,
    stop: &AtomicBool,
    rounds: &AtomicU64,
    report: &mut Report,
) {
    report.opened += kept.len() as u64;
    let mut length = 0;
    while !stop.load(Ordering::Relaxed) {
        length = (length + 97) % 4000;
        kept.retain_mut(|one| {
            let result = use_all(std::slice::from_mut(one), length);
            let broken = result.is_err();
            report.count(result);
            // One that has failed once would fail each time.
            !broken
        });
        report.opened += 1;
        report.count(once(to, length));
        rounds.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(pause);
    }
}

fn once(to: SocketAddr, length: usize) -> Result<()> {
    let mut connection = Connection::open_here(to)?;
    connection.get(length)?;
    connection.echo(length)?;
    connection.close()
}
