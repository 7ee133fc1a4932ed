//! The program that runs before the one that is measured: it restores the packet's headers, so that each run of
//! BPF_PROG_TEST_RUN sees the same packet, not the one that the run before has rewritten; and it holds the clock.
//!
//! ```text
//!   n = runs++;  if n % 4096 == 0 { times[n / 4096] = ktime }     the clock
//!   adjust_head(in_front)                                         takes off what the run before has put in front (tunnels)
//!   packet[0..] = headers                                         stores of constants
//!   packet.source = 11, flow                                      only where each packet is of another flow
//!   lock add                                                      waits for the stores
//!   tail call                                                     a direct jump: the slot is a constant
//! ```
//! The kernel itself reports whole nanoseconds a run; the times in the map give fractions, and one sample each 4,096 runs,
//! of which an interrupt spoils few. What it costs is measured with an empty program behind it, and subtracted.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{Context, Result, ensure};
use xdplb_loader::kernel::{Map, MapDefinition, MapShape, Program, TestRun, Update};
use xdplb_loader::uapi::MapType;
use xdplb_prog::counters::Verdict;
use xdplb_tests::program::{assemble, insn};

use crate::figures::median;

/// Runs from one look at the clock to the next.
pub const STRIDE: u32 = 4096;
/// Samples that there is room for.
const SAMPLES: u32 = 320;
/// The map's value: how many runs, the times, how many flows.
const WORDS: usize = 2 + SAMPLES as usize;
const NEXT: i32 = (WORDS as i32 - 1) * 8;

/// Which flow the packets are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// All of one: the packet's own.
    Same,
    /// Each of another: clients one after the other.
    New,
    /// By turns of so many that [`Flow::New`] opened, a power of two, in an order that no cache foresees.
    Among(u32),
}

/// A packet to be restored before each run.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The frame.
    pub frame: Vec<u8>,
    /// How many of its bytes are headers.
    pub headers: usize,
    /// Which flow it is of.
    pub flow: Flow,
    /// Bytes that the program puts in front of it.
    pub in_front: usize,
    /// What the program answers.
    pub verdict: Verdict,
}

/// The restoring program with another one behind it.
#[derive(Debug)]
pub struct Measured {
    program: Program,
    memory: Map,
    _behind: Map,
    packet: Vec<u8>,
    verdict: Verdict,
}

impl Measured {
    /// Puts `program` behind it.
    pub fn new(program: BorrowedFd<'_>, packet: &Restored) -> Result<Self> {
        let behind = map("behind", MapType::PROG_ARRAY, 4)?;
        behind.update_fd(&0u32.to_ne_bytes(), program, Update::Any)?;
        let memory = map("memory", MapType::ARRAY, WORDS as u32 * 8)?;
        let code = instructions(packet, memory.as_fd(), behind.as_fd())?;
        let mut bytes = vec![0; packet.in_front];
        bytes.extend_from_slice(&packet.frame);
        Ok(Self {
            program: assemble("xdplb_restore", &code)?,
            memory,
            _behind: behind,
            packet: bytes,
            verdict: packet.verdict,
        })
    }

    /// Runs it `strides` times 4,096 times; nanoseconds a run, the median of the strides.
    pub fn time(&self, strides: u32) -> Result<f64> {
        ensure!(strides < SAMPLES, "{strides} strides");
        let mut words = self.words()?;
        words[..WORDS - 1].fill(0);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.memory
            .update(&0u32.to_ne_bytes(), &bytes, Update::Any)?;
        // One run more, for the last look at the clock.
        self.run(strides * STRIDE + 1)?;
        let words = self.words()?;
        ensure!(
            words[0] == u64::from(strides * STRIDE) + 1,
            "{} runs",
            words[0]
        );
        let times = &words[1..2 + strides as usize];
        let samples = times
            .windows(2)
            .map(|pair| pair[1].wrapping_sub(pair[0]) as f64 / f64::from(STRIDE));
        Ok(median(samples.collect()))
    }

    /// Runs it; the packet as it was left.
    pub fn run(&self, repeat: u32) -> Result<Vec<u8>> {
        let result = self.program.test_run(&TestRun {
            data: &self.packet,
            repeat,
            ..TestRun::default()
        })?;
        ensure!(
            result.return_value == self.verdict as u32,
            "verdict {}, not {}",
            result.return_value,
            self.verdict.name()
        );
        Ok(result.data)
    }

    fn words(&self) -> Result<Vec<u64>> {
        let value = self.memory.lookup(&0u32.to_ne_bytes())?.context("memory")?;
        Ok(value
            .chunks_exact(8)
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()))
            .collect())
    }
}

fn map(name: &str, map_type: MapType, value_size: u32) -> Result<Map> {
    Ok(Map::create(&MapDefinition {
        name,
        shape: MapShape {
            map_type,
            key_size: 4,
            value_size,
            max_entries: 1,
            map_flags: 0,
            map_extra: 0,
        },
        ..MapDefinition::default()
    })?)
}

const ADJUST_HEAD: i32 = 44;

/// A program that answers at once: `r0 = verdict; exit`.
pub fn empty(verdict: Verdict) -> Result<Program> {
    assemble(
        "xdplb_empty",
        &[insn(0xb7, 0, 0, 0, verdict as i32), insn(0x95, 0, 0, 0, 0)],
    )
}

/// One that puts so many bytes in front and sends the frame back.
pub fn growing(in_front: usize) -> Result<Program> {
    let code = [
        insn(0xb7, 2, 0, 0, -(in_front as i32)), // r2 = -in_front
        insn(0x85, 0, 0, 0, ADJUST_HEAD),        // adjust the head
        insn(0xb7, 0, 0, 0, Verdict::Tx as i32), // r0 = XDP_TX
        insn(0x95, 0, 0, 0, 0),                  // exit
    ];
    assemble("xdplb_growing", &code)
}

/// The program. Registers: r6 the context, r7 the memory, r8 a number, r2 the packet.
fn instructions(
    packet: &Restored,
    memory: BorrowedFd<'_>,
    behind: BorrowedFd<'_>,
) -> Result<Vec<[u8; 8]>> {
    const MAP_FD: u8 = 1;
    const MAP_VALUE: u8 = 2;
    const KTIME_GET_NS: i32 = 5;
    const TAIL_CALL: i32 = 12;
    let length = packet.headers;
    let headers = packet
        .frame
        .get(..length)
        .context("a packet without headers")?;
    let mut code = vec![
        insn(0xbf, 6, 1, 0, 0),                          // r6 = r1
        insn(0x18, 7, MAP_VALUE, 0, memory.as_raw_fd()), // r7 = the memory's value
        insn(0, 0, 0, 0, 0),
        // The clock.
        insn(0x79, 8, 7, 0, 0),                 // r8 = runs
        insn(0xbf, 1, 8, 0, 0),                 // r1 = r8
        insn(0x07, 1, 0, 0, 1),                 // r1 += 1
        insn(0x7b, 7, 1, 0, 0),                 // runs = r1
        insn(0xbf, 1, 8, 0, 0),                 // r1 = r8
        insn(0x57, 1, 0, 0, STRIDE as i32 - 1), // r1 &= 4095
        insn(0x55, 1, 0, 8, 0),                 // if r1 != 0 goto the packet
        insn(0x85, 0, 0, 0, KTIME_GET_NS),      // r0 = ktime
        insn(0x77, 8, 0, 0, 12),                // r8 >>= 12
        insn(0x57, 8, 0, 0, 0x1ff),             // r8 &= 511
        insn(0x25, 8, 0, 4, SAMPLES as i32),    // if r8 > samples goto the packet
        insn(0x67, 8, 0, 0, 3),                 // r8 <<= 3
        insn(0xbf, 1, 7, 0, 0),                 // r1 = r7
        insn(0x0f, 1, 8, 0, 0),                 // r1 += r8
        insn(0x7b, 1, 0, 8, 0),                 // times[r8] = r0
    ];
    if packet.in_front != 0 {
        code.extend([
            insn(0xbf, 1, 6, 0, 0),                      // r1 = r6
            insn(0xb7, 2, 0, 0, packet.in_front as i32), // r2 = in_front
            insn(0x85, 0, 0, 0, ADJUST_HEAD),            // adjust the head
        ]);
    }
    code.extend([
        // The packet.
        insn(0x61, 2, 6, 0, 0),             // r2 = data
        insn(0x61, 3, 6, 4, 0),             // r3 = data_end
        insn(0xbf, 4, 2, 0, 0),             // r4 = r2
        insn(0x07, 4, 0, 0, length as i32), // r4 += the headers' length
        insn(0xb7, 0, 0, 0, 0),             // r0 = XDP_ABORTED
        insn(0xbd, 4, 3, 1, 0),             // if r4 <= r3 skip
        insn(0x95, 0, 0, 0, 0),             // exit
    ]);
    for (index, part) in (0..).zip(headers.chunks(4)) {
        let offset = index * 4;
        code.push(match *part {
            [a, b, c, d] => insn(0x62, 2, 0, offset, i32::from_le_bytes([a, b, c, d])),
            [a, b] => insn(0x6a, 2, 0, offset, i32::from(u16::from_le_bytes([a, b]))),
            _ => anyhow::bail!("headers of {length} bytes"),
        });
    }
    if packet.flow != Flow::Same {
        code.extend([
            insn(0x79, 8, 7, NEXT as i16, 0), // r8 = next
            insn(0xbf, 1, 8, 0, 0),           // r1 = r8
            insn(0x07, 1, 0, 0, 1),           // r1 += 1
            insn(0x7b, 7, 1, NEXT as i16, 0), // next = r1
        ]);
        if let Flow::Among(flows) = packet.flow {
            ensure!(flows.is_power_of_two(), "{flows} flows");
            code.extend([
                insn(0x27, 8, 0, 0, 0x1e37_79b1),      // r8 *= an odd number
                insn(0x57, 8, 0, 0, flows as i32 - 1), // r8 &= flows - 1
            ]);
        }
        // The last four bytes of the source address.
        let v6 = headers[12..14] == [0x86, 0xdd];
        let source = if v6 { 34 } else { 26 };
        code.extend([
            insn(0x67, 8, 0, 0, 8),      // r8 <<= 8
            insn(0x47, 8, 0, 0, 11),     // r8 |= 11
            insn(0x63, 2, 8, source, 0), // source = r8
        ]);
    }
    code.extend([
        // A locked addition ends when all stores before it have (Intel SDM vol. 3, "Locked Atomic Operations"): the program
        // behind finds the packet in the cache, as a driver's would be, not half in the store buffer.
        insn(0x7a, 10, 0, -8, 0),                     // *(fp - 8) = 0
        insn(0xdb, 10, 0, -8, 0),                     // lock *(fp - 8) += r0
        insn(0xbf, 1, 6, 0, 0),                       // r1 = r6
        insn(0x18, 2, MAP_FD, 0, behind.as_raw_fd()), // r2 = the map
        insn(0, 0, 0, 0, 0),
        insn(0xb7, 3, 0, 0, 0),         // r3 = 0
        insn(0x85, 0, 0, 0, TAIL_CALL), // tail call
        insn(0xb7, 0, 0, 0, 0),         // nobody behind: r0 = XDP_ABORTED
        insn(0x95, 0, 0, 0, 0),         // exit
    ]);
    Ok(code)
}
