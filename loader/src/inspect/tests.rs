//! The view of objects written by hand, of the embedded program, and of any bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::object::build::{
    Builder, CALL, IMM64, call, exit, helper, load_address, mov, mov_reg, store32,
};
use proptest::prelude::*;
use xdplb_linker::insn::Insn;

use super::*;

fn of(bytes: &[u8]) -> Inspection {
    Inspection::of(bytes, Language::C).unwrap()
}

/// A program that looks a map up and calls a function of `.text`, which uses stack.
fn object() -> Vec<u8> {
    let mut main = vec![mov_reg(6, 1), store32(10, -4, 0)];
    main.extend(load_address(1, 0));
    main.extend([helper(1), call(-1), exit()]);
    let mut callee = vec![store32(10, -40, 7), mov(0, 2), exit()];
    let mut object = Builder::new();
    object
        .map("seen", 1, 64)
        .function(".text", "helper", &callee)
        .function("xdp", "main", &main)
        .relocate("xdp", 2, "seen", IMM64)
        .relocate("xdp", 5, "helper", CALL);
    callee.clear();
    object.finish()
}

#[test]
fn each_relocation_says_what_it_becomes() {
    let view = of(&object());
    let found: Vec<_> = view
        .relocations
        .iter()
        .filter(|found| found.section == "xdp")
        .map(|found| {
            (
                found.insn,
                found.text.as_deref().unwrap(),
                found.becomes.as_str(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (
                Some(2),
                "r1 = 0x0",
                "map `seen`'s descriptor: BPF_PSEUDO_MAP_FD in src_reg, the descriptor in imm; the kernel puts the map's address there"
            ),
            (
                Some(5),
                "call pc-1",
                "a call of function `helper`: BPF_PSEUDO_CALL in src_reg, in imm the distance to it once the loader has put the program's functions together"
            ),
        ]
    );
}

#[test]
fn instructions_have_the_names_of_what_they_refer_to() {
    let view = of(&object());
    let code = view.code.iter().find(|code| code.section == "xdp").unwrap();
    let named: Vec<_> = code
        .instructions
        .iter()
        .map(|insn| (insn.at, insn.named.as_str()))
        .collect();
    assert_eq!(
        named,
        [
            (0, "r6 = r1"),
            (1, "*(u32 *)(r10 -4) = 0"),
            (2, "r1 = map[seen]"),
            (4, "call bpf_map_lookup_elem#1"),
            (5, "call helper"),
            (6, "exit"),
        ]
    );
    assert_eq!(code.instructions[2].bytes.len(), 32, "two slots");
}

#[test]
fn stacks_add_up_along_calls() {
    let view = of(&object());
    let program = &view.programs[0];
    assert_eq!(
        (program.name.as_str(), program.maps.as_slice()),
        ("main", &["seen".to_string()][..])
    );
    let stack = program.stack.as_ref().unwrap();
    // 4 and 40 bytes: 32 + 64, 16 + 48.
    assert_eq!((stack.bytes_by_32, stack.bytes_by_16), (96, 64));
    assert_eq!((stack.frames, stack.frames_limit, stack.limit), (2, 8, 512));
    let names: Vec<_> = stack
        .deepest
        .iter()
        .map(|function| view.functions[*function].name.as_str())
        .collect();
    assert_eq!(names, ["main", "helper"]);
    assert_eq!(program.instructions, 10);
}

#[test]
fn recursion_is_named() {
    let mut object = Builder::new();
    object
        .function(".text", "again", &[call(-1), exit()])
        .relocate(".text", 0, "again", CALL)
        .function("xdp", "main", &[call(-1), exit()])
        .relocate("xdp", 0, "again", CALL);
    let view = of(&object.finish());
    assert!(view.programs[0].stack.is_none());
    assert_eq!(view.programs[0].circle, ["again"]);
}

#[test]
fn a_map_says_where_each_number_was_read() {
    let view = of(&object());
    let map = &view.maps[0];
    assert_eq!((map.source, map.section.as_deref()), ("btf", Some(".maps")));
    let read: Vec<_> = map
        .read_from
        .iter()
        .map(|read| read.says.as_str())
        .collect();
    assert!(read.contains(&"type: hash (1)"), "{read:?}");
    assert!(read.contains(&"entries: 64"), "{read:?}");
    assert_eq!(map.users.len(), 1);
    assert_eq!(
        (map.users[0].function.as_str(), &map.users[0].insns[..]),
        ("main", &[2][..])
    );
}

#[test]
fn legacy_maps_are_read_word_by_word() {
    let words = [1u32, 4, 8, 16, 0, 0, 1];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut object = Builder::new();
    object
        .variable("maps", "old", &bytes)
        .function("xdp", "main", &[mov(0, 2), exit()]);
    let view = of(&object.finish());
    let map = &view.maps[0];
    assert_eq!((map.source, map.pinning), ("legacy", "by name"));
    let last = map.read_from.last().unwrap();
    assert_eq!(
        (last.offset, last.text.as_str(), last.says.as_str()),
        (24, "01000000", "pinning: 1")
    );
}

#[test]
fn sections_say_what_they_are_for() {
    let view = of(&object());
    let of = |name: &str| {
        let section = view.sections.iter().find(|section| section.name == name);
        let section = section.unwrap_or_else(|| panic!("{name}"));
        (section.purpose.as_str(), section.reader)
    };
    assert_eq!(of("xdp"), ("the xdp program `main`", "kernel"));
    assert_eq!(
        of(".relxdp"),
        (
            "relocations: what is still to be filled in in section `xdp`",
            "loader"
        )
    );
    assert_eq!(of(".text").1, "loader");
    assert_eq!(of(".symtab").1, "loader");
    assert!(
        view.sections
            .iter()
            .all(|section| !section.purpose.is_empty())
    );
}

#[test]
fn what_is_broken_is_shown_with_its_error() {
    let mut object = Builder::new();
    let color = object.number(3);
    object.map_of("bad", &[("color", color)]);
    let mut main = load_address(1, 0).to_vec();
    main.push(exit());
    object
        .function("xdp", "main", &main)
        .relocate("xdp", 0, "nowhere", IMM64);
    let view = of(&object.finish());
    assert_eq!(
        view.maps[0].error.as_deref(),
        Some(".maps+0x0: map `bad`: member `color` is unknown")
    );
    assert_eq!(
        view.relocations[0].becomes,
        "nothing: `nowhere` is defined nowhere in this object, and nothing says that the kernel has it"
    );
    let error = Inspection::of(b"\x7fELF", Language::C).unwrap_err();
    assert!(error.to_string().contains("ELF header"), "{error}");
}

#[test]
fn narrowing_keeps_what_belongs_together() {
    let narrow = |narrow: Narrow| of(&object()).narrow(&narrow);
    let map = narrow(Narrow {
        map: Some("seen".into()),
        ..Narrow::default()
    })
    .unwrap();
    assert_eq!(
        (map.maps.len(), map.programs.len(), map.code.len()),
        (1, 0, 0)
    );
    assert_eq!(map.sections[0].name, ".maps");
    let program = narrow(Narrow {
        program: Some("main".into()),
        ..Narrow::default()
    })
    .unwrap();
    assert_eq!((program.programs.len(), program.maps.len()), (1, 1));
    let sections: Vec<_> = program
        .code
        .iter()
        .map(|code| code.section.as_str())
        .collect();
    assert_eq!(sections, [".text", "xdp"], "what it calls, too");
    let section = narrow(Narrow {
        section: Some(".text".into()),
        ..Narrow::default()
    })
    .unwrap();
    assert_eq!((section.sections.len(), section.maps.len()), (1, 0));
    assert!(section.code.iter().all(|code| code.section == ".text"));
}

#[test]
fn names_that_are_not_there_are_answered_by_near_ones() {
    let error = |section: Option<&str>, program: Option<&str>, map: Option<&str>| {
        let narrow = Narrow {
            section: section.map(str::to_string),
            program: program.map(str::to_string),
            map: map.map(str::to_string),
        };
        of(&object()).narrow(&narrow).unwrap_err().to_string()
    };
    assert_eq!(
        error(None, None, Some("sen")),
        "the object has no map `sen`\n  try:  seen"
    );
    assert_eq!(
        error(Some("xpd"), None, None),
        "the object has no section `xpd`\n  try:  xdp"
    );
    assert_eq!(
        error(None, Some("something_else"), None),
        "the object has no program `something_else`\n  has:  main, helper"
    );
    let mut bare = Builder::new();
    let bytes = bare.function("xdp", "main", &[mov(0, 2), exit()]).finish();
    let narrow = Narrow {
        map: Some("x".into()),
        ..Narrow::default()
    };
    assert_eq!(
        of(&bytes).narrow(&narrow).unwrap_err().to_string(),
        "the object has no map `x`: it has no maps"
    );
}

#[test]
fn bytes_cover_every_section_whole() {
    let bytes = object();
    let mut view = of(&bytes);
    view.add_bytes(&bytes);
    for section in &view.sections {
        let Some(part) = view.bytes.iter().find(|part| part.part == section.name) else {
            assert!(section.size == 0 || section.r#type == "NOBITS" || section.index == 0);
            continue;
        };
        let total: usize = part.rows.iter().map(|row| row.bytes.len() / 2).sum();
        assert_eq!(total as u64, section.size, "{}", section.name);
        let mut here = section.file_offset;
        for row in &part.rows {
            assert_eq!(row.offset, here);
            here += row.bytes.len() as u64 / 2;
        }
    }
    let btf = view.bytes.iter().find(|part| part.part == ".BTF").unwrap();
    assert_eq!(btf.rows[0].what, "magic: 9f eb");
    assert!(btf.rows.iter().any(|row| row.what.starts_with("type 1: ")));
}

#[test]
fn the_embedded_program_is_told_whole() {
    let view = of(crate::PROGRAM);
    assert_eq!(view.license, "GPL");
    let program = &view.programs[0];
    assert_eq!(
        (program.name.as_str(), program.r#type.as_deref()),
        ("xdp_load_balancer", Some("xdp"))
    );
    let stack = program.stack.as_ref().unwrap();
    assert!(stack.bytes_by_32 <= stack.limit && stack.bytes_by_16 <= stack.bytes_by_32);
    assert!(program.maps.iter().any(|map| map == "connections"));
    // Every instruction has a meaning, and what is left open becomes something.
    for insn in view.code.iter().flat_map(|code| &code.instructions) {
        assert!(
            !insn.text.starts_with("unknown"),
            "{}: {}",
            insn.at,
            insn.text
        );
        assert_eq!(insn.error, None);
    }
    for found in &view.relocations {
        assert!(
            !found.becomes.is_empty() && !found.becomes.starts_with("nothing"),
            "{found:?}"
        );
    }
    let lines = view.code.iter().flat_map(|code| &code.instructions);
    assert!(
        lines
            .filter_map(|insn| insn.source.as_ref())
            .any(|place| place.file.ends_with("balance.rs"))
    );
}

#[test]
fn the_shape_of_json_is_stable() {
    let value = serde_json::to_value(of(&object())).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(
        keys(&value),
        [
            "bytes",
            "code",
            "core",
            "expectations",
            "functions",
            "header",
            "kernel_version",
            "license",
            "maps",
            "programs",
            "relocations",
            "sections",
            "symbols",
            "types"
        ]
    );
    assert_eq!(
        keys(&value["maps"][0]),
        [
            "error",
            "extra",
            "flag_names",
            "flags",
            "frozen",
            "inner",
            "key",
            "key_size",
            "max_entries",
            "name",
            "numa_node",
            "offset",
            "pinning",
            "read_from",
            "section",
            "slots",
            "source",
            "type",
            "users",
            "value",
            "value_size",
            "variables"
        ]
    );
    assert_eq!(
        keys(&value["code"][0]["instructions"][0]),
        [
            "at", "becomes", "bytes", "error", "function", "named", "opcode", "source", "text",
            "to"
        ]
    );
    assert_eq!(value["types"]["language"], "c");
}

#[test]
fn a_hostile_nest_of_nameless_types_ends() {
    use xdplb_linker::btf::{Btf, Composite, Int, Kind, Member, TypeId};
    let mut btf = Btf::new();
    let int = Kind::Int(Int {
        size: 4,
        encoding: 0,
        bit_offset: 0,
        bits: 32,
    });
    let mut ty = btf.add("unsigned int", int);
    let mut size = 4;
    // Each level holds the one below twice: written out it is two to the twenty-fourth.
    for level in 0..24 {
        let name = if level == 23 { "top" } else { "" };
        let half = size * 8;
        size *= 2;
        let member = |name, at| Member {
            name,
            ty,
            bit_offset: at,
            bitfield_size: 0,
        };
        let (a, b) = (btf.strings.intern("a"), btf.strings.intern("b"));
        let members = vec![member(a, 0), member(b, half)];
        ty = btf.add(name, Kind::Struct(Composite { size, members }));
    }
    for language in [Language::C, Language::Rust] {
        let all = declare_all(&btf, language);
        let bytes: usize = all.iter().map(|declaration| declaration.text.len()).sum();
        assert!(bytes < 16 << 20, "{bytes}");
    }
    let _ = TypeId::VOID;
}

proptest! {
    #[test]
    fn damage_gives_a_view_or_an_error(flips in proptest::collection::vec((0usize..4096, any::<u8>()), 1..12)) {
        let mut bytes = object();
        let len = bytes.len();
        for (at, value) in flips {
            bytes[at % len] = value;
        }
        if let Ok(mut view) = Inspection::of(&bytes, Language::C) {
            view.add_bytes(&bytes);
            let _ = serde_json::to_string(&view).unwrap();
        }
        let _ = Inspection::of(&bytes, Language::Rust);
    }

    #[test]
    fn any_instructions_are_shown(bytes in proptest::collection::vec(any::<[u8; 8]>(), 1..40)) {
        let insns: Vec<Insn> = bytes.into_iter().map(Insn::decode).collect();
        let mut object = Builder::new();
        object.function("xdp", "main", &insns);
        let view = of(&object.finish());
        let shown = &view.code[0].instructions;
        prop_assert!(!shown.is_empty());
        prop_assert!(shown.iter().all(|insn| !insn.text.is_empty() && !insn.opcode.is_empty()));
    }
}
