//! The program in the kernel and the model side by side: whatever both are given, both must do the same with it.
//!
//! The kernel's clock ticks while the model's is set. It is read between packets; where it ticked in the meantime, the model tries
//! each of the packet's looks at the clock as the first one at the new time, until one of them explains all that the kernel did.
//! Where none does, they differ.

mod generator;
mod side;

use anyhow::{Context, Result, bail, ensure};
use xdplb_prog::abi::{Backend, Connection};
use xdplb_prog::counters::{Reason, Verdict};
use xdplb_prog::model::{Model, Tables};
use xdplb_prog::state::State;
use xdplb_prog::world::Settings;

use crate::pool::Pooled;
use crate::program::Clock;
pub use generator::{Dice, Generator, services};
use side::{bucket, connection};

/// In how many ways, from either end, several ticks are divided to explain a packet.
const MOST_TICKS: usize = 4;

/// What became of a frame.
type Answer = (Verdict, Vec<u8>);

/// The program in both places.
pub struct Both {
    kernel: Pooled,
    /// The one on the host.
    pub model: Model,
    clock: Clock,
}

impl Both {
    /// With the same settings and tables.
    pub fn new(settings: Settings, tables: &Tables) -> Result<Self> {
        Ok(Self {
            kernel: Pooled::new(&settings, tables)?,
            model: Model::new(settings, tables.clone()),
            clock: Clock::new()?,
        })
    }

    /// Gives frames to both, one after the other. Says what the kernel did with them.
    pub fn receive(&mut self, frames: &[Vec<u8>]) -> Result<Vec<Answer>> {
        let mut before = self.clock.now()?;
        let mut answers = Vec::with_capacity(frames.len());
        for (number, frame) in frames.iter().enumerate() {
            let answer = self.kernel.run(frame)?;
            let after = self.clock.now()?;
            let (verdict, out) = &answer;
            ensure!(
                *verdict == Verdict::Tx || out == frame,
                "{verdict:?}, but changed:\n  in  {frame:02x?}\n  out {out:02x?}"
            );
            let context = || format!("packet {number} of {}", frames.len());
            if before == after {
                self.model.now.set(before);
                same(&self.model, frame, &answer).with_context(context)?;
            } else {
                let model = self.explain(frame, &answer, before, after);
                self.model = model.with_context(context)?;
            }
            before = after;
            answers.push(answer);
        }
        Ok(answers)
    }

    /// The clock ticked before, after, or while the packet was under way.
    fn explain(&self, frame: &[u8], answer: &Answer, from: u32, to: u32) -> Result<Model> {
        let slots: Vec<_> = self.kernel.connections()?.iter().map(connection).collect();
        let backends = self.kernel.backends()?;
        let buckets: Vec<_> = self.kernel.buckets()?.iter().map(bucket).collect();
        // With these ticks: whether they explain what the kernel did, and how often the clock was read.
        let tried = |ticks: &[(u32, u32)]| {
            let model = self.model.copy();
            model.now.set(from);
            model.ticks.replace(ticks.to_vec());
            let same = same(&model, frame, answer).is_ok()
                && model
                    .slots()
                    .iter()
                    .map(connection)
                    .eq(slots.iter().cloned())
                && model
                    .buckets_now()
                    .iter()
                    .map(bucket)
                    .eq(buckets.iter().copied())
                && backends.starts_with(&model.backends_now());
            model.ticks.take();
            (same.then_some(model.copy()), model.reads.get())
        };
        let (none, reads) = tried(&[]);
        if let Some(model) = none {
            return Ok(model);
        }
        let once = (0..=reads).find_map(|at| tried(&[(at, to)]).0);
        if let Some(model) = once {
            return Ok(model);
        }
        // Two ticks, each by itself, or one after whoever else had the processor for some.
        let ticks = to.wrapping_sub(from);
        let between = (1..ticks).take(MOST_TICKS).flat_map(|at| [at, ticks - at]);
        for between in between {
            let middle = from.wrapping_add(between);
            for first in 0..=reads {
                let ticks = |at| [(first, middle), (at, to)];
                let second = (first + 1..=reads).find_map(|at| tried(&ticks(at)).0);
                if let Some(model) = second {
                    return Ok(model);
                }
            }
        }
        // What differs, if it is in the answers.
        let model = self.model.copy();
        model.now.set(from);
        same(&model, frame, answer).with_context(|| format!("ticks {from} to {to}"))?;
        let ours = model.slots();
        let differs = ours
            .iter()
            .map(connection)
            .zip(&slots)
            .find(|(a, b)| a != *b);
        bail!("no time from {from} to {to} explains (model, kernel): {differs:x?}")
    }

    /// All that is remembered becomes that many seconds older.
    pub fn sleep(&mut self, seconds: u32) -> Result<()> {
        let ticks = seconds.wrapping_mul(self.model.settings.ticks_per_second);
        for (slot, flow) in (0..).zip(self.model.slots()) {
            if flow.state == State::FREE {
                continue;
            }
            self.put_connection(
                slot,
                &Connection {
                    last_seen: flow.last_seen.wrapping_sub(ticks),
                    routed_at: flow.routed_at.wrapping_sub(ticks),
                    ..flow
                },
            )?;
        }
        for (index, backend) in (0..).zip(self.model.backends_now()) {
            let routed_at = backend.routed_at.wrapping_sub(ticks);
            self.put_backend(
                index,
                &Backend {
                    routed_at,
                    ..backend
                },
            )?;
        }
        Ok(())
    }

    fn put_connection(&self, slot: u32, connection: &Connection) -> Result<()> {
        self.model.put_connection(slot, connection);
        self.kernel.put_connection(slot, connection)
    }
    /// Writes an entry of `backends`.
    pub fn put_backend(&self, index: u32, backend: &Backend) -> Result<()> {
        self.model.put_backend(index, backend);
        self.kernel.put_backend(index, backend)
    }

    /// Both have the same tables and counters, and the tables are sound.
    pub fn check(&self) -> Result<()> {
        let (slots, expected) = (self.kernel.connections()?, self.model.slots());
        ensure!(slots.len() == expected.len(), "{} slots", slots.len());
        for (slot, (ours, theirs)) in slots.iter().zip(&expected).enumerate() {
            ensure!(
                connection(ours) == connection(theirs),
                "slot {slot}:\n  kernel {ours:x?}\n  model  {theirs:x?}"
            );
        }
        let (buckets, expected) = (self.kernel.buckets()?, self.model.buckets_now());
        ensure!(buckets.len() == expected.len(), "{} buckets", buckets.len());
        for (number, (ours, theirs)) in buckets.iter().zip(&expected).enumerate() {
            ensure!(
                bucket(ours) == bucket(theirs),
                "bucket {number}:\n  kernel {ours:x?}\n  model  {theirs:x?}"
            );
        }
        ensure!(
            self.kernel
                .backends()?
                .starts_with(&self.model.backends_now()),
            "backends"
        );
        crate::scenarios::check_tables(&self.model.settings, &slots, &buckets)
            .map_err(anyhow::Error::msg)?;
        self.check_counters()
    }

    fn check_counters(&self) -> Result<()> {
        for reason in Reason::ALL {
            let counters = self.model.counters.borrow();
            let expected = counters.get(reason.name()).copied().unwrap_or_default();
            let count = self.kernel.count(*reason)?;
            ensure!(
                count == expected,
                "{}: {count:?}, {expected:?}",
                reason.name()
            );
        }
        for (index, expected) in (0..).zip(self.model.backend_counters.borrow().iter()) {
            let count = self.kernel.backend_count(index)?;
            ensure!(
                count == *expected,
                "backend {index}: {count:?}, {expected:?}"
            );
        }
        for (id, expected) in self.model.service_counters.borrow().iter() {
            let count = self.kernel.service_count(*id)?;
            ensure!(count == *expected, "service {id}: {count:?}, {expected:?}");
        }
        Ok(())
    }
}

/// The model must answer the frame as the kernel did.
fn same(model: &Model, frame: &[u8], (verdict, out): &Answer) -> Result<()> {
    let mut expected = frame.to_vec();
    let expected = (model.receive(&mut expected), expected);
    ensure!(
        (*verdict, out) == (expected.0, &expected.1),
        "{verdict:?}, the model says {:?}\n  in     {frame:02x?}\n  kernel {out:02x?}\n  model  {:02x?}",
        expected.0,
        expected.1
    );
    Ok(())
}

/// Gives both that many packets; says how often they left for which reason.
///
/// # Errors
/// The first difference, with what leads to it again.
pub fn run(settings: Settings, seed: u64, packets: u32) -> Result<Vec<u64>> {
    /// How often tables and counters are compared.
    const CHECKPOINT: u32 = 5_000;
    let mut both = Both::new(settings, &Tables::of(&services()))?;
    let mut generator = Generator::new(seed);
    let (mut sent, mut checked) = (0, 0);
    while sent < packets {
        let context = || format!("seed {seed}, after packet {sent}, {settings:?}");
        let frames = generator.batch(&both.model);
        both.receive(&frames).with_context(context)?;
        sent += frames.len() as u32;
        if generator.dice.once_in(50) {
            both.sleep(generator.dice.pick(&[1, 5, 31, 61, 64, 121, 8_001]))?;
        }
        if generator.dice.once_in(8) {
            let (index, backend) = generator.backend(&both.model);
            both.put_backend(index, &backend)?;
        }
        if sent - checked >= CHECKPOINT || sent >= packets {
            checked = sent;
            both.check()
                .with_context(|| format!("seed {seed}, after packet {sent}"))?;
        }
    }
    let counts = Reason::ALL.iter().map(|reason| both.model.counted(*reason));
    Ok(counts.collect())
}
