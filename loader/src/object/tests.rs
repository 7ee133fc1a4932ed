//! Tests of the whole module on small objects: bytes → `Spec` → `Plan`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use xdplb_linker::insn::{self, InsnIndex};

use super::build::{self, Builder, CALL, IMM64, call, exit, load_address, mov};
use super::errors_tests::error;
use super::*;
use crate::uapi::{MapType, map_flags};

#[test]
fn a_template_can_be_another_map() {
    let mut b = Builder::new();
    b.map("outer", 13, 4)
        .map("like", 1, 8)
        .function("xdp", "main", &[mov(0, 2), exit()]);
    let mut spec = Spec::parse(&b.finish()).unwrap();
    let refused = |error: Result<(), ObjectError>| error.unwrap_err().to_string();
    assert_eq!(
        refused(spec.set_inner("like", "outer")),
        "map `like` is of type hash, which holds no maps"
    );
    assert_eq!(
        refused(spec.set_inner("outer", "outer")),
        "`outer` is a map of maps, which no map can hold"
    );
    assert_eq!(
        refused(spec.set_inner("outer", "lik")),
        "there is no map `lik`: the object has outer, like"
    );
    spec.set_inner("outer", "like").unwrap();
    let inner = spec.map("outer").unwrap().inner.as_ref().unwrap();
    assert_eq!((inner.name.as_str(), inner.max_entries), ("like", 8));
}

#[test]
fn the_sample_is_read() {
    let spec = Spec::parse(&build::sample()).unwrap();
    assert_eq!((spec.license.as_str(), spec.kernel_version), ("GPL", 0));
    let programs: Vec<_> = spec
        .programs
        .iter()
        .map(|p| (p.name.as_str(), p.section.as_str()))
        .collect();
    assert_eq!(programs, [("main", "xdp")]);
    let hits = spec.map("hits").unwrap();
    assert_eq!(
        (
            hits.map_type,
            hits.key_size,
            hits.value_size,
            hits.max_entries
        ),
        (MapType::ARRAY, 4, 4, 4)
    );
    let rodata = spec.map(".rodata").unwrap();
    assert_eq!(
        (rodata.map_flags, rodata.freeze),
        (map_flags::RDONLY_PROG, Freeze::BeforePrograms)
    );
    assert_eq!(rodata.contents.as_deref(), Some(&[2, 0, 0, 0][..]));
}

#[test]
fn the_same_bytes_give_the_same_spec_wherever_they_lie() {
    let bytes = build::sample();
    let mut shifted = vec![0u8; bytes.len() + 1];
    shifted[1..].copy_from_slice(&bytes);
    let (a, b) = (
        Spec::parse(&bytes).unwrap(),
        Spec::parse(&shifted[1..]).unwrap(),
    );
    assert_eq!(a.maps(), b.maps());
    assert_eq!(a.programs, b.programs);
}

#[test]
fn functions_are_appended_and_calls_point_at_them() {
    let spec = Spec::parse(&build::sample()).unwrap();
    let plan = spec.plan(&Target::default());
    let main = &plan.programs[0];
    let functions: Vec<_> = main
        .functions
        .iter()
        .map(|(at, name)| (at.0, name.as_str()))
        .collect();
    assert_eq!(functions, [(0, "main"), (10, "_verdict")]);
    let patches: Vec<_> = main
        .patches
        .iter()
        .map(|p| (p.at.0, p.symbol.as_str(), p.target))
        .collect();
    assert_eq!(
        patches,
        [
            (3, "hits", PatchTarget::Map(0)),
            (10, "VERDICT", PatchTarget::MapValue { map: 1, offset: 0 })
        ]
    );
    let insns = main.instructions(&plan.map_fds(vec![40, 41]).unwrap());
    assert_eq!((insns[3].src, insns[3].imm), (insn::BPF_PSEUDO_MAP_FD, 40));
    assert_eq!(
        (insns[8].src, insns[8].imm),
        (insn::BPF_PSEUDO_CALL, 1),
        "8 + 1 + 1 = 10"
    );
    assert_eq!(
        (insns[10].src, insns[10].imm, insns[11].imm),
        (insn::BPF_PSEUDO_MAP_VALUE, 41, 0)
    );
    assert_eq!(
        plan.map_fds(vec![1]).unwrap_err().to_string(),
        "1 descriptors for 2 maps"
    );
}

#[test]
fn records_move_with_their_functions() {
    let spec = Spec::parse(&build::sample()).unwrap();
    let plan = spec.plan(&Target::default());
    let main = &plan.programs[0];
    let offsets: Vec<_> = main
        .func_info
        .as_ref()
        .unwrap()
        .iter()
        .map(|r| r.insn_off)
        .collect();
    assert_eq!(offsets, [0, 10]);
    let lines: Vec<_> = main
        .line_info
        .as_ref()
        .unwrap()
        .iter()
        .map(|r| r.insn_off)
        .collect();
    assert_eq!(
        lines,
        [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 12, 13],
        "none on a second slot"
    );
    let btf = plan.btf.as_ref().unwrap();
    assert_eq!(
        main.source_line(btf, InsnIndex(11)).unwrap().to_string(),
        "test.rs:1"
    );
    assert_eq!(
        main.source_line(btf, InsnIndex(12)).unwrap().to_string(),
        "test.rs:3"
    );
    assert_eq!(main.func_info_bytes().unwrap().0.len(), 16);
}

#[test]
fn a_callback_is_a_distance_too() {
    let mut builder = Builder::new();
    let mut main = Vec::from(load_address(2, 0));
    main.extend([mov(0, 2), exit()]);
    builder
        .function("xdp", "main", &main)
        .function(".text", "_other", &[mov(0, 0), exit()])
        .function(".text", "_each", &[mov(0, 1), exit()])
        .relocate("xdp", 0, "_each", IMM64);
    let plan = Spec::parse(&builder.finish())
        .unwrap()
        .plan(&Target::default());
    let main = &plan.programs[0];
    assert_eq!(
        main.unpatched().len(),
        6,
        "what is not referred to stays away"
    );
    assert_eq!(
        (main.unpatched()[0].src, main.unpatched()[0].imm),
        (insn::BPF_PSEUDO_FUNC, 3)
    );
}

#[test]
fn a_call_without_relocation_counts_within_its_section() {
    let mut builder = Builder::new();
    // The call of `two` in .text: two instructions ahead of the next one.
    builder
        .function("xdp", "main", &[call(-1), exit()])
        .function(".text", "_one", &[call(1), exit()])
        .function(".text", "_two", &[mov(0, 2), exit()])
        .relocate("xdp", 0, "_one", CALL);
    let plan = Spec::parse(&builder.finish())
        .unwrap()
        .plan(&Target::default());
    let insns = plan.programs[0].unpatched();
    assert_eq!((insns.len(), insns[0].imm, insns[2].imm), (6, 1, 1));
}

#[test]
fn sizes_and_constants_can_be_set() {
    let mut spec = Spec::parse(&build::sample()).unwrap();
    spec.map_mut("hits").unwrap().max_entries = 9;
    spec.set_global("VERDICT", &1u32.to_le_bytes()).unwrap();
    assert_eq!(spec.global("VERDICT").unwrap(), [1, 0, 0, 0]);
    let plan = spec.plan(&Target::default());
    assert_eq!(plan.maps[0].spec.max_entries, 9);
    assert_eq!(
        plan.maps[1].spec.contents.as_deref(),
        Some(&[1, 0, 0, 0][..])
    );

    assert_eq!(
        spec.set_global("VERDICT", &[1]).unwrap_err().to_string(),
        ".rodata+0x0: `VERDICT` takes 4 bytes, 1 were given"
    );
    assert_eq!(
        spec.set_global("VERDCIT", &[1]).unwrap_err().to_string(),
        "there is no variable `VERDCIT`: the object has VERDICT"
    );
    assert_eq!(
        spec.map_mut("hist").unwrap_err().to_string(),
        "there is no map `hist`: the object has hits, .rodata"
    );
}

#[test]
fn data_maps_are_named_after_the_object() {
    let mut spec = Spec::parse(&build::sample()).unwrap();
    let name = |spec: &Spec| spec.plan(&Target::default()).maps[1].kernel_name.clone();
    assert_eq!(name(&spec), ".rodata");
    spec.name = "xdp load-balancer".into();
    assert_eq!(name(&spec), "xdp_load.rodata");
    assert_eq!(spec.plan(&Target::default()).maps[0].kernel_name, "hits");
}

#[test]
fn maps_take_what_the_kernel_asks_of_their_type() {
    let mut builder = Builder::new();
    builder
        .map("events", 27, 4096)
        .map("devices", 14, 8)
        .function("xdp", "main", &[mov(0, 2), exit()]);
    let plan = Spec::parse(&builder.finish())
        .unwrap()
        .plan(&Target::default());
    let [events, devices] = &plan.maps[..] else {
        panic!("two maps")
    };
    assert_eq!(
        (events.spec.key_size, events.spec.value_size),
        (0, 0),
        "a ring has neither"
    );
    assert_eq!(devices.spec.value_size, 4);
    assert_eq!(devices.spec.key_type.0, 0, "a devmap refuses types");
}

#[test]
fn goblin_sees_the_same_object() {
    let bytes = build::sample();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let spec = Spec::parse(&bytes).unwrap();
    let named = |name: &str| {
        elf.section_headers
            .iter()
            .position(|s| elf.shdr_strtab.get_at(s.sh_name) == Some(name))
            .expect("the section exists")
    };
    // Every function symbol of goblin's view is a function of ours, in the same section, as long.
    let mut functions = 0;
    for symbol in elf
        .syms
        .iter()
        .filter(|s| s.st_type() == goblin::elf::sym::STT_FUNC)
    {
        let name = elf.strtab.get_at(symbol.st_name).unwrap();
        let ours = spec.functions.iter().find(|f| f.name == name).unwrap();
        assert_eq!(named(&spec.code[ours.code].name), symbol.st_shndx);
        assert_eq!(
            (u64::from(ours.start) * 8, u64::from(ours.len) * 8),
            (symbol.st_value, symbol.st_size)
        );
        functions += 1;
    }
    assert_eq!(functions, spec.functions.len());
    // Every relocation of code is a reference of ours with the same symbol.
    let mut references = 0;
    for (header, relocs) in &elf.shdr_relocs {
        let target = elf.section_headers[*header].sh_info as usize;
        let Some(code) = spec.code.iter().find(|code| named(&code.name) == target) else {
            continue;
        };
        for relocation in relocs.iter() {
            let symbol = elf.syms.get(relocation.r_sym).unwrap();
            let ours = code
                .references
                .get((relocation.r_offset / 8) as u32)
                .unwrap();
            assert_eq!(Some(&*ours.symbol), elf.strtab.get_at(symbol.st_name));
            references += 1;
        }
    }
    assert_eq!(
        references,
        spec.code
            .iter()
            .map(|code| code.references.iter().count())
            .sum::<usize>()
    );
    let rodata = &elf.section_headers[named(".rodata")];
    let range = rodata.file_range().unwrap();
    assert_eq!(
        spec.map(".rodata").unwrap().contents.as_deref(),
        Some(&bytes[range])
    );
}

#[test]
fn every_cut_of_an_object_is_an_error_or_a_spec() {
    let bytes = build::sample();
    for len in 0..bytes.len() {
        if let Ok(spec) = Spec::parse(&bytes[..len]) {
            let _ = spec.plan(&Target::default());
        }
    }
    assert_eq!(
        error(&bytes[..63]),
        "file+0x0: ELF header needs 64 bytes, 63 are left"
    );
    assert_eq!(
        error(b""),
        "file+0x0: ELF header needs 64 bytes, 0 are left"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn mutated_objects_never_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = build::sample();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(mut spec) = Spec::parse(&bytes) {
            let names: Vec<String> = spec.global_names().map(str::to_string).collect();
            for name in names {
                if let Ok(value) = spec.global(&name) {
                    let _ = spec.set_global(&name, &value);
                }
            }
            {
                let plan = spec.plan(&Target::default());
                let fds = plan.map_fds(vec![3; plan.maps.len()]).unwrap();
                for program in &plan.programs {
                    let _ = program.instructions(&fds);
                    if let Some(btf) = &plan.btf {
                        let _ = program.source_line(btf, InsnIndex(1));
                    }
                }
            }
        }
    }
}

/// An object of what `build::sample` has not: old maps, tail calls, what the kernel is to have, many kinds of programs.
fn motley() -> Vec<u8> {
    use xdplb_linker::btf::{FuncProto, Kind};
    let words =
        |words: [u32; 9]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
    let mut b = Builder::new();
    let int = b.integer("int", 4, 1);
    let proto = b.btf.add(
        "",
        Kind::FuncProto(FuncProto {
            returns: int,
            params: vec![],
        }),
    );
    let name = b.array(int, 3);
    let config = b.composite("config", &[("limit", int), ("ports", name)]);
    let mut main = Vec::from(load_address(1, 0));
    main.extend(load_address(2, 0));
    main.extend([call(-1), mov(0, 2), exit()]);
    b.raw("maps", "inner", &words([2, 4, 8, 1, 0, 42, 0, 0, 0]), false)
        .raw(
            "maps",
            "outer",
            &words([12, 4, 4, 4, 0, 0, 2, 42, 0]),
            false,
        )
        .raw("maps", "jumps", &words([3, 4, 4, 8, 0, 2, 0, 0, 0]), false)
        .raw("maps/own", "", &words([1, 4, 4, 8, 0, 0, 0, 0, 0]), false)
        .variable_of(".data.x", "settings", config, &[0; 16])
        .variable_of(".struct_ops", "ops", config, &[0; 16])
        .external(".kconfig", "CONFIG_HZ", int, true)
        .external(".ksyms", "runqueues", int, true)
        .external(".ksyms", "vfs_open", proto, true)
        .function("xdp_main", "main", &main)
        .function("2/7", "tail", &[mov(0, 2), exit()])
        .function("fentry/vfs_open", "before", &[mov(0, 0), exit()])
        .function("struct_ops/limit", "limit", &[mov(0, 0), exit()])
        .relocate("xdp_main", 0, "CONFIG_HZ", IMM64)
        .relocate("xdp_main", 2, "runqueues", IMM64)
        .relocate("xdp_main", 4, "vfs_open", CALL)
        .relocate(".struct_ops", 0, "limit", 2);
    b.finish()
}

#[test]
fn the_motley_object_is_planned() {
    let mut spec = Spec::parse(&motley()).unwrap();
    assert_eq!(spec.programs.len(), 4);
    assert_eq!(spec.maps().len(), 6, "{:?}", spec.maps());
    spec.set_value("settings.ports[2]", "7").unwrap();
    let plan = spec.plan(&Target::default());
    assert_eq!(plan.programs.len(), 2, "two need the kernel's types");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn mutated_motley_objects_never_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        text in "[-a-z0-9x:.\\[\\]\",]{0,12}",
    ) {
        let mut bytes = motley();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let Ok(mut spec) = Spec::parse(&bytes) else { return Ok(()) };
        let mut target = Target::default();
        // Any bytes that look like types are a kernel, this object's own too.
        if let Some(btf) = spec.btf() {
            target.types = KernelTypes::parse(btf.encode()).ok();
        }
        let names: Vec<String> = spec.global_names().map(str::to_string).collect();
        for name in names {
            let _ = spec.set_value(&name, &text);
            let _ = spec.set_value(&format!("{name}{text}"), "1");
        }
        let _ = spec.needs();
        let plan = spec.plan(&target);
        let fds = plan.map_fds(vec![3; plan.maps.len()]).unwrap();
        for program in &plan.programs {
            let _ = program.instructions_with(&fds, &[4]);
        }
    }

    #[test]
    fn any_name_of_a_section_says_something(name in ".{0,24}") {
        let _ = ProgramKind::of_section(&name);
        let _ = ProgramKind::named(&name);
    }
}
