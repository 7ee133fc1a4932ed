//! Maps of sections `maps` and `maps/NAME`, as each author writes them, and functions as old compilers leave them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::build::{Builder, exit, mov};
use super::errors_tests::error;
use super::*;
use crate::uapi::{MapType, map_flags};

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PROG_ARRAY: u32 = 3;
const ARRAY_OF_MAPS: u32 = 12;

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// An object with these definitions in section `maps`.
fn object(maps: &[(&str, &[u32])]) -> Spec {
    Spec::parse(&built(maps)).unwrap()
}

fn built(maps: &[(&str, &[u32])]) -> Vec<u8> {
    let mut b = Builder::new();
    for (name, words) in maps {
        b.raw("maps", name, &bytes(words), false);
    }
    b.function("xdp", "main", &[mov(0, 2), exit()]);
    b.finish_untyped()
}

fn shape(map: &MapSpec) -> (MapType, u32, u32, u32, u32) {
    (
        map.map_type,
        map.key_size,
        map.value_size,
        map.max_entries,
        map.map_flags,
    )
}

#[test]
fn the_first_words_mean_the_same_everywhere() {
    let spec = object(&[("a", &[HASH, 4, 8, 16]), ("b", &[ARRAY, 4, 4, 1])]);
    assert_eq!(shape(spec.map("a").unwrap()), (MapType::HASH, 4, 8, 16, 0));
    assert_eq!(shape(spec.map("b").unwrap()), (MapType::ARRAY, 4, 4, 1, 0));
    let spec = object(&[("a", &[HASH, 4, 8, 16, 1]), ("b", &[HASH, 4, 8, 32, 0])]);
    assert_eq!(spec.map("a").unwrap().map_flags, map_flags::NO_PREALLOC);
    assert_eq!(spec.map("b").unwrap().max_entries, 32);
}

#[test]
fn six_and_seven_words_are_read_by_what_they_can_mean() {
    // samples/bpf: inner_map_idx, numa_node.
    let spec = object(&[
        ("inner", &[ARRAY, 4, 8, 2, 0, 0, 0]),
        ("outer", &[ARRAY_OF_MAPS, 4, 4, 3, 0, 0, 0]),
        ("near", &[HASH, 4, 4, 1, map_flags::NUMA_NODE, 0, 1]),
    ]);
    let outer = spec.map("outer").unwrap();
    assert_eq!(
        shape(outer.inner.as_ref().unwrap()),
        (MapType::ARRAY, 4, 8, 2, 0)
    );
    assert!(outer.values.is_empty(), "samples fill them from user space");
    let near = spec.map("near").unwrap();
    assert_eq!((near.numa_node, near.pinning), (1, Pinning::None));
    // aya and cilium: id, pinning.
    let spec = object(&[("kept", &[HASH, 4, 4, 1, 0, 9, 2])]);
    assert_eq!(spec.map("kept").unwrap().pinning, Pinning::ByName);
}

#[test]
fn iproute2s_ids_join_maps_and_tail_calls() {
    let mut b = Builder::new();
    for (name, words) in [
        ("inner", [ARRAY, 4, 8, 2, 0, 42, 0, 0, 1]),
        ("loose", [ARRAY, 4, 8, 2, 0, 42, 0, 0, u32::MAX]),
        ("outer", [ARRAY_OF_MAPS, 4, 4, 3, 0, 7, 2, 42, u32::MAX]),
        ("jumps", [PROG_ARRAY, 4, 4, 4, 0, 2, 0, 0, 0]),
    ] {
        b.raw("maps", name, &bytes(&words), false);
    }
    b.function("classifier", "main", &[mov(0, 0), exit()])
        .function("2/3", "tail", &[mov(0, 0), exit()])
        .function("2/4", "too_far", &[mov(0, 0), exit()])
        .function("0x2/1", "hex", &[mov(0, 0), exit()]);
    let spec = Spec::parse(&b.finish_untyped()).unwrap();
    let outer = spec.map("outer").unwrap();
    assert_eq!(outer.pinning, Pinning::ByName);
    assert_eq!(outer.inner.as_ref().unwrap().name, "inner");
    assert_eq!(outer.values, [(1, SlotValue::Map("inner".into()))]);
    let jumps = spec.map("jumps").unwrap();
    assert_eq!(
        jumps.values,
        [
            (3, SlotValue::Program("tail".into())),
            (1, SlotValue::Program("hex".into()))
        ]
    );
    let kind = |name: &str| spec.program(name).unwrap().kind.clone();
    assert_eq!(kind("tail"), kind("main"), "of the object's type");
    assert_eq!(kind("too_far"), SectionKind::Unknown);
}

#[test]
fn a_section_of_its_own_names_its_map() {
    let mut b = Builder::new();
    let mut gobpf = bytes(&[HASH, 4, 8, 16, 0, 2]);
    gobpf.extend([b'n'; 256]);
    b.raw("maps/events", "", &bytes(&[ARRAY, 4, 4, 1, 0]), false)
        .raw("maps/flows", "flows_def", &gobpf, false)
        .function("xdp", "main", &[mov(0, 2), exit()]);
    let spec = Spec::parse(&b.finish_untyped()).unwrap();
    assert_eq!(
        shape(spec.map("events").unwrap()),
        (MapType::ARRAY, 4, 4, 1, 0)
    );
    let flows = spec.map("flows").unwrap();
    assert_eq!(shape(flows), (MapType::HASH, 4, 8, 16, 0));
    assert_eq!(flows.pinning, Pinning::ByName);
}

#[test]
fn types_of_key_and_value_come_from_the_annotation() {
    let mut b = Builder::new();
    let (key, value) = (b.integer("u32", 4, 0), b.integer("u64", 8, 0));
    b.composite("____btf_map_good", &[("key", key), ("value", value)]);
    b.composite("____btf_map_wrong", &[("key", value), ("value", value)]);
    b.raw("maps", "good", &bytes(&[HASH, 4, 8, 1]), false)
        .raw("maps", "wrong", &bytes(&[HASH, 4, 8, 1]), false)
        .function("xdp", "main", &[mov(0, 2), exit()]);
    let spec = Spec::parse(&b.finish()).unwrap();
    let good = spec.map("good").unwrap();
    assert_eq!((good.key_type, good.value_type), (key, value));
    assert_eq!(spec.map("wrong").unwrap().key_type.0, 0, "sizes disagree");
}

#[test]
fn broken_definitions_are_told() {
    assert_eq!(
        error(&built(&[("m", &[HASH, 4, 8])])),
        "maps+0x0: map `m`: its definition takes 12 bytes, type, sizes and entries take 16"
    );
    assert_eq!(
        error(&built(&[("a", &[HASH, 4, 8, 1]), ("b", &[0, 4, 8, 1])])),
        "maps+0x10: map `b`: its type is 0"
    );
    assert_eq!(
        error(&built(&[("", &[HASH, 4, 8, 1])])),
        "maps: no symbol says where a map is in this section"
    );
}

#[test]
fn functions_without_a_type_are_functions() {
    let code: Vec<u8> = [mov(0, 2), exit()]
        .iter()
        .flat_map(|i| i.encode())
        .collect();
    let mut b = Builder::new();
    b.raw("xdp", "first", &code, true)
        .raw("xdp", "second", &code, true)
        .raw("socket1", "", &code, true);
    let spec = Spec::parse(&b.finish_untyped()).unwrap();
    let programs: Vec<_> = spec
        .programs
        .iter()
        .map(|p| (p.name.as_str(), p.section.as_str()))
        .collect();
    assert_eq!(
        programs,
        [("first", "xdp"), ("second", "xdp"), ("socket1", "socket1")],
        "a section without a symbol is one program"
    );
    let plan = spec.plan(&Target::default());
    assert!(plan.failed.is_empty());
    assert!(plan.programs.iter().all(|p| p.unpatched().len() == 2));
}

#[test]
fn a_program_is_found_where_nothing_says_so() {
    let mut b = Builder::new();
    b.function(".text", "only", &[mov(0, 2), exit()]);
    let mut spec = Spec::parse(&b.finish()).unwrap();
    assert_eq!(spec.program("only").unwrap().kind, SectionKind::Unknown);
    spec.set_kind(Some("only"), ProgramKind::XDP).unwrap();
    assert_eq!(spec.plan(&Target::default()).programs.len(), 1);
    assert_eq!(
        spec.set_kind(Some("onyl"), ProgramKind::XDP)
            .unwrap_err()
            .to_string(),
        "there is no program `onyl`: the object has only"
    );

    let mut b = Builder::new();
    b.function("xdp", "_static", &[mov(0, 2), exit()]);
    assert_eq!(Spec::parse(&b.finish()).unwrap().programs.len(), 1);
}

#[test]
fn one_bad_program_does_not_spoil_the_others() {
    let mut b = Builder::new();
    b.function("xdp", "good", &[mov(0, 2), exit()])
        .function("prog", "odd", &[mov(0, 2), exit()])
        .function("freplace/x", "other", &[mov(0, 2), exit()])
        .raw("tc", "cut", &[0; 7], true);
    let mut spec = Spec::parse(&b.finish()).unwrap();
    let failures = |spec: &Spec| -> Vec<String> {
        let plan = spec.plan(&Target::default());
        plan.failed
            .iter()
            .map(|(_, error)| error.to_string())
            .collect()
    };
    assert_eq!(
        failures(&spec),
        [
            "prog: the section's name does not say what type of program `odd` is\n  try:  --type odd=xdp",
            "freplace/x: `other` is a freplace program: it replaces a function of a program that must be loaded already",
            "tc+0x0: instruction needs 8 bytes, 7 are left",
        ]
    );
    assert_eq!(spec.plan(&Target::default()).programs.len(), 1);
    spec.set_kind(None, ProgramKind::XDP).unwrap();
    assert_eq!(
        failures(&spec).len(),
        2,
        "only what says nothing takes the type"
    );
}

#[test]
fn license_and_version_are_taken_as_they_come() {
    let mut b = Builder::new();
    b.raw("license", "", b"GPL", false)
        .raw("version", "", &[5, 0, 6, 0, 9], false)
        .function("xdp", "main", &[mov(0, 2), exit()]);
    let spec = Spec::parse(&b.finish()).unwrap();
    assert_eq!(
        (spec.license.as_str(), spec.kernel_version),
        ("GPL", 0x0006_0005)
    );
    let mut b = Builder::new();
    b.raw("version", "", &[5], false)
        .function("xdp", "main", &[mov(0, 2), exit()]);
    assert_eq!(Spec::parse(&b.finish()).unwrap().kernel_version, 0);
}
