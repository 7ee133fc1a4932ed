//! Tests of the whole module on small objects: bytes → `Spec` → `Plan`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use xdplb_linker::insn::{self, InsnIndex};

use super::build::{self, Builder, CALL, IMM64, call, exit, load_address, mov};
use super::*;
use crate::uapi::{MapType, map_flags};

fn error(bytes: &[u8]) -> String {
    match Spec::parse(bytes) {
        Ok(spec) => spec.plan().unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
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
    let plan = spec.plan().unwrap();
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
    let plan = spec.plan().unwrap();
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
    let plan = Spec::parse(&builder.finish()).unwrap().plan().unwrap();
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
    let plan = Spec::parse(&builder.finish()).unwrap().plan().unwrap();
    let insns = plan.programs[0].unpatched();
    assert_eq!((insns.len(), insns[0].imm, insns[2].imm), (6, 1, 1));
}

#[test]
fn sizes_and_constants_can_be_set() {
    let mut spec = Spec::parse(&build::sample()).unwrap();
    spec.map_mut("hits").unwrap().max_entries = 9;
    spec.set_global("VERDICT", &1u32.to_le_bytes()).unwrap();
    assert_eq!(spec.global("VERDICT").unwrap(), [1, 0, 0, 0]);
    let plan = spec.plan().unwrap();
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
    let name = |spec: &Spec| spec.plan().unwrap().maps[1].kernel_name.clone();
    assert_eq!(name(&spec), ".rodata");
    spec.name = "xdp load-balancer".into();
    assert_eq!(name(&spec), "xdp_load.rodata");
    assert_eq!(spec.plan().unwrap().maps[0].kernel_name, "hits");
}

#[test]
fn errors_name_section_offset_and_cause() {
    let mut builder = Builder::new();
    builder
        .function("xdp", "main", &[mov(0, 2), call(-1), exit()])
        .relocate("xdp", 1, "pick", CALL);
    assert_eq!(
        error(&builder.finish()),
        "xdp+0x8 (insn 1 in `main`): calls `pick`, which the object does not define"
    );

    let mut builder = Builder::new();
    let mut main = Vec::from(load_address(1, 0));
    main.extend([mov(0, 2), exit()]);
    builder
        .function("xdp", "main", &main)
        .relocate("xdp", 0, "BACKENDS", IMM64);
    assert_eq!(
        error(&builder.finish()),
        "xdp+0x0 (insn 0 in `main`): refers to `BACKENDS`, which the object does not define"
    );

    let mut builder = Builder::new();
    builder
        .function("xdp", "main", &[mov(0, 2), exit()])
        .relocate("xdp", 0, "x", IMM64);
    assert_eq!(
        error(&builder.finish()),
        "xdp+0x0: relocation type 1 against `x` does not fit the instruction (opcode 0xb7)"
    );

    let mut builder = Builder::new();
    builder.function("xdp", "main", &[call(7), mov(0, 2), exit()]);
    assert_eq!(
        error(&builder.finish()),
        "xdp+0x0 (insn 0 in `main`): no function begins at instruction 8 of xdp"
    );

    let mut builder = Builder::new();
    builder.function("kprobe/tcp_v4_rcv", "probe", &[mov(0, 0), exit()]);
    assert_eq!(
        error(&builder.finish()),
        "kprobe/tcp_v4_rcv: the name of this section names no type of program that can be loaded (`probe`); known are \
         xdp, xdp.frags, xdp/devmap, xdp.frags/devmap, xdp/cpumap, xdp.frags/cpumap"
    );

    let mut builder = Builder::new();
    builder
        .map("m", 1, 1)
        .function("xdp", "main", &[mov(0, 2), exit()]);
    assert_eq!(
        error(&builder.finish_untyped()),
        ".maps: the object has no .BTF, which holds the maps' types"
    );
}

#[test]
fn map_definitions_are_checked() {
    let check = |define: &dyn Fn(&mut Builder), expect: &str| {
        let mut builder = Builder::new();
        define(&mut builder);
        builder.function("xdp", "main", &[mov(0, 2), exit()]);
        assert_eq!(error(&builder.finish()), expect);
    };
    check(
        &|b| {
            let n = b.number(1);
            b.map_of("m", &[("type", n), ("color", n)]);
        },
        ".maps+0x0: map `m`: member `color` is unknown",
    );
    check(
        &|b| {
            let n = b.number(1);
            b.map_of("m", &[("max_entries", n)]);
        },
        ".maps+0x0: map `m`: it has no member `type`",
    );
    check(
        &|b| {
            let (n, size) = (b.number(1), b.number(8));
            let key = b.number(3);
            b.map_of("m", &[("type", n), ("key_size", size), ("key", key)]);
        },
        ".maps+0x0: map `m`: `key` says 12 bytes, another member said 8",
    );
    check(
        &|b| {
            let (n, two) = (b.number(1), b.number(2));
            b.map_of("m", &[("type", n), ("pinning", two)]);
        },
        ".maps+0x0: map `m`: pinning 2 is unknown: 0 and 1 are",
    );
    check(
        &|b| {
            let n = b.number(1);
            let not_a_number = xdplb_linker::btf::TypeId(1);
            b.map_of("m", &[("type", n), ("max_entries", not_a_number)]);
        },
        ".maps+0x0: map `m`: `max_entries` is not a number: it should be a pointer to an array of that length",
    );
}

/// Changes 8 bytes at the first symbol-table entry named `name`: its value (at 8) or size (at 16).
fn with_symbol_field(mut bytes: Vec<u8>, name: &str, field: usize, value: u64) -> Vec<u8> {
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let index = elf
        .syms
        .iter()
        .position(|s| elf.strtab.get_at(s.st_name) == Some(name))
        .unwrap();
    let table = elf
        .section_headers
        .iter()
        .find(|s| s.sh_type == goblin::elf::section_header::SHT_SYMTAB)
        .unwrap();
    let at = table.sh_offset as usize + index * 24 + field;
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[test]
fn symbols_that_disagree_with_their_sections_are_errors() {
    let sized = |name, size| with_symbol_field(build::sample(), name, 16, size);
    assert_eq!(
        error(&sized("main", 12)),
        "xdp+0x0: function `main` takes 12 bytes: not whole instructions"
    );
    assert_eq!(
        error(&sized("main", 8000)),
        "xdp+0x0: function `main` ends past its section"
    );
    let mut spec = Spec::parse(&sized("VERDICT", 8)).unwrap();
    assert_eq!(
        spec.set_global("VERDICT", &[0; 8]).unwrap_err().to_string(),
        ".rodata+0x0: `VERDICT` takes 8 bytes, past the end of its section"
    );
    let mut spec = Spec::parse(&sized("VERDICT", 2)).unwrap();
    assert_eq!(
        spec.set_global("VERDICT", &[0; 2]).unwrap_err().to_string(),
        ".rodata+0x0: `VERDICT` takes 2 bytes by its symbol, 4 by its type in .BTF"
    );
    // A function without a size reaches to the next one, or to the end of its section.
    assert_eq!(Spec::parse(&sized("main", 0)).unwrap().functions[0].len, 10);
}

#[test]
fn a_function_without_records_leaves_them_out_and_says_why() {
    let mut builder = Builder::new();
    builder.function("xdp", "main", &[mov(0, 2), exit()]);
    let mut bytes = builder.finish();
    // Cut the function's type out of .BTF.ext: its only func_info record now names the second instruction.
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let ext = elf
        .section_headers
        .iter()
        .find(|s| elf.shdr_strtab.get_at(s.sh_name) == Some(".BTF.ext"))
        .unwrap();
    let record = ext.sh_offset as usize + 32 + 4 + 8;
    bytes[record] = 8;
    let plan = Spec::parse(&bytes).unwrap().plan().unwrap();
    assert_eq!(
        plan.programs[0].func_info,
        Err("function `main` has no func_info".to_string())
    );
    assert!(plan.programs[0].line_info.is_ok());
}

#[test]
fn maps_take_what_the_kernel_asks_of_their_type() {
    let mut builder = Builder::new();
    builder
        .map("events", 27, 4096)
        .map("devices", 14, 8)
        .function("xdp", "main", &[mov(0, 2), exit()]);
    let plan = Spec::parse(&builder.finish()).unwrap().plan().unwrap();
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
            let ours = &code.references[&((relocation.r_offset / 8) as u32)];
            assert_eq!(Some(&*ours.symbol), elf.strtab.get_at(symbol.st_name));
            references += 1;
        }
    }
    assert_eq!(
        references,
        spec.code
            .iter()
            .map(|code| code.references.len())
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
            let _ = spec.plan();
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
            if let Ok(plan) = spec.plan() {
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
