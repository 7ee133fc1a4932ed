//! What aya makes of an object: `compare-aya OBJECT` loads all of its maps and programs, and prints a line for each program
//! (`ok NAME` or `failed NAME: why`), or `refused: why`. Nothing is attached; what was loaded goes with the process.

use std::process::ExitCode;

use aya::programs::Program;
use aya::{Btf, EbpfLoader};

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: compare-aya OBJECT");
        return ExitCode::from(2);
    };
    let btf = Btf::from_sys_fs().ok();
    let mut loader = EbpfLoader::new();
    let mut object = match loader.btf(btf.as_ref()).load_file(path) {
        Ok(object) => object,
        Err(error) => {
            println!("refused: {}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let mut code = ExitCode::SUCCESS;
    for (name, program) in object.programs_mut() {
        match load(program, btf.as_ref(), name) {
            Ok(()) => println!("ok {name}"),
            Err(why) => {
                println!("failed {name}: {why}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// aya asks some kinds of programs where they will be attached; the object's section said so, and aya keeps the name apart.
fn load(program: &mut Program, btf: Option<&Btf>, name: &str) -> Result<(), String> {
    let wants_btf = || btf.ok_or_else(|| "no BTF of the kernel".to_owned());
    let done = match program {
        Program::FEntry(program) => program.load(name, wants_btf()?),
        Program::FExit(program) => program.load(name, wants_btf()?),
        Program::Lsm(program) => program.load(name, wants_btf()?),
        Program::BtfTracePoint(program) => program.load(name, wants_btf()?),
        Program::KProbe(program) => program.load(),
        Program::UProbe(program) => program.load(),
        Program::TracePoint(program) => program.load(),
        Program::SocketFilter(program) => program.load(),
        Program::Xdp(program) => program.load(),
        Program::SkMsg(program) => program.load(),
        Program::SkSkb(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSysctl(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupDevice(program) => program.load(),
        Program::LircMode2(program) => program.load(),
        Program::PerfEvent(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        Program::Extension(_) => return Err("a replacement needs the program it replaces".into()),
        _ => return Err("a kind that this comparison does not know".into()),
    };
    done.map_err(|error| chain(&error))
}

/// The error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    text.lines().next().unwrap_or_default().to_owned()
}
