//! Whole objects in the running kernel: the load path with its steps, reuse, failures. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/make.rs"]
mod make;
mod support;

use make::{PinDirectory, run};
use support::build::{self, Builder, IMM64, exit, load_address, load8, load32, mov, mov_reg};
use support::need_root;
use xdplb_linker::btf::{Composite, Datasec, Int, Kind, Linkage, Member, TypeId, Var, VarSecinfo};
use xdplb_linker::insn::Insn;
use xdplb_loader::kernel::Btf;
use xdplb_loader::load::{
    LoadError, LoadOptions, Step, load, load_each, load_plan, prepare, prepare_each,
};
use xdplb_loader::object::{BtfKinds, Known, ProgramPlan, Spec, simplify};
use xdplb_loader::uapi::map_flags;

#[test]
fn a_rejection_of_an_object_names_the_source_line() {
    need_root();
    let mut builder = Builder::new();
    builder.function(
        "xdp",
        "careless",
        &[load32(1, 1, 0), load8(0, 1, 23), exit()],
    );
    let spec = Spec::parse(&builder.finish()).unwrap();
    let error = load(&spec, LoadOptions::default(), &mut ()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(
            "load program `careless`: rejected by the verifier (EACCES)\n  test.rs:2\n"
        ) && text.contains("\n  1: (71)"),
        "{text}"
    );
    assert!(error.log().unwrap().contains("processed "));
}

#[test]
fn simplified_types_are_taken_by_the_kernel() {
    need_root();
    use xdplb_linker::btf::{Enum, EnumValue, Kind, Signedness, TagForm, TypeTag};
    let mut builder = Builder::new();
    builder
        .map("hits", 2, 4)
        .variable(".rodata", "LIMIT", &7u32.to_le_bytes())
        .function("xdp", "main", &[mov(0, 2), exit()]);
    let float = builder.btf.add("f32", Kind::Float { size: 4 });
    builder.btf.add(
        "user",
        Kind::TypeTag(TypeTag {
            ty: float,
            form: TagForm::Tag,
        }),
    );
    let name = builder.btf.strings.intern("FAR");
    let values = vec![EnumValue {
        name,
        value: 1u64 << 40,
    }];
    builder.btf.add(
        "Far",
        Kind::Enum64(Enum {
            size: 8,
            signedness: Signedness::Unsigned,
            values,
        }),
    );
    let spec = Spec::parse(&builder.finish()).unwrap();
    let no = Known::No;
    let none = BtfKinds {
        func: no,
        func_global: no,
        datasec: no,
        float: no,
        decl_tag: no,
        type_tag: no,
        enum64: no,
        attributes: Known::No,
        section_names: Known::No,
    };
    let (simple, replaced) = simplify(spec.btf().unwrap(), &none);
    assert_eq!(
        replaced,
        [
            "DATASEC as STRUCT (the kernel knows it from Linux 5.2): 2 types",
            "ENUM64 as UNION (the kernel knows it from Linux 6.0)",
            "FLOAT as STRUCT (the kernel knows it from Linux 5.13)",
            "FUNC as TYPEDEF (the kernel knows it from Linux 5.0)",
            "FUNC_PROTO as ENUM (the kernel knows it from Linux 5.0)",
            "TYPE_TAG as CONST (the kernel knows it from Linux 5.17)",
            "VAR as INT (the kernel knows it from Linux 5.2): 2 types",
        ]
    );
    Btf::load(&simple.encode()).unwrap();
    Btf::load(&spec.btf().unwrap().encode()).unwrap();
}

#[test]
fn a_variable_in_an_arena_has_the_objects_value() {
    need_root();
    let mut builder = Builder::new();
    let (ty, entries, flags) = (
        builder.number(33),
        builder.number(4),
        builder.number(map_flags::MMAPABLE),
    );
    // The address is one of address space 1: mov64 with offset 1 makes it one of space 0 (BPF_ADDR_SPACE_CAST).
    let cast = Insn {
        off: 1,
        imm: 1,
        ..mov_reg(1, 1)
    };
    let mut code = Vec::from(load_address(2, 0));
    code.extend(load_address(1, 4));
    code.extend([cast, load32(0, 1, 0), exit()]);
    builder
        .map_of(
            "pages",
            &[("type", ty), ("max_entries", entries), ("map_flags", flags)],
        )
        .raw(
            ".addr_space.1",
            "counters",
            &[1, 0, 0, 0, 42, 0, 0, 0],
            false,
        )
        .function("xdp", "read", &code)
        .relocate("xdp", 0, "pages", IMM64)
        .relocate("xdp", 2, "counters", IMM64);
    let loaded = Spec::parse(&builder.finish()).unwrap().load().unwrap();
    assert_eq!(run(loaded.program("read").unwrap()), 42);
}

/// The shapes in which LLVM writes Rust's debug info, and a section that nobody filled in: what comes of it must be taken
/// by the kernel that refuses the original.
#[test]
fn types_straight_from_rustc_are_taken_once_repaired() {
    need_root();
    let mut btf = xdplb_linker::btf::Btf::new();
    let int = btf.add(
        "u32",
        Kind::Int(Int {
            size: 4,
            encoding: 0,
            bit_offset: 0,
            bits: 32,
        }),
    );
    let mut members = |names: [&str; 3], types: [TypeId; 3]| {
        [64, 0, 32]
            .into_iter()
            .zip(names)
            .zip(types)
            .map(|((bit_offset, name), ty)| Member {
                name: btf.strings.intern(name),
                ty,
                bit_offset,
                bitfield_size: 0,
            })
            .collect::<Vec<_>>()
    };
    // A `char` has no type in BTF, and fields come in the source's order.
    let fields = members(["__0", "a::b", "c"], [int, int, TypeId::VOID]);
    let pair = btf.add(
        "Option<&(u32, char)>",
        Kind::Struct(Composite {
            size: 12,
            members: fields,
        }),
    );
    btf.add(
        "()",
        Kind::Int(Int {
            size: 0,
            encoding: 0,
            bit_offset: 0,
            bits: 0,
        }),
    );
    let state = btf.add(
        "core::STATE",
        Kind::Var(Var {
            ty: pair,
            linkage: Linkage::Global,
        }),
    );
    for (name, size) in [(".data.rel.ro", 12), (".bss", 0)] {
        btf.add(
            name,
            Kind::Datasec(Datasec {
                size,
                vars: vec![VarSecinfo {
                    ty: state,
                    offset: 0,
                    size: 4,
                }],
            }),
        );
    }
    Btf::load(&btf.encode()).unwrap_err();
    let yes = Known::Yes;
    let all = BtfKinds {
        func: yes,
        func_global: yes,
        datasec: yes,
        float: yes,
        decl_tag: yes,
        type_tag: yes,
        enum64: yes,
        attributes: yes,
        section_names: yes,
    };
    let (fit, done) = simplify(&btf, &all);
    Btf::load(&fit.encode()).unwrap();
    assert!(
        done.iter()
            .any(|what| what.contains("`Option<&(u32, char)>` is `")),
        "{done:?}"
    );
}

#[test]
fn an_object_loads_and_reports_its_steps() {
    need_root();
    let mut spec = Spec::parse(&build::sample()).unwrap();
    spec.name = "sample".into();
    spec.set_global("VERDICT", &1u32.to_le_bytes()).unwrap();
    let mut steps = Vec::new();
    let loaded = load(&spec, LoadOptions::default(), &mut |step: &Step<'_>| {
        let text = format!("{step:?}");
        steps.push(text.split([' ', '{']).next().unwrap().to_string());
    })
    .unwrap();
    assert_eq!(
        steps,
        [
            "ObjectRead",
            "BtfPlanned",
            "MapPlanned",
            "MapPlanned",
            "ProgramPlanned",
            "BtfLoaded",
            "MapCreated",
            "MapCreated",
            "MapFilled",
            "MapFrozen",
            "Relocated",
            "Relocated",
            "ProgramLoaded",
        ]
    );
    assert_eq!(
        run(loaded.program("main").unwrap()),
        1,
        "the constant that was set"
    );
    let hits = loaded.map("hits").unwrap();
    assert_eq!(
        hits.lookup(&1u32.to_ne_bytes()).unwrap().unwrap(),
        77u32.to_ne_bytes()
    );
    let info = &loaded.programs[0].info;
    assert_eq!(info.map_ids.len(), 2);
    assert_ne!(info.btf_id, 0);
    assert_eq!(
        loaded.map(".rodata").unwrap().info().unwrap().name,
        "sample.rodata"
    );
    assert_ne!(
        hits.info().unwrap().btf_value_type_id,
        0,
        "bpftool prints it typed"
    );
}

#[test]
fn an_object_without_types_loads_too() {
    need_root();
    let mut builder = Builder::new();
    builder.function("xdp", "pass", &[mov(0, 2), exit()]);
    let loaded = load(
        &Spec::parse(&builder.finish_untyped()).unwrap(),
        LoadOptions::default(),
        &mut (),
    )
    .unwrap();
    assert_eq!(run(loaded.program("pass").unwrap()), 2);
}

#[test]
fn an_existing_map_is_used_when_it_fits() {
    need_root();
    let spec = Spec::parse(&build::sample()).unwrap();
    let first = load(&spec, LoadOptions::default(), &mut ()).unwrap();
    let hits = first.map("hits").unwrap();
    let mut options = LoadOptions::default();
    options
        .reuse
        .insert("hits".into(), hits.try_clone().unwrap());
    let second = load(&spec, options, &mut ()).unwrap();
    assert_eq!(
        second.map("hits").unwrap().info().unwrap().id,
        hits.info().unwrap().id
    );

    let mut larger = Spec::parse(&build::sample()).unwrap();
    larger.map_mut("hits").unwrap().max_entries = 8;
    let mut options = LoadOptions::default();
    options
        .reuse
        .insert("hits".into(), hits.try_clone().unwrap());
    let error = load(&larger, options, &mut ()).unwrap_err();
    assert!(matches!(
        error,
        LoadError::Incompatible {
            field: "max_entries",
            ..
        }
    ));
}

#[test]
fn a_failed_load_leaves_no_pins() {
    need_root();
    let directory = PinDirectory::new("failed");
    let mut builder = Builder::new();
    let (kind, entries, by_name) = (builder.number(2), builder.number(1), builder.number(1));
    let (key, value) = (builder.number(4), builder.number(4));
    builder.map_of(
        "kept",
        &[
            ("type", kind),
            ("max_entries", entries),
            ("key_size", key),
            ("value_size", value),
            ("pinning", by_name),
        ],
    );
    let mut good = builder;
    good.function(
        "xdp",
        "careless",
        &[load32(1, 1, 0), load8(0, 1, 23), exit()],
    );
    let spec = Spec::parse(&good.finish()).unwrap();
    let options = LoadOptions {
        pins: Some(directory.0.clone()),
        ..LoadOptions::default()
    };
    load(&spec, options, &mut ()).unwrap_err();
    assert_eq!(
        std::fs::read_dir(directory.0.directory()).unwrap().count(),
        0
    );
}

#[test]
fn each_part_can_be_loaded_for_itself() {
    need_root();
    let mut builder = Builder::new();
    builder
        .map("hits", 2, 4)
        .function("xdp", "good", &[mov(0, 2), exit()])
        .function(
            "xdp.frags",
            "careless",
            &[load32(1, 1, 0), load8(0, 1, 23), exit()],
        );
    let spec = Spec::parse(&builder.finish()).unwrap();
    load(&spec, LoadOptions::default(), &mut ()).unwrap_err();
    let plan = prepare_each(&spec, &mut ());
    let report = load_each(&plan, LoadOptions::default(), &mut ()).unwrap();
    assert!(!report.is_whole());
    assert!(report.maps.iter().all(Result::is_ok) && report.slots.is_empty());
    let [good, careless] = &report.programs[..] else {
        panic!("two programs: {report:?}")
    };
    assert_eq!(run(&good.as_ref().unwrap().program), 2);
    assert!(careless.as_ref().unwrap_err().log().is_some());
}

#[test]
fn records_that_the_kernel_refuses_are_left_out() {
    need_root();
    let mut builder = Builder::new();
    builder.function("xdp", "pass", &[mov(0, 2), exit()]);
    let spec = Spec::parse(&builder.finish()).unwrap();
    let odd = |change: fn(&mut ProgramPlan)| {
        let mut plan = prepare(&spec, &mut ()).unwrap();
        change(&mut plan.programs[0]);
        let mut left_out = Vec::new();
        let mut observer = |step: &Step<'_>| {
            if let Step::RecordsLeftOut {
                records, reason, ..
            } = step
            {
                left_out.push(format!("{records}: {reason}"));
            }
        };
        let loaded = load_plan(&plan, LoadOptions::default(), &mut observer).unwrap();
        assert_eq!(run(loaded.program("pass").unwrap()), 2);
        left_out
    };
    // A line past the program's end, and a function that is none.
    let lines = odd(|program| program.line_info.as_mut().unwrap()[0].insn_off = 9);
    assert!(
        lines.len() == 1 && lines[0].starts_with("line_info: "),
        "{lines:?}"
    );
    let functions = odd(|program| program.func_info.as_mut().unwrap()[0].type_id.0 = 1);
    assert!(
        functions.len() == 1 && functions[0].starts_with("func_info and line_info: "),
        "{functions:?}"
    );
    assert!(odd(|_| {}).is_empty());
}
