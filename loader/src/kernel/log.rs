//! How the kernel's log of a load is fetched, whole where it can be and with its end where it can't.
//!
//! From Linux 6.4 a log that outgrows its buffer keeps its end, and the kernel says how long it is (`log_true_size`); before,
//! it keeps its beginning, so that the reason, which stands last, is what gets lost. Level 4 (statistics) then prints the
//! reason alone. Memory is bounded by [`LAST_SIZE`].

use std::os::fd::OwnedFd;

use nix::errno::Errno;

/// First size of the log buffer: enough for most rejected programs.
const FIRST_SIZE: usize = 64 * 1024;
/// Kernels before 5.18 refuse more than `u32::MAX >> 8` bytes (`bpf_verifier_log_attr_valid`).
const LAST_SIZE: usize = (1 << 24) - 1;
/// Kernels that say how long a log is take up to `u32::MAX >> 2`. The states of a large program can have tens of megabytes.
const LAST_STATES: usize = 1 << 26;

/// What the kernel is asked to write (`log_level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Every instruction and state that the verifier walks through.
    All = 1,
    /// The same, the state before and after each instruction, and how much work it was: `BPF_LOG_LEVEL2 | BPF_LOG_STATS`.
    States = 2 | 4,
    /// Errors, and how much work it was: `BPF_LOG_STATS`.
    Brief = 4,
}

/// A buffer for the kernel to write a log into.
#[derive(Debug)]
pub(super) struct Buffer<'a> {
    pub(super) bytes: &'a mut [u8],
    pub(super) level: Level,
}

impl Buffer<'_> {
    /// The same buffer for one more try.
    pub(super) fn again(&mut self) -> Buffer<'_> {
        Buffer {
            bytes: self.bytes,
            level: self.level,
        }
    }
}

/// One answer to a load with a log.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) result: Result<OwnedFd, Errno>,
    /// How many bytes the whole log has, from the kernels that say it; else 0.
    pub(super) true_size: u32,
}

/// A log as far as it could be had.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) text: String,
    /// What the kernel answered to the last try.
    pub(super) result: Result<OwnedFd, Errno>,
}

/// Runs `load` with a log buffer that grows while the kernel says that it is too small.
pub(super) fn collect(load: impl FnMut(Buffer<'_>) -> Answer) -> Log {
    collect_at(Level::All, FIRST_SIZE, load)
}

/// Only the end of a log, for a program of which the verifier had enough: a million instructions are tens of megabytes that
/// say one thing over and over, and each larger buffer would be another walk.
pub(super) fn collect_end(mut load: impl FnMut(Buffer<'_>) -> Answer) -> Log {
    let mut bytes = vec![0u8; FIRST_SIZE];
    let mut at = |level, bytes: &mut [u8]| load(Buffer { bytes, level });
    let mut answer = at(Level::All, &mut bytes);
    if matches!(answer.result, Err(Errno::ENOSPC)) && answer.true_size == 0 {
        bytes = vec![0u8; FIRST_SIZE];
        answer = at(Level::Brief, &mut bytes);
    }
    log_of(bytes, answer)
}

/// The same as [`collect`] for a log of this level, which has room for so many bytes at first.
pub(super) fn collect_at(
    level: Level,
    first_size: usize,
    mut load: impl FnMut(Buffer<'_>) -> Answer,
) -> Log {
    let mut size = first_size;
    loop {
        let mut bytes = vec![0u8; size];
        let answer = load(Buffer {
            bytes: &mut bytes,
            level,
        });
        let true_size = answer.true_size as usize;
        if !matches!(answer.result, Err(Errno::ENOSPC)) {
            return log_of(bytes, answer);
        }
        let last = match level {
            Level::States if true_size > 0 => LAST_STATES,
            Level::All | Level::States | Level::Brief => LAST_SIZE,
        };
        if size < last {
            size = if true_size > size {
                true_size
            } else {
                size * 8
            }
            .min(last);
        } else if true_size > 0 {
            // The kernel kept the end.
            return log_of(bytes, answer);
        } else {
            bytes = vec![0u8; FIRST_SIZE];
            let brief = load(Buffer {
                bytes: &mut bytes,
                level: Level::Brief,
            });
            return log_of(bytes, brief);
        }
    }
}

fn log_of(mut bytes: Vec<u8>, answer: Answer) -> Log {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    // The end of a log can begin in the middle of a character of a source line.
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Log {
        text,
        result: answer.result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel whose log would be `long` bytes; `says` whether it tells so, as it does from 6.4.
    fn kernel(long: usize, says: bool) -> (Log, Vec<(usize, Level)>) {
        kernel_asked_by(|load| collect(load), long, says)
    }

    fn kernel_asked_by(
        collect: impl FnOnce(&mut dyn FnMut(Buffer<'_>) -> Answer) -> Log,
        long: usize,
        says: bool,
    ) -> (Log, Vec<(usize, Level)>) {
        let mut asked = Vec::new();
        let log = collect(&mut |buffer: Buffer<'_>| {
            asked.push((buffer.bytes.len(), buffer.level));
            let long = if buffer.level == Level::Brief {
                20
            } else {
                long
            };
            let fits = long < buffer.bytes.len();
            let room = buffer.bytes.len() - 1;
            buffer.bytes[..long.min(room)].fill(b'x');
            Answer {
                result: Err(if fits { Errno::EACCES } else { Errno::ENOSPC }),
                true_size: if says { long as u32 + 1 } else { 0 },
            }
        });
        (log, asked)
    }

    #[test]
    fn a_kernel_that_says_the_size_is_asked_twice() {
        let (log, asked) = kernel(100_000, true);
        assert_eq!(asked, [(FIRST_SIZE, Level::All), (100_001, Level::All)]);
        assert_eq!(
            (log.text.len(), log.result.err()),
            (100_000, Some(Errno::EACCES))
        );
    }

    #[test]
    fn others_are_asked_with_more_and_more() {
        let (log, asked) = kernel(1_000_000, false);
        let sizes: Vec<usize> = asked.iter().map(|&(size, _)| size).collect();
        assert_eq!(sizes, [FIRST_SIZE, FIRST_SIZE * 8, FIRST_SIZE * 64]);
        assert_eq!(log.text.len(), 1_000_000);
    }

    #[test]
    fn of_an_endless_log_the_end_is_enough() {
        let end = |says| kernel_asked_by(|load| collect_end(load), 1 << 30, says);
        let (log, asked) = end(true);
        assert_eq!(asked, [(FIRST_SIZE, Level::All)]);
        assert_eq!(log.text.len(), FIRST_SIZE - 1);
        let (log, asked) = end(false);
        assert_eq!(
            asked,
            [(FIRST_SIZE, Level::All), (FIRST_SIZE, Level::Brief)]
        );
        assert_eq!(log.text.len(), 20);
    }

    #[test]
    fn states_may_be_longer_where_the_kernel_says_how_long() {
        let states = |says: bool| {
            let mut sizes = Vec::new();
            let log = collect_at(Level::States, FIRST_SIZE, |buffer| {
                sizes.push(buffer.bytes.len());
                Answer {
                    result: Err(Errno::ENOSPC),
                    true_size: if says { 40_000_000 } else { 0 },
                }
            });
            assert_eq!(log.result.err(), Some(Errno::ENOSPC));
            sizes
        };
        assert_eq!(states(true), [FIRST_SIZE, 40_000_000, LAST_STATES]);
        assert_eq!(states(false).iter().max(), Some(&LAST_SIZE));
    }

    #[test]
    fn a_log_beyond_all_bounds_ends_in_its_reason() {
        let (log, asked) = kernel(1 << 30, true);
        assert_eq!(asked.len(), 2, "the end is there");
        assert_eq!(log.text.len(), LAST_SIZE - 1);

        let (log, asked) = kernel(1 << 30, false);
        assert_eq!(asked.last(), Some(&(FIRST_SIZE, Level::Brief)));
        assert_eq!(
            (log.text.len(), log.result.err()),
            (20, Some(Errno::EACCES))
        );
    }
}
