//! What small objects link to, shown as text in `tests/expected/`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;

use support::dump;
use support::{Source, address, call, check, check_with, exit, link_all, link_with, mov, rich};
use xdplb_linker::elf::RelocationKind::{Abs64, Call, Imm64};
use xdplb_linker::elf::write::{ImageSymbol, write};
use xdplb_linker::link::{Exports, Input, Options, link};

/// A program that calls `callee`, which this object does not define.
fn caller(callee: &str) -> Source {
    let mut source = Source::new();
    let xdp = source.code("xdp", &[call(-1), exit()]);
    source.func("prog", xdp, 0, 16);
    let callee = source.undefined(callee);
    source.relocate(xdp, 0, Call, callee);
    source
}

/// An object whose `.text` has one function that returns `value`.
fn library(function: &str, value: i32) -> Source {
    let mut source = Source::new();
    let text = source.code(".text", &[mov(0, value), exit()]);
    source.func(function, text, 0, 16);
    source
}

#[test]
fn one_of_everything() {
    check("one_of_everything", &[&rich()]);
}

#[test]
fn only_exported_variables_stay_unread() {
    // rustc exports what is #[no_mangle]; here STATE and the program, but not COUNT.
    let names = BTreeSet::from(["STATE".to_owned(), "prog".to_owned()]);
    check_with("exports", &[&rich()], Exports::Named(names));
}

#[test]
fn a_function_exported_by_name_stays_global() {
    let exported = Exports::Named(BTreeSet::from(["pick".to_owned()]));
    check_with(
        "verified_alone",
        &[&caller("pick"), &library("pick", 7)],
        exported,
    );
}

#[test]
fn a_call_reaches_another_object() {
    check("two_objects", &[&caller("pick"), &library("pick", 7)]);
}

#[test]
fn a_strong_definition_beats_a_weak_one_in_any_order() {
    let mut weak = Source::new();
    let text = weak.code(".text", &[mov(0, 1), exit()]);
    let symbol = weak.func("pick", text, 0, 16);
    weak.weak(symbol);
    let strong = library("pick", 7);
    let caller = caller("pick");
    let one = link_all(&[&caller, &weak, &strong]).unwrap();
    let two = link_all(&[&caller, &strong, &weak]).unwrap();
    assert_eq!(one, two);
    assert!(dump::object(&one).contains("r0 = 7"));
    assert!(!dump::object(&one).contains("r0 = 1"));
}

#[test]
fn calls_without_relocations_follow_their_functions() {
    // clang settles calls inside one section itself. `dead` lies between caller and callee and goes away.
    let mut source = Source::new();
    let text = source.code(
        ".text",
        &[
            call(3), // entry: calls `callee`, three instructions after the next one
            exit(),
            mov(0, 1), // dead
            exit(),
            mov(0, 2), // callee
            exit(),
        ],
    );
    let entry = source.func("entry", text, 0, 16);
    for (name, value) in [("dead", 16), ("callee", 32)] {
        let symbol = source.func(name, text, value, 16);
        source.local(symbol);
    }
    let xdp = source.code("xdp", &[call(-1), exit()]);
    source.func("prog", xdp, 0, 16);
    source.relocate(xdp, 0, Call, entry);
    check("settled_calls", &[&source]);
}

#[test]
fn the_address_of_a_function_is_taken_by_section() {
    // bpf_loop(n, callback, …): libbpf knows the address of a local function only by its section.
    let mut source = Source::new();
    let text = source.code(".text.first", &[mov(0, 1), exit()]);
    let first = source.func("first", text, 0, 16);
    let text = source.code(".text.callback", &[mov(0, 0), exit()]);
    let callback = source.func("callback", text, 0, 16);
    source.local(callback);
    let [lo, hi] = address(2, 0);
    let xdp = source.code("xdp", &[call(-1), lo, hi, exit()]);
    source.func("prog", xdp, 0, 32);
    source.relocate(xdp, 0, Call, first);
    source.relocate(xdp, 8, Imm64, callback);
    check("callback", &[&source]);
}

#[test]
fn maps_may_refer_to_maps_and_programs() {
    let mut source = Source::new();
    let maps = source.data(".maps", &[0; 32], 8);
    let inner = source.object("inner", maps, 0, 16);
    source.object("outer", maps, 16, 16);
    source.relocate(maps, 24, Abs64, inner);
    let xdp = source.code("xdp", &[exit()]);
    source.func("prog", xdp, 0, 8);
    check("maps", &[&source]);
}

#[test]
fn a_license_is_said_once() {
    let licensed = |name: &str| {
        let mut source = Source::new();
        let xdp = source.code("xdp", &[exit()]);
        source.func(name, xdp, 0, 8);
        let license = source.constants("license", b"GPL\0", 1);
        source.object("LICENSE", license, 0, 4);
        source
    };
    check("license", &[&licensed("one"), &licensed("two")]);
}

/// An `ar` archive as GNU ar writes it.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let name = format!("{name}/");
        out.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                644,
                bytes.len()
            )
            .bytes(),
        );
        out.extend(*bytes);
        if bytes.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

#[test]
fn an_archive_gives_only_what_is_missing() {
    let caller = caller("pick").bytes();
    let pick = library("pick", 7).bytes();
    let other = library("other", 8).bytes();
    let rlib = archive(&[
        ("lib.rmeta", b"rust's own"),
        ("other.o", &other),
        ("pick.o", &pick),
    ]);
    let inputs = [
        Input {
            name: "main.o",
            bytes: &caller,
        },
        Input {
            name: "libx.rlib",
            bytes: &rlib,
        },
    ];
    let linked = link(&inputs, &Options::default()).unwrap();
    let direct = link_all(&[&self::caller("pick"), &library("pick", 7)]).unwrap();
    assert_eq!(linked.bytes, direct);
}

#[test]
fn linking_the_output_again_changes_nothing() {
    let once = link_all(&[&rich()]).unwrap();
    let again = link(
        &[Input {
            name: "once.o",
            bytes: &once,
        }],
        &Options::default(),
    )
    .unwrap();
    assert_eq!(again.bytes, once);
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let all = || {
        link_with(
            &[&rich(), &caller("helper2"), &library("helper2", 1)],
            Exports::All,
        )
    };
    // Both `rich` and `caller` have a program of that name.
    assert!(all().is_err());
    let two = || link_all(&[&caller("pick"), &library("pick", 7)]).unwrap();
    assert_eq!(two(), two());
}

#[test]
fn a_relocation_may_lead_into_a_variable() {
    let mut source = Source::new();
    let table = source.constants(".rodata", &[0; 64], 8);
    let symbol = source.object("TABLE", table, 16, 32);
    let [lo, hi] = address(1, 8);
    let xdp = source.code("xdp", &[lo, hi, exit()]);
    source.func("prog", xdp, 0, 24);
    source.relocate(xdp, 0, Imm64, symbol);
    let linked = dump::object(&link_all(&[&source]).unwrap());
    assert!(
        linked.contains("r1 = 0x8 ll src 0 @TABLE (Imm64)"),
        "{linked}"
    );
}

#[test]
fn many_sections_are_written_as_elf_wants_them() {
    // More than SHN_LORESERVE (65,280) sections need the extended numbering of ELF; a few hundred programs do not.
    let mut source = Source::new();
    for number in 0..300 {
        let name = format!("xdp/{number}");
        let xdp = source.code(&name, &[mov(0, number), exit()]);
        source.func(&format!("prog{number}"), xdp, 0, 16);
    }
    let bytes = link_all(&[&source]).unwrap();
    dump::agrees_with_goblin(&bytes);
}

#[test]
fn the_writer_keeps_section_symbols_before_other_local_ones() {
    let mut image = xdplb_linker::elf::write::Image::default();
    image.symbols.push(ImageSymbol {
        name: "late".into(),
        section: None,
        value: 0,
        size: 0,
        kind: xdplb_linker::elf::SymbolKind::Untyped,
        binding: xdplb_linker::elf::Binding::Global,
        visibility: xdplb_linker::elf::Visibility::Hidden,
    });
    let bytes = write(&image).unwrap();
    dump::agrees_with_goblin(&bytes);
    assert!(dump::object(&bytes).contains("global late undefined"));
}
