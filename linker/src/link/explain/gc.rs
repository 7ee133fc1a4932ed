//! `--print-gc`: what the inputs have and the output has not.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::size;
use super::why::origin;
use crate::btf::Btf;
use crate::elf::write::{Content, Image};
use crate::link::view::View;

pub(super) fn report(view: &View<'_, '_>, image: &Image) -> String {
    let mut text = String::from("   bytes  dropped\n");
    let mut functions = Sum::default();
    let mut variables = Sum::default();
    for id in view.atoms.ids().filter(|id| !view.live.contains(*id)) {
        let atom = view.atom(id);
        let bytes = atom.end - atom.start;
        let (kind, sum) = if atom.home.is_code() {
            ("function", &mut functions)
        } else {
            ("data", &mut variables)
        };
        sum.add(bytes);
        let what = format!("{kind} `{}`  {}", view.name(id), origin(view, id));
        line(&mut text, bytes, &what);
    }
    let mut sections: BTreeMap<&str, Sum> = BTreeMap::new();
    for (section, bytes) in never_linked(view) {
        sections.entry(section).or_default().add(bytes);
    }
    for (section, sum) in &sections {
        let what = format!("section {section}, in {} of the inputs", sum.count);
        line(&mut text, sum.bytes, &what);
    }
    let _ = writeln!(
        text,
        "{:>8}  {} functions",
        functions.bytes, functions.count
    );
    let _ = writeln!(
        text,
        "{:>8}  {} sections of data",
        variables.bytes, variables.count
    );
    text + &types(view, image)
}

/// How many, and their bytes.
#[derive(Default)]
struct Sum {
    count: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// Sections that no output has: debug information, unwind tables. Types are counted by themselves, and the file's own
/// tables are nothing that was linked.
fn never_linked<'v>(view: &'v View<'_, '_>) -> impl Iterator<Item = (&'v str, u64)> + 'v {
    view.modules.iter().flat_map(|module| {
        let sections = module.object.sections.iter();
        sections
            .filter(|section| section.name.starts_with(".debug") || section.name == ".eh_frame")
            .map(|section| (section.name, section.size))
    })
}

fn types(view: &View<'_, '_>, image: &Image) -> String {
    let before: usize = view
        .modules
        .iter()
        .filter_map(|module| module.types.as_ref())
        .map(|types| types.btf.len())
        .sum();
    let bytes_before: u64 = view
        .modules
        .iter()
        .filter_map(|module| module.object.section_named(".BTF"))
        .map(|(_, section)| section.size)
        .sum();
    let section = image.sections.iter().find(|section| section.name == ".BTF");
    let bytes_after = section.map_or(0, |section| size(&section.content));
    let after = section.map_or(0, |section| match &section.content {
        Content::Metadata(bytes) => Btf::parse(bytes).map_or(0, |btf| btf.len()),
        Content::Code(_) | Content::ReadOnly(_) | Content::Data(_) | Content::Zeroed(_) => 0,
    });
    format!(
        "{:>8}  {} types: {before} came in ({bytes_before} bytes), {after} stay ({bytes_after} bytes)\n",
        bytes_before.saturating_sub(bytes_after),
        before.saturating_sub(after),
    )
}

fn line(text: &mut String, bytes: u64, what: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{bytes:>8}  {what}");
}
