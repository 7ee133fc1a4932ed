//! The story of a load, held against what the kernel says: every command in order, the right descriptors, instructions before
//! and after. Needs root; a rehearsal needs none.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::build::{self};
use support::need_root;
use xdplb_loader::kernel::{self, Map, Program, Release};
use xdplb_loader::load::{self, LoadOptions, Loaded, VerifierLogs};
use xdplb_loader::object::Spec;
use xdplb_loader::story::{CallOf, Colour, Event, Recorder, Stage, Story, What, text};
use xdplb_loader::witness::{self, Said};

fn sample() -> Spec {
    let mut spec = Spec::parse(&build::sample()).unwrap();
    spec.name = "sample".into();
    spec
}

fn told(spec: &Spec) -> (Story, Loaded) {
    let mut recorder = Recorder::new("sample.o");
    let options = LoadOptions {
        log: VerifierLogs::Always,
        ..LoadOptions::default()
    };
    let loaded = load::load(spec, options, &mut recorder).unwrap();
    (recorder.finish(Vec::new()), loaded)
}

fn calls(story: &Story) -> Vec<(&Event, &CallOf)> {
    let calls = story.events.iter().filter_map(|event| match &event.what {
        What::Call(call) => Some((event, call)),
        _ => None,
    });
    calls.collect()
}

#[test]
fn every_command_is_told_in_order() {
    need_root();
    let (story, loaded) = told(&sample());
    // What the recorder asks itself is marked; the rest is the load.
    let names: Vec<&str> = calls(&story)
        .iter()
        .filter(|(_, call)| call.purpose.is_none())
        .map(|(_, call)| call.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "BPF_BTF_LOAD",
            "BPF_OBJ_GET_INFO_BY_FD",
            "BPF_MAP_CREATE",
            "BPF_MAP_CREATE",
            "BPF_MAP_UPDATE_ELEM",
            "BPF_MAP_FREEZE",
            "BPF_PROG_LOAD",
            "BPF_OBJ_GET_INFO_BY_FD",
        ]
    );
    assert!(
        calls(&story)
            .iter()
            .all(|(_, call)| call.result.as_ref().unwrap().ok)
    );
    // The kernel has what the story says, under the numbers that it says.
    assert_eq!(story.maps.len(), loaded.maps.len());
    for map in &story.maps {
        let by_id = Map::from_id(map.id.unwrap()).unwrap();
        assert_eq!(by_id.name(), map.kernel_name);
        let here = loaded.map(&map.name).unwrap().info().unwrap();
        assert_eq!((Some(here.id), here.max_entries), (map.id, map.max_entries));
    }
    let program = story.programs[0].loaded.as_ref().unwrap();
    let by_id = Program::from_id(program.id).unwrap().info().unwrap();
    assert_eq!(by_id.tag_text(), program.tag);
    assert_eq!(by_id.map_ids, program.map_ids);
    assert_eq!(by_id.verified_insns, program.verified_insns);
    // Descriptors lead from one command to the next.
    let opened = |name: &str| {
        let call = calls(&story)
            .into_iter()
            .find(|(_, call)| call.name == name);
        call.unwrap().1.result.as_ref().unwrap().value.to_string()
    };
    let load = calls(&story)
        .into_iter()
        .find(|(_, call)| call.name == "BPF_PROG_LOAD")
        .unwrap()
        .1;
    let field = |name: &str| load.fields.iter().find(|part| part.name == name).unwrap();
    assert_eq!(field("prog_btf_fd").value, opened("BPF_BTF_LOAD"));
    assert_eq!(field("prog_btf_fd").words, "the object's types");
    assert_eq!(
        field("license").points_to.as_ref().unwrap().text.as_deref(),
        Some("GPL")
    );
    let insns = field("insns").points_to.as_ref().unwrap();
    let loaded_bytes: String = story.programs[0]
        .insns
        .iter()
        .map(|insn| insn.relocated.bytes.clone())
        .collect();
    assert_eq!(
        insns.bytes, loaded_bytes,
        "what went to the kernel is what is shown"
    );
}

#[test]
fn every_instruction_is_shown_in_its_forms() {
    need_root();
    let spec = sample();
    let (story, loaded) = told(&spec);
    let program = &story.programs[0];
    let maps = program
        .relocations
        .iter()
        .filter(|relocation| relocation.map.is_some());
    assert_eq!(maps.clone().count(), 2);
    for relocation in maps {
        let map = &story.maps[relocation.map.unwrap()];
        assert_ne!(relocation.before.bytes, relocation.after.bytes);
        let fd = map.fd.unwrap();
        // A ld_imm64's first slot: opcode, registers, offset, then the descriptor.
        let imm = fd.to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(relocation.after.bytes[8..16], imm);
        let insn = program
            .insns
            .iter()
            .find(|insn| insn.insn == relocation.insn)
            .unwrap();
        assert_eq!(insn.relocated, relocation.after);
        assert_eq!(insn.object.as_ref().unwrap().bytes, relocation.before.bytes);
    }
    let there = program.loaded.as_ref().unwrap();
    assert_eq!(there.hidden, Vec::<String>::new());
    let code = loaded.programs[0].program.code().unwrap();
    let xlated: usize = there
        .xlated
        .iter()
        .map(|insn| insn.code.bytes.len() / 2)
        .sum();
    assert_eq!(xlated, code.xlated.len());
    assert_eq!(xlated, loaded.programs[0].info.xlated_len as usize);
    let jited: usize = there
        .jited
        .iter()
        .map(|function| function.bytes.len() / 2)
        .sum();
    assert_eq!(jited, loaded.programs[0].info.jited_len as usize);
    if story.kernel.jit == Some(1) {
        assert!(jited > 0, "the compiler is on");
        let function = &there.jited[0];
        assert_eq!(function.name, "main");
        // Lines cover the machine code from some byte on to its end, without a gap.
        for pair in function.lines.windows(2) {
            assert_eq!(pair[0].offset + pair[0].len, pair[1].offset);
        }
        let last = function.lines.last().unwrap();
        assert_eq!(last.offset + last.len, function.bytes.len() / 2);
    }
    let verifier = program.verifier.as_ref().unwrap();
    assert!(verifier.whole);
    let first = &verifier.insns[0];
    assert_eq!(first.insn, 0);
    assert!(first.states[0].before.contains("ctx"), "{first:?}");
}

#[test]
fn a_rejected_program_has_what_the_verifier_knew() {
    need_root();
    let mut builder = build::Builder::new();
    builder.function(
        "xdp",
        "careless",
        &[
            build::load32(1, 1, 0),
            build::load8(0, 1, 23),
            build::exit(),
        ],
    );
    let spec = Spec::parse(&builder.finish()).unwrap();
    let mut recorder = Recorder::new("careless.o");
    let error = load::load(&spec, LoadOptions::default(), &mut recorder).unwrap_err();
    let story = recorder.finish(vec![error.to_string()]);
    assert!(!story.outcome.ok);
    let program = &story.programs[0];
    assert!(program.loaded.is_none());
    let known: Vec<u32> = program
        .verifier
        .as_ref()
        .unwrap()
        .insns
        .iter()
        .map(|states| states.insn)
        .collect();
    assert_eq!(known, [0, 1], "the log that the loader asked for is parsed");
    let text = text(&story, Colour::Off);
    assert!(text.contains("EACCES: Permission denied"), "{text}");
}

#[test]
fn without_a_listener_nothing_is_recorded() {
    need_root();
    drop(sample().load().unwrap());
    assert!(!witness::listening());
    let listener = witness::Listener::new();
    assert_eq!(listener.take(), [], "what came before was not kept");
    let loaded = sample().load().unwrap();
    let heard = listener.take();
    assert!(heard.iter().all(|said| matches!(said, Said::Call(_))));
    assert_eq!(
        heard.len(),
        8,
        "the commands of the load, and nothing else: {heard:?}"
    );
    drop(loaded);
}

#[test]
fn nothing_stays_in_the_kernel() {
    need_root();
    let (story, loaded) = told(&sample());
    let (maps, id) = (
        story.maps.clone(),
        story.programs[0].loaded.as_ref().unwrap().id,
    );
    drop(loaded);
    // The kernel frees them when nobody looks any more, a moment later.
    let mut left = true;
    for _ in 0..100 {
        let programs = kernel::program_ids().unwrap();
        let all = kernel::map_ids().unwrap();
        left = programs.contains(&id) || maps.iter().any(|map| all.contains(&map.id.unwrap()));
        if !left {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(!left, "program {id} and its maps are gone");
}

#[test]
fn a_rehearsal_says_the_same_and_does_nothing() {
    let spec = sample();
    let mut recorder = Recorder::of_rehearsal("sample.o");
    let plan = load::prepare(&spec, &mut recorder).unwrap();
    load::rehearse(&plan, Release::new(5, 10), &mut recorder).unwrap();
    recorder.foretell(Release::new(5, 10), &load::needs(&spec, &plan));
    let story = recorder.finish(Vec::new());
    let names: Vec<&str> = calls(&story)
        .iter()
        .map(|(_, call)| call.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "BPF_BTF_LOAD",
            "BPF_OBJ_GET_INFO_BY_FD",
            "BPF_MAP_CREATE",
            "BPF_MAP_CREATE",
            "BPF_MAP_UPDATE_ELEM",
            "BPF_MAP_FREEZE",
            "BPF_PROG_LOAD",
            "BPF_OBJ_GET_INFO_BY_FD",
        ],
        "the commands of a load"
    );
    assert!(calls(&story).iter().all(|(_, call)| call.result.is_none()));
    assert!(
        story
            .stages
            .iter()
            .all(|stage| stage.stage != Stage::GivenBack)
    );
    let freeze = calls(&story)
        .into_iter()
        .find(|(_, call)| call.name == "BPF_MAP_FREEZE")
        .unwrap()
        .1;
    assert!(freeze.fields[0].unknown_yet);
    let told = story.foretold.as_ref().unwrap();
    assert_eq!(told.release, "5.10");
    assert!(
        told.manners
            .iter()
            .any(|manner| manner.contains("RLIMIT_MEMLOCK"))
    );
}

#[test]
fn a_rehearsal_and_a_load_pass_the_same_blocks() {
    need_root();
    let spec = sample();
    let loaded = load::load(&spec, LoadOptions::default(), &mut ()).unwrap();
    drop(loaded);
    let mut recorder = Recorder::new("sample.o");
    drop(load::load(&spec, LoadOptions::default(), &mut recorder).unwrap());
    let real = recorder.finish(Vec::new());
    let mut recorder = Recorder::of_rehearsal("sample.o");
    let plan = load::prepare(&spec, &mut recorder).unwrap();
    let release = Release::running().unwrap();
    load::rehearse(&plan, release, &mut recorder).unwrap();
    let rehearsed = recorder.finish(Vec::new());
    let of = |story: &Story| -> Vec<String> {
        let calls = calls(story);
        let ours = calls.iter().filter(|(_, call)| call.purpose.is_none());
        // Addresses and descriptors differ from run to run.
        let fixed = |part: &&xdplb_loader::story::Part| {
            !part.name.ends_with("fd") && part.points_to.is_none() && part.name != "log_buf"
        };
        let fields = ours.flat_map(|(_, call)| {
            let fields = call.fields.iter().filter(fixed);
            fields
                .map(|part| format!("{}.{} = {}", call.name, part.name, part.value))
                .collect::<Vec<_>>()
        });
        fields.collect()
    };
    assert_eq!(of(&real), of(&rehearsed));
}
