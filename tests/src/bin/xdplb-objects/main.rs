//! Builds the object set under `target/objects` and prints each object's path: for the tests that then run as root, so
//! that no file under target/ belongs to root, and for anyone who wants to look at one.

use std::process::ExitCode;

use xdplb_tests::objects;

fn main() -> ExitCode {
    match objects::built() {
        Ok(built) => {
            for (_, path) in built {
                println!("{}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
