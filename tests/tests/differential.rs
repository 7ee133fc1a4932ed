//! The bytecode in the kernel against the same logic on the host: the same packets by chance, valid and broken, must get
//! the same verdict and the same bytes, and leave the same tables and counters behind.
//!
//! The tables are small, so that connections are evicted all the time. Which one goes is decided by age, and the kernel's
//! clock ticks while ours would stand still: so the model's clock is set, packet by packet, to what the kernel's showed.

use anyhow::{Context, Result, ensure};
use xdplb_prog::abi::{Be16, Be32, deferred};
use xdplb_prog::counters::{Reason, Verdict};
use xdplb_prog::model::Model;
use xdplb_prog::world::Settings;
use xdplb_tests::frames::Tcp;
use xdplb_tests::netns::Netns;
use xdplb_tests::program::{Clock, OnKernel, Record};
use xdplb_tests::scenarios::{self, BALANCER};

const PACKETS: u32 = 5_000;
const SERVICE: [u8; 4] = [10, 0, 0, 100];

/// Numbers by chance, the same in every run: xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled").
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        high as usize % sides
    }
    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.roll(items.len())]
    }
    /// Once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }
}

/// The program in both places.
struct Both {
    kernel: OnKernel,
    model: Model,
    clock: Clock,
}

impl Both {
    fn new(settings: Settings) -> Result<Self> {
        let backends = scenarios::backends(settings.backends as u8);
        Ok(Self {
            kernel: OnKernel::load(&settings, &backends)?,
            model: Model::new(settings, backends),
            clock: Clock::new()?,
        })
    }

    fn receive(&self, frame: &[u8]) -> Result<Verdict> {
        let before = self.clock.now()?;
        let (verdict, out) = self.kernel.run(frame)?;
        let after = self.clock.now()?;
        self.model.now.set(if before == after {
            before
        } else {
            self.ticked(before)?
        });
        let mut expected = frame.to_vec();
        let expected = (self.model.receive(&mut expected), expected);
        ensure!(
            (verdict, &out) == (expected.0, &expected.1),
            "{verdict:?}, the model says {:?}\n  in     {frame:02x?}\n  kernel {out:02x?}\n  model  {:02x?}",
            expected.0,
            expected.1
        );
        Ok(verdict)
    }

    /// The clock ticked around a packet. If that was before the program looked at it, a record says so; and if it touched
    /// no record, the difference is of no account.
    fn ticked(&self, before: u32) -> Result<u32> {
        let slots = self.kernel.slots()?;
        let later = slots
            .iter()
            .filter(|slot| slot.is_live() && slot.last_seen().wrapping_sub(before) as i32 > 0);
        Ok(later
            .map(Record::last_seen)
            .max_by_key(|seen| seen.wrapping_sub(before))
            .unwrap_or(before))
    }

    /// Tables and counters.
    fn check(&self) -> Result<()> {
        let mut flows: Vec<_> = self
            .model
            .flows
            .borrow()
            .iter()
            .map(|(key, id)| (*key.bytes(), *id))
            .collect();
        flows.sort_unstable_by_key(|(key, _)| *key);
        ensure!(self.kernel.flow_entries()? == flows, "map flows differs");

        let slots = self.kernel.slots()?;
        let live: Vec<&[u8]> = slots
            .iter()
            .filter(|slot| slot.is_live())
            .map(Record::bytes)
            .collect();
        let expected: Vec<Record> = self.model.live().iter().map(Record::of).collect();
        let expected: Vec<&[u8]> = expected.iter().map(Record::bytes).collect();
        ensure!(
            live == expected,
            "connections:\n{live:02x?}\n{expected:02x?}"
        );

        for reason in Reason::ALL {
            let counters = self.model.counters.borrow();
            let count = counters.get(reason.name()).copied().unwrap_or_default();
            let expected = [count.packets, count.bytes];
            ensure!(
                self.kernel.count(*reason)? == expected,
                "{}: {expected:?}",
                reason.name()
            );
        }
        for (index, count) in (0..).zip(self.model.backend_counters.borrow().iter()) {
            let (sent, received) = (count.sent, count.received);
            let expected = [
                count.connections,
                sent.packets,
                sent.bytes,
                received.packets,
                received.bytes,
            ];
            ensure!(
                self.kernel.backend_count(index)? == expected,
                "backend {index}: {expected:?}"
            );
        }
        Ok(())
    }

    /// A packet of some client or of some connection's backend, as they come and as they don't.
    fn packet(&self, dice: &mut Dice) -> Vec<u8> {
        let live = self.model.live();
        let service = self.model.settings.service_addr.0;
        let mut tcp = if !live.is_empty() && dice.once_in(2) {
            let key = live[dice.roll(live.len())].reply;
            let flags = dice.pick(&["SA", "SA", "A", "A", "FA", "RA", "S"]);
            Tcp::new(
                (key.saddr.0, key.sport.get()),
                (key.daddr.0, key.dport.get()),
                flags,
            )
        } else {
            let client = (
                [10, 0, 1, 1 + dice.roll(40) as u8],
                1_000 + dice.roll(10) as u16,
            );
            let flags = dice.pick(&["S", "S", "S", "A", "A", "FA", "R", "SA", ""]);
            Tcp::new(client, (service, dice.pick(&[80, 80, 81])), flags)
        };
        tcp.from_mac[4] = dice.roll(2) as u8;
        let most = dice.pick(&[0, 8, 600, 2_900]);
        let filler = dice.roll(256);
        tcp.payload = (0..dice.roll(most + 1))
            .map(|n| (n * 7 + filler) as u8)
            .collect();
        if dice.once_in(8) {
            tcp.options = vec![1; 4 * dice.roll(11)];
        }
        if dice.once_in(20) {
            tcp.ttl = dice.roll(4) as u8;
        }
        let mut frame = if dice.once_in(3) {
            tcp.deferred_frame()
        } else {
            tcp.frame()
        };
        if dice.once_in(6) {
            for _ in 0..1 + dice.roll(3) {
                let at = dice.roll(frame.len().min(60));
                frame[at] = dice.roll(256) as u8;
            }
        }
        if dice.once_in(12) {
            frame.truncate(14 + dice.roll(frame.len() - 13));
        }
        if dice.once_in(10) {
            frame.extend_from_slice(&[0xaa; 9]);
        }
        frame
    }
}

fn run(settings: Settings, seed: u64) -> Result<()> {
    let both = Both::new(settings)?;
    let mut dice = Dice(seed);
    let mut sent = 0;
    for number in 0..PACKETS {
        let frame = both.packet(&mut dice);
        let verdict = both
            .receive(&frame)
            .with_context(|| format!("seed {seed}, packet {number}"))?;
        sent += u32::from(verdict == Verdict::Tx);
        if number % 250 == 249 {
            both.check()
                .with_context(|| format!("seed {seed}, after packet {number}"))?;
        }
    }
    // Else it compares how two programs do nothing.
    ensure!(sent > PACKETS / 3, "{sent} of {PACKETS} packets sent on");
    let (opened, slots) = (
        both.model.counted(Reason::Opened),
        both.model.settings.slots,
    );
    ensure!(
        opened > u64::from(slots),
        "nothing was evicted: {opened} opened"
    );
    Ok(())
}

#[test]
fn the_kernel_and_the_model_agree_on_every_packet() -> Result<()> {
    for (seed, (slots, backends, deferred, service, port)) in (1..).zip([
        (1, 1, deferred::COMPLETE, BALANCER, 0),
        (4, 3, deferred::COMPLETE, BALANCER, 0),
        (16, 1, deferred::COMPLETE, BALANCER, 0),
        (33, 2, deferred::KEEP, BALANCER, 0),
        (50, 5, deferred::COMPLETE, SERVICE, 80),
        (100, 3, deferred::COMPLETE, BALANCER, 80),
    ]) {
        let settings = Settings {
            deferred,
            service_addr: Be32(service),
            service_port: Be16::new(port),
            perfmon: (seed % 2) as u32,
            // A second of so many ticks that nothing expires.
            ticks_per_second: 1 << 18,
            ..scenarios::settings(backends, slots)
        };
        Netns::new("lb")?.run(|| run(settings, seed))?;
    }
    Ok(())
}
