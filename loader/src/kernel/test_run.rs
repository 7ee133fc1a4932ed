//! BPF_PROG_TEST_RUN: the kernel runs the program on bytes of ours.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;

use super::syscall::{Attr, Command, bpf};
use super::{Capability, KernelError, Program};

/// What to run a program on.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestRun<'a> {
    /// The packet.
    pub data: &'a [u8],
    /// `struct xdp_md` bytes, to set the interface or metadata (Linux 5.13 for XDP).
    pub context: Option<&'a [u8]>,
    /// How many times; 0 means once. Each run sees the packet that the run before it left (facts.md §2).
    pub repeat: u32,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRunResult {
    /// The program's return value: for XDP a verdict.
    pub return_value: u32,
    /// Mean time of one run, with the kernel's resolution of a nanosecond.
    pub duration: Duration,
    /// The packet afterwards.
    pub data: Vec<u8>,
}

impl Program {
    /// Runs the program in the kernel on the given packet.
    pub fn test_run(&self, run: &TestRun<'_>) -> Result<TestRunResult, KernelError> {
        let what = || format!("test run of program `{}`", self.name());
        // A program may grow the packet by at most the headroom (256 bytes) and the tail room of its page.
        let mut data = vec![0u8; run.data.len() + 4096];
        let room = data.len() as u32;
        let mut attr = Attr::new(80);
        attr.fd("test.prog_fd", 0, self.as_fd())
            .u32("test.data_size_in", 8, run.data.len() as u32)
            .u32("test.data_size_out", 12, room)
            .input("test.data_in", 16, run.data)
            .output("test.data_out", 24, &mut data)
            .u32("test.repeat", 32, run.repeat);
        if let Some(context) = run.context {
            attr.u32("test.ctx_size_in", 40, context.len() as u32)
                .input("test.ctx_in", 48, context);
        }
        // A signal interrupts a long run; the packet was copied in, so starting over is the same run.
        let mut answer = Err(Errno::EINTR);
        for _ in 0..5 {
            attr.u32("test.data_size_out", 12, room);
            answer = bpf(Command::ProgTestRun, &mut attr);
            if answer != Err(Errno::EINTR) {
                break;
            }
        }
        answer.map_err(|errno| match errno {
            Errno::EINVAL if run.data.len() < 14 => KernelError::because(
                what(),
                "the packet is shorter than an Ethernet header",
                errno,
            ),
            errno => {
                KernelError::privileged(what(), errno, &[Capability::Bpf, Capability::NetAdmin])
            }
        })?;
        let (return_value, len, nanoseconds) = (attr.get(4), attr.get(12), attr.get(36));
        data.truncate(len as usize);
        Ok(TestRunResult {
            return_value,
            duration: Duration::from_nanos(nanoseconds.into()),
            data,
        })
    }
}
