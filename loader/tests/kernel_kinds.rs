//! Types of maps and programs that this kernel has, and what is said of those that it lacks. Needs root; nothing stays.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/make.rs"]
mod make;
mod support;

use make::map;
use support::build::{exit, mov};
use support::{kernel_version, need_root};
use xdplb_linker::insn::encode_all;
use xdplb_loader::kernel::{
    Map, MapDefinition, MapShape, Program, ProgramDefinition, has_map_type, has_program_type,
};
use xdplb_loader::uapi::{MapType, ProgramType, map_flags};

#[test]
fn types_that_every_kernel_has_are_there() {
    need_root();
    // All of Linux 5.10 but those that hang on a build option.
    for map_type in &MapType::ALL[1..=MapType::RINGBUF.0 as usize] {
        assert!(has_map_type(*map_type), "{map_type}");
    }
    let built_in = [
        ProgramType::SOCKET_FILTER,
        ProgramType::SCHED_CLS,
        ProgramType::XDP,
        ProgramType::CGROUP_SKB,
        ProgramType::CGROUP_SOCK_ADDR,
        ProgramType::CGROUP_SOCKOPT,
        ProgramType::SK_LOOKUP,
        ProgramType::SK_REUSEPORT,
        ProgramType::EXT,
    ];
    for program_type in built_in {
        assert!(has_program_type(program_type), "{program_type}");
    }
    assert_eq!(has_map_type(MapType::ARENA), kernel_version() >= (6, 9));
    assert_eq!(
        has_program_type(ProgramType::SYSCALL),
        kernel_version() >= (5, 14)
    );
}

#[test]
fn types_that_it_lacks_are_named() {
    need_root();
    assert_eq!(
        map("new", MapType(99), 1, 0).unwrap_err().to_string(),
        "create map `new`: this kernel has no map type `unknown (99)` (EINVAL)\n  type unknown (99), key 4 bytes, value 8 bytes, 1 entries, flags 0x0"
    );
    let error = Program::load(&ProgramDefinition {
        name: "new",
        program_type: ProgramType(99),
        license: "GPL",
        instructions: &encode_all(&[mov(0, 0), exit()]),
        ..ProgramDefinition::default()
    })
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "load program `new`: this kernel has no program type `unknown (99)` (EINVAL)\n  type unknown (99), attach type none, 2 instructions, flags 0x0"
    );
    if !has_map_type(MapType::INSN_ARRAY) {
        let text = map("jumps", MapType::INSN_ARRAY, 1, 0)
            .unwrap_err()
            .to_string();
        assert!(text.contains("map type `insn_array`"), "{text}");
    }
}

#[test]
fn an_arena_has_its_pages() {
    need_root();
    if !has_map_type(MapType::ARENA) {
        return;
    }
    let mut arena = Map::create(&MapDefinition {
        name: "pages",
        shape: MapShape {
            map_type: MapType::ARENA,
            key_size: 0,
            value_size: 0,
            max_entries: 2,
            map_flags: map_flags::MMAPABLE,
            map_extra: 0,
        },
        ..MapDefinition::default()
    })
    .unwrap();
    arena.write_pages(4096, &[1, 2, 3]).unwrap();
    assert_eq!(
        arena.write_pages(8192, &[1]).unwrap_err().to_string(),
        "write to the pages of map `pages`: 1 bytes at 8192 reach past its end"
    );
    assert_eq!(
        map("array", MapType::ARRAY, 1, 0)
            .unwrap()
            .write_pages(0, &[1])
            .unwrap_err()
            .to_string(),
        "write to the pages of map `array`: it is no arena, or was made by another process"
    );
}
