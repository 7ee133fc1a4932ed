//! The object set in this kernel: every object by `xdplb-load verify`, by bpftool (libbpf), and read by goblin. Needs root.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use goblin::elf::section_header::SHF_EXECINSTR;
use goblin::elf::{Elf, sym};
use xdplb_loader::object::Spec;
use xdplb_tests::objects::libbpf::{self, Opinion};
use xdplb_tests::objects::ours::{self, Loaded};
use xdplb_tests::objects::{self, Case};

/// The cases that this kernel is new enough for, and their objects.
fn cases() -> Result<Vec<(Case, std::path::PathBuf)>> {
    let kernel = objects::running_kernel()?;
    let mut cases = objects::built()?;
    cases.retain(|(case, _)| case.fits(kernel));
    ensure!(cases.len() > 50, "only {} cases", cases.len());
    Ok(cases)
}

/// All of them are tried before any is complained of.
fn each(mut check: impl FnMut(&Case, &Path) -> Result<Vec<String>>) -> Result<()> {
    let mut wrong = Vec::new();
    for (case, object) in cases()? {
        let differences = check(&case, &object).with_context(|| case.name.clone())?;
        wrong.extend(
            differences
                .iter()
                .map(|line| format!("{}: {line}", case.name)),
        );
    }
    ensure!(
        wrong.is_empty(),
        "{} differences\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

#[test]
fn each_becomes_what_its_header_says() -> Result<()> {
    each(|case, object| Ok(ours::verify(case, object)?.differences(case)))
}

#[test]
fn libbpf_loads_or_refuses_what_the_headers_say() -> Result<()> {
    each(|case, object| {
        let opinion = libbpf::load(object)?;
        Ok(match (&case.libbpf, &opinion) {
            // What the machine rules out ends the load for libbpf.
            (None, Opinion::Refuses(said)) if case.machine.is_empty() => {
                vec![format!("libbpf refuses: {said}")]
            }
            (Some(text), Opinion::Refuses(said)) if !said.contains(text) => {
                vec![format!("libbpf does not say `{text}`: {said}")]
            }
            (Some(text), Opinion::Loads(_)) => vec![format!("libbpf loads, without `{text}`")],
            (None | Some(_), Opinion::Refuses(_)) | (None, Opinion::Loads(_)) => Vec::new(),
        })
    })
}

/// Where both load a program, the kernel got the same instructions from both: its tag is a hash of them.
#[test]
fn programs_are_the_same_as_libbpfs() -> Result<()> {
    let mut compared = 0;
    each(|case, object| {
        let Opinion::Loads(theirs) = libbpf::load(object)? else {
            return Ok(Vec::new());
        };
        let ours = ours::verify(case, object)?.loaded();
        compared += ours.len();
        let sorted = |programs: &[Loaded]| {
            let mut lines: Vec<_> = programs.iter().map(|one| format!("{one:?}")).collect();
            lines.sort();
            lines
        };
        let (ours, theirs) = (sorted(&ours), sorted(&theirs));
        Ok(match (ours == theirs, &case.differs) {
            (true, None) | (false, Some(_)) => Vec::new(),
            (false, None) => vec![format!("{ours:?}, libbpf: {theirs:?}")],
            (true, Some(why)) => vec![format!("the same as libbpf's, not: {why}")],
        })
    })?;
    ensure!(compared > 60, "only {compared} programs were compared");
    Ok(())
}

/// goblin's sections and symbols give the same programs and maps as our reader's.
#[test]
fn goblin_sees_the_same() -> Result<()> {
    each(|case, object| {
        let bytes = std::fs::read(object)?;
        let Ok(spec) = Spec::parse(&bytes) else {
            // What is refused as a whole has no parts to compare.
            return Ok(match case.expect.refused {
                Some(_) => Vec::new(),
                None => vec!["our reader refuses it".to_owned()],
            });
        };
        let theirs = programs(&Elf::parse(&bytes)?);
        let ours: BTreeSet<_> = spec
            .programs
            .iter()
            .map(|program| (program.section.clone(), program.name.clone()))
            .collect();
        Ok(match ours == theirs {
            true => Vec::new(),
            false => vec![format!("programs {ours:?}, goblin: {theirs:?}")],
        })
    })
}

/// Global functions in sections of code that is not called `.text`, as (section, name).
fn programs(elf: &Elf<'_>) -> BTreeSet<(String, String)> {
    let visible = |symbol: &sym::Sym| {
        symbol.st_type() == sym::STT_FUNC
            && symbol.st_bind() != sym::STB_LOCAL
            && symbol.st_visibility() == sym::STV_DEFAULT
    };
    let symbols = elf.syms.iter().filter(visible);
    let named = symbols.filter_map(|symbol| {
        let section = elf.section_headers.get(symbol.st_shndx)?;
        let code = section.sh_flags & u64::from(SHF_EXECINSTR) != 0;
        let section = elf.shdr_strtab.get_at(section.sh_name)?;
        let text = section == ".text" || section.starts_with(".text.");
        let name = elf.strtab.get_at(symbol.st_name)?;
        (code && !text).then(|| (section.to_owned(), name.to_owned()))
    });
    named.collect()
}
