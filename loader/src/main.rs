//! `xdplb-load`: see `commands`.

fn main() -> std::process::ExitCode {
    xdplb_loader::commands::main()
}
