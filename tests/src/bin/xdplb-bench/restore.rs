//! The program that runs before the one that is measured: it restores the packet's headers, so that each run of
//! BPF_PROG_TEST_RUN sees the same packet, not the one that the run before has rewritten; and it holds the clock.
//!
//! ```text
//!   n = runs++;  if n % 4096 == 0 { times[n / 4096] = ktime }     the clock
//!   packet[0..54] = headers                                       stores of constants
//!   packet.sport, packet.dport = next++                           only for new flows
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

/// Ethernet, IPv4, TCP, none with options.
pub const HEADERS: usize = 54;
/// Runs from one look at the clock to the next.
pub const STRIDE: u32 = 4096;
/// Samples that there is room for.
const SAMPLES: u32 = 64;
/// The map's value: how many runs, the times, how many flows.
const WORDS: usize = 2 + SAMPLES as usize;
const NEXT: i32 = (WORDS as i32 - 1) * 8;

/// Which connection the packets are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// All of one.
    Same,
    /// Each of another: the source port counts on, and every 32,768 packets the destination port, so that no two
    /// connections ask for the same port towards a backend.
    New,
}

/// The restoring program with another one behind it.
#[derive(Debug)]
pub struct Measured {
    program: Program,
    memory: Map,
    _behind: Map,
    packet: Vec<u8>,
}

impl Measured {
    /// Puts `program` behind it, for packets like `packet`.
    pub fn new(program: BorrowedFd<'_>, packet: &[u8], flow: Flow) -> Result<Self> {
        let behind = map("behind", MapType::PROG_ARRAY, 4)?;
        behind.update_fd(&0u32.to_ne_bytes(), program, Update::Any)?;
        let memory = map("memory", MapType::ARRAY, WORDS as u32 * 8)?;
        let code = instructions(packet, flow, memory.as_fd(), behind.as_fd())?;
        Ok(Self {
            program: assemble("xdplb_restore", &code)?,
            memory,
            _behind: behind,
            packet: packet.to_vec(),
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
            result.return_value == Verdict::Tx as u32,
            "verdict {}, not XDP_TX",
            result.return_value
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

/// An empty XDP_TX: `r0 = 3; exit`.
pub fn empty() -> Result<Program> {
    assemble(
        "xdplb_empty",
        &[insn(0xb7, 0, 0, 0, 3), insn(0x95, 0, 0, 0, 0)],
    )
}

/// The program. Registers: r6 the context, r7 the memory, r8 a number, r2 the packet.
fn instructions(
    packet: &[u8],
    flow: Flow,
    memory: BorrowedFd<'_>,
    behind: BorrowedFd<'_>,
) -> Result<Vec<[u8; 8]>> {
    const MAP_FD: u8 = 1;
    const MAP_VALUE: u8 = 2;
    const KTIME_GET_NS: i32 = 5;
    const TAIL_CALL: i32 = 12;
    let headers = packet.get(..HEADERS).context("a packet without headers")?;
    let mut code = vec![
        insn(0xbf, 6, 1, 0, 0),                          // r6 = r1
        insn(0x18, 7, MAP_VALUE, 0, memory.as_raw_fd()), // r7 = the memory's value
        insn(0, 0, 0, 0, 0),
        // The clock.
        insn(0x79, 8, 7, 0, 0),                  // r8 = runs
        insn(0xbf, 1, 8, 0, 0),                  // r1 = r8
        insn(0x07, 1, 0, 0, 1),                  // r1 += 1
        insn(0x7b, 7, 1, 0, 0),                  // runs = r1
        insn(0xbf, 1, 8, 0, 0),                  // r1 = r8
        insn(0x57, 1, 0, 0, STRIDE as i32 - 1),  // r1 &= 4095
        insn(0x55, 1, 0, 7, 0),                  // if r1 != 0 goto the packet
        insn(0x85, 0, 0, 0, KTIME_GET_NS),       // r0 = ktime
        insn(0x77, 8, 0, 0, 12),                 // r8 >>= 12
        insn(0x57, 8, 0, 0, SAMPLES as i32 - 1), // r8 &= 63
        insn(0x67, 8, 0, 0, 3),                  // r8 <<= 3
        insn(0xbf, 1, 7, 0, 0),                  // r1 = r7
        insn(0x0f, 1, 8, 0, 0),                  // r1 += r8
        insn(0x7b, 1, 0, 8, 0),                  // times[r8] = r0
        // The packet.
        insn(0x61, 2, 6, 0, 0),                    // r2 = data
        insn(0x61, 3, 6, 4, 0),                    // r3 = data_end
        insn(0xbf, 4, 2, 0, 0),                    // r4 = r2
        insn(0x07, 4, 0, 0, HEADERS as i32),       // r4 += 54
        insn(0xb7, 0, 0, 0, Verdict::Drop as i32), // r0 = XDP_DROP
        insn(0xbd, 4, 3, 1, 0),                    // if r4 <= r3 skip
        insn(0x95, 0, 0, 0, 0),                    // exit
    ];
    for (index, part) in (0..).zip(headers.chunks(4)) {
        let offset = index * 4;
        code.push(match *part {
            [a, b, c, d] => insn(0x62, 2, 0, offset, i32::from_le_bytes([a, b, c, d])),
            [a, b] => insn(0x6a, 2, 0, offset, i32::from(u16::from_le_bytes([a, b]))),
            _ => anyhow::bail!("headers of {HEADERS} bytes"),
        });
    }
    if flow == Flow::New {
        code.extend([
            insn(0x79, 8, 7, NEXT as i16, 0), // r8 = next
            insn(0xbf, 1, 8, 0, 0),           // r1 = r8
            insn(0x07, 1, 0, 0, 1),           // r1 += 1
            insn(0x7b, 7, 1, NEXT as i16, 0), // next = r1
            insn(0xbf, 1, 8, 0, 0),           // r1 = r8
            insn(0x47, 1, 0, 0, 0x8000),      // r1 |= 0x8000
            insn(0x6b, 2, 1, 34, 0),          // source port = r1
            insn(0x77, 8, 0, 0, 15),          // r8 >>= 15
            insn(0x47, 8, 0, 0, 0x5000),      // r8 |= 0x5000: port 80 to begin with
            insn(0x6b, 2, 8, 36, 0),          // destination port = r8
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
        insn(0xb7, 3, 0, 0, 0),                    // r3 = 0
        insn(0x85, 0, 0, 0, TAIL_CALL),            // tail call
        insn(0xb7, 0, 0, 0, Verdict::Drop as i32), // nobody behind: r0 = XDP_DROP
        insn(0x95, 0, 0, 0, 0),                    // exit
    ]);
    Ok(code)
}
