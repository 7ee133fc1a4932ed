//! The running program, run on a packet of ours without leaving a trace: a twin of it that changes nothing, and whose counters are
//! its own.

use std::time::Duration;

use nix::errno::Errno;
use xdplb_prog::abi::watch;

use super::event::{self, Told};
use super::program::ENTRY;
use super::running::Running;
use super::twin::{self, Difference, TwinError, number};
use crate::kernel::{KernelError, Program, RingBuffer, TestRun, TestRunResult, page_size};
use crate::load::LoadError;
use crate::object::Spec;

/// What each run writes to, so that nothing of it is seen in what runs.
const OWN: [&str; 4] = [
    "scratch",
    "counters",
    "backend_counters",
    "service_counters",
];
/// How long its record may take; it is there when the run ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no twin.
    #[error(transparent)]
    Twin(#[from] TwinError),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The object lacks something.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It ran, and told nothing.
    #[error("ask the program: it ran, and told nothing")]
    Silent,
}

/// Whether the run was told which interface the packet comes in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingress {
    /// It was.
    Known,
    /// The kernel takes no such thing (before Linux 5.14), so that the routing table is asked as for another interface.
    Unknown,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What the program told.
    pub told: Told,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// Whether the run knew the interface.
    pub ingress: Ingress,
    /// Whether it was the very program that runs, and not another of the same ABI.
    pub same: bool,
}

/// Runs it.
///
/// # Errors
/// No twin, or the kernel's refusal.
pub fn ask(spec: &Spec, running: &Running, ifindex: u32, frame: &[u8]) -> Result<Asked, AskError> {
    let constants = [
        number("WATCH", watch::EVENTS),
        number("DRY", 1),
        // The routing table is asked when its last answer is as old as this: at once.
        number("TICKS_PER_SECOND", 0),
    ];
    let difference = Difference {
        constants: &constants,
        own: &OWN,
        ring: page_size(),
    };
    let loaded = twin::load(spec, running, &difference)?;
    let mut ring = RingBuffer::open(loaded.map("events")?)?;
    let (result, ingress) = run(loaded.program(ENTRY)?, ifindex, frame)?;
    ring.wait(PATIENCE)?;
    let record = ring.read().ok_or(AskError::Silent)?;
    Ok(Asked {
        told: event::decode(&record).ok_or(AskError::Silent)?,
        frame: result.data,
        ingress,
        same: twin::is_same(&loaded, running),
    })
}

/// Once, with the interface where the kernel takes it.
fn run(
    program: &Program,
    ifindex: u32,
    frame: &[u8],
) -> Result<(TestRunResult, Ingress), KernelError> {
    let context = context(ifindex, frame.len() as u32);
    let run = TestRun {
        data: frame,
        context: Some(&context),
        repeat: 1,
    };
    match program.test_run(&run) {
        Ok(result) => Ok((result, Ingress::Known)),
        Err(error) if error.errno() == Some(Errno::EINVAL) => {
            let run = TestRun {
                context: None,
                ..run
            };
            Ok((program.test_run(&run)?, Ingress::Unknown))
        }
        Err(error) => Err(error),
    }
}

/// A `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
fn context(ifindex: u32, length: u32) -> Vec<u8> {
    let words = [0, length, 0, ifindex, 0, 0];
    words
        .iter()
        .flat_map(|word: &u32| word.to_ne_bytes())
        .collect()
}
