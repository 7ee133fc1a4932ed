//! The loader against the running kernel: maps, programs, errors, whole objects. Needs root; what is made lives as long as
//! its descriptors.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use support::build::{self, Builder, exit, load8, load32, mov};
use support::need_root;
use xdplb_linker::insn::{Insn, encode_all};
use xdplb_loader::kernel::{
    self, BpfFs, Btf, Feature, KernelError, Map, MapDefinition, MapShape, Program,
    ProgramDefinition, TestRun, Update,
};
use xdplb_loader::load::{LoadError, LoadOptions, Step, load};
use xdplb_loader::object::{BtfKinds, Known, Spec, simplify};
use xdplb_loader::uapi::{AttachType, MapType, ProgramType, map_flags};

const PACKET: [u8; 64] = [0; 64];

fn map(
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
        numa_node: 0,
        types: None,
        inner: None,
    })
}

fn program(name: &str, license: &str, insns: &[Insn]) -> Result<Program, KernelError> {
    Program::load(&ProgramDefinition {
        name,
        program_type: ProgramType::XDP,
        expected_attach_type: AttachType::XDP,
        flags: 0,
        license,
        kernel_version: 0,
        instructions: &encode_all(insns),
        btf: None,
        func_info: None,
        line_info: None,
    })
}

fn run(program: &Program) -> u32 {
    program
        .test_run(&TestRun {
            data: &PACKET,
            context: None,
            repeat: 1,
        })
        .unwrap()
        .return_value
}

#[test]
fn a_hash_is_written_read_walked_and_emptied() {
    need_root();
    let map = map("hash", MapType::HASH, 3, 0).unwrap();
    let key = |n: u32| n.to_ne_bytes();
    assert_eq!(map.lookup(&key(1)).unwrap(), None);
    for n in 1..=3 {
        map.update(&key(n), &u64::from(n).to_ne_bytes(), Update::Create)
            .unwrap();
    }
    assert_eq!(map.lookup(&key(2)).unwrap().unwrap(), 2u64.to_ne_bytes());
    let mut keys = map.keys().unwrap();
    keys.sort();
    assert_eq!(keys, [key(1).to_vec(), key(2).to_vec(), key(3).to_vec()]);

    assert_eq!(
        map.update(&key(1), &[0; 8], Update::Create)
            .unwrap_err()
            .to_string(),
        "write to map `hash`: file exists (EEXIST)"
    );
    assert_eq!(
        map.update(&key(4), &[0; 8], Update::Any)
            .unwrap_err()
            .to_string(),
        "write to map `hash`: it is full or the key is past its 3 entries (E2BIG)"
    );
    assert_eq!(
        map.update(&key(1), &[0; 4], Update::Any)
            .unwrap_err()
            .to_string(),
        "write to map `hash`: the value has 4 bytes, the map's have 8"
    );
    assert_eq!(
        map.lookup(&[0; 3]).unwrap_err().to_string(),
        "look up in map `hash`: the key has 3 bytes, the map's have 4"
    );
    assert!(map.delete(&key(1)).unwrap());
    assert!(!map.delete(&key(1)).unwrap());
}

#[test]
fn many_pairs_go_in_at_once() {
    need_root();
    let map = map("many", MapType::ARRAY, 1000, 0).unwrap();
    let pairs: Vec<_> = (0..1000u32)
        .map(|n| {
            (
                n.to_ne_bytes().to_vec(),
                u64::from(n).to_ne_bytes().to_vec(),
            )
        })
        .collect();
    map.update_all(&pairs).unwrap();
    assert_eq!(
        map.lookup(&999u32.to_ne_bytes()).unwrap().unwrap(),
        999u64.to_ne_bytes()
    );
}

#[test]
fn a_per_cpu_array_has_a_value_for_each_possible_cpu() {
    need_root();
    let map = map("percpu", MapType::PERCPU_ARRAY, 2, 0).unwrap();
    let key = 1u32.to_ne_bytes();
    map.update(&key, &7u64.to_ne_bytes(), Update::Any).unwrap();
    let values = map.lookup_per_cpu(&key).unwrap().unwrap();
    assert_eq!(values.len(), kernel::possible_cpus().unwrap());
    assert!(values.iter().all(|value| *value == 7u64.to_ne_bytes()));
}

#[test]
fn a_frozen_map_takes_no_writes() {
    need_root();
    let map = map("frozen", MapType::ARRAY, 1, map_flags::RDONLY_PROG).unwrap();
    map.update(&[0; 4], &[1; 8], Update::Any).unwrap();
    map.freeze().unwrap();
    assert_eq!(
        map.update(&[0; 4], &[2; 8], Update::Any)
            .unwrap_err()
            .to_string(),
        "write to map `frozen`: operation not permitted (EPERM)"
    );
    assert_eq!(map.lookup(&[0; 4]).unwrap().unwrap(), [1; 8]);
}

#[test]
fn maps_that_cannot_be_say_why() {
    need_root();
    assert_eq!(
        map("empty", MapType::HASH, 0, 0).unwrap_err().to_string(),
        "create map `empty`: it has no entries (max_entries is 0) (EINVAL)\n  type hash, key 4 bytes, value 8 bytes, 0 entries, flags 0x0"
    );
    assert_eq!(
        map("unknown", MapType(9999), 1, 0).unwrap_err().to_string(),
        "create map `unknown`: invalid argument (EINVAL)\n  type unknown (9999), key 4 bytes, value 8 bytes, 1 entries, flags 0x0"
    );
}

#[test]
fn ids_find_the_same_map_and_program() {
    need_root();
    let map = map("by_id", MapType::ARRAY, 1, 0).unwrap();
    let id = map.info().unwrap().id;
    assert!(kernel::map_ids().unwrap().contains(&id));
    let again = Map::from_id(id).unwrap();
    assert_eq!((again.name(), again.shape()), ("by_id", map.shape()));

    let pass = program("pass", "GPL", &[mov(0, 2), exit()]).unwrap();
    let info = pass.info().unwrap();
    assert!(kernel::program_ids().unwrap().contains(&info.id));
    assert_eq!(
        Program::from_id(info.id).unwrap().info().unwrap().tag,
        info.tag
    );
    assert_eq!(
        Map::from_id(u32::MAX).unwrap_err().to_string(),
        "open map 4294967295: no such file or directory (ENOENT)"
    );
}

#[test]
fn a_program_runs_on_bytes() {
    need_root();
    let pass = program("a name that is too long", "GPL", &[mov(0, 2), exit()]).unwrap();
    assert_eq!(run(&pass), 2);
    let info = pass.info().unwrap();
    assert_eq!(
        (info.name.as_str(), info.program_type),
        ("a_name_that_is_", ProgramType::XDP)
    );
    assert_eq!(info.xlated_len, 16);
    assert_eq!(pass.code().unwrap().xlated.len(), 16);
    let result = pass
        .test_run(&TestRun {
            data: &PACKET,
            context: None,
            repeat: 1000,
        })
        .unwrap();
    assert_eq!(result.data, PACKET);
    assert_eq!(
        pass.test_run(&TestRun {
            data: &[0; 3],
            context: None,
            repeat: 1
        })
        .unwrap_err()
        .to_string(),
        "test run of program `a name that is too long`: the packet is shorter than an Ethernet header (EINVAL)"
    );
}

#[test]
fn a_rejected_program_shows_instruction_and_reason() {
    need_root();
    // r1 = ctx->data; r0 = *(u8 *)(r1 + 23): no check against data_end
    let error = program(
        "careless",
        "GPL",
        &[load32(1, 1, 0), load8(0, 1, 23), exit()],
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("load program `careless`: rejected by the verifier (EACCES)\n  1: (71) r0 = *(u8 *)(r1 +23)"), "{text}");
    assert!(
        text.contains("\n  invalid access to packet, off=23 size=1"),
        "{text}"
    );
    assert!(text.ends_with("--verifier-log shows all)"), "{text}");
    let KernelError::Rejected(rejection) = error else {
        panic!("a rejection")
    };
    assert!(
        rejection.log.contains("processed "),
        "the whole log is there"
    );
    assert_eq!(rejection.summary.insn, Some(1));
}

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
            "load program `careless`: rejected by the verifier (EACCES)\n  test.rs:2\n  1: (71)"
        ),
        "{text}"
    );
    assert!(error.log().unwrap().contains("processed "));
}

#[test]
fn a_log_longer_than_the_first_buffer_is_whole() {
    need_root();
    // A long straight program that ends badly: r0 is set, a packet byte is read unchecked at the end.
    let mut insns = vec![load32(1, 1, 0)];
    insns.extend(std::iter::repeat_n(mov(0, 1), 4000));
    insns.extend([load8(0, 1, 0), exit()]);
    let KernelError::Rejected(rejection) = program("long", "GPL", &insns).unwrap_err() else {
        panic!("a rejection")
    };
    assert!(
        rejection.log.len() > 64 * 1024,
        "{} bytes",
        rejection.log.len()
    );
    assert!(rejection.log.contains("\n0: (61)") && rejection.log.contains("4001: (71)"));
}

#[test]
fn bad_btf_is_explained() {
    need_root();
    let mut bytes = xdplb_linker::btf::Btf::new();
    bytes.add(
        "a<b>",
        xdplb_linker::btf::Kind::Struct(xdplb_linker::btf::Composite {
            size: 4,
            members: vec![],
        }),
    );
    let text = Btf::load(&bytes.encode()).unwrap_err().to_string();
    assert!(
        text.starts_with("load BTF: rejected by the kernel (EINVAL)\n"),
        "{text}"
    );
    assert!(text.contains("Invalid name"), "{text}");
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
    };
    let (simple, replaced) = simplify(spec.btf().unwrap(), &none);
    assert_eq!(
        replaced,
        [
            "VAR",
            "FUNC_PROTO",
            "FUNC",
            "FLOAT",
            "TYPE_TAG",
            "ENUM64",
            "DATASEC"
        ]
    );
    Btf::load(&simple.encode()).unwrap();
    Btf::load(&spec.btf().unwrap().encode()).unwrap();
}

#[test]
fn this_kernel_has_the_features_it_should() {
    need_root();
    for feature in Feature::ALL {
        // The oldest kernel the tests run on is 5.10, which has these.
        let old = [
            Feature::Btf,
            Feature::BtfFunc,
            Feature::BtfFuncGlobal,
            Feature::BtfDatasec,
            Feature::MmapableArray,
        ];
        if old.contains(&feature) {
            assert!(kernel::supports(feature), "{feature:?}");
        }
    }
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

/// A BPF file system directory of this test, removed at its end.
struct PinDirectory(BpfFs);

impl PinDirectory {
    fn new(name: &str) -> Self {
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

#[test]
fn pins_keep_maps_and_programs() {
    need_root();
    let directory = PinDirectory::new("pins");
    let fs = &directory.0;
    let id = {
        let map = map("pinned", MapType::ARRAY, 1, 0).unwrap();
        fs.pin_map("a.map", &map).unwrap();
        fs.pin_program(
            "prog",
            &program("pass", "GPL", &[mov(0, 2), exit()]).unwrap(),
        )
        .unwrap();
        assert_eq!(
            fs.pin_map("a.map", &map).unwrap_err().to_string(),
            format!(
                "pin map `pinned` as {}: file exists (EEXIST)",
                fs.path("a.map").display()
            )
        );
        map.info().unwrap().id
    };
    assert_eq!(
        kernel::open_map(&fs.path("a.map"))
            .unwrap()
            .unwrap()
            .info()
            .unwrap()
            .id,
        id
    );
    assert_eq!(
        run(&kernel::open_program(&fs.path("prog")).unwrap().unwrap()),
        2
    );
    assert!(kernel::open_map(&fs.path("nothing")).unwrap().is_none());
    kernel::unpin(&fs.path("a.map")).unwrap();
    kernel::unpin(&fs.path("a.map")).unwrap();
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
fn a_gpl_helper_needs_a_gpl_program() {
    need_root();
    // bpf_trace_printk is for GPL programs only.
    let insns = [mov(1, 0), mov(2, 0), build::helper(6), mov(0, 2), exit()];
    let text = program("secret", "Proprietary", &insns)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("cannot call GPL-restricted function from non-GPL compatible program"),
        "{text}"
    );
}

#[test]
fn missing_capabilities_are_named() {
    need_root();
    // This test again, as nobody: the child is the ignored test below.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_nobody", "--ignored", "--nocapture"])
        .uid(65534)
        .gid(65534)
        .output()
        .expect("the test binary can be run by nobody");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "run by missing_capabilities_are_named, without privilege"]
fn as_nobody() {
    assert_eq!(
        program("pass", "GPL", &[mov(0, 2), exit()])
            .unwrap_err()
            .to_string(),
        "load program `pass`: missing CAP_BPF, CAP_NET_ADMIN (EPERM)\n  have: none of these   need: cap_bpf, cap_net_admin"
    );
}

#[test]
fn a_descriptor_can_be_borrowed() {
    need_root();
    let map = map("borrowed", MapType::ARRAY, 1, 0).unwrap();
    let copy = Map::from_fd(map.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(copy.shape(), map.shape());
}
