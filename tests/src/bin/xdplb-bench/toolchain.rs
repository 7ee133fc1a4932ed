//! Our linker and our loader beside libbpf's, as bpftool has them: whole processes on equal inputs, by turns.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use xdplb_tests::bpffs::BpfFs;
use xdplb_tests::files::Folder;
use xdplb_tests::objects;

use crate::figures::{Table, by_turns, median};

/// Pairs of runs.
const PAIRS: u32 = 40;
/// Runs whose memory is looked at.
const LOOKS: u32 = 5;

/// Objects of the set that define nothing twice.
const LINKED: [&str; 9] = [
    "atomics",
    "callbacks",
    "calls.g",
    "data",
    "devmap_cpumap",
    "dynptr",
    "global_functions",
    "map_in_map",
    "networking",
];

/// Measures and prints. `linker` is our xdplb-ld, `loader` our xdplb-load.
pub fn report(linker: &Path, loader: &Path) -> Result<String> {
    let set = objects::built()?;
    let object = |name: &str| -> Result<PathBuf> {
        let found = set.iter().find(|(case, _)| case.name == name);
        Ok(found
            .with_context(|| format!("no object `{name}`"))?
            .1
            .clone())
    };
    let files = BpfFs::new()?;
    let folder = Folder::new()?;
    let mut table = Table::new([
        "ms, KB", "ours", "bpftool", "ratio", "ours", "bpftool", "ratio",
    ]);
    let one = vec![object("large")?];
    let several: Vec<_> = LINKED
        .iter()
        .map(|name| object(name))
        .collect::<Result<_>>()?;
    let several_name = format!("link {} objects", several.len());
    for (name, inputs) in [("link the largest object", one), (&several_name, several)] {
        let output = folder.path().join("linked.o");
        let ours = || {
            let mut command = Command::new(linker);
            command.arg("-o").arg(&output).args(&inputs);
            Ok(command)
        };
        let theirs = || {
            let mut command = Command::new("bpftool");
            command.args(["gen", "object"]).arg(&output).args(&inputs);
            Ok(command)
        };
        table.row(pair(name, &ours, &theirs, &|| Ok(()))?);
    }
    for (name, input) in [
        ("load a trivial program", "xdp_pass.g"),
        ("load a CO-RE object", "core_fields"),
        ("load the largest object", "large"),
    ] {
        let input = object(input)?;
        let pins = files.path().join("pins");
        let ours = || {
            let mut command = Command::new(loader);
            command.arg("verify").arg(&input);
            files.enter(&mut command)?;
            Ok(command)
        };
        let theirs = || {
            let mut command = Command::new("bpftool");
            command.args(["prog", "loadall"]).arg(&input).arg(&pins);
            files.enter(&mut command)?;
            Ok(command)
        };
        let unpin = || {
            let mut command = Command::new("rm");
            command.arg("-rf").arg(&pins);
            files.enter(&mut command)?;
            ensure!(command.status()?.success(), "remove {}", pins.display());
            Ok(())
        };
        table.row(pair(name, &ours, &theirs, &unpin)?);
    }
    Ok(table.text())
}

/// A row: milliseconds of both and the median of the pairs' ratios, then kilobytes of both and theirs.
fn pair(
    name: &str,
    ours: &dyn Fn() -> Result<Command>,
    theirs: &dyn Fn() -> Result<Command>,
    between: &dyn Fn() -> Result<()>,
) -> Result<[String; 7]> {
    let make = |turn: usize| if turn == 0 { ours() } else { theirs() };
    let in_between = |measured: Result<f64>| {
        between()?;
        measured
    };
    // Once before: from here on the files are in the page cache.
    by_turns::<2>(1, |turn| in_between(milliseconds(make(turn)?)))?;
    let times = by_turns::<2>(PAIRS, |turn| in_between(milliseconds(make(turn)?)))?;
    let memory = by_turns::<2>(LOOKS, |turn| in_between(peak(make(turn)?)))?;
    let [time, bytes] = [times, memory].map(|[ours, theirs]| {
        let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
        let ratio = median(ratios.collect());
        [median(ours), median(theirs), ratio]
    });
    let [ours, theirs, ratio] = time;
    let [our_memory, their_memory, memory_ratio] = bytes;
    Ok([
        name.to_owned(),
        format!("{ours:.2}"),
        format!("{theirs:.2}"),
        format!("{ratio:.2}"),
        format!("{our_memory:.0}"),
        format!("{their_memory:.0}"),
        format!("{memory_ratio:.2}"),
    ])
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// From before the process is made until it has ended.
fn milliseconds(mut command: Command) -> Result<f64> {
    let begun = Instant::now();
    let status = quiet(&mut command).status()?;
    let elapsed = begun.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(elapsed.as_secs_f64() * 1e3)
}

/// The most memory that a command held, in KB. wait4's `ru_maxrss` would begin with what the process had before it became the
/// command (fs/exec.c, `exec_mmap`), so the command is stopped at its exit and asked while it still has its memory.
fn peak(mut command: Command) -> Result<f64> {
    use std::os::unix::process::CommandExt;
    // SAFETY: one system call without memory arguments.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = quiet(&mut command).spawn()?;
    let peak = at_exit(&child).with_context(|| format!("{command:?}"));
    if peak.is_err() {
        end(child);
    }
    peak
}

fn end(mut child: Child) {
    // After an error; there is nothing else to be done with it.
    let _ = child.kill();
    let _ = child.wait();
}

fn at_exit(child: &Child) -> Result<f64> {
    let pid = Pid::from_raw(child.id().cast_signed());
    let go_on = |request: libc::c_uint, data: libc::c_int| -> Result<()> {
        // SAFETY: requests that take a number and no memory.
        match unsafe { libc::ptrace(request, pid.as_raw(), 0, libc::c_long::from(data)) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().into()),
        }
    };
    // The first stop is execve's.
    waitpid(pid, None)?;
    go_on(
        libc::PTRACE_SETOPTIONS,
        libc::PTRACE_O_TRACEEXIT | libc::PTRACE_O_EXITKILL,
    )?;
    go_on(libc::PTRACE_CONT, 0)?;
    let mut peak = None;
    loop {
        match waitpid(pid, None)? {
            WaitStatus::PtraceEvent(..) => {
                peak = Some(high_water_mark(pid)?);
                go_on(libc::PTRACE_CONT, 0)?;
            }
            WaitStatus::Stopped(_, signal) => go_on(libc::PTRACE_CONT, signal as libc::c_int)?,
            WaitStatus::Exited(_, 0) => return peak.context("it ended before it could be asked"),
            other => bail!("{other:?}"),
        }
    }
}

fn high_water_mark(pid: Pid) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.context("no VmHWM")?.trim().parse()?)
}
