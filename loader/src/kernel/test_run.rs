//! BPF_PROG_TEST_RUN: the kernel runs the program on bytes of ours.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;

use super::syscall::{Attr, Command, bpf};
use super::{Capability, KernelError, Program};
use crate::uapi::ProgramType;

/// What to run a program on.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestRun<'a> {
    /// The packet; empty for programs that get none, such as raw tracepoints and `syscall` ones.
    pub data: &'a [u8],
    /// The context's bytes: a `struct xdp_md` to set the interface or metadata (Linux 5.13 for XDP), a raw tracepoint's
    /// arguments, whatever a `syscall` program wants.
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
    /// The context afterwards, where the program's type gives it back.
    pub context: Vec<u8>,
}

impl Program {
    /// Runs the program in the kernel on the given packet.
    pub fn test_run(&self, run: &TestRun<'_>) -> Result<TestRunResult, KernelError> {
        let what = || format!("test run of program `{}`", self.name());
        // A program may grow the packet by at most the headroom (256 bytes) and the tail room of its page.
        let grows = if run.data.is_empty() { 0 } else { 4096 };
        let mut data = vec![0u8; run.data.len() + grows];
        let room = data.len() as u32;
        // The kernel writes to a `syscall` program's context where it lies, so it gets a copy of ours.
        let mut context = run.context.map(<[u8]>::to_vec).unwrap_or_default();
        let context_size = context.len() as u32;
        let gives_back =
            run.context.is_some() && GIVE_CONTEXT_BACK.contains(&self.info()?.program_type);
        let mut given_back = vec![0u8; if gives_back { context.len() } else { 0 }];
        let mut attr = Attr::new(80);
        attr.fd("test.prog_fd", 0, self.as_fd())
            .u32("test.data_size_in", 8, run.data.len() as u32)
            .u32("test.data_size_out", 12, room)
            .input("test.data_in", 16, run.data)
            .output("test.data_out", 24, &mut data)
            .u32("test.repeat", 32, run.repeat);
        if run.context.is_some() {
            attr.u32("test.ctx_size_in", 40, context_size)
                .output("test.ctx_in", 48, &mut context);
        }
        if gives_back {
            attr.u32("test.ctx_size_out", 44, context_size).output(
                "test.ctx_out",
                56,
                &mut given_back,
            );
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
            Errno::EINVAL
                if run.data.len() < 14 && (run.context.is_none() || !run.data.is_empty()) =>
            {
                KernelError::because(
                    what(),
                    "the packet is shorter than an Ethernet header",
                    errno,
                )
            }
            errno => {
                KernelError::privileged(what(), errno, &[Capability::Bpf, Capability::NetAdmin])
            }
        })?;
        let (return_value, len, nanoseconds) = (attr.get(4), attr.get(12), attr.get(36));
        let context_len = attr.get(44) as usize;
        if gives_back {
            given_back.truncate(context_len);
            context = given_back;
        }
        data.truncate(len as usize);
        Ok(TestRunResult {
            return_value,
            duration: Duration::from_nanos(nanoseconds.into()),
            data,
            context,
        })
    }
}

/// Types whose test run gives the context back (`bpf_prog_test_run_xdp`, `_skb`; a raw tracepoint refuses the field, and a
/// `syscall` program's context is written in place, so that the kernel wants no second buffer).
const GIVE_CONTEXT_BACK: [ProgramType; 3] = [
    ProgramType::XDP,
    ProgramType::SCHED_CLS,
    ProgramType::SCHED_ACT,
];
