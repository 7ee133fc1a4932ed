//! A chain of tail calls, without an interface: the first program runs on a test packet and goes on in the next two.
//! `sudo target/debug/examples/tail_calls`

#[path = "../support/compile.rs"]
mod compile;

use std::os::fd::AsFd;
use xdplb_loader::{Object, Update, kernel::TestRun};

fn main() -> anyhow::Result<()> {
    let loaded = Object::parse(&compile::compile("tail_calls")?)?.load()?;
    // The links: slot 0 leads from the first to the second, slot 1 from there to the third.
    for (slot, program) in [(0u32, "second"), (1, "third")] {
        let program = loaded.program(program)?.as_fd();
        loaded
            .map("CHAIN")?
            .update_fd(&slot.to_ne_bytes(), program, Update::Any)?;
    }
    let packet = TestRun {
        data: &[0; 64],
        repeat: 5,
        ..TestRun::default()
    };
    let verdict = loaded.program("first")?.test_run(&packet)?.return_value;
    for (link, name) in [(0u32, "first"), (1, "second"), (2, "third")] {
        let cpus = loaded.map("RUNS")?.lookup_per_cpu(&link.to_ne_bytes())?;
        let runs = cpus
            .iter()
            .flatten()
            .map(|cpu| cpu[0])
            .fold(0, u8::wrapping_add);
        println!("{name} ran {runs} times");
    }
    println!("verdict {verdict}");
    Ok(())
}
