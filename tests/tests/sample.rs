//! The sample of docs/sample, built as a stranger would build a crate of theirs, in this kernel. Needs root.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xdplb_loader::Object;
use xdplb_loader::kernel::TestRun;
use xdplb_tests::frames::Tcp;
use xdplb_tests::objects;

/// The object. `cargo xtask test` has built it among its host tests; alone, this test builds it.
fn built() -> Result<Vec<u8>> {
    let folder = objects::folder();
    let target = folder
        .parent()
        .context("the objects lie in no target folder")?;
    let object = target.join("bpf/crates/target/release/protocols");
    if let Some(cargo) = std::env::var_os("CARGO") {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut command = Command::new(cargo);
        command
            .args(["xtask", "bpf", "docs/sample"])
            .current_dir(root);
        let output = command.output().context("run cargo xtask bpf")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "cargo xtask bpf: {}\n{text}",
            output.status
        );
    }
    std::fs::read(&object).with_context(|| object.display().to_string())
}

#[test]
fn the_sample_counts_packets_by_protocol() -> Result<()> {
    let loaded = Object::parse(&built()?)?.load()?;
    let program = loaded.program("count_protocols")?;
    let tcp = Tcp::new(([10, 0, 0, 1], 1000), ([10, 0, 0, 2], 80), "S").frame();
    let mut udp = tcp.clone();
    udp[23] = 17;
    let mut arp = tcp.clone();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    for frame in [&tcp, &udp, &tcp, &arp, &tcp] {
        let run = TestRun {
            data: frame,
            repeat: 1,
            ..TestRun::default()
        };
        let result = program.test_run(&run)?;
        ensure!(result.return_value == 2, "verdict {}", result.return_value);
        ensure!(result.data == *frame, "the frame was changed");
    }
    for (protocol, expected) in [(6u32, 3), (17, 1), (1, 0)] {
        let cpus = loaded
            .map("PACKETS")?
            .lookup_per_cpu(&protocol.to_ne_bytes())?;
        let mut packets = 0;
        for cpu in cpus.iter().flatten() {
            packets += u64::from_ne_bytes(cpu[..8].try_into()?);
        }
        ensure!(
            packets == expected,
            "protocol {protocol}: {packets} packets"
        );
    }
    Ok(())
}
