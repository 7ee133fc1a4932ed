//! The programs of a load: instructions patched, records attached, handed to the verifier.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use xdplb_linker::insn::{self, InsnIndex};
use xdplb_linker::link::is_library_file;

use super::types::Types;
use super::{LoadError, LoadedProgram, Observer, Step, VerifierLogs};
use crate::kernel::{
    Btf, KernelError, Located, Map, Program, ProgramDefinition, Records, Rejection, VerifierLog,
};
use crate::object::{MapFds, PatchTarget, Plan, ProgramPlan, SourceLine, core};

/// A program whose map there is none of cannot be loaded.
pub(super) fn missing_map(
    plan: &Plan,
    program: &ProgramPlan,
    maps: &[Result<Map, LoadError>],
) -> Result<(), LoadError> {
    for patch in &program.patches {
        let (PatchTarget::Map(at) | PatchTarget::MapValue { map: at, .. }) = patch.target;
        if let (Some(Err(_)), Some(map)) = (maps.get(at), plan.maps.get(at)) {
            return Err(LoadError::MapMissing {
                program: program.name.clone(),
                map: map.spec.name.clone(),
            });
        }
    }
    Ok(())
}

/// Loads one program.
pub(super) fn load(
    plan: &Plan,
    program: &ProgramPlan,
    fds: &MapFds,
    types: &Types,
    log: VerifierLogs,
    observer: &mut dyn Observer,
) -> Result<LoadedProgram, LoadError> {
    for patch in &program.patches {
        observer.step(&Step::Relocated {
            program,
            patch,
            fds,
        });
    }
    let modules = module_btfs(program)?;
    let numbers: Vec<i32> = modules.iter().map(|btf| btf.as_fd().as_raw_fd()).collect();
    let instructions = insn::encode_all(&program.instructions_with(fds, &numbers));
    let fd_array = program.fd_array(&numbers);
    let (func_info, line_info) = (program.func_info_bytes(), program.line_info_bytes());
    let records = |encoded| {
        let (bytes, record_size): &(Vec<u8>, u32) = encoded;
        Records {
            record_size: *record_size,
            bytes,
        }
    };
    let module = module_btf(program)?;
    let definition = ProgramDefinition {
        name: &program.name,
        program_type: program.kind.program_type,
        expected_attach_type: program.kind.attach_type,
        flags: program.kind.flags,
        license: &plan.license,
        kernel_version: plan.kernel_version,
        instructions: &instructions,
        btf: types
            .btf()
            .filter(|_| func_info.is_some() || line_info.is_some()),
        func_info: func_info.as_ref().map(records),
        line_info: line_info.as_ref().map(records),
        attach_btf_id: program.attach_btf_id,
        attach_to: module.as_ref().map(|btf| btf.as_fd()),
        fd_array: &fd_array,
        ..ProgramDefinition::default()
    };
    let started = Instant::now();
    let (loaded, told) = with_records(program, definition, log, observer)
        .map_err(|error| explain(plan, program, error))?;
    let elapsed = started.elapsed();
    let info = loaded.info()?;
    observer.step(&Step::ProgramLoaded {
        plan,
        program,
        loaded: &loaded,
        log: told.as_ref(),
        info: &info,
        elapsed,
    });
    Ok(LoadedProgram {
        name: program.name.clone(),
        program: loaded,
        info,
        elapsed,
    })
}

/// Loads with all records, or without those that the kernel objects to: they help to read the log and cost nothing when
/// absent, while an old compiler's odd ones would cost the program.
fn with_records(
    program: &ProgramPlan,
    mut definition: ProgramDefinition<'_>,
    log: VerifierLogs,
    observer: &mut dyn Observer,
) -> Result<(Program, Option<VerifierLog>), KernelError> {
    loop {
        let loaded = match log {
            VerifierLogs::OfRejected => Program::load(&definition).map(|loaded| (loaded, None)),
            VerifierLogs::Always => {
                Program::load_told(&definition).map(|(loaded, log)| (loaded, Some(log)))
            }
        };
        let error = match loaded {
            Ok(loaded) => return Ok(loaded),
            Err(error) => error,
        };
        let KernelError::Rejected(rejection) = &error else {
            return Err(error);
        };
        let records = match objection(rejection) {
            Some(Objection::Lines) if definition.line_info.is_some() => "line_info",
            Some(Objection::Functions) if definition.btf.is_some() => "func_info and line_info",
            Some(Objection::Lines | Objection::Functions) | None => return Err(error),
        };
        observer.step(&Step::RecordsLeftOut {
            program,
            records,
            reason: rejection.log.trim(),
        });
        definition.line_info = None;
        if records != "line_info" {
            definition.func_info = None;
            definition.btf = None;
        }
    }
}

/// Records that the kernel does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Objection {
    Lines,
    Functions,
}

/// Whether the rejection is about records: those are checked before the first instruction (`check_btf_info_early`,
/// `check_btf_func` and `check_btf_line` in kernel/bpf/verifier.c), and the log then says which.
fn objection(rejection: &Rejection) -> Option<Objection> {
    let log = &rejection.log;
    if rejection.summary.insn_line.is_some() {
        return None;
    }
    let says = |words: &[&str]| words.iter().any(|word| log.contains(word));
    if says(&["line_info", "line info"]) {
        return Some(Objection::Lines);
    }
    let about_functions = [
        "func_info",
        "func info",
        "number of funcs in",
        "same or smaller insn offset",
        "invalid type id",
        "BTF section doesn't match subprog",
    ];
    says(&about_functions).then_some(Objection::Functions)
}

/// The BTF of the module in which a program's target is.
fn module_btf(program: &ProgramPlan) -> Result<Option<Btf>, KernelError> {
    match program.attach_btf_module {
        0 => Ok(None),
        id => Btf::from_id(id).map(Some),
    }
}

/// The BTF of the modules whose functions and variables a program uses.
fn module_btfs(program: &ProgramPlan) -> Result<Vec<Btf>, KernelError> {
    program.modules.iter().copied().map(Btf::from_id).collect()
}

/// Adds to a rejection what the object knows: the source line, and what a poisoned instruction stands for.
fn explain(plan: &Plan, program: &ProgramPlan, mut error: KernelError) -> LoadError {
    let KernelError::Rejected(rejection) = &mut error else {
        return error.into();
    };
    if let Some(btf) = &plan.btf {
        rejection.locate(|insn| located(program, btf, InsnIndex(insn)));
    }
    match core::explain(&program.poisoned, &rejection.log) {
        Some(reason) => LoadError::Unrelocated {
            program: program.name.clone(),
            location: rejection.summary.location.clone(),
            reason: reason.replace('\n', "\n  "),
            error: Box::new(error),
        },
        None => error.into(),
    }
}

/// An instruction's line by the object's own records.
fn located(
    program: &ProgramPlan,
    btf: &xdplb_linker::btf::Btf,
    insn: InsnIndex,
) -> Option<Located> {
    let line = program.source_line(btf, insn)?;
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    if !is_library_file(&line.file) {
        return Some(Located {
            location: Some(line.to_string()),
            source: text(line.text),
        });
    }
    let own = program.own_line(btf, insn);
    Some(match own {
        Some(own) => Located {
            location: Some(format!(
                "{own}, or near, by {} of Rust's library",
                short(&line)
            )),
            source: text(own.text),
        },
        None => Located {
            location: Some(line.to_string()),
            source: None,
        },
    })
}

/// `core/src/ptr/mod.rs:1717`: the library's place on the machine that made it tells nothing.
fn short(line: &SourceLine) -> String {
    let whole = line.to_string();
    let inside = whole.split_once("/library/").map(|(_, rest)| rest);
    inside.unwrap_or(&whole).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uapi::ProgramType;
    use nix::errno::Errno;

    fn check(log: &str, expected: Option<Objection>) {
        let rejection = Rejection::of_program("p", ProgramType::XDP, Errno::EINVAL, log.into());
        assert_eq!(objection(&rejection), expected, "{log}");
    }

    #[test]
    fn objections_to_records_are_told_from_rejections() {
        check(
            "Invalid line_info[3].insn_off:9 (prev_offset:9 prog->len:12)\n",
            Some(Objection::Lines),
        );
        check("missing bpf_line_info for func#1\n", Some(Objection::Lines));
        check(
            "number of funcs in func_info doesn't match number of subprogs\n",
            Some(Objection::Functions),
        );
        check(
            "invalid type id 7 in func info\n",
            Some(Objection::Functions),
        );
        check("back-edge from insn 3 to 0\n", None);
        check(
            "0: (85) call bpf_loop#181\ncallback func_info is missing\n",
            None,
        );
    }
}
