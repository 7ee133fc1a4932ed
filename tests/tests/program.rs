//! The program's bytecode in the kernel, under BPF_PROG_TEST_RUN: every scenario, the trace's constant, the object itself.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use goblin::elf::{Elf, sym};
use xdplb_loader::kernel::Program;
use xdplb_loader::object::Target;
use xdplb_prog::model::Tables;
use xdplb_prog::world::Settings;
use xdplb_tests::netns::Netns;
use xdplb_tests::packets::{settings, v4};
use xdplb_tests::program::{OnKernel, assemble, insn, spec};
use xdplb_tests::scenarios::{Make, Scenario};

/// In a namespace that routes nothing.
fn on_kernel(scenario: Scenario, perfmon: u32) {
    let run = || {
        scenario(&Make::on_kernel(perfmon));
        Ok(())
    };
    let done = Netns::new("lb").and_then(|netns| netns.run(run));
    done.unwrap_or_else(|error| panic!("{error:#}"));
}

mod with_perfmon {
    fn run(scenario: super::Scenario) {
        super::on_kernel(scenario, 1);
    }
    xdplb_tests::each_scenario!(run);
}
mod without_perfmon {
    fn run(scenario: super::Scenario) {
        super::on_kernel(scenario, 0);
    }
    xdplb_tests::each_scenario!(run);
}

/// What every call of the program's instructions in the kernel refers to: a helper's distance from `__bpf_call_base`.
fn calls(program: &Program) -> Result<BTreeSet<i32>> {
    const CALL: u8 = 0x85;
    let code = program.code()?.xlated;
    let calls: BTreeSet<i32> = code
        .chunks_exact(8)
        .filter(|insn| insn[0] == CALL && insn[1] == 0)
        .map(|insn| i32::from_le_bytes([insn[4], insn[5], insn[6], insn[7]]))
        .collect();
    ensure!(
        !calls.contains(&0),
        "the kernel hides what its programs call (kptr_restrict)"
    );
    Ok(calls)
}

/// The same distance for helper 177, out of a program that does nothing but call it.
fn trace_vprintk() -> Result<i32> {
    let program = assemble(
        "xdplb_vprintk",
        &[
            insn(0x7a, 10, 0, -8, 0), // *(u64 *)(fp - 8) = 0: an empty text
            insn(0xbf, 1, 10, 0, 0),  // r1 = fp
            insn(0x07, 1, 0, 0, -8),  // r1 -= 8
            insn(0xb7, 2, 0, 0, 8),   // r2 = 8
            insn(0xb7, 3, 0, 0, 0),   // r3 = 0
            insn(0xb7, 4, 0, 0, 0),   // r4 = 0
            insn(0x85, 0, 0, 0, 177), // call
            insn(0x95, 0, 0, 0, 0),   // exit
        ],
    )?;
    let calls = calls(&program)?;
    calls.first().copied().context("no call")
}

#[test]
fn what_is_not_traced_is_not_there() -> Result<()> {
    let helper = trace_vprintk()?;
    for trace in [0, 1] {
        let settings = Settings {
            trace,
            ..settings()
        };
        let program = OnKernel::load(&settings, &Tables::of(&[v4().nat()]))?;
        let calls = calls(&program.program()?.program)?;
        ensure!(!calls.is_empty());
        ensure!(
            calls.contains(&helper) == (trace == 1),
            "TRACE = {trace}: bpf_trace_vprintk"
        );
    }
    Ok(())
}

/// The verifier gives up after a million instructions, and each one costs load time.
#[test]
fn the_verifier_is_soon_done() -> Result<()> {
    for (trace, perfmon) in [(0, 1), (1, 1), (0, 0), (1, 0)] {
        let settings = Settings {
            trace,
            perfmon,
            ..settings()
        };
        let program = OnKernel::load(&settings, &Tables::of(&[v4().nat()]))?;
        let loaded = program.program()?;
        let verified = loaded.info.verified_insns;
        let which = format!("TRACE = {trace}, PERFMON = {perfmon}");
        println!("{which}: {verified} instructions in {:?}", loaded.elapsed);
        ensure!(verified < 100_000, "{which}: {verified} instructions");
    }
    Ok(())
}

/// goblin, which shares no code with our reader, sees the same programs, maps, constants and license.
#[test]
fn another_reader_sees_the_same_object() -> Result<()> {
    let elf = Elf::parse(xdplb_loader::PROGRAM)?;
    let spec = spec(&settings(), &Tables::of(&[v4().nat()]))?;
    // elf.h: EM_BPF; the kernel takes objects of its own byte order.
    ensure!((elf.header.e_machine, elf.is_64, elf.little_endian) == (247, true, true));
    let section = |index: usize| {
        elf.section_headers
            .get(index)
            .and_then(|header| elf.shdr_strtab.get_at(header.sh_name))
    };
    let symbols = |kind: u8, wanted: &dyn Fn(&str) -> bool| -> BTreeSet<(String, u64)> {
        elf.syms
            .iter()
            .filter(|symbol| symbol.st_type() == kind)
            .filter(|symbol| section(symbol.st_shndx).is_some_and(wanted))
            .filter_map(|symbol| Some((elf.strtab.get_at(symbol.st_name)?.into(), symbol.st_size)))
            .collect()
    };
    let names = |symbols: &BTreeSet<(String, u64)>| -> BTreeSet<String> {
        symbols.iter().map(|(name, _)| name.clone()).collect()
    };

    let plan = spec.plan(&Target::default());
    ensure!(spec.programs.len() == 1 && plan.programs.len() == 1);
    let program = &plan.programs[0];
    ensure!((&*program.name, &*program.section) == ("xdp_load_balancer", "xdp"));
    // The entry point and its subprograms, to the instruction.
    let functions = symbols(sym::STT_FUNC, &|section| {
        [".text", "xdp"].contains(&section)
    });
    let planned: BTreeSet<String> = program
        .functions
        .iter()
        .map(|(_, name)| name.clone())
        .collect();
    ensure!(names(&functions) == planned, "{functions:?} {planned:?}");
    let bytes: u64 = functions.iter().map(|(_, size)| size).sum();
    ensure!(bytes == 8 * program.unpatched().len() as u64, "{bytes}");

    let maps = names(&symbols(sym::STT_OBJECT, &|section| section == ".maps"));
    let data: BTreeSet<String> = (0..elf.section_headers.len())
        .filter_map(section)
        .filter(|name| [".rodata", ".data", ".bss"].contains(name))
        .map(String::from)
        .collect();
    let ours: BTreeSet<String> = spec.maps().iter().map(|map| map.name.clone()).collect();
    ensure!(ours == &maps | &data, "{ours:?} {maps:?} {data:?}");

    let variables = symbols(sym::STT_OBJECT, &|section| {
        [".rodata", ".data", ".bss"].contains(&section)
    });
    for (name, size) in &variables {
        let bytes = spec.global(name)?;
        ensure!(bytes.len() as u64 == *size, "{name}: {size}");
    }
    let ours: BTreeSet<String> = spec.global_names().map(String::from).collect();
    ensure!(ours == names(&variables), "{ours:?} {variables:?}");

    let license = elf
        .section_headers
        .iter()
        .find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some("license"))
        .and_then(|header| header.file_range())
        .and_then(|range| xdplb_loader::PROGRAM.get(range));
    ensure!(license == Some(b"GPL\0".as_slice()) && spec.license == "GPL");
    Ok(())
}
