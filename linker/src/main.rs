//! `xdplb-ld`: links BPF objects. See [`xdplb_linker::command`].

use std::process::ExitCode;

use xdplb_linker::command;

fn main() -> ExitCode {
    ExitCode::from(command::exit_code(command::run(std::env::args_os())))
}
