//! Programs: load, open.

use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::code::{self, ProgramCode};
use super::info::ProgramInfo;
use super::kinds::without_program_type;
use super::layout::ProgLoad;
use super::log::{self, Answer, Buffer, Level};
use super::rejection::Rejection;
use super::syscall::{Attr, Command, bpf, bpf_fd};
use super::token::token_flag;
use super::{Btf, Capability, Feature, KernelError, Map, Token, c_string, permission, supports};
use crate::uapi::{AttachType, ProgramType, prog_flags};

/// Records of .BTF.ext for one program, as the kernel takes them: equal in size, offsets counted in instructions.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Records<'a> {
    pub record_size: u32,
    pub bytes: &'a [u8],
}

impl Records<'_> {
    fn count(&self) -> u32 {
        (self.bytes.len() / self.record_size.max(1) as usize) as u32
    }
}

/// A program to load. `..ProgramDefinition::default()` leaves out what a program has no use for.
#[derive(Clone, Copy, Debug)]
pub struct ProgramDefinition<'a> {
    /// Cut and cleaned to what the kernel takes.
    pub name: &'a str,
    /// Decides which context, helpers and return values the verifier allows.
    pub program_type: ProgramType,
    /// Where it will be attached; the verifier checks some types against it.
    pub expected_attach_type: AttachType,
    /// `BPF_F_*` of [`crate::uapi::prog_flags`].
    pub flags: u32,
    /// `GPL` opens the helpers that ask for it.
    pub license: &'a str,
    /// `LINUX_VERSION_CODE`: kprobes before 5.0 must name the running kernel, all others leave 0.
    pub kernel_version: u32,
    /// Instructions of 8 bytes each, little-endian, map descriptors filled in.
    pub instructions: &'a [u8],
    /// Types that the two record tables refer to.
    pub btf: Option<&'a Btf>,
    /// One record a subprogram: its BTF type.
    pub func_info: Option<Records<'a>>,
    /// One record a source line, for the verifier's log.
    pub line_info: Option<Records<'a>>,
    /// The type of the kernel function, raw tracepoint, LSM hook or iterator it attaches to, or of the function of the
    /// program in `attach_to`; 0 for programs that attach to no such thing (Linux 5.5).
    pub attach_btf_id: u32,
    /// Where `attach_btf_id` counts, when that is not vmlinux: a kernel module's BTF (Linux 5.11) or a program.
    pub attach_to: Option<BorrowedFd<'a>>,
    /// Descriptors that instructions name by their place in this list: the BTF of modules whose functions it calls, by
    /// `off` of the call (Linux 5.17; `BPF_PSEUDO_MAP_IDX` of 5.14 counts in it too).
    pub fd_array: &'a [i32],
    /// The network card that shall run it; 0: none, the CPU does.
    pub ifindex: u32,
    /// A delegated right to load it (Linux 6.9); `None` finds one where it is needed, see [`Token`].
    pub token: Option<&'a Token>,
}

impl Default for ProgramDefinition<'_> {
    fn default() -> Self {
        ProgramDefinition {
            name: "",
            program_type: ProgramType::UNSPEC,
            expected_attach_type: AttachType(0),
            flags: 0,
            license: "",
            kernel_version: 0,
            instructions: &[],
            btf: None,
            func_info: None,
            line_info: None,
            attach_btf_id: 0,
            attach_to: None,
            fd_array: &[],
            ifindex: 0,
            token: None,
        }
    }
}

/// What the verifier wrote about a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifierLog {
    /// Its text, or the end of it.
    pub text: String,
    /// How many bytes it has in all, where the kernel says so (Linux 6.4).
    pub len: usize,
    /// Whether `text` is all of it.
    pub whole: bool,
}

/// Room for the log of a small program at once.
const FIRST_STATES: usize = 1 << 20;

/// A program in the kernel. Dropping it closes the descriptor; the program lives on while something holds it.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    name: String,
}

impl Program {
    /// Loads a program: without a log first, which is faster and can't fail for want of log space, and when it is refused
    /// again with a log that grows as needed.
    pub fn load(definition: &ProgramDefinition<'_>) -> Result<Self, KernelError> {
        let license = c_string("license", definition.license.as_bytes())?;
        let license = license.as_bytes_with_nul();
        let (result, token) = permission::retry(definition.token, |token| {
            let definition = ProgramDefinition {
                token,
                ..*definition
            };
            again_while_busy(|| command(&definition, license))
        });
        let definition = ProgramDefinition {
            token,
            ..*definition
        };
        let fd = result.or_else(|errno| diagnose(&definition, license, errno))?;
        Ok(Program {
            fd,
            name: definition.name.to_string(),
        })
    }

    /// Loads a program with the verifier's whole log, of an accepted program too: what it knew of the registers before and
    /// after each instruction. Where the kernel does not take the program so, for instance because the log has no room,
    /// it is loaded as by [`Program::load`].
    pub fn load_told(
        definition: &ProgramDefinition<'_>,
    ) -> Result<(Self, VerifierLog), KernelError> {
        let license = c_string("license", definition.license.as_bytes())?;
        let mut true_size = 0;
        let log = log::collect_at(Level::States, FIRST_STATES, |log| {
            let answer = logged(definition, license.as_bytes_with_nul(), log);
            true_size = answer.true_size as usize;
            answer
        });
        let whole = !matches!(log.result, Err(Errno::ENOSPC));
        let program = match log.result {
            Ok(fd) => Program {
                fd,
                name: definition.name.to_string(),
            },
            Err(_) => Self::load(definition)?,
        };
        let told = VerifierLog {
            len: true_size.max(log.text.len()),
            text: log.text,
            whole,
        };
        Ok((program, told))
    }

    /// Takes over a descriptor that someone else opened.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, KernelError> {
        let name = ProgramInfo::of("program", fd.as_fd())?.name;
        Ok(Program { fd, name })
    }

    /// Opens the program with this id.
    pub fn from_id(id: u32) -> Result<Self, KernelError> {
        let mut attr = Attr::new(12);
        attr.u32("prog_id", 0, id);
        let fd = bpf_fd(Command::ProgGetFdById, &mut attr).map_err(|errno| {
            KernelError::privileged(format!("open program {id}"), errno, &[Capability::SysAdmin])
        })?;
        Self::from_fd(fd)
    }

    /// The name it was loaded with (the kernel keeps 15 bytes of it).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel says about it now.
    pub fn info(&self) -> Result<ProgramInfo, KernelError> {
        ProgramInfo::of(&format!("program `{}`", self.name), self.fd.as_fd())
    }

    /// The names of the maps that it uses, by their ids. A map that is gone meanwhile has none.
    pub fn map_names(&self) -> Result<Vec<(u32, Option<String>)>, KernelError> {
        let name = |id| match Map::from_id(id) {
            Ok(map) => Ok((id, Some(map.name().to_string()))),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok((id, None)),
            Err(error) => Err(error),
        };
        self.info()?.map_ids.into_iter().map(name).collect()
    }

    /// Ties a map that it does not use to the program, so that the map lives as long, and tools find it (Linux 5.10): libbpf
    /// does so with `.rodata`, where bpftool looks for metadata.
    pub fn bind_map(&self, map: &Map) -> Result<(), KernelError> {
        let mut attr = Attr::new(12);
        attr.fd("prog_bind_map.prog_fd", 0, self.fd.as_fd()).fd(
            "prog_bind_map.map_fd",
            4,
            map.as_fd(),
        );
        let what = || format!("bind map `{}` to program `{}`", map.name(), self.name);
        bpf(Command::ProgBindMap, &mut attr)
            .map(drop)
            .map_err(|errno| KernelError::privileged(what(), errno, &[Capability::Bpf]))
    }

    /// The instructions after the verifier, the machine code, and where both come from; empty where the kernel hides them.
    pub fn code(&self) -> Result<ProgramCode, KernelError> {
        code::of(&format!("program `{}`", self.name), self.fd.as_fd())
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The command itself; also what the feature probes use.
pub(super) fn command(
    definition: &ProgramDefinition<'_>,
    license: &[u8],
) -> Result<OwnedFd, Errno> {
    let fd_array = fd_array(definition);
    bpf_fd(Command::ProgLoad, &mut attr(definition, license, &fd_array))
}

/// The same with a log.
pub(super) fn logged(
    definition: &ProgramDefinition<'_>,
    license: &[u8],
    log: Buffer<'_>,
) -> Answer {
    let fd_array = fd_array(definition);
    let mut attr = attr(definition, license, &fd_array);
    attr.u32("log_level", 24, log.level as u32)
        .u32("log_size", 28, log.bytes.len() as u32)
        .output("log_buf", 32, log.bytes)
        .up_to(offset_of!(ProgLoad, prog_token_fd));
    let result = bpf_fd(Command::ProgLoad, &mut attr);
    Answer {
        result,
        true_size: attr.get(offset_of!(ProgLoad, log_true_size)),
    }
}

fn fd_array(definition: &ProgramDefinition<'_>) -> Vec<u8> {
    definition
        .fd_array
        .iter()
        .flat_map(|fd| fd.to_ne_bytes())
        .collect()
}

fn attr<'a>(definition: &ProgramDefinition<'a>, license: &'a [u8], fd_array: &'a [u8]) -> Attr<'a> {
    let mut attr = Attr::new(offset_of!(ProgLoad, prog_btf_fd));
    attr.u32("prog_type", 0, definition.program_type.0)
        .u32("insn_cnt", 4, (definition.instructions.len() / 8) as u32)
        .input("insns", 8, definition.instructions)
        .input("license", 16, license)
        .u32("kern_version", 40, definition.kernel_version)
        .u32(
            "prog_flags",
            44,
            definition.flags | token_flag(definition.token),
        )
        .name("prog_name", 48, definition.name)
        .u32(
            "prog_ifindex",
            offset_of!(ProgLoad, prog_ifindex),
            definition.ifindex,
        )
        .u32(
            "expected_attach_type",
            68,
            definition.expected_attach_type.0,
        );
    if let Some(btf) = definition.btf {
        attr.fd("prog_btf_fd", 72, btf.as_fd());
        if let Some(records) = &definition.func_info {
            attr.u32("func_info_rec_size", 76, records.record_size)
                .input("func_info", 80, records.bytes)
                .u32("func_info_cnt", 88, records.count());
        }
        if let Some(records) = &definition.line_info {
            attr.u32("line_info_rec_size", 92, records.record_size)
                .input("line_info", 96, records.bytes)
                .u32("line_info_cnt", 104, records.count());
        }
    }
    attr.u32(
        "attach_btf_id",
        offset_of!(ProgLoad, attach_btf_id),
        definition.attach_btf_id,
    );
    if let Some(fd) = definition.attach_to {
        attr.fd("attach_prog_fd", offset_of!(ProgLoad, attach_prog_fd), fd);
    }
    attr.input("fd_array", offset_of!(ProgLoad, fd_array), fd_array);
    if let Some(token) = definition.token {
        attr.fd(
            "prog_token_fd",
            offset_of!(ProgLoad, prog_token_fd),
            token.as_fd(),
        );
    }
    attr
}

/// The verifier gives up with EAGAIN when a signal is pending; libbpf tries five times too (`sys_bpf_prog_load`).
fn again_while_busy<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..4 {
        match call() {
            Err(Errno::EAGAIN) => {}
            result => return result,
        }
    }
    call()
}

/// Loads once more with a log. When that succeeds (a signal or memory pressure had come between) its program is taken.
fn diagnose(
    definition: &ProgramDefinition<'_>,
    license: &[u8],
    errno: Errno,
) -> Result<OwnedFd, KernelError> {
    let what = format!("load program `{}`", definition.name);
    if errno == Errno::EPERM {
        return Err(permission::error(
            what,
            Capability::for_program(definition.program_type),
            definition.token,
        ));
    }
    let load = |mut log: Buffer<'_>| {
        let mut answer = logged(definition, license, log.again());
        for _ in 0..4 {
            if !matches!(answer.result, Err(Errno::EAGAIN)) {
                break;
            }
            answer = logged(definition, license, log.again());
        }
        answer
    };
    let log = match errno {
        Errno::E2BIG => log::collect_end(load),
        _ => log::collect(load),
    };
    let (log, second) = (log.text, log.result);
    match second {
        Ok(fd) => Ok(fd),
        Err(Errno::ENOSPC) if log.is_empty() => Err(KernelError::refused(what, errno)),
        Err(_) if log.trim().is_empty() => Err(match errno {
            Errno::EINVAL
                if definition.flags & prog_flags::XDP_HAS_FRAGS != 0
                    && !supports(Feature::XdpFrags) =>
            {
                KernelError::because(
                    what,
                    "this kernel has no XDP programs for several buffers (xdp.frags)",
                    errno,
                )
            }
            Errno::E2BIG if definition.instructions.len() / 8 > 1_000_000 => {
                KernelError::because(what, "it has more than 1,000,000 instructions", errno)
            }
            Errno::EINVAL => KernelError::Refused {
                what,
                why: without_program_type(definition.program_type)
                    .unwrap_or_else(|| "the kernel does not take it, and doesn't say why".into()),
                errno,
                evidence: vec![format!(
                    "type {}, attach type {}, {} instructions, flags {:#x}",
                    definition.program_type,
                    definition.expected_attach_type,
                    definition.instructions.len() / 8,
                    definition.flags
                )],
            },
            errno => KernelError::refused(what, errno),
        }),
        // The first answer is the verifier's; the second can be ENOSPC, which is the log's.
        Err(_) => Err(KernelError::Rejected(Box::new(Rejection::of_program(
            definition.name,
            definition.program_type,
            errno,
            log,
        )))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_retried_five_times() {
        let mut calls = 0;
        let result: Result<(), _> = again_while_busy(|| {
            calls += 1;
            Err(Errno::EAGAIN)
        });
        assert_eq!((result, calls), (Err(Errno::EAGAIN), 5));
    }

    #[test]
    fn records_are_counted_by_their_size() {
        assert_eq!(
            Records {
                record_size: 16,
                bytes: &[0; 48]
            }
            .count(),
            3
        );
        assert_eq!(
            Records {
                record_size: 0,
                bytes: &[]
            }
            .count(),
            0
        );
    }
}
