//! `--set NAME=VALUE`: what each type takes, and what is said where it does not fit.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use xdplb_linker::btf::{Enum, EnumValue, Kind, Signedness};

use super::build::{Builder, exit, mov};
use super::*;

/// An object with a variable of each kind.
fn object() -> Spec {
    let mut b = Builder::new();
    let (u32, i8) = (b.integer("u32", 4, 0), b.integer("i8", 1, 1));
    let (u64, bool) = (b.integer("u64", 8, 0), b.integer("bool", 1, 4));
    let (char, u8) = (b.integer("char", 1, 3), b.integer("u8", 1, 0));
    let (name, mac) = (b.array(char, 8), b.array(u8, 6));
    let ports = b.array(u32, 3);
    let config = b.composite("config", &[("limit", u32), ("ports", ports), ("on", bool)]);
    let wrapped = b.composite("Seconds", &[("__0", u64)]);
    let values = ["DROP", "PASS"]
        .iter()
        .zip([1, 2])
        .map(|(name, value)| EnumValue {
            name: b.btf.strings.intern(name),
            value,
        });
    let verdicts = Enum {
        size: 4,
        signedness: Signedness::Unsigned,
        values: values.collect(),
    };
    let verdict = b.btf.add("verdict", Kind::Enum(verdicts));
    let pointer = b.btf.add("", Kind::Ptr(u32));
    for (name, ty, size) in [
        ("LIMIT", u32, 4),
        ("SMALL", i8, 1),
        ("BIG", u64, 8),
        ("ON", bool, 1),
        ("LETTER", char, 1),
        ("NAME", name, 8),
        ("MAC", mac, 6),
        ("PORTS", ports, 12),
        ("CONFIG", config, 17),
        ("TIMEOUT", wrapped, 8),
        ("VERDICT", verdict, 4),
        ("POINTER", pointer, 8),
    ] {
        b.variable_of(".rodata", name, ty, &vec![0; size]);
    }
    b.function("xdp", "main", &[mov(0, 2), exit()]);
    Spec::parse(&b.finish()).unwrap()
}

fn check(name: &str, text: &str, expect: &[u8]) {
    let mut spec = object();
    spec.set_value(name, text).unwrap();
    let root = name.split(['.', '[']).next().unwrap();
    assert_eq!(spec.global(root).unwrap(), expect, "{name}={text}");
}

fn refused(name: &str, text: &str, expect: &str) {
    let mut spec = object();
    let before = spec.maps().to_vec();
    assert_eq!(spec.set_value(name, text).unwrap_err().to_string(), expect);
    assert_eq!(spec.maps(), before, "nothing was set");
}

#[test]
fn a_value_gets_the_type_of_its_variable() {
    check("LIMIT", "9", &[9, 0, 0, 0]);
    check("LIMIT", "0xffff_ffff", &[255; 4]);
    check("LIMIT", "0b101", &[5, 0, 0, 0]);
    check("SMALL", "-2", &[0xfe]);
    check("BIG", "18446744073709551615", &[255; 8]);
    check("ON", "true", &[1]);
    check("LETTER", "'x'", b"x");
    check("LETTER", "200", &[200]);
    check("NAME", "eth0", b"eth0\0\0\0\0");
    check("NAME", "\"1,2\"", b"1,2\0\0\0\0\0");
    check(
        "MAC",
        "hex:de:ad:be:ef:00:01",
        &[0xde, 0xad, 0xbe, 0xef, 0, 1],
    );
    check("MAC", "1,2,3,4,5,6", &[1, 2, 3, 4, 5, 6]);
    check(
        "PORTS",
        "[80, 443, 1]",
        &[80, 0, 0, 0, 187, 1, 0, 0, 1, 0, 0, 0],
    );
    check("PORTS[1]", "7", &[0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    check("TIMEOUT", "30", &[30, 0, 0, 0, 0, 0, 0, 0]);
    check("VERDICT", "PASS", &[2, 0, 0, 0]);
    check("VERDICT", "3", &[3, 0, 0, 0]);
    let mut expect = [0; 17];
    expect[12] = 5;
    check("CONFIG.ports[2]", "5", &expect);
    expect = [0; 17];
    expect[16] = 1;
    check("CONFIG.on", "1", &expect);
}

#[test]
fn what_does_not_fit_is_refused_with_what_does() {
    refused("LIMIT", "abc", "`LIMIT` is a u32: `abc` is no number");
    refused(
        "LIMIT",
        "-1",
        "`LIMIT` is a u32: -1 does not fit, 0 to 4294967295 do",
    );
    refused(
        "LIMIT",
        "4294967296",
        "`LIMIT` is a u32: 4294967296 does not fit, 0 to 4294967295 do",
    );
    refused(
        "SMALL",
        "128",
        "`SMALL` is an i8: 128 does not fit, -128 to 127 do",
    );
    refused("ON", "2", "`ON` is a bool: `2` is neither true nor false");
    refused(
        "NAME",
        "longname",
        "`NAME` is a char[8]: `longname` takes 9 bytes with the zero that ends it",
    );
    refused(
        "MAC",
        "hex:0",
        "`MAC` takes pairs of hex digits, not `hex:0`",
    );
    refused("MAC", "hex:00", "`MAC` is a u8[6] of 6 bytes: 1 were given");
    refused("PORTS", "1,2", "`PORTS` is a u32[3]: 2 elements were given");
    refused("PORTS[3]", "1", "`PORTS` is a u32[3]: it has no element 3");
    refused("PORTS[x]", "1", "`PORTS[x]`: `x` is no index");
    refused("LIMIT[0]", "1", "`LIMIT` is a u32, which has no elements");
    refused("LIMIT.x", "1", "`LIMIT` is a u32, which has no members");
    refused(
        "CONFIG",
        "1",
        "`CONFIG` is a struct config: set its members, limit, ports, on",
    );
    refused(
        "CONFIG.lim",
        "1",
        "`CONFIG` is a struct config: it has no member `lim`, but limit, ports, on",
    );
    refused(
        "VERDICT",
        "PAS",
        "`VERDICT` is an enum verdict: `PAS` is none of its values, DROP, PASS",
    );
    refused(
        "POINTER",
        "1",
        "`POINTER` is a pointer, which cannot be set",
    );
    refused(
        "LIMITS",
        "1",
        "there is no variable `LIMITS`: the object has LIMIT, SMALL, BIG, ON, LETTER, NAME, MAC, PORTS, CONFIG, TIMEOUT, VERDICT, POINTER",
    );
}

#[test]
fn without_types_the_size_decides() {
    let object = || {
        let mut b = Builder::new();
        b.variable(".data", "LIMIT", &[0; 4])
            .variable(".data", "MAC", &[0; 6]);
        b.function("xdp", "main", &[mov(0, 2), exit()]);
        Spec::parse(&b.finish_untyped()).unwrap()
    };
    let set = |name: &str, text: &str| {
        let mut spec = object();
        spec.set_value(name, text)
            .map(|()| spec.global(name).unwrap())
    };
    assert_eq!(set("LIMIT", "-1").unwrap(), [255; 4]);
    assert_eq!(set("MAC", "hex:010203040506").unwrap(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(
        set("LIMIT", "x").unwrap_err().to_string(),
        "`LIMIT` is a variable of 4 bytes without a type: `x` is no number"
    );
    assert_eq!(
        set("MAC", "1").unwrap_err().to_string(),
        "`MAC` is a variable of 6 bytes without a type: only `hex:…` can set it"
    );
    assert_eq!(
        object().set_value("LIMIT.x", "1").unwrap_err().to_string(),
        "`LIMIT.x` names a part of `LIMIT`, and the object has no types that say where it is"
    );
}
