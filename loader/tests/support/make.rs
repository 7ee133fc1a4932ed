//! What tests of the running kernel make again and again: a map, a program, a pin directory.

// Each test file uses some of it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use xdplb_linker::insn::{Insn, encode_all};
use xdplb_loader::kernel::{
    BpfFs, KernelError, Map, MapDefinition, MapShape, Program, ProgramDefinition, TestRun,
};
use xdplb_loader::uapi::{AttachType, MapType, ProgramType};

/// Sixty-four zeros.
pub const PACKET: [u8; 64] = [0; 64];

/// A map with keys of 4 bytes and values of 8.
pub fn map(
    name: &'static str,
    map_type: MapType,
    max_entries: u32,
    map_flags: u32,
) -> Result<Map, KernelError> {
    Map::create(&MapDefinition {
        name,
        shape: MapShape {
            map_type,
            key_size: 4,
            value_size: 8,
            max_entries,
            map_flags,
            map_extra: 0,
        },
        ..MapDefinition::default()
    })
}

/// An XDP program.
pub fn program(name: &str, license: &str, insns: &[Insn]) -> Result<Program, KernelError> {
    Program::load(&ProgramDefinition {
        name,
        program_type: ProgramType::XDP,
        expected_attach_type: AttachType::XDP,
        license,
        instructions: &encode_all(insns),
        ..ProgramDefinition::default()
    })
}

/// Its verdict for [`PACKET`].
pub fn run(program: &Program) -> u32 {
    program
        .test_run(&TestRun {
            data: &PACKET,
            context: None,
            repeat: 1,
        })
        .unwrap()
        .return_value
}

/// A BPF file system directory of this test, removed at its end.
pub struct PinDirectory(pub BpfFs);

impl PinDirectory {
    /// Makes it.
    pub fn new(name: &str) -> Self {
        let path =
            Path::new("/sys/fs/bpf").join(format!("xdplb-test-{name}-{}", std::process::id()));
        PinDirectory(BpfFs::create(&path).expect("a BPF file system is mounted at /sys/fs/bpf"))
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.directory());
    }
}
